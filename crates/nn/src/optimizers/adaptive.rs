//! RMSprop, Adagrad and AdaDelta: steps divided by a root of past squares of the gradient.

use mlx::{Array, Result};
use mlx_kernels::{OptimizerStep, RmsPropStep};

use super::{
    Optimizer, OptimizerState, Schedule, StepContext, accessors, check_decay, check_eps, settings,
};
use crate::kernels;

/// RMSprop: `v` is a running mean of the square of the gradient, `w = w - learning_rate * g / (sqrt(v) + eps)`.
///
/// ```
/// use mlx_nn::optimizers::RMSprop;
/// assert_eq!(RMSprop::new(0.01).alpha(0.9).eps, 1e-8);
/// ```
#[derive(Clone, Debug)]
pub struct RMSprop {
    /// The learning rate.
    pub learning_rate: Schedule,
    /// The decay rate of the running mean. 0.99 by default.
    pub alpha: f64,
    /// Added to the denominator. `1e-8` by default.
    pub eps: f64,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl RMSprop {
    /// Returns RMSprop with its default settings.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            learning_rate: learning_rate.into(),
            alpha: 0.99,
            eps: 1e-8,
            state: OptimizerState::new(),
        }
    }
}

settings! {
    RMSprop {
        alpha: f64, "this decay rate";
        eps: f64, "this number added to the denominator";
    }
}

impl Optimizer for RMSprop {
    accessors!();

    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &["v"]
    }

    fn check(&self) -> Result<()> {
        check_decay("rmsprop", "alpha", self.alpha)?;
        check_eps("rmsprop", self.eps)
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
        let (alpha, eps) = (self.alpha, self.eps);
        #[allow(clippy::cast_possible_truncation)]
        let numbers = move |rate, _| {
            OptimizerStep::RmsProp(RmsPropStep {
                rate,
                alpha: alpha as f32,
                weight: (1.0 - alpha) as f32,
                eps: eps as f32,
            })
        };
        kernels::stepped(
            numbers,
            move |gradient, parameter, slots, step| {
                let [v] = slots else {
                    return parameter.clone();
                };
                *v = &*v * alpha + gradient.square() * (1.0 - alpha);
                parameter - step.rate_for(gradient) * gradient / (v.sqrt() + eps)
            },
            (gradient, parameter),
            slots,
            step,
        )
    }
}

/// Adagrad: `v` is the sum of all squares of the gradient, `w = w - learning_rate * g / (sqrt(v) + eps)`.
#[derive(Clone, Debug)]
pub struct Adagrad {
    /// The learning rate.
    pub learning_rate: Schedule,
    /// Added to the denominator. `1e-8` by default.
    pub eps: f64,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl Adagrad {
    /// Returns Adagrad with its default settings.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            learning_rate: learning_rate.into(),
            eps: 1e-8,
            state: OptimizerState::new(),
        }
    }
}

settings! {
    Adagrad {
        eps: f64, "this number added to the denominator";
    }
}

impl Optimizer for Adagrad {
    accessors!();

    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &["v"]
    }

    fn check(&self) -> Result<()> {
        check_eps("adagrad", self.eps)
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
        *v = &*v + gradient.square();
        parameter - step.rate_for(gradient) * gradient / (v.sqrt() + self.eps)
    }
}

/// AdaDelta: `v` and `u` are running means of the squares of the gradient and of the step `d`,
/// `d = sqrt(u + eps) / sqrt(v + eps) * g`, `w = w - learning_rate * d`.
#[derive(Clone, Debug)]
pub struct AdaDelta {
    /// The learning rate.
    pub learning_rate: Schedule,
    /// The decay rate of both running means. 0.9 by default.
    pub rho: f64,
    /// Added to both means. `1e-6` by default.
    pub eps: f64,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl AdaDelta {
    /// Returns AdaDelta with its default settings.
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self {
            learning_rate: learning_rate.into(),
            rho: 0.9,
            eps: 1e-6,
            state: OptimizerState::new(),
        }
    }
}

settings! {
    AdaDelta {
        rho: f64, "this decay rate";
        eps: f64, "this number added to both means";
    }
}

impl Optimizer for AdaDelta {
    accessors!();

    fn slots(&self, _: &Array) -> &'static [&'static str] {
        &["v", "u"]
    }

    fn check(&self) -> Result<()> {
        check_decay("adadelta", "rho", self.rho)?;
        check_eps("adadelta", self.eps)
    }

    #[track_caller]
    fn apply_single(
        &self,
        gradient: &Array,
        parameter: &Array,
        slots: &mut [Array],
        step: &StepContext,
    ) -> Array {
        let [v, u] = slots else {
            return parameter.clone();
        };
        let left = 1.0 - self.rho;
        *v = &*v * self.rho + gradient.square() * left;
        let change = (&*u + self.eps).sqrt() / (&*v + self.eps).sqrt() * gradient;
        *u = &*u * self.rho + change.square() * left;
        parameter - step.rate_for(gradient) * change
    }
}
