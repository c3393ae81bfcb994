//! Losses of numbers: of predictions against targets.

use std::f64::consts::{LN_2, PI};

use mlx::{Array, where_};

use super::{Reduction, options, reduced, same_shapes};
use crate::layer_error::in_layer;

/// Returns the mean of `|predictions - targets|`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx_nn::losses::{Reduction, l1_loss, l1_loss_with};
/// let (x, y) = (mlx::array!([1.0, 2.0]), mlx::array!([0.0, 4.0]));
/// assert_eq!(l1_loss(&x, &y).item::<f32>()?, 1.5);
/// assert_eq!(l1_loss_with(&x, &y, Reduction::Sum).item::<f32>()?, 3.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
#[doc(alias = "mean_absolute_error")]
pub fn l1_loss(predictions: &Array, targets: &Array) -> Array {
    l1_loss_with(predictions, targets, Reduction::Mean)
}

/// Returns [`l1_loss`] with another reduction.
#[track_caller]
pub fn l1_loss_with(predictions: &Array, targets: &Array, reduction: Reduction) -> Array {
    match same_shapes("l1_loss", [predictions, targets]) {
        Err(error) => Array::failed(error),
        Ok(()) => reduced((predictions - targets).abs(), reduction),
    }
}

/// Returns the mean of `(predictions - targets)^2`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let (x, y) = (mlx::array!([1.0, 2.0]), mlx::array!([0.0, 4.0]));
/// assert_eq!(mlx_nn::losses::mse_loss(&x, &y).item::<f32>()?, 2.5);
/// # Ok(())
/// # }
/// ```
#[track_caller]
#[doc(alias = "mean_squared_error")]
pub fn mse_loss(predictions: &Array, targets: &Array) -> Array {
    mse_loss_with(predictions, targets, Reduction::Mean)
}

/// Returns [`mse_loss`] with another reduction.
#[track_caller]
pub fn mse_loss_with(predictions: &Array, targets: &Array, reduction: Reduction) -> Array {
    match same_shapes("mse_loss", [predictions, targets]) {
        Err(error) => Array::failed(error),
        Ok(()) => reduced((predictions - targets).square(), reduction),
    }
}

/// The options of [`smooth_l1_loss_with`]: by default `beta` 1, the mean.
#[derive(Clone, Copy, Debug)]
pub struct SmoothL1LossOptions {
    /// The distance from which the loss is linear. 1 by default.
    pub beta: f64,
    /// The reduction of the losses.
    pub reduction: Reduction,
}

impl Default for SmoothL1LossOptions {
    fn default() -> Self {
        Self {
            beta: 1.0,
            reduction: Reduction::Mean,
        }
    }
}

options!(SmoothL1LossOptions);

/// Returns the mean of `d^2 / 2` where the distance `d` is below 1, and of `d - 1 / 2` elsewhere.
#[track_caller]
pub fn smooth_l1_loss(predictions: &Array, targets: &Array) -> Array {
    smooth_l1_loss_with(predictions, targets, SmoothL1LossOptions::default())
}

/// Returns `d^2 / (2 beta)` where the distance `d` is below `beta`, and `d - beta / 2` elsewhere.
#[track_caller]
pub fn smooth_l1_loss_with(
    predictions: &Array,
    targets: &Array,
    options: impl Into<SmoothL1LossOptions>,
) -> Array {
    let SmoothL1LossOptions { beta, reduction } = options.into();
    if let Err(error) = same_shapes("smooth_l1_loss", [predictions, targets]) {
        return Array::failed(error);
    }
    let distance = (predictions - targets).abs();
    if beta == 0.0 {
        // No distance is below 0; dividing by `beta` would make the gradient NaN.
        return reduced(distance, reduction);
    }
    let near = 0.5 * distance.square() / beta;
    let far = &distance - 0.5 * beta;
    reduced(where_(&distance.less(beta), near, far), reduction)
}

