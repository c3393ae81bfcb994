//! The Llama family in plain loops over `f64`, sharing no code with the network; and models of random numbers.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;

/// Dimensions, written down once more.
#[derive(Clone, Debug)]
pub struct Shape {
    pub family: &'static str,
    pub hidden: usize,
    pub wide: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub theta: f64,
    pub eps: f64,
    pub tied: bool,
    pub qkv_bias: bool,
    pub qk_norm: bool,
    /// More keys of `config.json`.
    pub extra: &'static str,
}

pub fn llama() -> Shape {
    Shape {
        family: "llama",
        hidden: 32,
        wide: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        vocab: 24,
        theta: 10_000.0,
        eps: 1e-5,
        tied: false,
        qkv_bias: false,
        qk_norm: false,
        extra: "",
    }
}

pub fn qwen2() -> Shape {
    Shape {
        family: "qwen2",
        kv_heads: 4,
        tied: true,
        qkv_bias: true,
        theta: 1_000_000.0,
        ..llama()
    }
}

pub fn qwen3() -> Shape {
    Shape {
        family: "qwen3",
        kv_heads: 1,
        head_dim: 16,
        qk_norm: true,
        ..llama()
    }
}

/// Weights by name, with their shapes.
pub type Random = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

impl Shape {
    pub fn config_json(&self) -> String {
        let Self {
            family,
            hidden,
            wide,
            layers,
            heads,
            kv_heads,
            head_dim,
            vocab,
            theta,
            eps,
            tied,
            extra,
            ..
        } = self;
        format!(
            r#"{{"model_type": "{family}", "hidden_size": {hidden}, "intermediate_size": {wide},
            "num_hidden_layers": {layers}, "num_attention_heads": {heads}, "num_key_value_heads": {kv_heads},
            "head_dim": {head_dim}, "vocab_size": {vocab}, "rope_theta": {theta}, "rms_norm_eps": {eps},
            "tie_word_embeddings": {tied}, "max_position_embeddings": 64, "eos_token_id": [3, 5],
            "hidden_act": "silu" {extra}}}"#
        )
    }

    pub fn weights(&self, seed: u64) -> Random {
        let mut state = seed;
        let mut next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let mut all = Random::new();
        let mut add = |name: String, shape: Vec<usize>, scale: f32, middle: f32| {
            let n = shape.iter().product();
            let values = (0..n).map(|_| middle + scale * next()).collect();
            all.insert(name, (shape, values));
        };
        let (d, q) = (self.hidden, self.heads * self.head_dim);
        let kv = self.kv_heads * self.head_dim;
        add(
            "model.embed_tokens.weight".into(),
            vec![self.vocab, d],
            2.0,
            0.0,
        );
        add("model.norm.weight".into(), vec![d], 0.5, 1.0);
        if !self.tied {
            add("lm_head.weight".into(), vec![self.vocab, d], 1.0, 0.0);
        }
        for layer in 0..self.layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                add(name(&format!("{norm}.weight")), vec![d], 0.5, 1.0);
            }
            for (part, n) in [("q", q), ("k", kv), ("v", kv)] {
                add(
                    name(&format!("self_attn.{part}_proj.weight")),
                    vec![n, d],
                    0.8,
                    0.0,
                );
                if self.qkv_bias {
                    add(
                        name(&format!("self_attn.{part}_proj.bias")),
                        vec![n],
                        0.5,
                        0.0,
                    );
                }
            }
            if self.qk_norm {
                for part in ["q", "k"] {
                    let dims = vec![self.head_dim];
                    add(
                        name(&format!("self_attn.{part}_norm.weight")),
                        dims,
                        0.5,
                        1.0,
                    );
                }
            }
            add(name("self_attn.o_proj.weight"), vec![d, q], 0.5, 0.0);
            add(name("mlp.gate_proj.weight"), vec![self.wide, d], 0.8, 0.0);
            add(name("mlp.up_proj.weight"), vec![self.wide, d], 0.8, 0.0);
            add(name("mlp.down_proj.weight"), vec![d, self.wide], 0.5, 0.0);
        }
        all
    }

    /// Scores behind every token, `radians` for each pair of features and position.
    pub fn forward(&self, weights: &Random, tokens: &[usize], radians: &[f64]) -> Vec<Vec<f64>> {
        let get = |name: &str| -> Vec<f64> {
            weights[name]
                .1
                .iter()
                .map(|&value| f64::from(value))
                .collect()
        };
        let table = get("model.embed_tokens.weight");
        let d = self.hidden;
        let mut xs: Vec<Vec<f64>> = tokens
            .iter()
            .map(|&token| table[token * d..(token + 1) * d].to_vec())
            .collect();
        for layer in 0..self.layers {
            let get = |part: &str| get(&format!("model.layers.{layer}.{part}"));
            let project = |part: &str, x: &[f64]| {
                let mut y = multiply(&get(&format!("self_attn.{part}_proj.weight")), x);
                if self.qkv_bias {
                    let bias = get(&format!("self_attn.{part}_proj.bias"));
                    y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
                }
                y
            };
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            let before = xs.clone();
            for (position, x) in before.iter().enumerate() {
                let x = norm(x, &get("input_layernorm.weight"), self.eps);
                let turned = |part: &str| {
                    let y = project(part, &x);
                    let heads = y.chunks(self.head_dim).map(|head| {
                        let mut head = head.to_vec();
                        if self.qk_norm {
                            let weight = get(&format!("self_attn.{part}_norm.weight"));
                            head = norm(&head, &weight, self.eps);
                        }
                        turn(&head, position, radians)
                    });
                    heads.collect::<Vec<_>>()
                };
                let queries = turned("q");
                keys.push(turned("k"));
                values.push(project("v", &x));
                let mut mixed = Vec::new();
                for (head, query) in queries.iter().enumerate() {
                    let kv = head / (self.heads / self.kv_heads);
                    let scale = (self.head_dim as f64).sqrt();
                    let scores: Vec<f64> = keys
                        .iter()
                        .map(|key| dot(query, &key[kv]) / scale)
                        .collect();
                    let most = scores.iter().copied().fold(f64::MIN, f64::max);
                    let shares: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                    let sum: f64 = shares.iter().sum();
                    for i in kv * self.head_dim..(kv + 1) * self.head_dim {
                        let share = shares.iter().zip(&values).map(|(s, v)| s / sum * v[i]);
                        mixed.push(share.sum());
                    }
                }
                let attended = multiply(&get("self_attn.o_proj.weight"), &mixed);
                let x: Vec<f64> = before[position]
                    .iter()
                    .zip(attended)
                    .map(|(a, b)| a + b)
                    .collect();
                let normed = norm(&x, &get("post_attention_layernorm.weight"), self.eps);
                let gate = multiply(&get("mlp.gate_proj.weight"), &normed);
                let up = multiply(&get("mlp.up_proj.weight"), &normed);
                let silu = gate.iter().map(|g| g / (1.0 + (-g).exp()));
                let inner: Vec<f64> = silu.zip(up).map(|(g, u)| g * u).collect();
                let down = multiply(&get("mlp.down_proj.weight"), &inner);
                xs[position] = x.iter().zip(down).map(|(a, b)| a + b).collect();
            }
        }
        let head = if self.tied {
            table
        } else {
            get("lm_head.weight")
        };
        let last = get("model.norm.weight");
        xs.iter()
            .map(|x| multiply(&head, &norm(x, &last, self.eps)))
            .collect()
    }

    /// The radians of plain rotary positions.
    pub fn radians(&self) -> Vec<f64> {
        let d = self.head_dim as f64;
        (0..self.head_dim / 2)
            .map(|i| self.theta.powf(-2.0 * i as f64 / d))
            .collect()
    }

    /// Writes a Hugging Face folder.
    pub fn save(&self, weights: &Random, folder: &Path) {
        save_tensors(weights, folder);
        std::fs::write(folder.join("config.json"), self.config_json()).unwrap();
        std::fs::write(folder.join("tokenizer.json"), TOKENIZER).unwrap();
    }
}

