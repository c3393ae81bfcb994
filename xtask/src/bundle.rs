//! `cargo xtask bundle`: a program with all that it loads, in one folder that runs elsewhere.

use std::path::PathBuf;

use anyhow::{Result, bail};
use lexopt::prelude::*;
use mlx_provision::{Settings, bundle, setup};

use crate::cargo::root;
use crate::setup::native_source;

/// Runs the command.
pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let mut settings = Settings::from_env(&native_source());
    let mut to = root().join("target/bundle");
    let mut programs = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Long("to") => to = PathBuf::from(args.value()?),
            Long("backend") => settings.backend = Some(args.value()?.string()?),
            Value(program) => programs.push(PathBuf::from(program)),
            other => return Err(other.unexpected().into()),
        }
    }
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
