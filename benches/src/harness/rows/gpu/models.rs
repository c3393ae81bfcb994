//! Models with random weights: decoding and prefill of Qwen3's dimensions, and Whisper's encoder and decoder.

use serde_json::{Value, json};

use super::{AS_EAGER, MLX_LM, OP, PYTHON_MLX, Size};
use crate::harness::check::Check;
use crate::harness::rows::{Aim, Benchmark, Cost, Group, PYTORCH, Target};

const DECODE: &[Aim] = &[AS_EAGER];
const PREFILL: &[Aim] = &[
    Aim {
        of: Aim::OURS,
        over: MLX_LM,
        most: 1.0,
    },
    AS_EAGER,
];
const NOTHING_PACKED: &[(&str, &str)] = &[(PYTORCH, "has nothing that reads these packed weights")];

/// Dimensions of a language model, under Hugging Face's names.
struct Qwen {
    name: &'static str,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    vocabulary: usize,
}

const QWEN: [Qwen; 2] = [
    Qwen {
        name: "qwen3-0.6b",
        hidden: 1024,
        intermediate: 3072,
        layers: 28,
        heads: 16,
        kv_heads: 8,
        dim: 128,
        vocabulary: 151_936,
    },
    Qwen {
        name: "qwen3-4b",
        hidden: 2560,
        intermediate: 9728,
        layers: 36,
        heads: 32,
        kv_heads: 8,
        dim: 128,
        vocabulary: 151_936,
    },
];

pub(super) fn rows(quick: bool, size: Size) -> Vec<Benchmark> {
    let mut rows = Vec::new();
    for model in &QWEN {
        for dtype in ["bfloat16", "4bit"] {
            for after in [16, 512] {
                rows.push(decode(model, dtype, after, quick, size));
            }
            rows.push(prefill(model, dtype, size));
        }
    }
    for name in ["tiny", "large-v3"] {
        rows.push(whisper("whisper_encoder", name, size));
        rows.push(whisper("whisper_token", name, size));
    }
    rows
}

impl Qwen {
    /// The numbers of all matrices that a token passes, and of the table.
    fn weights(&self) -> f64 {
        let attention = 2 * (self.heads + self.kv_heads) * self.dim * self.hidden;
        let layer = attention + 3 * self.hidden * self.intermediate;
        (self.layers * layer + self.vocabulary * self.hidden) as f64
    }

    fn params(&self, dtype: &str, size: Size) -> Value {
        let axis = |value: usize| size.axis(value);
        let layers = if size == Size::Tiny { 2 } else { self.layers };
        json!({
            "folder": format!("{}-{dtype}{}", self.name, if size == Size::Tiny { "-tiny" } else { "" }),
            "bits": if dtype == "4bit" { Some(4) } else { None },
            "config": {
                "model_type": "qwen3",
                "architectures": ["Qwen3ForCausalLM"],
                "hidden_size": axis(self.hidden),
                "intermediate_size": axis(self.intermediate),
                "num_hidden_layers": layers,
                "num_attention_heads": axis(self.heads),
                "num_key_value_heads": axis(self.kv_heads),
                "head_dim": axis(self.dim),
                "vocab_size": axis(self.vocabulary),
                "max_position_embeddings": 4096,
                "rms_norm_eps": 1e-6,
                "rope_theta": 1_000_000.0,
                "tie_word_embeddings": true,
                "hidden_act": "silu",
                "attention_bias": false,
                "torch_dtype": "bfloat16",
                "bos_token_id": 0,
                "eos_token_id": 1,
            },
        })
    }
}

fn model(op: &str, name: &str, dtype: &'static str, params: Value) -> Benchmark {
    Benchmark {
        id: format!("gpu/{op}/{dtype}/{name}"),
        op: OP,
        shape: name.to_owned(),
        dtype,
        group: Group::GpuModels,
        params,
        inputs: Vec::new(),
        // Of the logits, through all layers in half precision.
        check: Check::norm(0.1),
        cost: Cost::default(),
        target: Target::default(),
        rivals: &[MLX_LM],
        forms: &["eager"],
        left_out: &[],
        quick: true,
        note: "",
    }
}

/// The tokens of a prompt, below 1,000 (or all of a tiny vocabulary).
fn prompt(length: usize, size: Size) -> Vec<u32> {
    let below = if size == Size::Tiny { 500 } else { 1000 };
    (0..length as u32)
        .map(|place| 5 + (place * 7919) % (below - 5))
        .collect()
}

