//! Weighted sums along up to three axes, in MLX's layout: interpolation, and its gradient.
//!
//! Formula: `y[n, o.., c] = sum over the terms of o.. of the product of their weights * x[n, i.., c]`; along each axis an output
//! has terms of its own, each an element of the input and a weight.
//! Blocking: a line of the output at a time. The lines of the input that it reads become one in the L1 cache, their
//! weighted sum in each place; then the sums along the last axis.
//! Limit: writing `y`. Error: `2^-24` times the number of terms along all axes, of `sum(|weights * x|)`.

use pulp::{Simd, WithSimd};

use crate::error::{Error, Result, length};
use crate::gemm::scratch::Scratch;
use crate::parallel::{parallel_for, threads};
use crate::simd;
use crate::spatial::{check_axes, elements, three_axes};

const OP: &str = "resample";
/// Nanoseconds for a term of an element on one thread.
const NANOSECONDS: f64 = 0.2;

/// The terms of the outputs along one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResampleAxis<'a> {
    /// The size of the input.
    pub input: usize,
    /// The terms of output `o` are those from `starts[o]` to `starts[o + 1]`.
    pub starts: &'a [usize],
    /// The element of each term.
    pub indices: &'a [u32],
    /// The weight of each term.
    pub weights: &'a [f32],
}

impl ResampleAxis<'_> {
    /// An axis with one element, which changes nothing.
    const ONE: ResampleAxis<'static> = ResampleAxis {
        input: 1,
        starts: &[0, 1],
        indices: &[0],
        weights: &[1.0],
    };

    /// The size of the output.
    fn output(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether every output has two terms.
    #[inline(always)]
    fn has_pairs(&self) -> bool {
        let is_pair = |(output, start): (usize, &usize)| *start == 2 * output;
        self.starts.iter().enumerate().all(is_pair)
    }

    #[inline(always)]
    fn terms(&self, output: usize) -> impl Iterator<Item = (usize, f32)> {
        let terms = self.starts[output]..self.starts[output + 1];
        let weights = &self.weights[terms.clone()];
        self.indices[terms]
            .iter()
            .zip(weights)
            .map(|(&index, &weight)| (index as usize, weight))
    }

    fn check(&self) -> Result<()> {
        let refuse = |what, wanted, got| {
            Err(Error::Parameter {
                op: OP,
                what,
                wanted,
                got,
            })
        };
        length(OP, "weights", self.indices.len(), self.weights.len())?;
        let Some(&end) = self.starts.last() else {
            return refuse("the number of starts", "at least 1", 0);
        };
        if end > self.indices.len() {
            return refuse("a start", "at most the number of terms", end);
        }
        if let Some(pair) = self.starts.windows(2).find(|pair| pair[0] > pair[1]) {
            return refuse("a start", "at most the next one", pair[0]);
        }
        let outside = |index: &&u32| **index as usize >= self.input;
        match self.indices.iter().find(outside) {
            Some(&index) => refuse("an index", "inside of the input", index as usize),
            None => Ok(()),
        }
    }
}

/// Writes weighted sums of `x`, `[batch, input.., channels]`, to `out`, `[batch, output.., channels]`.
///
/// ```
/// use mlx_kernels::{ResampleAxis, resample};
///
/// let axis = ResampleAxis { input: 2, starts: &[0, 1, 3], indices: &[1, 0, 1], weights: &[1.0, 0.5, 0.5] };
/// let mut out = [0.0; 2];
/// resample(1, &[axis], 1, &[2.0, 4.0], &mut out)?;
/// assert_eq!(out, [4.0, 3.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When there are not one to three axes, an index is outside of the input, or a length does not match the sizes.
pub fn resample(
    batch: usize,
    axes: &[ResampleAxis<'_>],
    channels: usize,
    x: &[f32],
    out: &mut [f32],
) -> Result<()> {
    check_axes(OP, axes)?;
    axes.iter().try_for_each(ResampleAxis::check)?;
    let size = |of: fn(&ResampleAxis<'_>) -> usize| elements(OP, [batch, channels], axes, of);
    length(OP, "x", size(|axis| axis.input)?, x.len())?;
    length(OP, "out", size(|axis| axis.output())?, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let three = three_axes(axes, ResampleAxis::ONE);
    let (line, out_line) = (three[2].input * channels, three[2].output() * channels);
    let per_task = (out.len() / out_line / (8 * threads())).clamp(1, 32);
    let terms: usize = axes.iter().map(|axis| axis.indices.len()).sum();
    let outputs: usize = axes.iter().map(ResampleAxis::output).sum();
    let nanoseconds = NANOSECONDS * out.len() as f64 * (1 + terms / outputs) as f64;
    parallel_for(
        out.chunks_mut(per_task * out_line).enumerate(),
        nanoseconds,
        || Scratch::new(line),
        |column, (task, out)| {
            for (number, out) in out.chunks_exact_mut(out_line).enumerate() {
                let number = task * per_task + number;
                simd::dispatch(Line {
                    axes: &three,
                    channels,
                    number,
                    x,
                    column: column.as_mut_slice(),
                    out,
                });
            }
        },
    );
    Ok(())
}

/// A line of the output.
struct Line<'a> {
    axes: &'a [ResampleAxis<'a>; 3],
    channels: usize,
    number: usize,
    x: &'a [f32],
    /// Memory for a line of the input.
    column: &'a mut [f32],
    out: &'a mut [f32],
}

impl WithSimd for Line<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [first, second, third] = self.axes;
        let (i, j) = (
            self.number / second.output() % first.output(),
            self.number % second.output(),
        );
        let batch = self.number / second.output() / first.output();
        let line = self.column.len();
        let lines = first.terms(i).flat_map(|(i, factor)| {
            let terms = second.terms(j);
            terms.map(move |(j, weight)| {
                let at = (batch * first.input + i) * second.input + j;
                (&self.x[at * line..][..line], factor * weight)
            })
        });
        sum(lines, self.column);
        let channels = self.channels;
        let column = &*self.column;
        if third.has_pairs() {
            // Linear interpolation, in which every output has two terms.
            let pairs = third.indices.as_chunks::<2>().0.iter();
            let pairs = pairs.zip(third.weights.as_chunks::<2>().0);
            for (out, (at, by)) in self.out.chunks_exact_mut(channels).zip(pairs) {
                let [a, b] = at.map(|at| &column[at as usize * channels..][..channels]);
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    *out = a * by[0] + b * by[1];
                }
            }
            return;
        }
        for (output, out) in self.out.chunks_exact_mut(channels).enumerate() {
            let pixels = third
                .terms(output)
                .map(|(k, weight)| (&column[k * channels..][..channels], weight));
            sum(pixels, out);
        }
    }
}

/// Writes the weighted sum of slices, which are as long as `out`.
#[inline(always)]
fn sum<'a>(mut terms: impl Iterator<Item = (&'a [f32], f32)>, out: &mut [f32]) {
    match (terms.next(), terms.next()) {
        (None, _) => out.fill(0.0),
        (Some((a, by)), None) => {
            for (out, a) in out.iter_mut().zip(a) {
                *out = a * by;
            }
        }
        (Some((a, a_by)), Some((b, b_by))) => {
            for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
                *out = a * a_by + b * b_by;
            }
        }
    }
    while let Some((a, a_by)) = terms.next() {
        match terms.next() {
            Some((b, b_by)) => {
                for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
                    *out = *out + a * a_by + b * b_by;
                }
            }
            None => {
                for (out, a) in out.iter_mut().zip(a) {
                    *out += a * a_by;
                }
            }
        }
    }
}
