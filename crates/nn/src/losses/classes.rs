//! Losses of classes and of probabilities.

use mlx::{Array, Error, Op, Size, axis_index, bind, keepdims};

use super::{Reduction, options, reduced, same_shapes};
use crate::layer_error::in_layer;

/// The options of [`cross_entropy_with`]: by default no weights, the last axis, no smoothing, no reduction.
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

options!(CrossEntropyOptions);

/// Returns `logsumexp(logits) - logits[target]`: the loss of logits against classes, or against probabilities when
/// `targets` has as many axes as `logits`.
///
/// `logits` are `[.., classes]`, `targets` `[..]` or `[.., classes]`; the losses of the examples are not reduced.
///
/// ```
/// use mlx_nn::losses::{CrossEntropyOptions, Reduction, cross_entropy, cross_entropy_with};
///
/// # fn main() -> mlx::Result<()> {
/// let logits = mlx::array!([[2.0, -1.0], [-1.0, 2.0]]);
/// let targets = mlx::array!([0, 1]);
/// let loss = cross_entropy(&logits, &targets).mean(());
/// assert!((loss.item::<f32>()? - 0.0485873).abs() < 1e-6);
/// let mean = cross_entropy_with(&logits, &targets, Reduction::Mean);
/// let smooth = CrossEntropyOptions { label_smoothing: 0.1, ..Reduction::Mean.into() };
/// assert!(cross_entropy_with(&logits, &targets, smooth).item::<f32>()? > mean.item::<f32>()?);
/// # Ok(())
/// # }
/// ```
#[track_caller]
#[doc(alias = "CrossEntropyLoss")]
pub fn cross_entropy(logits: &Array, targets: &Array) -> Array {
    cross_entropy_with(logits, targets, CrossEntropyOptions::default())
}

/// Returns [`cross_entropy`] with options, or with a reduction: `cross_entropy_with(&logits, &y, Reduction::Mean)`.
#[track_caller]
pub fn cross_entropy_with(
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
    let as_probabilities = match (logits.sizes(), targets.sizes()) {
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
fn fits(scores: &[Size], wanted: &[Size], axis: i32) -> Result<bool, Error> {
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

/// The options of [`binary_cross_entropy_with`]: by default no weights, logits, the mean.
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

options!(BinaryCrossEntropyOptions);

/// Returns the loss of logits, or of probabilities, against 0 and 1; logarithms of probabilities are clipped at -100.
///
/// The mean of the losses; `inputs` and `targets` have one shape.
#[track_caller]
#[doc(alias = "BCELoss")]
pub fn binary_cross_entropy(inputs: &Array, targets: &Array) -> Array {
    binary_cross_entropy_with(inputs, targets, BinaryCrossEntropyOptions::default())
}

/// Returns [`binary_cross_entropy`] with options.
#[track_caller]
pub fn binary_cross_entropy_with(
    inputs: &Array,
    targets: &Array,
    options: impl Into<BinaryCrossEntropyOptions>,
) -> Array {
    let options = options.into();
    if let Err(error) = same_shapes("binary_cross_entropy", [inputs, targets]) {
        return Array::failed(error);
    }
    let loss = if options.with_logits {
        inputs.logaddexp(0.0) - inputs * targets
    } else {
        let yes = inputs.log().maximum(-100.0);
        let no = (1 - inputs).log().maximum(-100.0);
        -(targets * yes + (1 - targets) * no)
    };
    let loss = weighted("binary_cross_entropy", loss, options.weights.as_ref());
    reduced(loss, options.reduction)
}

/// The options of [`nll_loss_with`] and [`kl_div_loss_with`]: by default the last axis, no reduction.
#[derive(Clone, Copy, Debug)]
pub struct LogProbabilityOptions {
    /// The axis of classes.
    pub axis: i32,
    /// The reduction of the losses.
    pub reduction: Reduction,
}

impl Default for LogProbabilityOptions {
    fn default() -> Self {
        Self {
            axis: -1,
            reduction: Reduction::None,
        }
    }
}

options!(LogProbabilityOptions);

/// Returns `-inputs[target]`: the loss of log probabilities, `[.., classes]`, against classes, `[..]`, not reduced.
#[track_caller]
pub fn nll_loss(inputs: &Array, targets: &Array) -> Array {
    nll_loss_with(inputs, targets, LogProbabilityOptions::default())
}

/// Returns [`nll_loss`] with options.
#[track_caller]
pub fn nll_loss_with(
    inputs: &Array,
    targets: &Array,
    options: impl Into<LogProbabilityOptions>,
) -> Array {
    let LogProbabilityOptions { axis, reduction } = options.into();
    let loss = reduced(-taken(inputs, targets, axis), reduction);
    in_layer("nll_loss", loss, [inputs, targets], || None)
}

/// Returns `sum(exp(targets) * (targets - inputs))` along the last axis, both log probabilities, not reduced.
#[track_caller]
pub fn kl_div_loss(inputs: &Array, targets: &Array) -> Array {
    kl_div_loss_with(inputs, targets, LogProbabilityOptions::default())
}

/// Returns [`kl_div_loss`] with options.
#[track_caller]
pub fn kl_div_loss_with(
    inputs: &Array,
    targets: &Array,
    options: impl Into<LogProbabilityOptions>,
) -> Array {
    let LogProbabilityOptions { axis, reduction } = options.into();
    let loss = (targets.exp() * (targets - inputs)).sum(axis);
    let loss = reduced(loss, reduction);
    in_layer("kl_div_loss", loss, [inputs, targets], || None)
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
    match same_shapes(op, [&loss, weights]) {
        Err(error) => Array::failed(error),
        Ok(()) => loss * weights,
    }
}