pub fn save_tensors(weights: &Random, folder: &Path) {
    let bytes: BTreeMap<&String, Vec<u8>> = weights
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = weights.iter().map(|(name, (shape, _))| {
        let dtype = safetensors::Dtype::F32;
        let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), &bytes[name]);
        (name.clone(), view.unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
}

/// A vocabulary of a few letters.
pub const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "normalizer": null,
    "added_tokens": [{"id": 5, "content": "</s>", "special": true, "single_word": false, "lstrip": false,
    "rstrip": false, "normalized": false}], "pre_tokenizer": null, "post_processor": null,
    "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "ab": 4}, "merges": ["a b"]}}"#;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn multiply(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks(x.len()).map(|row| dot(row, x)).collect()
}

fn norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let mean = dot(x, x) / x.len() as f64;
    x.iter()
        .zip(weight)
        .map(|(x, w)| x / (mean + eps).sqrt() * w)
        .collect()
}

/// Pairs are half a head apart.
fn turn(head: &[f64], position: usize, radians: &[f64]) -> Vec<f64> {
    let half = head.len() / 2;
    let mut turned = head.to_vec();
    for i in 0..half {
        let (sin, cos) = (position as f64 * radians[i]).sin_cos();
        turned[i] = head[i] * cos - head[i + half] * sin;
        turned[i + half] = head[i] * sin + head[i + half] * cos;
    }
    turned
}
