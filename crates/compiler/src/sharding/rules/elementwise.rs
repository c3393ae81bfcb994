//! Elementwise operations: split along any dimension of the result; sums stay unreduced where they are linear.

use super::super::Reduction;
use super::super::strategy::{Replicated, SUM, Sharded, Sharding, Site, Strategy, Unreduced};

/// The operations whose ways are those of [`ways`] and no more.
pub(super) const NAMES: &[&str] = &[
    "abs",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctanh",
    "bitwise_invert",
    "ceil",
    "conjugate",
    "cos",
    "cosh",
    "erf",
    "erfinv",
    "exp",
    "expm1",
    "floor",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "log",
    "log10",
    "log1p",
    "log2",
    "logical_not",
    "nan_to_num",
    "real",
    "reciprocal",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
    "astype",
    "to_fp8",
    "from_fp8",
    "arctan2",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "equal",
    "floor_divide",
    "greater",
    "greater_equal",
    "left_shift",
    "less",
    "less_equal",
    "logaddexp",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "not_equal",
    "power",
    "remainder",
    "right_shift",
    "where",
    "clip",
    "isclose",
];

/// Split along each dimension of the result; inputs that are broadcast along it are whole.
pub(super) fn ways(site: &Site<'_>) -> Vec<Strategy> {
    let out = site.out();
    let dims = (0..out.len()).filter(|dim| site.divides(out[*dim]));
    dims.map(|dim| {
        let inputs = (0..site.inputs.len()).map(|input| aligned(site, input, dim));
        Strategy {
            inputs: inputs.collect(),
            outputs: site.outputs.iter().map(|_| Sharded(dim)).collect(),
            local: super::super::strategy::Local::Same,
        }
    })
    .collect()
}

/// How an input is split when the result is along `dim`: the shapes are aligned at the last dimension.
pub(super) fn aligned(site: &Site<'_>, input: usize, dim: usize) -> Sharding {
    let (shape, out) = (site.shape(input), site.out());
    let missing = out.len().saturating_sub(shape.len());
    match dim.checked_sub(missing) {
        Some(place) if shape[place] == out[dim] => Sharded(place),
        _ => Replicated,
    }
}

/// A sum of two sums is one.
pub(super) fn sum(site: &Site<'_>) -> Vec<Strategy> {
    with_sums(site, &[&[SUM, SUM]])
}

/// A sum times a number is one; integers are never infinite, so that any may be the factor.
pub(super) fn product(site: &Site<'_>) -> Vec<Strategy> {
    let scales = |input: usize| site.scales(input) || !site.inputs[input].dtype.is_inexact();
    let ways: [(usize, &[Sharding]); 2] = [(1, &[SUM, Replicated]), (0, &[Replicated, SUM])];
    let ways = ways.into_iter().filter(|(factor, _)| scales(*factor));
    with_sums(site, &ways.map(|(_, way)| way).collect::<Vec<_>>())
}

/// Only by a number, and not of integers, whose quotient is not linear.
pub(super) fn quotient(site: &Site<'_>) -> Vec<Strategy> {
    let sums: &[&[Sharding]] = &[&[SUM, Replicated]];
    with_sums(site, if site.scales(1) { sums } else { &[] })
}

pub(super) fn linear(site: &Site<'_>) -> Vec<Strategy> {
    with_sums(site, &[&[SUM]])
}

fn with_sums(site: &Site<'_>, sums: &[&[Sharding]]) -> Vec<Strategy> {
    let mut all = ways(site);
    let adds = site.adds() && site.inputs.iter().all(|one| one.dtype != mlx::Dtype::Bool);
    if adds && site.has_one_dtype() {
        all.extend(
            sums.iter()
                .map(|inputs| Strategy::new(inputs.to_vec(), SUM)),
        );
    }
    all
}

/// What other groups of ranks sum, each rank of this one may have a part of.
pub(super) fn all_reduce(site: &Site<'_>) -> Vec<Strategy> {
    let mut all = ways(site);
    let reduction = match site.op.name() {
        "distributed.all_sum" => Reduction::Sum,
        "distributed.all_max" => Reduction::Max,
        _ => Reduction::Min,
    };
    all.push(Strategy::new(
        vec![Unreduced(reduction)],
        Unreduced(reduction),
    ));
    all
}
