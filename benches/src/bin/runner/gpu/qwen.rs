//! Decoding and prefill of language models of random weights.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use mlx::{Array, Device, Dtype};
use mlx_compiler::CompileOptions;
use mlx_models::llama::{Cache, Checkpoint, GenerateOptions, Generator, Network, NetworkOptions};
use serde_json::Value;

use super::{number, random_models, save_sample};
use crate::work::{Form, Work};

/// The positions of a cache.
const CAPACITY: usize = 1024;
/// The token behind the prompt whose logits are compared too.
const NEXT: u32 = 7;

/// A model that stays until the process ends, so that its generators can.
struct Loaded {
    checkpoint: Checkpoint,
    network: Network,
    /// What takes one token: compiled on a GPU.
    step: Network,
}

thread_local! {
    static LOADED: RefCell<HashMap<PathBuf, &'static Loaded>> = RefCell::default();
}

fn loaded(params: &Value) -> Result<&'static Loaded> {
    let folder = random_models::qwen(params)?;
    if let Some(loaded) = LOADED.with_borrow(|all| all.get(&folder).copied()) {
        return Ok(loaded);
    }
    let checkpoint = Checkpoint::open(&folder)?;
    let options = NetworkOptions {
        dtype: Some(Dtype::Bfloat16),
        ..NetworkOptions::default()
    };
    let network = Network::new(&checkpoint, &options)?;
    let step = match Device::current()? {
        Device::Gpu => network.compiled(CompileOptions::default()),
        Device::Cpu => network.clone(),
    };
    let loaded: &'static Loaded = Box::leak(Box::new(Loaded {
        checkpoint,
        network,
        step,
    }));
    LOADED.with_borrow_mut(|all| all.insert(folder, loaded));
    Ok(loaded)
}

pub fn prepare(form: Form, model: &str, params: &Value) -> Result<Box<dyn Work>> {
    let loaded = loaded(params)?;
    let prompt: Vec<u32> =
        serde_json::from_value(params["prompt"].clone()).context("prompt is missing")?;
    if model == "prefill" {
        let is_compiled = form != Form::Eager;
        return Ok(Box::new(Prefill {
            network: if is_compiled {
                &loaded.step
            } else {
                &loaded.network
            },
            cache: Cache::new(&loaded.network, prompt.len() + 16)?,
            prompt,
        }));
    }
    let tokens = number(params, "tokens")?;
    if form == Form::Eager {
        return Ok(Box::new(Eager {
            network: &loaded.network,
            prompt,
            tokens,
        }));
    }
    let generator = Generator::with_capacity(&loaded.network, &loaded.checkpoint, CAPACITY)?;
    Ok(Box::new(Decode {
        loaded,
        generator,
        prompt,
        tokens,
    }))
}

/// Writes the logits behind a prompt, and behind one more token, which goes the way of decoding.
fn compare(output: &Path, networks: [&Network; 2], prompt: &[u32]) -> Result<()> {
    let [network, step] = networks;
    let mut cache = Cache::new(network, CAPACITY)?;
    let behind = cache.append(network, prompt)?;
    evaluated(&cache, &behind)?;
    let next = cache.append(step, &[NEXT])?;
    evaluated(&cache, &next)?;
    save_sample(output, &[behind, next])
}

fn evaluated(cache: &Cache, logits: &Array) -> Result<()> {
    mlx::eval(cache.arrays().chain([logits]).collect::<Vec<_>>())?;
    Ok(())
}

/// As `mlx generate` decodes.
struct Decode {
    loaded: &'static Loaded,
    generator: Generator<'static>,
    prompt: Vec<u32>,
    tokens: usize,
}

impl Work for Decode {
    fn first(&mut self, output: &Path) -> Result<Option<String>> {
        compare(
            output,
            [&self.loaded.network, &self.loaded.step],
            &self.prompt,
        )?;
        self.run()?;
        Ok(None)
    }

    fn run(&mut self) -> Result<f64> {
        let options = GenerateOptions {
            max_tokens: self.tokens,
            ignore_end: true,
            ..GenerateOptions::default()
        };
        let generated = self.generator.generate(&self.prompt, &options, |_| {})?;
        let timings = generated.timings;
        Ok(timings.decode.as_secs_f64() * 1e3 / timings.steps.max(1) as f64)
    }
}

/// Steps that are built anew each time, the token on the host.
struct Eager {
    network: &'static Network,
    prompt: Vec<u32>,
    tokens: usize,
}

impl Work for Eager {
    fn first(&mut self, output: &Path) -> Result<Option<String>> {
        compare(output, [self.network, self.network], &self.prompt)?;
        self.run()?;
        Ok(None)
    }

    fn run(&mut self) -> Result<f64> {
        let mut cache = Cache::new(self.network, CAPACITY)?;
        let logits = cache.append(self.network, &self.prompt)?;
        evaluated(&cache, &logits)?;
        let mut token = logits.argmax(-1).item::<u32>()?;
        let start = Instant::now();
        for _ in 0..self.tokens {
            let logits = cache.append(self.network, &[token])?;
            token = logits.argmax(-1).item::<u32>()?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e3 / self.tokens.max(1) as f64)
    }
}

/// A prompt into a cache that is empty again each time.
struct Prefill {
    network: &'static Network,
    cache: Cache,
    prompt: Vec<u32>,
}

impl Prefill {
    fn logits(&mut self) -> Result<(f64, Array)> {
        self.cache.truncate(0);
        let start = Instant::now();
        let logits = self.cache.append(self.network, &self.prompt)?;
        evaluated(&self.cache, &logits)?;
        mlx::synchronize()?;
        Ok((start.elapsed().as_secs_f64() * 1e3, logits))
    }
}

impl Work for Prefill {
    fn first(&mut self, output: &Path) -> Result<Option<String>> {
        let (_, logits) = self.logits()?;
        save_sample(output, &[logits])?;
        for _ in 0..3 {
            self.run()?;
        }
        Ok(None)
    }

    fn run(&mut self) -> Result<f64> {
        Ok(self.logits()?.0)
    }
}
