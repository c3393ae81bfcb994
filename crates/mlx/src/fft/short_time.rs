//! Short-time Fourier transforms: those of overlapping frames of a signal.

use super::{FftOptions, fft_with, ifft_with, irfft_with, rfft_with};
use crate::op::{FftNorm, PadMode};
use crate::{Array, Dtype, Ellipsis, Error, Integer, NewAxis, Result};

/// Below this envelope [`istft`] does not divide by it: no frame says what was there.
const MIN_ENVELOPE: f32 = 1e-10;

/// Options of [`stft`] and [`istft`], with Python's defaults. A number is [`n_fft`](Self::n_fft) alone.
#[derive(Clone, Debug)]
pub struct StftOptions {
    /// The size of the transform of a frame. By default 2048 for [`stft`]; for [`istft`] what the number of frequencies
    /// says, even where it could be odd.
    pub n_fft: Option<i32>,
    /// Elements from the beginning of a frame to that of the next; `n_fft / 4` by default.
    pub hop_length: Option<i32>,
    /// The size of the window if there is none; `n_fft` by default. The window is centered, between zeros.
    pub win_length: Option<i32>,
    /// The factors of the elements of a frame, one axis of at most `n_fft`; by default 1.
    pub window: Option<Array>,
    /// Whether frame `k` is centered at element `k * hop_length`, with half a frame added at both ends. True by default.
    pub center: bool,
    /// What is added at the ends; their reflection by default.
    pub pad_mode: PadMode,
    /// Which direction is divided by the size: the inverse one by default.
    pub norm: FftNorm,
    /// Whether there are the `n_fft / 2 + 1` frequencies that determine the others. By default that is so, but for the
    /// [`stft`] of complex numbers.
    pub onesided: Option<bool>,
    /// The size that [`istft`] cuts its result to, or fills it to with zeros.
    pub length: Option<i32>,
}

impl Default for StftOptions {
    fn default() -> Self {
        Self {
            n_fft: None,
            hop_length: None,
            win_length: None,
            window: None,
            center: true,
            pad_mode: PadMode::Reflect,
            norm: FftNorm::Backward,
            onesided: None,
            length: None,
        }
    }
}

/// The defaults.
impl From<()> for StftOptions {
    fn from((): ()) -> Self {
        Self::default()
    }
}

/// The size of the transform: `stft(&x, 512)`.
impl<N: Integer> From<N> for StftOptions {
    fn from(n_fft: N) -> Self {
        Self {
            n_fft: Some(n_fft.to_i32()),
            ..Self::default()
        }
    }
}

/// Returns the Fourier transforms of overlapping frames of the last axis, as `complex64` of the shape
/// `[.., n_frequencies, n_frames]`.
///
/// The transform of frame `k` is that of `window * x[k * hop_length..][..n_fft]`, where half a frame has been added at
/// both ends of `x` unless [`center`](StftOptions::center) is off.
///
/// ```
/// use mlx::fft::{istft, stft};
///
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::arange(64).sin();
/// let frames = stft(&x, 16);
/// assert_eq!(frames.shape()?, [9, 17]);
/// let difference = (istft(&frames, ()) - x).abs().max(());
/// assert!(difference.item::<f32>()? < 1e-5);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn stft(x: &Array, options: impl Into<StftOptions>) -> Array {
    Array::from_result(transform(x, &options.into()))
}

/// Returns the signal whose [`stft`] this is, `[.., n_frequencies, n_frames]`, with the same options.
///
/// Frames are transformed back, multiplied by the window, and added where they overlap; what is added is divided by the
/// sum of the squared windows. Elements that no window reaches are 0.
#[track_caller]
pub fn istft(stft_matrix: &Array, options: impl Into<StftOptions>) -> Array {
    Array::from_result(inverse(stft_matrix, &options.into()))
}

#[track_caller]
fn transform(x: &Array, options: &StftOptions) -> Result<Array> {
    const NAME: &str = "stft";
    if x.ndim()? == 0 {
        return Err(Error::op(NAME, "x must have an axis, got a scalar"));
    }
    let n_fft = options.n_fft.unwrap_or(2048);
    let hop = options.hop_length(NAME, n_fft)?;
    let window = options.window(NAME, n_fft)?;
    let is_complex = x.dtype()? == Dtype::Complex64;
    let onesided = options.onesided.unwrap_or(!is_complex);
    if onesided && is_complex {
        return Err(Error::op(
            NAME,
            "onesided: wanted real numbers, got complex64",
        ));
    }
    let mut x = match is_complex {
        true => x.clone(),
        false => x.astype(Dtype::Float32),
    };
    if options.center {
        let mut width = vec![(0, 0); x.ndim()?];
        if let Some(last) = width.last_mut() {
            *last = (n_fft / 2, n_fft / 2);
        }
        x = x.pad_with(width, options.pad_mode, 0);
    }
    let length = x.dim(-1)?;
    if length < n_fft {
        let text = format!("wanted at least n_fft = {n_fft} elements, got {length}");
        return Err(Error::op(NAME, text));
    }
    let frames = x.take(places((length - n_fft) / hop + 1, n_fft, hop), -1);
    let frames = match window {
        Some(window) => frames * window,
        None => frames,
    };
    let along_frames = FftOptions {
        norm: options.norm,
        ..FftOptions::default()
    };
    let spectra = match onesided {
        true => rfft_with(&frames, along_frames),
        false => fft_with(&frames, along_frames),
    };
    Ok(spectra.swapaxes(-1, -2))
}

