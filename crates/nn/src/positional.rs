//! Layers for the positions of a sequence: rotary and sinusoidal encodings, and linear biases.

use mlx::fast::{Offset, RopeOptions};
use mlx::{Array, Dtype, Error, Integer, Result, concatenate};

use crate::layer_error::in_layer;
use crate::training::wide;
use crate::{FastOps, Forward, Module, RopeInput};

/// The rotary positional encoding, `mlx.nn.RoPE`: pairs of features turn by an angle that grows with the position.
///
/// Pair `i` at position `t` turns by `(t + offset) * scale * base^(-2i / dims)`. From RoFormer, Su et al. 2021.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let rope = mlx_nn::RoPE::new(4);
/// let x = mlx::ones([1, 2, 5, 8]);
/// let y = rope.forward(&x);
/// // The first position does not turn, and the features beyond `dims` never do.
/// assert_eq!(y.i((0, 0, 0)).to_vec::<f32>()?, [1.0; 8]);
/// // Positions go on where a cache of keys ends.
/// let last = rope.forward_from(&x.i((.., .., ..1)), 4);
/// assert!(last.allclose(&y.i((.., .., 4..))).item::<bool>()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Module)]
pub struct RoPE {
    /// The number of features that turn, an even number; the others are left as they are.
    pub dims: i32,
    /// Whether pairs are neighbours, instead of half of `dims` apart.
    pub traditional: bool,
    /// The base of the frequencies.
    pub base: f32,
    /// The factor of the positions.
    pub scale: f32,
    /// Composed formula or fused kernel.
    pub kernels: FastOps,
}

impl RoPE {
    /// Returns the encoding of `dims` features in halves, with base 10000 and scale 1.
    pub fn new(dims: impl Integer) -> Self {
        let dims = dims.to_i32();
        Self {
            dims,
            traditional: false,
            base: 10_000.0,
            scale: 1.0,
            kernels: FastOps::default(),
        }
    }

    /// Returns the encoding with pairs of neighbours, or of features half of `dims` apart.
    #[must_use]
    pub fn traditional(mut self, traditional: bool) -> Self {
        self.traditional = traditional;
        self
    }

    /// Returns the encoding with another base of the frequencies.
    #[must_use]
    pub fn base(mut self, base: f32) -> Self {
        self.base = base;
        self
    }

    /// Returns the encoding with another factor of the positions.
    #[must_use]
    pub fn scale(mut self, scale: f32) -> Self {
        self.scale = scale;
        self
    }

    /// Encodes the positions of `[batch, .., length, features]` from 0 on, or from an offset: `rope.forward((&x, offset))`.
    #[track_caller]
    pub fn forward<'a>(&self, input: impl Into<RopeInput<'a>>) -> Array {
        let RopeInput { x, offset } = input.into();
        self.forward_from(x, offset)
    }

    /// Encodes the positions of `[batch, .., length, features]` from `offset` on: a number, or an array of one for each
    /// row of the batch.
    ///
    /// An input with fewer than 3 axes or that is not floating, and `dims` that are odd or more than the features give
    /// an array that carries the error.
    #[track_caller]
    pub fn forward_from(&self, x: &Array, offset: impl Into<Offset>) -> Array {
        let options = RopeOptions {
            dims: Some(self.dims),
            traditional: self.traditional,
            frequencies: self.base.into(),
            scale: self.scale,
            offset: offset.into(),
        };
        in_layer("RoPE", self.kernels.rope(x, &options), [x], || None)
    }
}

impl Forward for RoPE {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

/// Sinusoidal positional encoding, `mlx.nn.SinusoidalPositionalEncoding`: sines and cosines of positions times
/// frequencies.
///
/// The `dims / 2` frequencies go from `max_freq` down to `min_freq`, their logarithms equally far apart. From Attention
/// Is All You Need, Vaswani et al. 2017.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let encoding = mlx_nn::SinusoidalPositionalEncoding::new(8);
/// let positions = mlx::iota(5);
/// assert_eq!(encoding.forward(&positions).shape()?, [5, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Module)]
pub struct SinusoidalPositionalEncoding {
    /// The size of the encoding, an even number.
    pub dims: i32,
    /// The smallest frequency.
    pub min_freq: f32,
    /// The largest frequency.
    pub max_freq: f32,
    /// The factor of the result; `None` for `sqrt(2 / dims)`.
    #[module(static)]
    pub scale: Option<f32>,
    /// Whether cosines come before sines.
    pub cos_first: bool,
    /// Whether frequencies are in full turns, times `2 pi`.
    pub full_turns: bool,
}

impl SinusoidalPositionalEncoding {
    /// Returns an encoding with frequencies from 0.0001 to 1 and a scale of `sqrt(2 / dims)`, sines first.
    pub fn new(dims: impl Integer) -> Self {
        let dims = dims.to_i32();
        Self {
            dims,
            min_freq: 0.0001,
            max_freq: 1.0,
            scale: None,
            cos_first: false,
            full_turns: false,
        }
    }

