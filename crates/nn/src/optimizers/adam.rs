//! Adam, AdamW and Adamax.

use mlx::{Array, Result};
use mlx_kernels::{AdamStep, OptimizerStep};

use super::{
    Optimizer, OptimizerState, Schedule, StepContext, accessors, check_betas, check_decay, settings,
};
use crate::kernels;

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
}

settings! {
    Adam {
        betas: (f64, f64), "these decay rates";
        eps: f64, "this number added to the denominator";
        bias_correction: bool, "or without bias correction";
    }
}

impl Optimizer for Adam {
    accessors!();

    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &["m", "v"]
    }

    fn check(&self) -> Result<()> {
        check("adam", self.betas, self.eps)
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
            betas: self.betas,
            eps: self.eps,
            weight_decay: 0.0,
            bias_correction: self.bias_correction,
        };
        settings.stepped(gradient, parameter, slots, step)
    }
}

/// AdamW: Adam with decoupled weight decay, `learning_rate * weight_decay` in each step.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// The learning rate.
    pub learning_rate: Schedule,
    /// Decay rates of the running means. `(0.9, 0.999)` by default.
    pub betas: (f64, f64),
    /// Added to the denominator. `1e-8` by default.
    pub eps: f64,
    /// The weight decay. `0.01` by default.
    pub weight_decay: f64,
    /// Whether the means are corrected for their start at 0. False by default, as in Python MLX.
    pub bias_correction: bool,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl AdamW {
    /// Returns AdamW with its default settings.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            learning_rate: learning_rate.into(),
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.01,
            bias_correction: false,
            state: OptimizerState::new(),
        }
    }
}

settings! {
    AdamW {
        betas: (f64, f64), "these decay rates";
        eps: f64, "this number added to the denominator";
        weight_decay: f64, "this weight decay";
        bias_correction: bool, "or without bias correction";
    }
}

impl Optimizer for AdamW {
    accessors!();

    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &["m", "v"]
    }

    fn check(&self) -> Result<()> {
        check("adamw", self.betas, self.eps)
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
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            bias_correction: self.bias_correction,
        };
        settings.stepped(gradient, parameter, slots, step)
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
    accessors!();

    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &["m", "v"]
    }

    fn check(&self) -> Result<()> {
        check("adamax", self.betas, self.eps)
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

fn check(name: &'static str, betas: (f64, f64), eps: f64) -> Result<()> {
    check_betas(name, betas)?;
    check_decay(name, "eps", eps)
}

/// The numbers of [`Adam`], or of [`AdamW`] with a weight decay.
#[derive(Clone, Copy)]
struct Settings {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    bias_correction: bool,
}

impl Settings {
    /// Returns a parameter after a step, and updates its slots.
    #[track_caller]
    fn stepped(
        self,
        gradient: &Array,
        parameter: &Array,
        slots: &mut [Array],
        step: &StepContext,
    ) -> Array {
        if slots.len() != 2 {
            return parameter.clone();
        }
        kernels::stepped(
            move |rate, step| OptimizerStep::Adam(self.numbers(rate, step)),
            move |gradient, parameter, slots, step| self.composed(gradient, parameter, slots, step),
            (gradient, parameter),
            slots,
            step,
        )
    }

    /// The numbers of a step, in `float32` as MLX's operations compute them.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn numbers(self, rate: f32, step: u64) -> AdamStep {
        let (b1, b2) = self.betas;
        let left = |beta: f64| 1.0 - (beta as f32).powf(step as f32);
        let (rate_scale, root_scale) = match self.bias_correction {
            true => (left(b1), 1.0 / left(b2).sqrt()),
            false => (1.0, 1.0),
        };
        AdamStep {
            rate: rate / rate_scale,
            shrink: 1.0 - rate * self.weight_decay as f32,
            betas: [b1 as f32, b2 as f32],
            weights: [(1.0 - b1) as f32, (1.0 - b2) as f32],
            root_scale,
            eps: self.eps as f32,
        }
    }

    /// The step in MLX's operations.
    #[track_caller]
    fn composed(
        self,
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
        let parameter = match self.weight_decay {
            0.0 => parameter.clone(),
            decay => parameter * (1.0 - &rate * decay),
        };
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
