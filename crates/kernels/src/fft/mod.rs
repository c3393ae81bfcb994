//! Discrete Fourier transforms over any axes: complex, of real numbers, and back to these.
//!
//! Formula: `X[k] = sum over j of x[j] * exp(-2 pi i j k / n)` along each axis in turn, with the other sign and divided by
//! the number of elements for the inverse. A transform of real numbers gives `n / 2 + 1` numbers along its last axis.
//! Blocking: along the last axis of the array, rows in place, in tasks of about 64 KiB. Along another one, blocks of columns
//! are copied to rows of a scratch array, transformed there, and copied back.
//! Limit: arithmetic for sizes whose rows fit the caches, otherwise memory. The transforms of single rows are those of the
//! crates `rustfft` and `realfft`, which choose the algorithm by the factors of the size and the processor's vector
//! instructions by themselves. Plans are cached.
//! Error: about `3e-7 * sqrt(log2 n)` of the root mean square of the result.

mod columns;
mod long;
mod pairs;
mod plan;
mod real;
mod rows;

use std::borrow::Cow;

use num_complex::Complex;

use crate::error::{Error, Result, length, product};
use crate::strided::copy_strided;
pub use pairs::{
    complex_abs, complex_abs_in_place, complex_abs_to_complex, complex_to_real, real_to_complex,
};
use plan::{complex_plan, inverse_real_plan, real_plan};

/// Which transform: sizes of the side that has the most numbers along the last of `axes`, and the axes, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct FftShape<'a> {
    /// The shape: of real numbers for a real transform, of either side for a complex one.
    pub shape: &'a [usize],
    /// The axes, each at most once. The last one is the one of a real transform.
    pub axes: &'a [usize],
}

/// A number with its neighbour: complex numbers are stored as pairs, the real part first.
const PAIR: usize = 2;

impl FftShape<'_> {
    fn check(&self, op: &'static str) -> Result<()> {
        let ndim = self.shape.len();
        for (place, &axis) in self.axes.iter().enumerate() {
            if axis >= ndim || self.axes[..place].contains(&axis) || self.shape[axis] == 0 {
                return Err(Error::Parameter {
                    op,
                    what: "axis",
                    wanted: "one of the shape that is not empty, named once",
                    got: axis,
                });
            }
        }
        if self.axes.is_empty() {
            return Err(Error::Parameter {
                op,
                what: "axes",
                wanted: "at least one",
                got: 0,
            });
        }
        Ok(())
    }

    /// The shape with half of the numbers along the last of the axes, and one more.
    fn half(&self) -> Vec<usize> {
        let mut shape = self.shape.to_vec();
        if let Some(&last) = self.axes.last() {
            shape[last] = shape[last] / 2 + 1;
        }
        shape
    }

    /// What an inverse transform multiplies with.
    fn scale(&self) -> f32 {
        let elements: f64 = self
            .axes
            .iter()
            .map(|&axis| self.shape[axis] as f64)
            .product();
        // As MLX divides.
        1.0 / elements as f32
    }
}

/// An array seen along one axis.
#[derive(Clone, Copy, Debug)]
struct Along {
    outer: usize,
    n: usize,
    inner: usize,
}

impl Along {
    fn of(shape: &[usize], axis: usize) -> Self {
        Self {
            outer: shape[..axis].iter().product(),
            n: shape[axis],
            inner: shape[axis + 1..].iter().product(),
        }
    }
}

