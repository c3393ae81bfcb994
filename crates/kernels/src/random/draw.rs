//! Uniform and normal numbers of random bits, in one pass.
//!
//! Formula, as MLX composes it: `u = min(word / 2^32, 1 - eps)` and `low + (high - low) * u`, each step rounded to the
//! dtype; normal numbers are `sqrt(2) * scale * erfinv(v) + loc` with `v` uniform between -1 and 1.
//! Blocking: blocks of 1024 counters, whose words and numbers stay in the L1 cache; tasks of 8 of them.
//! Limit: vector instructions, about 45 for a register of uniform numbers and 90 for one of normal numbers.
//! Error: uniform numbers are exactly MLX's. Normal ones are within 3 ulp of the function of their `v`, and rounded after
//! each step as MLX rounds them.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use super::threefry::{TASK, halves, middle_word, threefry};
use crate::element::Element;
use crate::element::private::Storage;
use crate::parallel::parallel_for;
use crate::simd;
use crate::simd::lanes::Lanes;

/// Counters that are computed before they are written out.
const BLOCK: usize = 1024;
/// What two numbers cost, in nanoseconds.
const UNIFORM_NANOSECONDS: f64 = 2.0;
const NORMAL_NANOSECONDS: f64 = 4.0;

/// Writes numbers from `low` to below `high`, the same as MLX makes of this key.
///
/// ```
/// let mut numbers = [0.0_f32; 100];
/// mlx_kernels::random_uniform([0, 7], -1.0, 1.0, &mut numbers);
/// assert!(numbers.iter().all(|x| (-1.0..1.0).contains(x)));
/// ```
pub fn random_uniform<T: Element>(key: [u32; 2], low: f32, high: f32, out: &mut [T]) {
    (T::kernels().random_uniform)(key, low, high, out)
}

/// [`random_uniform`], compiled in this crate.
pub(crate) fn random_uniform_instance<T: Element>(
    key: [u32; 2],
    low: f32,
    high: f32,
    out: &mut [T],
) {
    let (low, high) = (T::round(low), T::round(high));
    let bounds = Bounds {
        low,
        high,
        range: T::round(high - low),
        upper: T::BELOW_ONE,
    };
    draw(key, out, UNIFORM_NANOSECONDS, |words, numbers| {
        simd::dispatch(Uniform::<T> {
            bounds,
            words,
            numbers,
            dtype: PhantomData,
        });
    });
}

/// Writes numbers of the normal distribution with this mean and standard deviation.
///
/// They are those that MLX makes of this key, within the rounding of the error function's inverse.
///
/// ```
/// let mut numbers = [0.0_f32; 1000];
/// mlx_kernels::random_normal([0, 7], 5.0, 1.0, &mut numbers);
/// let mean = numbers.iter().sum::<f32>() / 1000.0;
/// assert!((mean - 5.0).abs() < 0.1);
/// ```
pub fn random_normal<T: Element>(key: [u32; 2], loc: f32, scale: f32, out: &mut [T]) {
    (T::kernels().random_normal)(key, loc, scale, out)
}

/// [`random_normal`], compiled in this crate.
pub(crate) fn random_normal_instance<T: Element>(
    key: [u32; 2],
    loc: f32,
    scale: f32,
    out: &mut [T],
) {
    let root = T::round(std::f32::consts::SQRT_2);
    let factor = T::round(root * T::round(scale));
    let bounds = Bounds {
        low: -<f32 as Storage>::BELOW_ONE,
        high: f32::INFINITY,
        range: 2.0,
        upper: <f32 as Storage>::BELOW_ONE,
    };
    let loc = (loc != 0.0).then(|| T::round(loc));
    draw(key, out, NORMAL_NANOSECONDS, |words, numbers| {
        simd::dispatch(Uniform::<f32> {
            bounds,
            words,
            numbers,
            dtype: PhantomData,
        });
        simd::dispatch(Normal::<T> {
            factor,
            loc,
            numbers,
            dtype: PhantomData,
        });
    });
}

/// Lets `fill` make numbers of the words of this key, a block at a time.
fn draw<T: Element>(
    key: [u32; 2],
    out: &mut [T],
    nanoseconds: f64,
    fill: impl Fn(&[u32], &mut [f32]) + Sync,
) {
    let (counters, middle, first, second) = halves(out);
    let distance = counters + middle.len();
    if !middle.is_empty() {
        let word = middle_word(key, counters);
        T::write(middle, &mut [0.0], |numbers| fill(&[word], numbers));
    }
    parallel_for(
        first
            .chunks_mut(TASK)
            .zip(second.chunks_mut(TASK))
            .enumerate(),
        nanoseconds * counters as f64,
        || ([0_u32; 2 * BLOCK], [0_f32; BLOCK]),
        |(words, numbers), (task, (first, second))| {
            let blocks = first.chunks_mut(BLOCK).zip(second.chunks_mut(BLOCK));
            for (block, (first, second)) in blocks.enumerate() {
                let (a, b) = words.split_at_mut(BLOCK);
                let (a, b) = (&mut a[..first.len()], &mut b[..first.len()]);
                threefry(key, task * TASK + block * BLOCK, distance, a, b);
                T::write(first, numbers, |numbers| fill(a, numbers));
                T::write(second, numbers, |numbers| fill(b, numbers));
            }
        },
    );
}

/// Both bounds, their difference, and the largest number below 1, all of one dtype.
#[derive(Clone, Copy)]
struct Bounds {
    low: f32,
    high: f32,
    range: f32,
    upper: f32,
}

/// Makes uniform numbers of words, rounded to the dtype after each step.
struct Uniform<'a, T> {
    bounds: Bounds,
    words: &'a [u32],
    numbers: &'a mut [f32],
    dtype: PhantomData<T>,
}

impl<T: Element> WithSimd for Uniform<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const UNIT: f32 = 1.0 / 4_294_967_296.0;
        let Bounds {
            low,
            high,
            range,
            upper,
        } = self.bounds;
        // A number that was rounded up to the excluded bound becomes the other one.
        let excluded = if low < high { high } else { f32::INFINITY };
        for (number, word) in self.numbers.iter_mut().zip(self.words) {
            let unit = *word as f32 * UNIT;
            let unit = T::round(if unit < upper { unit } else { upper });
            let drawn = T::round(T::round(unit * range) + low);
            *number = if drawn >= excluded { low } else { drawn };
        }
    }
}

/// Makes normal numbers of uniform ones between -1 and 1, rounded to the dtype after each step.
struct Normal<'a, T> {
    factor: f32,
    loc: Option<f32>,
    numbers: &'a mut [f32],
    dtype: PhantomData<T>,
}

impl<T: Element> WithSimd for Normal<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let (registers, tail) = S::as_mut_simd_f32s(self.numbers);
        for register in registers.iter_mut() {
            *register = Lanes::new(s, *register).erfinv().value;
        }
        if !tail.is_empty() {
            let last = Lanes::new(s, s.partial_load_f32s(tail));
            s.partial_store_f32s(tail, last.erfinv().value);
        }
        for number in self.numbers.iter_mut() {
            *number = T::round(T::round(*number) * self.factor);
        }
        if let Some(loc) = self.loc {
            for number in self.numbers.iter_mut() {
                *number = T::round(*number + loc);
            }
        }
    }
}
