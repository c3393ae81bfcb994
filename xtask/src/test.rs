//! `cargo xtask test`: every test, doc test and example of every crate.

use anyhow::Result;
use clap::Args;

use crate::cargo::{cargo, forwarded};

/// What `cargo xtask test` is told.
#[derive(Args)]
pub struct TestArguments {
    /// Arguments for `cargo test`, instead of none
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    _cargo_test: Vec<String>,
}

/// Sets up with its progress on the terminal, then runs all tests with default threads; arguments go to cargo.
pub fn run() -> Result<()> {
    crate::setup::ready()?;
    all(forwarded()?.iter().map(String::as_str))
}

/// Runs all tests.
pub fn all<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<()> {
    cargo(["test", "--workspace", "--locked"].into_iter().chain(args))
}
