//! Muon.

use mlx::linalg::{self, Order};
use mlx::{Array, Result, addmm, addmm_with, keepdims};

use super::{Optimizer, OptimizerState, Schedule, StepContext, accessors, check_decay, settings};

/// The coefficients of the quintic iteration that moves singular values towards 1, of the first, third and fifth power.
const NEWTON_SCHULZ: (f32, f32, f32) = (3.4445, -4.7750, 2.0315);

/// Muon: momentum, whose matrices are replaced by nearly orthogonal ones with the same singular vectors.
///
/// `v = momentum * v + (1 - momentum) * g`, and `w = w - learning_rate * sqrt(max(1, rows / columns)) * orthogonal(v)`;
/// the singular values are moved towards 1 by `ns_steps` Newton-Schulz steps. Axes after the first are one axis for
/// that, so convolutions are matrices too. Parameters with fewer than two axes take plain steps; they, embeddings and
/// the last layer are better left to another optimizer, by [`MultiOptimizer`](super::MultiOptimizer).
#[derive(Clone, Debug)]
pub struct Muon {
    /// The learning rate.
    pub learning_rate: Schedule,
    /// The decay rate of the running mean. 0.95 by default.
    pub momentum: f64,
    /// The weight decay (L2 penalty). 0.01 by default.
    pub weight_decay: f64,
    /// Whether Nesterov momentum is used. True by default.
    pub nesterov: bool,
    /// Number of steps of the Newton-Schulz iteration. 5 by default.
    pub ns_steps: usize,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl Muon {
    /// Returns Muon with its default settings.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            learning_rate: learning_rate.into(),
            momentum: 0.95,
            weight_decay: 0.01,
            nesterov: true,
            ns_steps: 5,
            state: OptimizerState::new(),
        }
    }
}

settings! {
    Muon {
        momentum: f64, "this momentum";
        weight_decay: f64, "this weight decay";
        nesterov: bool, "or without Nesterov momentum";
    }
}

impl Muon {
    /// Returns the optimizer with this number of Newton-Schulz steps.
    #[must_use]
    pub fn ns_steps(mut self, ns_steps: usize) -> Self {
        self.ns_steps = ns_steps;
        self
    }
}

impl Optimizer for Muon {
    accessors!();

    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &["v"]
    }

    fn check(&self) -> Result<()> {
        check_decay("muon", "momentum", self.momentum)
    }

    #[track_caller]
    fn apply_single(
        &self,
        gradient: &Array,
        parameter: &Array,
        slots: &mut [Array],
        step: &StepContext,
    ) -> Array {
        let [v] = slots else {
            return parameter.clone();
        };
        let gradient = match self.weight_decay {
            0.0 => gradient.clone(),
            decay => gradient + parameter * decay,
        };
        let left = 1.0 - self.momentum;
        *v = &*v * self.momentum + &gradient * left;
        let update = match self.nesterov {
            true => &gradient * left + &*v * self.momentum,
            false => v.clone(),
        };
        let rate = step.rate_for(&gradient);
        match update.shape() {
            Ok(shape) => match shape.as_slice() {
                [.., rows, columns] => {
                    let tall = f64::from(*rows) / f64::from(*columns);
                    let update = orthogonal(&update, shape.len() > 2, self.ns_steps);
                    parameter - rate * tall.max(1.0).sqrt() * update.reshape(shape)
                }
                _ => parameter - rate * update,
            },
            Err(error) => Array::failed(error),
        }
    }
}

/// Returns a matrix with the singular vectors of `x` and singular values near 1; more axes are flattened into columns.
#[track_caller]
fn orthogonal(x: &Array, flatten: bool, steps: usize) -> Array {
    let x = match flatten {
        true => x.flatten(1, -1),
        false => x.clone(),
    };
    let is_tall = x.shape().is_ok_and(|shape| shape[0] > shape[1]);
    let x = if is_tall { x.t() } else { x };
    let norm = linalg::norm_with(&x, Order::Euclidean, keepdims(()));
    let (first, third, fifth) = NEWTON_SCHULZ;
    let mut x = &x / (norm + 1e-7);
    for _ in 0..steps {
        let square = x.matmul(&x.t());
        let polynomial = addmm_with(&(&square * third), &square, &square, fifth, 1.0);
        x = addmm(&(&x * first), &polynomial, &x);
    }
    if is_tall { x.t() } else { x }
}
