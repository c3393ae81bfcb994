//! Models of random weights, written once as a folder of Hugging Face's that every runner reads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mlx::{Array, Dtype, Quantization};
use mlx_models::whisper::LogMel;
use serde_json::{Map, Value, json};

use super::made::around_zero;
use super::{number, text};

/// How large weights are.
const DEVIATION: f32 = 0.02;

/// Weights by their names.
#[derive(Default)]
struct Weights {
    arrays: Vec<(String, Array)>,
    quantization: Option<Quantization>,
    dtype: Option<Dtype>,
}

impl Weights {
    fn dtype(&self) -> Dtype {
        self.dtype.unwrap_or(Dtype::Bfloat16)
    }

    fn add(&mut self, name: &str, array: Array) -> Result<()> {
        mlx::eval([&array])?;
        self.arrays.push((name.to_owned(), array));
        Ok(())
    }

    /// Random numbers, which depend on how many weights there are before.
    fn random(&self, shape: &[i32]) -> Result<Array> {
        let seed = (self.arrays.len() as u32 + 1).wrapping_mul(0x0100_0193);
        let array = around_zero(shape, DEVIATION, seed, self.dtype());
        mlx::eval([&array])?;
        mlx::memory::clear_cache()?;
        Ok(array)
    }

    /// A matrix, packed where this model is.
    fn matrix(&mut self, module: &str, rows: usize, columns: usize) -> Result<()> {
        let name = format!("{module}.weight");
        let shape = [i32::try_from(rows)?, i32::try_from(columns)?];
        let matrix = self.random(&shape)?;
        let Some(quantization) = self.quantization else {
            return self.add(&name, matrix);
        };
        let packed = matrix.quantize(quantization)?;
        self.add(&name, packed.weight)?;
        self.add(&format!("{module}.scales"), packed.scales)?;
        match packed.biases {
            Some(biases) => self.add(&format!("{module}.biases"), biases),
            None => Ok(()),
        }
    }

    fn plain(&mut self, name: &str, shape: &[usize]) -> Result<()> {
        let shape: Vec<i32> = shape.iter().map(|size| *size as i32).collect();
        let array = self.random(&shape)?;
        self.add(name, array)
    }

    fn ones(&mut self, name: &str, size: usize) -> Result<()> {
        let ones = mlx::ones([i32::try_from(size)?]).astype(self.dtype());
        self.add(name, ones)
    }

    fn zeros(&mut self, name: &str, size: usize) -> Result<()> {
        let zeros = mlx::zeros([i32::try_from(size)?]).astype(self.dtype());
        self.add(name, zeros)
    }
}

/// Returns the folder of a model, which `fill` fills when it is not there.
fn folder(params: &Value, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = PathBuf::from(text(params, "folder")?);
    if folder.is_dir() {
        return Ok(folder);
    }
    let parent = folder.parent().context("the folder has no parent")?;
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let partial = parent.join(format!(".{name}-{}", std::process::id()));
    fs::create_dir_all(&partial)
        .with_context(|| format!("{} could not be made", partial.display()))?;
    let filled = fill(&partial);
    if filled.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    filled?;
    if fs::rename(&partial, &folder).is_err() && !folder.is_dir() {
        anyhow::bail!("{} could not be made", folder.display());
    }
    mlx::memory::clear_cache()?;
    Ok(folder)
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, serde_json::to_vec_pretty(value)?)?;
    Ok(())
}

/// Returns the folder of a language model with Qwen3's layers.
pub fn qwen(params: &Value) -> Result<PathBuf> {
    folder(params, |folder| {
        let mut config = params["config"].clone();
        let size = |name: &str| number(&params["config"], name);
        let mut weights = Weights::default();
        if let Some(bits) = params["bits"].as_i64() {
            let quantization = Quantization {
                bits: i32::try_from(bits)?,
                ..Quantization::default()
            };
            config["quantization"] =
                json!({"group_size": quantization.group_size, "bits": quantization.bits});
            weights.quantization = Some(quantization);
        }
        let (hidden, inner) = (size("hidden_size")?, size("intermediate_size")?);
        let dim = size("head_dim")?;
        let heads = size("num_attention_heads")? * dim;
        let kv = size("num_key_value_heads")? * dim;
        weights.matrix("model.embed_tokens", size("vocab_size")?, hidden)?;
        weights.ones("model.norm.weight", hidden)?;
        for layer in 0..size("num_hidden_layers")? {
            let at = |name: &str| format!("model.layers.{layer}.{name}");
            weights.matrix(&at("self_attn.q_proj"), heads, hidden)?;
            weights.matrix(&at("self_attn.k_proj"), kv, hidden)?;
            weights.matrix(&at("self_attn.v_proj"), kv, hidden)?;
            weights.matrix(&at("self_attn.o_proj"), hidden, heads)?;
            weights.matrix(&at("mlp.gate_proj"), inner, hidden)?;
            weights.matrix(&at("mlp.up_proj"), inner, hidden)?;
            weights.matrix(&at("mlp.down_proj"), hidden, inner)?;
            weights.ones(&at("input_layernorm.weight"), hidden)?;
            weights.ones(&at("post_attention_layernorm.weight"), hidden)?;
            weights.ones(&at("self_attn.q_norm.weight"), dim)?;
            weights.ones(&at("self_attn.k_norm.weight"), dim)?;
        }
        save(folder, &weights)?;
        write_json(&folder.join("config.json"), &config)?;
        write_json(&folder.join("tokenizer.json"), &tokenizer())?;
        let names = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>", "eos_token": "</s>", "model_max_length": 4096,
        });
        write_json(&folder.join("tokenizer_config.json"), &names)
    })
}

