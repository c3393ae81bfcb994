//! Plans of real transforms: of an even number of values as a complex transform of half as many.
//!
//! With `z[j] = x[2 j] + i x[2 j + 1]`, its transform `Z` of `h = n / 2` numbers and `w = exp(-2 pi i / n)`:
//! `X[k] = (Z[k] + conj Z[h - k]) / 2 - i w^k (Z[k] - conj Z[h - k]) / 2`. The elements `k` and `h - k` are made of the same
//! two, eight pairs at a time. Odd numbers of values are left to `realfft`.

use std::sync::Arc;

use num_complex::Complex;
use pulp::{Simd, WithSimd};
use realfft::{ComplexToReal, RealToComplex};

use super::plan::ComplexPlan;
use crate::simd;

type C = Complex<f32>;

/// Pairs that are computed together.
const GROUP: usize = 8;

/// From real numbers to the first half of their transform.
pub(super) enum RealPlan {
    Even(HalfPlan),
    Odd(Arc<dyn RealToComplex<f32>>),
}

/// Back to real numbers.
pub(super) enum InverseRealPlan {
    Even(HalfPlan),
    Odd(Arc<dyn ComplexToReal<f32>>),
}

/// A complex transform of half as many numbers, and what its result is combined with.
pub(super) struct HalfPlan {
    plan: Arc<ComplexPlan>,
    /// `-i w^k / 2` for `k` from 1 to below half of the numbers.
    twiddles: Vec<C>,
}

/// What a thread needs for one plan.
pub(super) struct Scratch {
    row: Vec<f32>,
    half: Vec<C>,
    own: Vec<C>,
}

impl HalfPlan {
    pub(super) fn new(plan: Arc<ComplexPlan>) -> Self {
        let h = plan.len();
        let twiddle = |k: usize| {
            let angle = -std::f64::consts::PI * k as f64 / h as f64;
            // `-i (cos + i sin) / 2`
            C::new((0.5 * angle.sin()) as f32, (-0.5 * angle.cos()) as f32)
        };
        Self {
            twiddles: (1..h.div_ceil(2)).map(twiddle).collect(),
            plan,
        }
    }

    fn scratch(&self) -> Scratch {
        Scratch {
            row: Vec::new(),
            half: Vec::new(),
            own: self.plan.scratch(),
        }
    }
}

impl RealPlan {
    pub(super) fn scratch(&self) -> Scratch {
        match self {
            Self::Even(plan) => plan.scratch(),
            Self::Odd(plan) => Scratch {
                row: plan.make_input_vec(),
                half: Vec::new(),
                own: plan.make_scratch_vec(),
            },
        }
    }

    /// Transforms one row of the plan's size to one more than half of it.
    pub(super) fn transform(&self, x: &[f32], out: &mut [C], scratch: &mut Scratch) {
        match self {
            Self::Even(plan) => {
                let h = plan.plan.len();
                pulp::bytemuck::cast_slice_mut(&mut out[..h]).copy_from_slice(x);
                plan.plan.transform(&mut out[..h], &mut scratch.own);
                let first = out[0];
                out[0] = C::new(first.re + first.im, 0.0);
                out[h] = C::new(first.re - first.im, 0.0);
                if h.is_multiple_of(2) {
                    out[h / 2] = out[h / 2].conj();
                }
                simd::dispatch(Combine {
                    twiddles: &plan.twiddles,
                    inverse: None,
                    inner: &mut out[1..h],
                });
            }
            Self::Odd(plan) => {
                scratch.row.copy_from_slice(x);
                let done = plan.process_with_scratch(&mut scratch.row, out, &mut scratch.own);
                debug_assert!(done.is_ok(), "{done:?}");
            }
        }
    }
}

impl InverseRealPlan {
    pub(super) fn scratch(&self) -> Scratch {
        match self {
            Self::Even(plan) => plan.scratch(),
            Self::Odd(plan) => Scratch {
                row: Vec::new(),
                half: plan.make_input_vec(),
                own: plan.make_scratch_vec(),
            },
        }
    }

