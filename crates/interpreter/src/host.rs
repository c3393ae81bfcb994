//! Between tensors and arrays in plain memory.

use mlx::cpu::HostArray;
use mlx_compiler::Result;

use crate::bits::{from_bytes, to_bytes};
use crate::tensor::{Tensor, count, sizes};

/// Returns an array's elements as numbers.
pub(crate) fn tensor_of(array: &HostArray) -> Result<Tensor> {
    let (shape, dtype) = (sizes(array.shape())?, array.dtype());
    // Before that many are made.
    count(&shape)?;
    let bytes = array.to_bytes();
    let elements = bytes.chunks_exact(dtype.size());
    let numbers = elements.map(|bytes| from_bytes(bytes, dtype)).collect();
    Tensor::new(&shape, dtype, numbers)
}

/// Returns an array of numbers.
pub(crate) fn array_of(tensor: &Tensor) -> Result<HostArray> {
    let (array_type, dtype) = (tensor.array_type(), tensor.dtype());
    let mut bytes = Vec::with_capacity(tensor.size() * dtype.size());
    for &number in tensor.numbers() {
        bytes.extend(to_bytes(number, dtype));
    }
    Ok(HostArray::from_bytes(array_type, &bytes)?)
}
