//! Part 3: two models written with textbook formulas, compiled: what was recognized, what runs, and how fast.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mlx_compiler::{CompileOptions, Fallback};
use mlx_models::llama::{self, GenerateOptions, Generator, NetworkOptions};
use mlx_models::whisper;
use mlx_models::whisper::Transcriber;
use mlx_nn::FastOps;
use mlx_provision::Progress;
use mlx_testdata::assets;
use serde::Serialize;

use super::whisper::{options as decode_options, sound};
use crate::model::Whisper;
use crate::output;

/// What the compiler made of both models.
#[derive(Serialize)]
pub struct Report {
    whisper: Model,
    llama: Model,
}

/// What the compiler made of one model.
#[derive(Serialize)]
struct Model {
    /// How often each formula was recognized.
    fired: BTreeMap<String, usize>,
    refused: Vec<Refused>,
    /// How often each operation occurs in the graphs as they were written, and as they run.
    ops_before: BTreeMap<String, usize>,
    ops_after: BTreeMap<String, usize>,
    /// The network called as it is written.
    plain_ms: f64,
    /// Compiled, with no formula recognized.
    compiled_ms: f64,
    /// Compiled, with fused operations.
    fused_ms: f64,
    /// Whether all three gave the same words or tokens.
    equal: bool,
    /// The report as it is printed: a line for each place, with how often it occurs.
    #[serde(skip)]
    sites: String,
}

#[derive(Serialize)]
struct Refused {
    fusion: String,
    site: String,
    reason: String,
}

/// The prompt of the text model, and how many tokens it writes: unfused, each step unpacks every matrix.
const PROMPT: &str = "The quick brown fox jumps over the lazy dog.";
const TOKENS: usize = 8;

/// How often each form of Whisper runs; the fastest is shown.
const RUNS: usize = 2;

/// Compiles both models and prints what came of it.
pub fn run(loaded: &Whisper, audio: Option<&Path>) -> Result<Report> {
    output::line(format_args!("Whisper, written with textbook formulas:\n"));
    let spinner = Progress::new().spinner("compiling and transcribing");
    let whisper = run_whisper(loaded, audio).context("compiled Whisper")?;
    drop(spinner);
    whisper.print("ms a transcription");
    output::line(format_args!(
        "\nSmolLM2-135M-Instruct Q4_1, written with textbook formulas:\n"
    ));
    let spinner = Progress::new().spinner("compiling and generating");
    let llama = run_llama().context("compiled SmolLM2")?;
    drop(spinner);
    llama.print(&format!("ms for {TOKENS} tokens"));
    ensure!(
        whisper.equal && llama.equal,
        "a compiled model gave other words than the plain one"
    );
    Ok(Report { whisper, llama })
}

/// Fused operations wherever there is one, so that on the CPU, too, one sees what they do.
fn fused_options() -> CompileOptions {
    CompileOptions {
        fallback: Fallback::Never,
        ..CompileOptions::default()
    }
}

