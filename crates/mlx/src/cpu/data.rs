//! Operations that move elements: copies, joined and padded arrays, gathers, updates of slices.

use mlx_kernels::{Combine, IndexedSlices, SliceTarget};

use super::by_type::element_type;
use super::layout::{error_text, input, output, size};
use crate::ffi::host::{HostInput, HostOutput, HostStrided};
use crate::shape::axis_index;

fn sizes(shape: &[i32]) -> Vec<usize> {
    shape.iter().map(|&n| size(n)).collect()
}

fn axis_of(axis: i32, ndim: usize) -> Result<usize, String> {
    axis_index(axis, ndim).ok_or_else(|| format!("wanted one of {ndim} axes, got {axis}"))
}

/// Elements in row-major order.
pub(super) fn copy(inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> Result<(), String> {
    input(inputs, 0)?.copy_contiguous(output(outputs, 0)?.as_mut_bytes())
}

pub(super) fn concatenate(
    axis: i32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let axis = axis_of(axis, input(inputs, 0)?.shape().len())?;
    let parts: Vec<_> = inputs
        .iter()
        .map(HostInput::strided)
        .collect::<Result<_, _>>()?;
    let parts: Vec<_> = parts.iter().map(|part| part.values()).collect();
    mlx_kernels::concatenate_values(&parts, axis, output(outputs, 0)?.as_mut_bytes())
        .map_err(error_text)
}

/// A value around an array: `low` elements before it along each of `axes`.
pub(super) fn pad(
    axes: &[i32],
    low: &[i32],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (x, value) = (input(inputs, 0)?, input(inputs, 1)?.strided()?);
    let mut before = vec![0; x.shape().len()];
    for (&axis, &low) in axes.iter().zip(low) {
        before[axis_of(axis, x.shape().len())?] += size(low);
    }
    let (x, out) = (x.strided()?, output(outputs, 0)?);
    let shape = sizes(out.shape());
    mlx_kernels::pad_values(
        &x.values(),
        &before,
        &value.values(),
        &shape,
        out.as_mut_bytes(),
    )
    .map_err(error_text)
}

/// Slices of these sizes, at the indices along `axes`.
pub(super) fn gather(
    axes: &[i32],
    slice_sizes: &[i32],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (x, lists) = inputs.split_first().ok_or("wanted an array")?;
    let views: Vec<_> = lists
        .iter()
        .map(HostInput::strided)
        .collect::<Result<_, _>>()?;
    let mut indices = Vec::with_capacity(axes.len());
    for ((&axis, list), view) in axes.iter().zip(lists).zip(&views) {
        let axis = axis_of(axis, x.shape().len())?;
        indices.push((axis, element_type(list.dtype()), view.values()));
    }
    let (x, out) = (x.strided()?, output(outputs, 0)?.as_mut_bytes());
    mlx_kernels::gather_values(&x.values(), &indices, &sizes(slice_sizes), out).map_err(error_text)
}

pub(super) fn take_along_axis(
    axis: i32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (x, indices) = (input(inputs, 0)?, input(inputs, 1)?);
    let axis = axis_of(axis, x.shape().len())?;
    let of = element_type(indices.dtype());
    let (x, indices) = (x.strided()?, indices.strided()?);
    let out = output(outputs, 0)?.as_mut_bytes();
    mlx_kernels::take_along_values(&x.values(), (of, &indices.values()), axis, out)
        .map_err(error_text)
}

/// An update of the slice that starts at `start`, with elements `steps` apart.
pub(super) fn slice_update(
    how: Combine,
    start: &[i32],
    steps: &[i32],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (x, update) = (input(inputs, 0)?, input(inputs, 1)?.strided()?);
    let x = outside_of_output(x)?;
    let x = x.as_ref().map(|x| x.values());
    let out = output(outputs, 0)?;
    let (shape, start) = (sizes(out.shape()), sizes(start));
    let steps: Vec<isize> = steps.iter().map(|&step| step as isize).collect();
    let target = SliceTarget {
        shape: &shape,
        start: &start,
        steps: &steps,
    };
    let of = element_type(out.dtype());
    mlx_kernels::update_values(
        how,
        of,
        x.as_ref(),
        &update.values(),
        target,
        out.as_mut_bytes(),
    )
    .map_err(error_text)
}

/// The elements of an array to be updated, unless the output has them already: then nothing else may read them.
fn outside_of_output<'a>(x: &HostInput<'a>) -> Result<Option<HostStrided<'a>>, String> {
    if x.is_in_output() {
        return Ok(None);
    }
    x.strided().map(Some)
}

/// Updates of the slices that start at the indices along `axes`: inputs are the array, the updates and the indices.
pub(super) fn scatter(
    how: Combine,
    axes: &[i32],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (x, updates) = (input(inputs, 0)?, input(inputs, 1)?.strided()?);
    let lists = inputs.get(2..).unwrap_or(&[]);
    let views: Vec<_> = lists
        .iter()
        .map(HostInput::strided)
        .collect::<Result<_, _>>()?;
    let out = output(outputs, 0)?;
    let shape = sizes(out.shape());
    let mut indices = Vec::with_capacity(axes.len());
    for ((&axis, list), view) in axes.iter().zip(lists).zip(&views) {
        let axis = axis_of(axis, shape.len())?;
        indices.push((axis, element_type(list.dtype()), view.values()));
    }
    let updates = updates.values();
    let slices = IndexedSlices {
        shape: &shape,
        indices: &indices,
        sizes: updates
            .shape
            .get(updates.shape.len().saturating_sub(shape.len())..)
            .unwrap_or(&[]),
    };
    let x = outside_of_output(x)?;
    let x = x.as_ref().map(|x| x.values());
    let of = element_type(out.dtype());
    let out = out.as_mut_bytes();
    mlx_kernels::scatter_values(how, of, x.as_ref(), slices, &updates, out).map_err(error_text)
}

/// Updates of the elements that indices name along an axis: inputs are the array, the indices and the updates.
pub(super) fn scatter_axis(
    how: Combine,
    axis: i32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (x, indices, updates) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let index_type = element_type(indices.dtype());
    let (indices, updates) = (indices.strided()?, updates.strided()?);
    let out = output(outputs, 0)?;
    let shape = sizes(out.shape());
    let axis = axis_of(axis, shape.len())?;
    let x = outside_of_output(x)?;
    let x = x.as_ref().map(|x| x.values());
    let of = element_type(out.dtype());
    mlx_kernels::scatter_along_values(
        how,
        of,
        x.as_ref(),
        axis,
        (index_type, &indices.values()),
        &updates.values(),
        (&shape, out.as_mut_bytes()),
    )
    .map_err(error_text)
}
