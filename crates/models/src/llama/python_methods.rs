//! Python's methods of strings, lists and maps in templates, beyond those that minijinja has.

use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Max width that a text is padded to: a template cannot request unbounded memory.
const MAX_WIDTH: usize = 1 << 16;

/// Max tab size, of which a text can have many.
const MAX_TAB: usize = 64;

type Rendered<T> = Result<T, Error>;

/// Calls a Python method on a value.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Rendered<Value> {
    let own = match value.kind() {
        ValueKind::String => of_text(state, value.as_str().unwrap_or_default(), method, args)?,
        ValueKind::Seq => of_list(value, method, args)?,
        ValueKind::Map if method == "copy" => Some(value.clone()),
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, method, args),
    }
}

fn of_text(state: &State, text: &str, method: &str, args: &[Value]) -> Rendered<Option<Value>> {
    let result = match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "partition" | "rpartition" => partition(text, method == "partition", args)?,
        "rsplit" => rsplit(text, args)?,
        "find" | "rfind" | "index" | "rindex" => find(text, method, args)?,
        "startswith" | "endswith" if args.len() > 1 => {
            let (wanted, start, end): (Value, Option<i64>, Option<i64>) = from_args(args)?;
            let part = Value::from(between(text, start, end).1);
            let wanted: Vec<String> = match wanted.as_str() {
                Some(one) => vec![one.to_owned()],
                None => wanted.try_iter()?.map(|one| one.to_string()).collect(),
            };
            let part = part.as_str().unwrap_or_default();
            let fits = |one: &String| match method {
                "startswith" => part.starts_with(one),
                _ => part.ends_with(one),
            };
            wanted.iter().any(fits).into()
        }
        "swapcase" => text.chars().map(swapped).collect::<String>().into(),
        "casefold" => text.to_lowercase().replace('ß', "ss").into(),
        "isdecimal" => {
            let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
            digits.into()
        }
        "istitle" => is_title(text).into(),
        "title" => title(text).into(),
        "center" | "ljust" | "rjust" | "zfill" => filled(text, method, args)?,
        // The padded text is built before it is counted; such widths have no use.
        "format" if widest(text) > MAX_WIDTH => {
            return Err(invalid(format!(
                "format: wanted widths of at most {MAX_WIDTH}, got {text:?}"
            )));
        }
        "expandtabs" => {
            let (size,): (Option<usize>,) = from_args(args)?;
            match size.unwrap_or(8) {
                size @ 0..=MAX_TAB => {
                    // Counted before it is built: 64 bytes are one step.
                    let tabs = text.bytes().filter(|&byte| byte == b'\t').count();
                    state.consume_fuel((tabs * size / 64) as u64)?;
                    expand_tabs(text, size).into()
                }
                size => {
                    return Err(invalid(format!(
                        "expandtabs: wanted at most {MAX_TAB}, got {size}"
                    )));
                }
            }
        }
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(args)?;
            lines(text, keep.unwrap_or(false))
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

/// The largest index between braces.
fn widest(text: &str) -> usize {
    let fields = text.split('{').skip(1);
    let fields = fields.filter_map(|field| field.split('}').next());
    fields
        .flat_map(|field| field.split(|c: char| !c.is_ascii_digit()))
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(usize::MAX))
        .max()
        .unwrap_or(0)
}

fn of_list(list: &Value, method: &str, args: &[Value]) -> Rendered<Option<Value>> {
    match method {
        "copy" => Ok(Some(list.clone())),
        "index" => {
            let (wanted,): (Value,) = from_args(args)?;
            match list.try_iter()?.position(|item| item == wanted) {
                Some(at) => Ok(Some(Value::from(at))),
                None => Err(invalid(format!("index: wanted an element, got {wanted}"))),
            }
        }
        _ => Ok(None),
    }
}

