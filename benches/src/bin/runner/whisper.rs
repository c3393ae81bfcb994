//! Rows of Whisper with this library.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mlx::{Array, Dtype};
use mlx_bench::harness::protocol::Load;
use mlx_compiler::{CompileOptions, jit_with};
use mlx_models::audio::Audio;
use mlx_models::whisper::decoding::{DecodingOptions, decode};
use mlx_models::whisper::{
    Checkpoint, Features, LogMel, Model, Network, TranscribeOptions, Transcriber,
};

use crate::work::{Computed, Form, Work};

pub fn prepare(form: Form, load: &Load) -> Result<Box<dyn Work>> {
    let path = |name: &str| -> Result<PathBuf> {
        let value = load.params[name].as_str();
        Ok(value.with_context(|| format!("{name} is missing"))?.into())
    };
    let checkpoint = Checkpoint::open(path("whisper_ct2")?)?;
    let network = Network::new(checkpoint.config, &checkpoint.weights, Dtype::Float32)?;
    let is_compiled = form == Form::Usual || form == Form::Compiled;
    let options = CompileOptions::default();
    if load.op == "whisper_encoder" {
        let mel = mlx::io::load_npy(path("mel")?)?.expand_dims(0);
        mlx_bench::ready([&mel])?;
        let plain = network.clone();
        let compiled = jit_with(move |mel: &Array| network.encode_array(mel), options);
        return Ok(Box::new(Computed(Box::new(move || {
            if is_compiled {
                return Ok(compiled.call(&mel)?);
            }
            Ok(plain.encode_array(&mel))
        }))));
    }
    let network = if is_compiled {
        network.compiled(options)
    } else {
        network
    };
    let samples = Audio::load(path("audio")?)?.samples;
    match load.op.as_str() {
        "whisper_total" => Ok(Box::new(Total {
            checkpoint,
            network,
            samples,
        })),
        "whisper_token" => {
            let mel = LogMel::new(checkpoint.config.n_mels)?.padded(&samples);
            let features = network.encode(&mel)?;
            Ok(Box::new(Token {
                checkpoint,
                network,
                features,
            }))
        }
        other => bail!("has no {other}"),
    }
}

/// Greedy and without timestamps, as every rival is asked to.
fn greedy() -> DecodingOptions {
    DecodingOptions {
        timestamps: false,
        ..DecodingOptions::default()
    }
}

/// From samples to text.
struct Total {
    checkpoint: Checkpoint,
    network: Network,
    samples: Vec<f32>,
}

impl Total {
    fn transcribe(&self) -> Result<(f64, String)> {
        let options = TranscribeOptions {
            decode: greedy(),
            temperatures: vec![0.0],
            ..TranscribeOptions::default()
        };
        let checkpoint = &self.checkpoint;
        let transcriber =
            Transcriber::new(&self.network, &checkpoint.tokenizer, &checkpoint.generation)?;
        let start = Instant::now();
        let text = transcriber.transcribe(&self.samples, &options)?.text;
        Ok((start.elapsed().as_secs_f64() * 1e3, text))
    }
}

impl Work for Total {
    fn first(&mut self, _: &Path) -> Result<Option<String>> {
        Ok(Some(self.transcribe()?.1))
    }

    fn run(&mut self) -> Result<f64> {
        Ok(self.transcribe()?.0)
    }
}

/// The decoder alone: the whole text over its number of steps.
struct Token {
    checkpoint: Checkpoint,
    network: Network,
    features: Features,
}

impl Token {
    fn decode(&self) -> Result<(f64, Vec<u32>)> {
        let checkpoint = &self.checkpoint;
        let special = checkpoint.tokenizer.special();
        let start = Instant::now();
        let generation = &checkpoint.generation;
        let decoded = decode(
            &self.network,
            &self.features,
            special,
            generation,
            &greedy(),
        )?;
        // The end of the text is a step too.
        let steps = decoded.tokens.len() + 1;
        Ok((
            start.elapsed().as_secs_f64() * 1e3 / steps as f64,
            decoded.tokens,
        ))
    }
}

impl Work for Token {
    fn first(&mut self, _: &Path) -> Result<Option<String>> {
        let tokens = self.decode()?.1;
        Ok(Some(self.checkpoint.tokenizer.decode(&tokens)?))
    }

    fn run(&mut self) -> Result<f64> {
        Ok(self.decode()?.0)
    }
}
