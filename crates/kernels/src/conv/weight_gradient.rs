//! The gradient of a convolution by its weight.
//!
//! Formula: `dw[f, k.., c] = sum over n, o.. of dy[n, o.., f] * x[n, o * stride + k * kernel_dilation - padding.., c]`, `x` being 0
//! outside; with groups, `c` is a channel of the group of `f`.
//! Blocking: a product for each group (`gemm/blocked.rs`), whose rows are output channels, whose depth is outputs, and whose
//! columns are the elements of windows, packed from `x` as they are needed. The outputs are cut into parts until there is
//! work for all threads, so that what is packed is used for as many rows as there are; the sums of parts are added in
//! order. With one channel to a group: directly, a
//! register of channels at a time, a task for some lines of the output; the sums of tasks are added in order.
//! Limit: multiplications. Error: `2^-24` times the number of outputs over 256, of `sum(|dy * x|)`.

use half::bf16;
use pulp::bytemuck::Pod;
use pulp::{Simd, WithSimd};

use super::shape::{Conv, ConvAxis};
use crate::element::{Element, to_f32_vec};
use crate::error::{Error, Result};
use crate::gemm::blocked::{Product, Sizes, multiply};
use crate::gemm::factors::{RightColumns, Strided, copy_in_registers};
use crate::gemm::matrix_tiles::{self, PairProduct};
use crate::gemm::pairs::{RightPairs, clear_pairs, n_pairs, pack_rows};
use crate::gemm::scratch::Scratch;
use crate::parallel::{parallel_for, threads};
use crate::simd;
use crate::simd::amx::STEP;
use crate::simd::magnitudes::Magnitudes;

/// Nanoseconds of a multiplication with its addition on one thread.
const NANOSECONDS: f64 = 0.05;

/// Writes the gradient of [`conv`](crate::conv) by `weight` to `gradient`, of which `cotangent` is that by its output.
///
/// `x` is `[batch, input.., channels]`, `cotangent` `[batch, output.., outputs]`, `gradient`
/// `[outputs, kernel.., channels / groups]`. The input is not dilated, and the kernel not flipped.
///
/// # Errors
/// When a size is 0 that must not be, the input is dilated, the kernel flipped, groups do not divide the channels, or a
/// length does not match the sizes.
pub fn conv_weight_gradient<T: Element>(
    shape: Conv<'_>,
    x: &[T],
    cotangent: &[T],
    gradient: &mut [T],
) -> Result<()> {
    (T::kernels().conv_weight_gradient)(shape, x, cotangent, gradient)
}

/// [`conv_weight_gradient`], compiled in this crate.
pub(crate) fn conv_weight_gradient_instance<T: Element>(
    shape: Conv<'_>,
    x: &[T],
    cotangent: &[T],
    gradient: &mut [T],
) -> Result<()> {
    shape.check(x.len(), gradient.len(), cotangent.len())?;
    let is_dilated = shape.axes.iter().any(|axis| axis.input_dilation > 1);
    if is_dilated || shape.flip {
        return Err(Error::Parameter {
            op: "conv_weight_gradient",
            what: "input_dilation",
            wanted: "1, of a kernel that is not flipped",
            got: shape.axes[0].input_dilation,
        });
    }
    if gradient.is_empty() {
        return Ok(());
    }
    let mut sums = vec![0.0; gradient.len()];
    if by_tiles(shape, x, cotangent, &mut sums) {
        T::store(&sums, gradient);
        return Ok(());
    }
    let (wide_x, wide_cotangent);
    let (x, cotangent) = if T::IS_F32 {
        (T::read(x, &mut []), T::read(cotangent, &mut []))
    } else {
        (wide_x, wide_cotangent) = (to_f32_vec(x), to_f32_vec(cotangent));
        (&*wide_x, &*wide_cotangent)
    };
    sums.fill(0.0);
    if cotangent.is_empty() || x.is_empty() {
    } else if is_depthwise(shape) {
        depthwise(shape, x, cotangent, &mut sums);
    } else {
        by_groups(shape, x, cotangent, &mut sums);
    }
    T::store(&sums, gradient);
    Ok(())
}

