//! Random numbers, as Python's `mlx.core.random`: from a default key of the thread, or from explicit keys.
//!
//! [`seed`] sets the default key. With options (`normal_with`, ...) a function draws with a key of its own: the same key
//! always gives the same numbers, so it is used once and then [split](split()). A key may also follow the call, as a
//! keyword argument does in Python: `random::normal([2, 3]).key(&key)`.
//!
//! ```
//! # fn main() -> mlx::Result<()> {
//! use mlx::random;
//! random::seed(7);
//! let x = random::normal([2, 3]);
//! let (first, second) = random::split(&random::key(7));
//! let y = random::normal_with([2, 3], &first);
//! let again = random::normal_with([2, 3], &first);
//! let other = random::normal_with([2, 3], &second);
//! assert!(y.array_equal(&again).item::<bool>()?);
//! assert!(!y.array_equal(&other).item::<bool>()?);
//! # assert!(!x.array_equal(&y).item::<bool>()?);
//! # Ok(())
//! # }
//! ```

mod default_key;
mod options;

pub(crate) use default_key::{Replay, with_source};
pub use default_key::{next_key, seed, set_state, state};
pub use options::{CategoricalOptions, LaplaceOptions, NormalOptions, RandomOptions};

use crate::array::{Keyword, remember};
use crate::op::Op;
use crate::shape::axis_index;
use crate::{Array, Dtype, Error, Integer, Operand, Result, Scalar, Shape, bind};

/// Returns the key of a seed, `uint32[2]`.
#[track_caller]
pub fn key(seed: u64) -> Array {
    Array::new(default_key::words(seed))
}

/// Returns two new keys: `let (a, b) = split(&key)`. Other numbers of keys with [`keys`] and [`split_with`].
#[track_caller]
pub fn split(key: &Array) -> (Array, Array) {
    let [first, second] = keys(key);
    (first, second)
}

/// Returns `num` new keys, `[num, 2]`.
#[track_caller]
pub fn split_with(key: &Array, num: impl Integer) -> Array {
    let num = num.to_i32();
    bind(Op::RandomSplit { num }, &[key])
}

/// Returns new keys, as many as the pattern has names: `let [a, b] = keys(&key)`.
#[track_caller]
pub fn keys<const N: usize>(key: &Array) -> [Array; N] {
    let num = i32::try_from(N).unwrap_or(i32::MAX);
    let all = split_with(key, num.max(1));
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
pub fn bits(key: &Array, shape: impl Into<Shape>, width: impl Integer) -> Array {
    let (shape, width) = (shape.into().0, width.to_i32());
    bind(Op::RandomBits { shape, width }, &[key])
}

/// Draws with the key given, or one of the thread's own. `draw` can be asked for again with another key, which puts the
/// thread's own back, and `change` for other arguments.
#[track_caller]
fn drawn(
    key: Option<Array>,
    draw: impl Fn(&Array) -> Array + 'static,
    change: impl FnOnce(Keyword, &Array) -> Option<Array> + 'static,
) -> Array {
    let (key, taken) = match key {
        Some(key) => (key, None),
        None => default_key::taken(),
    };
    let result = draw(&key);
    remember(result, move |keyword| match keyword {
        Keyword::Key(key) => {
            if let Some(taken) = taken {
                taken.put_back();
            }
            Some(drawn(Some(key), draw, change))
        }
        other => change(other, &key),
    })
}

/// Draws with an operation that takes the key last.
#[track_caller]
fn drawn_by(op: Op, inputs: Vec<Array>, key: Option<Array>) -> Array {
    let draw = move |key: &Array| {
        let inputs: Vec<&Array> = inputs.iter().chain([key]).collect();
        bind(op.clone(), &inputs)
    };
    drawn(key, draw, |_, _| None)
}

/// Returns uniformly distributed `float32` numbers from `low` up to but not including `high`, which broadcast to `shape`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::random::uniform(-1, 1, [8]);
/// assert!(x.abs().max(()).item::<f32>()? <= 1.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn uniform(
    low: impl Into<Operand>,
    high: impl Into<Operand>,
    shape: impl Into<Shape>,
) -> Array {
    uniform_with(low, high, shape, RandomOptions::default())
}

