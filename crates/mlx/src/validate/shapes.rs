//! Shapes and dtypes of inputs that MLX does not compare before it reads them.

use crate::Dtype;
use crate::ffi::{Handle, NativeError};
use crate::op::{Op, OpFlags, QuantizationMode};

/// Refuses inputs that would be read beyond their end, or that MLX answers with something that is no exception.
pub(super) fn check(op: &Op, inputs: &[&Handle]) -> Result<(), NativeError> {
    match op {
        _ if op.flags().contains(OpFlags::SCATTER) => integer_indices(&inputs[2..]),
        Op::SliceUpdateDynamic { .. } => update_axes(inputs[0].ndim(), inputs[1].ndim()),
        Op::SegmentedMm => contracted(inputs[0].shape(), inputs[1].shape()),
        Op::Einsum { subscripts } => einsum(&subscripts.to_string(), inputs),
        Op::Quantize { .. }
        | Op::Dequantize { .. }
        | Op::QuantizedMatmul { .. }
        | Op::GatherQmm { .. } => quantized(op, inputs),
        _ => Ok(()),
    }
}

fn integer_indices(indices: &[&Handle]) -> Result<(), NativeError> {
    if indices.iter().any(|index| index.dtype() == Dtype::Bool) {
        return Err(NativeError::from("indices must be integers, got bool"));
    }
    Ok(())
}

fn update_axes(source: usize, update: usize) -> Result<(), NativeError> {
    if update > source {
        return Err(NativeError(format!(
            "the update must have at most {source} axes, got {update}"
        )));
    }
    Ok(())
}

fn contracted(left: &[i32], right: &[i32]) -> Result<(), NativeError> {
    match (left, right) {
        ([_, columns], [rows, _]) if columns != rows => Err(NativeError(format!(
            "the {columns} columns of the left side must be the rows of the right, got {rows}"
        ))),
        _ => Ok(()),
    }
}

fn quantized(op: &Op, inputs: &[&Handle]) -> Result<(), NativeError> {
    match op {
        Op::Quantize {
            group_size,
            bits,
            mode,
        } => packing(*group_size, *bits, *mode),
        Op::Dequantize {
            group_size,
            bits,
            mode,
            ..
        } => {
            packing(*group_size, *bits, *mode)?;
            packed(inputs, 0)
        }
        Op::QuantizedMatmul {
            group_size,
            bits,
            mode,
            ..
        } => {
            packing(*group_size, *bits, *mode)?;
            packed(inputs, 1)?;
            batched_as_weights(inputs[0].shape(), inputs[1].shape())
        }
        Op::GatherQmm {
            biases,
            lhs,
            rhs,
            group_size,
            bits,
            mode,
            ..
        } => {
            let wanted = 3 + usize::from(*biases) + usize::from(*lhs) + usize::from(*rhs);
            if inputs.len() != wanted {
                return Err(NativeError(format!(
                    "wanted {wanted} inputs, got {}",
                    inputs.len()
                )));
            }
            packing(*group_size, *bits, *mode)?;
            packed(inputs, 1)
        }
        _ => Ok(()),
    }
}

fn batched_as_weights(input: &[i32], weights: &[i32]) -> Result<(), NativeError> {
    if input.len() <= 2 && weights.len() > 2 {
        return Err(NativeError(format!(
            "the input must have batches as the weights have, got {input:?} and {weights:?}"
        )));
    }
    Ok(())
}

/// Refuses groups and bits that the mode does not have; MLX divides by both.
fn packing(group_size: i32, bits: i32, mode: QuantizationMode) -> Result<(), NativeError> {
    let (groups, widths): (&[i32], &[i32]) = match mode {
        QuantizationMode::Affine => (&[32, 64, 128], &[2, 3, 4, 5, 6, 8]),
        QuantizationMode::Mxfp4 => (&[32], &[4]),
        QuantizationMode::Mxfp8 => (&[32], &[8]),
        QuantizationMode::Nvfp4 => (&[16], &[4]),
    };
    let refuse = |name: &str, wanted: &[i32], got: i32| {
        Err(NativeError(format!(
            "{name} must be one of {wanted:?}, got {got}"
        )))
    };
    if !groups.contains(&group_size) {
        return refuse("group_size", groups, group_size);
    }
    if !widths.contains(&bits) {
        return refuse("bits", widths, bits);
    }
    Ok(())
}

/// Refuses packed weights, at `position`, whose scales are for another number of rows.
fn packed(inputs: &[&Handle], position: usize) -> Result<(), NativeError> {
    let (Some(weight), Some(scales)) = (inputs.get(position), inputs.get(position + 1)) else {
        return Err(NativeError::from("wanted weights and scales"));
    };
    let (weight, scales) = (weight.shape(), scales.shape());
    let rows = |shape: &[i32]| shape.len().saturating_sub(1);
    if weight.len() < 2 || weight[..rows(weight)] != scales[..rows(scales)] {
        return Err(NativeError(format!(
            "weights and scales must be matrices with the same rows, got {weight:?} and {scales:?}"
        )));
    }
    Ok(())
}

/// MLX names the axes behind an ellipsis with the letters that are left, and takes it that there are enough.
fn einsum(subscripts: &str, inputs: &[&Handle]) -> Result<(), NativeError> {
    if !subscripts.is_ascii() {
        return Err(NativeError(format!(
            "subscripts must be letters, got {subscripts:?}"
        )));
    }
    let mut used: Vec<char> = subscripts
        .chars()
        .filter(char::is_ascii_alphabetic)
        .collect();
    used.sort_unstable();
    used.dedup();
    let most = inputs.iter().map(|input| input.ndim()).max().unwrap_or(0);
    if subscripts.contains('.') && most + used.len() > 52 {
        return Err(NativeError(format!(
            "an ellipsis must leave letters for all axes, got {most} axes and {} letters used",
            used.len()
        )));
    }
    Ok(())
}
