//! Groups and ranks of communications.

use crate::ffi::{Handle, NativeError, distributed};
use crate::op::{AttrValue, Op, OpFlags};

/// Refuses a group that is not there, and ranks that the group has not.
pub(super) fn check(op: &Op, inputs: &[&Handle]) -> Result<(), NativeError> {
    if !op.flags().contains(OpFlags::COMMUNICATES) {
        return Ok(());
    }
    let group = op.attrs().into_iter().find(|(name, _)| *name == "group");
    let Some((_, AttrValue::Text(name))) = group else {
        return Err(NativeError::from("names no group"));
    };
    let Some((rank, size)) = distributed::rank_and_size(&name)? else {
        return Err(NativeError(format!(
            "there is no group with the name {name:?} in this process: form it with distributed::init first"
        )));
    };
    match op {
        Op::Send { dst, .. } => peer("dst", *dst, &name, rank, size),
        Op::Recv { src, .. } => peer("src", *src, &name, rank, size),
        Op::SumScatter { .. } => divisible(inputs[0].shape(), size),
        _ => Ok(()),
    }
}

/// A rank that can be sent to.
fn peer(what: &str, peer: i32, name: &str, rank: usize, size: usize) -> Result<(), NativeError> {
    if size == 1 {
        return Err(NativeError::from(
            "wanted a group of at least 2 ranks, got a group of 1",
        ));
    }
    let number = usize::try_from(peer).ok().filter(|&number| number < size);
    let Some(number) = number.filter(|&number| number != rank) else {
        return Err(NativeError(format!(
            "{what} must be another rank of the group of {size}, got {peer} on rank {rank}"
        )));
    };
    let (right, left) = ((rank + 1) % size, (rank + size - 1) % size);
    if name.starts_with("ring") && number != right && number != left {
        return Err(NativeError(format!(
            "in a ring of {size}, rank {rank} reaches its neighbors {left} and {right}, got {what} {peer}"
        )));
    }
    Ok(())
}

fn divisible(shape: &[i32], size: usize) -> Result<(), NativeError> {
    if size == 1 {
        return Ok(());
    }
    let rows = shape
        .first()
        .and_then(|&rows| usize::try_from(rows).ok())
        .filter(|rows| rows % size == 0);
    rows.map(|_| ()).ok_or_else(|| {
        NativeError(format!(
            "axis 0 must be divisible by the {size} ranks of the group, got shape {shape:?}"
        ))
    })
}
