//! A quantized matrix times vectors, for MLX's affine layouts of 2, 3, 4, 6 and 8 bits with groups of 32, 64 or 128.
//!
//! A row is a stream of bits in `u32`, from the low bits up; a group of numbers shares a scale and a bias, and a weight is
//! `scale * number + bias`. So a row times a vector is
//! `sum over groups of scale * sum(number * x) + sum over groups of bias * sum(x)`.
//!
//! - Few vectors (`gemv`): the row is cut into units of one word, or of three where numbers cross words, and the units lie
//!   across the lanes of registers; vectors are reordered once to meet them. Limit: about four instructions for each
//!   register of numbers, shared by four vectors, then the bandwidth of the weights.
//! - Many vectors (`gemm`): rows are unpacked once for all and multiplied in tiles. Limit: multiply-adds.
//! - With 8-bit vectors (`gemv_i8`): as few vectors, but bytes are multiplied and four products are added at once.
//! - Four and eight bits with AVX-512 VNNI (`avx512`), rounded vectors or not. Four bits, 4096 x 4096 in
//!   groups of 64, one vector, two threads, milliseconds, tried one after another. In bytes: 0.28 with products of pairs and scales spread in memory;
//!   0.14 with VNNI, permuted scales and reading ahead; 0.13 with vectors that lie on lines of the cache. In `f32`: 0.45 with
//!   shifts and conversions; 0.36 with numbers set into the bits of a power of two; 0.35 with vectors on lines.
//!   Four vectors in `f32` went from 1.5 to 1.4, and to 1.0 when four rows met 16 groups of them before the next 16.
//!   Looking numbers up by permutation takes as many instructions as cutting them out.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod gemm;
mod gemv;
mod gemv_i8;
mod layout;
mod rows;
mod simd_i8;

use crate::element::Element;
use crate::error::{Error, Result, length, product};
use crate::gemm::MatrixShape;

/// From this many vectors on, unpacking rows for tiles is faster.
const MANY: usize = 9;
/// The same for 4 and 8 bits in registers of 512 bits.
const MANY_WIDE: usize = 12;
/// The same for vectors of 8 bits.
const MANY_INT8: usize = 16;

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
        #[cfg(target_arch = "x86_64")]
        if vectors < MANY_WIDE && avx512::multiply(matrix, x, out) {
            return;
        }
        if vectors >= MANY {
            gemm::multiply(matrix, vectors, x, out);
        } else {
            gemv::multiply(matrix, x, out);
        }
    });
    Ok(())
}

/// Writes `x * transpose(matrix)` to `out` with `x` rounded to 8 bits: `x` is `[vectors, columns]`, `out` is
/// `[vectors, rows]`.
///
/// From 16 vectors on, nothing is rounded: then [`quantized_matmul`] is as fast, and it runs. Before that,
/// each group of `group_size` numbers of `x` is rounded to multiples of `max|x| / 127`; what its sum loses by that is
/// added back, so a constant added to all numbers of a matrix changes nothing in the error. It is at most
/// `sum over groups of max|x| / 254 * sum(|scale * (number - middle)|)` with `middle = 2^(bits - 1)`,
/// plus `2^-24 * (16 + columns / 16)` of `sum((scale * number + |bias|) * |x|)`; with random numbers it is about
/// `max|x| / 440` of the root of the sum of the squares.
/// A group with a number that is not finite makes the results of its vector not a number.
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
    if vectors >= MANY_INT8 {
        return quantized_matmul(matrix, vectors, x, out);
    }
    in_f32(x, out, |x, out| {
        #[cfg(target_arch = "x86_64")]
        if avx512::multiply_bytes(matrix, x, out) {
            return;
        }
        gemv_i8::multiply(matrix, x, out);
    });
    Ok(())
}

/// Lets `run` see `x` and `out` as `f32`; results in half precision are rounded after.
fn in_f32<T: Element>(x: &[T], out: &mut [T], run: impl FnOnce(&[f32], &mut [f32])) {
    if out.is_empty() || x.is_empty() {
        out.fill(T::default());
        return;
    }
    let room = |count| vec![0.0; if T::IS_F32 { 0 } else { count }];
    let (mut wide_x, mut wide_out) = (room(x.len()), room(out.len()));
    let x = T::read(x, &mut wide_x);
    T::write(out, &mut wide_out, |out| run(x, out));
}
