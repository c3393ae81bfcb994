//! Factorizations and inverses.

use mlx_kernels::{Error, LuFactors, MatrixShape, inverse, lu_factor, qr, triangular_inverse};

use super::layout::{error_text, input, output, size};
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;

pub(super) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let x = input(inputs, 0)?;
    let Some(&[rows, columns]) = x.shape().last_chunk::<2>() else {
        return Err(format!("wanted matrices, got {:?}", x.shape()));
    };
    let shape = MatrixShape {
        rows: size(rows),
        columns: size(columns),
    };
    let computed = match op {
        Op::LuFactor => {
            // MLX has the order of rows as a third output.
            let [lu, pivots, order] = outputs else {
                return Err(format!("wanted 3 outputs, got {}", outputs.len()));
            };
            x.copy_contiguous(lu.as_mut_bytes())?;
            let factors = LuFactors {
                lu: lu.as_mut_slice()?,
                pivots: pivots.as_mut_slice()?,
                order: order.as_mut_slice()?,
            };
            lu_factor(shape, factors)
        }
        Op::Qr => {
            let [q, r] = outputs else {
                return Err(format!("wanted 2 outputs, got {}", outputs.len()));
            };
            qr(
                shape,
                &x.to_contiguous()?,
                q.as_mut_slice()?,
                r.as_mut_slice()?,
            )
        }
        _ => {
            let (x, out) = (x.to_contiguous()?, output(outputs, 0)?.as_mut_slice()?);
            match op {
                Op::TriInv { upper } => triangular_inverse(shape.rows, *upper, &x, out),
                _ => inverse(shape.rows, &x, out),
            }
        }
    };
    computed.map_err(|error| match error {
        Error::Singular { .. } => "the matrix is singular".to_owned(),
        error => error_text(error),
    })
}
