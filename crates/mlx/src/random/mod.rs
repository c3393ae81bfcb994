//! Random numbers, as Python's `mlx.core.random`: from a default key of the thread, or from explicit keys.
//!
//! [`seed`] sets the default key. With options (`normal_with`, ...) a function draws with a key of its own: the same key
//! always gives the same numbers, so it is used once and then [split](split()).
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

use crate::bind::bind_shape;
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
    let width = width.to_i32();
    bind_shape(shape, |shape| Op::RandomBits { shape, width }, &[key])
}

/// Returns the key given, or one of the thread's own.
#[track_caller]
fn given(key: Option<Array>) -> Array {
    match key {
        Some(key) => key,
        None => next_key(),
    }
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
    let dtype = options.dtype.unwrap_or(Dtype::Float32);
    let op = |shape| Op::RandomUniform { shape, dtype };
    between(shape, op, (low, high), options.key)
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
    let options = options.into();
    let (dtype, key) = (options.dtype, given(options.key));
    let plain = |loc, scale| {
        move |shape| Op::RandomNormal {
            shape,
            dtype,
            loc,
            scale,
        }
    };
    match (single(&options.loc), single(&options.scale)) {
        (Some(loc), Some(scale)) => bind_shape(shape, plain(loc, scale), &[&key]),
        // As MLX does for arrays.
        _ => {
            let drawn = bind_shape(shape, plain(0.0, 1.0), &[&key]);
            let cast = |operand: Operand| operand.beside(&drawn).astype(dtype);
            &drawn * cast(options.scale) + cast(options.loc)
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
    let LaplaceOptions {
        loc,
        scale,
        dtype,
        key,
    } = options.into();
    let op = |shape| Op::RandomLaplace {
        shape,
        dtype,
        loc,
        scale,
    };
    bind_shape(shape, op, &[&given(key)])
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
    let dtype = options.dtype.unwrap_or(Dtype::Float32);
    let op = |shape| Op::RandomGumbel { shape, dtype };
    bind_shape(shape, op, &[&given(options.key)])
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
    let dtype = options.dtype.unwrap_or(Dtype::Float32);
    let op = |shape| Op::RandomTruncatedNormal { shape, dtype };
    between(shape, op, (lower, upper), options.key)
}

/// Applies an operation whose first inputs are the bounds of what it draws.
#[track_caller]
fn between(
    shape: impl Into<Shape>,
    op: impl FnOnce(Vec<i32>) -> Op,
    (low, high): (impl Into<Operand>, impl Into<Operand>),
    key: Option<Array>,
) -> Array {
    let (low, high) = (low.into().alone(), high.into().alone());
    bind_shape(shape, op, &[&low, &high, &given(key)])
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
        shape: shape.into().into_numbers(),
        dtype: options.dtype.unwrap_or(Dtype::Float32),
    };
    bind(op, &[mean, cov, &given(options.key)])
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
    let dtype = options.dtype.unwrap_or(Dtype::Int32);
    let op = |shape| Op::RandomRandint { shape, dtype };
    between(shape, op, (low, high), options.key)
}

/// Returns `bool`s that are true with probability `p`, a floating number or array that broadcasts to `shape`.
#[track_caller]
pub fn bernoulli(p: impl Into<Operand>, shape: impl Into<Shape>) -> Array {
    bernoulli_with(p, shape, &next_key())
}

/// Returns `bool`s that are true with probability `p`, from a key.
#[track_caller]
pub fn bernoulli_with(p: impl Into<Operand>, shape: impl Into<Shape>, key: &Array) -> Array {
    let op = |shape| Op::RandomBernoulli { shape };
    bind_shape(shape, op, &[&p.into().alone(), key])
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
    let draw = |shape, logits: &Array| {
        let op = Op::RandomCategorical { axis, shape };
        bind(op, &[logits, &given(key)])
    };
    match (shape, num_samples) {
        (None, None) => Ok(draw(rest, logits)),
        (Some(shape), None) => Ok(draw(shape.into_numbers(), logits)),
        (None, Some(num)) => {
            rest.push(num);
            Ok(draw(rest, &logits.expand_dims(-1)))
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
    permutation_with(x, 0, &next_key())
}

/// Returns a random order as [`permutation`] does, along an axis and from a key.
#[track_caller]
pub fn permutation_with(x: impl Into<Permuted>, axis: impl Integer, key: &Array) -> Array {
    let axis = axis.to_i32();
    match x.into() {
        Permuted::Array(x) => bind(Op::RandomPermutation { axis }, &[&x, key]),
        Permuted::Positions(n) => bits(key, n, 4).argsort(0),
    }
}
