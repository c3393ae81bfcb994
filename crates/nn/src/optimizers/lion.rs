//! Lion.

use mlx::{Array, Result};

use super::{Optimizer, Schedule, StepContext, check_betas};

/// Lion: follows the sign of a running mean. Wants a learning rate 3 to 10 times smaller than AdamW.
#[derive(Clone, Debug)]
pub struct Lion {
    /// The learning rate.
    pub learning_rate: Schedule,
    /// How much of the mean goes into the step, and how much of it stays. `(0.9, 0.99)` by default.
    pub betas: (f64, f64),
    /// How much parameters shrink. 0 by default.
    pub weight_decay: f64,
}

impl Lion {
    /// Returns Lion with its usual settings.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            learning_rate: learning_rate.into(),
            betas: (0.9, 0.99),
            weight_decay: 0.0,
        }
    }
}

impl Optimizer for Lion {
    fn learning_rate(&self) -> &Schedule {
        &self.learning_rate
    }

    fn slots(&self) -> &'static [&'static str] {
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
