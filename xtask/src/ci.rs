//! `cargo xtask ci`: all that CI runs, in its order.
//!
//! Tests run every notebook as a program already; one of them runs in Jupyter's kernel at the end.

use anyhow::Result;
use clap::Args;

use crate::cargo::{cargo, command, root, run as run_command};
use crate::test::FEATURES;

/// What `cargo xtask ci` is told.
#[derive(Args)]
pub struct CiArguments {
    /// Leave the tests out
    #[arg(long)]
    skip_tests: bool,
    /// Plant faults in a scratch copy, and check that the gates find them, instead
    #[arg(long, conflicts_with = "skip_tests")]
    calibrate: bool,
}

/// Runs tests, formatting, lints, documentation, house rules and a notebook; stops at the first that fails.
pub fn run(arguments: &CiArguments) -> Result<()> {
    crate::setup::ready()?;
    if arguments.calibrate {
        return crate::calibrate::run();
    }
    if !arguments.skip_tests {
        step("tests");
        crate::test::all([])?;
    }
    step("formatting");
    cargo(["fmt", "--all", "--check"])?;
    step("lints");
    cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--features",
        FEATURES,
        "--",
        "-D",
        "warnings",
    ])?;
    step("documentation");
    let mut docs = command(["doc", "--workspace", "--no-deps", "--locked"]);
    docs.args(["--features", FEATURES]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    run_command(docs)?;
    step("house rules");
    crate::tidy::check(&root())?;
    step("C++ for macOS");
    crate::macos::check()?;
    step("a notebook in Jupyter's kernel");
    cargo(["xtask", "notebooks", "fast_kernels"])
}

fn step(name: &str) {
    println!("\n== {name}");
}
