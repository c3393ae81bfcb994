//! Programs with one form of each site that can be tuned, whichever is faster.

use std::sync::OnceLock;

use mlx::Array;
use mlx_compiler::{Autotune, CompileOptions, jit_with};
use tempfile::TempDir;

/// Returns options with which the form of this number runs at each site of a function: its sites are measured, and the cache
/// is changed.
pub fn forced<F>(function: &F, inputs: &Vec<Array>, form: usize) -> Result<CompileOptions, String>
where
    F: Fn(&Vec<Array>) -> mlx::Result<Vec<Array>>,
{
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path();
    let name = tempfile::NamedTempFile::new_in(folder).map_err(|error| error.to_string())?;
    let measured = name.path().with_extension("measured.json");
    let options = CompileOptions {
        autotune: Autotune::Measure,
        autotune_cache: Some(measured.clone()),
        verify: true,
        ..CompileOptions::default()
    };
    let measuring = jit_with(|inputs: &Vec<Array>| function(inputs), options.clone());
    let results = measuring.call(inputs);
    results.map_err(|error| format!("measured: {error}"))?;
    let path = name.path().with_extension("forced.json");
    if let Ok(text) = std::fs::read_to_string(&measured) {
        let mut file: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        for entry in file["entries"].as_array_mut().into_iter().flatten() {
            entry["chosen"] = entry["forms"][form]["form"].clone();
        }
        std::fs::write(&path, file.to_string()).map_err(|error| error.to_string())?;
    }
    Ok(CompileOptions {
        autotune: Autotune::Cached,
        autotune_cache: Some(path),
        ..options
    })
}
