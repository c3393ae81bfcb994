//! JSON as Python's `json` module writes and reads it.

use minijinja::value::ValueKind;
use minijinja::{ErrorKind, Value};

/// Values nested deeper are refused, as in Python.
const MAX_DEPTH: usize = 500;

/// Max number of bytes of one level of indentation.
const MAX_INDENT: usize = 64;

type Rendered<T> = Result<T, minijinja::Error>;

/// The style of `json.dumps`.
pub(super) struct Style {
    /// The indentation of one level; `None` for a single line.
    indent: Option<String>,
    between_items: String,
    behind_key: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

impl Style {
    /// Returns the style of these arguments; `indent` is a number of spaces or a string.
    pub(super) fn new(
        indent: Option<Value>,
        separators: Option<Vec<String>>,
        ensure_ascii: bool,
        sort_keys: bool,
    ) -> Rendered<Self> {
        let indent = match indent {
            None => None,
            Some(indent) => Some(indent_text(&indent)?),
        };
        let [between_items, behind_key] = match separators.as_deref() {
            None if indent.is_some() => [",".into(), ": ".into()],
            None => [", ".into(), ": ".into()],
            Some([items, key]) => [items.clone(), key.clone()],
            Some(other) => {
                return Err(wrong(format!(
                    "separators: wanted two texts, got {other:?}"
                )));
            }
        };
        Ok(Self {
            indent,
            between_items,
            behind_key,
            ensure_ascii,
            sort_keys,
        })
    }
}

/// Returns the indentation of the argument `indent`: a string, or n spaces; a negative number is none.
fn indent_text(indent: &Value) -> Rendered<String> {
    let text = match (indent.kind(), i64::try_from(indent.clone())) {
        (ValueKind::String, _) => Some(indent.to_string()),
        (_, Ok(n)) => {
            let n = usize::try_from(n).unwrap_or(0);
            (n <= MAX_INDENT).then(|| " ".repeat(n))
        }
        _ => None,
    };
    text.filter(|text| text.len() <= MAX_INDENT).ok_or_else(|| {
        wrong(format!(
            "indent: wanted a text or a number up to {MAX_INDENT}, got {indent}"
        ))
    })
}

/// Reads JSON.
pub(super) fn read(text: &str) -> Rendered<Value> {
    serde_json::from_str(text).map_err(|error| wrong(format!("fromjson: {error}")))
}

/// Writes a value.
pub(super) fn write(value: &Value, style: &Style) -> Rendered<String> {
    let mut text = String::new();
    write_value(&mut text, value, style, 0)?;
    Ok(text)
}

fn write_value(to: &mut String, value: &Value, style: &Style, depth: usize) -> Rendered<()> {
    if depth > MAX_DEPTH {
        return Err(wrong(format!(
            "tojson: wanted values at most {MAX_DEPTH} deep in each other, got deeper ones"
        )));
    }
    match value.kind() {
        ValueKind::None => to.push_str("null"),
        ValueKind::Bool => to.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => to.push_str(&number(value)),
        ValueKind::String => write_string(to, value.as_str().unwrap_or_default(), style),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            write_all(to, ['[', ']'], items.len(), style, depth, |to, i| {
                write_value(to, &items[i], style, depth + 1)
            })?;
        }
        ValueKind::Map => {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                pairs.push((key_text(&key)?, value.get_item(&key)?));
            }
            if style.sort_keys {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            write_all(to, ['{', '}'], pairs.len(), style, depth, |to, i| {
                write_string(to, &pairs[i].0, style);
                to.push_str(&style.behind_key);
                write_value(to, &pairs[i].1, style, depth + 1)
            })?;
        }
        other => {
            return Err(wrong(format!(
                "tojson: wanted a value that JSON has, got {other}"
            )));
        }
    }
    Ok(())
}

/// Writes brackets and the items between them.
fn write_all(
    to: &mut String,
    [open, close]: [char; 2],
    n: usize,
    style: &Style,
    depth: usize,
    mut write: impl FnMut(&mut String, usize) -> Rendered<()>,
) -> Rendered<()> {
    let line = |to: &mut String, depth: usize| {
        if let Some(indent) = &style.indent {
            to.push('\n');
            to.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    };
    to.push(open);
    for i in 0..n {
        if i > 0 {
            to.push_str(&style.between_items);
        }
        line(to, depth + 1);
        write(to, i)?;
    }
    if n > 0 {
        line(to, depth);
    }
    to.push(close);
    Ok(())
}

/// Returns a key as a string; Python converts other plain values.
fn key_text(key: &Value) -> Rendered<String> {
    Ok(match key.kind() {
        ValueKind::String => key.to_string(),
        ValueKind::None => "null".into(),
        ValueKind::Bool => (if key.is_true() { "true" } else { "false" }).into(),
        ValueKind::Number => number(key),
        other => {
            return Err(wrong(format!(
                "tojson: wanted a text as a key, got {other}"
            )));
        }
    })
}

/// Returns a number as Python's `repr` writes it: the shortest digits that read back as the same.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(float) = f64::try_from(value.clone()) else {
        return value.to_string();
    };
    if float.is_nan() {
        return "NaN".into();
    }
    if float.is_infinite() {
        return (if float > 0.0 { "Infinity" } else { "-Infinity" }).into();
    }
    // Python writes exponents from 1e16 on and below 1e-4, of two digits or more.
    if float == 0.0 || (1e-4..1e16).contains(&float.abs()) {
        return format!("{float:?}");
    }
    let text = format!("{float:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => text,
    }
}

fn write_string(to: &mut String, text: &str, style: &Style) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\u{8}' => to.push_str("\\b"),
            '\u{c}' => to.push_str("\\f"),
            c if c < ' ' || (style.ensure_ascii && !(' '..='~').contains(&c)) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    to.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => to.push(c),
        }
    }
    to.push('"');
}

fn wrong(text: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::BadSerialization, text)
}
