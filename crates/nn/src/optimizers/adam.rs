//! Adam and AdamW.

use mlx::{Array, Result};

use super::{Optimizer, OptimizerState, Schedule, StepContext, check_betas, out_of_range};

/// Adam: `m` and `v` are running means of the gradient and of its square, `w = w - learning_rate * m / (sqrt(v) + eps)`.
#[derive(Clone, Debug)]
pub struct Adam {
    /// The learning rate.
    pub learning_rate: Schedule,
    /// Decay rates of the running means. `(0.9, 0.999)` by default.
    pub betas: (f64, f64),
    /// Added to the denominator. `1e-8` by default.
    pub eps: f64,
    /// Whether the means are corrected for their start at 0. False by default, as in Python MLX.
    pub bias_correction: bool,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl Adam {
    /// Returns Adam with its default settings.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            learning_rate: learning_rate.into(),
            betas: (0.9, 0.999),
            eps: 1e-8,
            bias_correction: false,
            state: OptimizerState::new(),
        }
    }

    fn check_as(&self, name: &'static str) -> Result<()> {
        check_betas(name, self.betas)?;
        if self.eps.is_nan() || self.eps < 0.0 {
            return Err(out_of_range(name, "eps", "at least 0", self.eps));
        }
        Ok(())
    }
}

impl Optimizer for Adam {
    fn learning_rate(&self) -> &Schedule {
        &self.learning_rate
    }

    fn slots(&self) -> &'static [&'static str] {
        &["m", "v"]
    }

    fn check(&self) -> Result<()> {
        self.check_as("adam")
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
        let [m, v] = slots else {
            return parameter.clone();
        };
        let (b1, b2) = self.betas;
        let rate = step.rate_for(gradient);
        *m = &*m * b1 + gradient * (1.0 - b1);
        *v = &*v * b2 + gradient.square() * (1.0 - b2);
        if !self.bias_correction {
            return parameter - rate * &*m / (v.sqrt() + self.eps);
        }
        let left = |beta: f64| 1.0 - mlx::full((), beta).power(&step.step);
        let like = |correction: Array| match gradient.dtype() {
            Ok(dtype) => correction.astype(dtype),
            Err(error) => Array::failed(error),
        };
        let (c1, c2) = (like(rate / left(b1)), like(left(b2).rsqrt()));
        parameter - c1 * &*m / (v.sqrt() * c2 + self.eps)
    }
}

/// AdamW: Adam with decoupled weight decay, `learning_rate * weight_decay` in each step.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// Adam's settings.
    pub adam: Adam,
    /// The weight decay. `0.01` by default.
    pub weight_decay: f64,
}

impl AdamW {
    /// Returns AdamW with its default settings.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            adam: Adam::new(learning_rate),
            weight_decay: 0.01,
        }
    }
}

impl Optimizer for AdamW {
    fn learning_rate(&self) -> &Schedule {
        &self.adam.learning_rate
    }

    fn slots(&self) -> &'static [&'static str] {
        self.adam.slots()
    }

    fn check(&self) -> Result<()> {
        self.adam.check_as("adamw")
    }

    fn state(&self) -> &OptimizerState {
        &self.adam.state
    }

    fn state_mut(&mut self) -> &mut OptimizerState {
        &mut self.adam.state
    }

    #[track_caller]
    fn apply_single(
        &self,
        gradient: &Array,
        parameter: &Array,
        slots: &mut [Array],
        step: &StepContext,
    ) -> Array {
        let shrunk = parameter * (1.0 - step.rate_for(gradient) * self.weight_decay);
        self.adam.apply_single(gradient, &shrunk, slots, step)
    }
}
