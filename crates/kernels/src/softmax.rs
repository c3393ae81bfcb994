//! Softmax of rows, its gradient, `logsumexp` and the cross entropy made of it.
//!
//! Blocking: groups of rows go to threads; a row is read from memory once, the passes after the maximum find it in the
//! cache. Limit: memory bandwidth for long arrays, the exponential otherwise.

use pulp::{Simd, WithSimd};

use crate::element::Element;
use crate::error::{Error, Result, length};
use crate::lanes::Lanes;
use crate::norm::{Rows, rows_not_empty, sum_of};
use crate::{pool, simd, stream};

/// Writes `exp(x - max(x)) / sum(exp(x - max(x)))` to `out`, row by row.
///
/// Error: `2^-21` relative, and results below `2^-126` may be 0. A row of `-inf` only is not a number, as in MLX.
///
/// # Errors
/// When a length does not match the shape.
pub fn softmax<T: Element>(shape: Rows, x: &[T], out: &mut [T]) -> Result<()> {
    let elements = shape.elements("softmax")?;
    length("softmax", "x", elements, x.len())?;
    length("softmax", "out", elements, out.len())?;
    if elements == 0 {
        return Ok(());
    }
    let past = T::IS_F32 && stream::pays(size_of_val(out));
    let piece = shape.per_piece() * shape.dim;
    pool::each(
        x.chunks(piece).zip(out.chunks_mut(piece)),
        0.5 * elements as f64,
        || {
            let converted = if T::IS_F32 { 0 } else { shape.dim };
            (
                vec![0.0; converted],
                Row::new(shape.dim),
                vec![0.0; converted],
            )
        },
        |(wide, row, narrow), (x, out)| {
            for (x, out) in x
                .chunks_exact(shape.dim)
                .zip(out.chunks_exact_mut(shape.dim))
            {
                row.take(T::read(x, wide), 1.0);
                T::write(out, narrow, |out| row.write(past, out));
            }
            if past {
                stream::finish();
            }
        },
    );
    Ok(())
}

/// Writes the gradient of a softmax to `out`: `y * (g - sum(g * y))`, row by row.
///
/// `y` is the softmax, `g` the gradient of it. Error: `2^-20` of the largest `|g| * y`.
///
/// # Errors
/// When a length does not match the shape.
pub fn softmax_gradient(shape: Rows, y: &[f32], g: &[f32], out: &mut [f32]) -> Result<()> {
    let elements = shape.elements("softmax_gradient")?;
    length("softmax_gradient", "y", elements, y.len())?;
    length("softmax_gradient", "g", elements, g.len())?;
    length("softmax_gradient", "out", elements, out.len())?;
    if elements == 0 {
        return Ok(());
    }
    let piece = shape.per_piece() * shape.dim;
    pool::each(
        y.chunks(piece)
            .zip(g.chunks(piece))
            .zip(out.chunks_mut(piece)),
        0.5 * elements as f64,
        || (),
        |(), ((y, g), out)| {
            let rows = y.chunks_exact(shape.dim).zip(g.chunks_exact(shape.dim));
            for ((y, g), out) in rows.zip(out.chunks_exact_mut(shape.dim)) {
                simd::dispatch(Gradient { y, g, out });
            }
        },
    );
    Ok(())
}

/// Writes `log(sum(exp(x)))` of each row to `out`, `[rows]`; large values do not overflow.
///
/// Error: `2^-22` of the result plus `2^-22`. A row of `-inf` only gives `-inf`.
///
/// # Errors
/// When a length does not match the shape, or rows have no elements.
pub fn logsumexp<T: Element>(shape: Rows, x: &[T], out: &mut [f32]) -> Result<()> {
    rows_not_empty("logsumexp", shape)?;
    length("logsumexp", "x", shape.elements("logsumexp")?, x.len())?;
    length("logsumexp", "out", shape.rows, out.len())?;
    over_rows(shape, x, out, |_, x| simd::dispatch(LogSumExp(x)));
    Ok(())
}

/// Writes the cross entropy of each row of logits against its class to `out`: `logsumexp(x) - x[target]`.
///
/// `x` is `[rows, classes]`, `targets` and `out` are `[rows]`. Error: as [`logsumexp`], plus the rounding of the difference.
///
/// # Errors
/// When a length does not match the shape, or a target is not a class.
pub fn cross_entropy<T: Element>(
    shape: Rows,
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
        simd::dispatch(LogSumExp(x)) - x[targets[row] as usize]
    });
    Ok(())
}

