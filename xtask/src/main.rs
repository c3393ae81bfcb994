//! `cargo xtask`: everything that is done to this workspace by hand, one file for each command.

mod bench;
mod bundle;
mod cargo;
mod ci;
mod golden;
mod macos;
mod mlx;
mod notebooks;
mod setup;
mod test;
mod tidy;

use std::process::ExitCode;

/// A command: its name, what it does in one line, and its function.
type Command = (
    &'static str,
    &'static str,
    fn(lexopt::Parser) -> anyhow::Result<()>,
);

/// The commands. A new one is a file beside this one and a line here.
const COMMANDS: &[Command] = &[
    (
        "setup",
        "fetch and build the native files: [--backend cpu|metal|cuda12|cuda13] [--dir FOLDER]",
        setup::run,
    ),
    (
        "bundle",
        "a program with all that it loads, in a folder that runs elsewhere: [--to FOLDER] [--backend NAME] [PROGRAM..]",
        bundle::run,
    ),
    (
        "demo",
        "fused kernels, Whisper on real speech, compiled models: [--audio FILE] [--model DIR|hf:NAME] [--json FILE]",
        mlx::demo,
    ),
    (
        "test",
        "every test of every crate; arguments go to cargo test",
        test::run,
    ),
    (
        "doctor",
        "what this machine has and how to mend it: [--json]",
        mlx::doctor,
    ),
    (
        "transcribe",
        "text of recordings: [--model DIR|hf:NAME] FILE...",
        mlx::transcribe,
    ),
    (
        "generate",
        "text that a language model writes: [--model FILE.gguf|DIR|hf:NAME] [--prompt TEXT | --chat TEXT]",
        mlx::generate,
    ),
    (
        "golden",
        "write the golden files of the compiler anew",
        golden::run,
    ),
    (
        "bench",
        "us and our rivals on the same work: [--quick] [--only PART] [--against NAME,..] [--compare OLD.json] ...",
        bench::run,
    ),
    (
        "notebooks",
        "the notebooks, run in Jupyter's Rust kernel: [--as-programs] [NAME..]",
        notebooks::run,
    ),
    (
        "macos",
        "the C++ compiled and linked for macOS, without running it",
        macos::run,
    ),
    (
        "tidy",
        "house rules: file length, first lines, the fence, SAFETY comments, links",
        tidy::run,
    ),
    ("ci", "all that CI runs: [--skip-tests]", ci::run),
];

fn main() -> ExitCode {
    // First of all: this process may be the child that runs CMake.
    mlx_provision::enter();
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> anyhow::Result<()> {
    let mut args = lexopt::Parser::from_env();
    let name = match args.next()? {
        Some(lexopt::Arg::Value(name)) => name,
        None | Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h')) => {
            print_help();
            return Ok(());
        }
        Some(other) => return Err(other.unexpected().into()),
    };
    let command = COMMANDS.iter().find(|command| name == command.0);
    let Some((_, _, run)) = command else {
        anyhow::bail!("unknown command {name:?}; `cargo xtask --help` lists them all");
    };
    run(args)
}

fn print_help() {
    println!("cargo xtask COMMAND\n");
    for (name, what, _) in COMMANDS {
        println!("  {name:<10} {what}");
    }
}
