//! Losses, with the names, formulas and defaults of `mlx.nn.losses`.

use mlx::{Array, Error, Op, axis_index, bind, keepdims, where_};

use crate::layer_error::in_layer;

/// The reduction of the losses of single examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// No reduction.
    None,
    /// The mean.
    Mean,
    /// The sum.
    Sum,
}

/// The options of [`cross_entropy`]: by default no weights, the last axis, no smoothing, no reduction.
#[derive(Clone)]
pub struct CrossEntropyOptions {
    /// One weight for each loss.
    pub weights: Option<Array>,
    /// The axis of classes.
    pub axis: i32,
    /// The share of each target that is spread over all classes, from 0 to below 1.
    pub label_smoothing: f32,
    /// The reduction of the losses.
    pub reduction: Reduction,
}

impl Default for CrossEntropyOptions {
    fn default() -> Self {
        Self {
            weights: None,
            axis: -1,
            label_smoothing: 0.0,
            reduction: Reduction::None,
        }
    }
}

impl From<Reduction> for CrossEntropyOptions {
    fn from(reduction: Reduction) -> Self {
        Self {
            reduction,
            ..Self::default()
        }
    }
}

/// Returns `logsumexp(logits) - logits[target]`: the loss of logits against classes, or against probabilities when
/// `targets` has as many axes as `logits`.
///
/// ```
/// use mlx_nn::losses::{Reduction, cross_entropy};
///
/// # fn main() -> mlx::Result<()> {
/// let logits = mlx::array!([[2.0, -1.0], [-1.0, 2.0]]);
/// let loss = cross_entropy(&logits, &mlx::array!([0, 1]), Reduction::Mean);
/// assert!((loss.item::<f32>()? - 0.0485873).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn cross_entropy(
    logits: &Array,
    targets: &Array,
    options: impl Into<CrossEntropyOptions>,
) -> Array {
    let CrossEntropyOptions {
        weights,
        axis,
        label_smoothing,
        reduction,
    } = options.into();
    if !(0.0..1.0).contains(&label_smoothing) {
        let message = format!("label_smoothing must be in [0, 1), got {label_smoothing}");
        return Array::failed(Error::op("cross_entropy", message));
    }
    let as_probabilities = match (logits.shape(), targets.shape()) {
        (Ok(scores), Ok(wanted)) => match fits(&scores, &wanted, axis) {
            Ok(as_probabilities) => as_probabilities,
            Err(error) => return Array::failed(error),
        },
        (Err(error), _) | (_, Err(error)) => return Array::failed(error),
    };
    let logits = logits - logits.max(keepdims(axis)).stop_gradient();
    let score = if as_probabilities {
        (&logits * targets).sum(axis)
    } else {
        taken(&logits, targets, axis)
    };
    let total = logits.logsumexp(axis);
    let loss = if label_smoothing > 0.0 {
        let smoothing = f64::from(label_smoothing);
        total - score * (1.0 - smoothing) - logits.mean(axis) * smoothing
    } else {
        total - score
    };
    reduced(weighted("cross_entropy", loss, weights.as_ref()), reduction)
}

/// Returns whether targets are probabilities, or an error when they have the shape of neither classes nor these.
fn fits(scores: &[i32], wanted: &[i32], axis: i32) -> Result<bool, Error> {
    if scores == wanted {
        return Ok(true);
    }
    let mut classes = scores.to_vec();
    if let Some(axis) = axis_index(axis, scores.len()) {
        classes.remove(axis);
        if classes == wanted {
            return Ok(false);
        }
    }
    let message =
        format!("targets must be {classes:?} or {scores:?} to match logits, got {wanted:?}");
    Err(Error::op("cross_entropy", message))
}

/// The options of [`binary_cross_entropy`]: by default no weights, logits, the mean.
#[derive(Clone)]
pub struct BinaryCrossEntropyOptions {
    /// One weight for each loss.
    pub weights: Option<Array>,
    /// Whether the inputs are logits; otherwise they are probabilities.
    pub with_logits: bool,
    /// The reduction of the losses.
    pub reduction: Reduction,
}

impl Default for BinaryCrossEntropyOptions {
    fn default() -> Self {
        Self {
            weights: None,
            with_logits: true,
            reduction: Reduction::Mean,
        }
    }
}

impl From<Reduction> for BinaryCrossEntropyOptions {
    fn from(reduction: Reduction) -> Self {
        Self {
            reduction,
            ..Self::default()
        }
    }
}

