//! `cargo xtask golden`: writes anew what is generated: the golden files of the compiler, to see what a change makes of
//! them, and the operations' header for C++ (`native/mlx_ops.h`).

use anyhow::Result;

use crate::cargo::{command, run as run_command};

/// Runs the tests that compare generated files, told to write them.
pub fn run(mut args: lexopt::Parser) -> Result<()> {
    if let Some(arg) = args.next()? {
        return Err(arg.unexpected().into());
    }
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
