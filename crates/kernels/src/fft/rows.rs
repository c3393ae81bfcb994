//! Transforms of contiguous rows.

use realfft::{ComplexToReal, RealToComplex};
use rustfft::Fft;
use num_complex::Complex;

use super::Along;
use super::plan::nanoseconds;
use crate::parallel::parallel_for;

type C = Complex<f32>;

/// Complex numbers of a task.
const TASK: usize = 8192;

/// Rows of a task.
fn rows_per_task(n: usize) -> usize {
    (TASK / n).max(1)
}

/// Transforms each row of `out`, or of `from` to `out`.
pub(super) fn complex(
    plan: &dyn Fft<f32>,
    along: Along,
    scale: f32,
    from: Option<&[C]>,
    out: &mut [C],
) {
    let per_task = rows_per_task(along.n) * along.n;
    parallel_for(
        out.chunks_mut(per_task).enumerate(),
        along.outer as f64 * nanoseconds(along.n),
        || vec![C::default(); plan.get_inplace_scratch_len()],
        |scratch, (task, rows)| {
            if let Some(from) = from {
                let from = &from[task * per_task..][..rows.len()];
                rows.copy_from_slice(from);
            }
            if scale != 1.0 {
                rows.iter_mut().for_each(|x| *x *= scale);
            }
            plan.process_with_scratch(rows, scratch);
        },
    );
}

/// Transforms rows of real numbers.
pub(super) fn real(plan: &dyn RealToComplex<f32>, along: Along, from: &[f32], out: &mut [C]) {
    let (n, half) = (along.n, along.n / 2 + 1);
    let per_task = rows_per_task(n);
    parallel_for(
        from.chunks(per_task * n)
            .zip(out.chunks_mut(per_task * half)),
        along.outer as f64 * 0.6 * nanoseconds(n),
        || (vec![0.0; n], plan.make_scratch_vec()),
        |(row, scratch), (from, out)| {
            for (from, out) in from.chunks_exact(n).zip(out.chunks_exact_mut(half)) {
                row.copy_from_slice(from);
                forward(plan, row, out, scratch);
            }
        },
    );
}

/// Transforms halves of rows back to real numbers.
pub(super) fn inverse_real(
    plan: &dyn ComplexToReal<f32>,
    along: Along,
    scale: f32,
    from: &[C],
    out: &mut [f32],
) {
    let (n, half) = (along.n, along.n / 2 + 1);
    let per_task = rows_per_task(n);
    parallel_for(
        from.chunks(per_task * half)
            .zip(out.chunks_mut(per_task * n)),
        along.outer as f64 * 0.6 * nanoseconds(n),
        || (vec![C::default(); half], plan.make_scratch_vec()),
        |(row, scratch), (from, out)| {
            for (from, out) in from.chunks_exact(half).zip(out.chunks_exact_mut(n)) {
                for (row, from) in row.iter_mut().zip(from) {
                    *row = *from * scale;
                }
                backward(plan, row, out, scratch);
            }
        },
    );
}

/// One row; `row` is overwritten. The lengths are those of the plan, which is all that could be refused.
pub(super) fn forward(
    plan: &dyn RealToComplex<f32>,
    row: &mut [f32],
    out: &mut [C],
    scratch: &mut [C],
) {
    let done = plan.process_with_scratch(row, out, scratch);
    debug_assert!(done.is_ok(), "{done:?}");
}

/// One row back; `row` is overwritten.
pub(super) fn backward(
    plan: &dyn ComplexToReal<f32>,
    row: &mut [C],
    out: &mut [f32],
    scratch: &mut [C],
) {
    if let Some(first) = row.first_mut() {
        first.im = 0.0;
    }
    if let (true, Some(middle)) = (out.len().is_multiple_of(2), row.last_mut()) {
        middle.im = 0.0;
    }
    let done = plan.process_with_scratch(row, out, scratch);
    debug_assert!(done.is_ok(), "{done:?}");
}
