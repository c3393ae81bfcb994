//! Unpacking: wheels are zip files, packages of crates.io and npm are gzipped tar files.

mod package;
mod wheel;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::pins::{Pin, Registry};
use crate::{Error, Result};

/// Unpacks what the pin wants of its archive into `out`.
pub(crate) fn unpack(pin: &Pin, file: &Path, out: &Path) -> Result<()> {
    match pin.registry() {
        Registry::Crates => package::unpack_source(file, out)?,
        Registry::Npm => package::unpack(file, out, &pin.members)?,
        Registry::PyPi => wheel::unpack(file, out, &pin.members)?,
    }
    match pin.members.iter().find(|name| !out.join(name).exists()) {
        Some(missing) => Err(damaged(file, format!("it has no {missing}"))),
        None => Ok(()),
    }
}

/// Whether a file is wanted: all are when no member is named.
fn is_wanted(name: &Path, members: &[String]) -> bool {
    members.is_empty() || members.iter().any(|member| name.starts_with(member))
}

fn open(file: &Path) -> Result<File> {
    File::open(file).map_err(|error| Error::io("open", file, error))
}

fn damaged(file: &Path, reason: impl ToString) -> Error {
    Error::Archive {
        file: file.to_owned(),
        reason: reason.to_string(),
    }
}

/// Writes one entry of an archive.
fn write(from: &mut impl Read, to: PathBuf, executable: bool) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, error))?;
    }
    let failed = |error| Error::io("write", &to, error);
    let mut file = File::create(&to).map_err(failed)?;
    io::copy(from, &mut file).map_err(failed)?;
    if executable {
        make_executable(&file).map_err(failed)?;
    }
    Ok(())
}

#[cfg(unix)]
fn make_executable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_: &File) -> io::Result<()> {
    Ok(())
}
