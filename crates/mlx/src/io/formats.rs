//! Loading by extension, and from bytes: which of the formats it is.

use std::collections::{BTreeMap, btree_map};
use std::io::{Cursor, Read};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use super::source::Source;
use super::{
    GgufValue, LoadedGguf, Safetensors, fault, gguf, load_gguf, load_npy, load_npz,
    load_safetensors, npy, npz, safetensors,
};
use crate::{Array, Error, Result};

/// What a file has: one array, or several by name. `loaded["weight"]` is one of several.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The arrays by name; the one array of an npy file has the name `""`.
    pub arrays: BTreeMap<String, Array>,
    /// The text that was saved with them, in a safetensors or GGUF file; [`load_gguf`] has numbers and lists too.
    pub metadata: BTreeMap<String, String>,
}

impl Loaded {
    /// Returns the only array, as an npy file has it.
    ///
    /// # Errors
    /// When there are none or several.
    #[track_caller]
    pub fn array(self) -> Result<Array> {
        let count = self.arrays.len();
        match (count, self.arrays.into_values().next()) {
            (1, Some(array)) => Ok(array),
            _ => Err(Error::op(
                "load",
                format!("wanted one array, got {count} by name"),
            )),
        }
    }
}

impl Deref for Loaded {
    type Target = BTreeMap<String, Array>;
    fn deref(&self) -> &Self::Target {
        &self.arrays
    }
}

impl<'a> IntoIterator for &'a Loaded {
    type Item = (&'a String, &'a Array);
    type IntoIter = btree_map::Iter<'a, String, Array>;

    fn into_iter(self) -> Self::IntoIter {
        self.arrays.iter()
    }
}

impl IntoIterator for Loaded {
    type Item = (String, Array);
    type IntoIter = btree_map::IntoIter<String, Array>;

    fn into_iter(self) -> Self::IntoIter {
        self.arrays.into_iter()
    }
}

impl From<Array> for Loaded {
    fn from(array: Array) -> Self {
        Self::from(BTreeMap::from([(String::new(), array)]))
    }
}

impl From<BTreeMap<String, Array>> for Loaded {
    fn from(arrays: BTreeMap<String, Array>) -> Self {
        Self {
            arrays,
            metadata: BTreeMap::new(),
        }
    }
}

impl From<Safetensors> for Loaded {
    fn from(file: Safetensors) -> Self {
        let Safetensors { arrays, metadata } = file;
        Self { arrays, metadata }
    }
}

impl From<LoadedGguf> for Loaded {
    fn from(file: LoadedGguf) -> Self {
        let text = |(key, value)| match value {
            GgufValue::Text(text) => Some((key, text)),
            _ => None,
        };
        Self {
            arrays: file.arrays,
            metadata: file.metadata.into_iter().filter_map(text).collect(),
        }
    }
}

/// Loads a file by its extension: `npy`, `npz`, `safetensors` or `gguf`.
///
/// # Errors
/// When the extension is another one; otherwise as [`load_npy`], [`load_npz`], [`load_safetensors`] and [`load_gguf`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("x.npy");
/// mlx::save(&path, &mlx::arange(3))?;
/// assert_eq!(mlx::load(&path)?.array()?.to_vec::<i32>()?, [0, 1, 2]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn load(path: impl AsRef<Path>) -> Result<Loaded> {
    let path = path.as_ref();
    let extension = path.extension().and_then(|text| text.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("npy") => load_npy(path).map(Loaded::from),
        Some("npz") => load_npz(path).map(Loaded::from),
        Some("safetensors") => load_safetensors(path).map(Loaded::from),
        Some("gguf") => load_gguf(path).map(Loaded::from),
        _ => Err(fault(
            "load",
            path,
            "wanted a file with the extension npy, npz, safetensors or gguf, got another",
        )),
    }
}

/// Loads a file from a reader, such as `&bytes[..]`; the format is told by the first bytes.
///
/// It is read to its end at once.
///
/// # Errors
/// When reading fails, or the bytes are of none of the formats, cut short or damaged.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("x.npz");
/// mlx::savez(&path, [("x", &mlx::arange(3))])?;
/// let bytes = std::fs::read(&path)?;
/// assert_eq!(mlx::io::load_from(&bytes[..])?["x"].to_vec::<i32>()?, [0, 1, 2]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn load_from(mut reader: impl Read) -> Result<Loaded> {
    const OP: &str = "load_from";
    // What errors name in the place of a path.
    let path = Path::new("(bytes)");
    let mut bytes = Vec::new();
    let read = reader.read_to_end(&mut bytes);
    read.map_err(|error| fault(OP, path, error))?;
    if bytes.starts_with(b"PK") {
        return npz::read(OP, path, Cursor::new(bytes)).map(Loaded::from);
    }
    let is_npy = bytes.starts_with(npy::MAGIC);
    let is_gguf = bytes.starts_with(&gguf::MAGIC);
    // The text of a safetensors header begins after its length.
    let is_safetensors = bytes.get(8) == Some(&b'{');
    let source = Source::in_memory(OP, path, bytes);
    match (is_npy, is_gguf, is_safetensors) {
        (true, ..) => npy::read(&Arc::new(source), "").map(Loaded::from),
        (_, true, _) => gguf::read(source).map(Loaded::from),
        (.., true) => safetensors::read(source).map(Loaded::from),
        _ => Err(source.fault("wanted npy, npz, safetensors or gguf, got something else")),
    }
}
