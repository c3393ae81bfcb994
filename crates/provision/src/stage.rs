//! How an item comes into its folder: made beside it, stamped, and renamed into place under a lock.

use std::fs;
use std::path::{Path, PathBuf};

use crate::pins::Pin;
use crate::{Error, Result, Settings, archive, download, lock, stamp, sweep};

/// Stages a pinned archive and returns its folder.
///
/// # Errors
/// When it can neither be found nor fetched, has another hash, or does not fit on the disk.
pub fn stage_archive(settings: &Settings, pin: &Pin) -> Result<PathBuf> {
    stage_with(settings, &pin.folder(), |temp, out| {
        let file = download::obtain(settings, pin, temp)?;
        let _busy = settings.progress.task(&format!("unpacking {}", pin.file));
        archive::unpack(pin, &file, out)
    })
}

/// Stages the folder `name` by calling `make(temp, out)`, which fills `out` and may use `temp`.
///
/// `make` is not called when the folder is there. When it fails, nothing is left behind.
///
/// # Errors
/// Those of `make`, and when the folder cannot be written.
pub fn stage_with(
    settings: &Settings,
    name: &str,
    make: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let dir = settings.root.path.join(name);
    if stamp::is_complete(&dir) {
        return Ok(dir);
    }
    let _lock = lock::hold(&settings.root.path, name, &settings.progress)?;
    if stamp::is_complete(&dir) {
        return Ok(dir);
    }
    sweep::leftovers_of(&settings.root.path, name);
    let temp = temp_of(settings, name);
    let made = make_in(&temp, &dir, make);
    let _ = fs::remove_dir_all(&temp);
    made.map(|()| dir)
}

/// The stamp of a folder that is made in place: what it was made from.
const MADE_FROM: &str = ".made-from";

/// Returns whether `folder` was made by [`make_in_place`] from these inputs.
#[must_use]
pub fn is_made_from(folder: &Path, inputs: &str) -> bool {
    fs::read_to_string(folder.join(MADE_FROM)).is_ok_and(|made_from| made_from == inputs)
}

/// Makes a folder that cannot be moved into place, unless it was made from the same inputs.
///
/// One process at a time does so. The stamp is written last: what a killed process left is made again.
///
/// # Errors
/// Those of `make`, and when the folder cannot be written.
pub fn make_in_place<E: From<Error>>(
    settings: &Settings,
    folder: &Path,
    inputs: &str,
    make: impl FnOnce() -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    if is_made_from(folder, inputs) {
        return Ok(());
    }
    let root = folder.parent().unwrap_or(folder);
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let _lock = lock::hold(root, &name, &settings.progress)?;
    if is_made_from(folder, inputs) {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    let stamp = folder.join(MADE_FROM);
    if stamp.exists() {
        fs::remove_file(&stamp).map_err(|error| Error::io("remove", &stamp, error))?;
    }
    make()?;
    Ok(fs::write(&stamp, inputs).map_err(|error| Error::io("write", &stamp, error))?)
}

/// Calls `work` with a folder that is empty before and removed afterwards.
pub(crate) fn in_scratch<T>(
    settings: &Settings,
    name: &str,
    work: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    let _lock = lock::hold(&settings.root.path, name, &settings.progress)?;
    sweep::leftovers_of(&settings.root.path, name);
    let temp = temp_of(settings, name);
    fs::create_dir_all(&temp).map_err(|error| Error::io("create", &temp, error))?;
    let done = work(&temp);
    let _ = fs::remove_dir_all(&temp);
    done
}

/// Returns the folder to work in; the caller holds the item's lock.
fn temp_of(settings: &Settings, name: &str) -> PathBuf {
    // The process id keeps a killed build's children, which may live on, out of the new build's folder.
    let folder = format!("{name}.{}", std::process::id());
    settings.root.path.join(".tmp").join(folder)
}

fn make_in(temp: &Path, dir: &Path, make: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<()> {
    let out = temp.join("out");
    fs::create_dir_all(&out).map_err(|error| Error::io("create", &out, error))?;
    make(temp, &out)?;
    stamp::write(&out)?;
    if dir.exists() {
        // Incomplete: a part of it was deleted.
        let old = temp.join("old");
        fs::rename(dir, &old).map_err(|error| Error::io("move", dir, error))?;
    }
    fs::rename(&out, dir).map_err(|error| Error::io("move", &out, error))
}
