//! Parts of arrays, and writes to them: split along what is taken whole.

use mlx::{Op, axis_index};

use super::super::strategy::{Local, Replicated, SUM, Sharded, Sharding, Site, Strategy};

pub(super) fn slice(site: &Site<'_>) -> Vec<Strategy> {
    let Op::Slice {
        start,
        stop,
        strides,
    } = site.op
    else {
        return Vec::new();
    };
    let (shape, out) = (site.shape(0), site.out());
    let whole = |dim: &usize| {
        site.divides(shape[*dim])
            && out.get(*dim) == Some(&shape[*dim])
            && strides.get(*dim) == Some(&1)
    };
    let ways = (0..shape.len()).filter(whole).map(|dim| {
        let (start, stop) = local_range(site, dim, start, stop);
        let strides = strides.clone();
        Strategy::new(vec![Sharded(dim)], Sharded(dim)).with_op(Op::Slice {
            start,
            stop,
            strides,
        })
    });
    let mut all: Vec<Strategy> = ways.collect();
    if site.adds() {
        all.push(Strategy::new(vec![SUM], SUM));
    }
    all
}

/// The bounds of a slice that takes all of a rank's part.
fn local_range(site: &Site<'_>, dim: usize, start: &[i32], stop: &[i32]) -> (Vec<i32>, Vec<i32>) {
    let (mut start, mut stop) = (start.to_vec(), stop.to_vec());
    start[dim] = 0;
    stop[dim] = site.input_part(dim);
    (start, stop)
}

pub(super) fn slice_dynamic(site: &Site<'_>) -> Vec<Strategy> {
    let Op::SliceDynamic { axes, slice_size } = site.op else {
        return Vec::new();
    };
    let shape = site.shape(0);
    let is_moving = |dim: usize| {
        axes.iter()
            .any(|axis| axis_index(*axis, shape.len()) == Some(dim))
    };
    let whole = |dim: &usize| {
        site.divides(shape[*dim]) && slice_size.get(*dim) == Some(&shape[*dim]) && !is_moving(*dim)
    };
    let ways = (0..shape.len()).filter(whole).map(|dim| {
        let op = Op::SliceDynamic {
            axes: axes.clone(),
            slice_size: site.with_input_part(slice_size, dim),
        };
        Strategy::new(vec![Sharded(dim), Replicated], Sharded(dim)).with_op(op)
    });
    let mut all: Vec<Strategy> = ways.collect();
    if site.adds() {
        all.push(Strategy::new(vec![SUM, Replicated], SUM));
    }
    all
}

pub(super) fn slice_update(site: &Site<'_>) -> Vec<Strategy> {
    let (Op::SliceUpdate {
        start,
        stop,
        strides,
    }
    | Op::SliceUpdateAdd {
        start,
        stop,
        strides,
    }
    | Op::SliceUpdateMax {
        start,
        stop,
        strides,
    }
    | Op::SliceUpdateMin {
        start,
        stop,
        strides,
    }
    | Op::SliceUpdateProd {
        start,
        stop,
        strides,
    }) = site.op
    else {
        return Vec::new();
    };
    let (shape, update) = (site.shape(0), site.shape(1));
    if shape.len() != update.len() {
        return Vec::new();
    }
    let whole = |dim: &usize| {
        site.divides(shape[*dim]) && update[*dim] == shape[*dim] && strides.get(*dim) == Some(&1)
    };
    let ways = (0..shape.len()).filter(whole).map(|dim| {
        let (start, stop) = local_range(site, dim, start, stop);
        let strides = strides.clone();
        let op = match site.op {
            Op::SliceUpdate { .. } => Op::SliceUpdate {
                start,
                stop,
                strides,
            },
            Op::SliceUpdateAdd { .. } => Op::SliceUpdateAdd {
                start,
                stop,
                strides,
            },
            Op::SliceUpdateMax { .. } => Op::SliceUpdateMax {
                start,
                stop,
                strides,
            },
            Op::SliceUpdateMin { .. } => Op::SliceUpdateMin {
                start,
                stop,
                strides,
            },
            _ => Op::SliceUpdateProd {
                start,
                stop,
                strides,
            },
        };
        Strategy::new(vec![Sharded(dim); 2], Sharded(dim)).with_op(op)
    });
    let mut all: Vec<Strategy> = ways.collect();
    let is_linear = matches!(site.op, Op::SliceUpdate { .. } | Op::SliceUpdateAdd { .. });
    // An update of another dtype is cast, which is not linear.
    if is_linear && site.adds() && site.has_one_dtype() {
        all.push(Strategy::new(vec![SUM, SUM], SUM));
    }
    all
}

