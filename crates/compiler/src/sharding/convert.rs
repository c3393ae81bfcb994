//! From one sharding to another: slices, and collectives. JAX calls it resharding.

use mlx::compiler_api::OpString;
use mlx::{ArrayType, Dtype, DtypeKind, Op, PadMode};

use super::layout::DimLayout;
use super::mesh::MeshAxis;
use super::report::CollectiveKind;
use super::strategy::{Reduction, Replicated, Sharded, Sharding, Unreduced};
use crate::graph::{Constant, Graph, Literal, Operation, SourceLocation, Value};

/// What a way costs: bytes on the wire, then operations besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub(super) struct Cost {
    pub(super) bytes: u64,
    pub(super) operations: usize,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.operations += other.operations;
    }
}

/// Returns what it costs to make one sharding of a value of another; `None` where that is not done.
///
/// `bytes` are those of the whole, `gathered` those of the parts of all ranks as they are sent.
pub(super) fn cost(
    (bytes, gathered): (u64, u64),
    from: Sharding,
    to: Sharding,
    ranks: usize,
) -> Option<Cost> {
    let of = |kind: CollectiveKind, bytes: u64, operations| {
        Some(Cost {
            bytes: kind.wire_bytes(bytes, ranks),
            operations,
        })
    };
    match (from, to) {
        (from, to) if from == to => Some(Cost::default()),
        (_, Unreduced(_)) => None,
        (Replicated, Sharded(_)) => Some(Cost {
            bytes: 0,
            operations: 1,
        }),
        (Sharded(_), Replicated) => of(CollectiveKind::AllGather, gathered, 1),
        (Sharded(_), Sharded(_)) => of(CollectiveKind::AllGather, gathered, 2),
        (Unreduced(reduction), Replicated) => of(CollectiveKind::of(reduction), bytes, 1),
        // What is scattered is gathered later on, as a rule: that counts too.
        (Unreduced(reduction), Sharded(_)) => of(CollectiveKind::of(reduction), bytes, 2),
        (Replicated, Replicated) => Some(Cost::default()),
    }
}

/// Appends a collective and returns its result.
pub(super) fn communicate(
    into: &mut Graph,
    kind: CollectiveKind,
    value: Value,
    axis: &MeshAxis,
    site: SourceLocation,
) -> Value {
    let group = OpString::new(&axis.group);
    let mut array_type = into.array_type(value).clone();
    let ranks = i32::try_from(axis.size).unwrap_or(1);
    let op = match kind {
        CollectiveKind::AllSum => Op::AllSum { group },
        CollectiveKind::AllMax => Op::AllMax { group },
        CollectiveKind::AllMin => Op::AllMin { group },
        CollectiveKind::AllGather => {
            array_type.shape[0] *= ranks;
            Op::AllGather { group }
        }
        CollectiveKind::SumScatter => {
            array_type.shape[0] /= ranks;
            Op::SumScatter { group }
        }
    };
    let site = SourceLocation {
        device: None,
        ..site
    };
    into.add_node(Operation::Op(op), vec![value], vec![array_type], site)[0]
}

/// Appends the exchange of the first dimension with another one.
fn swap_first(into: &mut Graph, value: Value, dim: usize, site: SourceLocation) -> Value {
    if dim == 0 {
        return value;
    }
    let mut array_type = into.array_type(value).clone();
    array_type.shape.swap(0, dim);
    let mut axes: Vec<i32> = (0_i32..).take(array_type.shape.len()).collect();
    axes.swap(0, dim);
    let op = Operation::Op(Op::Transpose { axes });
    into.add_node(op, vec![value], vec![array_type], site)[0]
}

/// Appends a gather or a scatter along a dimension: collectives work along the first one.
pub(super) fn communicate_along(
    into: &mut Graph,
    kind: CollectiveKind,
    value: Value,
    dim: usize,
    axis: &MeshAxis,
    site: SourceLocation,
) -> Value {
    let first = swap_first(into, value, dim, site);
    let done = communicate(into, kind, first, axis, site);
    swap_first(into, done, dim, site)
}