/// The options of [`huber_loss_with`]: by default `delta` 1, no reduction.
#[derive(Clone, Copy, Debug)]
pub struct HuberLossOptions {
    /// The distance from which the loss is linear. 1 by default.
    pub delta: f64,
    /// The reduction of the losses.
    pub reduction: Reduction,
}

impl Default for HuberLossOptions {
    fn default() -> Self {
        Self {
            delta: 1.0,
            reduction: Reduction::None,
        }
    }
}

options!(HuberLossOptions);

/// Returns `d^2 / 2` where the distance `d` is at most 1, and `d - 1 / 2` elsewhere, not reduced.
#[track_caller]
pub fn huber_loss(inputs: &Array, targets: &Array) -> Array {
    huber_loss_with(inputs, targets, HuberLossOptions::default())
}

/// Returns `d^2 / 2` where the distance `d` is at most `delta`, and `delta * (d - delta / 2)` elsewhere.
#[track_caller]
pub fn huber_loss_with(
    inputs: &Array,
    targets: &Array,
    options: impl Into<HuberLossOptions>,
) -> Array {
    let HuberLossOptions { delta, reduction } = options.into();
    let distance = (inputs - targets).abs();
    let near = 0.5 * distance.square();
    let far = (&distance - 0.5 * delta) * delta;
    let loss = reduced(where_(&distance.less_equal(delta), near, far), reduction);
    in_layer("huber_loss", loss, [inputs, targets], || None)
}

/// Returns `log(cosh(inputs - targets))`, not reduced: like a square near 0 and like a distance far from it.
#[track_caller]
pub fn log_cosh_loss(inputs: &Array, targets: &Array) -> Array {
    log_cosh_loss_with(inputs, targets, Reduction::None)
}

/// Returns [`log_cosh_loss`] with a reduction.
#[track_caller]
pub fn log_cosh_loss_with(inputs: &Array, targets: &Array, reduction: Reduction) -> Array {
    let errors = inputs - targets;
    let loss = reduced(errors.logaddexp(-&errors) - LN_2, reduction);
    in_layer("log_cosh_loss", loss, [inputs, targets], || None)
}

/// The options of [`gaussian_nll_loss_with`]: by default without the constant, `eps` `1e-6`, the mean.
#[derive(Clone, Copy, Debug)]
pub struct GaussianNllLossOptions {
    /// Whether the constant `log(2 pi) / 2` is added. False by default.
    pub full: bool,
    /// The least variance. `1e-6` by default.
    pub eps: f64,
    /// The reduction of the losses.
    pub reduction: Reduction,
}

impl Default for GaussianNllLossOptions {
    fn default() -> Self {
        Self {
            full: false,
            eps: 1e-6,
            reduction: Reduction::Mean,
        }
    }
}

options!(GaussianNllLossOptions);

/// Returns the mean of `(log(vars) + (inputs - targets)^2 / vars) / 2`: the negative log likelihood of targets under
/// normal distributions with means `inputs` and variances `vars`, all of one shape.
#[track_caller]
pub fn gaussian_nll_loss(inputs: &Array, targets: &Array, vars: &Array) -> Array {
    gaussian_nll_loss_with(inputs, targets, vars, GaussianNllLossOptions::default())
}

/// Returns [`gaussian_nll_loss`] with options.
#[track_caller]
pub fn gaussian_nll_loss_with(
    inputs: &Array,
    targets: &Array,
    vars: &Array,
    options: impl Into<GaussianNllLossOptions>,
) -> Array {
    let GaussianNllLossOptions {
        full,
        eps,
        reduction,
    } = options.into();
    if let Err(error) = same_shapes("gaussian_nll_loss", [inputs, targets, vars]) {
        return Array::failed(error);
    }
    let vars = vars.maximum(eps);
    let loss = 0.5 * (vars.log() + (targets - inputs).square() / vars);
    let loss = match full {
        true => loss + 0.5 * (2.0 * PI).ln(),
        false => loss,
    };
    reduced(loss, reduction)
}
