//! Convolution over up to three axes, in MLX's layout.
//!
//! Formula: `out[n, o.., f] = sum over k.., c of x[n, (o * stride + k * kernel_dilation - padding) / input_dilation.., c] *
//! weight[f, k.., c]`, `x` being 0 outside and between its elements; with groups, `f` depends only on the channels of its
//! group; a flipped kernel has `weight[f, size - 1 - k.., c]`.
//! Blocking: implicit GEMM (`gemm/blocked.rs`), whose rows are windows, which are read in place as far as their elements are
//! adjacent. A kernel of one element with stride 1 is a plain product. Few channels to a group: `direct.rs`. An input with
//! zeros between its elements: a convolution for each phase (`phases.rs`).
//! Inputs of half precision are converted once, as each element is in many windows; `bf16` is not where the processor's
//! matrix tiles multiply it (`gemm/matrix_tiles.rs`).
//! Limit: multiplications. Error: as in `gemm/blocked.rs`, with the elements of a window as depth.

use std::sync::atomic::{AtomicBool, Ordering};

use half::bf16;
use pulp::bytemuck::Pod;

use super::direct;
use super::phases::{self, Phase};
use super::shape::{Conv, ConvAxis, OP};
use super::windows::{Copies, Windows, tile_width};
use crate::element::{Element, to_f32_vec};
use crate::error::{Result, length};
use crate::gemm::blocked::{Product, Sizes, multiply, multiply_rows, pack};
use crate::gemm::factors::Strided;
use crate::gemm::matrix_tiles::{self, Packed, PairProduct};
use crate::gemm::scratch::Scratch;
use crate::parallel::{parallel_for, threads};
use crate::simd::amx::{STEP, Steps};

/// Nanoseconds of a multiplication with its addition on one thread.
const NANOSECONDS: f64 = 0.02;

/// Writes the convolution of `x` with `weight` to `out`.
///
/// `x` is `[batch, input.., channels]`, `weight` `[outputs, kernel.., channels / groups]`, `out` `[batch, output.., outputs]`.
/// As everywhere in machine learning, this is a cross-correlation, unless the kernel is flipped.
///
/// ```
/// use mlx_kernels::{Conv, ConvAxis, conv};
///
/// let axis = ConvAxis {
///     input: 2, kernel: 2, output: 2, stride: 1, padding: 1, kernel_dilation: 1, input_dilation: 1,
/// };
/// let shape = Conv { batch: 1, axes: &[axis; 2], channels: 1, outputs: 1, groups: 1, flip: false };
/// let mut out = [0.0; 4];
/// conv(shape, &[1.0, 2.0, 3.0, 4.0], &[1.0, 0.0, 0.0, -1.0], &mut out)?;
/// assert_eq!(out, [-1.0, -2.0, -3.0, -3.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When a size is 0 that must not be, groups do not divide the channels, or a length does not match the sizes.
pub fn conv<T: Element>(shape: Conv<'_>, x: &[T], weight: &[T], out: &mut [T]) -> Result<()> {
    (T::kernels().conv)(shape, x, weight, None, out)
}

/// Writes the convolution of `x` with `weight` as [`conv`] does, with a number for each output channel added.
///
/// # Errors
/// When [`conv`] refuses the sizes, or `bias` has more or fewer elements than there are output channels.
pub fn conv_with_bias<T: Element>(
    shape: Conv<'_>,
    x: &[T],
    weight: &[T],
    bias: &[T],
    out: &mut [T],
) -> Result<()> {
    length(OP, "bias", shape.outputs, bias.len())?;
    (T::kernels().conv)(shape, x, weight, Some(bias), out)
}

