//! `cargo xtask setup`: the native files, fetched, checked, staged and built.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use lexopt::prelude::*;
use mlx_provision::{Settings, environment, places::Root, setup};

/// Runs the command.
pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let mut settings = Settings::from_env(&native_source());
    while let Some(arg) = args.next()? {
        match arg {
            Long("backend") => settings.backend = Some(args.value()?.string()?),
            Long("dir") => {
                settings.root = Root {
                    path: std::path::absolute(PathBuf::from(args.value()?))?,
                    why: "--dir says so",
                }
            }
            Long("help") | Short('h') => {
                print_help();
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let start = Instant::now();
    let staged = setup(&settings)?;
    println!("backend  {} ({})", staged.choice.backend, staged.choice.why);
    println!("staged   {} ({})", staged.root.display(), settings.root.why);
    println!("native   {}", staged.native.display());
    println!("mlx      {}", staged.layout.mlx.display());
    if let Some(openblas) = &staged.layout.openblas {
        println!("blas     {}", openblas.display());
    }
    if staged.choice.backend.is_cuda() {
        println!(
            "cuda     needs NVIDIA's driver, cuBLAS, cuDNN, cuFFT, NVRTC and NCCL: point MLX_CUDA_DIR at them"
        );
    }
    println!("ready after {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn print_help() {
    println!("cargo xtask setup [--backend cpu|metal|cuda12|cuda13] [--dir FOLDER]\n");
    println!(
        "Fetches MLX, mlx-c and OpenBLAS, and the tools that this machine lacks, and builds the native library."
    );
    println!("Environment variables, which cargo build and programs at run time look at too:\n");
    for variable in environment::ALL {
        println!("  {:<18} {}", variable.name, variable.meaning);
    }
}

/// Makes sure that the native files are there before cargo needs them, so that their progress is seen.
pub fn ready() -> Result<()> {
    setup(&Settings::from_env(&native_source()))?;
    Ok(())
}

/// Returns the folder of our C++ sources in this checkout.
pub fn native_source() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).join("crates/mlx-sys/native")
}