fn save(folder: &Path, weights: &Weights) -> Result<()> {
    let metadata = [("format".to_owned(), "mlx".to_owned())].into();
    let arrays = weights
        .arrays
        .iter()
        .map(|(name, array)| (name.as_str(), array));
    let file = folder.join("model.safetensors");
    mlx::io::save_safetensors_with(file, arrays, &metadata)?;
    Ok(())
}

/// A tokenizer of single bytes: nothing but numbers goes through these models.
fn tokenizer() -> Value {
    let mut vocabulary = Map::new();
    for (place, token) in ["<s>", "</s>"].into_iter().enumerate() {
        vocabulary.insert(token.to_owned(), json!(place));
    }
    for letter in '!'..='~' {
        let place = vocabulary.len();
        vocabulary.entry(letter.to_string()).or_insert(json!(place));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": [],
        },
    })
}

/// Returns the folder of a model of Whisper's layers, with a spectrogram, `mel.npy`.
pub fn whisper(params: &Value) -> Result<PathBuf> {
    folder(params, |folder| {
        let (width, layers) = (number(params, "width")?, number(params, "layers")?);
        let (bands, frames) = (number(params, "bands")?, number(params, "frames")?);
        let mut weights = Weights {
            dtype: Some(Dtype::Float16),
            ..Weights::default()
        };
        let encoder = |name: &str| format!("model.encoder.{name}");
        let decoder = |name: &str| format!("model.decoder.{name}");
        weights.plain(&encoder("conv1.weight"), &[width, bands, 3])?;
        weights.zeros(&encoder("conv1.bias"), width)?;
        weights.plain(&encoder("conv2.weight"), &[width, width, 3])?;
        weights.zeros(&encoder("conv2.bias"), width)?;
        weights.plain(&encoder("embed_positions.weight"), &[frames / 2, width])?;
        let vocabulary = number(params, "vocabulary")?;
        weights.plain(&decoder("embed_tokens.weight"), &[vocabulary, width])?;
        let positions = number(params, "positions")?;
        weights.plain(&decoder("embed_positions.weight"), &[positions, width])?;
        for side in ["encoder", "decoder"] {
            for layer in 0..layers {
                whisper_layer(&mut weights, side, layer, width)?;
            }
            norm(&mut weights, &format!("model.{side}.layer_norm"), width)?;
        }
        save(folder, &weights)?;
        let mel = LogMel::new(bands)?.padded(&sound());
        let shape = [i32::try_from(mel.frames())?, i32::try_from(bands)?];
        mlx::io::save_npy(
            folder.join("mel.npy"),
            &Array::from_slice(mel.data(), shape)?,
        )?;
        Ok(())
    })
}

/// Returns 30 s of a tone that rises.
pub fn sound() -> Vec<f32> {
    let sample = |place: u32| {
        let seconds = f64::from(place) / 16_000.0;
        let turns = seconds * (400.0 + 40.0 * seconds);
        0.3 * (turns * std::f64::consts::TAU).sin() as f32
    };
    (0..16_000 * 30).map(sample).collect()
}

fn norm(weights: &mut Weights, name: &str, width: usize) -> Result<()> {
    weights.ones(&format!("{name}.weight"), width)?;
    weights.zeros(&format!("{name}.bias"), width)
}

fn whisper_layer(weights: &mut Weights, side: &str, layer: usize, width: usize) -> Result<()> {
    let at = |name: &str| format!("model.{side}.layers.{layer}.{name}");
    let attentions: &[&str] = match side {
        "encoder" => &["self_attn"],
        _ => &["self_attn", "encoder_attn"],
    };
    for attention in attentions {
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            weights.matrix(&at(&format!("{attention}.{part}")), width, width)?;
            if part != "k_proj" {
                weights.zeros(&at(&format!("{attention}.{part}.bias")), width)?;
            }
        }
        norm(weights, &at(&format!("{attention}_layer_norm")), width)?;
    }
    weights.matrix(&at("fc1"), 4 * width, width)?;
    weights.zeros(&at("fc1.bias"), 4 * width)?;
    weights.matrix(&at("fc2"), width, 4 * width)?;
    weights.zeros(&at("fc2.bias"), width)?;
    norm(weights, &at("final_layer_norm"), width)
}
