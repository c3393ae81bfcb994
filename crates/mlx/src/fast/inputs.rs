//! What the inputs of a fused kernel must be, said in our words before MLX is asked.

use crate::{Array, ArrayType, Dtype, Error, Result, Size, zeros_with};

/// Shape and dtype of the inputs, for checks and for messages.
fn types(inputs: &[&Array]) -> Result<Vec<ArrayType>> {
    inputs.iter().map(|input| input.array_type()).collect()
}

/// The error of a kernel that rejects its inputs, at the caller's line.
#[track_caller]
#[cold]
pub(super) fn reject<T>(op: &str, message: String, inputs: &[&Array]) -> Result<T> {
    Err(Error::op_with(op, message, types(inputs)?))
}

/// Returns `x` in `dtype`: itself if it is that already, so that a trace has no operation for it.
#[track_caller]
pub(super) fn cast(x: &Array, dtype: Dtype) -> Array {
    match x.dtype() {
        Ok(same) if same == dtype => x.clone(),
        _ => x.astype(dtype),
    }
}

/// Returns whether an array has no elements.
#[track_caller]
pub(super) fn is_empty(x: &Array) -> Result<bool> {
    Ok(count(&x.sizes()?) == 0)
}

/// Returns the number of elements of a shape: one size, so that a comparison of it is one guard.
pub(super) fn count<'a>(sizes: impl IntoIterator<Item = &'a Size>) -> Size {
    let mut sizes = sizes.into_iter();
    let first = sizes.next().map_or_else(|| Size::from(1), Size::clone);
    sizes.fold(first, |count, size| count * size)
}

/// Checks that these dtypes are floating together, and returns the one that MLX promotes them to.
#[track_caller]
pub(super) fn check_floating(op: &str, dtypes: &[Dtype], inputs: &[&Array]) -> Result<Dtype> {
    let together = promoted(dtypes)?;
    if together.is_floating() {
        return Ok(together);
    }
    let names: Vec<&str> = dtypes.iter().map(|dtype| dtype.name()).collect();
    let message = format!("wanted a floating dtype, got {}", names.join(" with "));
    reject(op, message, inputs)
}

/// The dtype of a sum of these, from left to right: MLX is asked where they differ, so that there is one set of rules.
#[track_caller]
fn promoted(dtypes: &[Dtype]) -> Result<Dtype> {
    let mut result = dtypes[0];
    for &dtype in &dtypes[1..] {
        if dtype != result {
            result = (zeros_with((), result) + zeros_with((), dtype)).dtype()?;
        }
    }
    Ok(result)
}

/// Checks a weight or bias: one number for each element of the last axis of `x`.
#[track_caller]
pub(super) fn check_vector(
    op: &str,
    name: &str,
    vector: &Array,
    x: &Array,
    inputs: &[&Array],
) -> Result<()> {
    let (shape, x_shape) = (vector.sizes()?, x.sizes()?);
    let Some(dim) = x_shape.last() else {
        return reject(
            op,
            "x must have at least 1 axis, got a scalar".to_owned(),
            inputs,
        );
    };
    if shape.len() == 1 && shape[0] == *dim {
        return Ok(());
    }
    reject(
        op,
        format!("{name} must be [{dim}] to match x {x_shape:?}, got {shape:?}"),
        inputs,
    )
}
