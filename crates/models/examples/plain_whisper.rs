//! Does everything around the model work with real weights? Whisper in plain loops, to find out.
//!
//! `cargo run --release -p mlx-models --example plain_whisper [AUDIO [MODEL_DIR [BEAMS]]]`
//! It is slow on purpose: one thread, no cache, nothing but the formulas.

use std::collections::HashMap;
use std::time::Instant;

use mlx_models::Result;
use mlx_models::audio::Audio;
use mlx_models::whisper::{
    Checkpoint, Config, Logits, Mel, Model, Session, TranscribeOptions, Transcriber,
};
use mlx_testdata::assets;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let audio = match args.next() {
        Some(path) => Audio::load(path)?,
        None => Audio::load(assets::speech()?.path)?,
    };
    let clock = Instant::now();
    let checkpoint = Checkpoint::open(match args.next() {
        Some(folder) => folder.into(),
        None => assets::whisper_tiny_en()?,
    })?;
    let model = Plain::new(&checkpoint)?;
    println!("loaded in {:.2?}", clock.elapsed());
    let mut options = TranscribeOptions::default();
    options.decode.beam_size = args.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let transcriber = Transcriber::new(&model, &checkpoint.tokenizer, &checkpoint.generation)?;
    let transcript = transcriber.transcribe_with(&audio.samples, &options, |segment| {
        println!(
            "[{:6.2} {:6.2}] {} (logprob {:.3}, no speech {:.3})",
            segment.start, segment.end, segment.text, segment.avg_logprob, segment.no_speech_prob
        );
    })?;
    println!("{}\n{:?}", transcript.text, transcript.timings);
    Ok(())
}

/// Rows of equal width.
#[derive(Clone)]
struct Matrix {
    data: Vec<f32>,
    width: usize,
}

impl Matrix {
    fn rows(&self) -> usize {
        self.data.len() / self.width
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.width..(i + 1) * self.width]
    }

    fn add(mut self, other: &Self) -> Self {
        self.data
            .iter_mut()
            .zip(&other.data)
            .for_each(|(a, b)| *a += b);
        self
    }

    fn gelu(mut self) -> Self {
        self.data
            .iter_mut()
            .for_each(|x| *x *= 0.5 * (1.0 + erf(*x / std::f32::consts::SQRT_2)));
        self
    }
}