#[track_caller]
fn inverse(spectra: &Array, options: &StftOptions) -> Result<Array> {
    const NAME: &str = "istft";
    let shape = spectra.shape()?;
    let [rest @ .., n_frequencies, n_frames] = shape.as_slice() else {
        let text = format!("wanted [.., n_frequencies, n_frames], got {shape:?}");
        return Err(Error::op(NAME, text));
    };
    let onesided = options.onesided.unwrap_or(true);
    let n_fft = options.n_fft.unwrap_or(match onesided {
        true => n_frequencies.saturating_sub(1).saturating_mul(2),
        false => *n_frequencies,
    });
    let hop = options.hop_length(NAME, n_fft)?;
    let window = options.window(NAME, n_fft)?;
    if *n_frames == 0 {
        return Err(Error::op(NAME, "wanted frames, got none"));
    }
    let along_frames = FftOptions {
        n: Some(n_fft),
        norm: options.norm,
        ..FftOptions::default()
    };
    let spectra = spectra.swapaxes(-1, -2);
    let frames = match onesided {
        true => irfft_with(&spectra, along_frames),
        false => ifft_with(&spectra, along_frames).real(),
    };
    let window = window.unwrap_or_else(|| crate::ones([n_fft]));
    let total = (n_frames - 1)
        .checked_mul(hop)
        .and_then(|start| start.checked_add(n_fft))
        .ok_or_else(|| Error::op(NAME, "the signal is too long for an axis"))?;
    let places = places(*n_frames, n_fft, hop);
    let mut sum_shape = rest.to_vec();
    sum_shape.push(total);
    let sum = crate::zeros(sum_shape);
    let sum = sum.at((Ellipsis, &places)).add(frames * &window);
    let squares = window.square().broadcast_to([*n_frames, n_fft]);
    let envelope = crate::zeros([total]).at(&places).add(squares);
    let reached = envelope.greater(MIN_ENVELOPE);
    let x = crate::where_(&reached, sum / crate::where_(&reached, envelope, 1.0), 0.0);
    let start = if options.center { n_fft / 2 } else { 0 };
    let end = match options.length {
        Some(length) if length < 0 => {
            let text = format!("length must not be negative, got {length}");
            return Err(Error::op(NAME, text));
        }
        Some(length) => total.min(start.saturating_add(length)),
        None => (total - start).max(start),
    };
    let x = x.i((Ellipsis, start.min(total)..end));
    match options.length {
        Some(length) if length > end - start.min(total) => {
            let mut width = vec![(0, 0); shape.len() - 1];
            if let Some(last) = width.last_mut() {
                last.1 = length - (end - start.min(total));
            }
            Ok(x.pad(width))
        }
        _ => Ok(x),
    }
}

/// Returns the places of the elements of frames, `[n_frames, n_fft]`.
fn places(n_frames: i32, n_fft: i32, hop: i32) -> Array {
    let starts = crate::iota(n_frames) * hop;
    starts.i((.., NewAxis)) + crate::iota(n_fft)
}

impl StftOptions {
    fn hop_length(&self, name: &'static str, n_fft: i32) -> Result<i32> {
        if n_fft <= 0 {
            let text = format!("n_fft must be positive, got {n_fft}");
            return Err(Error::op(name, text));
        }
        match self.hop_length.unwrap_or(n_fft / 4) {
            hop if hop > 0 => Ok(hop),
            hop => {
                let text = format!("hop_length must be positive, got {hop}");
                Err(Error::op(name, text))
            }
        }
    }

    /// Returns the window of a frame, `[n_fft]`; `None` when all of it counts alike.
    fn window(&self, name: &'static str, n_fft: i32) -> Result<Option<Array>> {
        let window = match (&self.window, self.win_length) {
            (Some(window), _) => window.clone(),
            (None, Some(length)) if length > 0 => crate::ones([length]),
            (None, Some(length)) => {
                let text = format!("win_length must be positive, got {length}");
                return Err(Error::op(name, text));
            }
            (None, None) => return Ok(None),
        };
        let length = match window.shape()?.as_slice() {
            [length] if *length <= n_fft => *length,
            shape => {
                let text = format!("window must be [{n_fft}] or shorter, got {shape:?}");
                return Err(Error::op(name, text));
            }
        };
        if let (Some(_), Some(wanted)) = (&self.window, self.win_length)
            && wanted != length
        {
            let text = format!("window must have win_length = {wanted} elements, got {length}");
            return Err(Error::op(name, text));
        }
        let before = (n_fft - length) / 2;
        Ok(Some(window.pad([(before, n_fft - length - before)])))
    }
}
