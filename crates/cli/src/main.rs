//! The command `mlx`: a demonstration, a check of this machine, transcription, generation, ranks of a group, lint,
//! profiles, autotuning, and comparing graphs.
//!
//! `mlx --help` lists the commands, `mlx COMMAND --help` the options of one, and `mlx completions SHELL` prints what a
//! shell needs to complete them. Exit status: 0 for success, 1 for a failure, 2 for a command line that is not
//! understood, 141 when the reader of the output closed it.
#![forbid(unsafe_code)]

mod arguments;
mod completions;
mod demo;
mod diff;
mod doctor;
mod export;
mod generate;
mod launch;
mod lint;
mod model;
mod output;
mod profile;
mod traced;
mod transcribe;
mod tune;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Exit status for a command line that is not understood.
const USAGE_ERROR: u8 = 2;

/// Fused kernels of MLX, Whisper and the Llama family from the command line
#[derive(Parser)]
#[command(name = "mlx", version, after_help = arguments::EXIT_STATUS, args_override_self = true)]
struct Mlx {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Fused kernels against composed formulas, Whisper with both, then models compiled
    Demo(arguments::DemoArguments),
    /// What this machine has, and which implementation each kernel uses
    Doctor(arguments::DoctorArguments),
    /// Text of recordings
    Transcribe(arguments::TranscribeArguments),
    /// Text that a language model writes; a conversation without --prompt and --chat
    Generate(arguments::GenerateArguments),
    /// Start a program as the ranks of a group, here or over ssh
    Launch(arguments::LaunchArguments),
    /// What makes a model slow or wrong, found in its graph
    Lint(arguments::LintArguments),
    /// Where the time of a model goes, by operation and source line
    Profile(arguments::ProfileArguments),
    /// Measure which form of each part of a model is the fastest, into a file
    Tune(arguments::TuneArguments),
    /// A model as functions in files, which run without MLX
    Export(arguments::ExportArguments),
    /// Two graphs side by side: where they differ, and the operations of both
    Diff(arguments::DiffArguments),
    /// Print what a shell needs to complete the commands and options
    Completions(completions::CompletionsArguments),
}

fn main() -> ExitCode {
    let mlx = match Mlx::try_parse() {
        Ok(mlx) => mlx,
        Err(error) if error.use_stderr() => {
            output::note(format_args!("{}", error.render().to_string().trim_end()));
            return ExitCode::from(USAGE_ERROR);
        }
        // Help and version were asked for.
        Err(error) => {
            output::write(format_args!("{}", error.render()));
            return ExitCode::SUCCESS;
        }
    };
    match run(mlx.command) {
        Ok(code) => code,
        Err(error) => {
            output::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Option<Command>) -> anyhow::Result<ExitCode> {
    match command {
        Some(Command::Demo(arguments)) => demo::run(&arguments).map(|()| ExitCode::SUCCESS),
        Some(Command::Doctor(arguments)) => doctor::run(&arguments),
        Some(Command::Transcribe(arguments)) => transcribe::run(&arguments),
        Some(Command::Generate(arguments)) => generate::run(&arguments).map(|()| ExitCode::SUCCESS),
        Some(Command::Launch(arguments)) => launch::run(&arguments),
        Some(Command::Lint(arguments)) => lint::run(&arguments),
        Some(Command::Profile(arguments)) => profile::run(&arguments).map(|()| ExitCode::SUCCESS),
        Some(Command::Tune(arguments)) => tune::run(&arguments),
        Some(Command::Export(arguments)) => export::run(&arguments).map(|()| ExitCode::SUCCESS),
        Some(Command::Diff(arguments)) => diff::run(&arguments),
        Some(Command::Completions(arguments)) => {
            completions::run(&arguments, Mlx::command());
            Ok(ExitCode::SUCCESS)
        }
        None => {
            output::write(format_args!("{}", Mlx::command().render_help()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Mlx::command().debug_assert();
    }

    #[test]
    fn repeated_options_take_the_last_value_and_lists_all() {
        let line =
            "mlx generate --model a --model b --stop x --stop -y --prompt -1 --top-k 1 --top-k=2";
        let Some(Command::Generate(arguments)) =
            Mlx::try_parse_from(line.split(' ')).unwrap().command
        else {
            panic!("another command");
        };
        assert_eq!(arguments.model.as_deref(), Some("b"));
        assert_eq!(arguments.stop, ["x", "-y"]);
        assert_eq!(arguments.prompt.as_deref(), Some("-1"));
        assert_eq!(arguments.top_k, Some(2));
    }
}
