//! `cargo xtask ci`: all that CI runs, in its order.

use anyhow::Result;

use crate::cargo::{cargo, command, root, run as run_command};

/// Runs tests, formatting, lints, documentation and house rules; stops at the first that fails.
pub fn run(args: &[String]) -> Result<()> {
    if !args.iter().any(|arg| arg == "--skip-tests") {
        crate::test::run(&[])?;
    }
    step("formatting");
    cargo(["fmt", "--all", "--check"])?;
    step("lints");
    cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    step("documentation");
    let mut docs = command(["doc", "--workspace", "--no-deps", "--locked"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    run_command(docs)?;
    step("house rules");
    crate::tidy::run(&root())
}

fn step(name: &str) {
    println!("\n== {name}");
}
