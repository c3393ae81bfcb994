//! `cargo xtask`: everything that is done to this workspace by hand, one file for each command.

mod bench;
#[path = "../../benches/src/harness/options.rs"]
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the harness reads them; here they are checked and printed as help"
    )
)]
mod bench_options;
mod bundle;
mod calibrate;
mod cargo;
mod ci;
mod golden;
mod macos;
mod mlx;
#[path = "../../crates/cli/src/arguments.rs"]
#[expect(
    dead_code,
    reason = "the command `mlx` reads them; here they are checked and printed as help"
)]
mod mlx_arguments;
mod notebooks;
mod setup;
mod suite;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit status for a command line that is not understood.
const USAGE_ERROR: u8 = 2;

/// Everything that is done to this workspace by hand
#[derive(Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    version,
    args_override_self = true,
    after_help = "Exit status: 0 for success, 1 when something failed, 2 for a command line that is not understood."
)]
struct Xtask {
    #[command(subcommand)]
    command: Option<Command>,
}

/// The commands. A new one is a file beside this one, a variant here and a line in `run`.
#[derive(Subcommand)]
enum Command {
    /// Fetch and build the native files
    #[command(after_help = setup::variables())]
    Setup(setup::SetupArguments),
    /// A program with all that it loads, in a folder that runs elsewhere
    Bundle(bundle::BundleArguments),
    /// Fused kernels, Whisper on real speech, compiled models
    Demo(mlx_arguments::DemoArguments),
    /// Every test of every crate
    Test(test::TestArguments),
    /// The test programs of a bundle, with one JSON file of what came
    Suite(suite::SuiteArguments),
    /// What this machine has and how to fix what is missing
    Doctor(mlx_arguments::DoctorArguments),
    /// Text of recordings
    Transcribe(mlx_arguments::TranscribeArguments),
    /// Text that a language model writes; a conversation without --prompt and --chat
    Generate(mlx_arguments::GenerateArguments),
    /// Write the golden files of the compiler again
    Golden,
    /// This workspace and its rivals on the same work
    Bench(bench_options::Options),
    /// The notebooks, run in Jupyter's Rust kernel
    Notebooks(notebooks::NotebooksArguments),
    /// The C++ compiled and linked for macOS, without running it
    Macos,
    /// House rules: file length, first lines, the fence, SAFETY comments, links
    Tidy(tidy::TidyArguments),
    /// All that CI runs
    Ci(ci::CiArguments),
}

fn main() -> ExitCode {
    // First of all: this process may be the child that runs CMake.
    mlx_provision::run_cmake_child_if_requested();
    let xtask = match Xtask::try_parse() {
        Ok(xtask) => xtask,
        Err(error) => {
            let status = if error.use_stderr() { USAGE_ERROR } else { 0 };
            // A closed pipe is no failure of `cargo xtask --help | head`.
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    match run(xtask.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Option<Command>) -> anyhow::Result<()> {
    match command {
        Some(Command::Setup(arguments)) => setup::run(arguments),
        Some(Command::Bundle(arguments)) => bundle::run(arguments),
        Some(Command::Demo(_)) => mlx::run("demo"),
        Some(Command::Test(arguments)) => test::run(&arguments),
        Some(Command::Suite(arguments)) => suite::run(&arguments),
        Some(Command::Doctor(_)) => mlx::run("doctor"),
        Some(Command::Transcribe(_)) => mlx::run("transcribe"),
        Some(Command::Generate(_)) => mlx::run("generate"),
        Some(Command::Golden) => golden::run(),
        Some(Command::Bench(_)) => bench::run(),
        Some(Command::Notebooks(arguments)) => notebooks::run(&arguments),
        Some(Command::Macos) => macos::check(),
        Some(Command::Tidy(arguments)) => tidy::run(&arguments),
        Some(Command::Ci(arguments)) => ci::run(&arguments),
        None => {
            let _ = <Xtask as clap::CommandFactory>::command().print_help();
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Xtask::command().debug_assert();
    }

    #[test]
    fn options_of_cargo_test_are_accepted() {
        for line in [
            "xtask test -p mlx --test array -- --nocapture",
            "xtask test --release name",
            "xtask test --device gpu",
        ] {
            let xtask = Xtask::try_parse_from(line.split(' ')).unwrap();
            assert!(matches!(xtask.command, Some(Command::Test(_))), "{line}");
        }
    }
}
