//! The harness behind `cargo xtask bench`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use mlx_bench::harness::options::Options;
use mlx_bench::harness::run::run;

fn main() -> ExitCode {
    let outcome = Options::parse(lexopt::Parser::from_env()).and_then(|options| run(&options));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // A comparison found something worse.
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
