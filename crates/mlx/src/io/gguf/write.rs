//! Writing GGUF, the format of llama.cpp: metadata, names, types and places, and then the elements.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use crate::io::fault;
use crate::io::write::{STREAM, write};
use crate::{Array, Dtype, Result, eval};

const OP: &str = "save_gguf";
const VERSION: u32 = 3;
/// Where the elements of an array may begin, unless the metadata say otherwise.
const ALIGNMENT: u64 = 32;
const TEXT: u32 = 8;
const LIST: u32 = 9;
/// The most axes that a reader takes.
const MAX_AXES: usize = 8;

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

/// Computes arrays and saves them in a GGUF file with `metadata`, which may be empty: Python's `mx.save_gguf`.
///
/// The file is replaced whole or not at all. Types are those of GGUF: floats, and signed integers. Packed weights are not
/// written as blocks of GGUF. Such files are read by the crate `mlx-models`, and by Python MLX, which has `bfloat16` as
/// `float16` and refuses `int64` and `float64`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::collections::BTreeMap;
/// # let folder = tempfile::tempdir()?;
/// let metadata = BTreeMap::from([("general.name".to_owned(), "tiny".into())]);
/// mlx::io::save_gguf(folder.path().join("x.gguf"), [("x", &mlx::arange(3.0))], &metadata)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When an array cannot be computed or is of a dtype that GGUF has nothing for, a name is there twice, metadata have more
/// than one axis, or the file cannot be written.
#[track_caller]
pub fn save_gguf<'a, N: AsRef<str>>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (N, &'a Array)>,
    metadata: &BTreeMap<String, GgufValue>,
) -> Result<()> {
    let path = path.as_ref();
    let file = Contents::of(path, arrays, metadata)?;
    write(OP, path, |to| file.put(path, to))
}

/// Writes what [`save_gguf`] saves to a writer.
///
/// # Errors
/// As [`save_gguf`], and when the writer fails.
#[track_caller]
pub fn save_gguf_to<'a, N: AsRef<str>>(
    mut writer: impl Write,
    arrays: impl IntoIterator<Item = (N, &'a Array)>,
    metadata: &BTreeMap<String, GgufValue>,
) -> Result<()> {
    let path = Path::new(STREAM);
    Contents::of(path, arrays, metadata)?.put(path, &mut writer)
}

/// Everything before the elements, and the arrays in order.
struct Contents<'a> {
    header: Vec<u8>,
    arrays: Vec<&'a Array>,
}

