//! Jinja templates, rendered as Python's `transformers` renders them.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, Value};

use super::{python_json, python_methods, template_blocks};
use crate::{Error, Result};

/// Max number of steps of rendering a template, and bytes of its stack; a long conversation takes a few
/// thousand steps.
///
/// In each step a template can nest a list deeper, and dropping or printing deeply nested lists
/// recurses: a default stack would overflow. Untouched pages cost nothing, but a system may refuse them; then
/// there are fewer steps.
const LIMITS: [(u64, usize); 2] = [(2_000_000, 768 << 20), (100_000, 48 << 20)];

type Rendered<T> = std::result::Result<T, minijinja::Error>;

/// Returns the text of a template with these values.
pub(super) fn render(template: &str, values: Value) -> Result<String> {
    let template = template_blocks::without_generation(template);
    let wrong = |text: String| Error::Tokenizer(format!("chat template: {text}"));
    let mut refused = String::new();
    for (fuel, stack) in LIMITS {
        let rendered = || -> Rendered<String> {
            let environment = environment(fuel)?;
            environment.template_from_str(&template)?.render(&values)
        };
        let done = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("chat-template".into())
                .stack_size(stack);
            // The error is converted to text there, because it may hold values too.
            let work = || rendered().map_err(|error| error.to_string());
            thread.spawn_scoped(scope, work).map(|thread| {
                let panicked = || Err(String::from("wanted a text, got a panic of minijinja"));
                thread.join().unwrap_or_else(|_| panicked())
            })
        });
        match done {
            Ok(rendered) => return rendered.map_err(wrong),
            Err(error) => refused = error.to_string(),
        }
    }
    Err(wrong(format!(
        "wanted a thread to render it on, got none: {refused}"
    )))
}

/// Returns the Jinja environment of `transformers`.
fn environment(fuel: u64) -> Rendered<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(python_methods::call);
    environment.set_fuel(Some(fuel));
    // Functions of Jinja that minijinja lacks: `truncate`, `cycler` and others.
    minijinja_contrib::add_to_environment(&mut environment);
    environment.add_filter("tojson", to_json);
    environment.add_filter("fromjson", python_json::read);
    environment.add_filter("from_json", python_json::read);
    environment.add_test("sequence", is_sequence);
    // Minijinja also iterates over undefined values, as over an empty list.
    environment.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_function("strftime_now", strftime_now);
    environment.add_function("raise_exception", |text: String| {
        Err::<Value, _>(minijinja::Error::new(ErrorKind::InvalidOperation, text))
    });
    Ok(environment)
}

/// Values with a length and elements by index or key, as in Python: strings and maps too.
fn is_sequence(value: &Value) -> bool {
    value.is_undefined()
        || matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map
        )
}

/// Returns the local time in the format of C's `strftime`.
fn strftime_now(format: &str) -> Rendered<String> {
    use std::fmt::Write;
    let mut text = String::new();
    // An unknown specifier is an error here, where the formatter's `to_string` would panic.
    match write!(text, "{}", chrono::Local::now().format(format)) {
        Ok(()) => Ok(text),
        Err(_) => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now: wanted a format of strftime's, got {format:?}"),
        )),
    }
}

/// The filter `tojson`, with the options of Python's `json.dumps` that `transformers` passes on.
fn to_json(value: &Value, ensure_ascii: Option<bool>, options: Kwargs) -> Rendered<String> {
    let indent: Option<Value> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let ensure_ascii = match ensure_ascii {
        Some(truth) => Some(truth),
        None => options.get("ensure_ascii")?,
    };
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let style = python_json::Style::new(
        indent.filter(|indent| !indent.is_none()),
        separators,
        ensure_ascii.unwrap_or(false),
        sort_keys.unwrap_or(false),
    )?;
    python_json::write(value, &style)
}
