//! Initializers as functions from an array to one of its shape, `float32`, as in `mlx.nn.init`.
//!
//! They draw from this thread's random numbers; [`seed`](super::seed) makes them the same in each run.

use mlx::Array;

use super::{Fan, Init};

/// Returns a function that gives an array of the shape of its argument, made by `make`.
fn like(make: impl Fn(&mut Init, &[i32]) -> Array + Clone) -> impl Fn(&Array) -> Array + Clone {
    move |array| match array.shape() {
        Ok(shape) => make(&mut Init::default(), &shape),
        Err(error) => Array::failed(error),
    }
}

/// Returns the initializer with the same value everywhere.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let filled = mlx_nn::init::constant(0.5)(&mlx::array!([0.0, 0.0]));
/// assert_eq!(filled.to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok(())
/// # }
/// ```
pub fn constant(value: f32) -> impl Fn(&Array) -> Array + Clone {
    like(move |init, shape| init.constant(shape, value))
}

/// Returns the initializer with normally distributed values; Python's defaults are 0 and 1.
pub fn normal(mean: f32, std: f32) -> impl Fn(&Array) -> Array + Clone {
    like(move |init, shape| init.normal_around(shape, mean, std))
}

/// Returns the initializer with values uniformly distributed from `low` to `high`; Python's defaults are 0 and 1.
pub fn uniform(low: f32, high: f32) -> impl Fn(&Array) -> Array + Clone {
    like(move |init, shape| init.uniform_between(shape, low, high))
}

/// Returns the initializer with identity matrices, for arrays `[n, n]`.
pub fn identity() -> impl Fn(&Array) -> Array + Clone {
    like(|init, shape| init.identity(shape))
}

/// Returns the initializer of [`Init::glorot_normal`] with a gain of 1.
pub fn glorot_normal() -> impl Fn(&Array) -> Array + Clone {
    like(|init, shape| init.glorot_normal(shape, 1.0))
}

/// Returns the initializer of [`Init::glorot_uniform`] with a gain of 1.
pub fn glorot_uniform() -> impl Fn(&Array) -> Array + Clone {
    like(|init, shape| init.glorot_uniform(shape, 1.0))
}

/// Returns the initializer of [`Init::he_normal`] by the fan of inputs, with a gain of 1.
pub fn he_normal() -> impl Fn(&Array) -> Array + Clone {
    like(|init, shape| init.he_normal(shape, Fan::In, 1.0))
}

/// Returns the initializer of [`Init::he_uniform`] by the fan of inputs, with a gain of 1.
pub fn he_uniform() -> impl Fn(&Array) -> Array + Clone {
    like(|init, shape| init.he_uniform(shape, Fan::In, 1.0))
}

/// Returns the initializer of [`Init::sparse`]; Python's defaults of `mean` and `std` are 0 and 1.
pub fn sparse(sparsity: f32, mean: f32, std: f32) -> impl Fn(&Array) -> Array + Clone {
    like(move |init, shape| init.sparse(shape, sparsity, mean, std))
}

/// Returns the initializer of [`Init::orthogonal`]; Python's default gain is 1.
pub fn orthogonal(gain: f32) -> impl Fn(&Array) -> Array + Clone {
    like(move |init, shape| init.orthogonal(shape, gain))
}
