//! A cursor over the headers of a binary file.

use std::sync::Arc;

use super::source::Source;
use crate::Result;

/// Bytes read at a time; names and shapes are far shorter.
const CHUNK: usize = 4096;

/// A cursor over the little-endian headers of a [`Source`]; no size that the file states is trusted before it is checked.
///
/// `what` names what is read in errors.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::io::{Source, SourceCursor};
///
/// let source = Source::from_bytes([7, 0, 0, 0, 1]).into();
/// let mut cursor = SourceCursor::new(&source);
/// assert_eq!(cursor.u32("version")?, 7);
/// let error = cursor.u16("number of arrays").unwrap_err().to_string();
/// assert!(error.ends_with("number of arrays: wanted 2 bytes at 4, got the end of the file at 5"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SourceCursor<'a> {
    source: &'a Arc<Source>,
    at: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> SourceCursor<'a> {
    /// Returns a cursor at the start.
    pub fn new(source: &'a Arc<Source>) -> Self {
        Self {
            source,
            at: 0,
            chunk: Vec::new(),
            chunk_at: 0,
        }
    }

    /// Returns what it reads.
    pub fn source(&self) -> &'a Arc<Source> {
        self.source
    }

    /// Returns the place of the next byte.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Leaves out `n` bytes; what is read behind the end is an error.
    pub fn skip(&mut self, n: u64) {
        self.at = self.at.saturating_add(n);
    }

    /// Returns the number of bytes that remain.
    pub fn left(&self) -> u64 {
        self.source.len().saturating_sub(self.at)
    }

    /// Returns the next `n` bytes.
    ///
    /// # Errors
    /// When the file ends before, or reading fails.
    pub fn take(&mut self, n: usize, what: &str) -> Result<&[u8]> {
        let here = self
            .at
            .checked_sub(self.chunk_at)
            .and_then(|skip| usize::try_from(skip).ok());
        let cached = here.filter(|&skip| {
            skip.checked_add(n)
                .is_some_and(|end| end <= self.chunk.len())
        });
        let start = match cached {
            Some(start) => start,
            None => {
                let left = self.source.len().saturating_sub(self.at);
                if left < n as u64 {
                    return Err(self.source.fault(format!(
                        "{what}: wanted {n} bytes at {}, got the end of the file at {}",
                        self.at,
                        self.source.len()
                    )));
                }
                self.chunk = self
                    .source
                    .read(self.at, left.min(n.max(CHUNK) as u64) as usize)?;
                self.chunk_at = self.at;
                0
            }
        };
        self.at += n as u64;
        Ok(&self.chunk[start..start + n])
    }

    /// Returns the next byte.
    ///
    /// # Errors
    /// As [`SourceCursor::take`].
    pub fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(self.take(1, what)?[0])
    }

    /// Returns the next number of 16 bits.
    ///
    /// # Errors
    /// As [`SourceCursor::take`].
    pub fn u16(&mut self, what: &str) -> Result<u16> {
        let bytes = self.take(2, what)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// Returns the next number of 32 bits.
    ///
    /// # Errors
    /// As [`SourceCursor::take`].
    pub fn u32(&mut self, what: &str) -> Result<u32> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Returns the next number of 64 bits.
    ///
    /// # Errors
    /// As [`SourceCursor::take`].
    pub fn u64(&mut self, what: &str) -> Result<u64> {
        let bytes = self.take(8, what)?;
        Ok(u64::from_le_bytes(std::array::from_fn(|i| bytes[i])))
    }
}