fn decode(qwen: &Qwen, dtype: &'static str, after: usize, quick: bool, size: Size) -> Benchmark {
    let mut params = qwen.params(dtype, size);
    params["model"] = json!("decode");
    params["prompt"] = json!(prompt(after, size));
    params["tokens"] = json!(match (size, quick) {
        (Size::Tiny, _) => 4,
        (_, true) => 64,
        (_, false) => 256,
    });
    let ratio = match (qwen.name, dtype) {
        ("qwen3-0.6b", _) => 0.25,
        (_, "4bit") => 0.4,
        _ => 1.0,
    };
    let bytes = if dtype == "4bit" { 0.5625 } else { 2.0 };
    Benchmark {
        cost: Cost {
            read: qwen.weights() * bytes,
            ..Cost::default()
        },
        target: Target {
            against: Some(MLX_LM),
            also: DECODE,
            ..Target::ratio(ratio)
        },
        note: "milliseconds of one token, greedy, as `mlx generate` and `mlx_lm.generate` do it",
        // The short run has the larger model packed, once.
        quick: qwen.name == "qwen3-0.6b" || (after == 16 && dtype == "4bit"),
        ..model(
            "decode",
            &format!("{}-after{after}", qwen.name),
            dtype,
            params,
        )
    }
}

fn prefill(qwen: &Qwen, dtype: &'static str, size: Size) -> Benchmark {
    let mut params = qwen.params(dtype, size);
    params["model"] = json!("prefill");
    params["prompt"] = json!(prompt(if size == Size::Tiny { 64 } else { 512 }, size));
    params["calls"] = json!(4);
    let is_packed = dtype == "4bit";
    let bytes = if is_packed { 0.5625 } else { 2.0 };
    let rivals: &[&str] = if is_packed {
        &[MLX_LM]
    } else {
        &[MLX_LM, PYTORCH]
    };
    Benchmark {
        cost: Cost {
            read: qwen.weights() * bytes,
            flops: 2.0 * 512.0 * qwen.weights(),
            ..Cost::default()
        },
        target: Target {
            against: Some(if is_packed { MLX_LM } else { PYTORCH }),
            also: if is_packed { DECODE } else { PREFILL },
            ..Target::ratio(1.0)
        },
        rivals,
        left_out: if is_packed { NOTHING_PACKED } else { &[] },
        quick: qwen.name == "qwen3-0.6b",
        note: "512 tokens into an empty cache, to the logits behind the last",
        ..model("prefill", &format!("{}-512", qwen.name), dtype, params)
    }
}

fn whisper(op: &'static str, name: &'static str, size: Size) -> Benchmark {
    // Width, heads, layers of both sides, bands, vocabulary.
    let [width, heads, layers, bands, vocabulary] = match (name, size) {
        (_, Size::Tiny) => [64, 1, 2, 80, 512],
        ("tiny", _) => [384, 6, 4, 80, 51_865],
        _ => [1280, 20, 32, 128, 51_866],
    };
    let frames = 3000;
    let folder = if size == Size::Tiny {
        format!("whisper-{name}-small")
    } else {
        format!("whisper-{name}")
    };
    let params = json!({
        "model": op, "folder": folder, "calls": if size == Size::Tiny { 2 } else { 4 }, "tokens": 32,
        "width": width, "heads": heads, "layers": layers, "bands": bands, "vocabulary": vocabulary,
        "frames": frames, "positions": 448,
    });
    let (t, d) = ((frames / 2) as f64, width as f64);
    let encoder = 2.0 * t * (2.0 * 3.0 * bands as f64 * d + 3.0 * d * d)
        + layers as f64 * (2.0 * t * 12.0 * d * d + 4.0 * t * t * d);
    let weights = (layers * 16 * width * width + vocabulary * width) as f64;
    let cross = (layers * frames * width) as f64;
    let is_encoder = op == "whisper_encoder";
    Benchmark {
        cost: Cost {
            read: if is_encoder {
                0.0
            } else {
                2.0 * (weights + cross)
            },
            flops: if is_encoder { encoder } else { 0.0 },
            ..Cost::default()
        },
        target: Target {
            against: Some(PYTHON_MLX),
            also: DECODE,
            ..Target::ratio(1.0)
        },
        rivals: &[PYTHON_MLX, PYTORCH],
        quick: name == "large-v3",
        note: if is_encoder {
            "a window of 30 s, ours compiled"
        } else {
            "milliseconds of one token, its logits on the host"
        },
        ..model(op, name, "float16", params)
    }
}
