//! Losses, with the names, formulas and defaults of `mlx.nn.losses`.
//!
//! `mse_loss(&predictions, &targets)` has Python's defaults, which reduce some losses to their mean and leave others as
//! they are; `mse_loss_with` takes a [`Reduction`], or the options of the loss.

mod classes;
mod comparisons;
mod numbers;

use std::fmt;

use mlx::{Array, Error, Keyword, Result, remember};

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

/// `none`, `mean` or `sum`.
impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reduction::None => "none",
            Reduction::Mean => "mean",
            Reduction::Sum => "sum",
        })
    }
}

/// What a loss takes besides arrays, also after the call: `mse_loss(&x, &y).reduction("sum")`.
trait LossOptions: Clone + 'static {
    /// Returns these options with one more argument, if the loss takes it.
    fn with(self, keyword: Keyword) -> Option<Self>;
}

impl LossOptions for Reduction {
    fn with(self, keyword: Keyword) -> Option<Self> {
        let Keyword::Reduction(name) = keyword else {
            return None;
        };
        let all = [Reduction::None, Reduction::Mean, Reduction::Sum];
        all.into_iter().find(|one| one.to_string() == name)
    }
}

/// Makes options of a reduction, with the defaults for the rest, and lists the fields that can be given after the call.
macro_rules! options {
    ($options:ident $({$($keyword:pat => $field:ident: $value:expr;)*})?) => {
        impl From<Reduction> for $options {
            fn from(reduction: Reduction) -> Self {
                Self {
                    reduction,
                    ..Self::default()
                }
            }
        }

        impl super::LossOptions for $options {
            fn with(self, keyword: mlx::Keyword) -> Option<Self> {
                match keyword {
                    $($($keyword => Some(Self { $field: $value, ..self }),)*)?
                    other => {
                        let reduction = super::LossOptions::with(self.reduction, other)?;
                        Some(Self { reduction, ..self })
                    }
                }
            }
        }
    };
}
use options;

/// Returns a loss that is computed by `again` with arguments that follow the call.
fn with_keywords<O: LossOptions, const N: usize>(
    loss: Array,
    inputs: [&Array; N],
    options: O,
    again: fn([&Array; N], O) -> Array,
) -> Array {
    let inputs = inputs.map(Array::clone);
    remember(loss, move |keyword| {
        Some(again(inputs.each_ref(), options.with(keyword)?))
    })
}

/// Returns the only axis of a list.
fn only(axes: &[i32]) -> Option<i32> {
    match axes {
        [axis] => Some(*axis),
        _ => None,
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

/// Returns an error when the arrays do not have one shape.
fn same_shapes<const N: usize>(op: &'static str, arrays: [&Array; N]) -> Result<()> {
    let mut shapes = Vec::with_capacity(N);
    for array in arrays {
        shapes.push(array.shape()?);
    }
    if shapes.windows(2).all(|two| two[0] == two[1]) {
        return Ok(());
    }
    let listed: Vec<String> = shapes.iter().map(|shape| format!("{shape:?}")).collect();
    let all = if N == 2 { "both" } else { "all" };
    let message = format!("{all} must have one shape, got {}", listed.join(" and "));
    Err(Error::op(op, message))
}
