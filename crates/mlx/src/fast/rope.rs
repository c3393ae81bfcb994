//! Rotary position embedding: pairs of features turned by an angle that grows with the position.

use super::backend::{FastOp, record_backend};
use super::inputs::{cast, check_floating, count, reject};
use super::offset::Offset;
use crate::bind::bind_slice;
use crate::op::Op;
use crate::{Array, Dtype, Result, Size, bind, concatenate, iota, stack};

const NAME: &str = "fast.rope";

/// How fast each pair of features turns.
#[derive(Clone)]
pub enum RopeFrequencies {
    /// Pair `i` turns by `base^(-2i / dims)` radians for each position.
    Base(f32),
    /// Pair `i` turns by `1 / freqs[i]` radians for each position; `[dims / 2]`.
    ///
    /// As in MLX, these are the reciprocals of what is called inverse frequencies elsewhere.
    Freqs(Array),
}

impl From<f32> for RopeFrequencies {
    fn from(base: f32) -> Self {
        RopeFrequencies::Base(base)
    }
}

impl From<Array> for RopeFrequencies {
    fn from(freqs: Array) -> Self {
        RopeFrequencies::Freqs(freqs)
    }
}

impl From<&Array> for RopeFrequencies {
    fn from(freqs: &Array) -> Self {
        RopeFrequencies::Freqs(freqs.clone())
    }
}

/// How [`rope`] rotates; by default, all features in halves, by base 10000, from position 0.
#[derive(Clone)]
pub struct RopeOptions {
    /// How many of the leading features turn, an even number; the others pass through. `None` for all.
    pub dims: Option<i32>,
    /// Whether pairs are neighbours (`0, 1`) rather than half of `dims` apart (`0, dims / 2`).
    pub traditional: bool,
    /// How fast each pair turns.
    pub frequencies: RopeFrequencies,
    /// What positions are multiplied by, after the offset is added.
    pub scale: f32,
    /// The position of the first element, one for all or one for each batch row.
    pub offset: Offset,
}

impl Default for RopeOptions {
    fn default() -> Self {
        Self {
            dims: None,
            traditional: false,
            frequencies: RopeFrequencies::Base(10_000.0),
            scale: 1.0,
            offset: Offset::default(),
        }
    }
}

/// Rotates pairs of features of `x` by their position.
///
/// Element `t` of the sequence has position `(t + offset) * scale`, and its pair `i` turns by `position * w_i`
/// with `w_i = base^(-2i / dims)` or `1 / freqs[i]`: `(a, b)` becomes `(a cos - b sin, a sin + b cos)`. `x` is
/// `[batch, .., seq, dim]` with at least 3 axes; the result has its shape and dtype. Nothing runs until
/// [`eval`](crate::eval()).
///
/// # Errors
/// The result carries an error when `x` has fewer than 3 axes or is not floating; `dims` is odd, not positive or more
/// than the last axis; `freqs` is not `[dims / 2]`; or `offset` is neither a whole number nor `[batch]` of them.
///
/// ```
/// use mlx::fast::{RopeOptions, rope};
///
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::array!([[[1.0, 0.0]]]);
/// let y = rope(&x, &RopeOptions { offset: 1.into(), ..Default::default() });
/// assert!((y.to_vec::<f32>()?[1] - 1_f32.sin()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn rope(x: &Array, options: &RopeOptions) -> Array {
    Array::from_result(fused(x, options))
}

/// Rotates pairs of features by their position, in plain operations: see [`rope`](super::rope).
///
/// Angles, sines and products are `float32` (`float64` for that), whatever `x` is.
#[track_caller]
pub fn composed(x: &Array, options: &RopeOptions) -> Array {
    Array::from_result(formula(x, options))
}

#[track_caller]
fn fused(x: &Array, options: &RopeOptions) -> Result<Array> {
    let sizes = check(x, options)?;
    if sizes.is_empty() {
        return Ok(x.clone());
    }
    let (base, freqs) = match &options.frequencies {
        RopeFrequencies::Base(base) => (Some(*base), None),
        RopeFrequencies::Freqs(freqs) => (None, Some(freqs)),
    };
    let op = Op::Rope {
        dims: sizes.dims,
        traditional: options.traditional,
        base,
        scale: options.scale,
        freqs: freqs.is_some(),
    };
    // Kernels know 4 axes best: with 3, some MLX versions turned single positions wrongly.
    let four = sizes.to_four_axes(x);
    let mut inputs = vec![&four, &sizes.offset];
    inputs.extend(freqs);
    let rotated = record_backend(FastOp::Rope, bind(op, &inputs));
    Ok(sizes.from_four_axes(rotated))
}

