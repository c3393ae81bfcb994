//! How does a sentence become one vector?

use std::path::Path;

use mlx::{Array, Dtype, keepdims};
use tokenizers::TruncationParams;

use super::{Config, Network};
use crate::guarded::guarded;
use crate::weights::Weights;
use crate::{Error, Result};

/// Tokens of a sentence that are read; what is longer is cut.
const LONGEST: usize = 256;

/// An encoder with its tokenizer, as sentence-transformers packs them: the mean of a sentence's tokens, of length 1.
pub struct SentenceEncoder {
    network: Network,
    tokenizer: tokenizers::Tokenizer,
}

impl SentenceEncoder {
    /// Opens a folder with `config.json`, `tokenizer.json` and safetensors.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`], [`Error::Weights`] or [`Error::Tokenizer`], whichever file is at fault.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join("config.json");
        let config = Config::from_json(&std::fs::read_to_string(&path).map_err(Error::io(&path))?)?;
        let path = folder.join("tokenizer.json");
        let json = std::fs::read(&path).map_err(Error::io(&path))?;
        let mut tokenizer =
            guarded(|| tokenizers::Tokenizer::from_bytes(&json)).map_err(|error| match error {
                Error::Tokenizer(text) => Error::Tokenizer(format!("{}: {text}", path.display())),
                other => other,
            })?;
        let longest = usize::try_from(config.max_position_embeddings).unwrap_or(LONGEST);
        // The file's own settings pad every sentence to the same length.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams {
                max_length: longest.min(LONGEST),
                ..TruncationParams::default()
            }))
            .map_err(|error| Error::Tokenizer(error.to_string()))?;
        let dtype = mlx_nn::preferred_dtype().map_err(Error::model)?;
        let network = Network::new(config, &Weights::open(folder)?, dtype)?;
        Ok(Self { network, tokenizer })
    }

    /// Returns the network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the tokens of a sentence, with those that begin and end it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the vocabulary cannot spell it.
    pub fn tokens(&self, sentence: &str) -> Result<Vec<u32>> {
        let encoding = guarded(|| self.tokenizer.encode(sentence, true))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns a vector of length 1 for each sentence, `[sentences, hidden_size]`, `float32`. The product of two is the
    /// cosine between them.
    ///
    /// # Errors
    /// [`Error::Decoding`] when there are no sentences, [`Error::Tokenizer`] when one cannot be spelled,
    /// [`Error::Model`] when MLX fails.
    pub fn embed(&self, sentences: &[impl AsRef<str>]) -> Result<Array> {
        let rows: Vec<Vec<u32>> = sentences
            .iter()
            .map(|sentence| self.tokens(sentence.as_ref()))
            .collect::<Result<_>>()?;
        let Some(length) = rows.iter().map(Vec::len).max().filter(|length| *length > 0) else {
            return Err(Error::Decoding("embed: wanted sentences, got none".into()));
        };
        let mut tokens = Vec::with_capacity(rows.len() * length);
        let mut visible = Vec::with_capacity(rows.len() * length);
        for row in &rows {
            let filled = length - row.len();
            tokens.extend(row);
            tokens.extend(std::iter::repeat_n(
                self.network.config().pad_token_id,
                filled,
            ));
            visible.extend(std::iter::repeat_n(true, row.len()));
            visible.extend(std::iter::repeat_n(false, filled));
        }
        let shape = [size(rows.len())?, size(length)?];
        let tokens = Array::from_slice(&tokens, shape).map_err(Error::model)?;
        let visible = Array::from_slice(&visible, shape).map_err(Error::model)?;
        let hidden = self
            .network
            .forward(&tokens, &visible)
            .astype(Dtype::Float32);
        let weights = visible.astype(Dtype::Float32).expand_dims([-1]);
        let mean = (hidden * &weights).sum(1) / weights.sum(1);
        let unit = &mean / mean.square().sum(keepdims(-1)).sqrt().maximum(1e-12);
        unit.eval().map_err(Error::model)?;
        Ok(unit)
    }
}

fn size(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| Error::Decoding(format!("embed: wanted fewer sentences than {n}")))
}
