//! A cursor over the headers of a binary weight file.

use std::sync::Arc;

use super::Source;
use crate::{Error, Result};

/// Bytes read at a time; names and shapes are far shorter.
const CHUNK: usize = 4096;

/// A cursor over the headers of a file; no size that the file states is trusted before it is checked.
pub(super) struct Cursor<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) at: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> Cursor<'a> {
    /// Returns a cursor at the start.
    pub(super) fn new(source: &'a Arc<Source>) -> Self {
        Self {
            source,
            at: 0,
            chunk: Vec::new(),
            chunk_at: 0,
        }
    }

    /// Returns the number of bytes that remain.
    pub(super) fn left(&self) -> u64 {
        self.source.len().saturating_sub(self.at)
    }

    /// Returns the next `n` bytes.
    pub(super) fn take(&mut self, n: usize, what: &str) -> Result<&[u8]> {
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
                    return Err(Error::Weights(format!(
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

    pub(super) fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(self.take(1, what)?[0])
    }

    pub(super) fn u16(&mut self, what: &str) -> Result<u16> {
        let bytes = self.take(2, what)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        let bytes = self.take(8, what)?;
        Ok(u64::from_le_bytes(std::array::from_fn(|i| bytes[i])))
    }
}
