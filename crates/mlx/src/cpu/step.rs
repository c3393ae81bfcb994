//! Which operations can be steps of a sequence: views, writes into part of an array, and those that kernels compute.

use mlx_kernels::Unary;

use super::attention::Asked;
use super::layout::{input, output, size};
use super::sequence::{Placed, accepts};
use super::{Kernel, is_stored};
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::{MaskMode, Op, OpFlags, QuantizationMode};
use crate::shape::{axis_index as axis_of, is_row_major, row_major_strides};
use crate::{ArrayType, Dtype};

/// Whether a view keeps the elements in their order, in another shape.
pub(super) fn reshapes(op: &Op) -> bool {
    op.flags().contains(OpFlags::KEEPS_ORDER)
}

/// Returns the input seen as the operation says; `None` if it must be made row-contiguous first.
pub(super) fn view(op: &Op, input: &Placed, output: &ArrayType) -> Option<Placed> {
    let ndim = input.array_type.shape.len();
    let permuted = |axes: &[usize]| {
        let strides = axes.iter().map(|&axis| input.strides.get(axis).copied());
        Some(Placed {
            strides: strides.collect::<Option<_>>()?,
            array_type: output.clone(),
            ..input.clone()
        })
    };
    match op {
        Op::StopGradient => Some(input.clone()),
        Op::Transpose { axes } => {
            let axes: Option<Vec<usize>> =
                axes.iter().map(|&number| axis_of(number, ndim)).collect();
            permuted(&axes?)
        }
        Op::Swapaxes { axis1, axis2 } => {
            let mut axes: Vec<usize> = (0..ndim).collect();
            axes.swap(axis_of(*axis1, ndim)?, axis_of(*axis2, ndim)?);
            permuted(&axes)
        }
        Op::Moveaxis {
            source,
            destination,
        } => {
            let mut axes: Vec<usize> = (0..ndim).collect();
            let moved = axes.remove(axis_of(*source, ndim)?);
            axes.insert(axis_of(*destination, ndim)?, moved);
            permuted(&axes)
        }
        Op::BroadcastTo { .. } => broadcast(input, &output.shape),
        Op::Slice { start, strides, .. } => {
            let mut sliced = input.clone();
            for (axis, stride) in sliced.strides.iter_mut().enumerate() {
                let (&first, &step) = (start.get(axis)?, strides.get(axis)?);
                let length = *input.array_type.shape.get(axis)?;
                // As Python counts: from the end below zero, and cut to the axis.
                let first = if first < 0 { first + length } else { first };
                let first = usize::try_from(first.clamp(0, length)).ok()?;
                if *output.shape.get(axis)? > 0 {
                    sliced.offset += first * usize::try_from(*stride).ok()?;
                }
                *stride *= i64::from(step);
            }
            sliced.array_type = output.clone();
            Some(sliced)
        }
        // The others keep the elements and their order.
        _ => Some(Placed {
            strides: reshaped(&input.array_type.shape, &input.strides, &output.shape)?,
            array_type: output.clone(),
            ..input.clone()
        }),
    }
}

/// The strides of the same elements in another shape; `None` if one stride is not enough for each axis.
fn reshaped(shape: &[i32], strides: &[i64], to: &[i32]) -> Option<Vec<i64>> {
    if to.contains(&0) || is_row_major(shape, strides) {
        return Some(row_major_strides(to));
    }
    // Axes joined to runs that one stride goes through: how many elements, and how far apart.
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for (&size, &stride) in shape.iter().zip(strides) {
        let size = i64::from(size);
        match runs.last_mut() {
            _ if size == 1 => {}
            Some((count, step)) if *step == stride * size => {
                (*count, *step) = (*count * size, stride)
            }
            _ => runs.push((size, stride)),
        }
    }
    // Each axis divides what is left of a run, from the last run on.
    let mut made = vec![1; to.len()];
    let mut run = (1, 1);
    for (made, &size) in made.iter_mut().zip(to).rev() {
        let size = i64::from(size);
        if run.0 == 1 && size > 1 {
            run = runs.pop()?;
        }
        *made = run.1;
        if run.0 % size != 0 {
            return None;
        }
        run = (run.0 / size, run.1 * size);
    }
    Some(made)
}

/// Repeats axes of one element without copying.
fn broadcast(input: &Placed, shape: &[i32]) -> Option<Placed> {
    let mut strides = vec![0; shape.len()];
    let lead = shape.len().checked_sub(input.strides.len())?;
    for (axis, (&size, &stride)) in input
        .array_type
        .shape
        .iter()
        .zip(&input.strides)
        .enumerate()
    {
        match size {
            1 => {}
            size if size == shape[lead + axis] => strides[lead + axis] = stride,
            _ => return None,
        }
    }
    Some(Placed {
        strides,
        array_type: ArrayType {
            shape: shape.to_vec(),
            dtype: input.array_type.dtype,
        },
        ..input.clone()
    })
}