/// Refuses a target that is not a class.
pub(crate) fn targets_are_classes(op: &'static str, shape: Rows, targets: &[u32]) -> Result<()> {
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
    shape: Rows,
    x: &[T],
    out: &mut [f32],
    row: impl Fn(usize, &[f32]) -> f32 + Sync,
) {
    if shape.rows == 0 {
        return;
    }
    let rows = shape.per_piece();
    pool::each(
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

/// Elements whose powers are taken of their distance to their own maximum: they are still in the first cache when that is
/// known.
const BLOCK: usize = 1024;

/// Room for the powers of a row: they stand in the cache, and are scaled on their way out.
pub(crate) struct Row {
    powers: Vec<f32>,
    /// The maximum of each block, and the sum of its powers, or what they are multiplied by.
    blocks: Vec<(f32, f32)>,
}

impl Row {
    pub(crate) fn new(dim: usize) -> Self {
        Self {
            powers: vec![0.0; dim],
            blocks: vec![(0.0, 0.0); dim.div_ceil(BLOCK)],
        }
    }

    /// Takes a row, as long as the room, times `factor`.
    pub(crate) fn take(&mut self, x: &[f32], factor: f32) {
        let Self { powers, blocks } = self;
        simd::dispatch(Powers { x, powers, blocks });
        scales(blocks, factor);
    }

    /// Writes `factor * exp(x - max(x)) / sum(exp(x - max(x)))`, perhaps `past` the cache.
    pub(crate) fn write(&self, past: bool, out: &mut [f32]) {
        let Self { powers, blocks } = self;
        if past {
            simd::dispatch(Scale::<true> {
                blocks,
                powers,
                out,
            });
        } else {
            simd::dispatch(Scale::<false> {
                blocks,
                powers,
                out,
            });
        }
    }
}

/// Writes `exp(x - max(x))` of each block, and the block's maximum and sum of that.
struct Powers<'a> {
    x: &'a [f32],
    powers: &'a mut [f32],
    blocks: &'a mut [(f32, f32)],
}

impl WithSimd for Powers<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let pieces = self.x.chunks(BLOCK).zip(self.powers.chunks_mut(BLOCK));
        for (block, (x, powers)) in self.blocks.iter_mut().zip(pieces) {
            let largest = maximum(simd, x);
            // A block of `-inf` has no power, whatever it is measured by.
            let center = if largest == f32::NEG_INFINITY {
                0.0
            } else {
                largest
            };
            *block = (largest, self::powers(simd, x, center, powers));
        }
    }
}

/// Writes `exp(x - center)` and returns the sum of that.
#[inline(always)]
fn powers<S: Simd>(simd: S, x: &[f32], center: f32, out: &mut [f32]) -> f32 {
    let center = Lanes::splat(simd, center);
    let (body, x_tail) = S::as_simd_f32s(x);
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    let zero = Lanes::splat(simd, 0.0);
    let mut sums = [zero; 2];
    let (pairs, singles) = body.as_chunks::<2>();
    let (out_pairs, out_singles) = out.as_chunks_mut::<2>();
    for (out, x) in out_pairs.iter_mut().zip(pairs) {
        for i in 0..2 {
            // The next block is on its way while this one is computed.
            stream::ahead(&x[i], BLOCK);
            let power = (Lanes::new(simd, x[i]) - center).exp_not_positive();
            sums[i] = sums[i] + power;
            out[i] = power.value;
        }
    }
    for (out, x) in out_singles.iter_mut().zip(singles) {
        let power = (Lanes::new(simd, *x) - center).exp_not_positive();
        sums[0] = sums[0] + power;
        *out = power.value;
    }
    if !x_tail.is_empty() {
        let x = Lanes::new(simd, simd.partial_load_f32s(x_tail));
        simd.partial_store_f32s(out_tail, (x - center).exp_not_positive().value);
        sums[1] = sums[1] + Lanes::new(simd, simd.partial_load_f32s(out_tail));
    }
    (sums[0] + sums[1]).sum()
}

