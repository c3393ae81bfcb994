//! Discrete Fourier transforms, as Python's `mlx.core.fft`.
//!
//! The forward transform sums `x[k] * exp(-2 pi i k m / n)`; the inverse one has the other sign and divides by `n`.
//! Complex results are `complex64`; the input is read as `complex64`, or as `float32` by [`rfft`],
//! [`rfft2`] and [`rfftn`].
//!
//! ```
//! # fn main() -> mlx::Result<()> {
//! use mlx::fft::{self, FftOptions};
//! let x = mlx::array!([1.0, 2.0, 3.0, 4.0]);
//! let back = fft::irfft(&fft::rfft(&x));
//! assert!(back.allclose_with(&x, mlx::CloseOptions::new(1e-5, 1e-6)).item::<bool>()?);
//! # Ok(())
//! # }
//! ```

mod short_time;

pub use short_time::{StftOptions, istft, stft};

use crate::op::{FftNorm, Op};
use crate::{Array, Axes, Integer, Result, Shape, bind};

/// Options of a Fourier transform along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FftOptions {
    /// Size of the axis, which is cut or filled with zeros; of [`irfft`], the size of the result. By default the
    /// size it has, for [`irfft`] twice one less than that.
    pub n: Option<i32>,
    /// The axis. The last by default.
    pub axis: i32,
    /// Which direction is divided by the size: the inverse one by default.
    pub norm: FftNorm,
}

impl Default for FftOptions {
    fn default() -> Self {
        Self {
            n: None,
            axis: -1,
            norm: FftNorm::Backward,
        }
    }
}

/// Options of a Fourier transform along several axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FftnOptions {
    /// Sizes of the axes, which are cut or filled with zeros; see [`FftOptions::n`].
    pub shape: Option<Shape>,
    /// The axes. By default the last two for the two-dimensional transforms; for the others as many last axes as
    /// `shape` has sizes, or all.
    pub axes: Option<Axes>,
    /// Which direction is divided by the size: the inverse one by default.
    pub norm: FftNorm,
}

impl Default for FftnOptions {
    fn default() -> Self {
        Self {
            shape: None,
            axes: None,
            norm: FftNorm::Backward,
        }
    }
}

/// A size alone: `fft_with(&x, 16)`.
impl<T: Integer> From<T> for FftOptions {
    fn from(n: T) -> Self {
        Self {
            n: Some(n.to_i32()),
            ..Self::default()
        }
    }
}

/// A size and an axis, as in Python: `fft_with(&x, (16, 0))`.
impl<N: Integer, A: Integer> From<(N, A)> for FftOptions {
    fn from((n, axis): (N, A)) -> Self {
        Self {
            axis: axis.to_i32(),
            ..Self::from(n)
        }
    }
}

/// Sizes and axes, as in Python: `fftn_with(&x, ([16, 16], [0, 1]))`.
impl<S: Into<Shape>, A: Into<Axes>> From<(S, A)> for FftnOptions {
    fn from((shape, axes): (S, A)) -> Self {
        Self {
            shape: Some(shape.into()),
            axes: Some(axes.into()),
            norm: FftNorm::Backward,
        }
    }
}

/// The old name of [`FftOptions`], until the next version.
#[doc(hidden)]
#[deprecated(note = "renamed to `FftOptions`")]
pub type Fft = FftOptions;
/// The old name of [`FftnOptions`], until the next version.
#[doc(hidden)]
#[deprecated(note = "renamed to `FftnOptions`")]
pub type Fftn = FftnOptions;

/// Returns the transform along one axis.
#[track_caller]
pub fn fft(a: &Array) -> Array {
    fft_with(a, FftOptions::default())
}

/// Returns what [`fft`] does, with options.
#[track_caller]
pub fn fft_with(a: &Array, options: impl Into<FftOptions>) -> Array {
    one(a, options.into(), false, |n, axes, norm| Op::Fftn {
        n,
        axes,
        norm,
    })
}

/// Returns the inverse transform along one axis.
#[track_caller]
pub fn ifft(a: &Array) -> Array {
    ifft_with(a, FftOptions::default())
}

