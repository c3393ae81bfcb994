//! Operations along axes: the others may be split, and sums, means, maxima and minima along the split one too.

use mlx::{Op, axis_index};

use super::super::Reduction;
use super::super::strategy::{Local, SUM, Sharded, Sharding, Site, Strategy, Unreduced};

/// Returns the axes that an operation works along, and whether they are kept, with size 1.
///
/// `None` where an axis is none of the input's.
fn axes_of(site: &Site<'_>) -> Option<(Vec<usize>, bool)> {
    let one = |axis: &i32, keepdims: bool| (vec![*axis], keepdims);
    let (axes, keepdims) = match site.op {
        Op::All { axes, keepdims }
        | Op::Any { axes, keepdims }
        | Op::CountNonzero { axes, keepdims }
        | Op::Logsumexp { axes, keepdims }
        | Op::Max { axes, keepdims }
        | Op::Mean { axes, keepdims }
        | Op::Median { axes, keepdims }
        | Op::Min { axes, keepdims }
        | Op::Prod { axes, keepdims }
        | Op::Sum { axes, keepdims }
        | Op::NormL2 { axes, keepdims }
        | Op::Std { axes, keepdims, .. }
        | Op::Var { axes, keepdims, .. } => (axes.clone(), *keepdims),
        Op::Softmax { axes, .. } | Op::Flip { axes } | Op::Roll { axes, .. } => {
            (axes.clone(), true)
        }
        Op::Pad { axes, .. } => (axes.clone(), true),
        Op::Argmax { axis, keepdims } | Op::Argmin { axis, keepdims } => one(axis, *keepdims),
        Op::Argpartition { axis, .. }
        | Op::Argsort { axis }
        | Op::Partition { axis, .. }
        | Op::Sort { axis }
        | Op::Topk { axis, .. }
        | Op::Cummax { axis, .. }
        | Op::Cummin { axis, .. }
        | Op::Cumprod { axis, .. }
        | Op::Cumsum { axis, .. }
        | Op::Logcumsumexp { axis, .. }
        | Op::Diff { axis, .. } => one(axis, true),
        _ => return None,
    };
    let ndim = site.shape(0).len();
    let axes = axes.iter().map(|axis| axis_index(*axis, ndim));
    Some((axes.collect::<Option<_>>()?, keepdims))
}

/// Split along each dimension that the operation does not work along.
pub(super) fn other_axes(site: &Site<'_>) -> Vec<Strategy> {
    // Without axes, norms are of all elements, in any number of dimensions.
    let Some((axes, keepdims)) = axes_of(site).filter(|(axes, _)| !axes.is_empty()) else {
        return Vec::new();
    };
    let shape = site.shape(0);
    let others = (0..shape.len()).filter(|dim| site.divides(shape[*dim]) && !axes.contains(dim));
    let to = |dim: usize| match keepdims {
        true => dim,
        false => dim - axes.iter().filter(|axis| **axis < dim).count(),
    };
    others
        .map(|dim| {
            let mut inputs = vec![super::super::strategy::Replicated; site.inputs.len()];
            inputs[0] = Sharded(dim);
            Strategy::new(inputs, Sharded(to(dim)))
        })
        .collect()
}

pub(super) fn sum(site: &Site<'_>) -> Vec<Strategy> {
    reduced(site, SUM, |_| Local::Same)
}

pub(super) fn mean(site: &Site<'_>) -> Vec<Strategy> {
    // The mean is the sum of the ranks' means, each with the share of the elements that it is of.
    reduced(site, SUM, Local::Weighted)
}

pub(super) fn max(site: &Site<'_>) -> Vec<Strategy> {
    reduced(site, Unreduced(Reduction::Max), |_| Local::Same)
}

pub(super) fn min(site: &Site<'_>) -> Vec<Strategy> {
    reduced(site, Unreduced(Reduction::Min), |_| Local::Same)
}

/// Split along an axis that is reduced, the result is `partial`; what is so already stays.
fn reduced(site: &Site<'_>, partial: Sharding, local: impl Fn(usize) -> Local) -> Vec<Strategy> {
    let mut all = other_axes(site);
    let Some((axes, _)) = axes_of(site).filter(|_| site.adds()) else {
        return all;
    };
    let shape = site.shape(0);
    for dim in axes.into_iter().filter(|dim| site.divides(shape[*dim])) {
        all.push(Strategy {
            local: local(dim),
            ..Strategy::new(vec![Sharded(dim)], partial)
        });
    }
    if site.inputs[0].dtype == site.outputs[0].dtype {
        all.push(Strategy::new(vec![partial], partial));
    }
    all
}