    /// Returns the encoding with another smallest frequency.
    #[must_use]
    pub fn min_freq(mut self, min_freq: f32) -> Self {
        self.min_freq = min_freq;
        self
    }

    /// Returns the encoding with another largest frequency.
    #[must_use]
    pub fn max_freq(mut self, max_freq: f32) -> Self {
        self.max_freq = max_freq;
        self
    }

    /// Returns the encoding with another factor of the result; `None` for `sqrt(2 / dims)`.
    #[must_use]
    pub fn scale(mut self, scale: impl Into<Option<f32>>) -> Self {
        self.scale = scale.into();
        self
    }

    /// Returns the encoding with cosines before sines, or after.
    #[must_use]
    pub fn cos_first(mut self, cos_first: bool) -> Self {
        self.cos_first = cos_first;
        self
    }

    /// Returns the encoding with frequencies in full turns, or in radians.
    #[must_use]
    pub fn full_turns(mut self, full_turns: bool) -> Self {
        self.full_turns = full_turns;
        self
    }

    /// Maps positions `[..]` to encodings `[.., dims]`, `float32` unless the positions are wider.
    ///
    /// `dims` that are odd or not positive, and frequencies that are not positive give an array that carries the error.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let y = Array::from_result(self.encoded(x));
        in_layer("SinusoidalPositionalEncoding", y, [x], || None)
    }

    #[track_caller]
    fn encoded(&self, x: &Array) -> Result<Array> {
        let frequencies = self.frequencies()?;
        let angles = wide(x).expand_dims(-1) * frequencies;
        let (sin, cos) = (angles.sin(), angles.cos());
        let y = match self.cos_first {
            true => concatenate([&cos, &sin], -1),
            false => concatenate([&sin, &cos], -1),
        };
        let scale = match self.scale {
            Some(scale) => f64::from(scale),
            None => (2.0 / f64::from(self.dims)).sqrt(),
        };
        Ok(if scale == 1.0 { y } else { y * scale })
    }

    /// Returns the frequencies, `[dims / 2]`, in radians.
    #[track_caller]
    fn frequencies(&self) -> Result<Array> {
        let wrong = |message| Err(Error::op("SinusoidalPositionalEncoding", message));
        if self.dims <= 0 || self.dims % 2 != 0 {
            return wrong(format!("dims must be positive and even, got {}", self.dims));
        }
        for (name, frequency) in [("min_freq", self.min_freq), ("max_freq", self.max_freq)] {
            if frequency.is_nan() || frequency <= 0.0 {
                return wrong(format!("{name} must be positive, got {frequency}"));
            }
        }
        let (least, most) = (f64::from(self.min_freq).ln(), f64::from(self.max_freq).ln());
        let last = f64::from((self.dims / 2 - 1).max(1));
        let turn = if self.full_turns {
            std::f64::consts::TAU
        } else {
            1.0
        };
        #[allow(clippy::cast_possible_truncation)]
        let frequencies: Vec<f32> = (0..self.dims / 2)
            .map(|index| {
                let share = 1.0 - f64::from(index) / last;
                ((share * (most - least) + least).exp() * turn) as f32
            })
            .collect();
        Ok(Array::from(frequencies))
    }
}

impl Forward for SinusoidalPositionalEncoding {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

/// Attention with linear biases, `mlx.nn.ALiBi`: subtracts from each score the distance of query and key times the slope
/// of the head.
///
/// The slopes of `n` heads are `2^(-8 i / n)` for `i` from 1 to `n` where `n` is a power of two; of other numbers, those
/// of the next smaller power, then every second one of the next larger. From Train Short, Test Long, Press et al. 2021.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let scores = mlx::zeros([1, 2, 3, 3]);
/// let y = mlx_nn::ALiBi::new().forward(&scores);
/// assert_eq!(y.i((0, 0, 2)).to_vec::<f32>()?, [-0.125, -0.0625, 0.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Module)]
pub struct ALiBi;

impl ALiBi {
    /// Returns the layer.
    pub fn new() -> Self {
        Self
    }

