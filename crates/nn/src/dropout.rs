//! Dropout of single values, and of whole channels.

use mlx::{Array, Error, Result};

use crate::init::thread_key;
use crate::layer_error::in_layer;
use crate::{Module, ModuleState};

/// What is dropped at once: the axes of the input that share a random number, and how many axes it may have.
struct Unit {
    layer: &'static str,
    /// How many axes in front of the last one share a number.
    shared: usize,
    /// The smallest and largest number of axes; any number where nothing is shared.
    ndim: Option<[usize; 2]>,
}

impl Unit {
    /// Returns whether values are dropped.
    #[track_caller]
    fn is_active(&self, x: &Array, p: f32, state: &ModuleState) -> Result<bool> {
        if !(0.0..1.0).contains(&p) {
            let message = format!("p must be in [0, 1), got {p}");
            return Err(Error::op(self.layer, message));
        }
        if let Some([least, most]) = self.ndim
            && !(least..=most).contains(&x.ndim()?)
        {
            let message = format!("x must have {least} or {most} axes, got {:?}", x.shape()?);
            return Err(Error::op(self.layer, message));
        }
        Ok(state.training() && p != 0.0)
    }

    #[track_caller]
    fn forward(&self, x: &Array, p: f32, state: &ModuleState, key: Option<&Array>) -> Array {
        let is_active = match self.is_active(x, p, state) {
            Ok(is_active) => is_active,
            Err(error) => return Array::failed(error),
        };
        match (is_active, key) {
            (false, _) => x.clone(),
            (true, Some(key)) => self.dropped(x, p, key),
            (true, None) => self.dropped(x, p, &thread_key()),
        }
    }

    #[track_caller]
    fn dropped(&self, x: &Array, p: f32, key: &Array) -> Array {
        let kept = 1.0 - f64::from(p);
        let y = match x.sizes() {
            Ok(mut shape) => {
                let before_channels = shape.iter_mut().rev().skip(1);
                before_channels
                    .take(self.shared)
                    .for_each(|size| *size = 1.into());
                mlx::random::bernoulli_with(kept, shape, key) * x * (1.0 / kept)
            }
            Err(error) => Array::failed(error),
        };
        in_layer(self.layer, y, [x, key], || None)
    }
}

macro_rules! layers {
    ($($name:ident $unit:expr, $one:literal, $input:literal, $example:literal;)*) => {$(
        #[doc = concat!("Dropout of ", $one, ": in training mode, zeros ", $one, " with probability `p` and scales the others by `1 / (1 - p)`: `mlx.nn.", stringify!($name), "`.")]
        ///
        /// [`forward`](Self::forward) draws from this thread's random numbers, in compiled functions other ones in each
        /// call; [`forward_with_key`](Self::forward_with_key) draws from a key.
        ///
        /// ```
        #[doc = concat!("use mlx_nn::{", stringify!($name), ", Module};")]
        ///
        /// # fn main() -> mlx::Result<()> {
        #[doc = concat!("let x = mlx::ones(", $example, ");")]
        #[doc = concat!("let mut dropout = ", stringify!($name), "::new(0.5);")]
        /// let dropped = dropout.forward(&x).to_vec::<f32>()?;
        /// assert!(dropped.iter().all(|v| *v == 0.0 || *v == 2.0));
        /// dropout.eval();
        /// assert_eq!(dropout.forward(&x).to_vec::<f32>()?, x.to_vec::<f32>()?);
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Debug, PartialEq, Module)]
        pub struct $name {
            #[doc = concat!("The probability of dropping ", $one, ", from 0 to below 1.")]
            pub p: f32,
            /// Whether the layer is in training mode.
            pub state: ModuleState,
        }

        /// Drops with probability 0.5, as in Python.
        impl Default for $name {
            fn default() -> Self {
                Self::new(0.5)
            }
        }

        impl $name {
            #[doc = concat!("Returns a layer that drops ", $one, " with probability `p`.")]
            pub fn new(p: f32) -> Self {
                Self {
                    p,
                    state: ModuleState::default(),
                }
            }

            #[doc = concat!("Drops ", $one, " of ", $input, " in training mode, by this thread's random numbers, and returns `x` in evaluation mode.")]
            ///
            /// A `p` outside of `[0, 1)` and an input with another number of axes give an array that carries the error.
            #[track_caller]
            pub fn forward(&self, x: &Array) -> Array {
                $unit.forward(x, self.p, &self.state, None)
            }

            #[doc = concat!("Drops ", $one, " of ", $input, " in training mode, by this key, and returns `x` in evaluation mode.")]
            ///
            /// A `p` outside of `[0, 1)`, and an input with another number of axes give an array that carries the error.
            #[track_caller]
            pub fn forward_with_key(&self, x: &Array, key: &Array) -> Array {
                $unit.forward(x, self.p, &self.state, Some(key))
            }

            /// Returns whether [`forward`](Self::forward) draws random numbers: in training mode, with a `p` above 0.
            pub fn is_active(&self) -> bool {
                self.state.training() && self.p != 0.0
            }
        }

        impl crate::Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Array) -> Array {
                Self::forward(self, x)
            }
        }
    )*};
}

layers! {
    Dropout Unit { layer: "Dropout", shared: 0, ndim: None },
        "a value", "an array of any shape", "[1000]";
    Dropout2d Unit { layer: "Dropout2d", shared: 2, ndim: Some([3, 4]) },
        "a channel", "`[batch, height, width, channels]` or `[height, width, channels]`", "[2, 4, 4, 8]";
    Dropout3d Unit { layer: "Dropout3d", shared: 3, ndim: Some([4, 5]) },
        "a channel", "`[batch, depth, height, width, channels]` or `[depth, height, width, channels]`",
        "[2, 2, 4, 4, 8]";
}