/// [`conv`], compiled in this crate.
pub(crate) fn conv_instance<T: Element>(
    shape: Conv<'_>,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) -> Result<()> {
    shape.check(x.len(), weight.len(), out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let flipped;
    let weight = if shape.flip {
        flipped = flip(shape, weight);
        &flipped
    } else {
        weight
    };
    let bias = bias.map(to_f32_vec);
    let bias = bias.as_deref();
    if direct::applies(shape) {
        direct::run(shape, x, weight, bias, out);
        return Ok(());
    }
    let axes = shape.three_axes();
    let weight = Strided {
        data: weight,
        start: 0,
        row_stride: 1,
        column_stride: shape.depth(),
        columns: shape.outputs / shape.groups,
    };
    if by_tiles(shape, x, weight, bias, out) {
        return Ok(());
    }
    if axes.iter().all(is_plain) && shape.groups == 1 {
        multiply(sizes(shape, &axes), &plain(shape, x, weight, bias), out);
        return Ok(());
    }
    let converted;
    let x = if T::IS_F32 {
        T::read(x, &mut [])
    } else {
        converted = to_f32_vec(x);
        &converted
    };
    let product = Implicit::of(shape, x, weight, bias);
    if phases::is_dilated(&axes) {
        by_phases(shape, &product, out);
    } else {
        multiply(sizes(shape, &axes), &product, out);
    }
    Ok(())
}

/// Computes a convolution of `bf16` with matrix tiles, where that is possible.
fn by_tiles<T: Element>(
    shape: Conv<'_>,
    x: &[T],
    weight: Strided<'_, T>,
    bias: Option<&[f32]>,
    out: &mut [T],
) -> bool {
    let (Some(x), Some(data), Some(out)) =
        (T::as_bf16(x), T::as_bf16(weight.data), T::as_bf16_mut(out))
    else {
        return false;
    };
    let weight = weight.with(data);
    let axes = shape.three_axes();
    let sizes = sizes(shape, &axes);
    if !matrix_tiles::applies(sizes) {
        return false;
    }
    if axes.iter().all(is_plain) && shape.groups == 1 {
        return matrix_tiles::multiply(sizes, &plain(shape, x, weight, bias), out);
    }
    let product = Implicit::of(shape, x, weight, bias);
    if phases::is_dilated(&axes) {
        return by_phases(shape, &product, out);
    }
    if !Copies::are_for_tiles(&axes, product.width) {
        return matrix_tiles::multiply(sizes, &product, out);
    }
    let filled = fill_pixels(weight.data, product.width);
    let (data, depth) = match &filled {
        Some(filled) => (filled.as_slice(), filled.len() / shape.outputs),
        None => (weight.data, sizes.depth),
    };
    let weight = Strided {
        data,
        column_stride: depth,
        ..weight
    };
    let product = Implicit {
        weight,
        copies: Copies::ForTiles,
        ..product
    };
    matrix_tiles::multiply(Sizes { depth, ..sizes }, &product, out)
}

/// The weights with zeros behind the channels of each pixel, as tiles read them; `None` if there are enough channels.
fn fill_pixels(weight: &[bf16], width: usize) -> Option<Vec<bf16>> {
    let filled = tile_width(width);
    if filled == width {
        return None;
    }
    let mut out = vec![bf16::ZERO; weight.len() / width * filled];
    let pixels = weight.chunks_exact(width);
    for (pixel, out) in pixels.zip(out.chunks_exact_mut(filled)) {
        out[..width].copy_from_slice(pixel);
    }
    Some(out)
}

/// The sizes of the product that a convolution over these axes is.
fn sizes(shape: Conv<'_>, axes: &[ConvAxis; 3]) -> Sizes {
    let width = shape.channels / shape.groups;
    Sizes {
        batch: 1,
        rows: axes.iter().map(|axis| axis.output).product::<usize>() * shape.batch,
        groups: shape.groups,
        depth: axes.iter().map(|axis| axis.kernel).product::<usize>() * width,
        columns: shape.outputs / shape.groups,
    }
}

/// Computes a convolution whose input is dilated: all phases in one loop, a task for some outputs of one, whose weights are
/// packed before. False if that is so of one of the tasks.
fn by_phases<N: Input<T>, T: Element>(
    shape: Conv<'_>,
    whole: &Implicit<'_, N, T>,
    out: &mut [T],
) -> bool {
    let axes = whole.axes;
    let counts = axes.map(|axis| phases::count(&axis));
    let all = phases::split_rows(&axes, shape.outputs, out);
    let mut phases = Vec::new();
    for (number, mut rows) in all.into_iter().enumerate() {
        if rows.is_empty() {
            continue;
        }
        let place = [
            number / counts[2] / counts[1],
            number / counts[2] % counts[1],
            number % counts[2],
        ];
        let [Some(first), Some(second), Some(third)] =
            [0, 1, 2].map(|axis| Phase::of(&axes[axis], place[axis]))
        else {
            match whole.bias {
                Some(bias) => rows.iter_mut().for_each(|row| T::store(bias, row)),
                None => rows.iter_mut().for_each(|row| row.fill(T::default())),
            }
            continue;
        };
        let three = [first, second, third];
        let weight = phases::weights(&axes, &three, whole.width, whole.weight.data);
        phases.push((three.map(|phase| phase.axis), weight, rows));
    }
    let products = phases.iter_mut().map(|(axes, weight, rows)| {
        let sizes = Sizes {
            rows: rows.len(),
            ..sizes(shape, axes)
        };
        let product = Implicit {
            axes: *axes,
            weight: Strided {
                data: weight.as_slice(),
                column_stride: sizes.depth,
                ..whole.weight
            },
            ..*whole
        };
        (sizes, N::pack(sizes, &product), product, rows)
    });
    let mut products: Vec<_> = products.collect();
    let cost = |sizes: &Sizes| {
        NANOSECONDS * (sizes.rows * sizes.groups) as f64 * (sizes.depth * sizes.columns) as f64
    };
    let nanoseconds: f64 = products.iter().map(|(sizes, ..)| cost(sizes)).sum();
    let mut tasks = Vec::new();
    for (sizes, packed, product, rows) in &mut products {
        let share = cost(sizes) / nanoseconds;
        let parts = (4.0 * threads() as f64 * share).ceil().max(1.0) as usize;
        let part = rows.len().div_ceil(parts).next_multiple_of(8);
        let rows = rows.chunks_mut(part).enumerate();
        tasks.extend(rows.map(|(number, rows)| (*sizes, &*product, &*packed, number * part, rows)));
    }
    let are_done = AtomicBool::new(true);
    parallel_for(
        tasks.into_iter(),
        nanoseconds,
        || (),
        |(), (sizes, product, packed, first, rows)| {
            let sizes = Sizes {
                rows: rows.len(),
                ..sizes
            };
            if !N::multiply_rows(sizes, product, packed, first, rows) {
                are_done.store(false, Ordering::Relaxed);
            }
        },
    );
    are_done.into_inner()
}

/// Whether each output is made of the element in its place.
fn is_plain(axis: &ConvAxis) -> bool {
    axis.kernel == 1
        && axis.padding == 0
        && axis.output == axis.input
        && (axis.stride == 1 || axis.output == 1)
        && (axis.input_dilation == 1 || axis.input == 1)
}

/// The weights with the elements of each window in reverse order.
fn flip<T: Element>(shape: Conv<'_>, weight: &[T]) -> Vec<T> {
    let width = (shape.channels / shape.groups).max(1);
    let windows = weight.chunks_exact(shape.depth().max(1));
    windows
        .flat_map(|window| window.chunks_exact(width).rev().flatten().copied())
        .collect()
}

fn plain<'a, T: Element>(
    shape: Conv<'_>,
    x: &'a [T],
    weight: Strided<'a, T>,
    bias: Option<&'a [f32]>,
) -> Plain<'a, T> {
    let x = Strided {
        data: x,
        start: 0,
        row_stride: shape.channels,
        column_stride: 1,
        columns: shape.channels,
    };
    Plain { x, weight, bias }
}

