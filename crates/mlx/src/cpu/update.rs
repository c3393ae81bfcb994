//! Writing an update into part of an output.

use super::layout::{input, output, size};
use crate::ffi::host::{HostInput, HostOutput};
use crate::program::Update;

/// Writes the first input into part of the output; the second one adds to where the part starts.
pub(super) fn run(
    update: &Update,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let values = input(inputs, 0)?;
    let shape: Vec<usize> = values.shape().iter().map(|&n| size(n)).collect();
    let start = start(update, inputs)?;
    // A part without elements may begin beyond the end.
    if values.layout().size() == 0 && update.axes.is_empty() {
        return Ok(());
    }
    let target = output(outputs, 0)?;
    let sizes: Vec<usize> = target.shape().iter().map(|&n| size(n)).collect();
    check(update, &shape, &start, &sizes)?;
    let itemsize = target.dtype().size();
    let from = values.contiguous_bytes()?;
    if from.is_empty() {
        return Ok(());
    }
    let (Some(&row), Some(&step)) = (shape.last(), update.strides.last()) else {
        return Err("wanted at least one axis, got none".to_owned());
    };
    let to = target.as_mut_bytes();
    let mut index = vec![0; shape.len() - 1];
    for from in from.chunks_exact(row * itemsize) {
        let mut at = 0;
        for (axis, &length) in sizes.iter().enumerate() {
            let inner = index
                .get(axis)
                .map_or(0, |index| index * update.strides[axis]);
            at = at * length + start[axis] + inner;
        }
        if step == 1 {
            to[at * itemsize..][..from.len()].copy_from_slice(from);
        } else {
            for (number, from) in from.chunks_exact(itemsize).enumerate() {
                to[(at + number * step) * itemsize..][..itemsize].copy_from_slice(from);
            }
        }
        for (axis, index) in index.iter_mut().enumerate().rev() {
            *index += 1;
            if *index < shape[axis] {
                break;
            }
            *index = 0;
        }
    }
    Ok(())
}

/// Where the part starts.
fn start(update: &Update, inputs: &[HostInput<'_>]) -> Result<Vec<usize>, String> {
    let mut start = update.start.clone();
    if !update.axes.is_empty() {
        let given = input(inputs, 1)?.to_contiguous::<i32>()?;
        for (&axis, &at) in update.axes.iter().zip(given.iter()) {
            start[axis] = usize::try_from(at)
                .map_err(|_| format!("wanted a start from 0 up on axis {axis}, got {at}"))?;
        }
    }
    Ok(start)
}

/// Refuses a part that ends beyond the array.
fn check(update: &Update, shape: &[usize], start: &[usize], sizes: &[usize]) -> Result<(), String> {
    for (axis, &length) in sizes.iter().enumerate() {
        let last =
            shape[axis].saturating_sub(1) * update.strides[axis] + usize::from(shape[axis] > 0);
        let end = start[axis].checked_add(last);
        if end.is_none_or(|end| end > length) {
            let most = length.saturating_sub(last);
            return Err(format!(
                "wanted a start of at most {most} on axis {axis}, got {}",
                start[axis]
            ));
        }
    }
    Ok(())
}
