//! A dense matrix times any number of vectors: GEMV for a few, packed GEMM for many.

use pulp::Simd;

use super::gemv::gemv;
use super::packed::{self, GEMM_MIN_VECTORS, Unpack};
use super::shape::MatrixShape;
use crate::element::Element;
use crate::error::{Result, length, product};

const OP: &str = "matmul";

/// Writes `x * transpose(weights)` to `out`: `x` is `[vectors, columns]`, `out` is `[vectors, rows]`.
///
/// From four vectors on, the weights are read once for all of them, and the limit is multiply-adds.
/// Error: `2^-24 * (4 + min(columns, 512) + columns / 512)` of `sum(|weights[r, c] * x[c]|)`, far less on average.
///
/// # Errors
/// When a length does not match the shape.
pub fn matmul<T: Element>(
    shape: MatrixShape,
    vectors: usize,
    weights: &[T],
    x: &[f32],
    out: &mut [f32],
) -> Result<()> {
    (T::kernels().matmul)(shape, vectors, weights, x, out)
}

/// [`matmul`], compiled in this crate.
pub(crate) fn matmul_instance<T: Element>(
    shape: MatrixShape,
    vectors: usize,
    weights: &[T],
    x: &[f32],
    out: &mut [f32],
) -> Result<()> {
    let MatrixShape { rows, columns } = shape;
    length(OP, "weights", product(OP, &[rows, columns])?, weights.len())?;
    length(OP, "x", product(OP, &[vectors, columns])?, x.len())?;
    length(OP, "out", product(OP, &[vectors, rows])?, out.len())?;
    if columns == 0 || out.is_empty() {
        out.fill(0.0);
        return Ok(());
    }
    if vectors >= GEMM_MIN_VECTORS {
        packed::gemm(shape, vectors, &Dense { columns, weights }, x, out);
        return Ok(());
    }
    for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(rows)) {
        gemv(shape, weights, x, out);
    }
    Ok(())
}

/// Rows that need no unpacking, or only conversion to `f32`.
struct Dense<'a, T> {
    columns: usize,
    weights: &'a [T],
}

impl<T: Element> Unpack for Dense<'_, T> {
    #[inline(always)]
    fn unpack<S: Simd>(&self, _: S, row: usize, start: usize, out: &mut [f32]) {
        let weights = &self.weights[row * self.columns + start..][..out.len()];
        if T::IS_F32 {
            out.copy_from_slice(T::read_inline(weights, &mut []));
        } else {
            T::read_inline(weights, out);
        }
    }
}