/// Splits a text in three at the first or last separator: before, separator, after.
fn partition(text: &str, first: bool, args: &[Value]) -> Rendered<Value> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(invalid("partition: wanted a separator, got none".into()));
    }
    let parts = match first {
        true => text.split_once(separator),
        false => text.rsplit_once(separator),
    };
    let parts = match (parts, first) {
        (Some((before, behind)), _) => [before, separator, behind],
        (None, true) => [text, "", ""],
        (None, false) => ["", "", text],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

fn rsplit(text: &str, args: &[Value]) -> Rendered<Value> {
    let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
    let n = match most {
        Some(most @ 0..) => usize::try_from(most)
            .unwrap_or(usize::MAX)
            .saturating_add(1),
        _ => usize::MAX,
    };
    let mut parts: Vec<&str> = Vec::new();
    match separator {
        Some("") => return Err(invalid("rsplit: wanted a separator, got none".into())),
        Some(separator) => parts.extend(text.rsplitn(n, separator)),
        None => {
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                if parts.len() + 1 == n {
                    parts.push(rest);
                    break;
                }
                let start = rest.rfind(char::is_whitespace);
                let word = start.and_then(|at| {
                    let space = rest[at..].chars().next()?;
                    Some(at + space.len_utf8())
                });
                let (before, word) = rest.split_at(word.unwrap_or(0));
                parts.push(word);
                rest = before.trim_end();
            }
        }
    }
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Returns the position of a text in another, in characters.
fn find(text: &str, method: &str, args: &[Value]) -> Rendered<Value> {
    let (wanted, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let (skipped, part) = between(text, start, end);
    let at = match method {
        "find" | "index" => part.find(wanted),
        _ => part.rfind(wanted),
    };
    match at {
        Some(at) => Ok(Value::from(skipped + part[..at].chars().count())),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid(format!(
            "{method}: wanted a part of the text, got {wanted:?}"
        ))),
    }
}

/// Returns the characters from `start` to `end`, negative ones counted from the end, and the number before them.
fn between(text: &str, start: Option<i64>, end: Option<i64>) -> (usize, &str) {
    let n = text.chars().count();
    let place = |at: i64| match usize::try_from(at) {
        Ok(at) => at.min(n),
        Err(_) => n.saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let (start, end) = (start.map_or(0, place), end.map_or(n, place));
    let byte = |at: usize| {
        text.char_indices()
            .nth(at)
            .map_or(text.len(), |(byte, _)| byte)
    };
    (start, &text[byte(start)..byte(end.max(start))])
}

fn swapped(c: char) -> String {
    match c.is_uppercase() {
        true => c.to_lowercase().collect(),
        false => c.to_uppercase().collect(),
    }
}

/// Returns the text with letters after a non-letter in upper case and all others in lower case.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => titled.extend(c.to_lowercase()),
            false => titled.extend(c.to_uppercase()),
        }
        inside = c.is_lowercase() || c.is_uppercase();
    }
    titled
}

fn is_title(text: &str) -> bool {
    let cased = text.chars().any(|c| c.is_lowercase() || c.is_uppercase());
    cased && title(text) == text
}

fn filled(text: &str, method: &str, args: &[Value]) -> Rendered<Value> {
    let (width, fill): (usize, Option<&str>) = from_args(args)?;
    let mut fill = fill
        .unwrap_or(if method == "zfill" { "0" } else { " " })
        .chars();
    let (Some(fill), None) = (fill.next(), fill.next()) else {
        return Err(invalid(format!(
            "{method}: wanted one character to fill with, got others"
        )));
    };
    if width > MAX_WIDTH {
        return Err(invalid(format!(
            "{method}: wanted at most {MAX_WIDTH}, got {width}"
        )));
    }
    let missing = width.saturating_sub(text.chars().count());
    let some = |n: usize| std::iter::repeat_n(fill, n).collect::<String>();
    Ok(Value::from(match method {
        "ljust" => format!("{text}{}", some(missing)),
        "rjust" => format!("{}{text}", some(missing)),
        "zfill" => match text.strip_prefix(['-', '+']) {
            Some(digits) => format!("{}{}{digits}", &text[..1], some(missing)),
            None => format!("{}{text}", some(missing)),
        },
        _ => {
            // Python pads the odd character on the left where the width is odd.
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", some(left), some(missing - left))
        }
    }))
}

fn expand_tabs(text: &str, size: usize) -> String {
    let (mut expanded, mut column) = (String::new(), 0);
    for c in text.chars() {
        match c {
            '\t' if size > 0 => {
                let n = size - column % size;
                expanded.extend(std::iter::repeat_n(' ', n));
                column += n;
            }
            '\t' => {}
            '\n' | '\r' => {
                expanded.push(c);
                column = 0;
            }
            _ => {
                expanded.push(c);
                column += 1;
            }
        }
    }
    expanded
}

/// Splits a text into lines, at all of Python's line boundaries.
fn lines(text: &str, keep: bool) -> Value {
    let end = |c: char| matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(end) {
        let length = match rest[at..].starts_with("\r\n") {
            true => 2,
            false => rest[at..].chars().next().map_or(1, char::len_utf8),
        };
        lines.push(&rest[..if keep { at + length } else { at }]);
        rest = &rest[at + length..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines.into_iter().map(Value::from).collect()
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}
