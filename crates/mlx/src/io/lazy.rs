//! Arrays whose elements are read when they are computed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault;
use crate::error::WithOp;
use crate::ffi::host::{self, HostCall, HostInput, HostOutput};
use crate::ffi::{Handle, NativeError, stream};
use crate::{Array, ArrayType, Dtype, Result, zeros_with};

/// Where elements come from.
pub(super) struct Source {
    op: &'static str,
    path: PathBuf,
    bytes: Bytes,
}

enum Bytes {
    File { file: File, len: u64 },
    Memory(Vec<u8>),
}

/// An array within a source.
pub(super) struct Part<'a> {
    /// What the array is called in messages; empty when the file has only one.
    pub(super) name: &'a str,
    /// Where its bytes begin.
    pub(super) offset: u64,
    pub(super) array_type: ArrayType,
    /// Whether numbers are written with their most significant byte first.
    pub(super) big_endian: bool,
}

impl Source {
    /// Opens a file.
    pub(super) fn open(op: &'static str, path: &Path) -> Result<Self> {
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

    /// Returns the number of bytes there are.
    pub(super) fn len(&self) -> u64 {
        match &self.bytes {
            Bytes::File { len, .. } => *len,
            Bytes::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Returns an error about this file.
    pub(super) fn fault(&self, message: impl ToString) -> crate::Error {
        fault(self.op, &self.path, message)
    }

    /// Returns the `len` bytes at `offset`, which the caller has checked to be there.
    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_into(offset, &mut bytes)
            .map_err(|error| self.fault(error))?;
        Ok(bytes)
    }

    fn read_into(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match &self.bytes {
            Bytes::File { file, .. } => read_exact_at(file, offset, into),
            Bytes::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                let part = bytes.get(start..start.saturating_add(into.len()));
                into.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// Returns the array at a part of the source, to be read when it is computed.
    pub(super) fn array(self: &Arc<Self>, part: Part<'_>) -> Result<Array> {
        let Part {
            name,
            offset,
            array_type,
            big_endian,
        } = part;
        if array_type.shape.contains(&0) {
            return zeros_with(&array_type.shape, array_type.dtype).checked();
        }
        let (source, name) = (Arc::clone(self), name.to_owned());
        let kernel = move |_: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]| match outputs {
            [output] => source.fill(&name, offset, big_endian, output),
            _ => Err("load: wanted one output".to_owned()),
        };
        let call = HostCall {
            name: c"load",
            outputs: &[(array_type.shape, array_type.dtype)],
            kernel: Arc::new(kernel),
            defines_outputs: false,
            takes_strides: false,
            composed: None,
            origins: &[],
            captured: &[],
            identity: 0,
        };
        apply(call).with_op(self.op).map(Array::from_handle)
    }

    /// Reads the elements of an output.
    fn fill(
        &self,
        name: &str,
        offset: u64,
        big_endian: bool,
        output: &mut HostOutput<'_>,
    ) -> std::result::Result<(), String> {
        let dtype = output.dtype();
        let bytes = output.as_mut_bytes();
        if let Err(error) = self.read_into(offset, bytes) {
            bytes.fill(0);
            let what = if name.is_empty() {
                String::new()
            } else {
                format!("{name}: ")
            };
            let why = match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    "the file has become shorter since it was opened".to_owned()
                }
                _ => error.to_string(),
            };
            return Err(format!("{}: {}: {what}{why}", self.op, self.path.display()));
        }
        if dtype == Dtype::Bool {
            bytes
                .iter_mut()
                .for_each(|byte| *byte = u8::from(*byte != 0));
        }
        // The two parts of a complex number are numbers of their own.
        let width = if dtype == Dtype::Complex64 {
            4
        } else {
            dtype.size()
        };
        if big_endian != cfg!(target_endian = "big") {
            bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        Ok(())
    }
}

/// Applies a kernel without inputs on this thread's stream, or on its CPU stream when that is a GPU's.
fn apply(call: HostCall<'_>) -> std::result::Result<Handle, NativeError> {
    let current = stream::current()?;
    let mut outputs = if stream::is_gpu(current) {
        let cpu = stream::StreamHandle::default_of(false)?;
        host::apply(call, &[], cpu.raw())?
    } else {
        host::apply(call, &[], current)?
    };
    outputs
        .pop()
        .ok_or_else(|| NativeError::from("load gave nothing"))
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
