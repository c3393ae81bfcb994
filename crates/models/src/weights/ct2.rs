//! CTranslate2's `model.bin`.
//!
//! Little-endian: `u32` version; name of the specification and `u32` revision (from version 2);
//! `u32` count of variables, each with its name, `u8` rank, `u32` dimensions, type and bytes; then
//! `u32` count of aliases, each two names (from version 3). A string is a `u16` length, bytes and
//! a zero that the length counts. Type and size are a `u8` type and `u32` bytes from version 4;
//! before, a `u8` element size and a `u32` count of elements.

use std::sync::Arc;

use mlx::io::SourceCursor;

use super::{Dtype, Format, RawTensor, Source, Weights};
use crate::{Error, Result};

/// The newest supported version of the format.
const NEWEST: u32 = 6;

/// Max number of dimensions.
const MAX_RANK: u8 = 8;

/// The header of a `model.bin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ct2Header {
    /// The version of the file format.
    pub version: u32,
    /// The specification, such as `WhisperSpec`.
    pub spec: String,
    /// The revision of the specification.
    pub revision: u32,
}

/// Reads the variables of a `model.bin`, under their own names.
///
/// Aliases become entries of their own. A quantized weight holds its scale, and `..._scale` is
/// not an entry.
/// # Errors
/// [`Error::Weights`] when the file is malformed or of an unknown version.
pub fn read_ct2(source: Arc<Source>) -> Result<Weights> {
    let mut cursor = SourceCursor::new(&source);
    let header = read_header(&mut cursor)?;
    let version = header.version;
    let mut weights = Weights::new(Format::Ct2(header), []);
    let n_variables = cursor.u32("number of variables").map_err(Error::weights)?;
    for _ in 0..n_variables {
        let tensor = read_variable(&mut cursor, version)?;
        if weights.contains(&tensor.name) {
            return Err(Error::Weights(format!(
                "{}: wanted one variable of this name, got two",
                tensor.name
            )));
        }
        weights.insert(tensor);
    }
    attach_scales(&mut weights);
    if version >= 3 {
        let n_aliases = cursor.u32("number of aliases").map_err(Error::weights)?;
        for _ in 0..n_aliases {
            let (alias, name) = (
                string(&mut cursor, "alias")?,
                string(&mut cursor, "alias target")?,
            );
            // The scale is stored in its weight, and is renamed with it.
            let moved = name
                .strip_suffix("_scale")
                .and_then(|base| weights.get(base).ok());
            if moved.is_some_and(|weight| weight.scale.is_some()) {
                continue;
            }
            let target = weights.get(&name)?.renamed(alias);
            weights.insert(target);
        }
    }
    Ok(weights)
}

fn read_header(cursor: &mut SourceCursor<'_>) -> Result<Ct2Header> {
    let version = cursor.u32("version").map_err(Error::weights)?;
    if !(1..=NEWEST).contains(&version) {
        return Err(Error::Weights(format!(
            "model.bin version: wanted 1 to {NEWEST}, got {version}"
        )));
    }
    let (spec, revision) = match version {
        1 => (String::new(), 1),
        _ => (
            string(cursor, "specification")?,
            cursor.u32("revision").map_err(Error::weights)?,
        ),
    };
    Ok(Ct2Header {
        version,
        spec,
        revision,
    })
}

fn read_variable(cursor: &mut SourceCursor<'_>, version: u32) -> Result<RawTensor> {
    let name = string(cursor, "variable name")?;
    let rank = cursor.u8("rank").map_err(Error::weights)?;
    if rank > MAX_RANK {
        return Err(Error::Weights(format!(
            "{name}: wanted at most {MAX_RANK} dimensions, got {rank}"
        )));
    }
    let shape: Vec<usize> = (0..rank)
        .map(|_| Ok(cursor.u32("dimension").map_err(Error::weights)? as usize))
        .collect::<Result<_>>()?;
    let (dtype, n_bytes) = if version >= 4 {
        (
            dtype_of_id(&name, cursor.u8("type").map_err(Error::weights)?)?,
            u64::from(cursor.u32("size").map_err(Error::weights)?),
        )
    } else {
        let dtype = dtype_of_size(&name, cursor.u8("element size").map_err(Error::weights)?)?;
        (
            dtype,
            u64::from(cursor.u32("number of elements").map_err(Error::weights)?)
                * dtype.size() as u64,
        )
    };
    let tensor = RawTensor::new(name, shape, dtype, Arc::clone(cursor.source()), cursor.at())?;
    if tensor.n_bytes() as u64 != n_bytes {
        return Err(Error::Weights(format!(
            "{}: wanted {} bytes for {dtype:?} {:?}, got {n_bytes}",
            tensor.name,
            tensor.n_bytes(),
            tensor.shape
        )));
    }
    cursor.skip(n_bytes);
    Ok(tensor)
}

fn dtype_of_id(name: &str, id: u8) -> Result<Dtype> {
    const IDS: [Dtype; 6] = [
        Dtype::F32,
        Dtype::I8,
        Dtype::I16,
        Dtype::I32,
        Dtype::F16,
        Dtype::BF16,
    ];
    let known = IDS.get(usize::from(id)).copied();
    known.ok_or_else(|| Error::Weights(format!("{name}: wanted a type from 0 to 5, got {id}")))
}

/// Old files store no type: each size implies the type that existed then.
fn dtype_of_size(name: &str, size: u8) -> Result<Dtype> {
    match size {
        4 => Ok(Dtype::F32),
        2 => Ok(Dtype::I16),
        1 => Ok(Dtype::I8),
        _ => Err(Error::Weights(format!(
            "{name}: wanted elements of 1, 2 or 4 bytes, got {size}"
        ))),
    }
}

/// Moves each `x_scale` into the quantized `x` that it belongs to.
fn attach_scales(weights: &mut Weights) {
    let names: Vec<String> = weights
        .iter()
        .filter_map(|tensor| tensor.name.strip_suffix("_scale"))
        .map(str::to_string)
        .collect();
    for name in names {
        let quantised = weights
            .get(&name)
            .is_ok_and(|t| matches!(t.dtype, Dtype::I8 | Dtype::I16) && !t.shape.is_empty());
        if quantised {
            let scale = weights.remove(&format!("{name}_scale")).map(Box::new);
            if let Some(tensor) = weights.get_mut(&name) {
                tensor.scale = scale;
            }
        }
    }
}

/// A string: its length, its bytes, and a zero that the length counts.
fn string(cursor: &mut SourceCursor<'_>, what: &str) -> Result<String> {
    let length = usize::from(cursor.u16(what).map_err(Error::weights)?);
    let bytes = cursor.take(length, what).map_err(Error::weights)?;
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_string()),
        Err(_) => Err(Error::Weights(format!(
            "{what}: wanted text, got other bytes"
        ))),
    }
}
