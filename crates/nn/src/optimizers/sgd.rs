//! Stochastic gradient descent.

use mlx::{Array, Result};

use super::{Optimizer, OptimizerState, Schedule, StepContext, out_of_range};

/// Stochastic gradient descent: `v = momentum * v + (1 - dampening) * g`, `w = w - learning_rate * v`.
#[derive(Clone, Debug)]
pub struct Sgd {
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

impl Sgd {
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

impl Optimizer for Sgd {
    fn learning_rate(&self) -> &Schedule {
        &self.learning_rate
    }

    fn slots(&self) -> &'static [&'static str] {
        &["v"]
    }

    fn check(&self) -> Result<()> {
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            let wanted = "above 0 and dampening 0 for nesterov";
            return Err(out_of_range("sgd", "momentum", wanted, self.momentum));
        }
        Ok(())
    }

    fn state(&self) -> &OptimizerState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut OptimizerState {
        &mut self.state
    }

    #[track_caller]
    fn apply_single(
        &self,
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
            return parameter.clone();
        };
        if self.momentum <= 0.0 {
            return parameter - rate * gradient;
        }
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