/// A convolution whose windows are single elements.
struct Plain<'a, T> {
    x: Strided<'a, T>,
    weight: Strided<'a, T>,
    bias: Option<&'a [f32]>,
}

impl<'a, T: Element> Product for Plain<'a, T> {
    type Left = Strided<'a, T>;
    type Right = Strided<'a, T>;
    type Output = T;

    fn left(&self, _: usize, _: usize) -> Strided<'a, T> {
        self.x
    }

    fn stores_sums(&self) -> bool {
        true
    }

    fn start(&self, _: usize) -> Option<&[f32]> {
        self.bias
    }

    fn right(&self, _: usize, _: usize) -> Strided<'a, T> {
        self.weight
    }
}

impl<'a> PairProduct for Plain<'a, bf16> {
    type Left = Strided<'a, bf16>;
    type Right = Strided<'a, bf16>;
    type Output = bf16;

    fn left(&self, _: usize, _: usize) -> Strided<'a, bf16> {
        self.x
    }

    fn start(&self, _: usize) -> Option<&[f32]> {
        self.bias
    }

    fn right(&self, _: usize, _: usize) -> Strided<'a, bf16> {
        self.weight
    }
}

/// A convolution whose input is read as numbers of the type `N`.
struct Implicit<'a, N, T> {
    x: &'a [N],
    axes: [ConvAxis; 3],
    channels: usize,
    /// Channels of a group.
    width: usize,
    weight: Strided<'a, T>,
    /// A number for each output channel.
    bias: Option<&'a [f32]>,
    copies: Copies,
}