fn is_depthwise(shape: Conv<'_>) -> bool {
    shape.channels == shape.groups && shape.outputs == shape.groups
}

/// The fewest outputs of a part.
const LEAST_DEPTH: usize = 512;

/// A product for each group and each part of the outputs.
fn by_groups(shape: Conv<'_>, x: &[f32], cotangent: &[f32], out: &mut [f32]) {
    let axes = shape.three_axes();
    let outputs: usize = axes.iter().map(|axis| axis.output).product();
    let (rows, columns) = (shape.outputs / shape.groups, shape.depth());
    let all = shape.batch * outputs;
    // About the blocks of a product that is not cut.
    let blocks = rows.div_ceil(128) * columns.div_ceil(512) * shape.groups;
    let parts = (4 * threads())
        .div_ceil(blocks)
        .min(all / LEAST_DEPTH)
        .max(1);
    let depth = all.div_ceil(parts);
    let (parts, last) = (all / depth, all % depth);
    let product = Gradient {
        depth,
        ..Gradient::of(shape, x, cotangent)
    };
    let sizes = |batch, depth| Sizes {
        batch,
        rows,
        groups: 1,
        depth,
        columns,
    };
    if parts == 1 && last == 0 {
        multiply(sizes(shape.groups, depth), &product, out);
        return;
    }
    let mut sums = Scratch::new(out.len() * parts);
    multiply(
        sizes(shape.groups * parts, depth),
        &product,
        sums.as_mut_slice(),
    );
    for part in sums.as_slice().chunks_exact(out.len()) {
        add(out, part);
    }
    if last > 0 {
        let rest = Gradient {
            depth: last,
            first: parts * depth,
            ..product
        };
        let mut sums = Scratch::new(out.len());
        multiply(sizes(shape.groups, last), &rest, sums.as_mut_slice());
        add(out, sums.as_slice());
    }
}

fn add(out: &mut [f32], part: &[f32]) {
    for (out, part) in out.iter_mut().zip(part) {
        *out += part;
    }
}

/// Computes the gradient of `bf16` with matrix tiles, where that is possible.
fn by_tiles<T: Element>(shape: Conv<'_>, x: &[T], cotangent: &[T], out: &mut [f32]) -> bool {
    let (Some(x), Some(cotangent)) = (T::as_bf16(x), T::as_bf16(cotangent)) else {
        return false;
    };
    if cotangent.is_empty() || x.is_empty() || is_depthwise(shape) {
        return false;
    }
    let product = Gradient::of(shape, x, cotangent);
    matrix_tiles::multiply(product.sizes(shape), &product, out)
}

/// A product for each group, of factors that are read as numbers of the type `N`.
#[derive(Clone, Copy)]
struct Gradient<'a, N> {
    x: &'a [N],
    cotangent: &'a [N],
    axes: [ConvAxis; 3],
    channels: usize,
    /// Input and output channels of a group.
    width: usize,
    rows: usize,
    outputs: usize,
    groups: usize,
    /// Outputs of one channel in a part, and before the first one.
    depth: usize,
    first: usize,
}

impl<'a, N: Copy> Gradient<'a, N> {
    fn of(shape: Conv<'_>, x: &'a [N], cotangent: &'a [N]) -> Self {
        let axes = shape.three_axes();
        let outputs: usize = axes.iter().map(|axis| axis.output).product();
        Self {
            x,
            cotangent,
            axes,
            channels: shape.channels,
            width: shape.channels / shape.groups,
            rows: shape.outputs / shape.groups,
            outputs: shape.outputs,
            groups: shape.groups,
            depth: shape.batch * outputs,
            first: 0,
        }
    }

    fn sizes(&self, shape: Conv<'_>) -> Sizes {
        Sizes {
            batch: shape.groups,
            rows: self.rows,
            groups: 1,
            depth: self.depth,
            columns: shape.depth(),
        }
    }

