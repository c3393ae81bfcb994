//! Arrays whose elements are read when they are computed.

use std::sync::Arc;

use super::source::Source;
use crate::error::WithOp;
use crate::ffi::host::{self, HostCall, HostInput, HostOutput};
use crate::ffi::{Handle, NativeError, stream};
use crate::{Array, ArrayType, Dtype, Result, zeros_with};

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
            [output] => source.fill_output(&name, offset, big_endian, output),
            _ => Err("load: wanted one output".to_owned()),
        };
        let mut arrays = self.arrays(vec![array_type], kernel)?;
        arrays
            .pop()
            .ok_or_else(|| self.fault("wanted one array, got none"))
    }

    /// Returns arrays of these types, which `kernel` reads together when one of them is computed.
    pub(super) fn arrays(
        &self,
        outputs: Vec<ArrayType>,
        kernel: impl Fn(&[HostInput<'_>], &mut [HostOutput<'_>]) -> std::result::Result<(), String>
        + Send
        + Sync
        + 'static,
    ) -> Result<Vec<Array>> {
        let outputs: Vec<_> = outputs
            .into_iter()
            .map(|output| (output.shape, output.dtype))
            .collect();
        let call = HostCall {
            name: c"load",
            outputs: &outputs,
            kernel: Arc::new(kernel),
            defines_outputs: false,
            takes_strides: false,
            composed: None,
            origins: &[],
            captured: &[],
            identity: 0,
        };
        let handles = apply(call).with_op(self.op)?;
        Ok(handles.into_iter().map(Array::from_handle).collect())
    }

    /// Returns the message of a kernel that could not read an array.
    pub(super) fn unread(&self, name: &str, why: &str) -> String {
        let colon = if name.is_empty() { "" } else { ": " };
        format!("{}: {}: {name}{colon}{why}", self.op, self.path.display())
    }

    /// Reads the elements of an output.
    fn fill_output(
        &self,
        name: &str,
        offset: u64,
        big_endian: bool,
        output: &mut HostOutput<'_>,
    ) -> std::result::Result<(), String> {
        let dtype = output.dtype();
        let bytes = output.as_mut_bytes();
        if let Err(why) = self.fill(offset, bytes) {
            bytes.fill(0);
            return Err(self.unread(name, &why));
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
fn apply(call: HostCall<'_>) -> std::result::Result<Vec<Handle>, NativeError> {
    let current = stream::current()?;
    if stream::is_gpu(current) {
        let cpu = stream::StreamHandle::default_of(false)?;
        host::apply(call, &[], cpu.raw())
    } else {
        host::apply(call, &[], current)
    }
}
