//! Magnitudes and real parts of complex numbers, and complex numbers of real ones.
//!
//! Formula: `sqrt(re^2 + im^2)`. Where the sum of squares leaves the range in which it is exact but for rounding, the
//! standard library's `hypot` takes its place. Blocking: tasks of 16384 numbers, blocks of 1024. Limit: memory bandwidth.
//! Error: 1.5 ulp; none of a conversion.

use pulp::{Simd, WithSimd};

use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd;

/// Numbers of a task.
const TASK: usize = 16 * 1024;
/// Numbers that are looked at together.
const BLOCK: usize = 1024;
const NANOSECONDS: f64 = 0.5;
/// Sums of squares between these have lost nothing.
const RANGE: std::ops::RangeInclusive<f32> = 1e-30..=1e38;

/// Writes the magnitude of each complex number, which is stored as a pair.
///
/// # Errors
/// When `x` has not two numbers for each of `out`.
pub fn complex_abs(x: &[f32], out: &mut [f32]) -> Result<()> {
    length("abs", "x", 2 * out.len(), x.len())?;
    let (pairs, _) = x.as_chunks::<2>();
    let nanoseconds = NANOSECONDS * out.len() as f64;
    parallel_for(
        pairs.chunks(TASK).zip(out.chunks_mut(TASK)),
        nanoseconds,
        || (),
        |(), (x, out)| {
            for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                magnitudes(x, out);
            }
        },
    );
    Ok(())
}

/// Writes the magnitude of each complex number as one whose imaginary part is 0.
///
/// # Errors
/// When `x` and `out` have not as many numbers, two for each.
pub fn complex_abs_to_complex(x: &[f32], out: &mut [f32]) -> Result<()> {
    length("abs", "out", x.len() / 2 * 2, out.len())?;
    length("abs", "x", out.len(), x.len())?;
    let ((x, _), (out, _)) = (x.as_chunks::<2>(), out.as_chunks_mut::<2>());
    parallel_for(
        x.chunks(TASK).zip(out.chunks_mut(TASK)),
        NANOSECONDS * x.len() as f64,
        || (),
        |(), (x, out)| {
            let mut block = [0.0; BLOCK];
            for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                let block = &mut block[..x.len()];
                magnitudes(x, block);
                simd::dispatch(Pairs { x: block, out });
            }
        },
    );
    Ok(())
}

/// Replaces each complex number by its magnitude with an imaginary part of 0.
pub fn complex_abs_in_place(numbers: &mut [f32]) {
    let nanoseconds = NANOSECONDS * numbers.len() as f64;
    let (pairs, _) = numbers.as_chunks_mut::<2>();
    parallel_for(
        pairs.chunks_mut(TASK),
        nanoseconds,
        || (),
        |(), pairs| {
            let mut block = [0.0; BLOCK];
            for pairs in pairs.chunks_mut(BLOCK) {
                let block = &mut block[..pairs.len()];
                magnitudes(pairs, block);
                simd::dispatch(Pairs {
                    x: block,
                    out: pairs,
                });
            }
        },
    );
}

/// Writes the real part of each complex number, which is stored as a pair.
///
/// # Errors
/// When `x` has not two numbers for each of `out`.
pub fn complex_to_real(x: &[f32], out: &mut [f32]) -> Result<()> {
    length("astype", "x", 2 * out.len(), x.len())?;
    let (pairs, _) = x.as_chunks::<2>();
    let nanoseconds = NANOSECONDS * out.len() as f64;
    parallel_for(
        pairs.chunks(TASK).zip(out.chunks_mut(TASK)),
        nanoseconds,
        || (),
        |(), (x, out)| simd::dispatch(RealParts { x, out }),
    );
    Ok(())
}

/// Writes each number as a pair with an imaginary part of 0.
///
/// # Errors
/// When `out` has not two numbers for each of `x`.
pub fn real_to_complex(x: &[f32], out: &mut [f32]) -> Result<()> {
    length("astype", "out", 2 * x.len(), out.len())?;
    let (pairs, _) = out.as_chunks_mut::<2>();
    parallel_for(
        x.chunks(TASK).zip(pairs.chunks_mut(TASK)),
        NANOSECONDS * x.len() as f64,
        || (),
        |(), (x, out)| simd::dispatch(Pairs { x, out }),
    );
    Ok(())
}

/// The magnitudes of a block.
fn magnitudes(x: &[[f32; 2]], out: &mut [f32]) {
    if simd::dispatch(Magnitudes { x, out }) {
        return;
    }
    for (out, [re, im]) in out.iter_mut().zip(x) {
        if !is_exact(*re, *im) {
            *out = re.hypot(*im);
        }
    }
}

#[inline(always)]
fn is_exact(re: f32, im: f32) -> bool {
    let sum = re * re + im * im;
    sum >= *RANGE.start() && sum <= *RANGE.end()
}

/// Returns whether all of them are exact but for rounding.
struct Magnitudes<'a> {
    x: &'a [[f32; 2]],
    out: &'a mut [f32],
}

impl WithSimd for Magnitudes<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let mut inexact = 0;
        for ([re, im], out) in self.x.iter().zip(self.out) {
            *out = (re * re + im * im).sqrt();
            inexact |= u32::from(!is_exact(*re, *im));
        }
        inexact == 0
    }
}

struct Pairs<'a> {
    x: &'a [f32],
    out: &'a mut [[f32; 2]],
}

impl WithSimd for Pairs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (x, out) in self.x.iter().zip(self.out) {
            *out = [*x, 0.0];
        }
    }
}

struct RealParts<'a> {
    x: &'a [[f32; 2]],
    out: &'a mut [f32],
}

impl WithSimd for RealParts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ([re, _], out) in self.x.iter().zip(self.out) {
            *out = *re;
        }
    }
}