impl<'a> Contents<'a> {
    #[track_caller]
    fn of<N: AsRef<str>>(
        path: &Path,
        arrays: impl IntoIterator<Item = (N, &'a Array)>,
        metadata: &BTreeMap<String, GgufValue>,
    ) -> Result<Self> {
        let named: Vec<(String, &Array)> = arrays
            .into_iter()
            .map(|(name, array)| (name.as_ref().to_owned(), array))
            .collect();
        let values = metadata.values().filter_map(|value| match value {
            GgufValue::Array(array) => Some(array),
            _ => None,
        });
        eval(named.iter().map(|(_, array)| *array).chain(values))?;
        let names: BTreeSet<&String> = named.iter().map(|(name, _)| name).collect();
        if names.len() != named.len() {
            return Err(fault(OP, path, "wanted different names, got one twice"));
        }
        let mut header = b"GGUF".to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((named.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            put_text(&mut header, key);
            put_value(&mut header, value)?
                .map_err(|text| fault(OP, path, format!("{key}: {text}")))?;
        }
        let mut offset = 0;
        for (name, array) in &named {
            put_info(&mut header, name, array, offset)?
                .map_err(|text| fault(OP, path, format!("{name}: {text}")))?;
            offset += (array.nbytes()? as u64).next_multiple_of(ALIGNMENT);
        }
        pad(&mut header);
        Ok(Self {
            header,
            arrays: named.into_iter().map(|(_, array)| array).collect(),
        })
    }

    #[track_caller]
    fn put(&self, path: &Path, to: &mut impl Write) -> Result<()> {
        let failed = |error| fault(OP, path, error);
        to.write_all(&self.header).map_err(failed)?;
        for array in &self.arrays {
            let len = array.nbytes()? as u64;
            let gap = len.next_multiple_of(ALIGNMENT) - len;
            let zeros = [0; ALIGNMENT as usize];
            array
                .with_bytes(OP, |bytes| {
                    to.write_all(bytes)?;
                    to.write_all(&zeros[..gap as usize])
                })?
                .map_err(failed)?;
        }
        Ok(())
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

/// Writes the type of a value and the value, or says why it cannot be one.
#[track_caller]
fn put_value(to: &mut Vec<u8>, value: &GgufValue) -> Result<std::result::Result<(), String>> {
    match value {
        GgufValue::Text(text) => {
            to.extend(TEXT.to_le_bytes());
            put_text(to, text);
        }
        GgufValue::Texts(texts) => {
            to.extend(LIST.to_le_bytes());
            to.extend(TEXT.to_le_bytes());
            to.extend((texts.len() as u64).to_le_bytes());
            texts.iter().for_each(|text| put_text(to, text));
        }
        GgufValue::Array(array) => {
            let array_type = array.array_type()?;
            let Some(kind) = value_type(array_type.dtype) else {
                return Ok(Err(format!("GGUF has no values of {}", array_type.dtype)));
            };
            match array_type.shape.as_slice() {
                [] => to.extend(kind.to_le_bytes()),
                [len] => {
                    to.extend(LIST.to_le_bytes());
                    to.extend(kind.to_le_bytes());
                    to.extend(u64::try_from(*len).unwrap_or(0).to_le_bytes());
                }
                shape => {
                    return Ok(Err(format!(
                        "wanted metadata of one axis at most, got {shape:?}"
                    )));
                }
            }
            array.with_bytes(OP, |bytes| to.extend(bytes))?;
        }
    }
    Ok(Ok(()))
}

/// Writes name, sizes, type and place of an array, or says why it cannot be there.
#[track_caller]
fn put_info(
    to: &mut Vec<u8>,
    name: &str,
    array: &Array,
    offset: u64,
) -> Result<std::result::Result<(), String>> {
    let array_type = array.array_type()?;
    let Some(kind) = tensor_type(array_type.dtype) else {
        return Ok(Err(format!("GGUF has no arrays of {}", array_type.dtype)));
    };
    let shape = &array_type.shape;
    if shape.len() > MAX_AXES {
        return Ok(Err(format!(
            "wanted {MAX_AXES} axes at most, got {}",
            shape.len()
        )));
    }
    put_text(to, name);
    to.extend(u32::try_from(shape.len()).unwrap_or(0).to_le_bytes());
    // The last axis first.
    for &size in shape.iter().rev() {
        to.extend(u64::try_from(size).unwrap_or(0).to_le_bytes());
    }
    to.extend(kind.to_le_bytes());
    to.extend(offset.to_le_bytes());
    Ok(Ok(()))
}

/// Returns GGUF's number for elements of a dtype.
fn tensor_type(dtype: Dtype) -> Option<u32> {
    Some(match dtype {
        Dtype::Float32 => 0,
        Dtype::Float16 => 1,
        Dtype::Int8 => 24,
        Dtype::Int16 => 25,
        Dtype::Int32 => 26,
        Dtype::Int64 => 27,
        Dtype::Float64 => 28,
        Dtype::Bfloat16 => 30,
        _ => return None,
    })
}

/// Returns GGUF's number for metadata of a dtype.
fn value_type(dtype: Dtype) -> Option<u32> {
    Some(match dtype {
        Dtype::Uint8 => 0,
        Dtype::Int8 => 1,
        Dtype::Uint16 => 2,
        Dtype::Int16 => 3,
        Dtype::Uint32 => 4,
        Dtype::Int32 => 5,
        Dtype::Float32 => 6,
        Dtype::Bool => 7,
        Dtype::Uint64 => 10,
        Dtype::Int64 => 11,
        Dtype::Float64 => 12,
        _ => return None,
    })
}
