//! A quantized matrix times vectors, for MLX's affine layouts of 2, 3, 4, 6 and 8 bits with groups of 32, 64 or 128.
//!
//! A row is a stream of bits in `u32`, from the low bits up; a group of numbers shares a scale and a bias, and a weight is
//! `scale * number + bias`. So a row times a vector is
//! `sum over groups of scale * sum(number * x) + sum over groups of bias * sum(x)`.
//!
//! - A few vectors (`gemv`): the row is cut into units of one word, or of three where numbers cross words, and the units
//!   fill the lanes of registers; vectors are reordered once to match. Limit: about four instructions for each register of
//!   numbers, shared by four vectors, then the bandwidth of the weights. With vectors rounded to 8 bits
//!   (`activations_i8`), bytes are multiplied and four products are added at once.
//! - Many vectors (`gemm`): rows are unpacked once for all and multiplied in tiles. Limit: multiply-adds.
//! - Four and eight bits with AVX-512 VNNI (`avx512`), activations rounded or not.
//!
//! Decision 26 has the measurements.

mod activations_f32;
mod activations_i8;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod gemm;
mod gemv;
mod layout;
mod rows;
mod simd_i8;

use activations_f32::F32Activations;
use activations_i8::I8Activations;
#[cfg(target_arch = "x86_64")]
use avx512::ActivationType;

use crate::element::Element;
use crate::error::{Error, Result, length, product};
use crate::gemm::MatrixShape;

/// From this many vectors on, unpacking rows for tiles is faster.
const GEMM_MIN_VECTORS: usize = 9;
/// The same for 4 and 8 bits with AVX-512 VNNI.
const GEMM_MIN_VECTORS_AVX512: usize = 12;
/// The same for vectors of 8 bits.
const GEMM_MIN_VECTORS_I8: usize = 16;

/// A matrix in MLX's affine layout, with scales and biases in `f32`, `f16` or `bf16`.
#[derive(Clone, Copy, Debug)]
pub struct Quantized<'a, S = f32> {
    /// The sizes of the matrix, before packing.
    pub shape: MatrixShape,
    /// 2, 3, 4, 6 or 8.
    pub bits: usize,
    /// How many weights share a scale: 32, 64 or 128.
    pub group_size: usize,
    /// `[rows, columns * bits / 32]`.
    pub weights: &'a [u32],
    /// `[rows, columns / group_size]`.
    pub scales: &'a [S],
    /// `[rows, columns / group_size]`.
    pub biases: &'a [S],
}

impl<S> Quantized<'_, S> {
    /// Refuses what is none of MLX's layouts, and lengths that do not match.
    fn check(&self, op: &'static str, vectors: usize, x: usize, out: usize) -> Result<()> {
        let refuse = |what, wanted, got| {
            Err(Error::Parameter {
                op,
                what,
                wanted,
                got,
            })
        };
        if !matches!(self.bits, 2 | 3 | 4 | 6 | 8) {
            return refuse("bits", "2, 3, 4, 6 or 8", self.bits);
        }
        if !matches!(self.group_size, 32 | 64 | 128) {
            return refuse("group_size", "32, 64 or 128", self.group_size);
        }
        let MatrixShape { rows, columns } = self.shape;
        if !columns.is_multiple_of(self.group_size) {
            return refuse("columns", "a multiple of group_size", columns);
        }
        let words = product(op, &[rows, columns / 32, self.bits])?;
        let groups = product(op, &[rows, columns / self.group_size])?;
        length(op, "weights", words, self.weights.len())?;
        length(op, "scales", groups, self.scales.len())?;
        length(op, "biases", groups, self.biases.len())?;
        length(op, "x", product(op, &[vectors, columns])?, x)?;
        length(op, "out", product(op, &[vectors, rows])?, out)
    }
}

