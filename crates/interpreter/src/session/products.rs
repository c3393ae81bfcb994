//! Products and convolutions, of inputs of one dtype and of matrices.

use mlx::cpu::{HostArray, MemoryPool, compute};
use mlx::{ArrayType, Op};

use super::apply::{Attempt, all_cast, reshape, transpose};

/// Multiplies arrays.
pub(super) fn multiply(
    op: &Op,
    inputs: &[HostArray],
    output: &ArrayType,
    pool: &MemoryPool,
) -> Attempt {
    if matches!(op, Op::Linear) {
        return linear(inputs, output, pool);
    }
    let Some(inputs) = all_cast(inputs, &[output.dtype], pool)? else {
        return Ok(None);
    };
    match (op, inputs.as_slice()) {
        (Op::Matmul, [a, b]) => matmul(a, b, output, pool),
        _ => compute(op, &inputs, output, pool).transpose(),
    }
}

/// A product whose vectors are matrices of one row or column.
fn matmul(a: &HostArray, b: &HostArray, output: &ArrayType, pool: &MemoryPool) -> Attempt {
    let (is_row, is_column) = (a.shape().len() == 1, b.shape().len() == 1);
    let mut product = output.shape.clone();
    let mut inputs = [a.clone(), b.clone()];
    if is_row {
        inputs[0] = reshape(a, &[&[1], a.shape()].concat(), pool)?;
        product.insert(product.len() - usize::from(!is_column), 1);
    }
    if is_column {
        inputs[1] = reshape(b, &[b.shape(), &[1]].concat(), pool)?;
        product.push(1);
    }
    let product = ArrayType::new(product, output.dtype);
    let made = compute(&Op::Matmul, &inputs, &product, pool).transpose()?;
    made.map(|made| reshape(&made, &output.shape, pool))
        .transpose()
}

/// A product with weights of half precision: with few vectors as they are, and converted with more.
fn linear(inputs: &[HostArray], output: &ArrayType, pool: &MemoryPool) -> Attempt {
    if let Some(made) = compute(&Op::Linear, inputs, output, pool) {
        return made.map(Some);
    }
    let Some(inputs) = all_cast(inputs, &[output.dtype], pool)? else {
        return Ok(None);
    };
    let [x, weight] = inputs.as_slice() else {
        return Ok(None);
    };
    match transpose(weight, &[1, 0], pool)? {
        Some(weight) => matmul(x, &weight, output, pool),
        None => Ok(None),
    }
}
