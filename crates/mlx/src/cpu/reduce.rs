//! Sums, maxima and minima over neighbouring axes.

use mlx_kernels::{ReduceShape, Reduction};

use super::layout::{error_text, input, output, size};
use super::{Stored, by_dtype};
use crate::ffi::host::{HostInput, HostOutput};
use crate::shape::axis_index;

/// The array as `[outer, reduced, inner]`, if the axes are neighbours.
pub(super) fn shape_of(axes: &[i32], shape: &[i32]) -> Option<ReduceShape> {
    let axes = axes.iter().map(|&axis| axis_index(axis, shape.len()));
    let axes: Vec<usize> = axes.collect::<Option<_>>()?;
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
    axes: &[i32],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(
        kind: Reduction,
        shape: ReduceShape,
        x: &HostInput<'_>,
        out: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        mlx_kernels::reduce(
            kind,
            shape,
            &x.to_contiguous::<T>()?,
            out.as_mut_slice::<T>()?,
        )
        .map_err(error_text)
    }
    let x = input(inputs, 0)?;
    let shape = shape_of(axes, x.shape()).ok_or("wanted neighbouring axes")?;
    by_dtype!(x.dtype(), typed(kind, shape, x, output(outputs, 0)?))
}
