//! Rows of 8-bit numbers with scales and biases beside them: keys and values that take a third of the memory of `f32`.
//!
//! A row of `dim` numbers in groups of `group_size` is `dim` bytes, then a scale for each group, then a bias for each, both
//! `f32` in the order of bytes of the processor. A number is `scale * byte + bias`.

use pulp::{Simd, WithSimd};

use super::decode::decode;
use super::head_rows::{Heads, RowBlocks};
use super::prefill::prefill;
use super::strided::{Strides, check_reach};
use super::{AttentionInputs, AttentionShape, MAX_DECODE_QUERIES, check};
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;
use crate::simd;

/// The size of a scale and of a bias.
const F32: usize = size_of::<f32>();
/// The largest number of 8 bits.
const MAX: f32 = 255.0;
/// The smallest scale: that of a group of equal numbers.
const MIN_SCALE: f32 = 1e-7;
/// Numbers that a task quantizes.
const TASK: usize = 1 << 14;

/// Rows of 8-bit numbers, as [`quantize_rows`] writes them.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedRows<'a> {
    /// The bytes, from the first of the first row.
    pub bytes: &'a [u8],
    /// The strides of the rows, in bytes.
    pub strides: Strides,
    /// The numbers that share a scale and a bias: a divisor of `dim`.
    pub group_size: usize,
}

/// Returns the bytes of a row of `dim` numbers in groups of `group_size`.
///
/// # Errors
/// When the groups do not divide a row.
pub fn quantized_row_bytes(dim: usize, group_size: usize) -> Result<usize> {
    const OP: &str = "quantized_rows";
    if group_size == 0 || !dim.is_multiple_of(group_size) {
        return Err(Error::Parameter {
            op: OP,
            what: "group_size",
            wanted: "a divisor of dim",
            got: group_size,
        });
    }
    let parameters = product(OP, &[dim / group_size, 2 * F32])?;
    dim.checked_add(parameters)
        .ok_or(Error::TooLarge { op: OP })
}