    fn rows(&self, number: usize) -> Strided<'a, N> {
        let (part, group) = (number / self.groups, number % self.groups);
        let first = self.first + part * self.depth;
        Strided {
            data: self.cotangent,
            start: first * self.outputs + group * self.rows,
            row_stride: 1,
            column_stride: self.outputs,
            columns: self.depth,
        }
    }

    fn columns(&self, number: usize) -> WindowElements<'a, N> {
        let (part, group) = (number / self.groups, number % self.groups);
        WindowElements {
            first_output: self.first + part * self.depth,
            x: self.x,
            axes: self.axes,
            channels: self.channels,
            width: self.width,
            first_channel: group * self.width,
        }
    }
}

impl<'a> Product for Gradient<'a, f32> {
    type Left = Strided<'a, f32>;
    type Right = WindowElements<'a, f32>;
    type Output = f32;

    fn left(&self, number: usize, _: usize) -> Strided<'a, f32> {
        self.rows(number)
    }

    fn stores_sums(&self) -> bool {
        true
    }

    fn right(&self, number: usize, _: usize) -> WindowElements<'a, f32> {
        self.columns(number)
    }
}

impl<'a> PairProduct for Gradient<'a, bf16> {
    type Left = Strided<'a, bf16>;
    type Right = WindowElements<'a, bf16>;
    type Output = f32;

    fn left(&self, number: usize, _: usize) -> Strided<'a, bf16> {
        self.rows(number)
    }

    fn right(&self, number: usize, _: usize) -> WindowElements<'a, bf16> {
        self.columns(number)
    }
}

/// Rows of windows that are copied before they are packed in pairs: an even number.
const COPIED_ROWS: usize = 64;

/// The elements of all windows of a group: a row for each output of a part.
struct WindowElements<'a, N> {
    first_output: usize,
    x: &'a [N],
    axes: [ConvAxis; 3],
    channels: usize,
    width: usize,
    first_channel: usize,
}

impl RightColumns for WindowElements<'_, f32> {
    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        _: S,
        rows: (usize, usize),
        columns: (usize, usize),
        tile: usize,
        out: &mut [f32],
    ) {
        self.copy(rows, columns, tile, out, copy_in_registers::<S>);
    }
}

impl RightPairs for WindowElements<'_, bf16> {
    #[inline(always)]
    fn pack_pairs<S: Simd>(
        &self,
        _: S,
        (first, count): (usize, usize),
        columns: (usize, usize),
        out: &mut [u32],
    ) -> Magnitudes {
        let (width, depth) = (columns.1, n_pairs(count));
        clear_pairs(count.div_ceil(2), depth, out);
        let mut rows = Scratch::of::<bf16>(COPIED_ROWS * width);
        let rows = &mut rows.as_mut_slice_of::<bf16>()[..COPIED_ROWS * width];
        let mut magnitudes = Magnitudes::NONE;
        for row in (0..count).step_by(COPIED_ROWS) {
            let n_rows = COPIED_ROWS.min(count - row);
            let rows = &mut rows[..n_rows * width];
            self.copy((first + row, n_rows), columns, width, rows, copy_in_steps);
            let least = pack_rows::<S>(rows, (0, width), (n_rows, width), (row / 2, depth), out);
            magnitudes = magnitudes.and(least);
        }
        magnitudes
    }
}

/// Copies numbers in registers, as [`copy_in_registers`] does.
#[inline(always)]
fn copy_in_steps(from: &[bf16], to: &mut [bf16]) {
    let (from, from_rest) = from.as_chunks::<STEP>();
    let (to, to_rest) = to.as_chunks_mut::<STEP>();
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
}

