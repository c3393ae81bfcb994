//! Rows of SmolLM2 with this library.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mlx_bench::harness::protocol::Load;
use mlx_compiler::CompileOptions;
use mlx_models::llama::{Cache, Checkpoint, GenerateOptions, Generator, Network, NetworkOptions};

use crate::work::{Form, Work};

pub fn prepare(form: Form, load: &Load) -> Result<Box<dyn Work>> {
    let path = load.params["gguf"].as_str().context("gguf is missing")?;
    let checkpoint = Checkpoint::open(path)?;
    let network = Network::new(&checkpoint, &NetworkOptions::default())?;
    let network = match form {
        Form::Usual | Form::Compiled => network.compiled(CompileOptions::default()),
        _ => network,
    };
    let prompt: Vec<u32> = serde_json::from_value(load.params["prompt"].clone())?;
    match load.op.as_str() {
        "smollm2_decode" => {
            let tokens = load.params["tokens"]
                .as_u64()
                .context("tokens is missing")?;
            Ok(Box::new(Decode {
                checkpoint,
                network,
                prompt,
                max_tokens: usize::try_from(tokens)?,
            }))
        }
        "smollm2_prefill" => Ok(Box::new(Prefill { network, prompt })),
        other => bail!("has no {other}"),
    }
}

/// Tokens one after the other.
struct Decode {
    checkpoint: Checkpoint,
    network: Network,
    prompt: Vec<u32>,
    max_tokens: usize,
}

impl Decode {
    fn generate(&self) -> Result<(f64, String)> {
        let options = GenerateOptions {
            max_tokens: self.max_tokens,
            ignore_end: true,
            ..GenerateOptions::default()
        };
        let mut generator = Generator::with_capacity(&self.network, &self.checkpoint, 256)?;
        let generated = generator.generate(&self.prompt, &options, |_| {})?;
        let timings = generated.timings;
        let ms = timings.decode.as_secs_f64() * 1e3;
        Ok((ms / timings.steps.max(1) as f64, generated.text))
    }
}

impl Work for Decode {
    fn first(&mut self, _: &Path) -> Result<Option<String>> {
        Ok(Some(self.generate()?.1))
    }

    fn run(&mut self) -> Result<f64> {
        Ok(self.generate()?.0)
    }
}

/// A prompt into an empty cache.
struct Prefill {
    network: Network,
    prompt: Vec<u32>,
}

impl Work for Prefill {
    fn first(&mut self, _: &Path) -> Result<Option<String>> {
        self.run().map(|_| None)
    }

    fn run(&mut self) -> Result<f64> {
        let mut cache = Cache::new(&self.network, self.prompt.len() + 16)?;
        mlx::eval(cache.arrays().collect::<Vec<_>>())?;
        let start = Instant::now();
        let scores = cache.append(&self.network, &self.prompt)?;
        mlx::eval(cache.arrays().chain([&scores]).collect::<Vec<_>>())?;
        mlx::synchronize()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}
