//! `logsumexp` of rows, and the cross entropy made of it.
//!
//! Blocking: a task has 64 KiB of rows. Limit: memory bandwidth for long arrays, the exponential otherwise.

use pulp::{Simd, WithSimd};

use super::row_fold::{REGISTERS_PER_SUM, row_max};
use super::shape::{RowMajorShape, rows_not_empty};
use crate::element::Element;
use crate::error::{Error, Result, length};
use crate::parallel::parallel_for;
use crate::simd;
use crate::simd::lanes::Lanes;

/// Writes `log(sum(exp(x)))` of each row to `out`, `[rows]`; large values do not overflow.
///
/// Error: `2^-22` of the result plus `2^-22`. A row of `-inf` only gives `-inf`.
///
/// # Errors
/// When a length does not match the shape, or rows have no elements.
pub fn logsumexp<T: Element>(shape: RowMajorShape, x: &[T], out: &mut [f32]) -> Result<()> {
    (T::kernels().logsumexp)(shape, x, out)
}

/// [`logsumexp`], compiled in this crate.
pub(crate) fn logsumexp_instance<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    out: &mut [f32],
) -> Result<()> {
    rows_not_empty("logsumexp", shape)?;
    length("logsumexp", "x", shape.elements("logsumexp")?, x.len())?;
    length("logsumexp", "out", shape.rows, out.len())?;
    over_rows(shape, x, out, |_, x| {
        let (max, rest) = simd::dispatch(LogSumExp(x));
        max + rest
    });
    Ok(())
}

/// Writes the cross entropy of each row of logits against its class to `out`: `logsumexp(x) - x[target]`.
///
/// `x` is `[rows, classes]`, `targets` and `out` are `[rows]`. Error: `2^-22` of the loss plus `2^-22`, however large the
/// logits are: the target's is subtracted from the maximum before the logarithm is added.
///
/// # Errors
/// When a length does not match the shape, or a target is not a class.
pub fn cross_entropy<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    targets: &[u32],
    out: &mut [f32],
) -> Result<()> {
    (T::kernels().cross_entropy)(shape, x, targets, out)
}

/// [`cross_entropy`], compiled in this crate.
pub(crate) fn cross_entropy_instance<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    targets: &[u32],
    out: &mut [f32],
) -> Result<()> {
    const OP: &str = "cross_entropy";
    rows_not_empty(OP, shape)?;
    length(OP, "x", shape.elements(OP)?, x.len())?;
    length(OP, "targets", shape.rows, targets.len())?;
    length(OP, "out", shape.rows, out.len())?;
    check_targets(OP, shape, targets)?;
    over_rows(shape, x, out, |row, x| {
        // The large numbers are subtracted first, so that of 1e8 and 1e8 the loss is ln 2.
        let (max, rest) = simd::dispatch(LogSumExp(x));
        (max - x[targets[row] as usize]) + rest
    });
    Ok(())
}

/// Refuses a target that is not a class.
pub(crate) fn check_targets(op: &'static str, shape: RowMajorShape, targets: &[u32]) -> Result<()> {
    let Some(target) = targets.iter().find(|target| **target as usize >= shape.dim) else {
        return Ok(());
    };
    Err(Error::Parameter {
        op,
        what: "target",
        wanted: "less than the number of classes",
        got: *target as usize,
    })
}

/// Writes one number for each row; lengths are checked by the caller.
fn over_rows<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    out: &mut [f32],
    row: impl Fn(usize, &[f32]) -> f32 + Sync,
) {
    if shape.rows == 0 {
        return;
    }
    let rows = shape.rows_per_task();
    parallel_for(
        x.chunks(rows * shape.dim)
            .zip(out.chunks_mut(rows))
            .enumerate(),
        0.7 * x.len() as f64,
        || vec![0.0; shape.dim],
        |x_f32, (task, (x, out))| {
            for (i, (x, out)) in x.chunks_exact(shape.dim).zip(out).enumerate() {
                *out = row(task * rows + i, T::read(x, x_f32));
            }
        },
    );
}

/// The maximum of a row, and the logarithm of the sum of exponentials relative to it: `logsumexp` is their sum.
struct LogSumExp<'a>(&'a [f32]);

impl WithSimd for LogSumExp<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f32, f32) {
        let max = row_max(simd, self.0);
        if !max.is_finite() {
            let has_nan = self.0.iter().any(|x| x.is_nan());
            return (if has_nan { f32::NAN } else { max }, 0.0);
        }
        let shift = Lanes::splat(simd, max);
        let (body, tail) = self.0.split_at(self.0.len() - self.0.len() % S::F32_LANES);
        let sum = sum_exps(simd, body, shift);
        let rest: f32 = tail.iter().map(|x| (x - max).exp()).sum();
        (max, (sum + rest).ln())
    }
}

/// The sum of `exp(x - shift)` over whole registers, summed as by [`row_sum`](super::row_fold::row_sum).
///
/// A loop of its own and not `row_sum` with a closure: one as long as this is not inlined, and then it is compiled without
/// the vector instructions, which took 13 times as long.
#[inline(always)]
fn sum_exps<S: Simd>(simd: S, x: &[f32], shift: Lanes<S>) -> f32 {
    let (x, _) = S::as_simd_f32s(x);
    let zero = Lanes::splat(simd, 0.0);
    let mut sum = zero;
    for registers in x.chunks(REGISTERS_PER_SUM) {
        let mut sums = [zero; 4];
        for quad in registers.chunks(4) {
            for (sum, x) in sums.iter_mut().zip(quad) {
                *sum = *sum + (Lanes::new(simd, *x) - shift).exp_nonpositive();
            }
        }
        let [a, b, c, d] = sums;
        sum = sum + ((a + b) + (c + d));
    }
    sum.sum()
}
