//! Loading GGUF files: all arrays by name, and the metadata.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use super::file::Gguf;
use super::value::GgufValue;
use crate::io::Source;
use crate::{Array, Result};

/// What a GGUF file has.
#[derive(Clone, Debug, Default)]
pub struct LoadedGguf {
    /// The arrays by name.
    pub arrays: BTreeMap<String, Array>,
    /// The metadata by key.
    pub metadata: BTreeMap<String, GgufValue>,
}

/// `loaded["weight"]` is an array, as of the map.
impl Deref for LoadedGguf {
    type Target = BTreeMap<String, Array>;
    fn deref(&self) -> &Self::Target {
        &self.arrays
    }
}

/// Loads a GGUF file: Python's `mx.load(path, return_metadata=True)`; elements are read when an array is computed.
///
/// Numbers keep their dtype. Of quantized tensors, as in Python:
///
/// - `x.weight` of the types Q4_0, Q4_1 and Q8_0 becomes the packed `x.weight` with `x.scales` and `x.biases` in
///   `float16`, in groups of 32, as [`quantized_matmul`](Array::quantized_matmul) takes them;
/// - those of other types become `float16`.
///
/// Python MLX reads fewer types (Q2_K, Q6_K, and Q4_K wrongly, of the others), has `bfloat16` as `float16`, metadata of
/// `float64` as `float32`, and takes the last seven letters of any name for `.weight`. [`Gguf`] reads single tensors, and
/// packs more types.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::collections::BTreeMap;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("x.gguf");
/// let metadata = BTreeMap::from([("general.name".to_owned(), "tiny".into())]);
/// mlx::save_gguf(&path, [("x", &mlx::arange(3.0))], &metadata)?;
/// let loaded = mlx::load_gguf(&path)?;
/// assert_eq!(loaded["x"].to_vec::<f32>()?, [0.0, 1.0, 2.0]);
/// assert!(matches!(&loaded.metadata["general.name"], mlx::io::GgufValue::Text(name) if name == "tiny"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the file is missing, cut short, damaged, not of this format, has a tensor of an unknown type, lists of lists in
/// its metadata, or two arrays of one name, as the scales of a quantized tensor may be.
#[track_caller]
pub fn load_gguf(path: impl AsRef<Path>) -> Result<LoadedGguf> {
    read(Source::open_for("load_gguf", path.as_ref())?)
}

/// Returns what a source that is a GGUF file has.
pub(in crate::io) fn read(source: Source) -> Result<LoadedGguf> {
    let source = Arc::new(source);
    let file = Gguf::read(&source)?;
    let mut loaded = LoadedGguf::default();
    for tensor in file.tensors() {
        for (name, array) in tensor.to_named_arrays()? {
            if loaded.arrays.insert(name.clone(), array).is_some() {
                return Err(source.fault(format!(
                    "{name}: wanted one array of this name, got two: quantized tensors have scales and biases too"
                )));
            }
        }
    }
    for (key, value, kind) in file.metadata.into_values() {
        let value = GgufValue::of(value, kind)?.ok_or_else(|| {
            source.fault(format!(
                "{key}: wanted a list of numbers or texts, got a list of lists"
            ))
        })?;
        loaded.metadata.insert(key, value);
    }
    Ok(loaded)
}
