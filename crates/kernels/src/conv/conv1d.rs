//! Convolution over one axis, in MLX's layout.
//!
//! Formula: `out[n, t, o] = sum over k, c of x[n, t * stride + k * dilation - padding, c] * weight[o, k, c]`, `x` being 0
//! outside of its length; with groups, `o` depends only on the channels of its group.
//! Blocking: the product of the matrix of windows `[batch * out_length, kernel_size * channels]` and the transposed weights.
//! The weights are packed once into tiles that are two registers wide. A task has 64 windows; each tile is multiplied with
//! all of them while it is in the L2 cache, eight windows (four without AVX-512) at a time with their sums in registers. A
//! window inside of `x` that is contiguous (no dilation, one group) is read in place; others are copied first.
//! Limit: multiplications. Error: `2^-24 * (kernel_size * channels / groups)` of `sum(|x * weight|)`, far less on average.

use pulp::{Simd, WithSimd};

use crate::error::{Error, Result, length, product};
use crate::gemm::microkernel::{TILE_REGISTERS, as_tile, dot_tile, has_16_registers};
use crate::parallel::parallel_for;
use crate::simd;

const OP: &str = "conv1d";
/// Windows of a task.
const WINDOWS: usize = 64;

/// Sizes and steps of a convolution over one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1d {
    /// The number of sequences.
    pub batch: usize,
    /// The length of a sequence.
    pub length: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// The number of elements of a window.
    pub kernel_size: usize,
    /// The distance between the starts of windows.
    pub stride: usize,
    /// Zeros before and after each sequence.
    pub padding: usize,
    /// The distance between the elements of a window.
    pub dilation: usize,
    /// Groups into which the channels of input and output are split.
    pub groups: usize,
}

impl Conv1d {
    /// Returns the length of a sequence of the output.
    ///
    /// # Errors
    /// When a size is 0 that must not be, groups do not divide the channels, or the window is longer than the sequence.
    pub fn out_length(self) -> Result<usize> {
        let refuse = |what, wanted, got| {
            Err(Error::Parameter {
                op: OP,
                what,
                wanted,
                got,
            })
        };
        for (what, size) in [
            ("kernel_size", self.kernel_size),
            ("stride", self.stride),
            ("dilation", self.dilation),
            ("groups", self.groups),
        ] {
            if size == 0 {
                return refuse(what, "at least 1", size);
            }
        }
        if !self.channels.is_multiple_of(self.groups) || !self.outputs.is_multiple_of(self.groups) {
            return refuse(
                "groups",
                "a divisor of both numbers of channels",
                self.groups,
            );
        }
        let padded = self.padding.checked_mul(2);
        let padded = padded.and_then(|padding| padding.checked_add(self.length));
        let window = (self.kernel_size - 1).checked_mul(self.dilation);
        let window = window.and_then(|window| window.checked_add(1));
        let (Some(padded), Some(window)) = (padded, window) else {
            return Err(Error::TooLarge { op: OP });
        };
        match padded.checked_sub(window) {
            Some(rest) => Ok(rest / self.stride + 1),
            None => refuse("the padded length", "at least that of a window", padded),
        }
    }

    /// The numbers of a window for one output.
    fn depth(self) -> usize {
        self.kernel_size * (self.channels / self.groups)
    }
}

/// Writes the convolution of `x` with `weight` to `out`.
///
/// `x` is `[batch, length, channels]`, `weight` `[outputs, kernel_size, channels / groups]`, `out`
/// `[batch, out_length, outputs]`. As everywhere in machine learning, this is a cross-correlation: the kernel is not flipped.
///
/// ```
/// use mlx_kernels::{Conv1d, conv1d};
///
/// let shape = Conv1d {
///     batch: 1, length: 4, channels: 1, outputs: 1, kernel_size: 3, stride: 1, padding: 1, dilation: 1, groups: 1,
/// };
/// let mut out = [0.0; 4];
/// conv1d(shape, &[1.0, 2.0, 3.0, 4.0], &[1.0, 0.0, -1.0], &mut out)?;
/// assert_eq!(out, [-2.0, -2.0, -2.0, 3.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When [`Conv1d::out_length`] refuses the sizes, or a length does not match them.
pub fn conv1d(shape: Conv1d, x: &[f32], weight: &[f32], out: &mut [f32]) -> Result<()> {
    let out_length = shape.out_length()?;
    let Conv1d {
        batch,
        channels,
        outputs,
        kernel_size,
        groups,
        ..
    } = shape;
    length(
        OP,
        "x",
        product(OP, &[batch, shape.length, channels])?,
        x.len(),
    )?;
    let weights = product(OP, &[outputs, kernel_size, channels / groups])?;
    length(OP, "weight", weights, weight.len())?;
    length(
        OP,
        "out",
        product(OP, &[batch, out_length, outputs])?,
        out.len(),
    )?;
    if out.is_empty() {
        return Ok(());
    }
    let depth = shape.depth();
    if depth == 0 {
        out.fill(0.0);
        return Ok(());
    }
    let packed = pack(shape, weight);
    parallel_for(
        out.chunks_mut(WINDOWS * outputs).enumerate(),
        0.04 * (out_length * batch) as f64 * weights as f64,
        || vec![0.0; WINDOWS * depth],
        |copies, (task, out)| {
            simd::dispatch(Task {
                shape,
                out_length,
                x,
                packed: &packed,
                first: task * WINDOWS,
                copies,
                out,
            });
        },
    );
    Ok(())
}

