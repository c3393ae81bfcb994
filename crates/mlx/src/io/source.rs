//! Where bytes of a file come from: read in places, on demand.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::fault;
use crate::{Error, Result};

/// An open file of arrays, or its bytes in memory, for readers of formats that [`io`](crate::io) does not have.
///
/// Ranges are read and not mapped: a file that shrinks while it is mapped ends the process, one that shrinks while it
/// is read is an error.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let source = mlx::io::Source::from_bytes([1, 2, 3, 4]);
/// assert_eq!(source.read(1, 2)?, [2, 3]);
/// assert!(source.read(3, 2).is_err());
/// # Ok(())
/// # }
/// ```
pub struct Source {
    /// The operation and the file that errors name.
    pub(super) op: &'static str,
    pub(super) path: PathBuf,
    bytes: Bytes,
}

enum Bytes {
    File { file: File, len: u64 },
    Memory(Vec<u8>),
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is missing, cannot be read, or is no file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_for("load", path.as_ref())
    }

    /// Returns a source in memory.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::in_memory("load", Path::new("(bytes)"), bytes.into())
    }

    /// Opens a file for an operation.
    pub(super) fn open_for(op: &'static str, path: &Path) -> Result<Self> {
        let open = || -> io::Result<(File, u64)> {
            // Asked before opening, because opening a pipe would wait for somebody who writes to it.
            if !std::fs::metadata(path)?.is_file() {
                return Err(io::Error::other("wanted a file, got something else"));
            }
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        let (file, len) = open().map_err(|error| fault(op, path, error))?;
        Ok(Self {
            op,
            path: path.to_owned(),
            bytes: Bytes::File { file, len },
        })
    }

    /// Returns a source in memory, which was read from `path`.
    pub(super) fn in_memory(op: &'static str, path: &Path, bytes: Vec<u8>) -> Self {
        Self {
            op,
            path: path.to_owned(),
            bytes: Bytes::Memory(bytes),
        }
    }

    /// Returns the number of bytes.
    pub fn len(&self) -> u64 {
        match &self.bytes {
            Bytes::File { len, .. } => *len,
            Bytes::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Returns whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns an error about this file.
    pub(super) fn fault(&self, message: impl ToString) -> Error {
        fault(self.op, &self.path, message)
    }

    /// Reads `len` bytes from `offset` on.
    ///
    /// # Errors
    /// When the file does not have them, before anything is allocated, or reading fails.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.check(offset, len)?;
        let mut bytes = vec![0; len];
        self.read_into(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads as many bytes as `into` has from `offset` on.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn read_into(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.check(offset, into.len())?;
        self.fill(offset, into).map_err(|text| self.fault(text))
    }

    fn check(&self, offset: u64, len: usize) -> Result<()> {
        let end = offset.checked_add(len as u64);
        if end.is_some_and(|end| end <= self.len()) {
            return Ok(());
        }
        Err(self.fault(format!(
            "wanted {len} bytes at {offset}, got a file of {} bytes",
            self.len()
        )))
    }

    /// Reads bytes that were there when the file was opened, or says why that fails.
    pub(super) fn fill(&self, offset: u64, into: &mut [u8]) -> std::result::Result<(), String> {
        let read = match &self.bytes {
            Bytes::File { file, .. } => read_exact_at(file, offset, into),
            Bytes::Memory(bytes) => copy(bytes, offset, into),
        };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "the file has become shorter since it was opened".to_owned()
            }
            _ => error.to_string(),
        })
    }
}

// The bytes of a source in memory would be no help.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .field("len", &self.len())
            .finish()
    }
}

fn copy(bytes: &[u8], offset: u64, into: &mut [u8]) -> io::Result<()> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    let part = bytes.get(start..start.saturating_add(into.len()));
    into.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, into, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                offset += n as u64;
                into = &mut into[n..];
            }
        }
    }
    Ok(())
}
