//! The same bytes as another dtype: never a `bool` that is neither 0 nor 1, never beyond the buffer.

use crate::Dtype;
use crate::ffi::table::one;
use crate::ffi::table::{self, Outputs};
use crate::ffi::{Handle, NativeError, data};
use crate::op::Op;

pub(super) fn call(
    dtype: Dtype,
    input: &Handle,
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, NativeError> {
    if dtype == Dtype::Bool && input.dtype() != Dtype::Bool {
        // Other bytes than 0 and 1 are no `bool` in Rust.
        let bytes = one_of(call(Dtype::Uint8, input, stream)?)?;
        let zero = data::from_slice(&[0_u8], &[])?;
        return one(&Op::NotEqual, &[&bytes, &zero], stream).map(Outputs::One);
    }
    let view = Op::View { dtype };
    let plain = table::call(&view, &[input.raw()], stream)?;
    let (from, to) = (input.dtype().size(), dtype.size());
    if from == to || input.size() == 0 {
        return Ok(plain);
    }
    // MLX keeps the stride of a last axis of size 1, which may be anything, and then walks along it. A fresh axis
    // has a stride that is right.
    let shape = plain.as_slice()[0].shape().to_vec();
    let mut regrouped = vec![1];
    regrouped.extend_from_slice(input.shape());
    if from > to {
        regrouped.push(1);
    } else {
        let group =
            i32::try_from(to / from).map_err(|_| NativeError::from("elements are too large"))?;
        if let Some(last) = regrouped.last_mut() {
            *last /= group;
        }
        regrouped.push(group);
    }
    let regrouped = one(&Op::Reshape { shape: regrouped }, &[input], stream)?;
    let viewed = one(&view, &[&regrouped], stream)?;
    one(&Op::Reshape { shape }, &[&viewed], stream).map(Outputs::One)
}

fn one_of(outputs: Outputs) -> Result<Handle, NativeError> {
    outputs
        .into_vec()
        .pop()
        .ok_or_else(|| NativeError::from("view gave nothing"))
}
