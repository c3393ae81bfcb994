//! `cargo xtask setup`: the native files, fetched, checked, staged and built.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use mlx_provision::{Settings, environment, places::StagingRoot, setup};

/// What `cargo xtask setup` is told.
#[derive(Args)]
pub struct SetupArguments {
    /// The build of MLX: cpu, metal, cuda12 or cuda13; the machine's default otherwise
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// The folder to stage into; `build/` of the checkout otherwise
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: SetupArguments) -> Result<()> {
    let mut settings = Settings::from_env(&native_source());
    settings.backend = arguments.backend.or(settings.backend);
    if let Some(dir) = arguments.dir {
        settings.root = StagingRoot {
            path: std::path::absolute(dir)?,
            why: "--dir says so",
        };
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

/// Returns the environment variables with their meanings, for the help.
pub fn variables() -> String {
    let mut text =
        "Environment variables, which cargo build and programs at run time read too:".to_owned();
    for variable in environment::ALL {
        text += &format!("\n  {:<18} {}", variable.name, variable.meaning);
    }
    text
}

/// Makes sure that the native files are there before cargo needs them, so that their progress is seen.
pub fn ready() -> Result<()> {
    setup(&Settings::from_env(&native_source()))?;
    Ok(())
}

/// Returns the folder of the C++ sources in this checkout.
pub fn native_source() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).join("crates/mlx-sys/native")
}
