//! Random numbers from explicit keys, as Python's `mlx.core.random` with `key=`.
//!
//! The same key always gives the same numbers, so a key is used once and then split. There is no hidden state: it
//! would be frozen when a function is compiled, and differ between threads.
//!
//! ```
//! # fn main() -> mlx::Result<()> {
//! use mlx::random::{self, UniformOptions};
//! let [first, second] = random::keys(&random::key(7));
//! let x = random::uniform(&first, [2, 3], UniformOptions::default());
//! let again = random::uniform(&first, [2, 3], UniformOptions::default());
//! let other = random::uniform(&second, [2, 3], UniformOptions::default());
//! assert!(x.array_equal(&again, false).item::<bool>()?);
//! assert!(!x.array_equal(&other, false).item::<bool>()?);
//! # Ok(())
//! # }
//! ```

use crate::op::Op;
use crate::shape::axis_index;
use crate::{Array, Dtype, Error, Operand, Result, Scalar, Shape, bind};

/// Options of [`uniform`]: the range and dtype, by default from 0 to 1 in `float32`.
#[derive(Clone)]
pub struct UniformOptions {
    /// The minimum.
    pub low: Operand,
    /// The exclusive upper bound.
    pub high: Operand,
    /// The dtype: `float32`, `float16` or `bfloat16`.
    pub dtype: Dtype,
}

impl Default for UniformOptions {
    fn default() -> Self {
        Self {
            low: Operand::Scalar(Scalar::Float(0.0)),
            high: Operand::Scalar(Scalar::Float(1.0)),
            dtype: Dtype::Float32,
        }
    }
}

/// Location, scale and dtype of a distribution: by default 0, 1 and `float32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocScale {
    /// The location: the mean.
    pub loc: f32,
    /// The scale: the standard deviation of [`normal`], the mean absolute deviation of [`laplace`].
    pub scale: f32,
    /// The dtype.
    pub dtype: Dtype,
}

impl Default for LocScale {
    fn default() -> Self {
        Self {
            loc: 0.0,
            scale: 1.0,
            dtype: Dtype::Float32,
        }
    }
}

/// Options of [`categorical`]: by default one sample from each row along the last axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoricalOptions {
    /// The axis of the logits.
    pub axis: i32,
    /// The shape of the result, to which the logits' shape without `axis` broadcasts.
    pub shape: Option<Shape>,
    /// The number of samples from each row, as a new last axis; not together with `shape`.
    pub num_samples: Option<i32>,
}

impl Default for CategoricalOptions {
    fn default() -> Self {
        Self {
            axis: -1,
            shape: None,
            num_samples: None,
        }
    }
}

/// The old name of [`LocScale`], until the next version.
#[doc(hidden)]
#[deprecated(note = "renamed to `LocScale`")]
pub type Bell = LocScale;
/// The old name of [`UniformOptions`], until the next version.
#[doc(hidden)]
#[deprecated(note = "renamed to `UniformOptions`")]
pub type Uniform = UniformOptions;
/// The old name of [`CategoricalOptions`], until the next version.
#[doc(hidden)]
#[deprecated(note = "renamed to `CategoricalOptions`")]
pub type Categorical = CategoricalOptions;

/// Returns the key of a seed, `uint32[2]`.
#[track_caller]
pub fn key(seed: u64) -> Array {
    #[allow(clippy::cast_possible_truncation)] // The two halves of the seed.
    let halves = [(seed >> 32) as u32, seed as u32];
    Array::new(halves)
}

/// Returns `num` new keys, `[num, 2]`.
#[track_caller]
pub fn split(key: &Array, num: i32) -> Array {
    bind(Op::RandomSplit { num }, &[key])
}

/// Returns new keys, as many as the pattern has names: `let [a, b] = keys(&key)`.
#[track_caller]
pub fn keys<const N: usize>(key: &Array) -> [Array; N] {
    let num = i32::try_from(N).unwrap_or(i32::MAX);
    let all = split(key, num.max(1));
    let mut next = 0;
    [(); N].map(|()| {
        let row = Op::Slice {
            start: vec![next, 0],
            stop: vec![next + 1, 2],
            strides: vec![1, 1],
        };
        next += 1;
        bind(row, &[&all]).reshape([2])
    })
}

/// Returns random bits in unsigned integers of `width` bytes: 1, 2 or 4.
#[track_caller]
pub fn bits(key: &Array, shape: impl Into<Shape>, width: i32) -> Array {
    bind(
        Op::RandomBits {
            shape: shape.into().0,
            width,
        },
        &[key],
    )
}

/// Returns uniformly distributed numbers from `low` up to but not including `high`, which broadcast to `shape`.
#[track_caller]
pub fn uniform(key: &Array, shape: impl Into<Shape>, options: UniformOptions) -> Array {
    let (shape, UniformOptions { low, high, dtype }) = (shape.into().0, options);
    between(Op::RandomUniform { shape, dtype }, low, high, key)
}