    /// Adds the biases to attention scores `[batch, heads, queries, keys]`; query `i` has the position of key `i`.
    #[track_caller]
    pub fn forward(&self, attention_scores: &Array) -> Array {
        self.forward_from(attention_scores, 0, None)
    }

    /// Adds the biases, and a mask that broadcasts to the scores; query `i` has the position of key `i + offset`.
    ///
    /// Scores that have not 4 axes give an array that carries the error.
    #[track_caller]
    pub fn forward_from<'a>(
        &self,
        attention_scores: &Array,
        offset: i32,
        mask: impl Into<Option<&'a Array>>,
    ) -> Array {
        let mask = mask.into();
        let operands = [attention_scores].into_iter().chain(mask);
        let y = Array::from_result(biased(attention_scores, offset, mask));
        in_layer("ALiBi", y, operands, || {
            let (scores, mask) = (attention_scores.shape().ok()?, mask?.shape().ok()?);
            Some(format!("mask must broadcast to {scores:?}, got {mask:?}"))
        })
    }

    /// Returns the biases `[1, num_heads, q_sequence_length - offset, k_sequence_length]` of queries at the positions from
    /// `offset` to `q_sequence_length`.
    #[track_caller]
    pub fn create_alibi_matrix(
        q_sequence_length: i32,
        k_sequence_length: i32,
        num_heads: i32,
        offset: i32,
        dtype: Dtype,
    ) -> Array {
        let positions = |from: i32, to: i32| {
            mlx::arange_with(f64::from(from), f64::from(to), 1.0, Dtype::Int32)
        };
        let queries = positions(offset, q_sequence_length);
        let keys = positions(0, k_sequence_length);
        Self::matrix(&queries, &keys, num_heads, dtype)
    }

    /// Returns the biases of queries and keys at these positions.
    #[track_caller]
    fn matrix(queries: &Array, keys: &Array, num_heads: i32, dtype: Dtype) -> Array {
        let (queries, keys) = (queries.expand_dims(-1), keys.expand_dims(0));
        let distances = -(queries - keys).abs().expand_dims([0, 1]);
        (distances * Self::create_alibi_slope(num_heads, dtype)).astype(dtype)
    }

    /// Returns the slope of each head, `[num_heads, 1, 1]`.
    #[track_caller]
    pub fn create_alibi_slope(num_heads: i32, dtype: Dtype) -> Array {
        if num_heads <= 0 {
            let message = format!("num_heads must be positive, got {num_heads}");
            return Array::failed(Error::op("ALiBi", message));
        }
        let slopes = slopes(num_heads);
        Array::from(slopes).astype(dtype).expand_dims([-1, -2])
    }
}

impl Forward for ALiBi {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

#[track_caller]
fn biased(scores: &Array, offset: i32, mask: Option<&Array>) -> Result<Array> {
    let shape = scores.sizes()?;
    let [_, heads, queries, keys] = shape.as_slice() else {
        let message = format!("scores must be [batch, heads, queries, keys], got {shape:?}");
        return Err(Error::op("ALiBi", message));
    };
    if queries + offset > i32::MAX {
        let message = format!("offset must be less than 2^31 - queries, got {offset}");
        return Err(Error::op("ALiBi", message));
    }
    let dtype = scores.dtype()?;
    let queries = match offset {
        0 => mlx::iota(queries),
        _ => mlx::iota(queries) + offset,
    };
    let keys = mlx::iota(keys);
    let biases = ALiBi::matrix(&queries, &keys, heads.fixed(), dtype);
    Ok(match mask {
        Some(mask) => scores + (biases + mask),
        None => scores + biases,
    })
}

/// Returns the slopes of this number of heads, at least one.
#[allow(clippy::cast_possible_truncation)]
fn slopes(num_heads: i32) -> Vec<f32> {
    let closest = 1_i64 << num_heads.ilog2();
    let of_power = |n: i64| {
        #[allow(clippy::cast_precision_loss)]
        let start = (-8.0 / n as f64).exp2();
        (1..=n as i32).map(move |exponent| start.powi(exponent) as f32)
    };
    let rest = usize::try_from(i64::from(num_heads) - closest).unwrap_or(0);
    let others = of_power(2 * closest).step_by(2).take(rest);
    of_power(closest).chain(others).collect()
}
