//! The dimensions that a GGUF file states.

use super::config::{Config, Family};
use super::rope::{Rope, RopeScaling};
use crate::weights::gguf::{Gguf, Metadata};
use crate::{Error, Result};

impl Config {
    /// Reads the metadata of a GGUF file, and from its tensors what the metadata lacks.
    ///
    /// # Errors
    /// As for [`Config::from_json`].
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let metadata = &gguf.metadata;
        let name = metadata
            .text("general.architecture")
            .map_err(Error::config)?
            .ok_or_else(|| Error::Config("general.architecture: wanted a text, got none".into()))?;
        let keys = Keys { metadata, name };
        let family = Family::named(name)?;
        let has = |tensor: &str| gguf.tensor(tensor).is_ok();
        let (hidden_size, heads) = (
            keys.count("embedding_length")?,
            keys.count("attention.head_count")?,
        );
        let head_dim = match metadata
            .count(&keys.full("attention.key_length"))
            .map_err(Error::config)?
        {
            Some(head_dim) => head_dim,
            None => hidden_size.checked_div(heads).unwrap_or(0),
        };
        let value_dim = metadata
            .count(&keys.full("attention.value_length"))
            .map_err(Error::config)?;
        let turned = metadata
            .count(&keys.full("rope.dimension_count"))
            .map_err(Error::config)?;
        for (what, dim) in [
            ("attention.value_length", value_dim),
            ("rope.dimension_count", turned),
        ] {
            if dim.is_some_and(|dim| dim != head_dim) {
                return Err(Error::Config(format!(
                    "{}: wanted {head_dim} as a head has, got {dim:?}",
                    keys.full(what)
                )));
            }
        }
        let table = gguf.tensor("token_embd.weight").map_err(Error::weights)?;
        let config = Self {
            family,
            hidden_size,
            intermediate_size: keys.count("feed_forward_length")?,
            num_hidden_layers: keys.count("block_count")?,
            num_attention_heads: heads,
            num_key_value_heads: metadata
                .count(&keys.full("attention.head_count_kv"))
                .map_err(Error::config)?
                .unwrap_or(heads),
            head_dim,
            vocab_size: table.shape.first().copied().unwrap_or(0),
            max_position_embeddings: keys.count("context_length")?,
            rms_norm_eps: metadata
                .number(&keys.full("attention.layer_norm_rms_epsilon"))
                .map_err(Error::config)?
                .map_or(1e-6, |eps| eps as f32),
            rope: Rope {
                theta: metadata
                    .number(&keys.full("rope.freq_base"))
                    .map_err(Error::config)?
                    .unwrap_or(10_000.0),
                scaling: keys.scaling(gguf)?,
                // The converter reorders the rows of queries and keys of this family only.
                traditional: family == Family::Llama,
            },
            tie_word_embeddings: !has("output.weight"),
            qkv_bias: has("blk.0.attn_q.bias"),
            output_bias: has("blk.0.attn_output.bias"),
            mlp_bias: has("blk.0.ffn_down.bias"),
            qk_norm: has("blk.0.attn_q_norm.weight"),
        };
        config.check()
    }
}

/// The keys that begin with the name of the architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    name: &'a str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn count(&self, key: &str) -> Result<usize> {
        let key = self.full(key);
        self.metadata
            .count(&key)
            .map_err(Error::config)?
            .ok_or_else(|| Error::Config(format!("{key}: wanted a number, got none")))
    }

    fn scaling(&self, gguf: &Gguf) -> Result<RopeScaling> {
        if let Ok(factors) = gguf.tensor("rope_freqs.weight") {
            return Ok(RopeScaling::Factors(factors.to_f32()?));
        }
        let kind = self
            .metadata
            .text(&self.full("rope.scaling.type"))
            .map_err(Error::config)?;
        match kind.unwrap_or("none") {
            "none" => Ok(RopeScaling::None),
            "linear" => {
                let key = self.full("rope.scaling.factor");
                let factor = self.metadata.number(&key).map_err(Error::config)?;
                factor
                    .map(RopeScaling::Linear)
                    .ok_or_else(|| Error::Config(format!("{key}: wanted a number, got none")))
            }
            other => Err(Error::Config(format!(
                "{}: wanted none or linear, got {other}",
                self.full("rope.scaling.type")
            ))),
        }
    }
}
