//! `cargo xtask notebooks`: the notebooks run from top to bottom, in Jupyter's kernel or as programs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use mlx_provision::{PythonEnvironment, Settings, setup};

use crate::cargo::{command, root, run as run_command};
use crate::setup::native_source;

/// The kernel that notebooks are written for.
const KERNEL: (&str, &str) = ("evcxr_jupyter", "0.22.0");

/// How the crates of a session are built: as for tests, with optimisation where time is spent. evcxr asks for all of it,
/// which takes twice as long to compile and is no faster here.
const PROFILE: &str = r#"[profile.dev]
lto = "off"
[profile.dev.package."*"]
opt-level = 0
[profile.dev.package.mlx]
opt-level = 1
[profile.dev.package.mlx-compiler]
opt-level = 1
[profile.dev.package.mlx-nn]
opt-level = 1
[profile.dev.package.mlx-models]
opt-level = 1
[profile.dev.package.mlx-kernels]
opt-level = 3
[profile.dev.package.half]
opt-level = 2
[profile.dev.package.realfft]
opt-level = 2
[profile.dev.package.rubato]
opt-level = 2
[profile.dev.package.rustfft]
opt-level = 2
[profile.dev.package.miniz_oxide]
opt-level = 2
"#;

/// What `cargo xtask notebooks` is told.
#[derive(Args)]
pub struct NotebooksArguments {
    /// Run them as programs, without Jupyter
    #[arg(long)]
    as_programs: bool,
    /// Which notebooks; all otherwise
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Runs the notebooks that are named, or all.
pub fn run(arguments: &NotebooksArguments) -> Result<()> {
    let names = arguments.names.iter();
    let names: Vec<String> = names
        .map(|name| name.trim_end_matches(".ipynb").to_owned())
        .collect();
    let notebooks = chosen(&names)?;
    let settings = Settings::from_env(&native_source());
    let staged = setup(&settings)?;
    if arguments.as_programs {
        return programs(&names);
    }
    let build = staged.root.join("notebooks");
    fs::create_dir_all(&build)?;
    // The kernel's folder holds one session at a time.
    let lock = File::create(build.join(".lock"))?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another `cargo xtask notebooks`");
        lock.lock()?;
    }
    let kernel = kernel(&build)?;
    let python = environment(&settings, &build, &kernel)?;
    let work = build.join("evcxr");
    fs::create_dir_all(&work)?;
    // The same versions as the workspace has; cargo drops what it does not need.
    fs::copy(root().join("Cargo.lock"), work.join("Cargo.lock"))?;
    fs::create_dir_all(work.join(".cargo"))?;
    fs::write(work.join(".cargo/config.toml"), PROFILE)?;
    let executed = build.join("executed");
    let mut execute = Command::new(python);
    execute
        .arg(root().join("notebooks/execute.py"))
        .arg(&executed);
    execute.args(&notebooks);
    execute.env("EVCXR_TMPDIR", &work);
    // The user's settings would change what is tested.
    execute.env("EVCXR_CONFIG_DIR", build.join("evcxr-config"));
    execute.env("MLX_BUILD_DIR", &staged.root);
    eprintln!(
        "the first cell builds the crates with optimisation (once, some minutes on two cores)"
    );
    run_command(execute)?;
    println!("executed notebooks and pages: {}", executed.display());
    Ok(())
}

/// The paths of these notebooks, or of all.
fn chosen(names: &[String]) -> Result<Vec<PathBuf>> {
    let folder = root().join("notebooks");
    let mut all: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "ipynb") {
            all.push(path);
        }
    }
    all.sort();
    let stem = |path: &Path| {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    let known: Vec<String> = all.iter().filter_map(|path| stem(path)).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(*name)) {
        anyhow::bail!(
            "notebooks: no notebook {name}; there are {}",
            known.join(", ")
        );
    }
    let is_chosen =
        |path: &PathBuf| names.is_empty() || stem(path).is_some_and(|stem| names.contains(&stem));
    all.retain(is_chosen);
    Ok(all)
}

/// Runs the notebooks as the functions that the package `mlx-notebooks` makes of them.
fn programs(names: &[String]) -> Result<()> {
    let mut tests = command([
        "test",
        "--locked",
        "--package",
        "mlx-notebooks",
        "--test",
        "programs",
        "--",
        "--nocapture",
        "--test-threads=1",
    ]);
    tests.args(names);
    run_command(tests)
}

/// The program of the kernel: the user's, or one that is built for these notebooks alone.
fn kernel(build: &Path) -> Result<PathBuf> {
    let (name, version) = KERNEL;
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let own = build.join("kernel");
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    folders.extend(home.map(|home| home.join("bin")));
    folders.push(own.join("bin"));
    let find = || {
        let files = folders.iter().map(|folder| folder.join(&file));
        files.into_iter().find(|path| path.is_file())
    };
    if let Some(path) = find() {
        return Ok(path);
    }
    eprintln!(
        "installing {name} {version} for these notebooks (once, 2 to 5 minutes on two cores)"
    );
    let target = own.join("target");
    let mut install = command(["install", "--locked", name, "--version", version]);
    install.arg("--root").arg(&own);
    install.env("CARGO_TARGET_DIR", &target);
    // Most of what a cell takes is rustc's, which is fast either way; the kernel itself is built in a third of the time.
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    install.env("CARGO_PROFILE_RELEASE_STRIP", "true");
    run_command(install)?;
    let _ = fs::remove_dir_all(target);
    find().with_context(|| {
        format!("notebooks: {name} is installed, but not where cargo should put it")
    })
}

/// Returns the Python of an environment with nbclient and nbconvert that knows the kernel.
fn environment(settings: &Settings, build: &Path, kernel: &Path) -> Result<PathBuf> {
    let text = str::to_owned;
    let environment = PythonEnvironment {
        folder: build.join("environment"),
        requirements: root().join("notebooks/requirements.txt"),
        arguments: ["--only-binary", ":all:", "--require-hashes"]
            .map(text)
            .into(),
        variables: Vec::new(),
        log: build.join("environment.log"),
    };
    let python = environment.make(settings)?;
    register_kernel(&environment.folder, kernel)?;
    Ok(python)
}

/// Registers the kernel with Jupyter in this environment, and nowhere else.
fn register_kernel(environment: &Path, kernel: &Path) -> Result<()> {
    let folder = environment.join("share/jupyter/kernels/rust");
    fs::create_dir_all(&folder)?;
    let text = kernel
        .to_string_lossy()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    let spec = format!(
        "{{\"argv\": [\"{text}\", \"--control_file\", \"{{connection_file}}\"], \"display_name\": \"Rust\", \
         \"language\": \"rust\"}}\n"
    );
    fs::write(folder.join("kernel.json"), spec)?;
    Ok(())
}
