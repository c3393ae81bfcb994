//! Gzipped tar files: the crate file that carries the source of mlx-c, and packages of npm.

use std::fs::File;
use std::io::BufReader;
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::{Archive, Entry};

use super::{damaged, is_wanted, open, write};
use crate::Result;

/// The folder of mlx-c's source in the crate file, below the crate's own folder.
const SOURCE: &str = "src/mlx-c";

/// Unpacks the source of mlx-c only: its headers, sources and licence.
pub(super) fn unpack_source(file: &Path, out: &Path) -> Result<()> {
    let n_files = each_file(file, |entry, path| {
        let inner: PathBuf = path.components().skip(1).collect();
        match inner.strip_prefix(SOURCE) {
            Ok(name) => write(entry, out.join(name), false).map(|()| true),
            Err(_) => Ok(false),
        }
    })?;
    match n_files {
        0 => Err(damaged(file, format!("it has no {SOURCE}"))),
        _ => Ok(()),
    }
}

/// Unpacks these members, or all when there are none.
pub(super) fn unpack(file: &Path, out: &Path, members: &[String]) -> Result<()> {
    each_file(file, |entry, path| {
        if !is_wanted(path, members) {
            return Ok(false);
        }
        write(entry, out.join(path), false).map(|()| true)
    })
    .map(|_| ())
}

/// Calls `take` for each file with its path in the archive; returns how often that took the file.
fn each_file(
    file: &Path,
    mut take: impl FnMut(&mut Entry<'_, GzDecoder<BufReader<File>>>, &Path) -> Result<bool>,
) -> Result<usize> {
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(open(file)?)));
    let entries = archive.entries().map_err(|error| damaged(file, error))?;
    let mut n_files = 0;
    for entry in entries {
        let mut entry = entry.map_err(|error| damaged(file, error))?;
        let path = entry
            .path()
            .map_err(|error| damaged(file, error))?
            .into_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if path
            .components()
            .any(|part| !matches!(part, Component::Normal(_)))
        {
            return Err(damaged(file, format!("it contains {}", path.display())));
        }
        n_files += usize::from(take(&mut entry, &path)?);
    }
    Ok(n_files)
}
