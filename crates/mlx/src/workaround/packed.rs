//! Packed weights: in nvfp4 with an odd number of groups, since the CPU packs and unpacks four words at a time, two groups;
//! and on CUDA with one group for a whole row, for which MLX takes a kernel of Hopper's that gives other numbers.

use crate::ffi::table::{self, Outputs, one};
use crate::ffi::{Handle, NativeError, stream};
use crate::op::{Op, QuantizationMode};

type Stream = mlx_sys::mlx_stream;

/// How many weights share a scale.
const GROUP: usize = 16;
/// How many words they are packed into.
const WORDS: usize = 2;

/// Packs or unpacks an odd number of groups with a row of zeros behind them; nothing for any other call.
pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: Stream,
) -> Result<Option<Outputs>, NativeError> {
    if let Some(product) = by_unpacked(op, inputs, stream)? {
        return Ok(Some(Outputs::One(product)));
    }
    let (words_or_weights, is_packed) = match op {
        Op::Quantize {
            mode: QuantizationMode::Nvfp4,
            ..
        } => (GROUP, false),
        Op::Dequantize {
            mode: QuantizationMode::Nvfp4,
            ..
        } => (WORDS, true),
        _ => return Ok(None),
    };
    let first = inputs[0];
    let columns = first.shape().last().copied().unwrap_or_default();
    let whole_groups = usize::try_from(columns).is_ok_and(|n| n % words_or_weights == 0);
    let is_odd = !(first.size() / words_or_weights).is_multiple_of(2);
    // Anything that is refused for another reason is left to MLX, and what is not.
    if !is_odd || !whole_groups || first.ndim() < 2 {
        return Ok(None);
    }
    let padded = inputs
        .iter()
        .map(|input| with_a_row(input, stream))
        .collect::<Result<Vec<_>, _>>()?;
    let raws: Vec<_> = padded.iter().map(Handle::raw).collect();
    let lead = &first.shape()[..first.ndim() - 1];
    let outputs = table::call(op, &raws, stream)?;
    if is_packed {
        let whole = outputs.into_vec().pop();
        let whole = whole.ok_or_else(|| NativeError::from("wanted one output, got none"))?;
        return without_the_row(&whole, lead, stream).map(|x| Some(Outputs::One(x)));
    }
    let parts = outputs.into_vec();
    let parts = parts.iter().map(|part| without_the_row(part, lead, stream));
    parts
        .collect::<Result<_, _>>()
        .map(|parts| Some(Outputs::Many(parts)))
}

/// The product with rows of one group, unpacked first; nothing for any other call.
fn by_unpacked(op: &Op, inputs: &[&Handle], on: Stream) -> Result<Option<Handle>, NativeError> {
    let Op::QuantizedMatmul {
        transpose: true,
        group_size,
        bits: bits @ (4 | 8),
        mode: mode @ QuantizationMode::Affine,
    } = *op
    else {
        return Ok(None);
    };
    let columns = inputs[0].shape().last().copied().unwrap_or_default();
    if !stream::is_cuda(on) || group_size < columns || columns % 64 != 0 {
        return Ok(None);
    }
    // It is never evaluated: it tells the shape and dtype, and what is wrong with the inputs.
    let plain = one(op, inputs, on)?;
    let unpack = Op::Dequantize {
        group_size,
        bits,
        mode,
        dtype: Some(plain.dtype()),
    };
    let weight = one(&unpack, &inputs[1..], on)?;
    let ndim = i32::try_from(weight.ndim()).unwrap_or(0);
    let mut axes: Vec<i32> = (0..ndim).collect();
    axes.swap(weight.ndim() - 2, weight.ndim() - 1);
    let transposed = one(&Op::Transpose { axes }, &[&weight], on)?;
    let dtype = plain.dtype();
    let x = one(&Op::Astype { dtype }, &[inputs[0]], on)?;
    one(&Op::Matmul, &[&x, &transposed], on).map(Some)
}

/// The rows of `x`, and one of zeros.
fn with_a_row(x: &Handle, stream: Stream) -> Result<Handle, NativeError> {
    let columns = x.shape().last().copied().unwrap_or_default();
    let shape = vec![-1, columns];
    let rows = one(&Op::Reshape { shape }, &[x], stream)?;
    let zeros = Op::Zeros {
        shape: vec![1, columns],
        dtype: x.dtype(),
    };
    let zeros = one(&zeros, &[], stream)?;
    one(&Op::Concatenate { axis: 0 }, &[&rows, &zeros], stream)
}

/// All rows but the last, under these leading axes.
fn without_the_row(x: &Handle, lead: &[i32], stream: Stream) -> Result<Handle, NativeError> {
    let &[rows, columns] = x.shape() else {
        return Err(NativeError(format!("wanted a matrix, got {:?}", x.shape())));
    };
    let slice = Op::Slice {
        start: vec![0, 0],
        stop: vec![rows - 1, columns],
        strides: vec![1, 1],
    };
    let shape = [lead, &[columns]].concat();
    one(
        &Op::Reshape { shape },
        &[&one(&slice, &[x], stream)?],
        stream,
    )
}
