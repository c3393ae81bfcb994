//! A GGUF file: header, metadata and tensors.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::kind::GgmlType;
use super::layout::{ALIGNMENT, ALIGNMENT_KEY, MAGIC, MAX_AXES};
use super::metadata::{Metadata, text};
use super::tensor::GgufTensor;
use crate::io::{Source, SourceCursor};
use crate::{Error, Result};

/// An open GGUF file: the metadata of its model, and its tensors.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// The version of the format, 2 or 3.
    pub version: u32,
    /// The metadata of the model.
    pub metadata: Metadata,
    tensors: BTreeMap<String, GgufTensor>,
}

impl Gguf {
    /// Opens a file; the bytes of tensors are read on demand.
    ///
    /// # Errors
    /// When it cannot be read, is malformed or has tensors of an unsupported type.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::read(&Arc::new(Source::open_for("gguf", path.as_ref())?))
    }

    /// Reads the headers of an open file.
    ///
    /// # Errors
    /// As for [`Gguf::open`].
    pub fn read(source: &Arc<Source>) -> Result<Self> {
        let mut cursor = SourceCursor::new(source);
        let magic = cursor.take(4, "gguf")?;
        if magic != MAGIC {
            return Err(source.fault(format!(
                "gguf: wanted a file that begins with {MAGIC:?}, got {magic:?}"
            )));
        }
        let version = cursor.u32("version")?;
        if !(2..=3).contains(&version) {
            let big_endian = (2..=3).contains(&version.swap_bytes());
            let hint = if big_endian {
                ", a big-endian file"
            } else {
                ""
            };
            return Err(source.fault(format!("gguf version: wanted 2 or 3, got {version}{hint}")));
        }
        let n_tensors = cursor.u64("number of tensors")?;
        let n_metadata = cursor.u64("number of metadata")?;
        let metadata = Metadata::read(&mut cursor, n_metadata)?;
        let infos = (0..n_tensors)
            .map(|_| Info::read(&mut cursor))
            .collect::<Result<Vec<_>>>()?;
        let start = data_start(source, &metadata, cursor.at())?;
        check_overlap(source, &infos)?;
        let mut tensors = BTreeMap::new();
        for info in infos {
            let tensor = info.place(source, start)?;
            let name = tensor.name.clone();
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(
                    source.fault(format!("{name}: wanted one tensor of this name, got two"))
                );
            }
        }
        Ok(Self {
            version,
            metadata,
            tensors,
        })
    }

    /// Returns a tensor.
    ///
    /// # Errors
    /// When there is none of this name.
    #[track_caller]
    pub fn tensor(&self, name: &str) -> Result<&GgufTensor> {
        let found = self.tensors.get(name);
        found.ok_or_else(|| Error::op("gguf", format!("{name}: wanted a tensor, got none")))
    }

    /// Returns the tensors in the order of their names.
    pub fn tensors(&self) -> impl Iterator<Item = &GgufTensor> {
        self.tensors.values()
    }
}

/// The header of a tensor.
struct Info {
    name: String,
    shape: Vec<usize>,
    kind: GgmlType,
    n_bytes: u64,
    /// The offset from the start of the data.
    offset: u64,
}

impl Info {
    fn read(cursor: &mut SourceCursor<'_>) -> Result<Self> {
        let source = cursor.source();
        let name = text(cursor, "tensor name")?;
        let n_axes = cursor.u32(&name)?;
        if n_axes > MAX_AXES {
            return Err(source.fault(format!(
                "{name}: wanted at most {MAX_AXES} axes, got {n_axes}"
            )));
        }
        let mut shape = (0..n_axes)
            .map(|_| axis(source, cursor.u64(&name)?, &name))
            .collect::<Result<Vec<usize>>>()?;
        // Files have the innermost axis first.
        shape.reverse();
        let id = cursor.u32(&name)?;
        let kind = GgmlType::from_id(id).ok_or_else(|| {
            let known: Vec<_> = GgmlType::all().collect();
            source.fault(format!("{name}: wanted a type among {known:?}, got {id}"))
        })?;
        let offset = cursor.u64(&name)?;
        let n_bytes = n_bytes(source, &name, &shape, kind)?;
        Ok(Self {
            name,
            shape,
            kind,
            n_bytes,
            offset,
        })
    }

    fn place(self, source: &Arc<Source>, start: Start) -> Result<GgufTensor> {
        let Self {
            name,
            shape,
            kind,
            n_bytes,
            offset,
        } = self;
        if offset % start.alignment != 0 {
            return Err(source.fault(format!(
                "{name}: wanted bytes at a multiple of {}, got {offset}",
                start.alignment
            )));
        }
        let begin = start.at.checked_add(offset);
        let end = begin.and_then(|begin| begin.checked_add(n_bytes));
        match (begin, end) {
            (Some(begin), Some(end)) if end <= source.len() => Ok(GgufTensor::new(
                name,
                shape,
                kind,
                Arc::clone(source),
                begin,
                n_bytes as usize,
            )),
            _ => Err(source.fault(format!(
                "{name}: wanted {n_bytes} bytes at {offset} behind the header, got a file of {} bytes",
                source.len()
            ))),
        }
    }
}

/// Checks that the sizes fit MLX's.
fn axis(source: &Source, size: u64, name: &str) -> Result<usize> {
    match i32::try_from(size) {
        Ok(size) => Ok(size as usize),
        Err(_) => Err(source.fault(format!(
            "{name}: wanted sizes from 0 to 2^31 - 1, got {size}"
        ))),
    }
}

fn n_bytes(source: &Source, name: &str, shape: &[usize], kind: GgmlType) -> Result<u64> {
    let inner = shape.last().copied().unwrap_or(1);
    if inner % kind.block_len() != 0 {
        return Err(source.fault(format!(
            "{name}: wanted rows of a multiple of {} for {kind:?}, got {shape:?}",
            kind.block_len()
        )));
    }
    let blocks = shape
        .iter()
        .try_fold(1_u64, |n, &size| n.checked_mul(size as u64))
        .map(|n| n / kind.block_len() as u64);
    let bytes = blocks.and_then(|n| n.checked_mul(kind.block_bytes() as u64));
    bytes.ok_or_else(|| {
        source.fault(format!(
            "{name}: wanted fewer than 2^64 bytes, got {shape:?}"
        ))
    })
}

/// The start of the data, and the alignment of tensors.
#[derive(Clone, Copy)]
struct Start {
    at: u64,
    alignment: u64,
}

fn data_start(source: &Source, metadata: &Metadata, header: u64) -> Result<Start> {
    let alignment = match metadata.count(ALIGNMENT_KEY)? {
        Some(alignment) if alignment.is_power_of_two() => alignment as u64,
        Some(alignment) => {
            return Err(source.fault(format!(
                "{ALIGNMENT_KEY}: wanted a power of two, got {alignment}"
            )));
        }
        None => ALIGNMENT,
    };
    // At most the length of the file and 2^32: no overflow.
    let at = header.next_multiple_of(alignment);
    Ok(Start { at, alignment })
}

/// Checks that no two tensors share bytes.
fn check_overlap(source: &Source, infos: &[Info]) -> Result<()> {
    let mut order: Vec<&Info> = infos.iter().collect();
    order.sort_by_key(|info| info.offset);
    for pair in order.windows(2) {
        if let [first, second] = pair
            && first.offset.saturating_add(first.n_bytes) > second.offset
        {
            return Err(source.fault(format!(
                "{}: wanted bytes behind those of {}, which has {} at {}, got {}",
                second.name, first.name, first.n_bytes, first.offset, second.offset
            )));
        }
    }
    Ok(())
}