/// Returns what [`ifft`] does, with options.
#[track_caller]
pub fn ifft_with(a: &Array, options: impl Into<FftOptions>) -> Array {
    one(a, options.into(), false, |n, axes, norm| Op::Ifftn {
        n,
        axes,
        norm,
    })
}

/// Returns the transform of real numbers along one axis: the first `n / 2 + 1` results, which determine the others.
#[track_caller]
pub fn rfft(a: &Array) -> Array {
    rfft_with(a, FftOptions::default())
}

/// Returns what [`rfft`] does, with options.
#[track_caller]
pub fn rfft_with(a: &Array, options: impl Into<FftOptions>) -> Array {
    one(a, options.into(), false, |n, axes, norm| Op::Rfftn {
        n,
        axes,
        norm,
    })
}

/// Returns the real numbers whose [`rfft`] this is.
#[track_caller]
pub fn irfft(a: &Array) -> Array {
    irfft_with(a, FftOptions::default())
}

/// Returns what [`irfft`] does, with options.
#[track_caller]
pub fn irfft_with(a: &Array, options: impl Into<FftOptions>) -> Array {
    one(a, options.into(), true, |n, axes, norm| Op::Irfftn {
        n,
        axes,
        norm,
    })
}

/// Returns the transform along two axes, the last two by default.
#[track_caller]
pub fn fft2(a: &Array) -> Array {
    fft2_with(a, FftnOptions::default())
}

/// Returns what [`fft2`] does, with options.
#[track_caller]
pub fn fft2_with(a: &Array, options: impl Into<FftnOptions>) -> Array {
    several(a, two(options.into()), false, |n, axes, norm| Op::Fftn {
        n,
        axes,
        norm,
    })
}

/// Returns the inverse transform along two axes, the last two by default.
#[track_caller]
pub fn ifft2(a: &Array) -> Array {
    ifft2_with(a, FftnOptions::default())
}

/// Returns what [`ifft2`] does, with options.
#[track_caller]
pub fn ifft2_with(a: &Array, options: impl Into<FftnOptions>) -> Array {
    several(a, two(options.into()), false, |n, axes, norm| Op::Ifftn {
        n,
        axes,
        norm,
    })
}

/// Returns the transform of real numbers along two axes, the last of which gets `n / 2 + 1` results.
#[track_caller]
pub fn rfft2(a: &Array) -> Array {
    rfft2_with(a, FftnOptions::default())
}

/// Returns what [`rfft2`] does, with options.
#[track_caller]
pub fn rfft2_with(a: &Array, options: impl Into<FftnOptions>) -> Array {
    several(a, two(options.into()), false, |n, axes, norm| Op::Rfftn {
        n,
        axes,
        norm,
    })
}

/// Returns the real numbers whose [`rfft2`] this is.
#[track_caller]
pub fn irfft2(a: &Array) -> Array {
    irfft2_with(a, FftnOptions::default())
}

/// Returns what [`irfft2`] does, with options.
#[track_caller]
pub fn irfft2_with(a: &Array, options: impl Into<FftnOptions>) -> Array {
    several(a, two(options.into()), true, |n, axes, norm| Op::Irfftn {
        n,
        axes,
        norm,
    })
}

/// Returns the transform along several axes, all by default.
#[track_caller]
pub fn fftn(a: &Array) -> Array {
    fftn_with(a, FftnOptions::default())
}

/// Returns what [`fftn`] does, with options.
#[track_caller]
pub fn fftn_with(a: &Array, options: impl Into<FftnOptions>) -> Array {
    several(a, options.into(), false, |n, axes, norm| Op::Fftn {
        n,
        axes,
        norm,
    })
}

/// Returns the inverse transform along several axes, all by default.
#[track_caller]
pub fn ifftn(a: &Array) -> Array {
    ifftn_with(a, FftnOptions::default())
}

/// Returns what [`ifftn`] does, with options.
#[track_caller]
pub fn ifftn_with(a: &Array, options: impl Into<FftnOptions>) -> Array {
    several(a, options.into(), false, |n, axes, norm| Op::Ifftn {
        n,
        axes,
        norm,
    })
}

/// Returns the transform of real numbers along several axes, the last of which gets `n / 2 + 1` results.
#[track_caller]
pub fn rfftn(a: &Array) -> Array {
    rfftn_with(a, FftnOptions::default())
}

