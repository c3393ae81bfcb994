//! The metadata of a GGUF file.

use std::collections::BTreeMap;

use super::layout::{LIST, TEXT};
use crate::io::SourceCursor;
use crate::{Error, Result};

/// Max nesting depth of lists.
const MAX_DEPTH: u32 = 4;

/// A value of the metadata. Numbers are widened; a file's `u8` and `u64` are both [`Value::Unsigned`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An unsigned integer of 8 to 64 bits.
    Unsigned(u64),
    /// A signed integer of 8 to 64 bits.
    Signed(i64),
    /// A float of 32 or 64 bits.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
    /// Values of one type.
    List(List),
}

/// Values of one type, in a list.
#[derive(Clone, Debug, PartialEq)]
pub enum List {
    /// Unsigned integers.
    Unsigned(Vec<u64>),
    /// Signed integers.
    Signed(Vec<i64>),
    /// Floats.
    Floats(Vec<f64>),
    /// Booleans.
    Bools(Vec<bool>),
    /// Strings.
    Texts(Vec<String>),
    /// Lists.
    Lists(Vec<List>),
}

/// The metadata of a GGUF file, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: BTreeMap<String, Entry>,
}

/// A value, and the type of it or of the elements of its list in the file.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    value: Value,
    kind: u32,
}

impl Metadata {
    /// Returns the value of a key, if there is one.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Returns the keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let entries = self.entries.iter();
        entries.map(|(key, entry)| (key.as_str(), &entry.value))
    }

    /// Returns a string, or `None` when there is no such key.
    ///
    /// # Errors
    /// When the value is something else.
    #[track_caller]
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.of(key, "text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Returns a boolean, or `None` when there is no such key.
    ///
    /// # Errors
    /// As for [`Metadata::text`].
    #[track_caller]
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.of(key, "true or false", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// Returns a count, or `None` when there is no such key.
    ///
    /// # Errors
    /// As for [`Metadata::text`]; also when the number is negative or above 2^32.
    #[track_caller]
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        self.of(key, "a whole number from 0 to 2^32", |value| {
            let number = match value {
                Value::Unsigned(number) => *number,
                Value::Signed(number) => u64::try_from(*number).ok()?,
                _ => return None,
            };
            u32::try_from(number).ok().map(|number| number as usize)
        })
    }

    /// Returns a number, or `None` when there is no such key.
    ///
    /// # Errors
    /// As for [`Metadata::text`].
    #[track_caller]
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.of(key, "a number", |value| match value {
            Value::Float(number) => Some(*number),
            Value::Unsigned(number) => Some(*number as f64),
            Value::Signed(number) => Some(*number as f64),
            _ => None,
        })
    }

    /// Returns a list of strings, or `None` when there is no such key.
    ///
    /// # Errors
    /// As for [`Metadata::text`].
    #[track_caller]
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>> {
        self.of(key, "a list of texts", |value| match value {
            Value::List(List::Texts(texts)) => Some(texts.as_slice()),
            _ => None,
        })
    }

    /// Returns a list of integers, or `None` when there is no such key.
    ///
    /// # Errors
    /// As for [`Metadata::text`]; also when one is above 2^63.
    #[track_caller]
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>> {
        self.of(key, "a list of integers", |value| match value {
            Value::List(List::Signed(numbers)) => Some(numbers.clone()),
            Value::List(List::Unsigned(numbers)) => {
                let signed = numbers.iter().map(|&number| i64::try_from(number).ok());
                signed.collect()
            }
            _ => None,
        })
    }

    #[track_caller]
    fn of<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::op(
                "gguf",
                format!("{key}: wanted {wanted}, got {}", value.describe()),
            )),
        }
    }

    /// Reads `n` keys and values.
    pub(super) fn read(cursor: &mut SourceCursor<'_>, n: u64) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for _ in 0..n {
            let key = text(cursor, "metadata key")?;
            let kind = cursor.u32(&key)?;
            let entry = entry(cursor, kind, &key)?;
            if entries.insert(key.clone(), entry).is_some() {
                return Err(cursor
                    .source()
                    .fault(format!("metadata: wanted {key} once, got it twice")));
            }
        }
        Ok(Self { entries })
    }

    /// Returns keys, values, and the types of their numbers in the file.
    pub(super) fn into_values(self) -> impl Iterator<Item = (String, Value, u32)> {
        let entries = self.entries.into_iter();
        entries.map(|(key, Entry { value, kind })| (key, value, kind))
    }
}

impl FromIterator<(String, Value)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(values: I) -> Self {
        let entry = |(key, value): (String, Value)| {
            let kind = value.widest();
            (key, Entry { value, kind })
        };
        Self {
            entries: values.into_iter().map(entry).collect(),
        }
    }
}

