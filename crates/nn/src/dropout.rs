//! Dropout.

use mlx::{Array, Error};

use crate::layer_error::in_layer;

/// Dropout: zeros values with probability `p` and scales the others by `1 / (1 - p)`, when it is given a key.
///
/// Randomness is an argument and not hidden state, so that a compiled training step draws new numbers each time.
///
/// ```
/// use mlx_nn::Dropout;
///
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::ones([1000], mlx::Dtype::Float32);
/// let dropout = Dropout::new(0.5);
/// assert_eq!(dropout.forward(&x, None).sum(()).item::<f32>()?, 1000.0);
/// let dropped = dropout.forward(&x, Some(&mlx::random::key(0))).to_vec::<f32>()?;
/// assert!(dropped.iter().all(|v| *v == 0.0 || *v == 2.0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability of dropping a value, from 0 to below 1.
    pub p: f32,
}

impl Dropout {
    /// Returns a layer that drops values with probability `p`.
    pub fn new(p: f32) -> Self {
        Self { p }
    }

    /// Drops values when there is a key, and returns `x` unchanged without one, as for inference.
    ///
    /// A `p` outside of `[0, 1)` gives an array that carries the error.
    #[track_caller]
    pub fn forward(&self, x: &Array, key: Option<&Array>) -> Array {
        if !(0.0..1.0).contains(&self.p) {
            let message = format!("p must be in [0, 1), got {}", self.p);
            return Array::failed(Error::op("Dropout", message));
        }
        let Some(key) = key.filter(|_| self.p > 0.0) else {
            return x.clone();
        };
        let kept = 1.0 - f64::from(self.p);
        let y = match x.shape() {
            Ok(shape) => mlx::random::bernoulli(key, shape, kept) * x * (1.0 / kept),
            Err(error) => Array::failed(error),
        };
        in_layer("Dropout", y, [x, key], || None)
    }
}
