//! `cargo xtask demo`, `doctor`, `transcribe`: the command `mlx`, built with optimisation after set-up.

use anyhow::Result;

use crate::cargo::cargo;

/// Builds and runs `mlx COMMAND ARGS`.
pub fn run(subcommand: &str, args: &[String]) -> Result<()> {
    let mut all = vec!["run", "--quiet", "--release", "--locked", "--package", "mlx-cli"];
    // Only then: it needs a TLS library, which takes long to build.
    if args.iter().any(|arg| arg.starts_with("hf:")) {
        all.extend(["--features", "hub"]);
    }
    all.extend(["--", subcommand]);
    all.extend(args.iter().map(String::as_str));
    cargo(all)
}
