//! Fused transformer kernels: norms by row, positions and attention by sequence and head.

use mlx::Op;

use super::super::strategy::{Replicated, Sharded, Sharding, Site, Strategy};

/// Along all dimensions but the one that is normalized.
pub(super) fn norm(site: &Site<'_>) -> Vec<Strategy> {
    let shape = site.shape(0);
    first_input(site, (0..shape.len().saturating_sub(1)).collect())
}

/// The first input is split along one of these dimensions, and so is the result.
fn first_input(site: &Site<'_>, dims: Vec<usize>) -> Vec<Strategy> {
    let shape = site.shape(0);
    let dims = dims.into_iter().filter(|dim| site.divides(shape[*dim]));
    dims.map(|dim| {
        let mut inputs = vec![Replicated; site.inputs.len()];
        inputs[0] = Sharded(dim);
        Strategy::new(inputs, Sharded(dim))
    })
    .collect()
}

/// Along all but positions and features. Offsets may be one for each sequence.
pub(super) fn rope(site: &Site<'_>) -> Vec<Strategy> {
    let shape = site.shape(0);
    let mut all = first_input(site, (0..shape.len().saturating_sub(2)).collect());
    let by_sequence = site.shape(1).first().is_some_and(|n| *n > 1);
    for way in all.iter_mut().filter(|_| by_sequence) {
        if way.inputs[0] == Sharded(0) {
            way.inputs[1] = Sharded(0);
        }
    }
    all
}

/// By sequences, and by heads: those that share keys and values stay together.
pub(super) fn attention(site: &Site<'_>) -> Vec<Strategy> {
    let Op::ScaledDotProductAttention { sinks, .. } = site.op else {
        return Vec::new();
    };
    let (q, k) = (site.shape(0), site.shape(1));
    if q.len() != 4 || k.len() != 4 {
        return Vec::new();
    }
    let n = site.inputs.len();
    let mask = |input: usize, dim: usize| {
        let shape = site.shape(input);
        let missing = 4_usize.saturating_sub(shape.len());
        match dim.checked_sub(missing) {
            Some(place) if shape[place] == q[dim] => Sharded(place),
            _ => Replicated,
        }
    };
    let of = |dim: usize| -> Vec<Sharding> {
        let input = |input: usize| match input {
            0..3 => Sharded(dim),
            _ if *sinks && input + 1 == n => [Replicated, Sharded(0)][dim],
            _ => mask(input, dim),
        };
        (0..n).map(input).collect()
    };
    let dims = (0..2).filter(|dim| site.divides(q[*dim]) && site.divides(k[*dim]));
    dims.map(|dim| Strategy::new(of(dim), Sharded(dim)))
        .collect()
}

/// One loss for each row of logits.
pub(super) fn cross_entropy(site: &Site<'_>) -> Vec<Strategy> {
    let (logits, out) = (site.shape(0), site.out());
    let dims = (0..out.len()).filter(|dim| site.divides(out[*dim]));
    let fits =
        dims.filter(|dim| site.shape(1).get(*dim) == Some(&out[*dim]) && logits[*dim] == out[*dim]);
    fits.map(|dim| Strategy::new(vec![Sharded(dim); 2], Sharded(dim)))
        .collect()
}