    /// Transforms one more than half of the plan's size back to one row, multiplied with `scale`.
    pub(super) fn transform(&self, x: &[C], scale: f32, out: &mut [f32], scratch: &mut Scratch) {
        match self {
            Self::Even(plan) => {
                let h = plan.plan.len();
                let out: &mut [C] = pulp::bytemuck::cast_slice_mut(out);
                out.copy_from_slice(&x[..h]);
                let (first, last) = (x[0].re * scale, x[h].re * scale);
                out[0] = C::new(first + last, first - last);
                if h.is_multiple_of(2) {
                    out[h / 2] = out[h / 2].conj() * (2.0 * scale);
                }
                simd::dispatch(Combine {
                    twiddles: &plan.twiddles,
                    inverse: Some(scale),
                    inner: &mut out[1..],
                });
                plan.plan.transform(out, &mut scratch.own);
            }
            Self::Odd(plan) => {
                for (own, x) in scratch.half.iter_mut().zip(x) {
                    *own = *x * scale;
                }
                scratch.half[0].im = 0.0;
                let done = plan.process_with_scratch(&mut scratch.half, out, &mut scratch.own);
                debug_assert!(done.is_ok(), "{done:?}");
            }
        }
    }
}

/// Combines the elements `k` and `h - k`; `inner` is all but the first.
struct Combine<'a> {
    twiddles: &'a [C],
    /// Back, and multiplied with this.
    inverse: Option<f32>,
    inner: &'a mut [C],
}

impl WithSimd for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Forwards `s / 2 + t d`, back `2 scale (s / 2 + conj(t) d)`.
        let (half, factor, sign) = match self.inverse {
            None => (0.5, 1.0, 1.0),
            Some(scale) => (scale, 2.0 * scale, -1.0),
        };
        let pairs = self.twiddles.len();
        let (low, rest) = self.inner.split_at_mut(pairs);
        let middle = rest.len() - pairs;
        let high = &mut rest[middle..];
        let (low, low_rest) = low.as_chunks_mut::<GROUP>();
        let (high_rest, high) = high.as_rchunks_mut::<GROUP>();
        let (twiddles, twiddles_rest) = self.twiddles.as_chunks::<GROUP>();
        for ((low, high), t) in low.iter_mut().zip(high.iter_mut().rev()).zip(twiddles) {
            combine(low, high, t, half, factor, sign);
        }
        let last = low_rest.iter_mut().zip(high_rest.iter_mut().rev());
        for ((low, high), t) in last.zip(twiddles_rest) {
            let (mut a, mut b) = ([*low], [*high]);
            combine(&mut a, &mut b, &[*t], half, factor, sign);
            [*low] = a;
            [*high] = b;
        }
    }
}

/// Pairs of elements, the second ones in descending order.
#[inline(always)]
fn combine<const N: usize>(
    low: &mut [C; N],
    high: &mut [C; N],
    twiddles: &[C; N],
    half: f32,
    factor: f32,
    sign: f32,
) {
    let mut sums = [[0.0; N]; 2];
    let mut turned = [[0.0; N]; 2];
    for i in 0..N {
        let (a, b) = (low[i], high[N - 1 - i]);
        let (re, im) = (a.re - b.re, a.im + b.im);
        let (t_re, t_im) = (twiddles[i].re * factor, twiddles[i].im * (factor * sign));
        sums[0][i] = (a.re + b.re) * half;
        sums[1][i] = (a.im - b.im) * half;
        turned[0][i] = t_re * re - t_im * im;
        turned[1][i] = t_re * im + t_im * re;
    }
    for i in 0..N {
        low[i] = C::new(sums[0][i] + turned[0][i], sums[1][i] + turned[1][i]);
        high[N - 1 - i] = C::new(sums[0][i] - turned[0][i], turned[1][i] - sums[1][i]);
    }
}
