//! `mlx transcribe`: text of recordings.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use mlx_models::audio::Audio;
use mlx_models::whisper::{Task, TranscribeOptions, Transcriber};
use mlx_nn::FastOps;
use mlx_provision::Progress;

use crate::arguments::TranscribeArguments;
use crate::model::{Whisper, load};
use crate::output;

/// Recordings up to this length are transcribed without a progress bar.
const SHORT_SECONDS: f64 = 30.0;

/// Transcribes each file and prints its segments with their times.
///
/// A recording that cannot be read is reported, the others are transcribed all the same, and the exit code is 1.
pub fn run(arguments: &TranscribeArguments) -> Result<ExitCode> {
    let options = options(arguments);
    let mut model = None;
    let mut failed = false;
    for file in &arguments.files {
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
        // Loaded when the first recording has been read: a wrong file name is reported at once.
        let loaded = match model.take() {
            Some(loaded) => model.insert(loaded),
            None => {
                let mut loaded = load(arguments.model.as_deref())?;
                loaded.network = loaded.network.with_kernels(kernels(arguments));
                model.insert(loaded)
            }
        };
        if arguments.files.len() > 1 {
            output::line(format_args!("{}", name(file)));
        }
        if let Err(error) = transcribe(loaded, &audio, &options) {
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

fn kernels(arguments: &TranscribeArguments) -> FastOps {
    match arguments.composed {
        true => FastOps::Composed,
        false => FastOps::Fused,
    }
}

fn options(arguments: &TranscribeArguments) -> TranscribeOptions {
    let mut options = TranscribeOptions::default();
    let decode = &mut options.decode;
    decode.language.clone_from(&arguments.language);
    if arguments.translate {
        decode.task = Task::Translate;
    }
    decode.beam_size = arguments.beams.unwrap_or(decode.beam_size);
    decode.best_of = arguments.best_of.unwrap_or(decode.best_of);
    decode.timestamps &= !arguments.no_timestamps;
    options.vad_filter &= !arguments.no_vad;
    options
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

fn transcribe(model: &Whisper, audio: &Audio, options: &TranscribeOptions) -> Result<()> {
    let checkpoint = &model.checkpoint;
    let transcriber = Transcriber::new(
        &model.network,
        &checkpoint.tokenizer,
        &checkpoint.generation,
    )?;
    let bar = (audio.seconds() > SHORT_SECONDS)
        .then(|| Progress::new().bar("transcribing", audio.seconds() as u64));
    transcriber.transcribe_with(&audio.samples, options, |segment| {
        let write = || output::line(format_args!("{segment}"));
        match &bar {
            Some(bar) => {
                bar.suspend(write);
                bar.set(segment.end as u64);
            }
            None => write(),
        }
    })?;
    Ok(())
}
