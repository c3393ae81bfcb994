//! Which products and convolutions the kernels compute.

use super::super::layout::size;
use super::super::product::transposed;
use super::{Beside, is_stored};
use crate::Dtype;
use crate::ffi::host::Layout;
use crate::op::Op;

/// More `float32` vectors than this are better left to a BLAS.
const MAX_VECTORS_F32: usize = 3;
/// Matrices of `float32` with more multiplications are better left to a BLAS, also if there are several: 16 of 256 x 256
/// times 256 x 256 take 2.0 ms here and 2.6 there.
const MAX_MULTIPLICATIONS_BATCHED: usize = 1 << 26;
/// Fewer multiplications are not worth what a copy costs that MLX makes for a BLAS.
const MIN_MULTIPLICATIONS_STRIDED: usize = 1 << 16;

/// Products of matrices of one dtype.
pub(super) fn matmul(beside: Beside, a: Layout<'_>, b: Layout<'_>, output: Layout<'_>) -> bool {
    let alike = a.dtype() == b.dtype() && a.dtype() == output.dtype();
    let are_matrices = a.strides().len() >= 2 && b.strides().len() >= 2;
    alike
        && match a.dtype() {
            Dtype::Float32 if beside == Beside::Nothing => are_matrices,
            Dtype::Float32 => {
                transposed(a, b).is_some_and(|sizes| sizes.vectors <= MAX_VECTORS_F32)
                    || are_matrices && matmul_f32(a, b, output)
            }
            // MLX multiplies half precision one number at a time.
            Dtype::Float16 | Dtype::Bfloat16 => are_matrices,
            _ => false,
        }
}

/// Products of `float32` that cost MLX a call of the BLAS for each small matrix, or a copy before it, or that the processor's
/// matrix tiles compute faster than a BLAS.
fn matmul_f32(a: Layout<'_>, b: Layout<'_>, output: Layout<'_>) -> bool {
    let (&[.., rows, depth], &[.., _, columns]) = (a.shape(), b.shape()) else {
        return false;
    };
    let matrix = size(rows) * size(columns);
    let multiplications = matrix * size(depth);
    let is_batched = output.size() > matrix && multiplications <= MAX_MULTIPLICATIONS_BATCHED;
    let is_copied = !is_for_blas(a) || !is_for_blas(b);
    let [depth, columns] = [depth, columns].map(size);
    // Where the right matrix is the same for all, the left ones are one of more rows.
    let all_rows = output.size() / columns.max(1);
    rows > 1
        && (is_batched
            || is_copied && multiplications >= MIN_MULTIPLICATIONS_STRIDED
            || mlx_kernels::splits_products(size(rows), depth, columns)
            || b.shape().len() == 2 && mlx_kernels::splits_products(all_rows, depth, columns))
}

/// Whether MLX gives matrices to a BLAS as they are stored.
fn is_for_blas(x: Layout<'_>) -> bool {
    match (x.shape(), x.strides()) {
        (&[.., rows, columns], &[.., row_stride, column_stride]) => {
            row_stride == i64::from(columns) && column_stride == 1
                || row_stride == 1 && column_stride == i64::from(rows)
        }
        _ => true,
    }
}

/// Convolutions over one to three axes.
pub(super) fn conv(op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    let Op::Conv {
        padding_lo,
        padding_hi,
        ..
    } = op
    else {
        return false;
    };
    // MLX cuts negative padding off before it makes the primitive.
    let is_padded = padding_lo
        .iter()
        .chain(padding_hi)
        .all(|&padding| padding >= 0);
    let &[x, weight] = inputs else {
        return false;
    };
    let ndim = x.shape().len();
    is_padded
        && (3..=5).contains(&ndim)
        && [weight.shape().len(), output.shape().len()] == [ndim; 2]
        && is_stored(x.dtype())
        && [weight.dtype(), output.dtype()] == [x.dtype(); 2]
}
