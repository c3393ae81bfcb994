//! The dimensions of a Whisper model.

use serde::{Deserialize, Serialize};

use crate::weights::{Format, Weights};
use crate::{Error, Result};

/// The dimensions of a Whisper model, under OpenAI's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Config {
    /// Mel bands of the input: 80, or 128 from large-v3 on.
    pub n_mels: usize,
    /// Positions of the encoder: 1500, half of the frames of a window.
    pub n_audio_ctx: usize,
    /// Width of the encoder.
    pub n_audio_state: usize,
    /// Attention heads of the encoder.
    pub n_audio_head: usize,
    /// Layers of the encoder.
    pub n_audio_layer: usize,
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// Positions of the decoder: 448.
    pub n_text_ctx: usize,
    /// Width of the decoder.
    pub n_text_state: usize,
    /// Attention heads of the decoder.
    pub n_text_head: usize,
    /// Layers of the decoder.
    pub n_text_layer: usize,
}

/// The published sizes: name, width, heads, encoder layers, decoder layers, bands, vocabulary.
const SIZES: [(&str, usize, usize, usize, usize, usize, usize); 13] = [
    ("tiny", 384, 6, 4, 4, 80, 51865),
    ("tiny.en", 384, 6, 4, 4, 80, 51864),
    ("base", 512, 8, 6, 6, 80, 51865),
    ("base.en", 512, 8, 6, 6, 80, 51864),
    ("small", 768, 12, 12, 12, 80, 51865),
    ("small.en", 768, 12, 12, 12, 80, 51864),
    ("medium", 1024, 16, 24, 24, 80, 51865),
    ("medium.en", 1024, 16, 24, 24, 80, 51864),
    ("large-v1", 1280, 20, 32, 32, 80, 51865),
    ("large-v2", 1280, 20, 32, 32, 80, 51865),
    ("large-v3", 1280, 20, 32, 32, 128, 51866),
    ("large-v3-turbo", 1280, 20, 32, 4, 128, 51866),
    ("turbo", 1280, 20, 32, 4, 128, 51866),
];

/// More layers than any model has.
const MAX_LAYERS: usize = 4096;

/// Sizes above this are refused.
const MAX_SIZE: usize = (1 << 24) - 1;

impl Config {
    /// Returns the dimensions of a published size, such as `"tiny.en"` or `"large-v3"`.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no such size.
    pub fn named(name: &str) -> Result<Self> {
        let size = SIZES.iter().find(|size| size.0 == name);
        let &(_, state, heads, audio_layers, text_layers, n_mels, n_vocab) =
            size.ok_or_else(|| {
                let known: Vec<&str> = SIZES.iter().map(|size| size.0).collect();
                Error::Config(format!(
                    "size: wanted one of {}, got {name}",
                    known.join(", ")
                ))
            })?;
        Ok(Self {
            n_mels,
            n_audio_ctx: 1500,
            n_audio_state: state,
            n_audio_head: heads,
            n_audio_layer: audio_layers,
            n_vocab,
            n_text_ctx: 448,
            n_text_state: state,
            n_text_head: heads,
            n_text_layer: text_layers,
        })
    }

    /// Reads a `config.json`, with Hugging Face's keys or with OpenAI's (also inside `"dims"`).
    ///
    /// # Errors
    /// [`Error::Config`] when it is neither, or contradicts itself.
    pub fn from_json(text: &str) -> Result<Self> {
        let json: serde_json::Value =
            serde_json::from_str(text).map_err(|error| Error::Config(format!("json: {error}")))?;
        let dims = json.get("dims").unwrap_or(&json);
        let config = if dims.get("n_audio_state").is_some() {
            serde_json::from_value(dims.clone())
                .map_err(|error| Error::Config(error.to_string()))?
        } else if json.get("d_model").is_some() {
            let dims: HuggingFace =
                serde_json::from_value(json).map_err(|error| Error::Config(error.to_string()))?;
            dims.into_config()?
        } else {
            return Err(Error::Config(
                "wanted the key d_model or n_audio_state, got neither".into(),
            ));
        };
        config.check()
    }

    /// Returns the dimensions as JSON with OpenAI's keys.
    pub fn to_json(&self) -> String {
        serde_json::json!({ "dims": self }).to_string()
    }

    /// Returns the dimensions that the shapes of weights with Hugging Face's names imply.
    ///
    /// The number of heads is in no shape: it is one for 64 channels, as in every
    /// published Whisper. (A CTranslate2 file states it; see [`Config::from_weights_with_heads`].)
    /// # Errors
    /// [`Error::Weights`] when a weight is missing, [`Error::Config`] when they contradict each other.
    pub fn from_weights(weights: &Weights) -> Result<Self> {
        Self::from_weights_with_heads(weights, None)
    }

