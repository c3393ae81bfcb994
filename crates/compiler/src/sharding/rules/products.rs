//! Products: split along a dimension of the result, or along what is summed, which leaves sums unreduced.

use mlx::{Op, axis_index};

use super::super::strategy::{Replicated, SUM, Sharded, Sharding, Site, Strategy};

/// A label for each dimension of the operands and the result; those that occur in operands only are summed.
struct Labels {
    operands: Vec<Vec<usize>>,
    result: Vec<usize>,
}

impl Labels {
    fn ways(&self, site: &Site<'_>) -> Vec<Strategy> {
        let fits = |(labels, shape): (&Vec<usize>, &[i32])| labels.len() == shape.len();
        let shapes = (0..self.operands.len()).map(|operand| site.shape(operand));
        if !self.operands.iter().zip(shapes).all(fits) || self.result.len() != site.out().len() {
            return Vec::new();
        }
        let mut labels: Vec<usize> = self.operands.concat();
        labels.sort_unstable();
        labels.dedup();
        let mut all: Vec<Strategy> = labels
            .into_iter()
            .filter_map(|label| self.split(site, label))
            .collect();
        if site.adds() && self.operands.len() <= 2 {
            let n = self.operands.len();
            let linear = |operand: usize| {
                let mut inputs = vec![Replicated; n];
                inputs[operand] = SUM;
                Strategy::new(inputs, SUM)
            };
            // Integers wrap around: their sum is made before it becomes a real.
            let adds = |operand: &usize| {
                let dtype = site.inputs[*operand].dtype;
                dtype.is_inexact() || dtype == site.outputs[0].dtype
            };
            all.extend((0..n).filter(adds).map(linear));
        }
        all
    }

    /// Every operand that has the label is split along it, except those that are broadcast.
    fn split(&self, site: &Site<'_>, label: usize) -> Option<Strategy> {
        let place = |labels: &[usize]| labels.iter().position(|one| *one == label);
        let operands = || self.operands.iter().enumerate();
        let sizes = operands().filter_map(|(k, labels)| Some(site.shape(k)[place(labels)?]));
        let size = sizes.max()?;
        if !site.divides(size) {
            return None;
        }
        let inputs = operands().map(|(k, labels)| match place(labels) {
            Some(dim) if site.shape(k)[dim] == size => Sharded(dim),
            _ => Replicated,
        });
        let output = match place(&self.result) {
            Some(dim) => Sharded(dim),
            None if site.adds() => SUM,
            None => return None,
        };
        Some(Strategy::new(inputs.collect(), output))
    }
}

/// Labels of batch dimensions count from the last one of the result; these are others.
const M: usize = 1_000;
const N: usize = 1_001;
const K: usize = 1_002;

pub(super) fn matmul(site: &Site<'_>) -> Vec<Strategy> {
    let batch = |ndim: usize| (0..ndim.saturating_sub(2)).rev().collect::<Vec<_>>();
    let (a, b) = (site.shape(0).len(), site.shape(1).len());
    let labels = Labels {
        operands: vec![
            if a == 1 {
                vec![K]
            } else {
                [batch(a), vec![M, K]].concat()
            },
            if b == 1 {
                vec![K]
            } else {
                [batch(b), vec![K, N]].concat()
            },
        ],
        result: {
            let mut result = batch(a.max(b));
            result.extend((a > 1).then_some(M));
            result.extend((b > 1).then_some(N));
            result
        },
    };
    labels.ways(site)
}

/// The last dimensions of both are summed.
pub(super) fn inner(site: &Site<'_>) -> Vec<Strategy> {
    let (a, b) = (site.shape(0).len(), site.shape(1).len());
    if a == 0 || b == 0 {
        return Vec::new();
    }
    let first: Vec<usize> = (0..a - 1).collect();
    let second: Vec<usize> = (100..100 + b - 1).collect();
    let labels = Labels {
        operands: vec![
            [first.clone(), vec![K]].concat(),
            [second.clone(), vec![K]].concat(),
        ],
        result: [first, second].concat(),
    };
    labels.ways(site)
}

pub(super) fn outer(site: &Site<'_>) -> Vec<Strategy> {
    let labels = Labels {
        operands: vec![vec![M], vec![N]],
        result: vec![M, N],
    };
    labels.ways(site)
}

pub(super) fn tensordot(site: &Site<'_>) -> Vec<Strategy> {
    let Op::Tensordot { axes_a, axes_b } = site.op else {
        return Vec::new();
    };
    let place = |axes: &[i32], ndim: usize| -> Option<Vec<usize>> {
        axes.iter().map(|axis| axis_index(*axis, ndim)).collect()
    };
    let (a, b) = (site.shape(0).len(), site.shape(1).len());
    let (Some(of_a), Some(of_b)) = (place(axes_a, a), place(axes_b, b)) else {
        return Vec::new();
    };
    let label = |axes: &[usize], dim: usize, first: usize| match axes
        .iter()
        .position(|axis| *axis == dim)
    {
        Some(summed) => K + summed,
        None => first + dim,
    };
    let first: Vec<usize> = (0..a).map(|dim| label(&of_a, dim, 0)).collect();
    let second: Vec<usize> = (0..b).map(|dim| label(&of_b, dim, 100)).collect();
    let both = first.iter().chain(&second);
    let result = both.copied().filter(|label| *label < K).collect();
    let operands = vec![first, second];
    Labels { operands, result }.ways(site)
}

