//! Losses, with the names, formulas and defaults of `mlx.nn.losses`.
//!
//! `mse_loss(&predictions, &targets)` has Python's defaults, which reduce some losses to their mean and leave others as
//! they are; `mse_loss_with` takes a [`Reduction`], or the options of the loss.

mod classes;
mod comparisons;
mod numbers;

use mlx::{Array, Error, Result};

pub use classes::{
    BinaryCrossEntropyOptions, CrossEntropyOptions, LogProbabilityOptions, binary_cross_entropy,
    binary_cross_entropy_with, cross_entropy, cross_entropy_with, kl_div_loss, kl_div_loss_with,
    nll_loss, nll_loss_with,
};
pub use comparisons::{
    CosineSimilarityLossOptions, MarginRankingLossOptions, TripletLossOptions,
    cosine_similarity_loss, cosine_similarity_loss_with, hinge_loss, hinge_loss_with,
    margin_ranking_loss, margin_ranking_loss_with, triplet_loss, triplet_loss_with,
};
pub use numbers::{
    GaussianNllLossOptions, HuberLossOptions, SmoothL1LossOptions, gaussian_nll_loss,
    gaussian_nll_loss_with, huber_loss, huber_loss_with, l1_loss, l1_loss_with, log_cosh_loss,
    log_cosh_loss_with, mse_loss, mse_loss_with, smooth_l1_loss, smooth_l1_loss_with,
};

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

/// Makes options of a reduction, with the defaults for the rest.
macro_rules! options {
    ($options:ident) => {
        impl From<Reduction> for $options {
            fn from(reduction: Reduction) -> Self {
                Self {
                    reduction,
                    ..Self::default()
                }
            }
        }
    };
}
use options;

#[track_caller]
fn reduced(loss: Array, reduction: Reduction) -> Array {
    match reduction {
        Reduction::None => loss,
        Reduction::Mean => loss.mean(()),
        Reduction::Sum => loss.sum(()),
    }
}

/// Returns an error when the arrays do not have one shape.
fn same_shapes<const N: usize>(op: &'static str, arrays: [&Array; N]) -> Result<()> {
    let mut shapes = Vec::with_capacity(N);
    for array in arrays {
        shapes.push(array.sizes()?);
    }
    if shapes.windows(2).all(|two| two[0] == two[1]) {
        return Ok(());
    }
    let listed: Vec<String> = shapes.iter().map(|shape| format!("{shape:?}")).collect();
    let all = if N == 2 { "both" } else { "all" };
    let message = format!("{all} must have one shape, got {}", listed.join(" and "));
    Err(Error::op(op, message))
}
