//! `cargo xtask golden`: writes the golden files of the compiler anew, for a look at what a change makes of them.

use anyhow::Result;

use crate::cargo::{command, run as run_command};

/// Runs the tests that compare golden files, told to write them.
pub fn run(mut args: lexopt::Parser) -> Result<()> {
    if let Some(arg) = args.next()? {
        return Err(arg.unexpected().into());
    }
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