/// Writes the elements of the input in row-major order.
pub(super) fn copy(inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> Result<(), String> {
    input(inputs, 0)?.copy_rows(output(outputs, 0)?.as_mut_bytes())
}

/// Whether an operation writes into part of its first input.
pub(super) fn is_write(op: &Op, inputs: &[Placed]) -> bool {
    Write::new(op, inputs).is_some()
}

/// Writing an update into part of an array that is already in the output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Write {
    /// Where the update starts, and the distances between its neighbours.
    start: Vec<usize>,
    strides: Vec<usize>,
    /// The axes on which the second input adds to the start.
    axes: Vec<usize>,
}

impl Write {
    /// Reads a write, and which inputs it has besides the array; `None` for other operations.
    pub(super) fn new(op: &Op, inputs: &[Placed]) -> Option<(Self, Vec<Placed>)> {
        let (target, rest) = inputs.split_first()?;
        let (update, ndim) = (rest.first()?, target.array_type.shape.len());
        let zeros = || vec![0; ndim];
        let count = |numbers: &[i32]| -> Option<Vec<usize>> {
            let sized = numbers.iter().map(|&number| usize::try_from(number).ok());
            sized.collect::<Option<Vec<_>>>()
        };
        // MLX repeats an update along axes on which it has one element.
        let mut wanted = target.array_type.shape.clone();
        let write = match op {
            Op::SliceUpdate {
                start,
                stop,
                strides,
            } => {
                let write = Self {
                    start: count(start)?,
                    strides: count(strides)?,
                    axes: Vec::new(),
                };
                for (axis, length) in wanted.iter_mut().enumerate() {
                    let (first, stop) = (*start.get(axis)?, *stop.get(axis)?);
                    let (first, end) = (i64::from(first), i64::from(stop));
                    let n = i64::from(*length);
                    let end = if end < 0 { end + n } else { end };
                    let stride = u64::try_from(*strides.get(axis)?).ok()?;
                    let covered = u64::try_from(end.min(n) - first).unwrap_or(0);
                    let count = (stride > 0).then(|| covered.div_ceil(stride))?;
                    *length = i32::try_from(count).ok()?;
                }
                write
            }
            Op::SliceUpdateDynamic { axes } => {
                let start = &rest.get(1)?.array_type;
                let axes: Option<Vec<usize>> =
                    axes.iter().map(|&number| axis_of(number, ndim)).collect();
                let axes = axes?;
                for &axis in &axes {
                    wanted[axis] = *update.array_type.shape.get(axis)?;
                }
                let fits =
                    start.dtype == Dtype::Int32 && start.shape == [i32::try_from(axes.len()).ok()?];
                fits.then_some(Self {
                    start: zeros(),
                    strides: vec![1; ndim],
                    axes,
                })?
            }
            _ => return None,
        };
        // Bytes of a truth value must be 0 or 1 at all times, also in memory that is being filled.
        let right = update.array_type.dtype == target.array_type.dtype
            && target.array_type.dtype != Dtype::Bool
            && update.array_type.shape.len() == ndim
            && write.start.len() == ndim
            && write.strides.len() == ndim
            && ndim > 0
            && write.strides.iter().all(|&stride| stride > 0);
        right.then_some(())?;
        let mut rest = rest.to_vec();
        rest[0] = broadcast(&rest[0], &wanted)?;
        Some((write, rest))
    }