    /// Returns the dimensions like [`Config::from_weights`], with this number of heads.
    ///
    /// # Errors
    /// As for [`Config::from_weights`].
    pub fn from_weights_with_heads(weights: &Weights, n_heads: Option<usize>) -> Result<Self> {
        let [n_audio_state, n_mels, _] = shape(weights, "model.encoder.conv1.weight")?;
        let [n_audio_ctx, _] = shape(weights, "model.encoder.embed_positions.weight")?;
        let [n_vocab, n_text_state] = shape(weights, "model.decoder.embed_tokens.weight")?;
        let [n_text_ctx, _] = shape(weights, "model.decoder.embed_positions.weight")?;
        let layers = |side: &str| {
            (0..)
                .take_while(|i| weights.contains(&format!("model.{side}.layers.{i}.fc1.weight")))
                .count()
        };
        let config = Self {
            n_mels,
            n_audio_ctx,
            n_audio_state,
            n_audio_head: n_heads.unwrap_or(n_audio_state / 64),
            n_audio_layer: layers("encoder"),
            n_vocab,
            n_text_ctx,
            n_text_state,
            n_text_head: n_heads.unwrap_or(n_text_state / 64),
            n_text_layer: layers("decoder"),
        };
        config.check()
    }

    /// Returns whether the vocabulary is that of a multilingual model.
    pub fn is_multilingual(&self) -> bool {
        self.n_vocab >= 51865
    }

    /// Returns the width of the feed-forward layers of the encoder: four times its width.
    pub fn n_audio_mlp(&self) -> usize {
        self.n_audio_state.saturating_mul(4)
    }

    /// Returns the width of the feed-forward layers of the decoder: four times its width.
    pub fn n_text_mlp(&self) -> usize {
        self.n_text_state.saturating_mul(4)
    }

    fn check(self) -> Result<Self> {
        let wanted = |what: String| Err(Error::Config(what));
        let positive = [
            ("n_mels", self.n_mels),
            ("n_audio_ctx", self.n_audio_ctx),
            ("n_audio_layer", self.n_audio_layer),
            ("n_vocab", self.n_vocab),
            ("n_text_ctx", self.n_text_ctx),
            ("n_text_layer", self.n_text_layer),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return wanted(format!("{name}: wanted more than 0, got 0"));
        }
        // Checked before anything is allocated: the numbers come from a file.
        let widths = [
            ("n_audio_state", self.n_audio_state),
            ("n_text_state", self.n_text_state),
        ];
        for (name, size) in positive.into_iter().chain(widths) {
            let most = match name {
                "n_audio_layer" | "n_text_layer" => MAX_LAYERS,
                _ => MAX_SIZE,
            };
            if size > most {
                return wanted(format!("{name}: wanted at most {most}, got {size}"));
            }
        }
        if self.n_audio_state != self.n_text_state {
            return wanted(format!(
                "wanted one width for encoder and decoder, got {} and {}",
                self.n_audio_state, self.n_text_state
            ));
        }
        for (name, heads) in [
            ("n_audio_head", self.n_audio_head),
            ("n_text_head", self.n_text_head),
        ] {
            if heads == 0 || !self.n_text_state.is_multiple_of(heads) {
                return wanted(format!(
                    "{name}: wanted a divisor of {}, got {heads}",
                    self.n_text_state
                ));
            }
        }
        Ok(self)
    }
}

/// Returns the number of heads that a CTranslate2 file states, from its own variable names.
pub(super) fn ct2_heads(weights: &Weights) -> Option<usize> {
    let tensor = matches!(weights.format, Format::Ct2(_))
        .then(|| weights.get("encoder/num_heads").ok())??;
    tensor
        .to_integer()
        .ok()
        .and_then(|heads| usize::try_from(heads).ok())
}

fn shape<const N: usize>(weights: &Weights, name: &str) -> Result<[usize; N]> {
    let shape = &weights.get(name)?.shape;
    <[usize; N]>::try_from(shape.as_slice())
        .map_err(|_| Error::Weights(format!("{name}: wanted {N} dimensions, got {shape:?}")))
}

/// The keys of Hugging Face's `config.json`.
#[derive(Deserialize)]
struct HuggingFace {
    #[serde(default = "eighty")]
    num_mel_bins: usize,
    max_source_positions: usize,
    d_model: usize,
    encoder_attention_heads: usize,
    encoder_layers: usize,
    encoder_ffn_dim: Option<usize>,
    vocab_size: usize,
    max_target_positions: usize,
    decoder_attention_heads: usize,
    decoder_layers: usize,
    decoder_ffn_dim: Option<usize>,
}

