//! `cargo xtask test`: every test, doc test and example of every crate.

use anyhow::Result;

use crate::cargo::cargo;

/// Builds and runs all tests with default threads; arguments go to cargo.
pub fn run(args: &[String]) -> Result<()> {
    let mut all = vec!["test", "--workspace", "--locked"];
    all.extend(args.iter().map(String::as_str));
    cargo(all)
}
