//! `cargo xtask test`: every test, doc test and example of every crate.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::bundle::programs;
use crate::cargo::{cargo, forwarded, root};

/// The features that are off by default. They are tested with all others: a build of its own would take minutes more.
pub const FEATURES: &str = "mlx/ndarray,mlx/dlpack";

/// What `cargo xtask test` is told.
#[derive(Args)]
pub struct TestArguments {
    /// Run the suite of tests for one device, cpu or gpu, as a bundle does: each file in a process of its own, with
    /// `target/suite/results.json` as its report
    #[arg(long, value_name = "DEVICE", value_parser = ["cpu", "gpu"])]
    device: Option<String>,
    /// Arguments for `cargo test`, instead of none
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    _cargo_test: Vec<String>,
}

/// Sets up with its progress on the terminal, then runs all tests with default threads; arguments go to cargo.
pub fn run(arguments: &TestArguments) -> Result<()> {
    crate::setup::ready()?;
    if let Some(device) = &arguments.device {
        return suite(device);
    }
    all(forwarded()?.iter().map(String::as_str))
}

/// Runs all tests, with all features.
pub fn all<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let features = ["--features", FEATURES];
    let words = ["test", "--workspace", "--locked"].into_iter();
    cargo(words.chain(features).chain(args))
}

/// Runs the test programs of a bundle where they are built.
fn suite(device: &str) -> Result<()> {
    let folder = root().join("target/suite");
    let _ = std::fs::remove_dir_all(folder.join("tests"));
    std::fs::create_dir_all(folder.join("tests"))?;
    for program in programs::build()? {
        std::fs::copy(&program.path, folder.join("tests").join(program.name))?;
    }
    let out = folder.join("results.json");
    let arguments = ["suite", "--out"].map(OsString::from).into_iter();
    let arguments = arguments.chain([
        out.into(),
        "--crates".into(),
        root().join("crates").into(),
        folder.into(),
    ]);
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).env("MLX_DEVICE", device);
    crate::cargo::run(command)
}