/// Transforms complex numbers, stored as pairs with these strides in numbers, to `out`, in row-major order.
///
/// ```
/// use mlx_kernels::{FftShape, fft};
///
/// let of = FftShape { shape: &[2], axes: &[0] };
/// let mut out = [0.0; 4];
/// fft(of, false, &[1.0, 0.0, 2.0, 0.0], &[1], &mut out)?;
/// assert_eq!(out, [3.0, 0.0, -1.0, 0.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When lengths, strides or axes do not match the shape.
pub fn fft(
    of: FftShape<'_>,
    inverse: bool,
    x: &[f32],
    strides: &[isize],
    out: &mut [f32],
) -> Result<()> {
    of.check("fft")?;
    length("fft", "out", pairs("fft", of.shape)?, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let x = in_rows(complex(x), of.shape, strides)?;
    let scale = if inverse { of.scale() } else { 1.0 };
    complex_axes(
        of.shape,
        of.axes,
        inverse,
        scale,
        Some(&x),
        complex_mut(out),
    );
    Ok(())
}

/// Transforms real numbers with these strides to the first half of the result, complex numbers stored as pairs.
///
/// # Errors
/// When lengths, strides or axes do not match the shape.
pub fn real_fft(of: FftShape<'_>, x: &[f32], strides: &[isize], out: &mut [f32]) -> Result<()> {
    of.check("real_fft")?;
    let half = of.half();
    length("real_fft", "out", pairs("real_fft", &half)?, out.len())?;
    let (Some((&last, others)), false) = (of.axes.split_last(), out.is_empty()) else {
        return Ok(());
    };
    let x = in_rows(x, of.shape, strides)?;
    let out = complex_mut(out);
    let along = Along::of(of.shape, last);
    let plan = real_plan(along.n);
    if along.inner == 1 {
        rows::real(&plan, along, &x, out);
    } else {
        columns::real(&plan, along, &x, out);
    }
    complex_axes(&half, others, false, 1.0, None, out);
    Ok(())
}

/// Transforms the first half of complex numbers back to real ones, divided by their number.
///
/// Imaginary parts that real numbers do not have, of the first element and of the one in the middle, are taken for 0.
///
/// # Errors
/// When lengths, strides or axes do not match the shape, which is the one of the real numbers.
pub fn inverse_real_fft(
    of: FftShape<'_>,
    x: &[f32],
    strides: &[isize],
    out: &mut [f32],
) -> Result<()> {
    of.check("inverse_real_fft")?;
    let op = "inverse_real_fft";
    length(op, "out", product(op, of.shape)?, out.len())?;
    let (Some((&last, others)), false) = (of.axes.split_last(), out.is_empty()) else {
        return Ok(());
    };
    let half = of.half();
    let mut x = in_rows(complex(x), &half, strides)?;
    if !others.is_empty() {
        let mut changed = vec![Complex::default(); x.len()];
        complex_axes(&half, others, true, 1.0, Some(&x), &mut changed);
        x = Cow::Owned(changed);
    }
    let along = Along::of(of.shape, last);
    let plan = inverse_real_plan(along.n);
    let scale = of.scale();
    if along.inner == 1 {
        rows::inverse_real(&plan, along, scale, &x, out);
    } else {
        columns::inverse_real(&plan, along, scale, &x, out);
    }
    Ok(())
}

/// Transforms along each axis: from `x` for the first if it is given, and otherwise in place. The first one scales.
fn complex_axes(
    shape: &[usize],
    axes: &[usize],
    inverse: bool,
    scale: f32,
    x: Option<&[Complex<f32>]>,
    out: &mut [Complex<f32>],
) {
    let (mut x, mut scale) = (x, scale);
    // Memory is read in its order last, so that the result stays in the cache where it can.
    for &axis in axes {
        let along = Along::of(shape, axis);
        let plan = complex_plan(along.n, inverse);
        let from = x.take();
        if along.inner == 1 {
            rows::complex(&plan, along, scale, from, out);
        } else {
            columns::complex(&plan, along, scale, from, out);
        }
        scale = 1.0;
    }
}

/// The number of floats of `n` complex numbers.
fn pairs(op: &'static str, shape: &[usize]) -> Result<usize> {
    product(op, shape)?
        .checked_mul(PAIR)
        .ok_or(Error::TooLarge { op })
}

/// Pairs as complex numbers; what is left of an odd number of floats is not read.
fn complex(x: &[f32]) -> &[Complex<f32>] {
    let whole = x.len() / PAIR * PAIR;
    pulp::bytemuck::cast_slice(&x[..whole])
}

fn complex_mut(x: &mut [f32]) -> &mut [Complex<f32>] {
    pulp::bytemuck::cast_slice_mut(x)
}

/// The elements in row-major order, copied where they are not.
fn in_rows<'a, T: pulp::bytemuck::Pod + Default + Send + Sync>(
    x: &'a [T],
    shape: &[usize],
    strides: &[isize],
) -> Result<Cow<'a, [T]>> {
    length("fft", "strides", shape.len(), strides.len())?;
    let elements = product("fft", shape)?;
    let mut wanted = 1;
    let is_in_rows = shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == wanted;
        wanted *= size as isize;
        fits
    });
    if is_in_rows && x.len() >= elements {
        return Ok(Cow::Borrowed(&x[..elements]));
    }
    let mut copy = vec![T::default(); elements];
    copy_strided(x, 0, shape, strides, &mut copy)?;
    Ok(Cow::Owned(copy))
}
