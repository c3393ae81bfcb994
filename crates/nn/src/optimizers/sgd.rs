//! Stochastic gradient descent.

use mlx::{Array, Result};
use mlx_kernels::{MomentumStep, OptimizerStep, SgdStep};

use super::{Optimizer, OptimizerState, Schedule, StepContext, accessors, out_of_range, settings};
use crate::kernels;

/// Stochastic gradient descent: `v = momentum * v + (1 - dampening) * g`, `w = w - learning_rate * v`.
///
/// ```
/// use mlx_nn::optimizers::SGD;
/// let sgd = SGD::new(0.1).momentum(0.9).nesterov(true);
/// assert_eq!(sgd.momentum, 0.9);
/// ```
#[derive(Clone, Debug)]
pub struct SGD {
    /// The learning rate.
    pub learning_rate: Schedule,
    /// The momentum. 0 by default.
    pub momentum: f64,
    /// The weight decay (L2 penalty). 0 by default.
    pub weight_decay: f64,
    /// The dampening of gradients in the momentum. 0 by default.
    pub dampening: f64,
    /// Whether Nesterov momentum is used; needs momentum and no dampening.
    pub nesterov: bool,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl SGD {
    /// Returns plain gradient descent.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            learning_rate: learning_rate.into(),
            momentum: 0.0,
            weight_decay: 0.0,
            dampening: 0.0,
            nesterov: false,
            state: OptimizerState::new(),
        }
    }
}

settings! {
    SGD {
        momentum: f64, "this momentum";
        weight_decay: f64, "this weight decay";
        dampening: f64, "this dampening of gradients";
        nesterov: bool, "or without Nesterov momentum";
    }
}

/// The former name of [`SGD`].
pub type Sgd = SGD;

impl Optimizer for SGD {
    accessors!();

    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &["v"]
    }

    fn check(&self) -> Result<()> {
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            let wanted = "above 0 and dampening 0 for nesterov";
            return Err(out_of_range("sgd", "momentum", wanted, self.momentum));
        }
        Ok(())
    }

    #[track_caller]
    fn apply_single(
        &self,
        gradient: &Array,
        parameter: &Array,
        slots: &mut [Array],
        step: &StepContext,
    ) -> Array {
        let settings = Settings {
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            dampening: self.dampening,
            nesterov: self.nesterov,
        };
        // Without momentum there is nothing to do with the velocity.
        let used = match (self.momentum <= 0.0, slots.len()) {
            (true, _) => &mut [],
            (false, 1) => slots,
            _ => return parameter.clone(),
        };
        kernels::stepped(
            move |rate, _| settings.numbers(rate),
            move |gradient, parameter, slots, step| {
                settings.composed(gradient, parameter, slots, step)
            },
            (gradient, parameter),
            used,
            step,
        )
    }
}

/// The numbers of [`SGD`].
#[derive(Clone, Copy)]
struct Settings {
    momentum: f64,
    weight_decay: f64,
    dampening: f64,
    nesterov: bool,
}

impl Settings {
    #[allow(clippy::cast_possible_truncation)]
    fn numbers(self, rate: f32) -> OptimizerStep {
        let weight_decay = self.weight_decay as f32;
        if self.momentum <= 0.0 {
            return OptimizerStep::Sgd(SgdStep { rate, weight_decay });
        }
        OptimizerStep::Momentum(MomentumStep {
            rate,
            weight_decay,
            momentum: self.momentum as f32,
            weight: (1.0 - self.dampening.max(0.0)) as f32,
            nesterov: self.nesterov,
        })
    }

    /// The step in MLX's operations, with the velocity if there is momentum.
    #[track_caller]
    fn composed(
        self,
        gradient: &Array,
        parameter: &Array,
        slots: &mut [Array],
        step: &StepContext,
    ) -> Array {
        let gradient = match self.weight_decay {
            0.0 => gradient.clone(),
            decay => gradient + parameter * decay,
        };
        let rate = step.rate_for(&gradient);
        let [v] = slots else {
            return parameter - rate * gradient;
        };
        *v = if self.dampening > 0.0 {
            &*v * self.momentum + &gradient * (1.0 - self.dampening)
        } else {
            &*v * self.momentum + &gradient
        };
        let update = if self.nesterov {
            gradient + &*v * self.momentum
        } else {
            v.clone()
        };
        parameter - rate * update
    }
}
