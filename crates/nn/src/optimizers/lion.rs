//! Lion.

use mlx::{Array, Result};
use mlx_kernels::{LionStep, OptimizerStep};

use super::{Optimizer, OptimizerState, Schedule, StepContext, accessors, check_betas, settings};
use crate::kernels;

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
        if slots.len() != 1 {
            return parameter.clone();
        }
        let (betas, weight_decay) = (self.betas, self.weight_decay);
        kernels::stepped(
            move |rate, _| OptimizerStep::Lion(numbers(betas, weight_decay, rate)),
            move |gradient, parameter, slots, step| {
                composed((betas, weight_decay), gradient, parameter, slots, step)
            },
            (gradient, parameter),
            slots,
            step,
        )
    }
}

#[allow(clippy::cast_possible_truncation)]
fn numbers((b1, b2): (f64, f64), weight_decay: f64, rate: f32) -> LionStep {
    let decay = if weight_decay > 0.0 {
        weight_decay
    } else {
        0.0
    };
    LionStep {
        rate,
        shrink: 1.0 - rate * decay as f32,
        betas: [b1 as f32, b2 as f32],
        weights: [(1.0 - b1) as f32, (1.0 - b2) as f32],
    }
}

/// The step in MLX's operations.
#[track_caller]
fn composed(
    ((b1, b2), weight_decay): ((f64, f64), f64),
    gradient: &Array,
    parameter: &Array,
    slots: &mut [Array],
    step: &StepContext,
) -> Array {
    let [m] = slots else {
        return parameter.clone();
    };
    let rate = step.rate_for(gradient);
    let direction = (&*m * b1 + gradient * (1.0 - b1)).sign();
    *m = &*m * b2 + gradient * (1.0 - b2);
    let parameter = match weight_decay > 0.0 {
        true => (1.0 - &rate * weight_decay) * parameter,
        false => parameter.clone(),
    };
    parameter - rate * direction
}
