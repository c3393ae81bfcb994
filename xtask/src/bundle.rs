//! `cargo xtask bundle`: a program with all that it loads, in one folder that runs elsewhere.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use mlx_provision::{Settings, bundle, setup};

use crate::cargo::root;
use crate::setup::native_source;

/// What `cargo xtask bundle` is told.
#[derive(Args)]
pub struct BundleArguments {
    /// The folder to write; `target/bundle` otherwise
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// The build of MLX: cpu, metal, cuda12 or cuda13
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Programs that are built
    #[arg(value_name = "PROGRAM")]
    programs: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: BundleArguments) -> Result<()> {
    let mut settings = Settings::from_env(&native_source());
    settings.backend = arguments.backend.or(settings.backend);
    let to = arguments.to.unwrap_or_else(|| root().join("target/bundle"));
    let programs = arguments.programs;
    if let Some(missing) = programs.iter().find(|program| !program.is_file()) {
        bail!(
            "bundle: wanted a program that is built, got {}",
            missing.display()
        );
    }
    let staged = setup(&settings)?;
    let files = bundle(&staged, &programs, &to)?;
    let bytes: u64 = files
        .iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .map(|data| data.len())
        .sum();
    for file in &files {
        println!("{}", file.strip_prefix(&to).unwrap_or(file).display());
    }
    println!(
        "{} files, {:.0} MB, in {}",
        files.len(),
        bytes as f64 / 1e6,
        to.display()
    );
    if staged.choice.backend.is_cuda() {
        println!(
            "where it runs it also needs NVIDIA's driver, cuBLAS, cuDNN, cuFFT, NVRTC and NCCL"
        );
    }
    Ok(())
}