    pub(super) fn run(
        &self,
        inputs: &[HostInput<'_>],
        outputs: &mut [HostOutput<'_>],
    ) -> Result<(), String> {
        let update = input(inputs, 0)?;
        let shape: Vec<usize> = update.shape().iter().map(|&n| size(n)).collect();
        let mut start = self.start.clone();
        if !self.axes.is_empty() {
            let given = input(inputs, 1)?.in_rows::<i32>()?;
            for (&axis, &at) in self.axes.iter().zip(given.iter()) {
                start[axis] = usize::try_from(at)
                    .map_err(|_| format!("wanted a start from 0 up on axis {axis}, got {at}"))?;
            }
        }
        // A part without elements may begin beyond the end.
        if update.layout().size() == 0 && self.axes.is_empty() {
            return Ok(());
        }
        let target = output(outputs, 0)?;
        let sizes: Vec<usize> = target.shape().iter().map(|&n| size(n)).collect();
        for (axis, &length) in sizes.iter().enumerate() {
            let last =
                shape[axis].saturating_sub(1) * self.strides[axis] + usize::from(shape[axis] > 0);
            let end = start[axis].checked_add(last);
            if end.is_none_or(|end| end > length) {
                let most = length.saturating_sub(last);
                return Err(format!(
                    "wanted a start of at most {most} on axis {axis}, got {}",
                    start[axis]
                ));
            }
        }
        let itemsize = target.dtype().size();
        let from = update.bytes_in_rows()?;
        let (Some(&row), Some(&step)) = (shape.last(), self.strides.last()) else {
            return Err("wanted at least one axis, got none".to_owned());
        };
        if from.is_empty() {
            return Ok(());
        }
        let to = target.as_mut_bytes();
        let mut index = vec![0; shape.len() - 1];
        for from in from.chunks_exact(row * itemsize) {
            let mut at = 0;
            for (axis, &length) in sizes.iter().enumerate() {
                let inner = index
                    .get(axis)
                    .map_or(0, |index| index * self.strides[axis]);
                at = at * length + start[axis] + inner;
            }
            if step == 1 {
                to[at * itemsize..][..from.len()].copy_from_slice(from);
            } else {
                for (number, from) in from.chunks_exact(itemsize).enumerate() {
                    to[(at + number * step) * itemsize..][..itemsize].copy_from_slice(from);
                }
            }
            for (axis, index) in index.iter_mut().enumerate().rev() {
                *index += 1;
                if *index < shape[axis] {
                    break;
                }
                *index = 0;
            }
        }
        Ok(())
    }
}

/// Returns the kernel of an operation, and what it reads; `None` if there is none for such inputs.
///
/// The conditions are those under which the native library makes these kernels (`native/cpu_fast.cpp`).
pub(super) fn kernel(
    op: &Op,
    inputs: &[Placed],
    output: &ArrayType,
) -> Option<(Kernel, Vec<Placed>)> {
    let first = inputs.first()?;
    let dtype = first.array_type.dtype;
    let all_alike = inputs.iter().all(|input| input.array_type.dtype == dtype);
    let is_full = inputs
        .iter()
        .all(|input| !input.array_type.shape.contains(&0));
    if !is_full || output.shape.contains(&0) || !is_stored(dtype) {
        return None;
    }
    let last = first.array_type.shape.last().copied();
    // A vector for the last axis.
    let fits = |vector: &Placed| {
        Some(vector.array_type.shape.as_slice()) == last.as_ref().map(std::slice::from_ref)
    };
    let plain = |kernel| Some((kernel, inputs.to_vec()));
    let made = match op {
        Op::RmsNorm { eps } if all_alike && inputs[1..].iter().all(fits) => {
            plain(Kernel::RmsNorm { eps: *eps })
        }
        Op::LayerNorm { weight, bias, eps } if all_alike && inputs[1..].iter().all(fits) => {
            plain(Kernel::LayerNorm {
                has_weight: *weight,
                has_bias: *bias,
                eps: *eps,
            })
        }
        Op::Rope {
            dims,
            traditional,
            base,
            scale,
            freqs,
        } => {
            let (offset, shape) = (&inputs.get(1)?.array_type, &first.array_type.shape);
            let half = inputs.get(2).map(|given| &given.array_type);
            let right = shape.len() >= 3
                && *dims > 0
                && dims % 2 == 0
                && Some(*dims) <= last
                && base.is_some() != *freqs
                && *freqs == half.is_some()
                && half.is_none_or(|half| half.dtype == Dtype::Float32 && half.shape == [dims / 2])
                && offset.dtype == Dtype::Int32
                && (offset.shape.is_empty() || offset.shape == [1] || offset.shape == shape[..1]);
            right.then_some(())?;
            plain(Kernel::Rope {
                dims: size(*dims),
                is_traditional: *traditional,
                has_frequencies: *freqs,
                base: base.unwrap_or(0.0),
                scale: *scale,
            })
        }
        Op::ScaledDotProductAttention {
            scale, mask, sinks, ..
        } => attention(*scale, *mask, *sinks, inputs),
        Op::Gelu => plain(Kernel::Unary(Unary::Gelu)),
        Op::GeluApprox => plain(Kernel::Unary(Unary::GeluTanh)),
        Op::Silu => plain(Kernel::Unary(Unary::Silu)),
        Op::SwiGlu if all_alike && inputs.get(1)?.array_type == first.array_type => {
            plain(Kernel::SwiGlu)
        }
        Op::Softmax { axes, .. } => {
            let ndim = first.array_type.shape.len();
            let &[only] = axes.as_slice() else {
                return None;
            };
            (axis_of(only, ndim)? + 1 == ndim).then_some(())?;
            plain(Kernel::Softmax)
        }
        Op::Linear => {
            let weight = &inputs.get(1)?.array_type;
            let is_half = matches!(weight.dtype, Dtype::Float16 | Dtype::Bfloat16);
            let &[_, k] = weight.shape.as_slice() else {
                return None;
            };
            let vectors = super::layout::rows(&first.array_type.shape).rows;
            (dtype == Dtype::Float32 && is_half && Some(k) == last && vectors <= MOST_VECTORS)
                .then_some(())?;
            plain(Kernel::Linear)
        }
        Op::Matmul if all_alike && first.array_type.shape.len() >= 2 => plain(Kernel::Matmul),
        Op::Addmm { alpha, beta } if all_alike => {
            let [c, a, b] = inputs else {
                return None;
            };
            let kernel = Kernel::Addmm {
                alpha: *alpha,
                beta: *beta,
            };
            Some((
                kernel,
                vec![a.clone(), b.clone(), broadcast(c, &output.shape)?],
            ))
        }
        Op::QuantizedMatmul {
            transpose: true,
            group_size,
            bits,
            mode: QuantizationMode::Affine,
        } if inputs.len() == 4 => plain(Kernel::QuantizedMatmul {
            group_size: usize::try_from(*group_size).ok()?,
            bits: usize::try_from(*bits).ok()?,
            is_transposed: true,
        }),
        _ => None,
    };
    let (kernel, reads) = made?;
    (accepts(&kernel, &reads, output) && output.dtype == dtype).then_some((kernel, reads))
}

/// As in `native/cpu_fast.cpp`: more are worth a cast and a BLAS.
const MOST_VECTORS: usize = 8;

fn attention(
    scale: f32,
    mask: MaskMode,
    sinks: bool,
    inputs: &[Placed],
) -> Option<(Kernel, Vec<Placed>)> {
    let [q, k, v, ..] = inputs else {
        return None;
    };
    let shape = |placed: &Placed| <[i32; 4]>::try_from(placed.array_type.shape.as_slice()).ok();
    let (queries, keys, values) = (shape(q)?, shape(k)?, shape(v)?);
    let dtype = q.array_type.dtype;
    let right = queries[0] == keys[0]
        && queries[0] == values[0]
        && queries[3] == keys[3]
        && keys[1] == values[1]
        && keys[2] == values[2]
        && queries[1] % keys[1] == 0
        && k.array_type.dtype == dtype
        && v.array_type.dtype == dtype
        && inputs.len() == 3 + usize::from(mask.has_array()) + usize::from(sinks);
    right.then_some(())?;
    let mut reads = inputs.to_vec();
    if mask.has_array() {
        let given = &mut reads[3];
        if !matches!(given.array_type.dtype, Dtype::Bool) && given.array_type.dtype != dtype {
            return None;
        }
        *given = broadcast(given, &[queries[0], queries[1], queries[2], keys[2]])?;
    }
    if sinks {
        let given = &reads.last()?.array_type;
        (given.dtype == Dtype::Float32 && given.shape == [queries[1]]).then_some(())?;
    }
    let asked = Asked {
        mask: match mask {
            MaskMode::None => 0,
            MaskMode::Causal => 1,
            MaskMode::Array => 2,
        },
        has_sinks: sinks,
        scale,
    };
    Some((Kernel::Attention(asked), reads))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// What NumPy's `reshape` gives without a copy.
    #[rstest]
    #[case::rows(&[2, 3, 4], &[12, 4, 1], &[6, 4], Some(vec![4, 1]))]
    #[case::gaps_between_rows(&[6, 4], &[8, 1], &[2, 3, 2, 2], Some(vec![24, 8, 2, 1]))]
    #[case::gaps_are_not_joined(&[6, 4], &[8, 1], &[24], None)]
    #[case::across_a_gap(&[6, 4], &[8, 1], &[3, 8], None)]
    #[case::transposed(&[4, 6], &[1, 4], &[2, 2, 3, 2], Some(vec![2, 1, 8, 4]))]
    #[case::transposed_joined(&[4, 6], &[1, 4], &[24], None)]
    #[case::heads(&[3, 1, 8, 5, 2], &[16, 240, 2, 48, 1], &[3, 8, 5, 2], Some(vec![16, 2, 48, 1]))]
    #[case::repeated(&[4, 6], &[0, 0], &[8, 3], Some(vec![0, 0]))]
    #[case::odd_division(&[6, 4], &[8, 1], &[4, 6], None)]
    fn a_shape_is_a_view_where_one_stride_goes_through(
        #[case] shape: &[i32],
        #[case] strides: &[i64],
        #[case] to: &[i32],
        #[case] wanted: Option<Vec<i64>>,
    ) {
        assert_eq!(reshaped(shape, strides, to), wanted);
    }
}
