//! Metadata as arrays and texts.

use super::layout::value_type;
use super::metadata::{List, Value};
use crate::{Array, Dtype, Element, Error, Result};

/// A value of a GGUF file's metadata: a text, texts, or an array of one axis at most.
#[derive(Clone, Debug)]
pub enum GgufValue {
    /// One text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A number, or a list of numbers.
    Array(Array),
}

impl From<&str> for GgufValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for GgufValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for GgufValue {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

impl From<Array> for GgufValue {
    fn from(array: Array) -> Self {
        Self::Array(array)
    }
}

impl GgufValue {
    /// Returns a value whose numbers have the type `kind` in the file, or `None` for lists of lists.
    pub(super) fn of(value: Value, kind: u32) -> Result<Option<Self>> {
        let array = match value {
            Value::Text(text) => return Ok(Some(Self::Text(text))),
            Value::List(List::Texts(texts)) => return Ok(Some(Self::Texts(texts))),
            Value::List(List::Lists(_)) => return Ok(None),
            Value::Unsigned(number) => unsigned(&[number], kind, &[]),
            Value::Signed(number) => signed(&[number], kind, &[]),
            Value::Float(number) => floats(&[number], kind, &[]),
            Value::Bool(value) => Array::from_slice(&[value], ()),
            Value::List(List::Unsigned(list)) => unsigned(&list, kind, &axis(list.len())?),
            Value::List(List::Signed(list)) => signed(&list, kind, &axis(list.len())?),
            Value::List(List::Floats(list)) => floats(&list, kind, &axis(list.len())?),
            Value::List(List::Bools(list)) => Array::from_slice(&list, axis(list.len())?),
        };
        array.map(Self::Array).map(Some)
    }
}

fn axis(len: usize) -> Result<[i32; 1]> {
    match i32::try_from(len) {
        Ok(len) => Ok([len]),
        Err(_) => Err(Error::op(
            "gguf",
            format!("wanted lists of less than 2^31 numbers, got {len}"),
        )),
    }
}

fn unsigned(values: &[u64], kind: u32, shape: &[i32]) -> Result<Array> {
    match kind {
        _ if is(kind, Dtype::Uint8) => cast(values, shape, |value| value as u8),
        _ if is(kind, Dtype::Uint16) => cast(values, shape, |value| value as u16),
        _ if is(kind, Dtype::Uint32) => cast(values, shape, |value| value as u32),
        _ => Array::from_slice(values, shape),
    }
}

fn signed(values: &[i64], kind: u32, shape: &[i32]) -> Result<Array> {
    match kind {
        _ if is(kind, Dtype::Int8) => cast(values, shape, |value| value as i8),
        _ if is(kind, Dtype::Int16) => cast(values, shape, |value| value as i16),
        _ if is(kind, Dtype::Int32) => cast(values, shape, |value| value as i32),
        _ => Array::from_slice(values, shape),
    }
}

fn floats(values: &[f64], kind: u32, shape: &[i32]) -> Result<Array> {
    if is(kind, Dtype::Float32) {
        cast(values, shape, |value| value as f32)
    } else {
        Array::from_slice(values, shape)
    }
}

fn is(kind: u32, dtype: Dtype) -> bool {
    value_type(dtype) == Some(kind)
}

/// Returns numbers in the type from which they were widened.
fn cast<S: Copy, T: Element>(
    values: &[S],
    shape: &[i32],
    narrow: impl Fn(S) -> T,
) -> Result<Array> {
    let values: Vec<T> = values.iter().map(|&value| narrow(value)).collect();
    Array::from_slice(&values, shape)
}
