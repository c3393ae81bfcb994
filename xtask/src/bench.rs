//! `cargo xtask bench`: the harness of `benches/`, built with optimisation after set-up.

use anyhow::Result;
use mlx_provision::{Settings, setup};

use crate::cargo::{build, command, forwarded};
use crate::setup::native_source;

/// Runs the harness with the arguments of this command, which clap has checked; see `benches/README.md`.
pub fn run() -> Result<()> {
    let staged = setup(&Settings::from_env(&native_source()))?;
    build(
        "building the harness with optimisation (once, a few minutes on two cores)",
        &["--release", "--locked", "--package", "mlx-bench", "--bins"],
    )?;
    let mut harness = command([
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "mlx-bench",
    ]);
    harness
        .args(["--bin", "mlx-bench", "--"])
        .args(forwarded()?);
    harness.env("MLX_BENCH_DIR", staged.root.join("bench"));
    // Python MLX gets the same OpenBLAS, under the names that MLX asks for.
    if let (Some(openblas), Some(blas)) = (&staged.layout.openblas, &staged.layout.blas) {
        let both = format!("{}:{}", openblas.display(), blas.display());
        harness.env("MLX_BENCH_PRELOAD", both);
    }
    crate::cargo::run(harness)
}