/// Writes `x * transpose(matrix)` to `out`: `x` is `[vectors, columns]`, `out` is `[vectors, rows]`.
///
/// Vectors are not quantized: numbers are multiplied in `f32`, and scales are applied after or before.
/// Error: `2^-24 * (8 + min(columns, 512) + columns / 16)` of `sum((scale * number + |bias|) * |x|)`, and far less on
/// average; in half precision the result is then rounded once.
///
/// # Errors
/// When a length does not match the shape, or the layout is none of MLX's affine ones.
pub fn quantized_matmul<S: Element, T: Element>(
    matrix: Quantized<S>,
    vectors: usize,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    matrix.check("quantized_matmul", vectors, x.len(), out.len())?;
    in_f32(x, out, |x, out| {
        (S::kernels().quantized_matmul)(matrix, vectors, ActivationBits::F32, x, out);
    });
    Ok(())
}

/// What vectors are rounded to before they are multiplied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ActivationBits {
    /// Nothing.
    F32,
    /// 8 bits.
    I8,
}

/// [`quantized_matmul`] and [`quantized_matmul_int8`] of checked arguments, compiled in this crate.
pub(crate) fn quantized_matmul_instance<S: Element>(
    matrix: Quantized<S>,
    vectors: usize,
    activations: ActivationBits,
    x: &[f32],
    out: &mut [f32],
) {
    let is_rounded = activations == ActivationBits::I8;
    #[cfg(target_arch = "x86_64")]
    {
        let activations = if is_rounded {
            ActivationType::I8
        } else {
            ActivationType::F32
        };
        if (is_rounded || vectors < GEMM_MIN_VECTORS_AVX512)
            && avx512::gemv(matrix, x, activations, out)
        {
            return;
        }
    }
    if is_rounded {
        gemv::gemv::<I8Activations, _>(matrix, x, out);
    } else if vectors >= GEMM_MIN_VECTORS {
        gemm::gemm(matrix, vectors, x, out);
    } else {
        gemv::gemv::<F32Activations, _>(matrix, x, out);
    }
}

/// Writes `x * transpose(matrix)` to `out` with `x` rounded to 8 bits: `x` is `[vectors, columns]`, `out` is
/// `[vectors, rows]`.
///
/// From 16 vectors on, nothing is rounded: then [`quantized_matmul`] is as fast, and it runs. Before that,
/// each group of `group_size` numbers of `x` is rounded to multiples of `max|x| / 127`; the error of its sum is added
/// back, so a constant added to all numbers of a matrix changes nothing in the error. It is at most
/// `sum over groups of max|x| / 254 * sum(|scale * (number - middle)|)` with `middle = 2^(bits - 1)`,
/// plus `2^-24 * (16 + columns / 16)` of `sum((scale * number + |bias|) * |x|)`; with random numbers it is about
/// `max|x| / 440` of the root of the sum of the squares.
/// A group with a number that is not finite makes the results of its vector NaN.
///
/// # Errors
/// When a length does not match the shape, or the layout is none of MLX's affine ones.
pub fn quantized_matmul_int8<S: Element, T: Element>(
    matrix: Quantized<S>,
    vectors: usize,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    matrix.check("quantized_matmul_int8", vectors, x.len(), out.len())?;
    if vectors >= GEMM_MIN_VECTORS_I8 {
        return quantized_matmul(matrix, vectors, x, out);
    }
    in_f32(x, out, |x, out| {
        (S::kernels().quantized_matmul)(matrix, vectors, ActivationBits::I8, x, out);
    });
    Ok(())
}

/// Calls `run` with `x` and `out` in `f32`; results in half precision are rounded after.
fn in_f32<T: Element>(x: &[T], out: &mut [T], run: impl FnOnce(&[f32], &mut [f32])) {
    if out.is_empty() || x.is_empty() {
        out.fill(T::default());
        return;
    }
    let room = |count| vec![0.0; if T::IS_F32 { 0 } else { count }];
    let (mut x_f32, mut out_f32) = (room(x.len()), room(out.len()));
    let x = T::read(x, &mut x_f32);
    T::write(out, &mut out_f32, |out| run(x, out));
}
