//! Which operations the kernels compute, of which dtypes, shapes and strides: every condition, in one place.
//!
//! Three callers ask. [`prepare`]: a fused operation is being applied, and strides are not known. [`supports`]: one of
//! MLX's own operations is being evaluated (`native/vtable_hook.cpp`), or an operation is planned as an instruction of a
//! program. [`is_instruction`]: which operations may be that at all.

mod data;
mod elementwise;
mod linalg;

use super::layout::{rows, size};
use crate::Dtype;
use crate::ffi::cpu::{MAX_INPUTS, Prepared};
use crate::ffi::host::Layout;
use crate::op::{MaskMode, Op, QuantizationMode};
use crate::shape::axis_index;
use products::{conv, matmul};

/// Fewer elements are not worth the call.
const MIN_ELEMENTS: usize = 32;
/// The same for functions that MLX's own loops compute in an instruction.
const MIN_ELEMENTS_SIMPLE: usize = 4096;
/// More vectors than this are worth a cast of half-precision weights and a BLAS.
const MAX_VECTORS_LINEAR: usize = 8;

/// Whom kernels compute beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// MLX, whose own code computes what a kernel would not compute faster.
    Mlx,
    /// Nothing: kernels compute all they can.
    Nothing,
}

impl Beside {
    /// The number of elements that are worth a call.
    fn least(self, elements: usize) -> usize {
        match self {
            Self::Mlx => elements,
            Self::Nothing => 0,
        }
    }
}

/// Returns whether a kernel computes an operation of these inputs, and faster than MLX does.
///
/// Of a fused operation: without casts and broadcasts, which [`prepare`] tells.
pub(crate) fn supports(op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    is_computed(Beside::Mlx, op, inputs, output)
}

/// Returns whether a kernel computes an operation of these inputs, however fast.
pub(super) fn computes(op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    is_computed(Beside::Nothing, op, inputs, output)
}

