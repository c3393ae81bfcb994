//! Prints what activations in 8 bits do to SmolLM2: tokens per second of decoding, and the perplexity of this repository's
//! `README.md` and `ARCHITECTURE.md`, one after the other. Run it with `--release`.
//!
//! The argument, if any, is the number of tokens of the text (4096).

use std::path::Path;

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
    for activations in [Activations::Float, Activations::Int8] {
        let options = NetworkOptions {
            activations,
            ..NetworkOptions::default()
        };
        let network = Network::new(&checkpoint, &options)?;
        let eager = tokens_per_second(&network, &checkpoint)?;
        let compiled = network.compiled(CompileOptions::default());
        let compiled = tokens_per_second(&compiled, &checkpoint)?;
        println!("{activations:?}: {eager:.1} tokens a second, compiled {compiled:.1}");
        if !tokens.is_empty() {
            let perplexity = perplexity(&network, &tokens)?;
            println!(
                "{activations:?}: perplexity {perplexity:.4} of {} tokens",
                tokens.len()
            );
        }
    }
    Ok(())
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