/// From maxima and sums of blocks to what their powers are multiplied by, in the place of the sums.
fn scales(blocks: &mut [(f32, f32)], factor: f32) {
    let largest = blocks
        .iter()
        .map(|(largest, _)| *largest)
        .fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for (own, sum) in blocks.iter_mut() {
        // `exp(0)` without a call, for rows of one block.
        let smaller = if *own == largest && own.is_finite() {
            1.0
        } else {
            (*own - largest).exp()
        };
        total += *sum * smaller;
        *sum = smaller;
    }
    for (_, scale) in blocks {
        *scale *= factor / total;
    }
}

/// Writes the powers of each block times its scale, `PAST` the cache or not.
struct Scale<'a, const PAST: bool> {
    blocks: &'a [(f32, f32)],
    powers: &'a [f32],
    out: &'a mut [f32],
}

impl<const PAST: bool> WithSimd for Scale<'_, PAST> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let pieces = self.powers.chunks(BLOCK).zip(self.out.chunks_mut(BLOCK));
        for ((_, scale), (powers, out)) in self.blocks.iter().zip(pieces) {
            scaled::<S, PAST>(simd, *scale, powers, out);
        }
    }
}

#[inline(always)]
fn scaled<S: Simd, const PAST: bool>(simd: S, factor: f32, powers: &[f32], out: &mut [f32]) {
    let scale = Lanes::splat(simd, factor);
    let head = if PAST { stream::head::<S>(out) } else { 0 };
    let (powers_head, powers) = powers.split_at(head);
    let (out_head, out) = out.split_at_mut(head);
    let (powers, powers_tail) = S::as_simd_f32s(powers);
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    for (out, power) in out.iter_mut().zip(powers) {
        stream::store::<S, PAST>(out, (Lanes::new(simd, *power) * scale).value);
    }
    let ends = out_head.iter_mut().zip(powers_head);
    for (out, power) in ends.chain(out_tail.iter_mut().zip(powers_tail)) {
        *out = power * factor;
    }
}

struct Gradient<'a> {
    y: &'a [f32],
    g: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Plain loops: they are compiled for the instruction set of the caller.
        const LANES: usize = 16;
        let (y_body, y_tail) = self.y.as_chunks::<LANES>();
        let (g_body, g_tail) = self.g.as_chunks::<LANES>();
        let mut sums = [0.0_f32; LANES];
        for (y, g) in y_body.iter().zip(g_body) {
            for lane in 0..LANES {
                sums[lane] += y[lane] * g[lane];
            }
        }
        let rest: f32 = y_tail.iter().zip(g_tail).map(|(y, g)| y * g).sum();
        let dot = sums.iter().sum::<f32>() + rest;
        for ((out, y), g) in self.out.iter_mut().zip(self.y).zip(self.g) {
            *out = y * (g - dot);
        }
    }
}

struct LogSumExp<'a>(&'a [f32]);

impl WithSimd for LogSumExp<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let largest = maximum(simd, self.0);
        if !largest.is_finite() {
            let unknown = self.0.iter().any(|x| x.is_nan());
            return if unknown { f32::NAN } else { largest };
        }
        let center = Lanes::splat(simd, largest);
        let (body, tail) = self.0.split_at(self.0.len() - self.0.len() % S::F32_LANES);
        let sum = sum_of(simd, body, |x| (x - center).exp_not_positive());
        let rest: f32 = tail.iter().map(|x| (x - largest).exp()).sum();
        largest + (sum + rest).ln()
    }
}

/// The largest element, `-inf` if there is none; what is not a number may be skipped.
#[inline(always)]
pub(crate) fn maximum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (body, tail) = S::as_simd_f32s(x);
    let mut largest = [Lanes::splat(simd, f32::NEG_INFINITY); 4];
    let (quads, singles) = body.as_chunks::<4>();
    for quad in quads {
        for (largest, x) in largest.iter_mut().zip(quad) {
            *largest = Lanes::new(simd, *x).max(*largest);
        }
    }
    for (largest, x) in largest.iter_mut().zip(singles) {
        *largest = Lanes::new(simd, *x).max(*largest);
    }
    let [a, b, c, d] = largest;
    let body = a.max(b).max(c.max(d));
    let largest = simd.reduce_max_f32s(body.value);
    tail.iter().fold(largest, |largest, x| largest.max(*x))
}
