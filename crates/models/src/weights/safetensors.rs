//! Safetensors files and their sharded index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::safetensors::Dtype as Stored;
use ::safetensors::tensor::Metadata;

use super::map::named;
use super::{Dtype, Format, RawTensor, Source, Weights};
use crate::{Error, Result};

/// Larger headers are refused, as the format's own reader does.
const MAX_HEADER: u64 = 100_000_000;

/// Reads the tensors of one safetensors file.
///
/// # Errors
/// [`Error::Weights`] when the file is malformed.
pub fn read_safetensors(source: Arc<Source>) -> Result<Weights> {
    let prefix = source.read(0, 8).map_err(Error::weights)?;
    let length = u64::from_le_bytes(std::array::from_fn(|i| prefix[i]));
    if length > MAX_HEADER || length > source.len() - 8 {
        return Err(Error::Weights(format!(
            "header: wanted at most {} bytes, got {length}",
            source.len() - 8
        )));
    }
    let header = source.read(8, length as usize).map_err(Error::weights)?;
    // Reading as metadata also checks that shapes, types and offsets agree.
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| Error::Weights(format!("header: {error}")))?;
    let mut weights = Weights::new(Format::Safetensors, []);
    for (name, info) in metadata.tensors() {
        let dtype = dtype(info.dtype);
        let offset = 8 + length + info.data_offsets.0 as u64;
        weights.insert(RawTensor::new(
            name,
            info.shape.clone(),
            dtype,
            Arc::clone(&source),
            offset,
        )?);
    }
    Ok(weights)
}

/// Opens one file.
pub(super) fn open_file(path: &Path) -> Result<Weights> {
    read_safetensors(Arc::new(Source::open(path)?)).map_err(|error| named(error, path))
}

/// Opens the shards that an index names.
pub(super) fn open_index(path: &Path) -> Result<Weights> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read(path).map_err(Error::io(path))?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|error| named(Error::Weights(format!("index: {error}")), path))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut weights = Weights::new(Format::Safetensors, []);
    let shards: BTreeSet<&String> = index.weight_map.values().collect();
    for shard in shards {
        for tensor in open_file(&shard_path(folder, shard)?)?.iter() {
            weights.insert(tensor.clone());
        }
    }
    match index
        .weight_map
        .iter()
        .find(|(name, _)| !weights.contains(name))
    {
        Some((name, shard)) => Err(Error::Weights(format!(
            "{name}: wanted it in {shard}, got none"
        ))),
        None => Ok(weights),
    }
}

/// Returns the files that MLX's tools read as weights where there is no index: `model*.safetensors`.
pub(super) fn shards(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(None);
    };
    let mut shards = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_shard = |name: &str| name.starts_with("model") && name.ends_with(".safetensors");
        if name.is_some_and(is_shard) {
            shards.push(path);
        }
    }
    shards.sort();
    Ok((!shards.is_empty()).then_some(shards))
}

/// Opens all of these files as one; no tensor may be in two.
pub(super) fn open_shards(shards: &[PathBuf]) -> Result<Weights> {
    let mut weights = Weights::new(Format::Safetensors, []);
    for shard in shards {
        for tensor in open_file(shard)?.iter() {
            if weights.contains(&tensor.name) {
                let twice = format!("{}: wanted it in one shard, got it in two", tensor.name);
                return Err(named(Error::Weights(twice), shard));
            }
            weights.insert(tensor.clone());
        }
    }
    Ok(weights)
}

/// Returns the path of a shard, which must be in the folder of its index: a name with folders could point anywhere.
fn shard_path(folder: &Path, shard: &str) -> Result<PathBuf> {
    let plain = Path::new(shard)
        .file_name()
        .is_some_and(|name| name == shard);
    if !plain {
        return Err(Error::Weights(format!(
            "index: wanted the name of a file, got {shard:?}"
        )));
    }
    Ok(folder.join(shard))
}

/// Returns the type of a tensor; an unsupported one is refused when the tensor is used, not before.
fn dtype(stored: Stored) -> Dtype {
    match stored {
        Stored::F64 => Dtype::F64,
        Stored::F32 => Dtype::F32,
        Stored::F16 => Dtype::F16,
        Stored::BF16 => Dtype::BF16,
        Stored::I8 => Dtype::I8,
        Stored::I16 => Dtype::I16,
        Stored::I32 => Dtype::I32,
        Stored::I64 => Dtype::I64,
        Stored::U8 | Stored::BOOL => Dtype::U8,
        Stored::U32 => Dtype::U32,
        Stored::U16 => Dtype::Other("U16"),
        Stored::U64 => Dtype::Other("U64"),
        Stored::C64 => Dtype::Other("C64"),
        Stored::F8_E4M3 => Dtype::Other("F8_E4M3"),
        Stored::F8_E5M2 => Dtype::Other("F8_E5M2"),
        Stored::F8_E8M0 => Dtype::Other("F8_E8M0"),
        Stored::F8_E4M3FNUZ => Dtype::Other("F8_E4M3FNUZ"),
        Stored::F8_E5M2FNUZ => Dtype::Other("F8_E5M2FNUZ"),
        Stored::F4 => Dtype::Other("F4"),
        Stored::F6_E2M3 => Dtype::Other("F6_E2M3"),
        Stored::F6_E3M2 => Dtype::Other("F6_E3M2"),
        _ => Dtype::Other("another type"),
    }
}