fn is_computed(beside: Beside, op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    if output.size() == 0 || inputs.iter().any(|input| input.size() == 0) {
        return false;
    }
    if let Some(answer) = order::supports(beside, op, inputs, output) {
        return answer;
    }
    if !is_fused(op)
        && let Some(is_supported) = elementwise::supports(beside, op, inputs, output)
    {
        return is_supported;
    }
    match op {
        Op::Softmax { axes, .. } => {
            matches!(inputs, [x] if is_stored(x.dtype()) && is_last_axis(axes, *x))
        }
        // MLX's own, in double, rounds once; the kernel sums in `float32`.
        Op::Logsumexp { axes, .. } => {
            matches!(inputs, [x] if x.dtype() == Dtype::Float32 && is_last_axis(axes, *x))
        }
        Op::Matmul => matches!(inputs, &[a, b] if matmul(beside, a, b, output)),
        Op::Addmm { .. } => {
            matches!(inputs, &[c, a, b] if c.dtype() == output.dtype()
                && c.size() == output.size()
                && matmul(beside, a, b, output))
        }
        Op::QuantizedMatmul {
            transpose: true,
            group_size,
            bits,
            mode: QuantizationMode::Affine,
        } => quantized(*group_size, *bits, inputs, output),
        Op::Conv { .. } => conv(op, inputs, output),
        _ if data::is_of(op) => data::supports(beside, op, inputs, output),
        _ if linalg::is_of(op) => linalg::supports(op, inputs, output),
        _ => prepare(op, inputs).is_some_and(|prepared| {
            let wanted = prepared.dtypes.iter();
            let same = |(input, wanted): (&Layout<'_>, &Dtype)| input.dtype() == *wanted;
            inputs.iter().zip(wanted).all(same) && prepared.output_dtype == output.dtype()
        }),
    }
}

/// Returns how a kernel takes the inputs of a fused operation, of which only the types are known; `None` if no kernel
/// computes it.
pub(crate) fn prepare(op: &Op, inputs: &[Layout<'_>]) -> Option<Prepared> {
    let (&x, rest) = inputs.split_first()?;
    if inputs.iter().any(|input| input.size() == 0) {
        return None;
    }
    match op {
        Op::RmsNorm { .. } if inputs.len() <= 2 => norm(inputs, inputs),
        // As in MLX, a bias takes part in the promotion only beside a weight.
        Op::LayerNorm { weight, bias, .. }
            if inputs.len() == 1 + usize::from(*weight) + usize::from(*bias) =>
        {
            norm(inputs, if *weight { inputs } else { &inputs[..1] })
        }
        Op::Rope { .. } => rope(op, inputs),
        Op::ScaledDotProductAttention { mask, sinks, .. } => attention(*mask, *sinks, inputs),
        Op::CrossEntropy => {
            let &[targets] = rest else {
                return None;
            };
            let (_, outer) = x.shape().split_last()?;
            let fits = targets.shape() == outer && targets.dtype().is_integer();
            (fits && is_stored(x.dtype())).then(|| Prepared {
                output_like: 1,
                n_gradients: 1,
                batched_inputs: 0b11,
                ..prepared([Dtype::Float32, Dtype::Int64], Dtype::Float32)
            })
        }
        Op::Gelu | Op::GeluApprox | Op::Silu => {
            (rest.is_empty() && is_stored(x.dtype())).then(|| Prepared {
                n_gradients: gradients(x.dtype(), 1),
                batched_inputs: 0b1,
                ..prepared([x.dtype()], x.dtype())
            })
        }
        Op::SwiGlu => {
            let &[other] = rest else {
                return None;
            };
            let alike = other.dtype() == x.dtype() && other.shape() == x.shape();
            (alike && is_stored(x.dtype())).then(|| Prepared {
                n_gradients: gradients(x.dtype(), 2),
                batched_inputs: 0b11,
                ..prepared([x.dtype(); 2], x.dtype())
            })
        }
        Op::Linear => {
            let &[weight] = rest else {
                return None;
            };
            let &[n, k] = weight.shape() else {
                return None;
            };
            let is_half = matches!(weight.dtype(), Dtype::Float16 | Dtype::Bfloat16);
            let fits = x.shape().last() == Some(&k) && rows(x.shape()).rows <= MAX_VECTORS_LINEAR;
            (x.dtype() == Dtype::Float32 && is_half && fits).then(|| Prepared {
                output_last: Some(n),
                batched_inputs: 0b1,
                ..prepared([Dtype::Float32, weight.dtype()], Dtype::Float32)
            })
        }
        _ => None,
    }
}

/// Returns which input of an operation a kernel wants broadcast, and to what shape, when it is an instruction of a program:
/// where MLX makes a view of it before its own kernel is called.
pub(crate) fn broadcast_input(
    op: &Op,
    inputs: &[Layout<'_>],
    output: &[i32],
) -> Option<(usize, Vec<i32>)> {
    match op {
        Op::Addmm { .. } => Some((0, output.to_vec())),
        _ => prepare(op, inputs)?
            .broadcast
            .map(|(input, shape)| (input, shape.to_vec())),
    }
}

/// Returns whether an operation may be an instruction of a program; [`supports`] says of which inputs.
///
/// Elementwise operations are instructions of their own kind. Reductions and convolutions stay outside: their arrays are
/// large, and a program with too much memory is not made at all. So does cross entropy, whose targets may be an error.
pub(crate) fn is_instruction(op: &Op) -> bool {
    matches!(
        op,
        Op::RmsNorm { .. }
            | Op::LayerNorm { .. }
            | Op::Rope { .. }
            | Op::ScaledDotProductAttention { .. }
            | Op::Gelu
            | Op::GeluApprox
            | Op::Silu
            | Op::SwiGlu
            | Op::Softmax { .. }
            | Op::Linear
            | Op::Matmul
            | Op::Addmm { .. }
            | Op::QuantizedMatmul { .. }
    )
}

/// Whether kernels store this dtype.
pub(super) fn is_stored(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16)
}

/// The dtype that MLX promotes these to, if kernels store it: integers give way to floating dtypes.
fn promoted(inputs: &[Layout<'_>]) -> Option<Dtype> {
    let mut result = None;
    for dtype in inputs.iter().map(|input| input.dtype()) {
        result = match (result, dtype) {
            (_, Dtype::Float64 | Dtype::Complex64) => return None,
            (None, dtype) if is_stored(dtype) => Some(dtype),
            (Some(before), dtype) if is_stored(dtype) && before != dtype => Some(Dtype::Float32),
            (before, _) => before,
        };
    }
    result
}

/// Inputs cast to these dtypes, and an output like the first one.
fn prepared<const N: usize>(dtypes: [Dtype; N], output_dtype: Dtype) -> Prepared {
    let mut all = [Dtype::Float32; MAX_INPUTS];
    all[..N].copy_from_slice(&dtypes);
    Prepared {
        dtypes: all,
        broadcast: None,
        output_dtype,
        output_like: 0,
        output_last: None,
        n_gradients: 0,
        batched_inputs: 0,
    }
}

/// Whether these axes are the last one.
fn is_last_axis(axes: &[i32], x: Layout<'_>) -> bool {
    let ndim = x.shape().len();
    matches!(axes, &[axis] if axis_index(axis, ndim).is_some_and(|axis| axis + 1 == ndim))
}

/// Whether an operation is fused, so that [`prepare`] knows of it.
fn is_fused(op: &Op) -> bool {
    matches!(op, Op::Gelu | Op::GeluApprox | Op::Silu | Op::SwiGlu)
}

fn quantized(group_size: i32, bits: i32, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    let &[x, weights, scales, biases] = inputs else {
        return false;
    };
    let dtype = x.dtype();
    matches!(bits, 2 | 3 | 4 | 6 | 8)
        && matches!(group_size, 32 | 64 | 128)
        && is_stored(dtype)
        && [scales.dtype(), biases.dtype(), output.dtype()] == [dtype; 3]
        && [weights, scales, biases]
            .iter()
            .all(|part| part.shape().len() == 2)
}

/// `x`, and vectors of the length of its last axis.
fn norm(inputs: &[Layout<'_>], promoting: &[Layout<'_>]) -> Option<Prepared> {
    let (x, vectors) = inputs.split_first()?;
    let last = x.shape().last()?;
    let fits = |vector: &Layout<'_>| vector.shape() == std::slice::from_ref(last);
    let dtype = promoted(promoting)?;
    vectors.iter().all(fits).then(|| Prepared {
        n_gradients: gradients(dtype, inputs.len()),
        batched_inputs: 0b1,
        ..prepared([dtype; 3], dtype)
    })
}

/// Gradients of this many inputs; those kernels compute in `float32` only.
fn gradients(dtype: Dtype, n_inputs: usize) -> usize {
    if dtype == Dtype::Float32 { n_inputs } else { 0 }
}

fn rope(op: &Op, inputs: &[Layout<'_>]) -> Option<Prepared> {
    let &Op::Rope {
        dims, base, freqs, ..
    } = op
    else {
        return None;
    };
    let (&[x, offset], given) = inputs.split_first_chunk()?;
    let &[batch, .., dim] = x.shape() else {
        return None;
    };
    let fits_freqs = match given {
        [] => !freqs,
        [given] => freqs && given.shape() == [dims / 2],
        _ => false,
    };
    let fits_offset = offset.shape().len() <= 1
        && (offset.size() == 1 || offset.size() == size(batch))
        && offset.dtype().is_integer();
    let fits_x = x.shape().len() >= 3 && dims > 0 && dims % 2 == 0 && dims <= dim;
    let fits = fits_freqs && fits_offset && fits_x && base.is_some() != freqs;
    (fits && is_stored(x.dtype()))
        .then(|| prepared([x.dtype(), Dtype::Int32, Dtype::Float32], x.dtype()))
}

fn attention(mask: MaskMode, sinks: bool, inputs: &[Layout<'_>]) -> Option<Prepared> {
    let (&[q, k, v], rest) = inputs.split_first_chunk()?;
    let shape = |x: Layout<'_>| <[i32; 4]>::try_from(x.shape()).ok();
    let (queries, keys, values) = (shape(q)?, shape(k)?, shape(v)?);
    let dtype = promoted(&inputs[..3])?;
    let fits = queries[0] == keys[0]
        && queries[0] == values[0]
        && queries[3] == keys[3]
        && keys[1] == values[1]
        && keys[2] == values[2]
        && queries[1] % keys[1] == 0
        && rest.len() == usize::from(mask.has_array()) + usize::from(sinks);
    if !fits {
        return None;
    }
    let mut dtypes = [dtype; MAX_INPUTS];
    let mut broadcast = None;
    if mask.has_array() {
        let given = rest[0];
        let to = [queries[0], queries[1], queries[2], keys[2]];
        let is_mask = given.dtype() == Dtype::Bool || given.dtype() == dtype;
        if !is_mask || !broadcasts(given.shape(), &to) {
            return None;
        }
        dtypes[3] = given.dtype();
        broadcast = Some((3, to));
    }
    if sinks {
        let at = inputs.len() - 1;
        if inputs[at].shape() != [queries[1]] {
            return None;
        }
        dtypes[at] = Dtype::Float32;
    }
    Some(Prepared {
        broadcast,
        output_last: Some(values[3]),
        n_gradients: gradients(dtype, 3),
        ..prepared(dtypes, dtype)
    })
}

/// Whether an array of this shape broadcasts to another.
fn broadcasts(from: &[i32], to: &[i32]) -> bool {
    let fits = |(from, to): (&i32, &i32)| *from == 1 || from == to;
    from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(fits)
}

mod order;
mod products;
#[cfg(test)]
mod tests;
