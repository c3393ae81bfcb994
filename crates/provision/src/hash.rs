//! Hashes of files and of what a build depends on.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Returns a file's sha256 in hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn of_file(path: &Path) -> Result<String> {
    let failed = |error| Error::io("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut block).map_err(failed)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&block[..n]);
    }
}

/// Checks a file against its pinned hash.
pub(crate) fn check(path: &Path, wanted: &str) -> Result<()> {
    let got = of_file(path)?;
    if got == wanted {
        return Ok(());
    }
    Err(Error::Hash {
        file: path.to_owned(),
        wanted: wanted.to_owned(),
        got,
    })
}

/// A hash over named values: equal names and values in equal order, and nothing else, give an equal hash.
#[derive(Default)]
pub(crate) struct Key(Sha256);

impl Key {
    pub(crate) fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.0.update(format!("{name} {}\n", value.len()));
        self.0.update(value);
    }

    /// Returns the first 12 hexadecimal digits.
    pub(crate) fn short(self) -> String {
        hex(&self.0.finalize())[..12].to_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
