//! `cargo xtask bundle`: programs with all that they load, for machines that have neither a toolchain nor a network.

mod archive;
pub mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use mlx_provision::{Settings, bundle, setup};

use self::programs::Program;
use crate::cargo::{build, root};
use crate::setup::native_source;

/// What `cargo xtask bundle` is told.
#[derive(Args)]
pub struct BundleArguments {
    /// The folder to write; `target/bundle` otherwise
    #[arg(value_name = "OUT")]
    out: Option<PathBuf>,
    /// The build of MLX: cpu, metal, cuda12 or cuda13
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// A program that is built, in the place of the command `mlx`
    #[arg(long, value_name = "FILE")]
    program: Vec<PathBuf>,
    /// The test programs too, with their golden files and what runs them
    #[arg(long)]
    tests: bool,
    /// The harness of the benchmarks too, with the scripts of its rivals
    #[arg(long)]
    bench: bool,
    /// The files themselves, without archives and `run.sh`
    #[arg(long)]
    folder: bool,
}

/// Runs the command.
pub fn run(arguments: BundleArguments) -> Result<()> {
    let mut settings = Settings::from_env(&native_source());
    settings.backend = arguments.backend.clone().or(settings.backend);
    let out = arguments.out.clone();
    let out = std::path::absolute(out.unwrap_or_else(|| root().join("target/bundle")))?;
    let staged = setup(&settings)?;
    let programs = programs(&arguments)?;
    let folder = if arguments.folder {
        out.clone()
    } else {
        // An older one may have files that this one has not.
        let folder = root()
            .join("target/bundle-files")
            .join(staged.choice.backend.name());
        let _ = fs::remove_dir_all(&folder);
        folder
    };
    let files = bundle(&staged, &programs, &folder)?;
    println!(
        "{} files, {:.0} MB, in {}",
        files.len(),
        megabytes(&files),
        folder.display()
    );
    if arguments.tests {
        add_tests(&folder)?;
    }
    if arguments.bench {
        add_rivals(&folder)?;
    }
    for file in stripped(&folder) {
        archive::strip(&file);
    }
    if !arguments.folder {
        for part in archive::write(&folder, &out)? {
            println!(
                "{:6.1} MB  {}",
                megabytes(std::slice::from_ref(&part)),
                part.display()
            );
        }
    }
    if staged.choice.backend.is_cuda() {
        println!(
            "where it runs it also needs NVIDIA's driver and cuBLAS, cuDNN, cuFFT, cuSOLVER, NVRTC and NCCL: docs/bundle.md"
        );
    }
    Ok(())
}

/// The programs for `bin/`, built here unless they are given.
fn programs(arguments: &BundleArguments) -> Result<Vec<PathBuf>> {
    let mut programs = arguments.program.clone();
    if let Some(missing) = programs.iter().find(|program| !program.is_file()) {
        bail!(
            "bundle: wanted a program that is built, got {}",
            missing.display()
        );
    }
    let target = target();
    if programs.is_empty() && !arguments.tests && !arguments.bench {
        build(
            "building the command mlx",
            &["--release", "--locked", "--package", "mlx-cli"],
        )?;
        programs.push(target.join("release/mlx"));
    }
    if arguments.bench {
        build(
            "building the benchmarks",
            &["--release", "--locked", "--package", "mlx-bench"],
        )?;
        programs.extend(
            ["mlx-bench", "mlx-bench-runner"].map(|name| target.join("release").join(name)),
        );
    }
    Ok(programs)
}

/// Adds the test programs to `tests/`, their data to `crates/`, and this program, which runs them, to `bin/`.
fn add_tests(folder: &Path) -> Result<()> {
    let programs = programs::build()?;
    for Program { name, path } in &programs {
        copy(path, &folder.join("tests").join(name))?;
    }
    for (from, to) in programs::data()? {
        copy(&from, &folder.join("crates").join(to))?;
    }
    let own = std::env::current_exe().context("the path of this program")?;
    copy(&own, &folder.join("bin/suite"))?;
    println!("{} test programs", programs.len());
    Ok(())
}

/// Adds the scripts of the rivals, which the harness finds beside `bin/`.
fn add_rivals(folder: &Path) -> Result<()> {
    let scripts = root().join("benches/rivals");
    let entries = fs::read_dir(&scripts)
        .with_context(|| format!("{} could not be read", scripts.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "py") {
            let name = path.file_name().unwrap_or_default();
            copy(&path, &folder.join("benches/rivals").join(name))?;
        }
    }
    // Results name the commit, and there is no repository where the bundle runs.
    let head = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["rev-parse", "HEAD"])
        .output();
    let head = head.ok().filter(|output| output.status.success());
    if let Some(head) = head {
        fs::write(folder.join("benches/commit"), head.stdout)?;
    }
    Ok(())
}

/// The programs of a bundle, whose symbols are of no use where there is no debugger.
fn stripped(folder: &Path) -> Vec<PathBuf> {
    ["bin", "tests"]
        .iter()
        .filter_map(|name| fs::read_dir(folder.join(name)).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// Copies a file in place of an older one.
fn copy(from: &Path, to: &Path) -> Result<()> {
    ensure!(
        from.is_file(),
        "bundle: wanted a file, got {}",
        from.display()
    );
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder)
        .with_context(|| format!("{} could not be made", folder.display()))?;
    // A program that runs must not change.
    let _ = fs::remove_file(to);
    fs::copy(from, to).with_context(|| format!("{} could not be copied", from.display()))?;
    Ok(())
}

/// The folder that cargo builds into.
fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(target.unwrap_or_else(|| "target".into()))
}

fn megabytes(files: &[PathBuf]) -> f64 {
    let sizes = files
        .iter()
        .filter_map(|file| Some(fs::metadata(file).ok()?.len()));
    sizes.sum::<u64>() as f64 / 1e6
}
