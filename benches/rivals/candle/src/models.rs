//! Rows of Whisper and SmolLM2 with candle-transformers.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file;
use candle_core::{D, DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::quantized_llama::ModelWeights;
use candle_transformers::models::whisper::Config;
use candle_transformers::models::whisper::model::Whisper;
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::{Outcome, Row};

const CPU: Device = Device::Cpu;
/// The end of the text, and what begins one without timestamps, in tiny.en.
const END: u32 = 50256;
const START: [u32; 2] = [50257, 50362];

pub fn row(op: &str, load: &Value) -> Result<Option<Row>> {
    let params = &load["params"];
    let path = |name: &str| params[name].as_str().context("a path is missing");
    Ok(Some(match op {
        "whisper_total" | "whisper_encoder" | "whisper_token" => {
            whisper(op, path("whisper_hf")?, path("mel")?, path("whisper_ct2")?)?
        }
        "smollm2_decode" | "smollm2_prefill" => {
            let prompt: Vec<u32> = serde_json::from_value(params["prompt"].clone())?;
            let tokens = params["tokens"].as_u64().unwrap_or(0) as usize;
            smollm2(op, path("gguf")?, prompt, tokens)?
        }
        _ => return Ok(None),
    }))
}

fn whisper(op: &str, weights: &str, mel: &str, folder: &str) -> Result<Row> {
    let tensors = candle_core::safetensors::load(weights, &CPU)?;
    let config = Config {
        num_mel_bins: 80,
        max_source_positions: 1500,
        d_model: 384,
        encoder_attention_heads: 6,
        encoder_layers: 4,
        vocab_size: 51864,
        max_target_positions: 448,
        decoder_attention_heads: 6,
        decoder_layers: 4,
        suppress_tokens: Vec::new(),
    };
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &CPU);
    let mut model = Whisper::load(&builder, config)?;
    let mel = Tensor::read_npy(mel)?.t()?.contiguous()?.unsqueeze(0)?;
    if op == "whisper_encoder" {
        return Ok(Box::new(move || {
            let start = Instant::now();
            let sound = model.encoder.forward(&mel, true)?;
            let ms = start.elapsed().as_secs_f64() * 1e3;
            Ok((Outcome::Array(sound), ms))
        }));
    }
    let tokenizer = Tokenizer::from_file(Path::new(folder).join("tokenizer.json"))
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let is_total = op == "whisper_total";
    // candle ships no mel filters, so its total begins at the spectrogram.
    Ok(Box::new(move || {
        let mut start = Instant::now();
        let sound = model.encoder.forward(&mel, true)?;
        if !is_total {
            start = Instant::now();
        }
        let mut tokens = START.to_vec();
        loop {
            // It keeps keys and values of the sound only and reads the whole text in each step.
            let text = Tensor::new(&tokens[..], &CPU)?.unsqueeze(0)?;
            let states = model.decoder.forward(&text, &sound, tokens.len() == START.len())?;
            let last = states.i((.., tokens.len() - 1..))?;
            let scores = model.decoder.final_linear(&last)?.i((0, 0))?;
            let token = scores.argmax(D::Minus1)?.to_scalar::<u32>()?;
            if token == END || tokens.len() > 200 {
                break;
            }
            tokens.push(token);
        }
        let steps = tokens.len() - START.len() + 1;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let text = tokenizer.decode(&tokens[START.len()..], true);
        let text = text.map_err(|error| anyhow::anyhow!("{error}"))?;
        let ms = if is_total { ms } else { ms / steps as f64 };
        Ok((Outcome::Text(text), ms))
    }))
}

fn smollm2(op: &str, path: &str, prompt: Vec<u32>, tokens: usize) -> Result<Row> {
    let mut file = File::open(path)?;
    let content = gguf_file::Content::read(&mut file)?;
    let words = words(&content);
    let mut model = ModelWeights::from_gguf(content, &mut file, &CPU)?;
    let is_prefill = op == "smollm2_prefill";
    Ok(Box::new(move || {
        model.clear_kv_cache();
        let mut start = Instant::now();
        let mut scores = model.forward(&Tensor::new(&prompt[..], &CPU)?.unsqueeze(0)?, 0)?;
        if is_prefill {
            return Ok((Outcome::Nothing, start.elapsed().as_secs_f64() * 1e3));
        }
        let mut written = Vec::new();
        for step in 0..tokens {
            let token = scores.i(0)?.argmax(D::Minus1)?.to_scalar::<u32>()?;
            written.push(token);
            if step == 0 {
                start = Instant::now();
            }
            if step + 1 < tokens {
                let next = Tensor::new(&[token], &CPU)?.unsqueeze(0)?;
                scores = model.forward(&next, prompt.len() + step)?;
            }
        }
        let ms = start.elapsed().as_secs_f64() * 1e3 / (tokens.max(2) - 1) as f64;
        let text: String = written
            .iter()
            .filter_map(|token| words.get(*token as usize))
            .cloned()
            .collect();
        Ok((Outcome::Text(text.replace('Ġ', " ").replace('Ċ', "\n")), ms))
    }))
}

fn words(content: &gguf_file::Content) -> Vec<String> {
    let words = content.metadata.get("tokenizer.ggml.tokens");
    let words = words.and_then(|words| words.to_vec().ok().cloned()).unwrap_or_default();
    let text = |word: &gguf_file::Value| word.to_string().cloned().unwrap_or_default();
    words.iter().map(text).collect()
}
