//! The sentence encoder: tokenizer, network, pooling.

use std::path::Path;

use mlx::{Array, Dtype};
use tokenizers::TruncationParams;

use super::modules::{Limits, Modules};
use super::{Config, Network};
use crate::axis_size::axis_size;
use crate::guarded::{guarded, read_tokenizer};
use crate::weights::Weights;
use crate::{Error, Result};

/// An encoder with its tokenizer and the modules after it, as sentence-transformers stores them.
///
/// `modules.json` and the files it names define the pooling of token vectors (CLS, mean, max, last token and
/// others, or several concatenated), and the modules after it; without it an embedding is the mean of the tokens,
/// of length 1. Sentences are truncated at `max_seq_length` of `sentence_bert_config.json`, by default at 256 tokens.
pub struct SentenceEncoder {
    network: Network,
    tokenizer: tokenizers::Tokenizer,
    modules: Modules,
    limits: Limits,
}

impl SentenceEncoder {
    /// Opens a folder with `config.json`, `tokenizer.json` and safetensors, and the optional files of sentence-
    /// transformers.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`], [`Error::Weights`] or [`Error::Tokenizer`], by the file that is wrong.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let modules = Modules::open(folder)?;
        let path = modules.transformer.join("config.json");
        let config = Config::from_json(&std::fs::read_to_string(&path).map_err(Error::io(&path))?)?;
        let mut tokenizer = read_tokenizer(&modules.transformer.join("tokenizer.json"))?;
        let limits = Limits::open(folder, &modules, config.longest())?;
        // The file's own settings pad every sentence to the same length.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams {
                max_length: limits.max_seq_length,
                ..TruncationParams::default()
            }))
            .map_err(|error| Error::Tokenizer(error.to_string()))?;
        let dtype = mlx_nn::preferred_dtype().map_err(Error::model)?;
        let network = Network::new(config, &Weights::open(&modules.transformer)?, dtype)?;
        Ok(Self {
            network,
            tokenizer,
            modules,
            limits,
        })
    }

    /// Returns the network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the tokens of a sentence, with its special tokens.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the vocabulary cannot encode it.
    pub fn tokens(&self, sentence: &str) -> Result<Vec<u32>> {
        let mut sentence = format!("{}{sentence}", self.limits.prompt);
        if self.limits.do_lower_case {
            sentence = sentence.to_lowercase();
        }
        let encoding = guarded(|| self.tokenizer.encode(sentence, true))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns an embedding for each sentence, `[sentences, dims]`, `float32`. Where the model's files say so, or are
    /// missing, each has length 1, and the product of two is their cosine similarity.
    ///
    /// # Errors
    /// [`Error::Decoding`] when there are no sentences, [`Error::Tokenizer`] when one cannot be encoded,
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
        let shape = [axis_size(rows.len()), axis_size(length)];
        let tokens = Array::from_slice(&tokens, shape).map_err(Error::model)?;
        let visible = Array::from_slice(&visible, shape).map_err(Error::model)?;
        let hidden = self
            .network
            .forward(&tokens, &visible)
            .astype(Dtype::Float32);
        let last: Vec<i32> = rows
            .iter()
            .map(|row| axis_size(row.len().saturating_sub(1)))
            .collect();
        let last = Array::from_slice(&last, [shape[0]]).map_err(Error::model)?;
        let mut vectors = self.modules.pooling.forward(&hidden, &visible, &last);
        for step in &self.modules.last {
            vectors = step.forward(&vectors);
        }
        vectors.eval().map_err(Error::model)?;
        Ok(vectors)
    }
}