/// Writes rows of `dim` numbers in 8 bits to `out`: [`quantized_row_bytes`] for each.
///
/// A group's scale and bias are those of MLX's `quantize`: the number farthest from 0, and 0 where it is between others, are
/// exact. The error of a number is at most half a scale, of those at the other end at most one: `(max - min) / 254`. A group
/// with an infinity or NaN becomes NaN.
///
/// ```
/// use mlx_kernels::{dequantize_rows, quantize_rows};
/// let (mut bytes, mut back) = ([0; 10], [0.0; 2]);
/// quantize_rows(2, 2, &[0.0_f32, 5.0], &mut bytes)?;
/// dequantize_rows(2, 2, &bytes, &mut back)?;
/// assert_eq!(back, [0.0, 5.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When the groups do not divide a row, `rows` is not whole rows, or `out` has another length.
pub fn quantize_rows(dim: usize, group_size: usize, rows: &[f32], out: &mut [u8]) -> Result<()> {
    const OP: &str = "quantize_rows";
    let bytes = quantized_row_bytes(dim, group_size)?;
    let count = rows.len().checked_div(dim).unwrap_or(0);
    length(OP, "rows", count * dim, rows.len())?;
    length(OP, "out", product(OP, &[count, bytes])?, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let per_task = TASK.div_ceil(dim);
    let tasks = rows
        .chunks(per_task * dim)
        .zip(out.chunks_mut(per_task * bytes));
    parallel_for(
        tasks,
        rows.len() as f64,
        || (),
        |(), (rows, out)| {
            simd::dispatch(Quantize {
                dim,
                group_size,
                rows,
                out,
            });
        },
    );
    Ok(())
}

/// Writes rows of 8-bit numbers as `f32`: the inverse of [`quantize_rows`].
///
/// # Errors
/// As for [`quantize_rows`].
pub fn dequantize_rows(dim: usize, group_size: usize, rows: &[u8], out: &mut [f32]) -> Result<()> {
    const OP: &str = "dequantize_rows";
    let bytes = quantized_row_bytes(dim, group_size)?;
    let count = rows.len().checked_div(bytes).unwrap_or(0);
    length(OP, "rows", count * bytes, rows.len())?;
    length(OP, "out", product(OP, &[count, dim])?, out.len())?;
    if !out.is_empty() {
        let rows = Rows {
            bytes: rows,
            stride: bytes,
            row_bytes: bytes,
            dim,
            group_size,
        };
        rows.dequantize(out);
    }
    Ok(())
}

/// Writes attention over keys and values in 8 bits to `out`, as [`attention`](super::attention()) does over numbers.
///
/// They are converted block by block, so that their bytes are all that is read of the memory.
///
/// # Errors
/// When a slice ends before its last row, `out` does not match the shape, heads do not divide into groups, or rows do not.
pub fn quantized_attention(
    shape: AttentionShape,
    inputs: AttentionInputs<'_, f32, QuantizedRows<'_>>,
    scale: f32,
    out: &mut [f32],
) -> Result<()> {
    const OP: &str = "quantized_attention";
    check::check(OP, shape, inputs)?;
    let sizes = [shape.batch, shape.heads, shape.queries, shape.value_dim];
    length(OP, "out", product(OP, &sizes)?, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    if shape.keys == 0 {
        out.fill(0.0);
    } else if shape.queries <= MAX_DECODE_QUERIES {
        decode(shape, inputs, scale, out);
    } else {
        prefill(shape, inputs, scale, out);
    }
    Ok(())
}

/// Rows to be quantized.
struct Quantize<'a> {
    dim: usize,
    group_size: usize,
    rows: &'a [f32],
    out: &'a mut [u8],
}

impl WithSimd for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let groups = self.dim / self.group_size;
        let bytes = self.dim + 2 * F32 * groups;
        let rows = self.rows.chunks_exact(self.dim);
        for (row, out) in rows.zip(self.out.chunks_exact_mut(bytes)) {
            let (codes, parameters) = out.split_at_mut(self.dim);
            let (scales, biases) = parameters.split_at_mut(F32 * groups);
            let parameters = scales
                .chunks_exact_mut(F32)
                .zip(biases.chunks_exact_mut(F32));
            let codes = codes.chunks_exact_mut(self.group_size);
            let numbers = row.chunks_exact(self.group_size).zip(codes);
            for ((numbers, codes), (scale, bias)) in numbers.zip(parameters) {
                let found = quantize_group(numbers, codes);
                scale.copy_from_slice(&found[0].to_ne_bytes());
                bias.copy_from_slice(&found[1].to_ne_bytes());
            }
        }
    }
}

/// Writes a group as bytes, and returns its scale and bias.
///
/// The bias is the extreme number that is farther from 0, and the scale such that 0 is a multiple of it away.
#[inline(always)]
fn quantize_group(numbers: &[f32], codes: &mut [u8]) -> [f32; 2] {
    let (mut least, mut most, mut check) = (f32::INFINITY, f32::NEG_INFINITY, 0.0);
    for &x in numbers {
        least = if x < least { x } else { least };
        most = if x > most { x } else { most };
        // Stays 0 for finite numbers.
        check += x * 0.0;
    }
    let is_below = least.abs() > most.abs();
    let edge = if is_below { least } else { most };
    let spread = (most / MAX - least / MAX).max(MIN_SCALE);
    let step = if is_below { spread } else { -spread };
    let steps = (edge / step).round();
    let [scale, bias] = match steps == 0.0 {
        true => [step, 0.0],
        false => [edge / steps, edge],
    };
    let inverse = 1.0 / scale;
    for (code, &x) in codes.iter_mut().zip(numbers) {
        // Halves round up; a conversion to `u8` saturates.
        *code = ((x - bias) * inverse + 0.5) as u8;
    }
    [scale + check, bias + check]
}

/// Rows of bytes, from the first on.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    stride: usize,
    row_bytes: usize,
    dim: usize,
    group_size: usize,
}

