//! What the built native library depends on, and the name of its folder that follows from it.

use std::path::PathBuf;

use crate::hash::Key;
use crate::tools::compiler::Compiler;
use crate::{Error, Result, Settings, stamp};

/// The name of a folder of built native files, in two inputs.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Backend and sources.
    sources: String,
    /// Which compiler.
    compiler: Option<String>,
}

impl Names {
    /// Returns the folder's name; `None` without a compiler.
    pub(crate) fn folder(&self) -> Option<String> {
        let compiler = self.compiler.as_ref()?;
        Some(format!("{}-{compiler}", self.sources))
    }
}

/// Names the folder for these inputs: `hashes` are those of the fetched files that go into it.
pub(crate) fn names(
    settings: &Settings,
    backend: &str,
    hashes: &[String],
    compiler: Option<&Compiler>,
) -> Result<Names> {
    let mut key = Key::default();
    for hash in hashes {
        key.add("fetched", hash);
    }
    let source = &settings.native_source;
    let mut files = Vec::new();
    stamp::collect(source, &mut files).map_err(|error| Error::io("list", source, error))?;
    files.sort();
    for file in files {
        let name = file.strip_prefix(source).unwrap_or(&file);
        let text = std::fs::read(&file).map_err(|error| Error::io("read", &file, error))?;
        key.add(&name.to_string_lossy(), text);
    }
    let compiler = compiler.map(|compiler| {
        let mut key = Key::default();
        key.add("path", compiler.path.as_os_str().as_encoded_bytes());
        if !compiler.args.is_empty() {
            key.add("arguments", compiler.args.join("\0"));
        }
        key.add("version", &compiler.version);
        key.add("flags", settings.cxxflags.as_encoded_bytes());
        key.short()[..6].to_owned()
    });
    Ok(Names {
        sources: format!("native-{backend}-{}", key.short()),
        compiler,
    })
}

/// Returns a folder built from these sources by whatever compiler: good enough on a machine that has none.
pub(crate) fn built_by_any_compiler(settings: &Settings, names: &Names) -> Option<PathBuf> {
    let prefix = format!("{}-", names.sources);
    let mut dirs: Vec<_> = std::fs::read_dir(&settings.root.path)
        .ok()?
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .filter(|dir| stamp::is_complete(dir))
        .collect();
    dirs.sort();
    dirs.pop()
}