impl Value {
    /// Returns the type in files that has all such values.
    fn widest(&self) -> u32 {
        match self {
            Self::Unsigned(_) | Self::List(List::Unsigned(_)) => 10,
            Self::Signed(_) | Self::List(List::Signed(_)) => 11,
            Self::Float(_) | Self::List(List::Floats(_)) => 12,
            Self::Bool(_) | Self::List(List::Bools(_)) => 7,
            Self::Text(_) | Self::List(List::Texts(_)) => TEXT,
            Self::List(List::Lists(_)) => LIST,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::List(_) => String::from("another list"),
            Self::Text(_) => String::from("text"),
            other => format!("{other:?}"),
        }
    }
}

/// A string: `u64` length and UTF-8.
pub(super) fn text(cursor: &mut SourceCursor<'_>, what: &str) -> Result<String> {
    let length = cursor.u64(what)?;
    if length > cursor.left() {
        return Err(cursor.source().fault(format!(
            "{what}: wanted text of at most {} bytes, got {length}",
            cursor.left()
        )));
    }
    let bytes = cursor.take(length as usize, what)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(cursor
            .source()
            .fault(format!("{what}: wanted UTF-8, got other bytes"))),
    }
}

/// The numbers of types: 0 to 7 are u8, i8, u16, i16, u32, i32, f32, bool; 8 is a string, 9 a list, 10 to 12
/// are u64, i64, f64.
fn entry(cursor: &mut SourceCursor<'_>, kind: u32, key: &str) -> Result<Entry> {
    let value = match kind {
        0 | 2 | 4 | 10 => Value::Unsigned(unsigned(cursor, kind, key)?),
        1 | 3 | 5 | 11 => Value::Signed(signed(cursor, kind, key)?),
        6 | 12 => Value::Float(float(cursor, kind, key)?),
        7 => Value::Bool(truth(cursor, key)?),
        TEXT => Value::Text(text(cursor, key)?),
        LIST => {
            let (list, kind) = list(cursor, key, 0)?;
            let value = Value::List(list);
            return Ok(Entry { value, kind });
        }
        _ => return Err(unknown(cursor, key, kind)),
    };
    Ok(Entry { value, kind })
}

/// A list and the type of its elements.
fn list(cursor: &mut SourceCursor<'_>, key: &str, depth: u32) -> Result<(List, u32)> {
    let kind = cursor.u32(key)?;
    let n = cursor.u64(key)?;
    let least = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 if depth < MAX_DEPTH => 12,
        _ => return Err(unknown(cursor, key, kind)),
    };
    // Checked before anything is allocated: the number comes from the file.
    if n > cursor.left() / least {
        return Err(cursor.source().fault(format!(
            "{key}: wanted at most {} values in a list, got {n}",
            cursor.left() / least
        )));
    }
    let each = || 0..n;
    let list = match kind {
        0 | 2 | 4 | 10 => List::Unsigned(
            each()
                .map(|_| unsigned(cursor, kind, key))
                .collect::<Result<_>>()?,
        ),
        1 | 3 | 5 | 11 => List::Signed(
            each()
                .map(|_| signed(cursor, kind, key))
                .collect::<Result<_>>()?,
        ),
        6 | 12 => List::Floats(
            each()
                .map(|_| float(cursor, kind, key))
                .collect::<Result<_>>()?,
        ),
        7 => List::Bools(each().map(|_| truth(cursor, key)).collect::<Result<_>>()?),
        8 => List::Texts(each().map(|_| text(cursor, key)).collect::<Result<_>>()?),
        _ => List::Lists(
            each()
                .map(|_| Ok(list(cursor, key, depth + 1)?.0))
                .collect::<Result<_>>()?,
        ),
    };
    Ok((list, kind))
}

fn unsigned(cursor: &mut SourceCursor<'_>, kind: u32, key: &str) -> Result<u64> {
    Ok(match kind {
        0 => cursor.u8(key)?.into(),
        2 => cursor.u16(key)?.into(),
        4 => cursor.u32(key)?.into(),
        _ => cursor.u64(key)?,
    })
}

fn signed(cursor: &mut SourceCursor<'_>, kind: u32, key: &str) -> Result<i64> {
    Ok(match kind {
        1 => (cursor.u8(key)? as i8).into(),
        3 => (cursor.u16(key)? as i16).into(),
        5 => (cursor.u32(key)? as i32).into(),
        _ => cursor.u64(key)? as i64,
    })
}

fn float(cursor: &mut SourceCursor<'_>, kind: u32, key: &str) -> Result<f64> {
    Ok(match kind {
        6 => f32::from_bits(cursor.u32(key)?).into(),
        _ => f64::from_bits(cursor.u64(key)?),
    })
}

fn truth(cursor: &mut SourceCursor<'_>, key: &str) -> Result<bool> {
    match cursor.u8(key)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(cursor
            .source()
            .fault(format!("{key}: wanted 0 or 1 for a truth, got {other}"))),
    }
}

fn unknown(cursor: &SourceCursor<'_>, key: &str, kind: u32) -> Error {
    cursor.source().fault(format!(
        "{key}: wanted a type of metadata from 0 to 12, lists at most {MAX_DEPTH} deep, got {kind}"
    ))
}
