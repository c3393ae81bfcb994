//! Chat templates: a conversation becomes a prompt.

use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;

use super::template;
use crate::Result;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The role: `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// Returns a message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }

    /// Returns a message of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// Returns a system message.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// Returns a message of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }
}

/// The chat template of a model, in Jinja, as Python's `transformers` renders it.
///
/// It is parsed when it is rendered: a model with an unsupported template can still continue texts.
/// Besides `messages`, `add_generation_prompt` and the texts of special tokens it is given `tools` and `documents`,
/// which are undefined.
///
/// ```
/// use mlx_models::llama::{ChatTemplate, Message};
///
/// let template = "{% for m in messages %}[{{ m.role }}] {{ m['content'].strip() }}{{ eos_token }}{% endfor %}";
/// let template = ChatTemplate::new(template, "<s>", "</s>");
/// assert_eq!(template.render(&[Message::user(" Hi ")], true)?, "[user] Hi</s>");
/// # Ok::<(), mlx_models::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    template: String,
    /// Texts of special tokens by their names in templates, such as `bos_token`.
    tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Returns a template with the texts of the BOS and EOS tokens.
    pub fn new(
        template: impl Into<String>,
        bos_token: impl Into<String>,
        eos_token: impl Into<String>,
    ) -> Self {
        Self {
            template: template.into(),
            tokens: BTreeMap::new(),
        }
        .with_token("bos_token", bos_token)
        .with_token("eos_token", eos_token)
    }

    /// Returns the template with the text of another special token, such as `unk_token` or `pad_token`.
    #[must_use]
    pub fn with_token(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.tokens.insert(name.into(), text.into());
        self
    }

    /// Returns the prompt of a conversation, with the beginning of the model's answer if `add_generation_prompt`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) when the template is malformed, refuses, such as for roles in an
    /// order it does not know, or does not end.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let tokens = self.tokens.iter();
        let known = [
            ("messages", Value::from(Serde(messages))),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
        ];
        let values: BTreeMap<String, Value> = tokens
            .map(|(name, text)| (name.clone(), Value::from(text.as_str())))
            .chain(known.map(|(name, value)| (name.to_owned(), value)))
            .collect();
        template::render(&self.template, Value::from(values))
    }
}