/// Appends the whole of a value that is split along a dimension: parts are sent with the size of the greatest.
pub(super) fn gather(
    into: &mut Graph,
    value: Value,
    (dim, layout): (usize, &DimLayout),
    (axis, rank): (&MeshAxis, usize),
    site: SourceLocation,
) -> Value {
    let (ranks, kind) = (axis.size, CollectiveKind::AllGather);
    if layout.is_even(ranks) && layout.is_contiguous() {
        return communicate_along(into, kind, value, dim, axis, site);
    }
    let greatest = layout.greatest(ranks);
    let first = swap_first(into, value, dim, site);
    let padded = match layout.is_even(ranks) {
        true => first,
        false => pad_first(into, first, greatest - layout.size(rank, ranks), site),
    };
    let all = communicate(into, kind, padded, axis, site);
    // Section by section, what ranks have of it.
    let runs: Vec<Vec<(usize, usize)>> = (0..ranks).map(|rank| layout.runs(rank, ranks)).collect();
    let mut pieces = Vec::new();
    for section in 0..layout.sections().len() {
        for (rank, runs) in runs.iter().enumerate() {
            let before: usize = runs[..section].iter().map(|(_, n)| n).sum();
            pieces.push((rank * greatest + before, runs[section].1));
        }
    }
    let whole = slice_runs(into, all, 0, &pieces, site);
    swap_first(into, whole, dim, site)
}

/// Appends zeros behind the first dimension.
fn pad_first(into: &mut Graph, value: Value, more: usize, site: SourceLocation) -> Value {
    let mut array_type = into.array_type(value).clone();
    let number = ArrayType::new((), array_type.dtype);
    let zero = into.add_constant(number, Constant::Number(zero_of(array_type.dtype)));
    let high = i32::try_from(more).unwrap_or(0);
    array_type.shape[0] += high;
    let op = Op::Pad {
        axes: vec![0],
        low: vec![0],
        high: vec![high],
        mode: PadMode::Constant,
    };
    into.add_node(Operation::Op(op), vec![value, zero], vec![array_type], site)[0]
}

/// Returns 0 in a dtype.
pub(super) fn zero_of(dtype: Dtype) -> Literal {
    match dtype {
        Dtype::Bool => Literal::Bool(false),
        dtype if dtype.is_inexact() => Literal::Float(0.0),
        dtype if dtype.kind() == DtypeKind::Unsigned => Literal::Unsigned(0),
        _ => Literal::Int(0),
    }
}

/// Appends runs of elements of a dimension, the first and the number of each, one after the other.
pub(super) fn slice_runs(
    into: &mut Graph,
    value: Value,
    dim: usize,
    runs: &[(usize, usize)],
    site: SourceLocation,
) -> Value {
    let array_type = into.array_type(value).clone();
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let mut parts = Vec::new();
    for &(first, n) in runs {
        let mut part = array_type.clone();
        part.shape[dim] = number(n);
        let mut start = vec![0; part.shape.len()];
        let mut stop = part.shape.to_vec();
        start[dim] = number(first);
        stop[dim] = number(first + n);
        let strides = vec![1; start.len()];
        let op = Operation::Op(Op::Slice {
            start,
            stop,
            strides,
        });
        parts.push(into.add_node(op, vec![value], vec![part], site)[0]);
    }
    if parts.len() == 1 {
        return parts[0];
    }
    let mut joined = array_type;
    joined.shape[dim] = number(runs.iter().map(|(_, n)| n).sum());
    let axis = number(dim);
    let op = Operation::Op(Op::Concatenate { axis });
    into.add_node(op, parts, vec![joined], site)[0]
}

/// Returns whether a sharding is a sum that is not made yet.
pub(super) fn is_sum(sharding: Sharding) -> bool {
    sharding == Unreduced(Reduction::Sum)
}
