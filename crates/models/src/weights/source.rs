//! Byte ranges of a weight file, read on demand.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// An open weight file, or its bytes in memory.
///
/// Ranges are read rather than mapped: a file that shrinks while it is mapped ends the process,
/// one that shrinks while it is read is an error.
#[derive(Debug)]
pub struct Source {
    place: Place,
    length: u64,
}

#[derive(Debug)]
enum Place {
    File { path: PathBuf, file: File },
    Memory(Vec<u8>),
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        Ok(Self {
            place: Place::File {
                path: path.to_path_buf(),
                file,
            },
            length,
        })
    }

    /// Wraps bytes in memory.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self {
            length: bytes.len() as u64,
            place: Place::Memory(bytes),
        }
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Returns whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Reads `length` bytes from `offset` on.
    ///
    /// # Errors
    /// [`Error::Weights`] when the range exceeds the file, [`Error::Io`] when reading fails.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        // Checked before anything is allocated: the numbers come from the file.
        self.check(offset, length)?;
        let mut bytes = vec![0; length];
        self.read_into(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads as many bytes as `out` has from `offset` on.
    ///
    /// # Errors
    /// As for [`Source::read`].
    pub fn read_into(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.check(offset, out.len())?;
        match &self.place {
            Place::Memory(bytes) => {
                out.copy_from_slice(&bytes[offset as usize..offset as usize + out.len()]);
                Ok(())
            }
            Place::File { path, file } => file.read_exact_at(out, offset).map_err(Error::io(path)),
        }
    }

    fn check(&self, offset: u64, length: usize) -> Result<()> {
        let end = offset.checked_add(length as u64);
        if end.is_some_and(|end| end <= self.length) {
            return Ok(());
        }
        Err(Error::Weights(format!(
            "wanted {length} bytes at {offset}, got a file of {} bytes",
            self.length
        )))
    }
}