/// Returns normally distributed numbers; also of `complex64`.
#[track_caller]
pub fn normal(key: &Array, shape: impl Into<Shape>, options: LocScale) -> Array {
    let (shape, LocScale { loc, scale, dtype }) = (shape.into().0, options);
    let op = Op::RandomNormal {
        shape,
        dtype,
        loc,
        scale,
    };
    bind(op, &[key])
}

/// Returns numbers with the Laplace distribution, `exp(-abs(x - loc) / scale) / (2 * scale)`.
#[track_caller]
pub fn laplace(key: &Array, shape: impl Into<Shape>, options: LocScale) -> Array {
    let (shape, LocScale { loc, scale, dtype }) = (shape.into().0, options);
    let op = Op::RandomLaplace {
        shape,
        dtype,
        loc,
        scale,
    };
    bind(op, &[key])
}

/// Returns numbers with the standard Gumbel distribution, `-log(-log(u))`.
#[track_caller]
pub fn gumbel(key: &Array, shape: impl Into<Shape>, dtype: Dtype) -> Array {
    bind(
        Op::RandomGumbel {
            shape: shape.into().0,
            dtype,
        },
        &[key],
    )
}

/// Returns standard normal numbers truncated to between `lower` and `upper`, which broadcast to `shape`.
#[track_caller]
pub fn truncated_normal(
    key: &Array,
    shape: impl Into<Shape>,
    lower: impl Into<Operand>,
    upper: impl Into<Operand>,
    dtype: Dtype,
) -> Array {
    let shape = shape.into().0;
    between(
        Op::RandomTruncatedNormal { shape, dtype },
        lower,
        upper,
        key,
    )
}

/// Applies an operation whose first inputs are the bounds of what it draws.
#[track_caller]
fn between(op: Op, low: impl Into<Operand>, high: impl Into<Operand>, key: &Array) -> Array {
    bind(op, &[&low.into().alone(), &high.into().alone(), key])
}

/// Returns `float32` vectors from the normal distribution with this mean, `[..., n]`, and covariance, `[..., n, n]`:
/// `shape` of them, with which the leading axes of both broadcast.
#[track_caller]
pub fn multivariate_normal(
    key: &Array,
    mean: &Array,
    cov: &Array,
    shape: impl Into<Shape>,
) -> Array {
    let op = Op::RandomMultivariateNormal {
        shape: shape.into().0,
        dtype: Dtype::Float32,
    };
    bind(op, &[mean, cov, key])
}

/// Returns integers from `low` up to but not including `high`, which broadcast to `shape`.
///
/// Each of them equally often, in ranges of any width; the numbers of ranges up to 2^20 are those of Python MLX.
#[track_caller]
pub fn randint(
    key: &Array,
    shape: impl Into<Shape>,
    low: impl Into<Operand>,
    high: impl Into<Operand>,
    dtype: Dtype,
) -> Array {
    let shape = shape.into().0;
    between(Op::RandomRandint { shape, dtype }, low, high, key)
}

/// Returns `bool`s that are true with probability `p`, a floating number or array that broadcasts to `shape`.
#[track_caller]
pub fn bernoulli(key: &Array, shape: impl Into<Shape>, p: impl Into<Operand>) -> Array {
    bind(
        Op::RandomBernoulli {
            shape: shape.into().0,
        },
        &[&p.into().alone(), key],
    )
}

/// Returns positions along an axis of `logits`, `uint32`, each with probability `softmax(logits)`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::random::{self, CategoricalOptions};
/// let logits = mlx::array!([[0.0, 100.0], [100.0, 0.0]]);
/// let sampled = random::categorical(&random::key(0), &logits, CategoricalOptions::default());
/// assert_eq!(sampled.to_vec::<u32>()?, [1, 0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn categorical(key: &Array, logits: &Array, options: CategoricalOptions) -> Array {
    Array::from_result(categorical_of(key, logits, options))
}

#[track_caller]
fn categorical_of(key: &Array, logits: &Array, options: CategoricalOptions) -> Result<Array> {
    let CategoricalOptions {
        axis,
        shape,
        num_samples,
    } = options;
    let mut rest = logits.shape()?;
    logits.dim(axis)?;
    // `dim` has refused axes that are not there.
    let index = axis_index(axis, rest.len()).unwrap_or(0);
    rest.remove(index);
    let axis = i32::try_from(index).unwrap_or(i32::MAX);
    match (shape, num_samples) {
        (None, None) => Ok(bind(
            Op::RandomCategorical { axis, shape: rest },
            &[logits, key],
        )),
        (Some(Shape(shape)), None) => {
            Ok(bind(Op::RandomCategorical { axis, shape }, &[logits, key]))
        }
        (None, Some(num)) => {
            rest.push(num);
            let op = Op::RandomCategorical { axis, shape: rest };
            Ok(bind(op, &[&logits.expand_dims(-1), key]))
        }
        (Some(_), Some(_)) => Err(Error::op(
            "random.categorical",
            "wanted shape or num_samples, got both",
        )),
    }
}

/// Returns `x` with its slices along `axis` in random order. Shuffle [`iota(n)`](crate::iota) for an order alone.
#[track_caller]
pub fn permutation(key: &Array, x: &Array, axis: i32) -> Array {
    bind(Op::RandomPermutation { axis }, &[x, key])
}
