//! The stamp of a staged folder: every file with its size, so that "all there" is known without hashing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

const FILE: &str = ".staged";

/// Returns whether a folder has its stamp and every file in it, with the size it had.
pub(crate) fn is_complete(dir: &Path) -> bool {
    let Ok(text) = fs::read_to_string(dir.join(FILE)) else {
        return false;
    };
    text.lines().all(|line| {
        line.split_once(' ').is_some_and(|(size, path)| {
            fs::symlink_metadata(dir.join(path)).is_ok_and(|data| data.len().to_string() == size)
        })
    })
}

/// Returns the stamp's path, for cargo to watch.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Writes the stamp of a folder that is about to be moved into place.
pub(crate) fn write(dir: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect(dir, &mut files).map_err(|error| Error::io("list", dir, error))?;
    files.sort();
    let mut text = String::new();
    for file in files {
        let data = fs::symlink_metadata(&file).map_err(|error| Error::io("read", &file, error))?;
        let name = file.strip_prefix(dir).unwrap_or(&file);
        text.push_str(&format!("{} {}\n", data.len(), name.display()));
    }
    let stamp = dir.join(FILE);
    fs::write(&stamp, text).map_err(|error| Error::io("write", &stamp, error))
}

/// Collects every file below `dir`.
pub(crate) fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
