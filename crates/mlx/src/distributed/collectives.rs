//! What is communicated: one operation of the table for each function.

use super::group::{Group, init};
use crate::op::OpString;
use crate::{Array, Dtype, Op, Shape, bind};

/// Returns the sum of the arrays `x` of all ranks.
///
/// The group is the global one where none is given.
#[track_caller]
pub fn all_sum<'g>(x: &Array, group: impl Into<Option<&'g Group>>) -> Array {
    in_group(group.into(), |group| bind(Op::AllSum { group }, &[x]))
}

/// Returns the elementwise maximum of the arrays `x` of all ranks.
#[track_caller]
pub fn all_max<'g>(x: &Array, group: impl Into<Option<&'g Group>>) -> Array {
    in_group(group.into(), |group| bind(Op::AllMax { group }, &[x]))
}

/// Returns the elementwise minimum of the arrays `x` of all ranks.
#[track_caller]
pub fn all_min<'g>(x: &Array, group: impl Into<Option<&'g Group>>) -> Array {
    in_group(group.into(), |group| bind(Op::AllMin { group }, &[x]))
}

/// Returns the arrays `x` of all ranks, concatenated along the first axis in the order of ranks.
///
/// `[n, ...]` becomes `[n * size, ...]`, a scalar `[size]`.
#[track_caller]
pub fn all_gather<'g>(x: &Array, group: impl Into<Option<&'g Group>>) -> Array {
    in_group(group.into(), |group| bind(Op::AllGather { group }, &[x]))
}

/// Returns this rank's share of the sum of the arrays `x` of all ranks: `[n, ...]` becomes `[n / size, ...]`.
///
/// In a ring all ranks must be of this crate: MLX's own ring has no `sum_scatter`.
#[track_caller]
pub fn sum_scatter<'g>(x: &Array, group: impl Into<Option<&'g Group>>) -> Array {
    in_group(group.into(), |group| bind(Op::SumScatter { group }, &[x]))
}

/// Returns `x`, which is sent to rank `dst` when the result is evaluated.
///
/// In a ring, ranks reach their neighbors only.
#[track_caller]
pub fn send<'g>(x: &Array, dst: usize, group: impl Into<Option<&'g Group>>) -> Array {
    let dst = to_rank(dst);
    in_group(group.into(), |group| bind(Op::Send { dst, group }, &[x]))
}

/// Returns the array of this shape and dtype that rank `src` sends.
#[track_caller]
pub fn recv<'g>(
    shape: impl Into<Shape>,
    dtype: Dtype,
    src: usize,
    group: impl Into<Option<&'g Group>>,
) -> Array {
    let (shape, src) = (shape.into(), to_rank(src));
    in_group(group.into(), |group| {
        let op = Op::Recv {
            shape: shape.into_numbers(),
            dtype,
            src,
            group,
        };
        bind(op, &[])
    })
}

/// Returns the array of the shape and dtype of `x` that rank `src` sends.
#[track_caller]
pub fn recv_like<'g>(x: &Array, src: usize, group: impl Into<Option<&'g Group>>) -> Array {
    match (x.shape(), x.dtype()) {
        (Ok(shape), Ok(dtype)) => recv(shape, dtype, src, group),
        (Err(error), _) | (_, Err(error)) => Array::failed(error),
    }
}

/// Applies an operation in the group, or in the global one.
#[track_caller]
fn in_group(group: Option<&Group>, apply: impl FnOnce(OpString) -> Array) -> Array {
    let global;
    let group = match group {
        Some(group) => group,
        None => match init("any", false) {
            Ok(formed) => {
                global = formed;
                &global
            }
            Err(error) => return Array::failed(error),
        },
    };
    apply(OpString::new(group.name()))
}

fn to_rank(rank: usize) -> i32 {
    i32::try_from(rank).unwrap_or(i32::MAX)
}
