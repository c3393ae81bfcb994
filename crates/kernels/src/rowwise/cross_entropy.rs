//! `logsumexp` of rows, and the cross entropy made of it.
//!
//! Blocking: groups of rows go to threads. Limit: memory bandwidth for long arrays, the exponential otherwise.

use pulp::{Simd, WithSimd};

use super::row_fold::{RUN, maximum};
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
    rows_not_empty("logsumexp", shape)?;
    length("logsumexp", "x", shape.elements("logsumexp")?, x.len())?;
    length("logsumexp", "out", shape.rows, out.len())?;
    over_rows(shape, x, out, |_, x| {
        let (largest, rest) = simd::dispatch(LogSumExp(x));
        largest + rest
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
    const OP: &str = "cross_entropy";
    rows_not_empty(OP, shape)?;
    length(OP, "x", shape.elements(OP)?, x.len())?;
    length(OP, "targets", shape.rows, targets.len())?;
    length(OP, "out", shape.rows, out.len())?;
    targets_are_classes(OP, shape, targets)?;
    over_rows(shape, x, out, |row, x| {
        // The large numbers are subtracted first, so that of 1e8 and 1e8 the loss is ln 2.
        let (largest, rest) = simd::dispatch(LogSumExp(x));
        (largest - x[targets[row] as usize]) + rest
    });
    Ok(())
}

/// Refuses a target that is not a class.
pub(crate) fn targets_are_classes(
    op: &'static str,
    shape: RowMajorShape,
    targets: &[u32],
) -> Result<()> {
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
        |wide, (piece, (x, out))| {
            for (i, (x, out)) in x.chunks_exact(shape.dim).zip(out).enumerate() {
                *out = row(piece * rows + i, T::read(x, wide));
            }
        },
    );
}

/// The maximum of a row, and the logarithm of the sum of exponentials below it: `logsumexp` is their sum.
struct LogSumExp<'a>(&'a [f32]);

impl WithSimd for LogSumExp<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f32, f32) {
        let largest = maximum(simd, self.0);
        if !largest.is_finite() {
            let unknown = self.0.iter().any(|x| x.is_nan());
            return (if unknown { f32::NAN } else { largest }, 0.0);
        }
        let center = Lanes::splat(simd, largest);
        let (body, tail) = self.0.split_at(self.0.len() - self.0.len() % S::F32_LANES);
        let sum = powers_below(simd, body, center);
        let rest: f32 = tail.iter().map(|x| (x - largest).exp()).sum();
        (largest, (sum + rest).ln())
    }
}

/// The sum of `exp(x - center)` over whole registers; runs are summed by themselves.
///
/// A loop of its own and not `norm::sum_of` with a closure: one as long as this is not inlined, and then it is compiled
/// without the vector instructions, which took 13 times as long.
#[inline(always)]
fn powers_below<S: Simd>(simd: S, x: &[f32], center: Lanes<S>) -> f32 {
    let (x, _) = S::as_simd_f32s(x);
    let zero = Lanes::splat(simd, 0.0);
    let mut sum = zero;
    for run in x.chunks(RUN) {
        let mut sums = [zero; 4];
        for quad in run.chunks(4) {
            for (sum, x) in sums.iter_mut().zip(quad) {
                *sum = *sum + (Lanes::new(simd, *x) - center).exp_nonpositive();
            }
        }
        let [a, b, c, d] = sums;
        sum = sum + ((a + b) + (c + d));
    }
    sum.sum()
}
