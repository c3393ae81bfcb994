//! Whisper's encoder and decoder of random weights.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use mlx::{Array, Dtype};
use mlx_compiler::{CompileOptions, jit_with};
use mlx_models::weights::Weights;
use mlx_models::whisper::{Config, Features, LogMel, Model, Network, Session};
use serde_json::Value;

use super::{Call, Calls, number, random_models};
use crate::work::{Form, Work};

/// The tokens that begin a text, and the one that is decoded.
const PROMPT: [u32; 4] = [1, 2, 3, 4];
const NEXT: u32 = 7;

pub fn prepare(form: Form, model: &str, params: &Value) -> Result<Box<dyn Work>> {
    let folder = random_models::whisper(params)?;
    let weights = Weights::open(&folder)?;
    let network = Network::new(Config::from_weights(&weights)?, &weights, Dtype::Float16)?;
    let is_compiled = form != Form::Eager;
    if model == "whisper_encoder" {
        let mel = mlx::io::load_npy(folder.join("mel.npy"))?.expand_dims(0);
        let mel = mel.astype(Dtype::Float16);
        mlx::eval([&mel])?;
        let plain = network.clone();
        let encode = move |mel: &Array| network.encode_array(mel);
        let compiled = jit_with(encode, CompileOptions::default());
        let call: Call = Box::new(move || {
            Ok(vec![match is_compiled {
                true => compiled.call(&mel)?,
                false => plain.encode_array(&mel),
            }])
        });
        return Ok(Box::new(Calls::new(params, call)?));
    }
    let network = match is_compiled {
        true => network.compiled(CompileOptions::default()),
        false => network,
    };
    let mel = LogMel::new(number(params, "bands")?)?.padded(&random_models::sound());
    let features = network.encode(&mel)?;
    Ok(Box::new(Token {
        network,
        features,
        tokens: number(params, "tokens")?,
    }))
}

/// Tokens one after the other, their logits on the host.
struct Token {
    network: Network,
    features: Features,
    tokens: usize,
}

impl Work for Token {
    fn first(&mut self, output: &Path) -> Result<Option<String>> {
        let mut session = self.network.start(&self.features)?;
        session.prompt(&PROMPT, &[PROMPT.len() - 1])?;
        let logits = session.step(&[NEXT])?;
        let row = logits.row(0);
        let row = Array::from_slice(row, [i32::try_from(row.len())?])?;
        super::save_sample(output, &[row])?;
        self.run()?;
        Ok(None)
    }

    fn run(&mut self) -> Result<f64> {
        let mut session = self.network.start(&self.features)?;
        session.prompt(&PROMPT, &[PROMPT.len() - 1])?;
        let start = Instant::now();
        for _ in 0..self.tokens {
            session.step(&[NEXT])?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e3 / self.tokens.max(1) as f64)
    }
}
