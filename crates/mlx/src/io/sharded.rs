//! Weights spread over several safetensors files in a folder, with an index that says which is where.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Component, Path};

use serde_json::{Map, Value, json};

use super::fault;
use super::safetensors::{Safetensors, load_safetensors, save_safetensors_with};
use super::write::write;
use crate::{Array, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Loads the weights in a folder as published on Hugging Face: `model.safetensors.index.json` and the files it
/// names, or `model.safetensors` alone. Elements are read when an array is computed.
///
/// With an index, its metadata are returned.
///
/// # Errors
/// When there is neither, a file is missing or damaged, a name in the index is not in its file, or leads out of the
/// folder.
#[track_caller]
pub fn load_sharded(folder: impl AsRef<Path>) -> Result<Safetensors> {
    const OP: &str = "load_sharded";
    let folder = folder.as_ref();
    let path = folder.join(INDEX);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(fault(OP, &path, error));
        }
        Err(_) if folder.join(SINGLE).exists() => return load_safetensors(folder.join(SINGLE)),
        Err(_) => {
            return Err(fault(
                OP,
                folder,
                format!("wanted {INDEX} or {SINGLE}, found neither"),
            ));
        }
    };
    let refused = |message: String| fault(OP, &path, message);
    let index: Value = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
    let Some(weight_map) = index.get("weight_map").and_then(Value::as_object) else {
        return Err(refused(
            "wanted a weight_map from names to files".to_owned(),
        ));
    };
    let mut loaded = Safetensors {
        arrays: BTreeMap::new(),
        metadata: metadata(&index),
    };
    for (file, names) in by_file(weight_map).map_err(refused)? {
        let mut shard = load_safetensors(folder.join(file))?.arrays;
        for name in names {
            let array = shard
                .remove(name)
                .ok_or_else(|| refused(format!("{name} is not in {file}")))?;
            loaded.arrays.insert(name.to_owned(), array);
        }
    }
    Ok(loaded)
}

fn metadata(index: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let entries = index
        .get("metadata")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    entries
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

/// Returns the files of the index with the names in each.
fn by_file(map: &Map<String, Value>) -> std::result::Result<BTreeMap<&str, Vec<&str>>, String> {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, file) in map {
        let file = file.as_str().unwrap_or("");
        let mut parts = Path::new(file).components();
        if !matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        ) {
            return Err(format!(
                "wanted a file in this folder for {name}, got {file:?}"
            ));
        }
        files.entry(file).or_default().push(name);
    }
    Ok(files)
}

/// Computes arrays and saves them in a folder in files of at most `max_bytes` of elements, or of one array where that
/// is larger, with an index; in one `model.safetensors` when they fit.
///
/// The folder is made if it is not there. Of weights that are in it already, the index or the `model.safetensors`
/// that does not belong to these is removed, so that it is not loaded instead.
///
/// # Errors
/// When an array cannot be computed, a name is there twice, or a file cannot be written.
#[track_caller]
pub fn save_sharded<'a, N: AsRef<str>>(
    folder: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (N, &'a Array)>,
    metadata: &BTreeMap<String, String>,
    max_bytes: usize,
) -> Result<()> {
    const OP: &str = "save_sharded";
    let folder = folder.as_ref();
    std::fs::create_dir_all(folder).map_err(|error| fault(OP, folder, error))?;
    let (mut shards, mut total, mut names) = (vec![(0, Vec::new())], 0, BTreeSet::new());
    for (name, array) in arrays {
        let (name, bytes): (String, usize) = (name.as_ref().to_owned(), array.nbytes()?);
        if !names.insert(name.clone()) {
            return Err(fault(
                OP,
                folder,
                format!("wanted different names, got {name:?} twice"),
            ));
        }
        match shards.last_mut() {
            Some((held, shard)) if shard.is_empty() || *held + bytes <= max_bytes => {
                *held += bytes;
                shard.push((name, array));
            }
            _ => shards.push((bytes, vec![(name, array)])),
        }
        total += bytes;
    }
    if let [(_, all)] = shards.as_slice() {
        let all = all.iter().map(|(name, array)| (name.as_str(), *array));
        save_safetensors_with(folder.join(SINGLE), all, metadata)?;
        // An index of before would lead to other files.
        return remove(OP, &folder.join(INDEX));
    }
    let (mut weight_map, n_shards) = (Map::new(), shards.len());
    for (k, (_, shard)) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{n_shards:05}.safetensors", k + 1);
        let part = shard.iter().map(|(name, array)| (name.as_str(), *array));
        save_safetensors_with(folder.join(&file), part, metadata)?;
        weight_map.extend(shard.iter().map(|(name, _)| (name.clone(), json!(file))));
    }
    let mut about: Map<String, Value> = metadata
        .iter()
        .map(|(k, v)| (k.clone(), json!(v)))
        .collect();
    about.insert("total_size".to_owned(), json!(total));
    let index = json!({ "metadata": about, "weight_map": weight_map });
    let path = folder.join(INDEX);
    // The index last: until it exists, no reader knows of the files it names.
    write(OP, &path, |file| {
        let text = format!("{index:#}\n");
        file.write_all(text.as_bytes())
            .map_err(|error| fault(OP, &path, error))
    })?;
    remove(OP, &folder.join(SINGLE))
}

fn remove(op: &'static str, path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fault(op, path, error)),
        _ => Ok(()),
    }
}