/// Returns what [`rfftn`] does, with options.
#[track_caller]
pub fn rfftn_with(a: &Array, options: impl Into<FftnOptions>) -> Array {
    several(a, options.into(), false, |n, axes, norm| Op::Rfftn {
        n,
        axes,
        norm,
    })
}

/// Returns the real numbers whose [`rfftn`] this is.
#[track_caller]
pub fn irfftn(a: &Array) -> Array {
    irfftn_with(a, FftnOptions::default())
}

/// Returns what [`irfftn`] does, with options.
#[track_caller]
pub fn irfftn_with(a: &Array, options: impl Into<FftnOptions>) -> Array {
    several(a, options.into(), true, |n, axes, norm| Op::Irfftn {
        n,
        axes,
        norm,
    })
}

/// Returns the array with frequency 0 moved to the middle of all axes; of some with [`fftshift_with`].
#[track_caller]
pub fn fftshift(a: &Array) -> Array {
    fftshift_with(a, ())
}

/// Returns the array with frequency 0 moved to the middle of `axes`; `()` means all.
#[track_caller]
pub fn fftshift_with(a: &Array, axes: impl Into<Axes>) -> Array {
    bind(
        Op::Fftshift {
            axes: a.axes_list(axes.into()),
        },
        &[a],
    )
}

/// Returns the array with frequency 0 moved from the middle of all axes to the front: undoes [`fftshift`].
#[track_caller]
pub fn ifftshift(a: &Array) -> Array {
    ifftshift_with(a, ())
}

/// Returns the array with frequency 0 moved from the middle of `axes` to the front: undoes [`fftshift_with`].
#[track_caller]
pub fn ifftshift_with(a: &Array, axes: impl Into<Axes>) -> Array {
    bind(
        Op::Ifftshift {
            axes: a.axes_list(axes.into()),
        },
        &[a],
    )
}

/// Returns the frequencies of [`fft`]'s results for `n` samples at distance `d`, `float32`.
#[track_caller]
pub fn fftfreq(n: i32, d: f64) -> Array {
    bind(Op::Fftfreq { n, d }, &[])
}

/// Returns the frequencies of [`rfft`]'s results for `n` samples at distance `d`, `float32`.
#[track_caller]
pub fn rfftfreq(n: i32, d: f64) -> Array {
    bind(Op::Rfftfreq { n, d }, &[])
}

type Make = fn(Vec<i32>, Vec<i32>, FftNorm) -> Op;

#[track_caller]
fn one(a: &Array, options: FftOptions, to_real: bool, op: Make) -> Array {
    let options = FftnOptions {
        shape: options.n.map(Shape::from),
        axes: Some(options.axis.into()),
        norm: options.norm,
    };
    several(a, options, to_real, op)
}

fn two(options: FftnOptions) -> FftnOptions {
    FftnOptions {
        axes: Some(options.axes.unwrap_or_else(|| [-2, -1].into())),
        ..options
    }
}

#[track_caller]
fn several(a: &Array, options: FftnOptions, to_real: bool, op: Make) -> Array {
    let FftnOptions { shape, axes, norm } = options;
    let axes = match (axes, &shape) {
        (Some(axes), _) => a.axes_list(axes),
        (None, Some(sizes)) => (1..=sizes.numbers().len()).rev().map(from_end).collect(),
        (None, None) => a.axes_list(Axes::All),
    };
    let sizes = match shape {
        Some(sizes) => Ok(sizes.into_numbers()),
        None => default_sizes(a, &axes, to_real),
    };
    Array::from_result(sizes.map(|sizes| bind(op(sizes, axes, norm), &[a])))
}

fn from_end(distance: usize) -> i32 {
    i32::try_from(distance).map_or(i32::MIN, |distance| -distance)
}

#[track_caller]
fn default_sizes(a: &Array, axes: &[i32], to_real: bool) -> Result<Vec<i32>> {
    let mut sizes = axes
        .iter()
        .map(|&axis| a.dim(axis))
        .collect::<Result<Vec<i32>>>()?;
    if let (true, Some(last)) = (to_real, sizes.last_mut()) {
        *last = (*last - 1).saturating_mul(2);
    }
    Ok(sizes)
}
