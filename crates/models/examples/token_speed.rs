//! Prints how long a token takes in the decoders of SmolLM2 and Whisper, eager and compiled: run it with `--release`.
//!
//! The argument, if any, picks a model (`smollm2`, `whisper`, or the folder of a checkpoint); a second one picks a form (`eager`,
//! `compiled`).

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use mlx_compiler::CompileOptions;
use mlx_models::audio::Audio;
use mlx_models::llama::{Cache, Checkpoint, GenerateOptions, Generator, Network, NetworkOptions};
use mlx_models::whisper;
use mlx_models::whisper::Model;
use mlx_models::whisper::decoding::{DecodingOptions, decode};
use mlx_testdata::assets;

/// Rounds of each form; the best counts.
const ROUNDS: usize = 8;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (model, form) = (arguments.next(), arguments.next());
    let wanted =
        |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|asked| asked == name);
    let forms = ["eager", "compiled"];
    let forms = forms.into_iter().filter(|name| wanted(&form, name));
    if let Some(folder) = model.as_deref().filter(|name| Path::new(name).is_dir()) {
        return forms.clone().try_for_each(|form| checkpoint(folder, form));
    }
    if wanted(&model, "smollm2") {
        forms.clone().try_for_each(smollm2)?;
    }
    if wanted(&model, "whisper") {
        forms.clone().try_for_each(whisper_tiny)?;
    }
    Ok(())
}

fn smollm2(form: &str) -> Result<()> {
    let checkpoint = Checkpoint::open(&assets::smollm2()?)?;
    let mut network = Network::new(&checkpoint, &NetworkOptions::default())?;
    if form == "compiled" {
        network = network.compiled(CompileOptions::default());
    }
    let prompt = [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767, 30];
    let options = GenerateOptions {
        max_tokens: 64,
        ignore_end: true,
        ..GenerateOptions::default()
    };
    best("smollm2", form, || {
        let mut generator = Generator::with_capacity(&network, &checkpoint, 256)?;
        let timings = generator.generate(&prompt, &options, |_| {})?.timings;
        Ok(timings.decode.as_secs_f64() * 1e3 / timings.steps as f64)
    })
}

/// Decodes with a checkpoint after prompts of 16 and of 512 tokens: eager steps one by one, or as `mlx generate` does.
fn checkpoint(folder: &str, form: &str) -> Result<()> {
    const STEPS: usize = 256;
    let checkpoint = Checkpoint::open(folder)?;
    let network = Network::new(&checkpoint, &NetworkOptions::default())?;
    for length in [16, 512] {
        let prompt: Vec<u32> = (0..length).map(|i| 5 + (i * 7919) % 1000).collect();
        let name = format!("{folder} after {length}");
        if form == "eager" {
            best(&name, form, || eager_steps(&network, &prompt, STEPS))?;
            continue;
        }
        let options = GenerateOptions {
            max_tokens: STEPS,
            ignore_end: true,
            ..GenerateOptions::default()
        };
        let mut generator = Generator::with_capacity(&network, &checkpoint, 1024)?;
        best(&name, form, || {
            let generated = generator.generate(&prompt, &options, |_| {})?;
            println!("{:?}", &generated.tokens[..8]);
            let timings = generated.timings;
            Ok(timings.decode.as_secs_f64() * 1e3 / timings.steps as f64)
        })?;
    }
    Ok(())
}

/// Milliseconds of a step that is built anew each time.
fn eager_steps(network: &Network, prompt: &[u32], steps: usize) -> Result<f64> {
    let mut cache = Cache::new(network, 1024)?;
    let mut token = cache.append(network, prompt)?.argmax(-1).item::<u32>()?;
    let start = Instant::now();
    for _ in 0..steps {
        token = cache.append(network, &[token])?.argmax(-1).item::<u32>()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e3 / steps as f64)
}

fn whisper_tiny(form: &str) -> Result<()> {
    let checkpoint = whisper::Checkpoint::open(assets::whisper_tiny_en()?)?;
    let mut network =
        whisper::Network::new(checkpoint.config, &checkpoint.weights, mlx::Dtype::Float32)?;
    if form == "compiled" {
        network = network.compiled(CompileOptions::default());
    }
    let samples = Audio::load(assets::speech()?.path)?.samples;
    let mel = whisper::LogMel::new(checkpoint.config.n_mels)?.padded(&samples);
    let features = network.encode(&mel)?;
    let options = DecodingOptions {
        timestamps: false,
        ..DecodingOptions::default()
    };
    let (special, generation) = (checkpoint.tokenizer.special(), &checkpoint.generation);
    best("whisper", form, || {
        let start = Instant::now();
        let decoded = decode(&network, &features, special, generation, &options)?;
        // The end of the text is a step too.
        Ok(start.elapsed().as_secs_f64() * 1e3 / (decoded.tokens.len() + 1) as f64)
    })
}

fn best(model: &str, form: &str, mut round: impl FnMut() -> Result<f64>) -> Result<()> {
    round()?;
    let times = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<_>>>()?;
    let shortest = times.iter().copied().fold(f64::INFINITY, f64::min);
    println!("{model} {form}: {shortest:.2} ms a token (all rounds: {times:.2?})");
    Ok(())
}
