//! `cargo xtask golden`: writes what is generated again, so that `git diff` shows what a change does: the golden files of
//! the compiler, and the operations' header for C++ (`native/mlx_ops.h`).

use anyhow::Result;

use crate::cargo::{command, run as run_command};

/// Runs the tests that compare generated files, told to write them.
pub fn run() -> Result<()> {
    crate::setup::ready()?;
    let header = [
        "test",
        "--locked",
        "--package",
        "mlx",
        "--lib",
        "the_header_for_cpp",
    ];
    let fusions = [
        "test",
        "--locked",
        "--package",
        "mlx-compiler",
        "--test",
        "fusions",
        "golden",
    ];
    for arguments in [header.as_slice(), fusions.as_slice()] {
        let mut tests = command(arguments.iter().copied());
        tests.env("MLX_GOLDEN", "write");
        run_command(tests)?;
    }
    Ok(())
}
