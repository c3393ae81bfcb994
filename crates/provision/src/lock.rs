//! One process at a time for each item.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::{Error, Progress, Result};

/// Held until dropped, or until the process ends in whatever way.
pub(crate) struct Lock {
    _file: File,
}

/// Waits until no other process works on `name` in `root`.
pub(crate) fn hold(root: &Path, name: &str, progress: &Progress) -> Result<Lock> {
    let dir = root.join(".locks");
    std::fs::create_dir_all(&dir).map_err(|error| Error::io("create", &dir, error))?;
    let path = dir.join(name);
    let failed = |error| Error::io("lock", &path, error);
    let file = open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress.step(&format!("waiting for another process that stages {name}"));
            file.lock().map_err(failed)?;
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    Ok(Lock { _file: file })
}

/// Returns the lock of `name` when no process works on it; `None` also when that cannot be known.
pub(crate) fn try_hold(root: &Path, name: &str) -> Option<Lock> {
    let file = open(&root.join(".locks").join(name)).ok()?;
    file.try_lock().ok()?;
    Some(Lock { _file: file })
}

fn open(path: &Path) -> std::io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}
