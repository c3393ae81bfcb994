//! Other shapes of the same elements, joins and splits: what is split stays so where its parts stay together.

use mlx::{Op, axis_index};

use super::super::strategy::{Replicated, SUM, Sharded, Site, Strategy};

/// One input, split along `from`, gives a result that is split along `to`.
fn moved(from: usize, to: usize) -> Strategy {
    Strategy::new(vec![Sharded(from)], Sharded(to))
}

/// A view of a sum is the sum of views.
fn with_sum(mut all: Vec<Strategy>, site: &Site<'_>) -> Vec<Strategy> {
    if site.adds() && site.has_one_dtype() {
        let n = site.inputs.len();
        all.push(Strategy {
            outputs: vec![SUM; site.outputs.len()],
            ..Strategy::new(vec![SUM; n], SUM)
        });
    }
    all
}

/// The input's first dimension of each run of dimensions that are split or merged together.
pub(super) fn reshape(site: &Site<'_>) -> Vec<Strategy> {
    let (from, to) = (site.shape(0), site.out());
    if from.contains(&0) {
        return Vec::new();
    }
    let pairs = leading_pairs(from, to);
    let fits = |(a, b): &(usize, usize)| site.divides(from[*a]) && site.divides(to[*b]);
    let all = pairs.into_iter().filter(fits).map(|(a, b)| {
        let shape = site.with_output_part(to, b);
        moved(a, b).with_op(Op::Reshape { shape })
    });
    with_sum(all.collect(), site)
}

/// Pairs of dimensions that the elements of both shapes vary along most slowly, in each run of equal products.
fn leading_pairs(from: &[i32], to: &[i32]) -> Vec<(usize, usize)> {
    let (mut pairs, mut a, mut b) = (Vec::new(), 0, 0);
    loop {
        let skip = |shape: &[i32], mut at: usize| {
            while shape.get(at) == Some(&1) {
                at += 1;
            }
            at
        };
        (a, b) = (skip(from, a), skip(to, b));
        if a >= from.len() || b >= to.len() {
            return pairs;
        }
        pairs.push((a, b));
        let (mut left, mut right) = (i64::from(from[a]), i64::from(to[b]));
        (a, b) = (a + 1, b + 1);
        while left != right {
            let (product, at, shape) = match left < right {
                true => (&mut left, &mut a, from),
                false => (&mut right, &mut b, to),
            };
            let Some(size) = shape.get(*at) else {
                return pairs;
            };
            *product *= i64::from(*size);
            *at += 1;
        }
    }
}

pub(super) fn transpose(site: &Site<'_>) -> Vec<Strategy> {
    let shape = site.shape(0);
    let Some(order) = order_of(site.op, shape.len()) else {
        return Vec::new();
    };
    let all = order.iter().enumerate();
    let all = all.filter(|(_, from)| site.divides(shape[**from]));
    with_sum(all.map(|(to, from)| moved(*from, to)).collect(), site)
}

/// The input's dimension that each one of the result is.
pub(in super::super) fn order_of(op: &Op, ndim: usize) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..ndim).collect();
    match op {
        Op::Transpose { axes } if axes.is_empty() => order.reverse(),
        Op::Transpose { axes } => {
            order = axes
                .iter()
                .map(|axis| axis_index(*axis, ndim))
                .collect::<Option<_>>()?;
        }
        Op::Swapaxes { axis1, axis2 } => {
            order.swap(axis_index(*axis1, ndim)?, axis_index(*axis2, ndim)?);
        }
        Op::Moveaxis {
            source,
            destination,
        } => {
            let one = order.remove(axis_index(*source, ndim)?);
            order.insert(axis_index(*destination, ndim)?, one);
        }
        _ => return None,
    }
    Some(order)
}

pub(super) fn broadcast_to(site: &Site<'_>) -> Vec<Strategy> {
    let out = site.out();
    let dims = (0..out.len()).filter(|dim| site.divides(out[*dim]));
    let all = dims.filter_map(|dim| {
        let from = super::elementwise::aligned(site, 0, dim);
        let shape = site.with_output_part(out, dim);
        let way = Strategy::new(vec![from], Sharded(dim)).with_op(Op::BroadcastTo { shape });
        (from != Replicated).then_some(way)
    });
    with_sum(all.collect(), site)
}

