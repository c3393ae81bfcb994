//! From one sharding to another: slices, and collectives. JAX calls it resharding.

use mlx::compiler_api::OpString;
use mlx::{ArrayType, Op};

use super::mesh::MeshAxis;
use super::report::{CollectiveKind, byte_count};
use super::strategy::{Reduction, Replicated, Sharded, Sharding, Unreduced};
use crate::graph::{Graph, Operation, SourceLocation, Value};

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

/// Returns the type of what a rank has of a value.
pub(super) fn local_type(array_type: &ArrayType, sharding: Sharding, ranks: usize) -> ArrayType {
    let mut local = array_type.clone();
    if let Sharded(dim) = sharding
        && let Some(size) = local.shape.get_mut(dim)
    {
        *size /= i32::try_from(ranks).unwrap_or(1);
    }
    local
}

/// Returns what it costs to make one sharding of a value of another; `None` where that is not done.
pub(super) fn cost(
    array_type: &ArrayType,
    from: Sharding,
    to: Sharding,
    ranks: usize,
) -> Option<Cost> {
    let bytes = byte_count(array_type);
    let of = |kind: CollectiveKind, operations| {
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
        (Sharded(_), Replicated) => of(CollectiveKind::AllGather, 1),
        (Sharded(_), Sharded(_)) => of(CollectiveKind::AllGather, 2),
        (Unreduced(reduction), Replicated) => of(CollectiveKind::of(reduction), 1),
        // What is scattered is gathered later on, as a rule: that counts too.
        (Unreduced(reduction), Sharded(_)) => of(CollectiveKind::of(reduction), 2),
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

/// Appends the slice of a rank's part of a whole value.
pub(super) fn slice_part(
    into: &mut Graph,
    value: Value,
    dim: usize,
    (rank, ranks): (usize, usize),
    site: SourceLocation,
) -> Value {
    let array_type = into.array_type(value).clone();
    let part = local_type(&array_type, Sharded(dim), ranks);
    let size = part.shape[dim];
    let mut start = vec![0; part.shape.len()];
    let mut stop = part.shape.clone();
    start[dim] = size * i32::try_from(rank).unwrap_or(0);
    stop[dim] = start[dim] + size;
    let strides = vec![1; start.len()];
    let op = Operation::Op(Op::Slice {
        start,
        stop,
        strides,
    });
    into.add_node(op, vec![value], vec![part], site)[0]
}

/// Returns whether a sharding is a sum that is not made yet.
pub(super) fn is_sum(sharding: Sharding) -> bool {
    sharding == Unreduced(Reduction::Sum)
}