#[track_caller]
fn formula(x: &Array, options: &RopeOptions) -> Result<Array> {
    let sizes = check(x, options)?;
    if sizes.is_empty() {
        return Ok(x.clone());
    }
    let wide = match x.dtype()? {
        Dtype::Float64 => Dtype::Float64,
        _ => Dtype::Float32,
    };
    let four = sizes.to_four_axes(x);
    let [batch, n_heads, seq, dim] = &four.sizes()?[..] else {
        return reject(NAME, "wanted 4 axes".to_owned(), &[x]);
    };
    let (dims, half) = (sizes.dims, sizes.dims / 2);

    // [batch or 1, 1, seq, 1] positions times [half] angles a position.
    let offset = sizes.offset.reshape([-1, 1, 1, 1]).astype(Dtype::Float32);
    let steps = iota(seq).reshape((1, 1, seq, 1)).astype(Dtype::Float32);
    let angles = (steps + offset) * options.scale * angle_per_position(options, dims);
    let (cos, sin) = (cast(&angles.cos(), wide), cast(&angles.sin(), wide));

    let (first, second) = if options.traditional {
        (features(&four, 0, dims, 2)?, features(&four, 1, dims, 2)?)
    } else {
        (
            features(&four, 0, half, 1)?,
            features(&four, half, dims, 1)?,
        )
    };
    let (first, second) = (cast(&first, wide), cast(&second, wide));
    let turned = [
        &first * &cos - &second * &sin,
        &first * &sin + &second * &cos,
    ];
    let rotated = if options.traditional {
        stack(&turned, -1).reshape((batch, n_heads, seq, dims))
    } else {
        concatenate(&turned, -1)
    };
    let rotated = cast(&rotated, x.dtype()?);
    let whole = if *dim > dims {
        concatenate([&rotated, &features(&four, dims, dim, 1)?], -1)
    } else {
        rotated
    };
    Ok(sizes.from_four_axes(whole))
}

/// Returns `[dims / 2]` angles in `float32`; those of a base are computed in `f64`.
#[track_caller]
fn angle_per_position(options: &RopeOptions, dims: i32) -> Array {
    let base = match &options.frequencies {
        RopeFrequencies::Freqs(freqs) => return cast(freqs, Dtype::Float32).reciprocal(),
        RopeFrequencies::Base(base) => f64::from(*base),
    };
    #[allow(clippy::cast_possible_truncation)]
    let angles: Vec<f32> = (0..dims / 2)
        .map(|i| base.powf(-2.0 * f64::from(i) / f64::from(dims)) as f32)
        .collect();
    Array::from_result(Array::from_slice(&angles, dims / 2))
}

/// Every `step`-th feature from `start` up to `stop`.
#[track_caller]
fn features(x: &Array, start: i32, stop: impl Into<Size>, step: i32) -> Result<Array> {
    let mut stops = x.sizes()?;
    stops[3] = stop.into();
    let starts = [0, 0, 0, start].map(Size::from);
    let slice = |start, stop| Op::Slice {
        start,
        stop,
        strides: vec![1, 1, 1, step],
    };
    Ok(bind_slice(&starts, &stops, slice, &[x]))
}

/// What `check` found out.
struct Sizes {
    shape: Vec<Size>,
    dims: i32,
    offset: Array,
}

impl Sizes {
    #[track_caller]
    fn is_empty(&self) -> bool {
        count(&self.shape) == 0
    }

    /// `[batch, everything between, seq, dim]`.
    #[track_caller]
    fn to_four_axes(&self, x: &Array) -> Array {
        match self.shape.len() {
            3 => x.expand_dims(1),
            4 => x.clone(),
            ndim => x.flatten(1, i32::try_from(ndim).unwrap_or(i32::MAX) - 3),
        }
    }

    #[track_caller]
    #[allow(clippy::wrong_self_convention)]
    fn from_four_axes(&self, x: Array) -> Array {
        match self.shape.len() {
            4 => x,
            _ => x.reshape(&self.shape),
        }
    }
}

#[track_caller]
fn check(x: &Array, options: &RopeOptions) -> Result<Sizes> {
    let mut inputs = vec![x];
    let shape = x.sizes()?;
    let [batch, .., _, dim] = shape.as_slice() else {
        let message = format!("x must have at least 3 axes, [batch, .., seq, dim], got {shape:?}");
        return reject(NAME, message, &inputs);
    };
    check_floating(NAME, &[x.dtype()?], &inputs)?;
    // An attribute of the operation.
    let dims = options.dims.unwrap_or_else(|| dim.fixed());
    if dims <= 0 || dims % 2 != 0 || *dim < dims {
        let message = format!("dims must be even and from 2 to {dim}, got {dims}");
        return reject(NAME, message, &inputs);
    }
    match &options.frequencies {
        RopeFrequencies::Base(base) if base.is_nan() || *base <= 0.0 => {
            return reject(NAME, format!("base must be positive, got {base}"), &inputs);
        }
        RopeFrequencies::Base(_) => {}
        RopeFrequencies::Freqs(freqs) => {
            inputs.push(freqs);
            let got = freqs.sizes()?;
            if got.len() != 1 || got[0] != dims / 2 {
                let message = format!("freqs must be [{}], half of dims, got {got:?}", dims / 2);
                return reject(NAME, message, &inputs);
            }
        }
    }
    let offset = options.offset.to_array(NAME, batch)?;
    Ok(Sizes {
        shape,
        dims,
        offset,
    })
}
