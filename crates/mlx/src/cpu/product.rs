//! Products with few vectors, whose matrix is read as it is stored, and with packed weights.

use std::borrow::Cow;

use half::{bf16, f16};
use mlx_kernels::{MatrixShape, Quantized};

use super::layout::{error_text, input, output, rows, size};
use super::{Stored, by_dtype};
use crate::Dtype;
use crate::ffi::host::{HostInput, HostOutput, Layout};

/// The sizes of `[.., vectors, k] @ transpose([n, k])`, where `b` is seen as `[k, n]`.
pub(super) struct Transposed {
    pub(super) vectors: usize,
    pub(super) matrix: MatrixShape,
}

/// Reads the sizes if `b` is one matrix whose rows, as a linear layer stores them, are contiguous.
pub(super) fn transposed(a: Layout<'_>, b: Layout<'_>) -> Option<Transposed> {
    let (&[.., k, n], &[.., k_stride, n_stride]) = (b.shape(), b.strides()) else {
        return None;
    };
    let is_one = b.shape().iter().rev().skip(2).all(|&axis| axis == 1);
    let in_rows = (k_stride == 1 || k == 1) && (n_stride == i64::from(k) || n == 1);
    let vectors = rows(a.shape()).rows;
    (is_one && in_rows && k > 0 && a.shape().last() == Some(&k) && a.shape().len() >= 2).then_some(
        Transposed {
            vectors,
            matrix: MatrixShape {
                rows: size(n),
                columns: size(k),
            },
        },
    )
}

/// `x @ transpose(weight)` with weights of half precision.
pub(super) fn linear(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (x, weight) = (input(inputs, 0)?, input(inputs, 1)?);
    let &[n, k] = weight.shape() else {
        return Err(format!("weight must be [n, k], got {:?}", weight.shape()));
    };
    let sizes = Transposed {
        vectors: rows(x.shape()).rows,
        matrix: MatrixShape {
            rows: size(n),
            columns: size(k),
        },
    };
    if weight.layout().is_row_contiguous() {
        return multiply(&sizes, x, weight, output(outputs, 0)?);
    }
    let x = widened(x)?;
    let out = output(outputs, 0)?.as_mut_slice::<f32>()?;
    let Transposed { vectors, matrix } = sizes;
    match weight.dtype() {
        Dtype::Float16 => {
            mlx_kernels::matmul(matrix, vectors, &weight.to_contiguous::<f16>()?, &x, out)
        }
        _ => mlx_kernels::matmul(matrix, vectors, &weight.to_contiguous::<bf16>()?, &x, out),
    }
    .map_err(error_text)
}

/// Multiplies with weights that are stored as `[n, k]`, whatever the input's view of them is.
pub(super) fn multiply(
    sizes: &Transposed,
    x: &HostInput<'_>,
    weights: &HostInput<'_>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let x = widened(x)?;
    into_f32(out, |out| product(sizes, &x, weights, out))
}

pub(super) fn product(
    sizes: &Transposed,
    x: &[f32],
    weights: &HostInput<'_>,
    out: &mut [f32],
) -> Result<(), String> {
    const BEFORE: &str = "weights have strides below zero";
    let &Transposed { vectors, matrix } = sizes;
    match weights.dtype() {
        Dtype::Float32 => {
            let weights = weights.as_strided::<f32>()?.ok_or(BEFORE)?;
            mlx_kernels::matmul(matrix, vectors, weights, x, out).map_err(error_text)
        }
        Dtype::Float16 => {
            let weights = weights.as_strided::<f16>()?.ok_or(BEFORE)?;
            mlx_kernels::matmul(matrix, vectors, weights, x, out).map_err(error_text)
        }
        Dtype::Bfloat16 => {
            let weights = weights.as_strided::<bf16>()?.ok_or(BEFORE)?;
            mlx_kernels::matmul(matrix, vectors, weights, x, out).map_err(error_text)
        }
        other => Err(format!("no kernel multiplies {other}")),
    }
}

pub(super) fn quantized(
    group_size: i32,
    bits: i32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    quantized_product([group_size, bits], false, inputs, outputs)
}

/// The same with vectors rounded to 8 bits.
pub(crate) fn quantized_int8(
    group_size: i32,
    bits: i32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    quantized_product([group_size, bits], true, inputs, outputs)
}

fn quantized_product(
    layout: [i32; 2],
    is_rounded: bool,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(
        [group_size, bits]: [usize; 2],
        is_rounded: bool,
        inputs: &[HostInput<'_>],
        out: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        let (x, weights) = (input(inputs, 0)?, input(inputs, 1)?);
        let shape = rows(x.shape());
        let words = weights.to_contiguous::<u32>()?;
        let (scales, biases) = (
            input(inputs, 2)?.to_contiguous::<T>()?,
            input(inputs, 3)?.to_contiguous::<T>()?,
        );
        let matrix = Quantized {
            shape: MatrixShape {
                rows: weights.shape().first().map_or(0, |&n| size(n)),
                columns: shape.dim,
            },
            bits,
            group_size,
            weights: &words,
            scales: &scales,
            biases: &biases,
        };
        let x = x.to_contiguous::<T>()?;
        let out = out.as_mut_slice::<T>()?;
        match is_rounded {
            true => mlx_kernels::quantized_matmul_int8(matrix, shape.rows, &x, out),
            false => mlx_kernels::quantized_matmul(matrix, shape.rows, &x, out),
        }
        .map_err(error_text)
    }
    let dtype = input(inputs, 0)?.dtype();
    let layout = layout.map(size);
    by_dtype!(
        dtype,
        typed(layout, is_rounded, inputs, output(outputs, 0)?)
    )
}

/// The elements in rows, as `float32`.
pub(super) fn widened<'a>(array: &HostInput<'a>) -> Result<Cow<'a, [f32]>, String> {
    fn wide<T: crate::Element + Into<f32>>(array: &HostInput<'_>) -> Result<Vec<f32>, String> {
        Ok(array
            .to_contiguous::<T>()?
            .iter()
            .map(|&x| x.into())
            .collect())
    }
    match array.dtype() {
        Dtype::Float32 => array.to_contiguous::<f32>(),
        Dtype::Float16 => wide::<f16>(array).map(Cow::Owned),
        Dtype::Bfloat16 => wide::<bf16>(array).map(Cow::Owned),
        other => Err(format!("no kernel reads {other}")),
    }
}

/// Lets `fill` write the output in `float32`, and rounds once where it is stored shorter.
pub(super) fn into_f32(
    out: &mut HostOutput<'_>,
    fill: impl FnOnce(&mut [f32]) -> Result<(), String>,
) -> Result<(), String> {
    let size = |out: &HostOutput<'_>| out.shape().iter().map(|&axis| size(axis)).product();
    match out.dtype() {
        Dtype::Float32 => fill(out.as_mut_slice::<f32>()?),
        Dtype::Float16 => {
            let mut wide = vec![0.0; size(out)];
            fill(&mut wide)?;
            let narrow = out.as_mut_slice::<f16>()?.iter_mut().zip(&wide);
            narrow.for_each(|(to, &from)| *to = f16::from_f32(from));
            Ok(())
        }
        Dtype::Bfloat16 => {
            let mut wide = vec![0.0; size(out)];
            fill(&mut wide)?;
            let narrow = out.as_mut_slice::<bf16>()?.iter_mut().zip(&wide);
            narrow.for_each(|(to, &from)| *to = bf16::from_f32(from));
            Ok(())
        }
        other => Err(format!("no kernel writes {other}")),
    }
}