impl Rows<'_> {
    /// Writes rows as `f32`, one behind the other.
    #[inline(always)]
    fn dequantize(self, out: &mut [f32]) {
        // Groups of a known size need no division and no tail. Loops and not closures: see `decode.rs`.
        match self.group_size {
            32 => self.in_groups::<32>(out),
            64 => self.in_groups::<64>(out),
            128 => self.in_groups::<128>(out),
            _ => self.in_any_groups(out),
        }
    }

    #[inline(always)]
    fn in_groups<const GROUP: usize>(self, out: &mut [f32]) {
        for (index, out) in out.chunks_exact_mut(self.dim).enumerate() {
            let row = &self.bytes[index * self.stride..][..self.row_bytes];
            let (codes, parameters) = row.split_at(out.len());
            let (scales, biases) = parameters.split_at(parameters.len() / 2);
            let groups = codes.as_chunks::<GROUP>().0.iter();
            let outs = out.as_chunks_mut::<GROUP>().0.iter_mut();
            let parameters = scales.chunks_exact(F32).zip(biases.chunks_exact(F32));
            for ((codes, out), (scale, bias)) in groups.zip(outs).zip(parameters) {
                affine(codes, read_f32(scale), read_f32(bias), out);
            }
        }
    }

    #[inline(always)]
    fn in_any_groups(self, out: &mut [f32]) {
        for (index, out) in out.chunks_exact_mut(self.dim).enumerate() {
            let row = &self.bytes[index * self.stride..][..self.row_bytes];
            let (codes, parameters) = row.split_at(out.len());
            let (scales, biases) = parameters.split_at(parameters.len() / 2);
            let groups = codes.chunks_exact(self.group_size);
            let outs = out.chunks_exact_mut(self.group_size);
            let parameters = scales.chunks_exact(F32).zip(biases.chunks_exact(F32));
            for ((codes, out), (scale, bias)) in groups.zip(outs).zip(parameters) {
                affine(codes, read_f32(scale), read_f32(bias), out);
            }
        }
    }
}

/// The numbers of a group.
#[inline(always)]
fn affine(codes: &[u8], scale: f32, bias: f32, out: &mut [f32]) {
    for (out, &code) in out.iter_mut().zip(codes) {
        *out = f32::from(code) * scale + bias;
    }
}

/// The number in the first four bytes.
#[inline(always)]
fn read_f32(bytes: &[u8]) -> f32 {
    f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

impl<'a> Heads<'a> for QuantizedRows<'a> {
    type Rows = QuantizedHeadRows<'a>;

    fn check(
        self,
        op: &'static str,
        what: &'static str,
        [batch, heads, rows, dim]: [usize; 4],
    ) -> Result<()> {
        let sizes = [
            batch,
            heads,
            rows,
            quantized_row_bytes(dim, self.group_size)?,
        ];
        let Strides { batch, head, row } = self.strides;
        check_reach(op, what, sizes, [batch, head, row, 1], self.bytes.len())
    }

    fn of_head(self, batch: usize, head: usize, dim: usize) -> QuantizedHeadRows<'a> {
        let first = batch * self.strides.batch + head * self.strides.head;
        QuantizedHeadRows(Rows {
            bytes: &self.bytes[first..],
            stride: self.strides.row,
            row_bytes: dim + 2 * F32 * (dim / self.group_size),
            dim,
            group_size: self.group_size,
        })
    }
}

/// The rows of one head of one sequence.
#[derive(Clone, Copy)]
pub(super) struct QuantizedHeadRows<'a>(Rows<'a>);

impl RowBlocks for QuantizedHeadRows<'_> {
    const IN_PLACE: bool = false;

    fn is_direct(&self) -> bool {
        false
    }

    #[inline(always)]
    fn view<'s>(
        &'s self,
        start: usize,
        count: usize,
        scratch: &'s mut [f32],
    ) -> (&'s [f32], usize) {
        (self.block(start, count, scratch), self.0.dim)
    }

    #[inline(always)]
    fn block<'s>(&'s self, start: usize, count: usize, scratch: &'s mut [f32]) -> &'s [f32] {
        let rows = &mut scratch[..count * self.0.dim];
        let from = Rows {
            bytes: &self.0.bytes[start * self.0.stride..],
            ..self.0
        };
        from.dequantize(rows);
        rows
    }
}