/// The weights as `[groups, tiles, depth, tile]`, padded with zeros where the last tile of a group is not full.
fn pack(shape: Conv1d, weight: &[f32]) -> Vec<f32> {
    let (depth, tile) = (shape.depth(), TILE_REGISTERS * simd::f32_lanes());
    let group = shape.outputs / shape.groups;
    let tiles = group.div_ceil(tile);
    let mut packed = vec![0.0; shape.groups * tiles * depth * tile];
    parallel_for(
        packed.chunks_exact_mut(depth * tile).enumerate(),
        2.0 * weight.len() as f64,
        || (),
        |(), (number, target)| {
            let (g, first) = (number / tiles, number % tiles * tile);
            for lane in 0..tile.min(group - first) {
                let from = &weight[(g * group + first + lane) * depth..][..depth];
                for (target, from) in target.chunks_exact_mut(tile).zip(from) {
                    target[lane] = *from;
                }
            }
        },
    );
    packed
}

/// Up to [`WINDOWS`] windows, for one thread.
struct Task<'a> {
    shape: Conv1d,
    out_length: usize,
    x: &'a [f32],
    packed: &'a [f32],
    /// The first window, counted through all sequences.
    first: usize,
    /// `[WINDOWS, depth]`, for windows that are not contiguous.
    copies: &'a mut [f32],
    out: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for group in 0..self.shape.groups {
            if has_16_registers::<S>() {
                self.group::<S, 4>(simd, group);
            } else {
                self.group::<S, 8>(simd, group);
            }
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn group<S: Simd, const ROWS: usize>(&mut self, simd: S, group: usize) {
        let (shape, depth) = (self.shape, self.shape.depth());
        let (tile, width) = (TILE_REGISTERS * S::F32_LANES, shape.outputs / shape.groups);
        let windows = self.out.len() / shape.outputs;
        // Windows that are not contiguous are copied first; only then can the copies be borrowed.
        let offsets: [Option<usize>; WINDOWS] = std::array::from_fn(|window| {
            let contiguous = (window < windows)
                .then(|| self.contiguous(window))
                .flatten();
            if contiguous.is_none() && window < windows {
                self.copy(window, group);
            }
            contiguous
        });
        let (x, copies) = (self.x, &*self.copies);
        let row = |window: usize| match offsets[window] {
            Some(start) => &x[start..start + depth],
            None => &copies[window * depth..][..depth],
        };
        let tiles = width.div_ceil(tile);
        let packed = self.packed[group * tiles * depth * tile..].chunks_exact(depth * tile);
        for (number, packed) in packed.take(tiles).enumerate() {
            let packed = as_tile::<S>(packed);
            let count = tile.min(width - number * tile);
            for first in (0..windows).step_by(ROWS) {
                // The last windows are computed again where there are not enough.
                let rows = std::array::from_fn(|i| row((first + i).min(windows - 1)));
                let sums = dot_tile::<S, ROWS, TILE_REGISTERS>(simd, rows, packed);
                for (i, sums) in sums.iter().enumerate().take(windows - first) {
                    let start = (first + i) * shape.outputs + group * width + number * tile;
                    let out = &mut self.out[start..start + count];
                    for (out, sum) in out.chunks_mut(S::F32_LANES).zip(sums) {
                        simd.partial_store_f32s(out, *sum);
                    }
                }
            }
        }
    }

    /// The sequence of a window, and its start in the padded sequence.
    fn start(&self, window: usize) -> (usize, usize) {
        let window = self.first + window;
        (
            window / self.out_length,
            window % self.out_length * self.shape.stride,
        )
    }

    /// The offset of the window in `x`, if it is contiguous and inside.
    fn contiguous(&self, window: usize) -> Option<usize> {
        let Conv1d {
            length,
            channels,
            kernel_size,
            padding,
            dilation,
            groups,
            ..
        } = self.shape;
        let (sequence, begin) = self.start(window);
        let begin = begin.checked_sub(padding)?;
        let is_contiguous = groups == 1 && (dilation == 1 || kernel_size == 1);
        (is_contiguous && begin + kernel_size <= length)
            .then(|| (sequence * length + begin) * channels)
    }

    fn copy(&mut self, window: usize, group: usize) {
        let Conv1d {
            length,
            channels,
            padding,
            dilation,
            groups,
            ..
        } = self.shape;
        let (depth, width) = (self.shape.depth(), channels / groups);
        let (sequence, begin) = self.start(window);
        let copies = self.copies[window * depth..][..depth].chunks_exact_mut(width);
        for (k, copy) in copies.enumerate() {
            let position = (begin + k * dilation).checked_sub(padding);
            match position.filter(|position| *position < length) {
                Some(position) => {
                    let start = (sequence * length + position) * channels + group * width;
                    copy.copy_from_slice(&self.x[start..start + width]);
                }
                None => copy.fill(0.0),
            }
        }
    }
}