impl<N: Pod> WindowElements<'_, N> {
    /// Writes `rows` rows of some columns, `[rows, tile]`, by a function that copies adjacent elements.
    #[inline(always)]
    fn copy(
        &self,
        (first, rows): (usize, usize),
        (column, columns): (usize, usize),
        tile: usize,
        out: &mut [N],
        copy: impl Fn(&[N], &mut [N]),
    ) {
        let [a, b, c] = &self.axes;
        // Channels of one element of the window: its place, the first of them, where they go, and how many.
        let mut runs = Vec::with_capacity(columns / self.width + 2);
        let mut at = 0;
        while at < columns {
            let (element, channel) = ((column + at) / self.width, (column + at) % self.width);
            let (line, k) = (element / c.kernel, element % c.kernel);
            let place = [line / b.kernel, line % b.kernel, k];
            let count = (self.width - channel).min(columns - at);
            runs.push((place, self.first_channel + channel, at, count));
            at += count;
        }
        // Where a run is, counted from the first element of a window that is inside.
        let offset = |[i, j, k]: [usize; 3]| {
            let line = i * a.kernel_dilation * b.input + j * b.kernel_dilation;
            line * c.input + k * c.kernel_dilation
        };
        let mut inside: Vec<(usize, usize, usize)> = Vec::with_capacity(runs.len());
        for &(place, channel, at, count) in &runs {
            let from = offset(place) * self.channels + channel;
            // Neighbours along the last axis are neighbours in memory too, if they have all channels.
            match inside.last_mut() {
                Some((before, _, so_far)) if *before + *so_far == from => *so_far += count,
                _ => inside.push((from, at, count)),
            }
        }
        let first = self.first_output + first;
        for (row, out) in (first..first + rows).zip(out.chunks_exact_mut(tile)) {
            let (line, k) = (row / c.output, row % c.output);
            let (plane, j) = (line / b.output, line % b.output);
            let (batch, i) = (plane / a.output, plane % a.output);
            let begin = [a.begin(i), b.begin(j), c.begin(k)];
            out[columns..].fill(N::zeroed());
            if a.is_inside(begin[0]) && b.is_inside(begin[1]) && c.is_inside(begin[2]) {
                let [i, j, k] = begin.map(isize::cast_unsigned);
                let pixel = ((batch * a.input + i) * b.input + j) * c.input + k;
                let x = &self.x[pixel * self.channels..];
                for &(from, at, count) in &inside {
                    copy(&x[from..][..count], &mut out[at..at + count]);
                }
                continue;
            }
            for &(place, channel, at, count) in &runs {
                let out = &mut out[at..at + count];
                let index = a.index(begin[0], place[0]).zip(b.index(begin[1], place[1]));
                let index = index.zip(c.index(begin[2], place[2]));
                let Some(((i, j), k)) = index else {
                    out.fill(N::zeroed());
                    continue;
                };
                let pixel = ((batch * a.input + i) * b.input + j) * c.input + k;
                copy(&self.x[pixel * self.channels + channel..][..count], out);
            }
        }
    }
}

/// One input and one output channel to a group.
fn depthwise(shape: Conv<'_>, x: &[f32], cotangent: &[f32], out: &mut [f32]) {
    let axes = shape.three_axes();
    let (channels, window) = (shape.channels, shape.depth());
    let lines = shape.batch * axes[0].output * axes[1].output;
    let per_task = lines.div_ceil(8 * threads());
    let n_tasks = lines.div_ceil(per_task);
    // The sums of a task: [window, channels].
    let mut all = vec![0.0; n_tasks * window * channels];
    parallel_for(
        all.chunks_exact_mut(window * channels).enumerate(),
        NANOSECONDS * (cotangent.len() * window) as f64,
        || (),
        |(), (task, sums)| {
            simd::dispatch(Depthwise {
                axes: &axes,
                channels,
                x,
                cotangent,
                lines: (task * per_task, ((task + 1) * per_task).min(lines)),
                sums,
            });
        },
    );
    for sums in all.chunks_exact(window * channels) {
        for (element, sums) in sums.chunks_exact(channels).enumerate() {
            for (channel, sum) in sums.iter().enumerate() {
                out[channel * window + element] += sum;
            }
        }
    }
}

