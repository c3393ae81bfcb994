//! Tensors of other libraries by DLPack, in and out; with the feature `dlpack`.
//!
//! Elements are always copied: MLX's CPU allocator takes no memory of others, and an array belongs to its thread, where
//! a consumer may keep a tensor on any. A tensor must be in memory that the CPU reads; one on a GPU is an error.

use crate::error::WithOp;
use crate::ffi::data;
use crate::{Array, Dtype, Result, bind};

pub use crate::ffi::dlpack::ManagedTensor;

impl Array {
    /// Computes this array and returns a copy of it, row-major and on the CPU.
    ///
    /// # Errors
    /// When the array cannot be computed.
    #[track_caller]
    pub fn to_dlpack(&self) -> Result<ManagedTensor> {
        let array_type = self.array_type()?;
        self.with_bytes("to_dlpack", |bytes| {
            ManagedTensor::copy(&array_type.shape, array_type.dtype, bytes)
        })
    }

    /// Returns an array with a copy of a tensor's elements, of any strides.
    ///
    /// # Errors
    /// When the tensor is not on the CPU, or of a dtype that MLX has nothing for.
    #[track_caller]
    pub fn from_dlpack(tensor: &ManagedTensor) -> Result<Array> {
        const OP: &str = "from_dlpack";
        let copied = tensor.elements().with_op(OP)?;
        let size = i32::try_from(copied.dtype.size()).unwrap_or(1);
        if copied.bytes.is_empty() {
            return crate::zeros_with(copied.shape, copied.dtype).checked();
        }
        if copied.dtype == Dtype::Bool {
            let bytes = data::from_slice(&copied.bytes, &copied.shape).with_op(OP)?;
            return Array::from_handle(bytes).not_equal(0).checked();
        }
        // As bytes along a last axis, which become elements.
        let mut shape = copied.shape.clone();
        shape.push(size);
        let bytes = Array::from_handle(data::from_slice(&copied.bytes, &shape).with_op(OP)?);
        let dtype = copied.dtype;
        bind(crate::Op::View { dtype }, &[&bytes])
            .reshape(copied.shape)
            .checked()
    }
}
