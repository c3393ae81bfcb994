//! Sums, greatest and least elements over axes that lie side by side.

use mlx_kernels::{ReduceShape, Reduction};

use super::layout::{input, output, said, size};
use super::{Stored, by_dtype, is_stored};
use crate::ffi::host::{HostInput, HostOutput, Layout};

/// Fewer elements are not worth the call.
const FEW: usize = 1024;

pub(super) fn accepts(axes: &[usize], inputs: &[Layout<'_>]) -> bool {
    let &[x] = inputs else {
        return false;
    };
    x.size() >= FEW
        && is_stored(x.dtype())
        && x.is_row_contiguous()
        && shape_of(axes, x.shape()).is_some()
}

/// The array as `[outer, reduced, inner]`, if the axes are neighbours.
fn shape_of(axes: &[usize], shape: &[i32]) -> Option<ReduceShape> {
    let (first, last) = (*axes.iter().min()?, *axes.iter().max()?);
    let sizes: Vec<usize> = shape.iter().map(|&axis| size(axis)).collect();
    let is_run = (first..=last).all(|axis| axes.contains(&axis) || sizes.get(axis) == Some(&1));
    (is_run && last < sizes.len()).then(|| ReduceShape {
        outer: sizes[..first].iter().product(),
        reduced: sizes[first..=last].iter().product(),
        inner: sizes[last + 1..].iter().product(),
    })
}

pub(super) fn run(
    kind: Reduction,
    axes: &[usize],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(
        kind: Reduction,
        shape: ReduceShape,
        x: &HostInput<'_>,
        out: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        mlx_kernels::reduce(kind, shape, &x.in_rows::<T>()?, out.as_mut_slice::<T>()?).map_err(said)
    }
    let x = input(inputs, 0)?;
    let shape = shape_of(axes, x.shape()).ok_or("wanted neighbouring axes")?;
    by_dtype!(x.dtype(), typed(kind, shape, x, output(outputs, 0)?))
}
