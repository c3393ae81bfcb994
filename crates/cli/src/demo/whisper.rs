//! Part 2: a recording transcribed with composed formulas and with fused kernels.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use mlx_models::audio::Audio;
use mlx_models::whisper::{TranscribeOptions, Transcriber, Transcript};
use mlx_nn::FastOps;
use mlx_provision::Progress;
use mlx_testdata::assets;
use serde::Serialize;

use crate::model::Whisper;
use crate::output;

/// What the transcription found.
#[derive(Serialize)]
pub struct Report {
    audio: String,
    model: String,
    composed: Run,
    fused: Run,
    /// Whether both wrote the same words.
    pub equal: bool,
    peak_memory_mb: f64,
}

/// One transcription.
#[derive(Serialize)]
struct Run {
    text: String,
    mel_ms: f64,
    encoder_ms: f64,
    decoder_ms: f64,
    total_ms: f64,
    tokens_per_s: f64,
}

/// How often each form runs; the fastest is shown.
const RUNS: usize = 3;

/// Transcribes `audio`, or the JFK recording, with both forms and prints them.
pub fn run(audio: Option<&Path>, whisper: &Whisper) -> Result<Report> {
    let path = path(audio)?;
    let sound = sound(audio)?;
    output::line(format_args!(
        "audio  {} ({:.1} s)",
        path.display(),
        sound.seconds()
    ));
    output::line(format_args!("model  {}\n", whisper.name));
    mlx::memory::reset_peak()?;
    let composed = transcribe(whisper, FastOps::Composed, &sound.samples)?;
    let fused = transcribe(whisper, FastOps::Fused, &sound.samples)?;
    output::line(format_args!(
        "{:<9} {:>8} {:>11} {:>11} {:>10} {:>9}",
        "", "mel ms", "encoder ms", "decoder ms", "total ms", "tokens/s"
    ));
    for (name, run) in [("composed", &composed), ("fused", &fused)] {
        output::line(format_args!(
            "{name:<9} {:>8.1} {:>11.1} {:>11.1} {:>10.1} {:>9.1}",
            run.mel_ms, run.encoder_ms, run.decoder_ms, run.total_ms, run.tokens_per_s
        ));
    }
    let equal = composed.text == fused.text;
    output::line(format_args!("\ncomposed {}", composed.text.trim()));
    output::line(format_args!("fused    {}", fused.text.trim()));
    let peak_memory_mb = mlx::memory::usage()?.peak as f64 / 1e6;
    output::line(format_args!(
        "\nsame words: {}; peak memory {peak_memory_mb:.0} MB",
        if equal { "yes" } else { "NO" }
    ));
    Ok(Report {
        audio: path.display().to_string(),
        model: whisper.name.clone(),
        composed,
        fused,
        equal,
        peak_memory_mb,
    })
}

/// The samples of `audio`, or of the JFK recording.
pub(super) fn sound(audio: Option<&Path>) -> Result<Audio> {
    let path = match audio {
        Some(path) => path.to_owned(),
        None => assets::speech()?.path,
    };
    Audio::load(&path).with_context(|| format!("audio {}", path.display()))
}

/// The file of `audio`, or the JFK recording, or the other one where npm is missing; says so.
fn path(audio: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = audio {
        return Ok(path.to_owned());
    }
    let speech = assets::speech()?;
    if let Some(note) = &speech.note {
        output::line(format_args!("note: {note}"));
    }
    Ok(speech.path)
}

fn transcribe(whisper: &Whisper, kernels: FastOps, samples: &[f32]) -> Result<Run> {
    let network = whisper.network.with_kernels(kernels);
    let transcriber = Transcriber::new(
        &network,
        &whisper.checkpoint.tokenizer,
        &whisper.checkpoint.generation,
    )?;
    let _spinner = Progress::new().spinner("transcribing");
    let mut best: Option<Run> = None;
    for _ in 0..RUNS {
        let start = Instant::now();
        let transcript = transcriber.transcribe(samples, &options())?;
        let run = Run::of(&transcript, start.elapsed().as_secs_f64() * 1e3);
        if best
            .as_ref()
            .is_none_or(|best| run.total_ms < best.total_ms)
        {
            best = Some(run);
        }
    }
    best.context("no run was made")
}

/// Greedy, without timestamps: what the comparison with other programs is measured on.
pub(super) fn options() -> TranscribeOptions {
    let mut options = TranscribeOptions::default();
    options.decode.timestamps = false;
    options
}

impl Run {
    fn of(transcript: &Transcript, total_ms: f64) -> Self {
        let timings = &transcript.timings;
        let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
        Self {
            text: transcript.text.clone(),
            mel_ms: ms(timings.mel),
            encoder_ms: ms(timings.encoder),
            decoder_ms: ms(timings.decoder),
            total_ms,
            tokens_per_s: timings.tokens_per_second(),
        }
    }
}
