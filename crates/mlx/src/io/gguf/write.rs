//! Writing GGUF, the format of llama.cpp: metadata, names, types and places, and then the elements.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write, copy, repeat};
use std::path::Path;

use super::kind::GgmlType;
use super::layout::{ALIGNMENT, ALIGNMENT_KEY, LIST, MAGIC, MAX_AXES, TEXT, value_type};
use super::value::GgufValue;
use crate::io::fault;
use crate::io::write::{STREAM, write};
use crate::{Array, Dtype, Result, eval};

const OP: &str = "save_gguf";
const VERSION: u32 = 3;

/// Computes arrays and saves them in a GGUF file with `metadata`, which may be empty: Python's `mx.save_gguf`.
///
/// The file is replaced whole or not at all. Types are those of GGUF: floats, and signed integers. Packed weights are not
/// written as blocks of GGUF. Such files are read by [`load_gguf`](super::load_gguf), and by Python MLX, which has
/// `bfloat16` as `float16` and refuses `int64` and `float64`. Arrays begin at multiples of the `general.alignment` of the
/// metadata, or of 32 bytes.
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
/// than one axis, or an alignment that is no power of two, or the file cannot be written.
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
    alignment: u64,
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
        let alignment = alignment(metadata)?
            .map_err(|text| fault(OP, path, format!("{ALIGNMENT_KEY}: {text}")))?;
        let mut header = MAGIC.to_vec();
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
            offset += (array.nbytes()? as u64).next_multiple_of(alignment);
        }
        let start = (header.len() as u64).next_multiple_of(alignment);
        header.resize(usize::try_from(start).unwrap_or(header.len()), 0);
        Ok(Self {
            header,
            arrays: named.into_iter().map(|(_, array)| array).collect(),
            alignment,
        })
    }

    #[track_caller]
    fn put(&self, path: &Path, to: &mut impl Write) -> Result<()> {
        let failed = |error| fault(OP, path, error);
        to.write_all(&self.header).map_err(failed)?;
        for array in &self.arrays {
            let len = array.nbytes()? as u64;
            let gap = len.next_multiple_of(self.alignment) - len;
            array
                .with_bytes(OP, |bytes| {
                    to.write_all(bytes)?;
                    copy(&mut repeat(0).take(gap), to).map(drop)
                })?
                .map_err(failed)?;
        }
        Ok(())
    }
}

/// Returns where arrays begin, as the metadata state it, or says why they cannot.
#[track_caller]
fn alignment(metadata: &BTreeMap<String, GgufValue>) -> Result<std::result::Result<u64, String>> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else {
        return Ok(Ok(ALIGNMENT));
    };
    let stated = match value {
        GgufValue::Array(array) if array.ndim()? == 0 && array.dtype()?.is_integer() => {
            // Larger ones of 64 bits become negative.
            Some(array.astype(Dtype::Int64).item::<i64>()?)
        }
        _ => None,
    };
    let stated = stated.and_then(|number| u32::try_from(number).ok());
    Ok(match stated {
        Some(number) if number.is_power_of_two() => Ok(number.into()),
        _ => Err(format!("wanted a power of two, got {value:?}")),
    })
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
    let Some(kind) = GgmlType::of_dtype(array_type.dtype) else {
        return Ok(Err(format!("GGUF has no arrays of {}", array_type.dtype)));
    };
    let shape = &array_type.shape;
    if shape.len() > MAX_AXES as usize {
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
    to.extend(kind.id().to_le_bytes());
    to.extend(offset.to_le_bytes());
    Ok(Ok(()))
}
