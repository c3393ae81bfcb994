//! Opening a model: one GGUF file, or a folder.

use std::path::Path;

use serde_json::Value;

use super::chat::ChatTemplate;
use super::config::Config;
use super::packing::packed_store;
use super::tokenizer::{Tokenizer, content};
use super::tokenizer_gguf::end_tokens;
use super::weight_store::WeightStore;
use crate::json::read_json;
use crate::weights::Weights;
use crate::weights::gguf::{Gguf, open_gguf};
use crate::{Error, Result};

/// The contents of a model's files, in one form for all formats.
#[derive(Clone)]
pub struct Checkpoint {
    /// The dimensions.
    pub config: Config,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The template that makes a prompt of a conversation, where the model has one.
    pub chat_template: Option<ChatTemplate>,
    /// The end-of-text tokens.
    pub end_tokens: Vec<u32>,
    /// The weights.
    pub weights: WeightStore,
}

impl Checkpoint {
    /// Opens a GGUF file, or a Hugging Face folder with safetensors, also one packed by MLX's tools.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`], [`Error::Weights`] or [`Error::Tokenizer`], by the part that is wrong.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            Self::from_folder(path)
        } else {
            Self::from_gguf(&open_gguf(path)?)
        }
    }

    /// Reads the parts of a GGUF file.
    ///
    /// # Errors
    /// As for [`Checkpoint::open`].
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        if let Some(parts @ 2..) = gguf.metadata.count("split.count").map_err(Error::config)? {
            return Err(Error::Weights(format!(
                "gguf: wanted a model in one file, got one of {parts}"
            )));
        }
        let tokenizer = Tokenizer::from_gguf(&gguf.metadata)?;
        Ok(Self {
            config: Config::from_gguf(gguf)?,
            chat_template: gguf_template(gguf, &tokenizer)?,
            end_tokens: end_tokens(&gguf.metadata, &tokenizer)?,
            tokenizer,
            weights: WeightStore::from_gguf(gguf)?,
        })
    }

    fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let config = Config::from_json(&text)?;
        let json: Value =
            serde_json::from_str(&text).map_err(|error| Error::Config(error.to_string()))?;
        let tokenizer = Tokenizer::open(folder)?;
        let generation = read_json(&folder.join("generation_config.json"))?;
        let mut end_tokens = [generation.as_ref(), Some(&json)]
            .into_iter()
            .flatten()
            .filter_map(|json| json.get("eos_token_id"))
            .map(numbers)
            .find(|numbers| !numbers.is_empty())
            .unwrap_or_default();
        end_tokens.extend(tokenizer.eos);
        end_tokens.sort_unstable();
        end_tokens.dedup();
        Ok(Self {
            config,
            chat_template: match folder_template(folder)? {
                Some(template) => {
                    let template = chat_template(&template, &tokenizer);
                    Some(other_tokens(template, folder)?)
                }
                None => None,
            },
            end_tokens,
            tokenizer,
            weights: packed_store(&Weights::open(folder)?, &json)?,
        })
    }
}

fn chat_template(template: &str, tokenizer: &Tokenizer) -> ChatTemplate {
    let text = |token: Option<u32>| token.and_then(|id| tokenizer.token(id)).unwrap_or_default();
    ChatTemplate::new(template, text(tokenizer.bos), text(tokenizer.eos))
}

/// Returns the template of a GGUF file with the special tokens that the file names.
fn gguf_template(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
    let Some(template) = gguf
        .metadata
        .text("tokenizer.chat_template")
        .map_err(Error::config)?
    else {
        return Ok(None);
    };
    let mut template = chat_template(template, tokenizer);
    for (name, key) in [
        ("unk_token", "tokenizer.ggml.unknown_token_id"),
        ("pad_token", "tokenizer.ggml.padding_token_id"),
    ] {
        let id = gguf
            .metadata
            .count(key)
            .map_err(Error::config)?
            .map(u32::try_from);
        if let Some(text) = id.and_then(|id| tokenizer.token(id.ok()?)) {
            template = template.with_token(name, text);
        }
    }
    Ok(Some(template))
}

/// Adds the special tokens that only a folder states, under their names in templates.
fn other_tokens(mut template: ChatTemplate, folder: &Path) -> Result<ChatTemplate> {
    let config = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    for name in [
        "unk_token",
        "pad_token",
        "sep_token",
        "cls_token",
        "mask_token",
    ] {
        if let Some(text) = config.get(name).and_then(content) {
            template = template.with_token(name, text);
        }
    }
    Ok(template)
}

/// Reads the template from a file of its own, or from the tokenizer's configuration, alone or in a list.
fn folder_template(folder: &Path) -> Result<Option<String>> {
    let path = folder.join("chat_template.jinja");
    if path.is_file() {
        return std::fs::read_to_string(&path)
            .map(Some)
            .map_err(Error::io(&path));
    }
    let config = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    // Vision models have it in a file of its own.
    let other = read_json(&folder.join("chat_template.json"))?.unwrap_or_default();
    let stated = [&config, &other]
        .into_iter()
        .find_map(|json| json.get("chat_template").filter(|stated| !stated.is_null()));
    Ok(match stated {
        Some(Value::Array(templates)) => templates
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str())
            .map(str::to_owned),
        Some(template) => content(template).map(str::to_owned),
        None => None,
    })
}

/// Returns one number, or a list of them, as a list.
fn numbers(json: &Value) -> Vec<u32> {
    let number = |json: &Value| u32::try_from(json.as_u64()?).ok();
    match json {
        Value::Array(list) => list.iter().filter_map(number).collect(),
        one => number(one).into_iter().collect(),
    }
}
