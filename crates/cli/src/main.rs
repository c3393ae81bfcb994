//! The command `mlx`: a demonstration, a check of this machine, transcription and generation.
//!
//! ```text
//! mlx demo       [--audio FILE] [--model DIR|hf:NAME] [--json FILE]
//! mlx doctor     [--json]
//! mlx transcribe [--model DIR|hf:NAME] [--composed] [--language CODE] [--translate] [--beams N] ... FILE...
//! mlx generate   [--model FILE.gguf|DIR|hf:NAME] [--prompt TEXT | --chat TEXT] [--max-tokens N] [--temperature T] ...
//! ```
#![forbid(unsafe_code)]

mod demo;
mod doctor;
mod generate;
mod model;
mod output;
mod transcribe;

use std::process::ExitCode;

use lexopt::prelude::*;

const USAGE: &str = "\
usage: mlx <command> [options]

commands:
  demo        fused kernels against composed formulas, Whisper with both, then models compiled
              [--audio FILE] [--model DIR|hf:NAME] [--json FILE]
  doctor      what this machine has and which path each kernel takes
              [--json]
  transcribe  text of recordings
              [--model DIR|hf:NAME] [--composed] [--language CODE] [--translate]
              [--beams N] [--best-of N] [--no-timestamps] [--no-vad] FILE...   (- is the standard input)
  generate    text that a language model writes; a conversation without --prompt and --chat
              [--model FILE.gguf|DIR|hf:NAME] [--prompt TEXT | --chat TEXT] [--system TEXT]
              [--max-tokens N] [--stop TEXT] [--temperature T] [--top-k N] [--top-p P] [--min-p P]
              [--repetition-penalty X] [--seed N] [--composed] [--unpacked]
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            output::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let mut args = lexopt::Parser::from_env();
    match args.next()? {
        Some(Value(command)) if command == "demo" => demo::run(args).map(|()| ExitCode::SUCCESS),
        Some(Value(command)) if command == "doctor" => doctor::run(args),
        Some(Value(command)) if command == "transcribe" => transcribe::run(args),
        Some(Value(command)) if command == "generate" => {
            generate::run(args).map(|()| ExitCode::SUCCESS)
        }
        Some(Short('h') | Long("help")) | None => {
            output::write(format_args!("{USAGE}"));
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => Err(other.unexpected().into()),
    }
}
