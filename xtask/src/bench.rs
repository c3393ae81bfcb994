//! `cargo xtask bench`: the harness of `benches/`, built with optimisation after set-up.

use anyhow::Result;
use mlx_provision::{Settings, setup};

use crate::cargo::{command, rest};
use crate::setup::native_source;

/// Runs the harness; see `benches/README.md`.
pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let args = rest(&mut args)?;
    let staged = setup(&Settings::from_env(&native_source()))?;
    let mut build = command([
        "build",
        "--release",
        "--locked",
        "--package",
        "mlx-bench",
        "--bins",
    ]);
    build.arg("--quiet");
    eprintln!("building the harness with optimisation (once, a few minutes on two cores)");
    crate::cargo::run(build)?;
    let mut harness = command([
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "mlx-bench",
    ]);
    harness.args(["--bin", "mlx-bench", "--"]).args(&args);
    harness.env("MLX_BENCH_DIR", staged.root.join("bench"));
    // Python MLX gets the OpenBLAS that we use, under the names that MLX asks for.
    if let (Some(openblas), Some(blas)) = (&staged.layout.openblas, &staged.layout.blas) {
        let both = format!("{}:{}", openblas.display(), blas.display());
        harness.env("MLX_BENCH_PRELOAD", both);
    }
    crate::cargo::run(harness)
}
