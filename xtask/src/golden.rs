//! `cargo xtask golden`: writes the golden files of the compiler again, so that `git diff` shows what a change does.

use anyhow::Result;

use crate::cargo::{command, run as run_command};

/// Runs the tests that compare golden files, told to write them.
pub fn run() -> Result<()> {
    crate::setup::ready()?;
    let mut tests = command([
        "test",
        "--locked",
        "--package",
        "mlx-compiler",
        "--test",
        "fusions",
        "golden",
    ]);
    tests.env("MLX_GOLDEN", "write");
    run_command(tests)
}