/// The same dimension of all inputs and outputs, for those of the first input that `keeps`.
fn same_dims(site: &Site<'_>, keeps: impl Fn(usize) -> bool) -> Vec<Strategy> {
    let shape = site.shape(0);
    let dims = (0..shape.len()).filter(|dim| site.divides(shape[*dim]) && keeps(*dim));
    dims.map(|dim| Strategy {
        outputs: vec![Sharded(dim); site.outputs.len()],
        ..Strategy::new(vec![Sharded(dim); site.inputs.len()], Sharded(dim))
    })
    .collect()
}

pub(super) fn concatenate(site: &Site<'_>) -> Vec<Strategy> {
    let Op::Concatenate { axis } = site.op else {
        return Vec::new();
    };
    let along = axis_index(*axis, site.shape(0).len());
    with_sum(same_dims(site, |dim| Some(dim) != along), site)
}

pub(super) fn stack(site: &Site<'_>) -> Vec<Strategy> {
    let Op::Stack { axis } = site.op else {
        return Vec::new();
    };
    let Some(along) = axis_index(*axis, site.out().len()) else {
        return Vec::new();
    };
    let mut all = same_dims(site, |_| true);
    for way in &mut all {
        if let [Sharded(dim)] = &mut way.outputs[..] {
            *dim += usize::from(*dim >= along);
        }
    }
    with_sum(all, site)
}

pub(super) fn split(site: &Site<'_>) -> Vec<Strategy> {
    let (axis, keeps_axis) = match site.op {
        Op::Split { axis, .. } | Op::SplitSections { axis, .. } => (*axis, true),
        Op::Unstack { axis } => (*axis, false),
        _ => return Vec::new(),
    };
    let Some(along) = axis_index(axis, site.shape(0).len()) else {
        return Vec::new();
    };
    let mut all = same_dims(site, |dim| dim != along);
    for output in all.iter_mut().flat_map(|way| &mut way.outputs) {
        if let Sharded(dim) = output {
            *dim -= usize::from(!keeps_axis && *dim > along);
        }
    }
    with_sum(all, site)
}

/// Along dimensions that are not repeated.
pub(super) fn tile(site: &Site<'_>) -> Vec<Strategy> {
    let (shape, out) = (site.shape(0), site.out());
    let more = out.len() - shape.len().min(out.len());
    let dims = (0..shape.len()).filter(|dim| site.divides(shape[*dim]));
    let kept = dims.filter(|dim| out[dim + more] == shape[*dim]);
    with_sum(kept.map(|dim| moved(dim, dim + more)).collect(), site)
}

/// Along any dimension: each element is repeated beside itself.
pub(super) fn repeat(site: &Site<'_>) -> Vec<Strategy> {
    match site.shape(0).len() == site.out().len() {
        true => with_sum(same_dims(site, |_| true), site),
        false => Vec::new(),
    }
}

pub(super) fn batches_of_matrices(site: &Site<'_>) -> Vec<Strategy> {
    let ndim = site.shape(0).len();
    with_sum(same_dims(site, |dim| dim + 2 < ndim), site)
}

pub(super) fn all_but_last(site: &Site<'_>) -> Vec<Strategy> {
    let ndim = site.shape(0).len();
    same_dims(site, |dim| dim + 1 < ndim)
}

/// Among other ranks, along the first dimension.
pub(super) fn all_gather(site: &Site<'_>) -> Vec<Strategy> {
    match site.shape(0).len() == site.out().len() {
        true => with_sum(same_dims(site, |dim| dim > 0), site),
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::leading_pairs;

    #[test]
    fn heads_are_split_and_merged() {
        assert_eq!(
            leading_pairs(&[2, 3, 64], &[2, 3, 8, 8]),
            [(0, 0), (1, 1), (2, 2)]
        );
        assert_eq!(
            leading_pairs(&[2, 3, 8, 8], &[2, 3, 64]),
            [(0, 0), (1, 1), (2, 2)]
        );
        assert_eq!(leading_pairs(&[1, 6], &[6, 1]), [(1, 0)]);
        assert_eq!(leading_pairs(&[4, 6], &[3, 8]), [(0, 0)]);
        assert_eq!(leading_pairs(&[6], &[2, 3]), [(0, 0)]);
    }
}