/// Returns uniformly distributed numbers as [`uniform`] does, of a dtype (`float32`, `float16` or `bfloat16`) and from a
/// key.
#[track_caller]
pub fn uniform_with(
    low: impl Into<Operand>,
    high: impl Into<Operand>,
    shape: impl Into<Shape>,
    options: impl Into<RandomOptions>,
) -> Array {
    let options = options.into();
    let op = Op::RandomUniform {
        shape: shape.into().0,
        dtype: options.dtype.unwrap_or(Dtype::Float32),
    };
    between(op, low, high, options.key)
}

/// Returns `float32` numbers with the normal distribution of mean 0 and standard deviation 1; others with [`normal_with`].
#[track_caller]
pub fn normal(shape: impl Into<Shape>) -> Array {
    normal_with(shape, NormalOptions::default())
}

/// Returns normally distributed numbers with this mean, standard deviation and dtype, also `complex64`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::random::{self, NormalOptions};
/// let means = mlx::array!([[-10.0], [10.0]]);
/// let x = random::normal_with([2, 3], NormalOptions { loc: means.into(), ..Default::default() });
/// assert_eq!(x.gt(0).to_vec::<bool>()?, [false, false, false, true, true, true]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn normal_with(shape: impl Into<Shape>, options: impl Into<NormalOptions>) -> Array {
    let (shape, options) = (shape.into(), options.into());
    let (sizes, draw_options) = (shape.0.clone(), options.clone());
    let draw = move |key: &Array| normal_by(&sizes, &draw_options, key);
    drawn(options.key.clone(), draw, move |keyword, key| {
        let key = Some(key.clone());
        match keyword {
            Keyword::Loc(loc) => Some(normal_with(
                shape,
                NormalOptions {
                    loc,
                    key,
                    ..options
                },
            )),
            Keyword::Scale(scale) => {
                let options = NormalOptions {
                    scale,
                    key,
                    ..options
                };
                Some(normal_with(shape, options))
            }
            _ => None,
        }
    })
}

#[track_caller]
fn normal_by(shape: &[i32], options: &NormalOptions, key: &Array) -> Array {
    let dtype = options.dtype;
    let plain = |loc, scale| Op::RandomNormal {
        shape: shape.to_vec(),
        dtype,
        loc,
        scale,
    };
    match (single(&options.loc), single(&options.scale)) {
        (Some(loc), Some(scale)) => bind(plain(loc, scale), &[key]),
        // As MLX does for arrays.
        _ => {
            let drawn = bind(plain(0.0, 1.0), &[key]);
            let cast = |operand: &Operand| operand.clone().beside(&drawn).astype(dtype);
            &drawn * cast(&options.scale) + cast(&options.loc)
        }
    }
}

/// Returns a real number as MLX takes it in place of an array.
#[allow(clippy::cast_possible_truncation)]
fn single(operand: &Operand) -> Option<f32> {
    match operand {
        Operand::Scalar(Scalar::Complex(_)) | Operand::Array(_) => None,
        Operand::Scalar(number) => Some(number.as_f64() as f32),
    }
}

/// Returns `float32` numbers with the Laplace distribution of mean 0 and scale 1, `exp(-abs(x)) / 2`.
#[track_caller]
pub fn laplace(shape: impl Into<Shape>) -> Array {
    laplace_with(shape, LaplaceOptions::default())
}

/// Returns numbers with the Laplace distribution, `exp(-abs(x - loc) / scale) / (2 * scale)`.
#[track_caller]
pub fn laplace_with(shape: impl Into<Shape>, options: impl Into<LaplaceOptions>) -> Array {
    let (shape, options) = (shape.into(), options.into());
    let op = Op::RandomLaplace {
        shape: shape.0.clone(),
        dtype: options.dtype,
        loc: options.loc,
        scale: options.scale,
    };
    let draw = move |key: &Array| bind(op.clone(), &[key]);
    drawn(options.key.clone(), draw, move |keyword, key| {
        let key = Some(key.clone());
        match keyword {
            Keyword::Loc(loc) => {
                let loc = single(&loc)?;
                Some(laplace_with(
                    shape,
                    LaplaceOptions {
                        loc,
                        key,
                        ..options
                    },
                ))
            }
            Keyword::Scale(scale) => {
                let scale = single(&scale)?;
                let options = LaplaceOptions {
                    scale,
                    key,
                    ..options
                };
                Some(laplace_with(shape, options))
            }
            _ => None,
        }
    })
}

