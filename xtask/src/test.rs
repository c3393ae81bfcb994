//! `cargo xtask test`: every test, doc test and example of every crate.

use anyhow::Result;

use crate::cargo::{cargo, rest};

/// Sets up with its progress on the terminal, then runs all tests with default threads; arguments go to cargo.
pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let args = rest(&mut args)?;
    crate::setup::ready()?;
    all(args.iter().map(String::as_str))
}

/// Runs all tests.
pub fn all<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<()> {
    cargo(["test", "--workspace", "--locked"].into_iter().chain(args))
}
