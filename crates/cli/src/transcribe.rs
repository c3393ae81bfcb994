//! `mlx transcribe`: text of recordings.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use lexopt::prelude::*;
use mlx_models::audio::Audio;
use mlx_models::whisper::{Checkpoint, Network, Task, TranscribeOptions, Transcriber};
use mlx_nn::FastOps;

use crate::model::load;
use crate::output;

/// What the command line asks for.
struct Asked {
    model: Option<String>,
    kernels: FastOps,
    options: TranscribeOptions,
    /// `-` is the standard input.
    files: Vec<PathBuf>,
}

/// Transcribes each file and prints its segments with their times.
///
/// A recording that cannot be read is reported, the others are transcribed all the same, and the exit code is 1.
pub fn run(args: lexopt::Parser) -> Result<ExitCode> {
    let asked = parse(args)?;
    let mut model = None;
    let mut failed = false;
    for file in &asked.files {
        let audio = match read(file) {
            Ok(audio) => audio,
            Err(error) => {
                output::note(format_args!("error: {error:#}"));
                failed = true;
                continue;
            }
        };
        if let Some(truncated) = &audio.truncated {
            output::note(format_args!("warning: {}: {truncated}", name(file)));
        }
        // Loaded when the first recording is there: a wrong name need not wait for it.
        let (checkpoint, network) = match model.take() {
            Some(loaded) => model.insert(loaded),
            None => {
                let loaded = load(asked.model.as_deref())?;
                let network = loaded.network.with_kernels(asked.kernels);
                model.insert((loaded.checkpoint, network))
            }
        };
        if asked.files.len() > 1 {
            output::line(format_args!("{}", name(file)));
        }
        if let Err(error) = transcribe(checkpoint, network, &audio, &asked.options) {
            output::note(format_args!("error: {}: {error:#}", name(file)));
            failed = true;
        }
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn parse(mut args: lexopt::Parser) -> Result<Asked> {
    let mut asked = Asked {
        model: None,
        kernels: FastOps::Fused,
        options: TranscribeOptions::default(),
        files: Vec::new(),
    };
    while let Some(arg) = args.next()? {
        let decode = &mut asked.options.decode;
        match arg {
            Long("model") => asked.model = Some(args.value()?.string()?),
            Long("composed") => asked.kernels = FastOps::Composed,
            Long("language") => decode.language = Some(args.value()?.string()?),
            Long("translate") => decode.task = Task::Translate,
            Long("beams") => decode.beam_size = args.value()?.parse()?,
            Long("best-of") => decode.best_of = args.value()?.parse()?,
            Long("no-timestamps") => decode.timestamps = false,
            Long("no-vad") => asked.options.vad_filter = false,
            Value(file) => asked.files.push(file.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    ensure!(
        !asked.files.is_empty(),
        "transcribe: wanted at least one recording, or - for the standard input"
    );
    Ok(asked)
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// How a recording is called in what is printed.
fn name(file: &Path) -> String {
    if is_standard_input(file) {
        "standard input".into()
    } else {
        file.display().to_string()
    }
}

fn read(file: &Path) -> Result<Audio> {
    if !is_standard_input(file) {
        return Ok(Audio::load(file)?);
    }
    let input = std::io::stdin();
    ensure!(
        !input.is_terminal(),
        "standard input: wanted a recording, got a terminal"
    );
    Audio::from_reader(input.lock()).map_err(|error| anyhow::anyhow!("standard input: {error}"))
}

fn transcribe(
    checkpoint: &Checkpoint,
    network: &Network,
    audio: &Audio,
    options: &TranscribeOptions,
) -> Result<()> {
    let transcriber = Transcriber::new(network, &checkpoint.tokenizer, &checkpoint.generation)?;
    transcriber.transcribe_with(&audio.samples, options, |segment| {
        output::line(format_args!(
            "[{} - {}] {}",
            clock(segment.start),
            clock(segment.end),
            segment.text.trim()
        ));
    })?;
    Ok(())
}

/// Seconds as `mm:ss.hh`.
fn clock(seconds: f64) -> String {
    let hundredths = (seconds * 100.0).round().max(0.0) as u64;
    format!(
        "{:02}:{:02}.{:02}",
        hundredths / 6000,
        hundredths / 100 % 60,
        hundredths % 100
    )
}
