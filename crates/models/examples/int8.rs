//! Prints what activations and key-value caches in 8 bits do to SmolLM2: tokens per second of decoding, the perplexity of this
//! repository's `README.md` and `ARCHITECTURE.md`, one after the other, and a step's time behind long texts. Run it with
//! `--release`.
//!
//! The argument, if any, is the number of tokens of the text (4096); 0 leaves the perplexity out.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use mlx::{Array, Dtype};
use mlx_compiler::CompileOptions;
use mlx_models::llama::{Checkpoint, GenerateOptions, Generator, Network, NetworkOptions};
use mlx_nn::{Activations, FastOps};
use mlx_testdata::assets;

/// Tokens that are predicted from one beginning.
const WINDOW: usize = 512;
/// Tokens of one step: fewer than the 16 from which on nothing is rounded.
const STEP: usize = 8;
/// Rounds of decoding; the best counts.
const ROUNDS: usize = 5;
/// Cached tokens before the steps that are timed.
const CACHED: [i32; 3] = [512, 2048, 8128];
/// Steps that are timed; the median counts.
const STEPS: usize = 15;

fn main() -> Result<()> {
    let length = std::env::args().nth(1).map(|length| length.parse());
    let length = length.transpose()?.unwrap_or(4096);
    let checkpoint = Checkpoint::open(&assets::smollm2()?)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = ["README.md", "ARCHITECTURE.md"]
        .map(|name| std::fs::read_to_string(root.join(name)))
        .into_iter()
        .collect::<std::io::Result<Vec<String>>>()?
        .concat();
    let mut tokens = checkpoint.tokenizer.encode(&text)?;
    tokens.truncate(length);
    let network = |activations| {
        let options = NetworkOptions {
            activations,
            ..NetworkOptions::default()
        };
        Network::new(&checkpoint, &options)
    };
    let plain = network(Activations::Float)?;
    let groups_of_32 = plain.with_kv_bits(Some(8), 32)?;
    let groups_of_64 = plain.with_kv_bits(Some(8), 64)?;
    let networks = [
        ("plain", &plain),
        ("activations int8", &network(Activations::Int8)?),
        ("kv cache int8, groups of 32", &groups_of_32),
        ("kv cache int8, groups of 64", &groups_of_64),
    ];
    for (name, network) in networks {
        let eager = tokens_per_second(network, &checkpoint)?;
        let compiled = network.compiled(CompileOptions::default());
        let compiled = tokens_per_second(&compiled, &checkpoint)?;
        println!("{name}: {eager:.1} tokens a second, compiled {compiled:.1}");
        if !tokens.is_empty() {
            let perplexity = perplexity(network, &tokens)?;
            println!(
                "{name}: perplexity {perplexity:.4} of {} tokens",
                tokens.len()
            );
        }
    }
    for cached in CACHED {
        let kinds = [&plain, &groups_of_64];
        let [plain, int8] = kinds.map(|network| step_milliseconds(network, cached));
        let compiled = kinds.map(|network| network.compiled(CompileOptions::default()));
        let [plain_compiled, int8_compiled] = compiled
            .each_ref()
            .map(|network| step_milliseconds(network, cached));
        println!(
            "{cached} cached tokens: a step takes {:.1} ms, int8 {:.1}; compiled {:.1}, int8 {:.1}",
            plain?, int8?, plain_compiled?, int8_compiled?
        );
    }
    Ok(())
}

/// The median time of a step behind `cached` tokens.
fn step_milliseconds(network: &Network, cached: i32) -> Result<f64> {
    let mut cache = network.new_kv_cache(1, cached + 1);
    let token = Array::from_slice(&[504_u32], [1, 1])?;
    let mut times = Vec::new();
    for _ in 0..STEPS {
        let started = Instant::now();
        let (logits, written) = network.next_token_logits(&token, cache, cached)?;
        cache = written;
        let arrays = cache.iter().flat_map(|(keys, values)| [keys, values]);
        mlx::eval(arrays.chain([&logits]))?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[STEPS / 2])
}

fn tokens_per_second(network: &Network, checkpoint: &Checkpoint) -> Result<f64> {
    let prompt = [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767, 30];
    let options = GenerateOptions {
        max_tokens: 64,
        ignore_end: true,
        ..GenerateOptions::default()
    };
    let mut best = 0.0_f64;
    for _ in 0..=ROUNDS {
        let mut generator = Generator::with_capacity(network, checkpoint, 256)?;
        let timings = generator.generate(&prompt, &options, |_| {})?.timings;
        best = best.max(timings.tokens_per_second());
    }
    Ok(best)
}

/// The exponential of the mean loss of each token but the first of a window.
fn perplexity(network: &Network, tokens: &[u32]) -> Result<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for window in tokens.chunks(WINDOW) {
        let capacity = i32::try_from(WINDOW)?;
        let mut cache = network.new_kv_cache(1, capacity);
        for (number, step) in window.chunks(STEP).enumerate() {
            let start = number * STEP;
            let ids = Array::from_slice(step, [1, i32::try_from(step.len())?])?;
            let (logits, filled) = network.forward(&ids, cache, i32::try_from(start)?)?;
            cache = filled;
            let next = &window[start + 1..window.len().min(start + 1 + step.len())];
            if next.is_empty() {
                break;
            }
            let rows = i32::try_from(next.len())?;
            let logits = logits.i((0, 0..rows));
            let targets = Array::from_slice(next, [rows])?.astype(Dtype::Int32);
            let losses = FastOps::Fused.cross_entropy(&logits, &targets);
            mlx::eval(
                cache
                    .iter()
                    .flat_map(|(keys, values)| [keys, values])
                    .chain([&losses]),
            )?;
            sum += losses
                .to_vec::<f32>()?
                .iter()
                .map(|&loss| f64::from(loss))
                .sum::<f64>();
            count += next.len();
        }
    }
    anyhow::ensure!(count > 0, "wanted at least 2 tokens");
    Ok((sum / count as f64).exp())
}
