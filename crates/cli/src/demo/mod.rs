//! `mlx demo`: fused kernels against composed formulas, Whisper on real speech with both, then models compiled.

mod compiler;
mod kernels;
mod reference;
mod whisper;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::arguments::DemoArguments;
use crate::output;

/// What the demonstration found, as it is written to `--json`.
#[derive(Serialize)]
struct Report {
    device: String,
    kernels: Vec<kernels::Row>,
    whisper: whisper::Report,
    compiler: compiler::Report,
}

/// Runs all parts and prints them.
pub fn run(arguments: &DemoArguments) -> Result<()> {
    let audio = arguments.audio.as_deref();
    let device = mlx::Device::current()?.to_string();
    output::line(format_args!(
        "Part 1: fused kernels against composed formulas ({device}, float32, median of {} runs)\n",
        kernels::RUNS
    ));
    let kernels = kernels::run()?;
    output::line(format_args!("\nPart 2: Whisper on real speech\n"));
    let loaded = crate::model::load(arguments.model.as_deref())?;
    let whisper = whisper::run(audio, &loaded)?;
    output::line(format_args!("\nPart 3: models compiled\n"));
    let compiler = compiler::run(&loaded, audio)?;
    let report = Report {
        device,
        kernels,
        whisper,
        compiler,
    };
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("demo: {}", path.display()))?;
        output::line(format_args!("\nwritten to {}", path.display()));
    }
    anyhow::ensure!(
        report.whisper.equal,
        "the transcripts with composed and with fused kernels differ"
    );
    Ok(())
}
