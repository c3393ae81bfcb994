//! How does a conversation become a prompt?

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, Value, context};
use serde::Serialize;
use serde_json::ser::Formatter;

use crate::{Error, Result};

/// Steps after which a template is given up; a long conversation takes some thousands.
const FUEL: u64 = 10_000_000;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
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

    /// Returns a message that tells the model how to behave.
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
/// It is parsed when it is rendered: a model with a template that is not understood can still continue texts.
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
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Returns a template, which knows the texts of the tokens that begin and end a text.
    pub fn new(
        template: impl Into<String>,
        bos_token: impl Into<String>,
        eos_token: impl Into<String>,
    ) -> Self {
        Self {
            template: template.into(),
            bos_token: bos_token.into(),
            eos_token: eos_token.into(),
        }
    }

    /// Returns the prompt of a conversation, up to where the model's answer begins if `add_generation_prompt`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the template is malformed, refuses, such as for roles in an order it does not know,
    /// or does not end.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let environment = environment().map_err(failed)?;
        let template = environment
            .template_from_str(&self.template)
            .map_err(failed)?;
        let text = template.render(context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
        });
        text.map_err(failed)
    }
}

/// Jinja as `transformers` sets it up.
fn environment() -> std::result::Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |text: String| {
        let error = minijinja::Error::new(ErrorKind::InvalidOperation, text);
        Err::<Value, _>(error)
    });
    Ok(environment)
}

/// JSON as Python writes it: a space behind commas and colons, and nothing escaped that need not be.
fn to_json(value: Value) -> std::result::Result<String, minijinja::Error> {
    struct Spaced;
    impl Formatter for Spaced {
        fn begin_array_value<W: ?Sized + Write>(
            &mut self,
            to: &mut W,
            first: bool,
        ) -> io::Result<()> {
            to.write_all(if first { b"" } else { b", " })
        }
        fn begin_object_key<W: ?Sized + Write>(
            &mut self,
            to: &mut W,
            first: bool,
        ) -> io::Result<()> {
            to.write_all(if first { b"" } else { b", " })
        }
        fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
            to.write_all(b": ")
        }
    }
    let mut bytes = Vec::new();
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes, Spaced,
    ));
    let wrong = |text: String| minijinja::Error::new(ErrorKind::BadSerialization, text);
    written.map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
}

fn failed(error: minijinja::Error) -> Error {
    Error::Tokenizer(format!("chat template: {error}"))
}
