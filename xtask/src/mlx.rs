//! `cargo xtask demo`, `doctor`, `transcribe`, `generate`: the command `mlx`, built with optimisation after set-up.

use anyhow::Result;

use crate::cargo::{build, cargo, forwarded};

/// Runs a command of `mlx` with the arguments of this one, which clap has checked.
pub fn run(subcommand: &str) -> Result<()> {
    // The doctor does not set up: it says what is missing.
    if subcommand != "doctor" {
        crate::setup::ready()?;
    }
    let arguments = forwarded()?;
    let mut package = vec!["--release", "--locked", "--package", "mlx-cli"];
    // Only then: it needs a TLS library, which takes long to build.
    if arguments.iter().any(|argument| argument.contains("hf:")) {
        package.extend(["--features", "hub"]);
    }
    build(
        "building the command mlx with optimisation (once, some six minutes on two cores)",
        &package,
    )?;
    let run = ["run", "--quiet"].into_iter().chain(package);
    let arguments = arguments.iter().map(String::as_str);
    cargo(run.chain(["--", subcommand]).chain(arguments))
}
