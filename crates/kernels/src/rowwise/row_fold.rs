//! The sum and the maximum of a row.

use pulp::Simd;

use crate::simd::lanes::Lanes;

/// Registers whose sum is added to the total at once: one long sum would lose precision.
pub(crate) const REGISTERS_PER_SUM: usize = 256;

/// The sum of `f` of each element, where `f(0) = 0` unless only whole registers are given; four registers hide the latency
/// of the addition.
#[inline(always)]
pub(crate) fn row_sum<S: Simd>(simd: S, x: &[f32], f: impl Fn(Lanes<S>) -> Lanes<S>) -> f32 {
    let (x, tail) = S::as_simd_f32s(x);
    let zero = Lanes::splat(simd, 0.0);
    let mut sum = zero;
    for x in x.chunks(REGISTERS_PER_SUM) {
        let mut sums = [zero; 4];
        let (quads, singles) = x.as_chunks::<4>();
        for quad in quads {
            for (sum, x) in sums.iter_mut().zip(quad) {
                *sum = *sum + f(Lanes::new(simd, *x));
            }
        }
        for (sum, x) in sums.iter_mut().zip(singles) {
            *sum = *sum + f(Lanes::new(simd, *x));
        }
        let [a, b, c, d] = sums;
        sum = sum + ((a + b) + (c + d));
    }
    if !tail.is_empty() {
        sum = sum + f(Lanes::new(simd, simd.partial_load_f32s(tail)));
    }
    sum.sum()
}

/// The maximum, `-inf` if there is no element; NaN may be skipped.
#[inline(always)]
pub(crate) fn row_max<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (body, tail) = S::as_simd_f32s(x);
    let mut max = [Lanes::splat(simd, f32::NEG_INFINITY); 4];
    let (quads, singles) = body.as_chunks::<4>();
    for quad in quads {
        for (max, x) in max.iter_mut().zip(quad) {
            *max = Lanes::new(simd, *x).max(*max);
        }
    }
    for (max, x) in max.iter_mut().zip(singles) {
        *max = Lanes::new(simd, *x).max(*max);
    }
    let [a, b, c, d] = max;
    let body = a.max(b).max(c.max(d));
    let max = simd.reduce_max_f32s(body.value);
    tail.iter().fold(max, |max, x| max.max(*x))
}
