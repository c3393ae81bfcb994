//! Transforms of contiguous rows.

use num_complex::Complex;

use super::Along;
use super::plan::{ComplexPlan, nanoseconds};
use super::real::{InverseRealPlan, RealPlan};
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
    plan: &ComplexPlan,
    along: Along,
    scale: f32,
    from: Option<&[C]>,
    out: &mut [C],
) {
    let per_task = rows_per_task(along.n) * along.n;
    parallel_for(
        out.chunks_mut(per_task).enumerate(),
        along.outer as f64 * nanoseconds(along.n),
        || plan.scratch(),
        |scratch, (task, rows)| {
            if let Some(from) = from {
                let from = &from[task * per_task..][..rows.len()];
                rows.copy_from_slice(from);
            }
            if scale != 1.0 {
                rows.iter_mut().for_each(|x| *x *= scale);
            }
            plan.transform(rows, scratch);
        },
    );
}

/// Transforms rows of real numbers.
pub(super) fn real(plan: &RealPlan, along: Along, from: &[f32], out: &mut [C]) {
    let (n, half) = (along.n, along.n / 2 + 1);
    let per_task = rows_per_task(n);
    parallel_for(
        from.chunks(per_task * n)
            .zip(out.chunks_mut(per_task * half)),
        along.outer as f64 * 0.6 * nanoseconds(n),
        || plan.scratch(),
        |scratch, (from, out)| {
            for (from, out) in from.chunks_exact(n).zip(out.chunks_exact_mut(half)) {
                plan.transform(from, out, scratch);
            }
        },
    );
}

/// Transforms halves of rows back to real numbers.
pub(super) fn inverse_real(
    plan: &InverseRealPlan,
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
        || plan.scratch(),
        |scratch, (from, out)| {
            for (from, out) in from.chunks_exact(half).zip(out.chunks_exact_mut(n)) {
                plan.transform(from, scale, out, scratch);
            }
        },
    );
}
