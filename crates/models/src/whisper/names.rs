//! The names of Whisper's weights.
//!
//! The network has Hugging Face's names with the prefix `model.`; this file translates the others.

use crate::weights::{Format, RawTensor, Weights};
use crate::{Error, Result};

/// Renames the weights of a Whisper model to Hugging Face's names, from CTranslate2's or OpenAI's.
///
/// From CTranslate2, the joined projections are split: `self_attention/linear_0` into
/// `self_attn.q_proj`, `k_proj` and `v_proj`, and `attention/linear_1` into `encoder_attn.k_proj`
/// and `v_proj`. The keys' bias, which Whisper does not have and CTranslate2 stores as zeros, and
/// the output projection, which equals the token embedding, are left out.
/// From safetensors, a missing `model.` is added and `proj_out.weight` is left out.
/// # Errors
/// [`Error::Weights`] when a variable is not one of Whisper's, or cannot be split.
pub fn whisper_names(weights: &Weights) -> Result<Weights> {
    let mut renamed = Vec::new();
    match &weights.format {
        Format::Ct2(header) => {
            if header.spec != "WhisperSpec" {
                return Err(Error::Weights(format!(
                    "wanted a WhisperSpec, got a {}",
                    header.spec
                )));
            }
            for tensor in weights.iter().filter(|tensor| !is_setting(&tensor.name)) {
                rename_ct2(tensor, &mut renamed)?;
            }
        }
        Format::Safetensors => {
            for tensor in weights
                .iter()
                .filter(|tensor| tensor.name != "proj_out.weight")
            {
                let name = tensor.name.strip_prefix("model.").unwrap_or(&tensor.name);
                renamed.push(tensor.renamed(format!("model.{name}")));
            }
        }
    }
    Ok(Weights::new(weights.format.clone(), renamed))
}

/// Settings of CTranslate2 that are not weights, and the projection that is the embedding.
fn is_setting(name: &str) -> bool {
    const SETTINGS: [&str; 8] = [
        "activation",
        "alibi",
        "alignment_heads",
        "alignment_layer",
        "num_heads",
        "pre_norm",
        "scale_embeddings",
        "start_from_zero_embedding",
    ];
    let setting = name
        .split_once('/')
        .is_some_and(|(_, rest)| SETTINGS.contains(&rest));
    setting || name.starts_with("decoder/projection/")
}

fn rename_ct2(tensor: &RawTensor, renamed: &mut Vec<RawTensor>) -> Result<()> {
    let unknown = || {
        Error::Weights(format!(
            "{}: wanted a variable of Whisper, got another",
            tensor.name
        ))
    };
    let (side, rest) = tensor.name.split_once('/').ok_or_else(unknown)?;
    if !matches!(side, "encoder" | "decoder") {
        return Err(unknown());
    }
    let (prefix, rest) = match rest
        .strip_prefix("layer_")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((index, rest)) if index.parse::<usize>().is_ok() => {
            (format!("model.{side}.layers.{index}"), rest)
        }
        _ => (format!("model.{side}"), rest),
    };
    let (module, kind) = rest.rsplit_once('/').ok_or_else(unknown)?;
    let kind = match kind {
        "gamma" | "weight" | "encodings" => "weight",
        "beta" | "bias" => "bias",
        _ => return Err(unknown()),
    };
    let modules = modules(module).ok_or_else(unknown)?;
    let n_rows = tensor.shape.first().copied().unwrap_or(0);
    if n_rows % modules.len() != 0 {
        return Err(Error::Weights(format!(
            "{}: wanted {} equal parts, got {:?}",
            tensor.name,
            modules.len(),
            tensor.shape
        )));
    }
    let part = n_rows / modules.len();
    for (index, module) in modules.iter().enumerate() {
        let name = format!("{prefix}.{module}.{kind}");
        let piece = tensor.rows(name, index * part, (index + 1) * part)?;
        if kind == "bias"
            && module.ends_with("k_proj")
            && piece.to_f32()?.iter().all(|&value| value == 0.0)
        {
            continue;
        }
        renamed.push(piece);
    }
    Ok(())
}

/// Hugging Face's modules for one of CTranslate2's; several where CTranslate2 joins them.
fn modules(module: &str) -> Option<&'static [&'static str]> {
    Some(match module {
        "conv1" => &["conv1"],
        "conv2" => &["conv2"],
        "embeddings" => &["embed_tokens"],
        "position_encodings" => &["embed_positions"],
        "layer_norm" => &["layer_norm"],
        "self_attention/layer_norm" => &["self_attn_layer_norm"],
        "self_attention/linear_0" => &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        "self_attention/linear_1" => &["self_attn.out_proj"],
        "attention/layer_norm" => &["encoder_attn_layer_norm"],
        "attention/linear_0" => &["encoder_attn.q_proj"],
        "attention/linear_1" => &["encoder_attn.k_proj", "encoder_attn.v_proj"],
        "attention/linear_2" => &["encoder_attn.out_proj"],
        "ffn/layer_norm" => &["final_layer_norm"],
        "ffn/linear_0" => &["fc1"],
        "ffn/linear_1" => &["fc2"],
        _ => return None,
    })
}
