//! Adafactor.

use mlx::{Array, Result, keepdims};

use super::{Optimizer, OptimizerState, Schedule, StepContext, out_of_range, settings};

/// Adafactor: Adam's second moment as a product of row and column means, and steps in proportion to the parameters.
///
/// Matrices, the last two axes, keep a mean for each row and each column in the place of one for each element. By
/// default the learning rate is relative, `min(0.01, 1 / sqrt(step))` times the root mean square of the parameter, and
/// none is given.
///
/// ```
/// use mlx_nn::optimizers::Adafactor;
/// let relative = Adafactor::new();
/// let fixed = Adafactor::new().learning_rate(1e-3).relative_step(false).scale_parameter(false);
/// assert!(relative.relative_step && !fixed.relative_step);
/// ```
#[derive(Clone, Debug)]
pub struct Adafactor {
    /// The learning rate; not used with `relative_step`. None by default.
    pub learning_rate: Option<Schedule>,
    /// Added to squares of gradients, and the least scale of a parameter. `(1e-30, 1e-3)` by default.
    pub eps: (f64, f64),
    /// The root mean square at which updates are clipped. 1 by default.
    pub clip_threshold: f64,
    /// The power of the step in the decay rate of the second moment, `1 - step^decay_rate`. -0.8 by default.
    pub decay_rate: f64,
    /// The decay rate of the first moment; there is none by default.
    pub beta_1: Option<f64>,
    /// The weight decay. 0 by default.
    pub weight_decay: f64,
    /// Whether the learning rate is multiplied by the root mean square of the parameter. True by default.
    pub scale_parameter: bool,
    /// Whether the learning rate is computed from the step. True by default.
    pub relative_step: bool,
    /// Whether a relative learning rate grows in the first steps, as `1e-6 * step`. False by default.
    pub warmup_init: bool,
    /// The state that [`Optimizer::update`] keeps: empty at first.
    pub state: OptimizerState,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            learning_rate: None,
            eps: (1e-30, 1e-3),
            clip_threshold: 1.0,
            decay_rate: -0.8,
            beta_1: None,
            weight_decay: 0.0,
            scale_parameter: true,
            relative_step: true,
            warmup_init: false,
            state: OptimizerState::new(),
        }
    }
}

settings! {
    Adafactor {
        eps: (f64, f64), "these least squares and scales";
        clip_threshold: f64, "this root mean square at which updates are clipped";
        decay_rate: f64, "this power of the step in the decay rate";
        weight_decay: f64, "this weight decay";
        scale_parameter: bool, "or without steps in proportion to the parameters";
        relative_step: bool, "or without a learning rate computed from the step";
        warmup_init: bool, "or without growth of the learning rate in the first steps";
    }
}

impl Adafactor {
    /// Returns Adafactor with its default settings, which need no learning rate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the optimizer with this learning rate, which is used without `relative_step`.
    #[must_use]
    pub fn learning_rate(mut self, learning_rate: impl Into<Schedule>) -> Self {
        self.learning_rate = Some(learning_rate.into());
        self
    }

    /// Returns the optimizer with a first moment of this decay rate, or without one.
    #[must_use]
    pub fn beta_1(mut self, beta_1: impl Into<Option<f64>>) -> Self {
        self.beta_1 = beta_1.into();
        self
    }

    /// Returns the learning rate of a step in the dtype of a parameter.
    #[track_caller]
    fn rate(&self, parameter: &Array, step: &StepContext) -> Array {
        let size = root_mean_square(parameter);
        let rate = match (self.relative_step, self.warmup_init) {
            (false, _) => step.learning_rate.clone(),
            (true, false) => step.step.rsqrt().minimum(1e-2),
            (true, true) => step.step.rsqrt().minimum(&step.step * 1e-6),
        };
        let rate = like(rate, parameter);
        match self.scale_parameter {
            true => size.maximum(self.eps.1) * rate,
            false => rate,
        }
    }

    /// Returns the gradient divided by the root of its second moment, which is updated.
    #[track_caller]
    fn scaled(&self, gradient: &Array, moments: &mut [Array], beta_2: &Array) -> Array {
        let squares = gradient.square() + self.eps.0;
        let left = 1.0 - beta_2;
        match moments {
            [rows, columns, ..] => {
                *rows = beta_2 * &*rows + &left * squares.mean(-1);
                *columns = beta_2 * &*columns + &left * squares.mean(-2);
                let by_row = (&*rows / rows.mean(keepdims(-1))).rsqrt().expand_dims(-1);
                let by_column = columns.rsqrt().expand_dims(-2);
                by_row * by_column * gradient
            }
            [all, ..] => {
                *all = beta_2 * &*all + left * squares;
                all.rsqrt() * gradient
            }
            [] => gradient.clone(),
        }
    }
}

impl Optimizer for Adafactor {
    fn learning_rate(&self) -> Option<&Schedule> {
        self.learning_rate.as_ref()
    }

    fn slots(&self, parameter: &Array) -> &'static [&'static str] {
        match (is_factored(parameter), self.beta_1.is_some()) {
            (true, false) => &["exp_avg_sq_row", "exp_avg_sq_col"],
            (true, true) => &["exp_avg_sq_row", "exp_avg_sq_col", "exp_avg"],
            (false, false) => &["exp_avg_sq"],
            (false, true) => &["exp_avg_sq", "exp_avg"],
        }
    }

    #[track_caller]
    fn init_single(&self, parameter: &Array) -> Vec<Array> {
        let zeros = mlx::zeros_like(parameter);
        let mut slots = match is_factored(parameter) {
            // Sums of zeros, which have the shapes of means.
            true => vec![zeros.sum(-1), zeros.sum(-2)],
            false => vec![zeros.clone()],
        };
        if self.beta_1.is_some() {
            slots.push(zeros);
        }
        slots
    }

    fn check(&self) -> Result<()> {
        if !self.relative_step && self.learning_rate.is_none() {
            let message = "a learning_rate is wanted without relative_step, got none";
            return Err(mlx::Error::op("adafactor", message));
        }
        match self.clip_threshold > 0.0 {
            true => Ok(()),
            false => {
                let clip = self.clip_threshold;
                Err(out_of_range("adafactor", "clip_threshold", "above 0", clip))
            }
        }
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
        let rate = self.rate(parameter, step);
        let beta_2 = 1.0 - like(step.step.power(self.decay_rate), parameter);
        let n_moments = if is_factored(gradient) { 2 } else { 1 };
        let Some((moments, first)) = slots.split_at_mut_checked(n_moments) else {
            return parameter.clone();
        };
        let update = self.scaled(gradient, moments, &beta_2);
        let clip = (root_mean_square(&update) / self.clip_threshold).maximum(1.0);
        let mut update = &rate * (update / clip);
        if let (Some(beta_1), [mean]) = (self.beta_1, first) {
            *mean = &*mean * beta_1 + update * (1.0 - beta_1);
            update = mean.clone();
        }
        match self.weight_decay {
            0.0 => parameter - update,
            decay => parameter + parameter * (rate * -decay) - update,
        }
    }
}

/// Returns whether a parameter has rows and columns.
fn is_factored(parameter: &Array) -> bool {
    parameter.ndim().is_ok_and(|ndim| ndim >= 2)
}

#[track_caller]
fn root_mean_square(x: &Array) -> Array {
    x.square().mean(()).sqrt()
}

#[track_caller]
fn like(x: Array, parameter: &Array) -> Array {
    match parameter.dtype() {
        Ok(dtype) => x.astype(dtype),
        Err(error) => Array::failed(error),
    }
}
