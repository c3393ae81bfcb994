//! `cargo xtask demo`, `doctor`, `transcribe`, `generate`: the command `mlx`, built with optimisation after set-up.

use anyhow::Result;

use crate::cargo::{cargo, rest};

/// Runs `mlx demo`.
pub fn demo(args: lexopt::Parser) -> Result<()> {
    crate::setup::ready()?;
    run("demo", args)
}

/// Runs `mlx doctor`. Does not set up: it tells what is missing.
pub fn doctor(args: lexopt::Parser) -> Result<()> {
    run("doctor", args)
}

/// Runs `mlx transcribe`.
pub fn transcribe(args: lexopt::Parser) -> Result<()> {
    crate::setup::ready()?;
    run("transcribe", args)
}

/// Runs `mlx generate`.
pub fn generate(args: lexopt::Parser) -> Result<()> {
    crate::setup::ready()?;
    run("generate", args)
}

fn run(subcommand: &str, mut args: lexopt::Parser) -> Result<()> {
    let args = rest(&mut args)?;
    let mut all = vec![
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "mlx-cli",
    ];
    // Only then: it needs a TLS library, which takes long to build.
    if args.iter().any(|arg| arg.contains("hf:")) {
        all.extend(["--features", "hub"]);
    }
    all.extend(["--", subcommand]);
    all.extend(args.iter().map(String::as_str));
    eprintln!("building the command mlx with optimisation (once, some six minutes on two cores)");
    cargo(all)
}