pub(super) fn slice_update_dynamic(site: &Site<'_>) -> Vec<Strategy> {
    let Op::SliceUpdateDynamic { axes } = site.op else {
        return Vec::new();
    };
    let (shape, update) = (site.shape(0), site.shape(1));
    if shape.len() != update.len() {
        return Vec::new();
    }
    let is_moving = |dim: usize| {
        axes.iter()
            .any(|axis| axis_index(*axis, shape.len()) == Some(dim))
    };
    let whole =
        |dim: &usize| site.divides(shape[*dim]) && update[*dim] == shape[*dim] && !is_moving(*dim);
    let mut all: Vec<Strategy> = (0..shape.len())
        .filter(whole)
        .map(|dim| Strategy::new(vec![Sharded(dim), Sharded(dim), Replicated], Sharded(dim)))
        .collect();
    // An update of another dtype is cast, which is not linear.
    if site.adds() && site.inputs[0].dtype == site.inputs[1].dtype {
        all.push(Strategy::new(vec![SUM, SUM, Replicated], SUM));
    }
    all
}

/// Of other axes, of the indices, and of the rows themselves: then each rank gives zeros for rows of others.
pub(super) fn take(site: &Site<'_>) -> Vec<Strategy> {
    let Op::Take { axis } = site.op else {
        return Vec::new();
    };
    let (x, indices) = (site.shape(0), site.shape(1));
    let Some(along) = axis_index(*axis, x.len()) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for dim in (0..x.len()).filter(|dim| site.divides(x[*dim])) {
        all.push(match dim {
            dim if dim == along && site.adds() => Strategy {
                local: Local::MaskedTake(along),
                ..Strategy::new(vec![Sharded(dim), Replicated], SUM)
            },
            dim if dim == along => continue,
            dim if dim < along => Strategy::new(vec![Sharded(dim), Replicated], Sharded(dim)),
            dim => Strategy::new(
                vec![Sharded(dim), Replicated],
                Sharded(dim - 1 + indices.len()),
            ),
        });
    }
    for dim in (0..indices.len()).filter(|dim| site.divides(indices[*dim])) {
        all.push(Strategy::new(
            vec![Replicated, Sharded(dim)],
            Sharded(along + dim),
        ));
    }
    if site.adds() {
        all.push(Strategy::new(vec![SUM, Replicated], SUM));
    }
    all
}

/// Along other axes than the one that indices are of; all inputs have the sizes of the result there, or 1.
pub(super) fn along_axis(site: &Site<'_>) -> Vec<Strategy> {
    let (Op::TakeAlongAxis { axis } | Op::PutAlongAxis { axis } | Op::ScatterAddAxis { axis }) =
        site.op
    else {
        return Vec::new();
    };
    let out = site.out();
    if (0..site.inputs.len()).any(|input| site.shape(input).len() != out.len()) {
        return Vec::new();
    }
    let along = axis_index(*axis, out.len());
    let fits = |dim: &usize| {
        let inputs = 0..site.inputs.len();
        site.divides(out[*dim])
            && Some(*dim) != along
            && inputs
                .into_iter()
                .all(|input| [1, out[*dim]].contains(&site.shape(input)[*dim]))
    };
    (0..out.len())
        .filter(fits)
        .map(|dim| {
            let inputs = (0..site.inputs.len()).map(|input| match site.shape(input)[dim] {
                1 => Replicated,
                _ => Sharded(dim),
            });
            Strategy::new(inputs.collect(), Sharded(dim))
        })
        .collect()
}

/// Along dimensions that are taken whole, and along those of the indices.
pub(super) fn gather(site: &Site<'_>) -> Vec<Strategy> {
    let Op::Gather { axes, slice_sizes } = site.op else {
        return Vec::new();
    };
    let (x, indices) = (site.shape(0), site.shape(1));
    let n_indices = site.inputs.len() - 1;
    if (1..=n_indices).any(|input| site.shape(input) != indices) {
        return Vec::new();
    }
    let with = |x: Sharding, indices: Sharding| {
        let mut inputs = vec![indices; n_indices + 1];
        inputs[0] = x;
        inputs
    };
    let is_indexed = |dim: usize| {
        axes.iter()
            .any(|axis| axis_index(*axis, x.len()) == Some(dim))
    };
    let whole = |dim: &usize| {
        site.divides(x[*dim]) && slice_sizes.get(*dim) == Some(&x[*dim]) && !is_indexed(*dim)
    };
    let mut all: Vec<Strategy> = (0..x.len())
        .filter(whole)
        .map(|dim| {
            let op = Op::Gather {
                axes: axes.clone(),
                slice_sizes: site.with_input_part(slice_sizes, dim),
            };
            Strategy::new(with(Sharded(dim), Replicated), Sharded(indices.len() + dim)).with_op(op)
        })
        .collect();
    for dim in (0..indices.len()).filter(|dim| site.divides(indices[*dim])) {
        all.push(Strategy::new(with(Replicated, Sharded(dim)), Sharded(dim)));
    }
    if site.adds() {
        all.push(Strategy::new(with(SUM, Replicated), SUM));
    }
    all
}
