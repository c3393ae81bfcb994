//! Transcribes recordings with a Whisper that `mlx export` wrote: a program that needs neither MLX, Python nor a GPU.
//!
//! `transcribe_without_mlx [--timings] FOLDER RECORDING..` prints what `mlx transcribe` prints. As one static file it is
//! built with
//!
//! ```sh
//! RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile static \
//!     --target x86_64-unknown-linux-gnu -p mlx-examples --bin transcribe_without_mlx
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mlx_models::audio::Audio;
use mlx_models::whisper::{SavedModel, TranscribeOptions, Transcriber};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let is_timed = arguments
        .iter()
        .any(|argument| argument.as_os_str() == "--timings");
    arguments.retain(|argument| argument.as_os_str() != "--timings");
    let [folder, recordings @ ..] = arguments.as_slice() else {
        bail!("wanted the folder of a saved model and recordings, got nothing");
    };
    if recordings.is_empty() {
        bail!("wanted recordings after the folder, got none");
    }
    let clock = Instant::now();
    let (model, tokenizer) = SavedModel::open(folder)?;
    let opened = clock.elapsed();
    let transcriber = Transcriber::new(&model.network, &tokenizer, &model.generation)?;
    for recording in recordings {
        let audio = Audio::load(recording)?;
        let options = TranscribeOptions::default();
        let show = |segment: &_| println!("{segment}");
        let transcript = transcriber
            .transcribe_with(&audio.samples, &options, show)
            .with_context(|| recording.display().to_string())?;
        if is_timed {
            let timings = transcript.timings;
            eprintln!(
                "opened in {opened:.3?}; spectrogram {:.3?}, encoder {:.3?}, decoder {:.3?}, {} tokens",
                timings.mel, timings.encoder, timings.decoder, timings.tokens
            );
        }
    }
    Ok(())
}
