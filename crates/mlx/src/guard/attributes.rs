//! Attributes that MLX does not look at before it uses them.

use crate::ffi::{Fault, Handle};
use crate::op::Op;

/// Refuses attributes that would divide by zero, count backwards or reach beyond a buffer.
pub(super) fn check(op: &Op, inputs: &[&Handle]) -> Result<(), Fault> {
    match op {
        Op::Conv {
            stride,
            kernel_dilation,
            input_dilation,
            groups,
            ..
        } => {
            let steps = [
                ("stride", stride),
                ("kernel_dilation", kernel_dilation),
                ("input_dilation", input_dilation),
            ];
            for (name, values) in steps {
                if values.iter().any(|&value| value < 1) {
                    return Err(Fault(format!("{name} must be at least 1, got {values:?}")));
                }
            }
            at_least("groups", *groups, 1)
        }
        Op::AsStrided {
            shape,
            strides,
            offset,
        } => within_buffer(inputs[0].size(), shape, strides, *offset),
        Op::Zeros { shape, .. }
        | Op::Ones { shape, .. }
        | Op::Full { shape, .. }
        | Op::BroadcastTo { shape }
        | Op::RandomBernoulli { shape }
        | Op::RandomBits { shape, .. }
        | Op::RandomCategorical { shape, .. }
        | Op::RandomGumbel { shape, .. }
        | Op::RandomLaplace { shape, .. }
        | Op::RandomMultivariateNormal { shape, .. }
        | Op::RandomNormal { shape, .. }
        | Op::RandomRandint { shape, .. }
        | Op::RandomTruncatedNormal { shape, .. }
        | Op::RandomUniform { shape, .. } => countable(shape),
        Op::Eye { n, m, .. } | Op::Tri { n, m, .. } => countable(&[*n, *m]),
        Op::Bartlett { m } | Op::Blackman { m } | Op::Hamming { m } | Op::Hanning { m } => {
            at_least("m", *m, 0)
        }
        Op::Split { num_splits, .. } => at_least("num_splits", *num_splits, 1),
        Op::Repeat { repeats, .. } => at_least("repeats", *repeats, 0),
        Op::Tile { reps } => reps.iter().try_for_each(|&n| at_least("reps", n, 0)),
        Op::Linspace { num, .. } => at_least("num", *num, 0),
        Op::Fftfreq { n, .. } | Op::Rfftfreq { n, .. } => at_least("n", *n, 1),
        Op::RandomSplit { num } => at_least("num", *num, 1),
        Op::Pad { low, high, .. } => low
            .iter()
            .chain(high)
            .try_for_each(|&n| at_least("padding", n, 0)),
        Op::MaskedScatter if inputs[2].size() == 0 => {
            Err(Fault::from("wanted at least one value, got none"))
        }
        Op::ScaledDotProductAttention { .. } if inputs[1].shape().get(1) == Some(&0) => {
            // MLX takes the remainder of the heads of the queries by those of the keys.
            Err(Fault::from("keys must have at least 1 head, got 0"))
        }
        _ => Ok(()),
    }
}

fn at_least(name: &str, value: i32, least: i32) -> Result<(), Fault> {
    if value >= least {
        Ok(())
    } else {
        Err(Fault(format!(
            "{name} must be at least {least}, got {value}"
        )))
    }
}

/// Refuses negative sizes and sizes whose product overflows.
pub(crate) fn countable(shape: &[i32]) -> Result<(), Fault> {
    if let Some(dim) = shape.iter().find(|&&dim| dim < 0) {
        return Err(Fault(format!(
            "sizes must not be negative, got {dim} in {shape:?}"
        )));
    }
    let product = shape
        .iter()
        .try_fold(1_i64, |n, &dim| n.checked_mul(i64::from(dim)));
    // 16 bytes is more than any element has, so byte counts do not overflow either.
    match product.and_then(|n| n.checked_mul(16)) {
        Some(_) => Ok(()),
        None => Err(Fault(format!(
            "the shape {shape:?} has more elements than can be counted"
        ))),
    }
}

/// Refuses a strided view that reaches outside the `size` elements it looks at.
fn within_buffer(size: usize, shape: &[i32], strides: &[i64], offset: usize) -> Result<(), Fault> {
    countable(shape)?;
    if shape.len() != strides.len() {
        return Err(Fault(format!(
            "wanted as many strides as dimensions, got {strides:?} for {shape:?}"
        )));
    }
    if shape.contains(&0) {
        return Ok(());
    }
    let (mut first, mut last) = (offset as i128, offset as i128);
    for (&dim, &stride) in shape.iter().zip(strides) {
        let reach = i128::from(dim - 1) * i128::from(stride);
        if reach < 0 {
            first += reach
        } else {
            last += reach
        }
    }
    if first < 0 || last >= size as i128 {
        return Err(Fault(format!(
            "the view must stay within the {size} elements of the array, got elements {first} to {last}"
        )));
    }
    Ok(())
}
