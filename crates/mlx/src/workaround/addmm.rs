//! `addmm` without a product to add: the CPU scales `c`, which may be seen through strides, as if it were a plain row.

use crate::ffi::table::{self, Outputs, one};
use crate::ffi::{Handle, NativeError, data};
use crate::op::Op;

/// `beta * c` in the shape and dtype of the result, for matrices of which the contracted axis has no elements.
pub(super) fn of_nothing(
    op: &Op,
    beta: f32,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, NativeError> {
    // It is never evaluated: it tells the type.
    let plain = table::call(op, &table::raws(inputs), stream)?.into_one()?;
    let (shape, dtype) = (plain.shape().to_vec(), plain.dtype());
    let to = Op::Astype { dtype };
    let factor = one(&to, &[&data::from_slice(&[beta], &[])?], stream)?;
    let c = one(&to, &[inputs[0]], stream)?;
    let scaled = one(&Op::Multiply, &[&c, &factor], stream)?;
    one(&Op::BroadcastTo { shape }, &[&scaled], stream).map(Outputs::One)
}
