//! Inputs and outputs by their place, and shapes as rows.

use mlx_kernels::RowMajorShape;

use crate::ffi::host::{HostInput, HostOutput};

/// The input at `index`.
pub(super) fn input<'a, 'b>(
    inputs: &'a [HostInput<'b>],
    index: usize,
) -> Result<&'a HostInput<'b>, String> {
    inputs
        .get(index)
        .ok_or_else(|| format!("wanted input {index}, got {} inputs", inputs.len()))
}

/// The output at `index`.
pub(super) fn output<'a, 'b>(
    outputs: &'a mut [HostOutput<'b>],
    index: usize,
) -> Result<&'a mut HostOutput<'b>, String> {
    let n_outputs = outputs.len();
    outputs
        .get_mut(index)
        .ok_or_else(|| format!("wanted output {index}, got {n_outputs} outputs"))
}

/// A size of a shape.
#[allow(clippy::cast_sign_loss)]
pub(super) fn size(size: i32) -> usize {
    // MLX has no negative sizes.
    size.max(0) as usize
}

/// The rows along the last axis.
pub(super) fn rows(shape: &[i32]) -> RowMajorShape {
    let (dim, outer) = shape
        .split_last()
        .map_or((1, shape), |(&last, outer)| (size(last), outer));
    RowMajorShape {
        rows: outer.iter().map(|&axis| size(axis)).product(),
        dim,
    }
}

/// The text of an error of a kernel.
pub(super) fn error_text(error: mlx_kernels::Error) -> String {
    error.to_string()
}
