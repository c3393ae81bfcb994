//! Lion.

use mlx::{Array, Result};

use super::{Optimizer, OptimizerState, Schedule, StepContext, accessors, check_betas, settings};

/// Lion: follows the sign of a running mean. Its learning rate should be 3 to 10 times smaller than AdamW's.
#[derive(Clone, Debug)]
pub struct Lion {
    /// The learning rate.
    pub learning_rate: Schedule,
    /// Weight of the mean in the update, and its decay rate. `(0.9, 0.99)` by default.
    pub betas: (f64, f64),
    /// The weight decay. 0 by default.
    pub weight_decay: f64,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl Lion {
    /// Returns Lion with its default settings.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            learning_rate: learning_rate.into(),
            betas: (0.9, 0.99),
            weight_decay: 0.0,
            state: OptimizerState::new(),
        }
    }
}

settings! {
    Lion {
        betas: (f64, f64), "these decay rates";
        weight_decay: f64, "this weight decay";
    }
}

impl Optimizer for Lion {
    accessors!();

    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &["m"]
    }

    fn check(&self) -> Result<()> {
        check_betas("lion", self.betas)
    }

    #[track_caller]
    fn apply_single(
        &self,
        gradient: &Array,
        parameter: &Array,
        slots: &mut [Array],
        step: &StepContext,
    ) -> Array {
        let [m] = slots else {
            return parameter.clone();
        };
        let (b1, b2) = self.betas;
        let rate = step.rate_for(gradient);
        let direction = (&*m * b1 + gradient * (1.0 - b1)).sign();
        *m = &*m * b2 + gradient * (1.0 - b2);
        let parameter = match self.weight_decay > 0.0 {
            true => (1.0 - &rate * self.weight_decay) * parameter,
            false => parameter.clone(),
        };
        parameter - rate * direction
    }
}