/// Returns the loss of logits, or of probabilities, against 0 and 1; logarithms of probabilities are clipped at -100.
#[track_caller]
pub fn binary_cross_entropy(
    inputs: &Array,
    targets: &Array,
    options: impl Into<BinaryCrossEntropyOptions>,
) -> Array {
    let options = options.into();
    if let Some(error) = same_shapes("binary_cross_entropy", inputs, targets) {
        return Array::failed(error);
    }
    let loss = if options.with_logits {
        inputs.logaddexp(0.0) - inputs * targets
    } else {
        let yes = inputs.log().maximum(-100.0);
        let no = (1.0 - inputs).log().maximum(-100.0);
        -(targets * yes + (1.0 - targets) * no)
    };
    let loss = weighted("binary_cross_entropy", loss, options.weights.as_ref());
    reduced(loss, options.reduction)
}

/// Returns `|predictions - targets|`.
#[track_caller]
pub fn l1_loss(predictions: &Array, targets: &Array, reduction: Reduction) -> Array {
    match same_shapes("l1_loss", predictions, targets) {
        Some(error) => Array::failed(error),
        None => reduced((predictions - targets).abs(), reduction),
    }
}

/// Returns `(predictions - targets)^2`.
#[track_caller]
pub fn mse_loss(predictions: &Array, targets: &Array, reduction: Reduction) -> Array {
    match same_shapes("mse_loss", predictions, targets) {
        Some(error) => Array::failed(error),
        None => reduced((predictions - targets).square(), reduction),
    }
}

/// Returns `-inputs[target]`: the loss of log probabilities along `axis` against classes.
#[track_caller]
pub fn nll_loss(inputs: &Array, targets: &Array, axis: i32, reduction: Reduction) -> Array {
    let loss = reduced(-taken(inputs, targets, axis), reduction);
    in_layer("nll_loss", loss, [inputs, targets], || None)
}

/// Returns `sum(exp(targets) * (targets - inputs))` along `axis`, both log probabilities.
#[track_caller]
pub fn kl_div_loss(inputs: &Array, targets: &Array, axis: i32, reduction: Reduction) -> Array {
    let loss = (targets.exp() * (targets - inputs)).sum(axis);
    let loss = reduced(loss, reduction);
    in_layer("kl_div_loss", loss, [inputs, targets], || None)
}

/// Returns `d^2 / (2 beta)` where the distance `d` is below `beta`, and `d - beta / 2` elsewhere.
#[track_caller]
pub fn smooth_l1_loss(
    predictions: &Array,
    targets: &Array,
    beta: f32,
    reduction: Reduction,
) -> Array {
    if let Some(error) = same_shapes("smooth_l1_loss", predictions, targets) {
        return Array::failed(error);
    }
    let beta = f64::from(beta);
    let distance = (predictions - targets).abs();
    if beta == 0.0 {
        // No distance is below 0; dividing by `beta` would make the gradient NaN.
        return reduced(distance, reduction);
    }
    let near = 0.5 * distance.square() / beta;
    let far = &distance - 0.5 * beta;
    reduced(where_(&distance.less(beta), near, far), reduction)
}

/// Returns `d^2 / 2` where the distance `d` is at most `delta`, and `delta * (d - delta / 2)` elsewhere.
#[track_caller]
pub fn huber_loss(inputs: &Array, targets: &Array, delta: f32, reduction: Reduction) -> Array {
    let delta = f64::from(delta);
    let distance = (inputs - targets).abs();
    let near = 0.5 * distance.square();
    let far = (&distance - 0.5 * delta) * delta;
    let loss = reduced(where_(&distance.less_equal(delta), near, far), reduction);
    in_layer("huber_loss", loss, [inputs, targets], || None)
}

/// Returns `max(0, 1 - inputs * targets)` for targets -1 and 1.
#[track_caller]
pub fn hinge_loss(inputs: &Array, targets: &Array, reduction: Reduction) -> Array {
    let loss = reduced((1.0 - inputs * targets).maximum(0.0), reduction);
    in_layer("hinge_loss", loss, [inputs, targets], || None)
}

#[track_caller]
fn taken(values: &Array, targets: &Array, axis: i32) -> Array {
    let place = Op::TakeAlongAxis { axis };
    bind(place, &[values, &targets.expand_dims([axis])]).squeeze(axis)
}

#[track_caller]
fn weighted(op: &'static str, loss: Array, weights: Option<&Array>) -> Array {
    let Some(weights) = weights else {
        return loss;
    };
    match same_shapes(op, &loss, weights) {
        Some(error) => Array::failed(error),
        None => loss * weights,
    }
}

#[track_caller]
fn reduced(loss: Array, reduction: Reduction) -> Array {
    match reduction {
        Reduction::None => loss,
        Reduction::Mean => loss.mean(()),
        Reduction::Sum => loss.sum(()),
    }
}

fn same_shapes(op: &'static str, inputs: &Array, others: &Array) -> Option<Error> {
    match (inputs.shape(), others.shape()) {
        (Ok(inputs), Ok(others)) if inputs != others => {
            let message = format!("both must have one shape, got {inputs:?} and {others:?}");
            Some(Error::op(op, message))
        }
        (Err(error), _) | (_, Err(error)) => Some(error),
        _ => None,
    }
}
