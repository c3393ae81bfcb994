//! The harness behind `cargo xtask bench`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use mlx_bench::harness::options::Options;
use mlx_bench::harness::run::run;

/// This workspace and its rivals on the same work
#[derive(Parser)]
#[command(
    name = "mlx-bench",
    bin_name = "cargo xtask bench",
    version,
    args_override_self = true
)]
struct Harness {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match run(&Harness::parse().options) {
        Ok(true) => ExitCode::SUCCESS,
        // A comparison found something worse.
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