/// Returns `float32` numbers with the standard Gumbel distribution, `-log(-log(u))`.
#[track_caller]
pub fn gumbel(shape: impl Into<Shape>) -> Array {
    gumbel_with(shape, RandomOptions::default())
}

/// Returns numbers with the standard Gumbel distribution, of a dtype and from a key.
#[track_caller]
pub fn gumbel_with(shape: impl Into<Shape>, options: impl Into<RandomOptions>) -> Array {
    let options = options.into();
    let op = Op::RandomGumbel {
        shape: shape.into().0,
        dtype: options.dtype.unwrap_or(Dtype::Float32),
    };
    drawn_by(op, Vec::new(), options.key)
}

/// Returns `float32` standard normal numbers truncated to between `lower` and `upper`, which broadcast to `shape`.
#[track_caller]
pub fn truncated_normal(
    lower: impl Into<Operand>,
    upper: impl Into<Operand>,
    shape: impl Into<Shape>,
) -> Array {
    truncated_normal_with(lower, upper, shape, RandomOptions::default())
}

/// Returns truncated standard normal numbers, of a dtype and from a key.
#[track_caller]
pub fn truncated_normal_with(
    lower: impl Into<Operand>,
    upper: impl Into<Operand>,
    shape: impl Into<Shape>,
    options: impl Into<RandomOptions>,
) -> Array {
    let options = options.into();
    let op = Op::RandomTruncatedNormal {
        shape: shape.into().0,
        dtype: options.dtype.unwrap_or(Dtype::Float32),
    };
    between(op, lower, upper, options.key)
}

/// Applies an operation whose first inputs are the bounds of what it draws.
#[track_caller]
fn between(op: Op, low: impl Into<Operand>, high: impl Into<Operand>, key: Option<Array>) -> Array {
    drawn_by(op, vec![low.into().alone(), high.into().alone()], key)
}

/// Returns `float32` vectors from the normal distribution with this mean, `[..., n]`, and covariance, `[..., n, n]`:
/// `shape` of them, with which the leading axes of both broadcast.
#[track_caller]
pub fn multivariate_normal(mean: &Array, cov: &Array, shape: impl Into<Shape>) -> Array {
    multivariate_normal_with(mean, cov, shape, RandomOptions::default())
}

/// Returns vectors from a normal distribution, of a dtype (`float32`) and from a key.
#[track_caller]
pub fn multivariate_normal_with(
    mean: &Array,
    cov: &Array,
    shape: impl Into<Shape>,
    options: impl Into<RandomOptions>,
) -> Array {
    let options = options.into();
    let op = Op::RandomMultivariateNormal {
        shape: shape.into().0,
        dtype: options.dtype.unwrap_or(Dtype::Float32),
    };
    drawn_by(op, vec![mean.clone(), cov.clone()], options.key)
}

/// Returns `int32` numbers from `low` up to but not including `high`, which broadcast to `shape`.
///
/// Each of them equally often, in ranges of any width; the numbers of ranges up to 2^20 are those of Python MLX.
#[track_caller]
pub fn randint(
    low: impl Into<Operand>,
    high: impl Into<Operand>,
    shape: impl Into<Shape>,
) -> Array {
    randint_with(low, high, shape, RandomOptions::default())
}

/// Returns integers as [`randint`] does, of a dtype and from a key.
#[track_caller]
pub fn randint_with(
    low: impl Into<Operand>,
    high: impl Into<Operand>,
    shape: impl Into<Shape>,
    options: impl Into<RandomOptions>,
) -> Array {
    let options = options.into();
    let op = Op::RandomRandint {
        shape: shape.into().0,
        dtype: options.dtype.unwrap_or(Dtype::Int32),
    };
    between(op, low, high, options.key)
}

/// Returns `bool`s that are true with probability `p`, a floating number or array that broadcasts to `shape`.
#[track_caller]
pub fn bernoulli(p: impl Into<Operand>, shape: impl Into<Shape>) -> Array {
    bernoulli_of(p.into(), shape.into(), None)
}

