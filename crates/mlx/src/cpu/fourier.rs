//! Fourier transforms, and the complex numbers that go in and come out.

use mlx_kernels::{
    FftShape, complex_abs, complex_abs_in_place, complex_abs_to_complex, complex_to_real, fft,
    inverse_real_fft, real_fft, real_to_complex,
};

use super::layout::{error_text, input, output, size};
use crate::Dtype;
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;
use crate::shape::axis_index;

const BACKWARDS: &str = "wanted elements that go forwards";

pub(super) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (x, out) = (input(inputs, 0)?, output(outputs, 0)?);
    let (Op::Fftn { axes, .. }
    | Op::Ifftn { axes, .. }
    | Op::Rfftn { axes, .. }
    | Op::Irfftn { axes, .. }) = op
    else {
        return Err("has no kernel".to_owned());
    };
    let ndim = x.shape().len();
    let axes: Option<Vec<usize>> = axes.iter().map(|&axis| axis_index(axis, ndim)).collect();
    let axes = axes.ok_or("wanted axes of the array")?;
    // Of real numbers there are more.
    let shape = if matches!(op, Op::Irfftn { .. }) {
        out.shape()
    } else {
        x.shape()
    };
    let shape: Vec<usize> = shape.iter().map(|&n| size(n)).collect();
    let of = FftShape {
        shape: &shape,
        axes: &axes,
    };
    let strides = x.layout().strides().iter();
    let strides: Result<Vec<isize>, _> = strides.map(|&s| isize::try_from(s)).collect();
    let strides = strides.map_err(|_| "elements are too far apart")?;
    let x = x.as_floats()?.ok_or(BACKWARDS)?;
    let out = out.as_mut_floats()?;
    match op {
        Op::Rfftn { .. } => real_fft(of, x, &strides, out),
        Op::Irfftn { .. } => inverse_real_fft(of, x, &strides, out),
        _ => fft(of, matches!(op, Op::Ifftn { .. }), x, &strides, out),
    }
    .map_err(error_text)
}

/// Magnitudes, as complex numbers where MLX wants these.
pub(super) fn abs(inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> Result<(), String> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    if x.is_in_output() {
        complex_abs_in_place(out.as_mut_floats()?);
        return Ok(());
    }
    let x = x.as_floats()?.ok_or(BACKWARDS)?;
    let abs = if out.dtype() == Dtype::Complex64 {
        complex_abs_to_complex
    } else {
        complex_abs
    };
    abs(x, out.as_mut_floats()?).map_err(error_text)
}

/// Complex numbers of real ones.
pub(super) fn from_real(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let x = input(inputs, 0)?.as_floats()?.ok_or(BACKWARDS)?;
    real_to_complex(x, output(outputs, 0)?.as_mut_floats()?).map_err(error_text)
}

/// The real parts of complex numbers.
pub(super) fn to_real(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let x = input(inputs, 0)?.as_floats()?.ok_or(BACKWARDS)?;
    complex_to_real(x, output(outputs, 0)?.as_mut_floats()?).map_err(error_text)
}