fn run_whisper(loaded: &Whisper, audio: Option<&Path>) -> Result<Model> {
    let sound = sound(audio)?;
    let plain = loaded.network.with_kernels(FastOps::Composed);
    let transcribe = |network: &whisper::Network| -> Result<(String, f64)> {
        let checkpoint = &loaded.checkpoint;
        let transcriber = Transcriber::new(network, &checkpoint.tokenizer, &checkpoint.generation)?;
        let mut best = f64::INFINITY;
        let mut text = String::new();
        for _ in 0..RUNS {
            let start = Instant::now();
            text = transcriber
                .transcribe(&sound.samples, &decode_options())?
                .text;
            best = best.min(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok((text, best))
    };
    let compiled = plain.compiled(CompileOptions::without_fusions());
    let fused = plain.compiled(fused_options());
    let results = [
        transcribe(&plain)?,
        transcribe(&compiled)?,
        transcribe(&fused)?,
    ];
    let report = fused.report().context("the fused network has not run")?;
    Ok(Model::new(&report, &results))
}

fn run_llama() -> Result<Model> {
    let checkpoint = llama::Checkpoint::open(assets::smollm2()?)?;
    let prompt = checkpoint.tokenizer.encode(PROMPT)?;
    let plain = llama::Network::new(&checkpoint, &NetworkOptions::default())?
        .with_kernels(FastOps::Composed);
    let options = GenerateOptions {
        max_tokens: TOKENS,
        ..GenerateOptions::default()
    };
    let generate = |network: &llama::Network| -> Result<(Vec<u32>, f64)> {
        let mut generator = Generator::with_capacity(network, &checkpoint, 128)?;
        let mut options = options.clone();
        // The first step traces the graph.
        options.max_tokens = 2;
        generator.generate(&prompt, &options, |_| {})?;
        let mut generator = Generator::with_capacity(network, &checkpoint, 128)?;
        options.max_tokens = TOKENS;
        let start = Instant::now();
        let generated = generator.generate(&prompt, &options, |_| {})?;
        Ok((generated.tokens, start.elapsed().as_secs_f64() * 1e3))
    };
    let compiled = plain.compiled(CompileOptions::without_fusions());
    let fused = plain.compiled(fused_options());
    let results = [generate(&plain)?, generate(&compiled)?, generate(&fused)?];
    let report = fused.report().context("the fused network has not run")?;
    Ok(Model::new(&report, &results))
}

impl Model {
    fn new<T: PartialEq>(report: &mlx_compiler::Report, results: &[(T, f64); 3]) -> Self {
        let counts = report.counts().into_iter();
        let refused = report.refused.iter().map(|refused| Refused {
            fusion: refused.fusion.to_string(),
            site: refused.site.to_string(),
            reason: refused.refusal.to_string(),
        });
        let [plain, compiled, fused] = results;
        Self {
            fired: counts.map(|(fusion, n)| (fusion.to_string(), n)).collect(),
            refused: refused.collect(),
            ops_before: report.ops_before.clone(),
            ops_after: report.ops_after.clone(),
            plain_ms: plain.1,
            compiled_ms: compiled.1,
            fused_ms: fused.1,
            equal: plain.0 == compiled.0 && plain.0 == fused.0,
            sites: report.to_string(),
        }
    }

    fn print(&self, unit: &str) {
        let fired: Vec<String> = self
            .fired
            .iter()
            .map(|(name, n)| format!("{name} x {n}"))
            .collect();
        output::line(format_args!(
            "{}\n\nrecognized {}",
            self.sites,
            fired.join(", ")
        ));
        output::line(format_args!(
            "\n{:<38} {:>8} {:>8}",
            "operation", "before", "after"
        ));
        for (name, before, after) in self.frequencies() {
            output::line(format_args!("{name:<38} {before:>8} {after:>8}"));
        }
        output::line(format_args!(
            "\n{unit}: plain {:.0}, compiled {:.0}, compiled and fused {:.0}; same result: {}",
            self.plain_ms,
            self.compiled_ms,
            self.fused_ms,
            if self.equal { "yes" } else { "NO" }
        ));
    }

    /// The operations that are most frequent before or after, then all of them together.
    fn frequencies(&self) -> Vec<(String, usize, usize)> {
        const SHOWN: usize = 12;
        let count =
            |counts: &BTreeMap<String, usize>, name: &str| counts.get(name).copied().unwrap_or(0);
        let mut names: Vec<&String> = self
            .ops_before
            .keys()
            .chain(self.ops_after.keys())
            .collect();
        names.sort();
        names.dedup();
        let mut rows: Vec<(String, usize, usize)> = names
            .into_iter()
            .map(|name| {
                let (before, after) = (count(&self.ops_before, name), count(&self.ops_after, name));
                (name.clone(), before, after)
            })
            .collect();
        rows.sort_by_key(|(name, before, after)| {
            (
                std::cmp::Reverse(before.max(after).to_owned()),
                name.clone(),
            )
        });
        rows.truncate(SHOWN);
        rows.push((
            "all".to_owned(),
            self.ops_before.values().sum(),
            self.ops_after.values().sum(),
        ));
        rows
    }
}