/// Returns `bool`s that are true with probability `p`, from a key.
#[track_caller]
pub fn bernoulli_with(p: impl Into<Operand>, shape: impl Into<Shape>, key: &Array) -> Array {
    bernoulli_of(p.into(), shape.into(), Some(key.clone()))
}

#[track_caller]
fn bernoulli_of(p: Operand, Shape(shape): Shape, key: Option<Array>) -> Array {
    drawn_by(Op::RandomBernoulli { shape }, vec![p.alone()], key)
}

/// Returns positions along the last axis of `logits`, `uint32`, each with probability `softmax(logits)`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let logits = mlx::array!([[0.0, 100.0], [100.0, 0.0]]);
/// assert_eq!(mlx::random::categorical(&logits).to_vec::<u32>()?, [1, 0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn categorical(logits: &Array) -> Array {
    categorical_with(logits, CategoricalOptions::default())
}

/// Returns positions along an axis of `logits`, `uint32`, each with probability `softmax(logits)`: several for each row,
/// or in a shape, and from a key.
#[track_caller]
pub fn categorical_with(logits: &Array, options: impl Into<CategoricalOptions>) -> Array {
    Array::from_result(categorical_of(logits, options.into()))
}

#[track_caller]
fn categorical_of(logits: &Array, options: CategoricalOptions) -> Result<Array> {
    let CategoricalOptions {
        axis,
        shape,
        num_samples,
        key,
    } = options;
    let mut rest = logits.shape()?;
    logits.dim(axis)?;
    // `dim` has refused axes that are not there.
    let index = axis_index(axis, rest.len()).unwrap_or(0);
    rest.remove(index);
    let axis = i32::try_from(index).unwrap_or(i32::MAX);
    let whole = logits.clone();
    let draw = |shape, logits: Array| {
        let op = Op::RandomCategorical { axis, shape };
        let draw = move |key: &Array| bind(op.clone(), &[&logits, key]);
        drawn(key, draw, move |keyword, key| match keyword {
            Keyword::NumSamples(num) => {
                let options = CategoricalOptions {
                    num_samples: Some(num),
                    key: Some(key.clone()),
                    axis,
                    shape: None,
                };
                Some(categorical_with(&whole, options))
            }
            _ => None,
        })
    };
    match (shape, num_samples) {
        (None, None) => Ok(draw(rest, logits.clone())),
        (Some(Shape(shape)), None) => Ok(draw(shape, logits.clone())),
        (None, Some(num)) => {
            rest.push(num);
            Ok(draw(rest, logits.expand_dims(-1)))
        }
        (Some(_), Some(_)) => Err(Error::op(
            "random.categorical",
            "wanted shape or num_samples, got both",
        )),
    }
}

/// What [`permutation`] orders: a number of positions, or the slices of an array.
#[derive(Clone)]
pub enum Permuted {
    /// The positions from 0 up to but not including this.
    Positions(i32),
    /// The slices of an array along an axis.
    Array(Array),
}

impl<T: Integer> From<T> for Permuted {
    fn from(n: T) -> Self {
        Permuted::Positions(n.to_i32())
    }
}

impl From<&Array> for Permuted {
    fn from(array: &Array) -> Self {
        Permuted::Array(array.clone())
    }
}

impl From<Array> for Permuted {
    fn from(array: Array) -> Self {
        Permuted::Array(array)
    }
}

/// Returns `0, 1, ... n - 1` in random order, as `uint32`; or an array with its slices along the first axis in random
/// order.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let order = mlx::random::permutation(5);
/// assert_eq!(order.sort(0).to_vec::<u32>()?, [0, 1, 2, 3, 4]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn permutation(x: impl Into<Permuted>) -> Array {
    permutation_of(x.into(), 0, None)
}

/// Returns a random order as [`permutation`] does, along an axis and from a key.
#[track_caller]
pub fn permutation_with(x: impl Into<Permuted>, axis: impl Integer, key: &Array) -> Array {
    permutation_of(x.into(), axis.to_i32(), Some(key.clone()))
}

#[track_caller]
fn permutation_of(x: Permuted, axis: i32, key: Option<Array>) -> Array {
    let draw = move |key: &Array| match &x {
        Permuted::Array(x) => bind(Op::RandomPermutation { axis }, &[x, key]),
        Permuted::Positions(n) => bits(key, *n, 4).argsort(0),
    };
    drawn(key, draw, |_, _| None)
}