/// Some lines of the output, from the first to the one before the second number.
struct Depthwise<'a> {
    axes: &'a [ConvAxis; 3],
    channels: usize,
    x: &'a [f32],
    cotangent: &'a [f32],
    lines: (usize, usize),
    /// `[window, channels]`.
    sums: &'a mut [f32],
}

impl WithSimd for Depthwise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [a, b, c] = self.axes;
        for line in self.lines.0..self.lines.1 {
            let (plane, j) = (line / b.output, line % b.output);
            let (batch, i) = (plane / a.output, plane % a.output);
            let cotangent = &self.cotangent[line * c.output * self.channels..];
            for element in 0..a.kernel * b.kernel {
                let index = a.index(a.begin(i), element / b.kernel);
                let Some((i, j)) = index.zip(b.index(b.begin(j), element % b.kernel)) else {
                    continue;
                };
                let from = ((batch * a.input + i) * b.input + j) * c.input * self.channels;
                let x = &self.x[from..][..c.input * self.channels];
                for first in (0..self.channels).step_by(S::F32_LANES) {
                    let count = S::F32_LANES.min(self.channels - first);
                    let channels = (first, count, self.channels);
                    let sums = &mut self.sums[element * c.kernel * self.channels..];
                    for k in (0..c.kernel).step_by(TAPS) {
                        let sums = &mut sums[k * self.channels..];
                        match c.kernel - k {
                            1 => taps::<S, 1>(simd, c, k, channels, (x, cotangent), sums),
                            2 => taps::<S, 2>(simd, c, k, channels, (x, cotangent), sums),
                            _ => taps::<S, TAPS>(simd, c, k, channels, (x, cotangent), sums),
                        }
                    }
                }
            }
        }
    }
}

/// Elements of a window along the last axis whose sums are in registers together.
const TAPS: usize = 3;

/// Adds the products of a line for elements `k..k + COUNT` of the window and a register of channels.
#[inline(always)]
fn taps<S: Simd, const COUNT: usize>(
    simd: S,
    axis: &ConvAxis,
    k: usize,
    (first, count, channels): (usize, usize, usize),
    (x, cotangent): (&[f32], &[f32]),
    sums: &mut [f32],
) {
    let load = |numbers: &[f32], pixel: usize| {
        let numbers = &numbers[pixel * channels + first..][..count];
        match S::as_simd_f32s(numbers) {
            ([all], []) => *all,
            _ => simd.partial_load_f32s(numbers),
        }
    };
    // The outputs for which all these elements are inside.
    let (step, from) = (axis.kernel_dilation, k * axis.kernel_dilation);
    let low = axis.padding.saturating_sub(from).div_ceil(axis.stride);
    let end = (axis.input + axis.padding).saturating_sub(from + (COUNT - 1) * step);
    let low = low.min(axis.output);
    let high = end.div_ceil(axis.stride).clamp(low, axis.output);
    // Two outputs at a time have sums of their own, so that additions do not wait for each other.
    let mut totals = [[simd.splat_f32s(0.0); COUNT]; 2];
    for output in (0..low).chain(high..axis.output) {
        let cotangent = load(cotangent, output);
        for (t, total) in totals[0].iter_mut().enumerate() {
            if let Some(pixel) = axis.index(axis.begin(output), k + t) {
                *total = simd.mul_add_f32s(load(x, pixel), cotangent, *total);
            }
        }
    }
    for output in low..high {
        let pixel = output * axis.stride + from - axis.padding;
        let cotangent = load(cotangent, output);
        let totals = &mut totals[output % 2];
        for (t, total) in totals.iter_mut().enumerate() {
            *total = simd.mul_add_f32s(load(x, pixel + t * step), cotangent, *total);
        }
    }
    for t in 0..COUNT {
        let sums = &mut sums[t * channels + first..][..count];
        let total = simd.add_f32s(totals[0][t], totals[1][t]);
        let total = simd.add_f32s(simd.partial_load_f32s(sums), total);
        simd.partial_store_f32s(sums, total);
    }
}
