//! Dropout.

use mlx::{Array, Error, Result};

use crate::init::thread_key;
use crate::layer_error::in_layer;
use crate::{Module, ModuleState};

/// Dropout: in training mode, zeros values with probability `p` and scales the others by `1 / (1 - p)`:
/// `mlx.nn.Dropout`.
///
/// [`forward`](Self::forward) draws from this thread's random numbers, in compiled functions other ones in each call;
/// [`forward_with_key`](Self::forward_with_key) draws from a key.
///
/// ```
/// use mlx_nn::{Dropout, Module};
///
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::ones([1000]);
/// let mut dropout = Dropout::new(0.5);
/// let dropped = dropout.forward(&x).to_vec::<f32>()?;
/// assert!(dropped.iter().all(|v| *v == 0.0 || *v == 2.0));
/// dropout.eval();
/// assert_eq!(dropout.forward(&x).sum(()).item::<f32>()?, 1000.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Module)]
pub struct Dropout {
    /// The probability of dropping a value, from 0 to below 1.
    pub p: f32,
    /// Whether the layer is in training mode.
    pub state: ModuleState,
}

impl Dropout {
    /// Returns a layer that drops values with probability `p`.
    pub fn new(p: f32) -> Self {
        Self {
            p,
            state: ModuleState::default(),
        }
    }

    /// Drops values in training mode, by this thread's random numbers, and returns `x` in evaluation mode.
    ///
    /// A `p` outside of `[0, 1)`, and a function that is being compiled, give an array that carries the error.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        match self.is_active() {
            Err(error) => Array::failed(error),
            Ok(false) => x.clone(),
            Ok(true) => self.dropped(x, &thread_key()),
        }
    }

    /// Drops values in training mode, by this key, and returns `x` in evaluation mode.
    ///
    /// A `p` outside of `[0, 1)` gives an array that carries the error.
    #[track_caller]
    pub fn forward_with_key(&self, x: &Array, key: &Array) -> Array {
        match self.is_active() {
            Err(error) => Array::failed(error),
            Ok(false) => x.clone(),
            Ok(true) => self.dropped(x, key),
        }
    }

    /// Returns whether values are dropped.
    #[track_caller]
    fn is_active(&self) -> Result<bool> {
        if !(0.0..1.0).contains(&self.p) {
            let message = format!("p must be in [0, 1), got {}", self.p);
            return Err(Error::op("Dropout", message));
        }
        Ok(self.state.training() && self.p != 0.0)
    }

    #[track_caller]
    fn dropped(&self, x: &Array, key: &Array) -> Array {
        let kept = 1.0 - f64::from(self.p);
        let y = match x.shape() {
            Ok(shape) => mlx::random::bernoulli_with(kept, shape, key) * x * (1.0 / kept),
            Err(error) => Array::failed(error),
        };
        in_layer("Dropout", y, [x, key], || None)
    }
}
