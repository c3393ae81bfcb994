//! Models from the Hugging Face hub.
//!
//! Needs the feature `hub` and a network; files in the hub's own cache need none.

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo};
use mlx_provision::environment;

use crate::{Error, Result};

/// Optional files besides the weights.
const SMALL: [&str; 12] = [
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "config_sentence_transformers.json",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "sentence_camembert_config.json",
    "sentence_roberta_config.json",
    "sentence_xlm-roberta_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// Returns the folder of a repository such as `openai/whisper-tiny.en`, fetching what is not cached.
///
/// With the switch `MLX_OFFLINE` or `HF_HUB_OFFLINE` on, only the cache is read.
/// # Errors
/// [`Error::Asset`] when the repository has no weights in safetensors, or cannot be reached.
pub fn fetch(repository: &str) -> Result<PathBuf> {
    if let Some(folder) = cached(repository) {
        return Ok(folder);
    }
    if ["MLX_OFFLINE", "HF_HUB_OFFLINE"]
        .iter()
        .any(|name| environment::flag(name) == Some(true))
    {
        return Err(failed(
            repository,
            "not in the cache, and fetching is switched off",
        ));
    }
    let api = ApiBuilder::new()
        .build()
        .map_err(|error| failed(repository, error))?;
    let api = api.repo(Repo::model(repository.to_owned()));
    let files = api
        .info()
        .map_err(|error| failed(repository, error))?
        .siblings;
    let has = |name: &str| files.iter().any(|file| file.rfilename == name);
    let small = SMALL.into_iter().filter(|name| has(name));
    let modules = files.iter().map(|file| file.rfilename.as_str());
    for name in small.chain(modules.filter(|name| of_module(name))) {
        get(&api, repository, name)?;
    }
    let weights = if has(INDEX) {
        let index = get(&api, repository, INDEX)?;
        for shard in shards(&index).map_err(|error| failed(repository, error))? {
            get(&api, repository, &shard)?;
        }
        index
    } else if has(SINGLE) {
        get(&api, repository, SINGLE)?
    } else {
        return Err(failed(
            repository,
            "the repository has no model.safetensors",
        ));
    };
    weights
        .parent()
        .map(Path::to_path_buf)
        .ok_or_else(|| failed(repository, "the cache has no folder for it"))
}

/// Returns whether a file belongs to a module of sentence-transformers, such as `1_Pooling/config.json`.
fn of_module(name: &str) -> bool {
    let Some((folder, file)) = name.split_once('/') else {
        return false;
    };
    let numbered = folder.split_once('_').is_some_and(|(number, _)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    numbered && ["config.json", SINGLE].contains(&file)
}

/// Returns the repository's folder in the cache, if it is complete.
fn cached(repository: &str) -> Option<PathBuf> {
    let repo = Cache::from_env().repo(Repo::model(repository.to_owned()));
    repo.get("config.json")?;
    repo.get("tokenizer.json")?;
    let weights = match repo.get(INDEX) {
        Some(index) => {
            let all = shards(&index)
                .ok()?
                .iter()
                .all(|shard| repo.get(shard).is_some());
            all.then_some(index)?
        }
        None => repo.get(SINGLE)?,
    };
    weights.parent().map(Path::to_path_buf)
}

fn get(api: &ApiRepo, repository: &str, name: &str) -> Result<PathBuf> {
    api.get(name)
        .map_err(|error| failed(repository, format!("{name}: {error}")))
}

/// Returns the files that an index names, without duplicates.
fn shards(index: &Path) -> std::io::Result<Vec<String>> {
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(index)?)?;
    let map = json
        .get("weight_map")
        .and_then(serde_json::Value::as_object);
    let mut names: Vec<String> = map
        .into_iter()
        .flat_map(|map| map.values())
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn failed(repository: &str, reason: impl ToString) -> Error {
    Error::Asset {
        name: repository.to_owned(),
        reason: reason.to_string(),
        command: format!("huggingface-cli download {repository}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{of_module, shards};

    #[test]
    fn steps_have_numbered_folders() {
        for (name, wanted) in [
            ("1_Pooling/config.json", true),
            ("2_Dense/model.safetensors", true),
            ("2_Dense/pytorch_model.bin", false),
            ("onnx/config.json", false),
            ("_Pooling/config.json", false),
            ("config.json", false),
        ] {
            assert_eq!(of_module(name), wanted, "{name}");
        }
    }

    #[test]
    fn an_index_names_each_file_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("index.json");
        std::fs::write(
            &path,
            r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}}"#,
        )
        .expect("written");
        assert_eq!(
            shards(&path).expect("read"),
            ["1.safetensors", "2.safetensors"]
        );
    }
}
