//! Python wheels.

use std::io::BufReader;
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::{damaged, is_wanted, open, write};
use crate::{Error, Result};

/// Parts of the tools' wheels that are not needed here.
const SKIPPED: &[&str] = &["cmake/data/doc/", "cmake/data/man/"];

/// Unpacks these members, or all when there are none.
pub(super) fn unpack(file: &Path, out: &Path, members: &[String]) -> Result<()> {
    let reader = BufReader::new(open(file)?);
    let mut zip = ZipArchive::new(reader).map_err(|error| damaged(file, error))?;
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).map_err(|error| match error {
            ZipError::Io(error) => Error::io("read", file, error),
            other => damaged(file, other),
        })?;
        let Some(name) = entry.enclosed_name() else {
            return Err(damaged(file, "it contains a path that leads out of it"));
        };
        let is_skipped = SKIPPED.iter().any(|part| name.starts_with(part));
        if entry.is_dir() || is_skipped || !is_wanted(&name, members) {
            continue;
        }
        let executable = entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
        write(&mut entry, out.join(name), executable)?;
    }
    Ok(())
}
