//! Sorting, selection, random bits, Fourier transforms and their complex numbers.

use super::Beside;
use crate::ffi::host::Layout;
use crate::op::Op;
use crate::shape::axis_index;
use crate::{Dtype, DtypeKind};

/// Fewer elements are MLX's own.
const MIN_SORTED: usize = 256;
/// The same for partitions, where the order of the sides is MLX's too.
const MIN_PARTITIONED: usize = 4096;
const MIN_TRANSFORMED: usize = 256;
const MIN_BITS: usize = 64;

/// Whether a kernel computes an operation of these; `None` when the operation is not of these.
pub(super) fn supports(
    beside: Beside,
    op: &Op,
    inputs: &[Layout<'_>],
    output: Layout<'_>,
) -> Option<bool> {
    let &[x] = inputs else {
        return None;
    };
    let is_ordered = |axis: &i32, least| {
        x.size() >= beside.least(least)
            && x.dtype() != Dtype::Complex64
            && axis_index(*axis, x.shape().len()).is_some()
    };
    Some(match op {
        Op::Sort { axis } | Op::Argsort { axis } => is_ordered(axis, MIN_SORTED),
        Op::Partition { axis, .. } | Op::Argpartition { axis, .. } => {
            is_ordered(axis, MIN_PARTITIONED)
        }
        Op::RandomBits { .. } => {
            output.size() >= beside.least(MIN_BITS)
                && x.dtype() == Dtype::Uint32
                && output.dtype().kind() == DtypeKind::Unsigned
        }
        Op::Fftn { axes, .. } | Op::Ifftn { axes, .. } => {
            let dtypes = [Dtype::Complex64; 2];
            transforms(beside, axes, x, output, dtypes)
        }
        Op::Rfftn { axes, .. } => {
            transforms(beside, axes, x, output, [Dtype::Float32, Dtype::Complex64])
        }
        Op::Irfftn { axes, .. } => {
            transforms(beside, axes, x, output, [Dtype::Complex64, Dtype::Float32])
        }
        // In single precision only: these are steps before and after a transform.
        Op::Abs if x.dtype() == Dtype::Complex64 => {
            // MLX computes the magnitudes of complex numbers as complex ones, of which it takes the real parts.
            x.size() >= beside.least(MIN_TRANSFORMED)
                && x.is_row_contiguous()
                && matches!(output.dtype(), Dtype::Float32 | Dtype::Complex64)
        }
        Op::Astype {
            dtype: Dtype::Float32,
        } if x.dtype() == Dtype::Complex64 => {
            x.size() >= beside.least(MIN_TRANSFORMED) && x.is_row_contiguous()
        }
        Op::Astype {
            dtype: Dtype::Complex64,
        } if x.dtype() == Dtype::Float32 => {
            x.size() >= beside.least(MIN_TRANSFORMED) && x.is_row_contiguous()
        }
        _ => return None,
    })
}

/// Single precision, on axes that are each named once.
fn transforms(
    beside: Beside,
    axes: &[i32],
    x: Layout<'_>,
    output: Layout<'_>,
    dtypes: [Dtype; 2],
) -> bool {
    let is_once = |(place, axis): (usize, &i32)| !axes[..place].contains(axis);
    output.size() >= beside.least(MIN_TRANSFORMED)
        && !axes.is_empty()
        && axes.iter().enumerate().all(is_once)
        && [x.dtype(), output.dtype()] == dtypes
        && x.strides().iter().all(|&stride| stride >= 0)
}
