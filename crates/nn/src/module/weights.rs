//! Weights of a module in files: safetensors, and NumPy archives as Python MLX writes them.

use std::path::Path;

use mlx::{Array, Error, Result};

use super::{LoadReport, Module, WeightMap, copy};

/// Weights by name: a [`WeightMap`], a reference to one, what [`mlx::load`] gives, or pairs of names and arrays.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no weights by name",
    label = "wanted a `WeightMap` such as `model.parameters()`, what `mlx::load` gives, or pairs of names and arrays"
)]
pub trait IntoWeights {
    /// Returns the weights.
    fn into_weights(self) -> WeightMap;
}

impl IntoWeights for WeightMap {
    fn into_weights(self) -> WeightMap {
        self
    }
}

impl IntoWeights for Vec<(String, Array)> {
    fn into_weights(self) -> WeightMap {
        self.into_iter().collect()
    }
}

impl IntoWeights for mlx::io::Loaded {
    fn into_weights(self) -> WeightMap {
        self.arrays
    }
}

impl IntoWeights for mlx::io::Safetensors {
    fn into_weights(self) -> WeightMap {
        self.arrays
    }
}

impl<W: IntoWeights + Clone> IntoWeights for &W {
    fn into_weights(self) -> WeightMap {
        self.clone().into_weights()
    }
}

/// Returns the arrays of a file.
#[track_caller]
pub(super) fn read(path: &Path) -> Result<WeightMap> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => Ok(mlx::io::load_safetensors(path)?
            .arrays
            .into_iter()
            .collect()),
        Some("npz") => Ok(mlx::io::load_npz(path)?.into_iter().collect()),
        _ => Err(unknown("load_weights", path)),
    }
}

/// Writes the parameters and buffers of a module.
#[track_caller]
pub(super) fn write(module: &impl Module, path: &Path) -> Result<()> {
    let arrays = module.state();
    let arrays = arrays.iter().map(|(name, array)| (name.as_str(), array));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => mlx::io::save_safetensors(path, arrays),
        Some("npz") => mlx::io::save_npz(path, arrays),
        _ => Err(unknown("save_weights", path)),
    }
}

/// Loads a file into a module, which is changed only if the weights match.
#[track_caller]
pub(super) fn load(module: &mut impl Module, path: &Path, strict: bool) -> Result<LoadReport> {
    let mut loaded = copy(module);
    let report = loaded.load(read(path)?);
    let fits = match strict {
        true => report.is_complete(),
        false => report.shape_mismatches.is_empty(),
    };
    if !fits {
        let message = format!("{}: {report}", path.display());
        return Err(Error::op("load_weights", message));
    }
    *module = loaded;
    Ok(report)
}

#[track_caller]
fn unknown(op: &'static str, path: &Path) -> Error {
    let message = format!(
        "the file must end in .safetensors or .npz, got {}",
        path.display()
    );
    Error::op(op, message)
}
