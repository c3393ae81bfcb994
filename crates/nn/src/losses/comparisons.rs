//! Losses of comparisons: margins, orders, angles and distances between examples.

use mlx::linalg::{Order, norm_with};
use mlx::{Array, Error};

use super::{Reduction, options, reduced, same_shapes};
use crate::layer_error::in_layer;

/// Returns `max(0, 1 - inputs * targets)` for targets -1 and 1, not reduced.
#[track_caller]
pub fn hinge_loss(inputs: &Array, targets: &Array) -> Array {
    hinge_loss_with(inputs, targets, Reduction::None)
}

/// Returns [`hinge_loss`] with a reduction.
#[track_caller]
pub fn hinge_loss_with(inputs: &Array, targets: &Array, reduction: Reduction) -> Array {
    let loss = reduced((1 - inputs * targets).maximum(0), reduction);
    in_layer("hinge_loss", loss, [inputs, targets], || None)
}

/// The options of [`margin_ranking_loss_with`]: by default `margin` 0, no reduction.
#[derive(Clone, Copy, Debug)]
pub struct MarginRankingLossOptions {
    /// The difference that scores should have. 0 by default.
    pub margin: f64,
    /// The reduction of the losses.
    pub reduction: Reduction,
}

impl Default for MarginRankingLossOptions {
    fn default() -> Self {
        Self {
            margin: 0.0,
            reduction: Reduction::None,
        }
    }
}

options!(MarginRankingLossOptions);

/// Returns `max(0, -targets * (inputs1 - inputs2))`, not reduced, all of one shape.
///
/// Targets are 1 where the score `inputs1` should be higher than `inputs2`, and -1 where it should be lower.
#[track_caller]
pub fn margin_ranking_loss(inputs1: &Array, inputs2: &Array, targets: &Array) -> Array {
    margin_ranking_loss_with(
        inputs1,
        inputs2,
        targets,
        MarginRankingLossOptions::default(),
    )
}

/// Returns `max(0, -targets * (inputs1 - inputs2) + margin)`.
#[track_caller]
pub fn margin_ranking_loss_with(
    inputs1: &Array,
    inputs2: &Array,
    targets: &Array,
    options: impl Into<MarginRankingLossOptions>,
) -> Array {
    let MarginRankingLossOptions { margin, reduction } = options.into();
    if let Err(error) = same_shapes("margin_ranking_loss", [inputs1, inputs2, targets]) {
        return Array::failed(error);
    }
    let loss = (-targets * (inputs1 - inputs2) + margin).maximum(0.0);
    reduced(loss, reduction)
}

/// The options of [`cosine_similarity_loss_with`]: by default axis 1, no reduction.
#[derive(Clone, Copy, Debug)]
pub struct CosineSimilarityLossOptions {
    /// The axis of embeddings. 1 by default.
    pub axis: i32,
    /// The least product of norms. `1e-8` by default.
    pub eps: f64,
    /// The reduction of the losses.
    pub reduction: Reduction,
}

impl Default for CosineSimilarityLossOptions {
    fn default() -> Self {
        Self {
            axis: 1,
            eps: 1e-8,
            reduction: Reduction::None,
        }
    }
}

options!(CosineSimilarityLossOptions);

/// Returns `x1 . x2 / (|x1| |x2|)` along axis 1, not reduced: the cosine of the angle between embeddings.
///
/// As in Python MLX it is the cosine itself, which is 1 for equal directions.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx_nn::losses::cosine_similarity_loss;
/// let (a, b) = (mlx::array!([[1.0, 0.0]]), mlx::array!([[3.0, 4.0]]));
/// assert!((cosine_similarity_loss(&a, &b).item::<f32>()? - 0.6).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn cosine_similarity_loss(x1: &Array, x2: &Array) -> Array {
    cosine_similarity_loss_with(x1, x2, CosineSimilarityLossOptions::default())
}

/// Returns `x1 . x2 / max(|x1| |x2|, eps)` along an axis.
#[track_caller]
pub fn cosine_similarity_loss_with(
    x1: &Array,
    x2: &Array,
    options: impl Into<CosineSimilarityLossOptions>,
) -> Array {
    let CosineSimilarityLossOptions {
        axis,
        eps,
        reduction,
    } = options.into();
    let norms = norm_with(x1, Order::Euclidean, axis) * norm_with(x2, Order::Euclidean, axis);
    let loss = (x1 * x2).sum(axis) / norms.maximum(eps);
    in_layer(
        "cosine_similarity_loss",
        reduced(loss, reduction),
        [x1, x2],
        || None,
    )
}

/// The options of [`triplet_loss_with`]: by default the last axis, `p` 2, `margin` 1, no reduction.
#[derive(Clone, Copy, Debug)]
pub struct TripletLossOptions {
    /// The axis of embeddings. The last by default.
    pub axis: i32,
    /// The power of the norm, at least 1. 2 by default.
    pub p: i32,
    /// The difference that distances should have. 1 by default.
    pub margin: f64,
    /// Added to the sum of powers. `1e-6` by default.
    pub eps: f64,
    /// The reduction of the losses.
    pub reduction: Reduction,
}

impl Default for TripletLossOptions {
    fn default() -> Self {
        Self {
            axis: -1,
            p: 2,
            margin: 1.0,
            eps: 1e-6,
            reduction: Reduction::None,
        }
    }
}

options!(TripletLossOptions);

/// Returns `max(0, |anchors - positives| - |anchors - negatives| + 1)` with norms of the last axis, not reduced.
#[track_caller]
pub fn triplet_loss(anchors: &Array, positives: &Array, negatives: &Array) -> Array {
    triplet_loss_with(anchors, positives, negatives, TripletLossOptions::default())
}

/// Returns `max(0, |anchors - positives| - |anchors - negatives| + margin)`, with `|d| = (sum |d|^p + eps)^(1/p)`.
#[track_caller]
pub fn triplet_loss_with(
    anchors: &Array,
    positives: &Array,
    negatives: &Array,
    options: impl Into<TripletLossOptions>,
) -> Array {
    let TripletLossOptions {
        axis,
        p,
        margin,
        eps,
        reduction,
    } = options.into();
    if p < 1 {
        let message = format!("p must be at least 1, got {p}");
        return Array::failed(Error::op("triplet_loss", message));
    }
    let distance = |others: &Array| {
        let powers = (anchors - others).abs().power(p).sum(axis) + eps;
        powers.power(1.0 / f64::from(p))
    };
    let loss = (distance(positives) - distance(negatives) + margin).maximum(0.0);
    in_layer(
        "triplet_loss",
        reduced(loss, reduction),
        [anchors, positives, negatives],
        || None,
    )
}