fn eighty() -> usize {
    80
}

impl HuggingFace {
    fn into_config(self) -> Result<Config> {
        for (name, width) in [
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
        ] {
            if let Some(width) = width.filter(|&width| Some(width) != self.d_model.checked_mul(4)) {
                return Err(Error::Config(format!(
                    "{name}: wanted 4 times d_model {}, got {width}",
                    self.d_model
                )));
            }
        }
        Ok(Config {
            n_mels: self.num_mel_bins,
            n_audio_ctx: self.max_source_positions,
            n_audio_state: self.d_model,
            n_audio_head: self.encoder_attention_heads,
            n_audio_layer: self.encoder_layers,
            n_vocab: self.vocab_size,
            n_text_ctx: self.max_target_positions,
            n_text_state: self.d_model,
            n_text_head: self.decoder_attention_heads,
            n_text_layer: self.decoder_layers,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TINY_HF: &str = r#"{"num_mel_bins": 80, "max_source_positions": 1500, "d_model": 384,
        "encoder_attention_heads": 6, "encoder_layers": 4, "encoder_ffn_dim": 1536, "vocab_size": 51864,
        "max_target_positions": 448, "decoder_attention_heads": 6, "decoder_layers": 4, "model_type": "whisper"}"#;
    const TINY_OPENAI: &str = r#"{"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6,
        "n_audio_layer": 4, "n_vocab": 51864, "n_text_ctx": 448, "n_text_state": 384, "n_text_head": 6,
        "n_text_layer": 4, "model_type": "whisper"}"#;

    #[rstest]
    #[case::hugging_face(TINY_HF.to_string())]
    #[case::openai(TINY_OPENAI.to_string())]
    #[case::openai_in_dims(format!("{{\"dims\": {TINY_OPENAI}}}"))]
    fn both_spellings_give_tiny(#[case] text: String) {
        assert_eq!(
            Config::from_json(&text).unwrap(),
            Config::named("tiny.en").unwrap()
        );
    }

    #[rstest]
    #[case::not_json("{", "config: json: ")]
    #[case::another_model(
        "{\"hidden_size\": 4}",
        "config: wanted the key d_model or n_audio_state, got neither"
    )]
    #[case::a_missing_key("{\"d_model\": 384}", "config: missing field")]
    #[case::no_heads(&TINY_HF.replace("_heads\": 6", "_heads\": 0"), "config: n_audio_head: wanted a divisor of 384, got 0")]
    #[case::odd_heads(&TINY_HF.replace("_heads\": 6", "_heads\": 7"), "config: n_audio_head: wanted a divisor of 384, got 7")]
    #[case::narrow_mlp(&TINY_HF.replace("1536", "1000"), "config: encoder_ffn_dim: wanted 4 times d_model 384, got 1000")]
    #[case::no_layers(&TINY_OPENAI.replace("layer\": 4", "layer\": 0"), "config: n_audio_layer: wanted more than 0, got 0")]
    #[case::too_many_layers(&TINY_HF.replace("encoder_layers\": 4", "encoder_layers\": 1000000000000"), "config: n_audio_layer: wanted at most 4096, got 1000000000000")]
    #[case::too_wide(&TINY_OPENAI.replace("384", "18446744073709551615"), "config: n_audio_state: wanted at most 16777215, got 18446744073709551615")]
    #[case::too_many_bands(&TINY_HF.replace("80", "99999999999"), "config: n_mels: wanted at most 16777215, got 99999999999")]
    fn refuses(#[case] text: &str, #[case] message: &str) {
        let text = Config::from_json(text).unwrap_err().to_string();
        assert!(text.starts_with(message), "{text}");
    }

    #[rstest]
    #[case("tiny.en", false, 4, 80)]
    #[case("large-v3", true, 32, 128)]
    #[case("large-v3-turbo", true, 4, 128)]
    fn sizes_are_known_by_name(
        #[case] name: &str,
        #[case] multilingual: bool,
        #[case] layers: usize,
        #[case] mels: usize,
    ) {
        let config = Config::named(name).unwrap();
        assert_eq!(
            (config.is_multilingual(), config.n_text_layer, config.n_mels),
            (multilingual, layers, mels)
        );
        assert_eq!(config.check().unwrap(), config);
    }

    #[test]
    fn an_unknown_size_lists_the_known_ones() {
        assert!(
            Config::named("huge")
                .unwrap_err()
                .to_string()
                .contains("large-v3-turbo")
        );
    }
}
