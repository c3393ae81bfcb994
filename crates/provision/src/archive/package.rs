//! The crate file that carries the source of mlx-c.

use std::io::BufReader;
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use tar::Archive;

use super::{damaged, open, write};
use crate::Result;

/// Where mlx-c lies in the package, after the package's own folder.
const SOURCE: &str = "src/mlx-c";

/// Unpacks the source of mlx-c only: its headers, sources and licence.
pub(super) fn unpack(file: &Path, out: &Path) -> Result<()> {
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(open(file)?)));
    let entries = archive.entries().map_err(|error| damaged(file, error))?;
    let mut n_files = 0;
    for entry in entries {
        let mut entry = entry.map_err(|error| damaged(file, error))?;
        let path = entry
            .path()
            .map_err(|error| damaged(file, error))?
            .into_owned();
        let inner: std::path::PathBuf = path.components().skip(1).collect();
        let Ok(name) = inner.strip_prefix(SOURCE) else {
            continue;
        };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if name
            .components()
            .any(|part| !matches!(part, Component::Normal(_)))
        {
            return Err(damaged(file, format!("it contains {}", path.display())));
        }
        write(&mut entry, out.join(name), false)?;
        n_files += 1;
    }
    if n_files == 0 {
        return Err(damaged(file, format!("it has no {SOURCE}")));
    }
    Ok(())
}