/// Subscripts without an ellipsis, with each letter once in an operand.
pub(super) fn einsum(site: &Site<'_>) -> Vec<Strategy> {
    let Op::Einsum { subscripts } = site.op else {
        return Vec::new();
    };
    let text = subscripts.to_string();
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let Some((operands, result)) = text.split_once("->") else {
        return Vec::new();
    };
    let labels = |part: &str| part.chars().map(|c| c as usize).collect::<Vec<usize>>();
    let operands: Vec<Vec<usize>> = operands.split(',').map(labels).collect();
    let is_plain = |labels: &Vec<usize>| {
        let once = |label: &usize| labels.iter().filter(|one| *one == label).count() == 1;
        labels.iter().all(once)
    };
    if text.contains('.') || operands.len() != site.inputs.len() || !operands.iter().all(is_plain) {
        return Vec::new();
    }
    Labels {
        operands,
        result: labels(result),
    }
    .ways(site)
}

/// Every result has the dimensions of the input, only the last of them in other units.
pub(super) fn quantize(site: &Site<'_>) -> Vec<Strategy> {
    let shape = site.shape(0);
    let dims = (0..shape.len().saturating_sub(1)).filter(|dim| site.divides(shape[*dim]));
    dims.map(|dim| Strategy {
        outputs: vec![Sharded(dim); site.outputs.len()],
        ..Strategy::new(vec![Sharded(dim)], Sharded(dim))
    })
    .collect()
}

pub(super) fn dequantize(site: &Site<'_>) -> Vec<Strategy> {
    let n = site.inputs.len();
    let dims = (0..site.out().len()).filter(|dim| packed_divides(site, 0, *dim));
    dims.map(|dim| Strategy::new(vec![Sharded(dim); n], Sharded(dim)))
        .collect()
}

/// Returns whether the ranks divide a dimension of a packed matrix: of its words and of its scales.
///
/// Groups that share a scale are whole words, so that a part of the scales is of a part of the words.
fn packed_divides(site: &Site<'_>, words: usize, dim: usize) -> bool {
    let size = |input: usize| site.shape(input).get(dim).copied().unwrap_or(0);
    site.divides(size(words)) && site.divides(size(words + 1))
}

pub(super) fn quantized_matmul(site: &Site<'_>) -> Vec<Strategy> {
    let Op::QuantizedMatmul { transpose, .. } = site.op else {
        return Vec::new();
    };
    let (x, w) = (site.shape(0), site.shape(1));
    if w.len() != 2 || x.is_empty() {
        return Vec::new();
    }
    let last = x.len() - 1;
    let (of_outputs, of_inputs) = if *transpose { (0, 1) } else { (1, 0) };
    let with = |x: Sharding, weights: Sharding| {
        let mut inputs = vec![weights; site.inputs.len()];
        inputs[0] = x;
        inputs
    };
    let mut all = Vec::new();
    if packed_divides(site, 1, of_outputs) {
        all.push(Strategy::new(
            with(Replicated, Sharded(of_outputs)),
            Sharded(last),
        ));
    }
    if packed_divides(site, 1, of_inputs) && site.divides(x[last]) {
        all.push(Strategy::new(with(Sharded(last), Sharded(of_inputs)), SUM));
    }
    for dim in (0..last).filter(|dim| site.divides(x[*dim])) {
        all.push(Strategy::new(with(Sharded(dim), Replicated), Sharded(dim)));
    }
    all.push(Strategy::new(with(SUM, Replicated), SUM));
    all
}

/// Of images, of filters, and of the channels that are summed; not along what the filter slides over.
pub(super) fn conv(site: &Site<'_>) -> Vec<Strategy> {
    let Op::Conv { groups, .. } = site.op else {
        return Vec::new();
    };
    let (x, w) = (site.shape(0), site.shape(1));
    let Some(channels) = x.len().checked_sub(1).filter(|_| x.len() == w.len()) else {
        return Vec::new();
    };
    let mut all = vec![
        Strategy::new(vec![SUM, Replicated], SUM),
        Strategy::new(vec![Replicated, SUM], SUM),
    ];
    if site.divides(x[0]) {
        all.push(Strategy::new(vec![Sharded(0), Replicated], Sharded(0)));
    }
    if *groups == 1 && site.divides(w[0]) {
        all.push(Strategy::new(
            vec![Replicated, Sharded(0)],
            Sharded(channels),
        ));
    }
    if *groups == 1 && site.divides(x[channels]) {
        let split = Sharded(channels);
        all.push(Strategy::new(vec![split, split], SUM));
    }
    all
}