/// What the input is read as: `f32`, or `bf16` for matrix tiles.
trait Input<T>: Pod + Sync {
    /// Packed weights.
    type Packed: Sync;
    /// What is copied, if nothing else is asked for.
    const COPIES: Copies;

    fn pack(sizes: Sizes, product: &Implicit<'_, Self, T>) -> Self::Packed;

    /// Computes some rows on this thread; false if that is not possible.
    fn multiply_rows(
        sizes: Sizes,
        product: &Implicit<'_, Self, T>,
        packed: &Self::Packed,
        first: usize,
        rows: &mut [&mut [T]],
    ) -> bool;
}

impl<T: Element> Input<T> for f32 {
    type Packed = Scratch;
    const COPIES: Copies = Copies::Narrow;

    fn pack(sizes: Sizes, product: &Implicit<'_, Self, T>) -> Scratch {
        pack(sizes, product)
    }

    fn multiply_rows(
        sizes: Sizes,
        product: &Implicit<'_, Self, T>,
        packed: &Scratch,
        first: usize,
        rows: &mut [&mut [T]],
    ) -> bool {
        multiply_rows(sizes, product, packed, first, rows);
        true
    }
}

impl Input<Self> for bf16 {
    type Packed = Option<Packed>;
    const COPIES: Copies = Copies::Short;

    fn pack(sizes: Sizes, product: &Implicit<'_, Self, Self>) -> Option<Packed> {
        Packed::of_first(product, sizes)
    }

    fn multiply_rows(
        sizes: Sizes,
        product: &Implicit<'_, Self, Self>,
        packed: &Option<Packed>,
        first: usize,
        rows: &mut [&mut [Self]],
    ) -> bool {
        matrix_tiles::multiply_rows(sizes, product, packed.as_ref(), first, rows)
    }
}

impl<'a, N: Input<T>, T: Element> Implicit<'a, N, T> {
    fn of(shape: Conv<'_>, x: &'a [N], weight: Strided<'a, T>, bias: Option<&'a [f32]>) -> Self {
        Self {
            x,
            axes: shape.three_axes(),
            channels: shape.channels,
            width: shape.channels / shape.groups,
            weight,
            bias,
            copies: N::COPIES,
        }
    }

    fn windows(&self, group: usize) -> Windows<'a, N> {
        let channels = (group * self.width, self.width);
        Windows::new(self.x, self.axes, self.channels, channels, self.copies)
    }

    fn bias(&self, group: usize) -> Option<&'a [f32]> {
        let columns = self.weight.columns;
        self.bias.map(|bias| &bias[group * columns..][..columns])
    }

    fn weight(&self, group: usize) -> Strided<'a, T> {
        let weight = self.weight;
        Strided {
            start: group * weight.columns * weight.column_stride,
            ..weight
        }
    }
}

impl<'a, T: Element> Product for Implicit<'a, f32, T> {
    type Left = Windows<'a>;
    type Right = Strided<'a, T>;
    type Output = T;

    fn left(&self, _: usize, group: usize) -> Windows<'a> {
        self.windows(group)
    }

    fn stores_sums(&self) -> bool {
        true
    }

    fn start(&self, group: usize) -> Option<&[f32]> {
        self.bias(group)
    }

    fn right(&self, _: usize, group: usize) -> Strided<'a, T> {
        self.weight(group)
    }
}

impl<'a> PairProduct for Implicit<'a, bf16, bf16> {
    type Left = Windows<'a, bf16>;
    type Right = Strided<'a, bf16>;
    type Output = bf16;

    fn left(&self, _: usize, group: usize) -> Windows<'a, bf16> {
        self.windows(group)
    }

    fn start(&self, group: usize) -> Option<&[f32]> {
        self.bias(group)
    }

    fn depth_of_block(&self) -> usize {
        match self.copies {
            // Windows overlap, so that the L1 cache holds more of them than of other rows.
            Copies::ForTiles => Steps::MOST * STEP,
            Copies::Narrow | Copies::Short => matrix_tiles::KC,
        }
    }

    fn right(&self, _: usize, group: usize) -> Strided<'a, bf16> {
        self.weight(group)
    }
}