/// Abramowitz and Stegun 7.1.26, within 1.5e-7.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p =
        ((((1.061_405_4 * t - 1.453_152) * t) + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6;
    (1.0 - p * t * (-x * x).exp()).copysign(x)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let done = a.len() / 8 * 8;
    lanes.iter().sum::<f32>()
        + a[done..]
            .iter()
            .zip(&b[done..])
            .map(|(a, b)| a * b)
            .sum::<f32>()
}

struct Plain {
    config: Config,
    weights: HashMap<String, Vec<f32>>,
}

impl Plain {
    fn new(checkpoint: &Checkpoint) -> Result<Self> {
        let load =
            |tensor: &mlx_models::weights::RawTensor| Ok((tensor.name.clone(), tensor.to_f32()?));
        let weights = checkpoint.weights.iter().map(load).collect::<Result<_>>()?;
        Ok(Self {
            config: checkpoint.config,
            weights,
        })
    }

    fn weight(&self, name: &str) -> &[f32] {
        self.weights.get(name).map_or(&[], Vec::as_slice)
    }

    /// `x * weight^T + bias`, without a bias where there is none.
    fn linear(&self, x: &Matrix, name: &str) -> Matrix {
        let weight = self.weight(&format!("{name}.weight"));
        let bias = self.weight(&format!("{name}.bias"));
        let width = weight.len() / x.width;
        let mut data = Vec::with_capacity(x.rows() * width);
        for i in 0..x.rows() {
            let row = x.row(i);
            let out = weight.chunks_exact(x.width).map(|w| dot(row, w));
            data.extend(
                out.enumerate()
                    .map(|(j, y)| y + bias.get(j).copied().unwrap_or(0.0)),
            );
        }
        Matrix { data, width }
    }

    fn norm(&self, x: &Matrix, name: &str) -> Matrix {
        let (gain, bias) = (
            self.weight(&format!("{name}.weight")),
            self.weight(&format!("{name}.bias")),
        );
        let mut out = x.clone();
        for row in out.data.chunks_exact_mut(x.width) {
            let mean = row.iter().sum::<f32>() / x.width as f32;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / x.width as f32;
            let scale = 1.0 / (variance + 1e-5).sqrt();
            for ((v, g), b) in row.iter_mut().zip(gain).zip(bias) {
                *v = (*v - mean) * scale * g + b;
            }
        }
        out
    }

    /// Width-3 convolution, padded by one on both sides; weight is `[out, in, 3]`.
    fn convolve(&self, x: &Matrix, name: &str, stride: usize) -> Matrix {
        let weight = self.weight(&format!("{name}.weight"));
        let bias = self.weight(&format!("{name}.bias"));
        let mut patches = Vec::new();
        for centre in (0..x.rows()).step_by(stride) {
            for channel in 0..x.width {
                for tap in 0..3 {
                    let row = (centre + tap).checked_sub(1).filter(|&row| row < x.rows());
                    patches.push(row.map_or(0.0, |row| x.row(row)[channel]));
                }
            }
        }
        let k = 3 * x.width;
        let rows = patches.chunks_exact(k);
        let data = rows
            .flat_map(|p| weight.chunks_exact(k).zip(bias).map(|(w, b)| dot(p, w) + b))
            .collect();
        Matrix {
            data,
            width: bias.len(),
        }
    }

    fn attention(
        &self,
        x: &Matrix,
        over: &Matrix,
        name: &str,
        heads: usize,
        causal: bool,
    ) -> Matrix {
        let q = self.linear(x, &format!("{name}.q_proj"));
        let k = self.linear(over, &format!("{name}.k_proj"));
        let v = self.linear(over, &format!("{name}.v_proj"));
        let size = x.width / heads;
        let mut out = Matrix {
            data: vec![0.0; x.data.len()],
            width: x.width,
        };
        for head in 0..heads {
            let part = head * size..(head + 1) * size;
            for i in 0..x.rows() {
                let seen = if causal { i + 1 } else { over.rows() };
                let query = &q.row(i)[part.clone()];
                let scale = 1.0 / (size as f32).sqrt();
                let scores: Vec<f32> = (0..seen)
                    .map(|j| scale * dot(query, &k.row(j)[part.clone()]))
                    .collect();
                let top = scores.iter().fold(f32::MIN, |a, &b| a.max(b));
                let odds: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
                let total: f32 = odds.iter().sum();
                let row = &mut out.data[i * x.width..][part.clone()];
                for (j, weight) in odds.iter().enumerate() {
                    let value = &v.row(j)[part.clone()];
                    row.iter_mut()
                        .zip(value)
                        .for_each(|(o, v)| *o += weight / total * v);
                }
            }
        }
        self.linear(&out, &format!("{name}.out_proj"))
    }

    fn feed_forward(&self, x: Matrix, layer: &str) -> Matrix {
        let hidden = self
            .linear(
                &self.norm(&x, &format!("{layer}.final_layer_norm")),
                &format!("{layer}.fc1"),
            )
            .gelu();
        x.add(&self.linear(&hidden, &format!("{layer}.fc2")))
    }

    /// Hidden states of all tokens, behind the last norm.
    fn decode(&self, tokens: &[u32], audio: &Matrix) -> Matrix {
        let width = self.config.n_text_state;
        let embedding = self.weight("model.decoder.embed_tokens.weight");
        let token = |&t: &u32| {
            embedding[t as usize * width..(t as usize + 1) * width]
                .iter()
                .copied()
        };
        let x = Matrix {
            data: tokens.iter().flat_map(token).collect(),
            width,
        };
        let places = self.weight("model.decoder.embed_positions.weight")[..x.data.len()].to_vec();
        let mut x = x.add(&Matrix {
            data: places,
            width,
        });
        for layer in 0..self.config.n_text_layer {
            let layer = format!("model.decoder.layers.{layer}");
            let heads = self.config.n_text_head;
            let y = self.norm(&x, &format!("{layer}.self_attn_layer_norm"));
            x = x.add(&self.attention(&y, &y, &format!("{layer}.self_attn"), heads, true));
            let y = self.norm(&x, &format!("{layer}.encoder_attn_layer_norm"));
            x = x.add(&self.attention(&y, audio, &format!("{layer}.encoder_attn"), heads, false));
            x = self.feed_forward(x, &layer);
        }
        self.norm(&x, "model.decoder.layer_norm")
    }
}

impl Model for Plain {
    type Features = Matrix;
    type Session<'a> = Rows<'a>;

    fn config(&self) -> &Config {
        &self.config
    }

    fn encode(&self, mel: &Mel) -> Result<Matrix> {
        let x = Matrix {
            data: mel.data().to_vec(),
            width: mel.n_mels(),
        };
        let x = self.convolve(&x, "model.encoder.conv1", 1).gelu();
        let x = self.convolve(&x, "model.encoder.conv2", 2).gelu();
        let width = x.width;
        let mut x = x.add(&Matrix {
            data: self.weight("model.encoder.embed_positions.weight").to_vec(),
            width,
        });
        for layer in 0..self.config.n_audio_layer {
            let layer = format!("model.encoder.layers.{layer}");
            let y = self.norm(&x, &format!("{layer}.self_attn_layer_norm"));
            x = x.add(&self.attention(
                &y,
                &y,
                &format!("{layer}.self_attn"),
                self.config.n_audio_head,
                false,
            ));
            x = self.feed_forward(x, &layer);
        }
        Ok(self.norm(&x, "model.encoder.layer_norm"))
    }

    fn start<'a>(&'a self, features: &'a Matrix) -> Result<Rows<'a>> {
        Ok(Rows {
            model: self,
            audio: features,
            rows: vec![Vec::new()],
        })
    }
}

/// Rows of tokens that are read again from the start at every step.
struct Rows<'a> {
    model: &'a Plain,
    audio: &'a Matrix,
    rows: Vec<Vec<u32>>,
}

impl Rows<'_> {
    fn logits(&self, hidden: &[f32]) -> impl Iterator<Item = f32> {
        let embedding = self.model.weight("model.decoder.embed_tokens.weight");
        embedding
            .chunks_exact(hidden.len())
            .map(move |token| dot(hidden, token))
    }
}

impl Session for Rows<'_> {
    fn prompt(&mut self, tokens: &[u32], positions: &[usize]) -> Result<Logits> {
        self.rows[0] = tokens.to_vec();
        let hidden = self.model.decode(tokens, self.audio);
        let data = positions
            .iter()
            .flat_map(|&at| self.logits(hidden.row(at)))
            .collect();
        Logits::new(data, self.model.config.n_vocab)
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits> {
        let mut data = Vec::new();
        self.rows
            .iter_mut()
            .zip(tokens)
            .for_each(|(row, &token)| row.push(token));
        for row in &self.rows {
            let hidden = self.model.decode(row, self.audio);
            data.extend(self.logits(hidden.row(row.len() - 1)));
        }
        Logits::new(data, self.model.config.n_vocab)
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        self.rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
        Ok(())
    }
}
