//! The tensors of a folder of weights, whatever its format.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Ct2Header, RawTensor, Source, read_ct2, safetensors};
use crate::{Error, Result};

/// The format of the weights, which determines the names of tensors.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Format {
    /// CTranslate2's `model.bin`.
    Ct2(Ct2Header),
    /// One safetensors file, or the shards of an index.
    Safetensors,
}

/// A map from names to tensors, in the order of the names.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The format of the files.
    pub format: Format,
    tensors: BTreeMap<String, RawTensor>,
}

impl Weights {
    /// Opens the weights in a folder: `model.safetensors`, its index, shards without one, or `model.bin`, in this
    /// order.
    ///
    /// # Errors
    /// [`Error::Weights`] when there are none, or they are malformed.
    pub fn open(folder: &Path) -> Result<Self> {
        let safetensors = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let ct2 = folder.join("model.bin");
        if safetensors.is_file() {
            safetensors::open_file(&safetensors)
        } else if index.is_file() {
            safetensors::open_index(&index)
        } else if let Some(shards) = safetensors::shards(folder)? {
            safetensors::open_shards(&shards)
        } else if ct2.is_file() {
            read_ct2(Arc::new(Source::open(&ct2)?)).map_err(|error| named(error, &ct2))
        } else {
            Err(Error::Weights(format!(
                "{}: wanted model.safetensors, model.safetensors.index.json or model.bin, got none of them",
                folder.display()
            )))
        }
    }

    /// Returns a map of tensors by their own names.
    pub fn new(format: Format, tensors: impl IntoIterator<Item = RawTensor>) -> Self {
        let tensors = tensors
            .into_iter()
            .map(|tensor| (tensor.name.clone(), tensor))
            .collect();
        Self { format, tensors }
    }

    /// Returns a tensor.
    ///
    /// # Errors
    /// [`Error::Weights`] when there is none of this name.
    pub fn get(&self, name: &str) -> Result<&RawTensor> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::Weights(format!("{name}: wanted a tensor, got none")))
    }

    /// Returns whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns the tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &RawTensor> {
        self.tensors.values()
    }

    /// Returns the number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Returns whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Adds a tensor, or replaces the one of the same name.
    pub(super) fn insert(&mut self, tensor: RawTensor) {
        self.tensors.insert(tensor.name.clone(), tensor);
    }

    /// Removes a tensor.
    pub(super) fn remove(&mut self, name: &str) -> Option<RawTensor> {
        self.tensors.remove(name)
    }

    /// Returns a tensor mutably.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut RawTensor> {
        self.tensors.get_mut(name)
    }
}

/// Puts the file's name before a message about weights.
pub(super) fn named(error: Error, path: &Path) -> Error {
    match error {
        Error::Weights(text) => Error::Weights(format!("{}: {text}", path.display())),
        other => other,
    }
}
