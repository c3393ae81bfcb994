//! Adam, AdamW and Adamax.

use mlx::{Array, Result};

use super::{Optimizer, OptimizerState, Schedule, StepContext, check_betas, check_decay, settings};

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
        check_decay(name, "eps", self.eps)
    }
}

settings! {
    Adam {
        betas: (f64, f64), "these decay rates";
        eps: f64, "this number added to the denominator";
        bias_correction: bool, "or without bias correction";
    }
}

impl Optimizer for Adam {
    fn learning_rate(&self) -> Option<&Schedule> {
        Some(&self.learning_rate)
    }

    fn slots(&self, _: &Array) -> &'static [&'static str] {
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
        let left = |beta: f64| 1.0 - mlx::full([], beta).power(&step.step);
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

settings! {
    AdamW {
        weight_decay: f64, "this weight decay";
    }
}

impl AdamW {
    /// Returns the optimizer with these decay rates.
    #[must_use]
    pub fn betas(mut self, betas: (f64, f64)) -> Self {
        self.adam.betas = betas;
        self
    }

    /// Returns the optimizer with this number added to the denominator.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.adam.eps = eps;
        self
    }

    /// Returns the optimizer with or without bias correction.
    #[must_use]
    pub fn bias_correction(mut self, bias_correction: bool) -> Self {
        self.adam.bias_correction = bias_correction;
        self
    }
}

impl Optimizer for AdamW {
    fn learning_rate(&self) -> Option<&Schedule> {
        Some(&self.adam.learning_rate)
    }

    fn slots(&self, parameter: &Array) -> &'static [&'static str] {
        self.adam.slots(parameter)
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

/// Adamax: Adam with a decaying maximum of `|g|` in the place of the root of `v`, and no bias correction:
/// `v = max(beta2 * v, |g|)`, `w = w - learning_rate * m / (v + eps)`.
#[derive(Clone, Debug)]
pub struct Adamax {
    /// The learning rate.
    pub learning_rate: Schedule,
    /// Decay rates of the mean and of the maximum. `(0.9, 0.999)` by default.
    pub betas: (f64, f64),
    /// Added to the denominator. `1e-8` by default.
    pub eps: f64,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl Adamax {
    /// Returns Adamax with its default settings.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            learning_rate: learning_rate.into(),
            betas: (0.9, 0.999),
            eps: 1e-8,
            state: OptimizerState::new(),
        }
    }
}

settings! {
    Adamax {
        betas: (f64, f64), "these decay rates";
        eps: f64, "this number added to the denominator";
    }
}

impl Optimizer for Adamax {
    fn learning_rate(&self) -> Option<&Schedule> {
        Some(&self.learning_rate)
    }

    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &["m", "v"]
    }

    fn check(&self) -> Result<()> {
        check_betas("adamax", self.betas)?;
        check_decay("adamax", "eps", self.eps)
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
        *m = &*m * b1 + gradient * (1.0 - b1);
        *v = (&*v * b2).maximum(gradient.abs());
        parameter - step.rate_for(gradient) * &*m / (&*v + self.eps)
    }
}
