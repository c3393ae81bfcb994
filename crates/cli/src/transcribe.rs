//! `mlx transcribe`: text of recordings.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lexopt::prelude::*;
use mlx_models::audio::Audio;
use mlx_models::whisper::{Task, TranscribeOptions, Transcriber};
use mlx_nn::Kernels;

use crate::model::load;

/// Transcribes each file and prints its segments with their times.
pub fn run(mut args: lexopt::Parser) -> Result<()> {
    let (mut model, mut kernels, mut files) = (None, Kernels::Fused, Vec::<PathBuf>::new());
    let mut options = TranscribeOptions::default();
    while let Some(arg) = args.next()? {
        match arg {
            Long("model") => model = Some(args.value()?.string()?),
            Long("composed") => kernels = Kernels::Composed,
            Long("language") => options.decode.language = Some(args.value()?.string()?),
            Long("translate") => options.decode.task = Task::Translate,
            Long("beams") => options.decode.beam_size = args.value()?.parse()?,
            Long("no-timestamps") => options.decode.timestamps = false,
            Value(file) => files.push(file.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    ensure!(
        !files.is_empty(),
        "transcribe: wanted at least one recording"
    );
    let whisper = load(model.as_deref())?;
    let network = whisper.network.with_kernels(kernels);
    let transcriber = Transcriber::new(
        &network,
        &whisper.checkpoint.tokenizer,
        &whisper.checkpoint.generation,
    )?;
    for file in &files {
        let audio = Audio::load(file).with_context(|| format!("audio {}", file.display()))?;
        if files.len() > 1 {
            println!("{}", file.display());
        }
        transcriber.transcribe_with(&audio.samples, &options, |segment| {
            println!(
                "[{} - {}] {}",
                clock(segment.start),
                clock(segment.end),
                segment.text.trim()
            );
        })?;
    }
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
