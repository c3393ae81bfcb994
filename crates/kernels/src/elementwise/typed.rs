//! Functions of one, two and three elements of any type, over operands with any strides: [`map`], [`zip`], [`compare`],
//! [`select`].
//!
//! Formula: the function of its name; see [`UnaryOp`] and [`BinaryOp`] for errors.
//! Blocking: see `strided_blocks`. `f32` outputs of 24 MiB and more are written with streaming stores.
//! Limit: memory bandwidth for what is an instruction or two, otherwise the instructions.

use pulp::{Simd, WithSimd};

use super::number::{BlockOf, Number};
use super::strided_blocks::{Block, UNUSED, for_blocks};
use super::strided_layout::Strided;
use super::{BinaryOp, Bits, UnaryOp};
use crate::error::{Error, Result};
use crate::simd::{self, streaming_store};

/// What an element costs at least, in nanoseconds, when it comes from memory.
const FROM_MEMORY: f64 = 0.3;

/// Whether [`map`] has a function for elements of a type.
pub fn has_unary<T: Number>(op: UnaryOp) -> bool {
    T::map(op, BlockOf(Block::Slice(&[])), &mut [], false)
}

/// Whether [`zip`] has a function for elements of a type.
pub fn has_binary<T: Number>(op: BinaryOp) -> bool {
    T::zip(op, [BlockOf(Block::Slice(&[])); 2], &mut [], false)
}

/// Whether [`compare`] has a comparison of elements of a type.
pub fn has_comparison<T: Number>(op: BinaryOp) -> bool {
    T::compare(op, [BlockOf(Block::Slice(&[])); 2], &mut [])
}

fn refused(op: &'static str) -> Error {
    Error::Parameter {
        op,
        what: "the function",
        wanted: "one of the element type",
        got: 0,
    }
}

fn is_streamed<T>(out: &[T]) -> bool {
    streaming_store::should_stream(size_of_val(out))
}

fn fence(is_streamed: bool) {
    if is_streamed {
        streaming_store::sfence();
    }
}

/// Writes `op(x)` to `out`, which is `shape` in row-major order.
///
/// # Errors
/// When the type has no such function, `out` or the strides do not match the shape, or an element would be outside of `x`.
pub fn map<T: Number>(
    op: UnaryOp,
    shape: &[usize],
    x: Strided<'_, T>,
    out: &mut [T],
) -> Result<()> {
    (T::elementwise().map)(op, shape, x, out)
}

/// [`map`], compiled in this crate.
pub(crate) fn map_instance<T: Number>(
    op: UnaryOp,
    shape: &[usize],
    x: Strided<'_, T>,
    out: &mut [T],
) -> Result<()> {
    if !has_unary::<T>(op) {
        return Err(refused(op.name()));
    }
    let stream = is_streamed(out);
    let nanoseconds = op.nanoseconds().max(FROM_MEMORY);
    for_blocks(
        op.name(),
        shape,
        (x, UNUSED, UNUSED),
        out,
        nanoseconds,
        &|x, _, _, out| {
            T::map(op, BlockOf(x), out, stream);
            fence(stream);
        },
    )
}

/// Writes `op(a, b)` to `out`, which is `shape` in row-major order.
///
/// ```
/// use mlx_kernels::{BinaryOp, StridedSlice, zip};
///
/// // A row and a column.
/// let row = StridedSlice { values: &[1_i8, 2, 127], start: 0, strides: &[0, 1] };
/// let column = StridedSlice { values: &[0_i8, 1], start: 0, strides: &[1, 0] };
/// let mut out = [0; 6];
/// zip(BinaryOp::Add, &[2, 3], row, column, &mut out)?;
/// assert_eq!(out, [1, 2, 127, 2, 3, -128]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// As [`map`].
pub fn zip<T: Number>(
    op: BinaryOp,
    shape: &[usize],
    a: Strided<'_, T>,
    b: Strided<'_, T>,
    out: &mut [T],
) -> Result<()> {
    (T::elementwise().zip)(op, shape, a, b, out)
}

/// [`zip`], compiled in this crate.
pub(crate) fn zip_instance<T: Number>(
    op: BinaryOp,
    shape: &[usize],
    a: Strided<'_, T>,
    b: Strided<'_, T>,
    out: &mut [T],
) -> Result<()> {
    if !has_binary::<T>(op) {
        return Err(refused("binary"));
    }
    let stream = is_streamed(out);
    let nanoseconds = op.nanoseconds().max(FROM_MEMORY);
    for_blocks(
        "binary",
        shape,
        (a, b, UNUSED),
        out,
        nanoseconds,
        &|a, b, _, out| {
            T::zip(op, [BlockOf(a), BlockOf(b)], out, stream);
            fence(stream);
        },
    )
}

/// Writes 1 where `a op b` and 0 elsewhere to `out`, which is `shape` in row-major order.
///
/// # Errors
/// As [`map`].
pub fn compare<T: Number>(
    op: BinaryOp,
    shape: &[usize],
    a: Strided<'_, T>,
    b: Strided<'_, T>,
    out: &mut [u8],
) -> Result<()> {
    (T::elementwise().compare)(op, shape, a, b, out)
}

/// [`compare`], compiled in this crate.
pub(crate) fn compare_instance<T: Number>(
    op: BinaryOp,
    shape: &[usize],
    a: Strided<'_, T>,
    b: Strided<'_, T>,
    out: &mut [u8],
) -> Result<()> {
    if !has_comparison::<T>(op) {
        return Err(refused("compare"));
    }
    for_blocks(
        "compare",
        shape,
        (a, b, UNUSED),
        out,
        FROM_MEMORY,
        &|a, b, _, out| {
            T::compare(op, [BlockOf(a), BlockOf(b)], out);
        },
    )
}

/// Writes `yes` where `condition` is not 0 and `no` elsewhere to `out`, which is `shape` in row-major order: elements of any
/// type, as their bits.
///
/// # Errors
/// As [`map`].
pub fn select<T: Bits>(
    shape: &[usize],
    condition: Strided<'_, u8>,
    yes: Strided<'_, T>,
    no: Strided<'_, T>,
    out: &mut [T],
) -> Result<()> {
    (T::moves().select)(shape, condition, yes, no, out)
}

/// [`select`], compiled in this crate.
pub(crate) fn select_instance<T: Bits>(
    shape: &[usize],
    condition: Strided<'_, u8>,
    yes: Strided<'_, T>,
    no: Strided<'_, T>,
    out: &mut [T],
) -> Result<()> {
    for_blocks(
        "where",
        shape,
        (condition, yes, no),
        out,
        FROM_MEMORY,
        &select_block,
    )
}

/// Elements that are copied before they are written over.
const COPIED: usize = 1024;

/// Calls `write` for parts of `out` with a copy of what they hold, and where they start.
fn for_copies<T: Copy + Default>(out: &mut [T], write: impl Fn(Block<'_, T>, usize, &mut [T])) {
    let mut own = [T::default(); COPIED];
    for (number, out) in out.chunks_mut(COPIED).enumerate() {
        let own = &mut own[..out.len()];
        own.copy_from_slice(out);
        write(Block::Slice(own), number * COPIED, out);
    }
}

/// Writes `op(x)` over each element `x`.
///
/// # Errors
/// When the type has no such function.
pub fn map_in_place<T: Number>(op: UnaryOp, values: &mut [T]) -> Result<()> {
    (T::elementwise().map_in_place)(op, values)
}

/// [`map_in_place`], compiled in this crate.
pub(crate) fn map_in_place_instance<T: Number>(op: UnaryOp, values: &mut [T]) -> Result<()> {
    if !has_unary::<T>(op) {
        return Err(refused(op.name()));
    }
    let (shape, nanoseconds) = ([values.len()], op.nanoseconds().max(FROM_MEMORY));
    let unused = (UNUSED, UNUSED, UNUSED);
    for_blocks(
        op.name(),
        &shape,
        unused,
        values,
        nanoseconds,
        &|_, _, _, out| {
            for_copies(out, |own, _, out| {
                T::map(op, BlockOf(own), out, false);
            });
        },
    )
}

/// Writes `op(x, other)` over each element `x` of `values`, which are `shape` in row-major order; `op(other, x)` unless
/// `is_first`.
///
/// # Errors
/// As [`map`].
pub fn zip_in_place<T: Number>(
    op: BinaryOp,
    shape: &[usize],
    other: Strided<'_, T>,
    is_first: bool,
    values: &mut [T],
) -> Result<()> {
    (T::elementwise().zip_in_place)(op, shape, other, is_first, values)
}

/// [`zip_in_place`], compiled in this crate.
pub(crate) fn zip_in_place_instance<T: Number>(
    op: BinaryOp,
    shape: &[usize],
    other: Strided<'_, T>,
    is_first: bool,
    values: &mut [T],
) -> Result<()> {
    if !has_binary::<T>(op) {
        return Err(refused("binary"));
    }
    let nanoseconds = op.nanoseconds().max(FROM_MEMORY);
    let operands = (other, UNUSED, UNUSED);
    for_blocks(
        "binary",
        shape,
        operands,
        values,
        nanoseconds,
        &|other, _, _, out| {
            for_copies(out, |own, from, out| {
                let other = other.part(from, out.len());
                let pair = if is_first { [own, other] } else { [other, own] };
                T::zip(op, pair.map(BlockOf), out, false);
            });
        },
    )
}

/// Writes `other` over each element of `values` where `condition` is 0, or where it is not if `is_chosen`; `values` are
/// `shape` in row-major order.
///
/// # Errors
/// As [`map`].
pub fn select_in_place<T: Bits>(
    shape: &[usize],
    condition: Strided<'_, u8>,
    other: Strided<'_, T>,
    is_chosen: bool,
    values: &mut [T],
) -> Result<()> {
    (T::moves().select_in_place)(shape, condition, other, is_chosen, values)
}

/// [`select_in_place`], compiled in this crate.
pub(crate) fn select_in_place_instance<T: Bits>(
    shape: &[usize],
    condition: Strided<'_, u8>,
    other: Strided<'_, T>,
    is_chosen: bool,
    values: &mut [T],
) -> Result<()> {
    let operands = (condition, other, UNUSED);
    for_blocks(
        "where",
        shape,
        operands,
        values,
        FROM_MEMORY,
        &|condition, other, _, out| {
            for_copies(out, |own, from, out| {
                let condition = condition.part(from, out.len());
                let other = other.part(from, out.len());
                let (yes, no) = if is_chosen {
                    (other, own)
                } else {
                    (own, other)
                };
                select_block(condition, yes, no, out);
            });
        },
    )
}

fn select_block<T: Copy>(
    condition: Block<'_, u8>,
    yes: Block<'_, T>,
    no: Block<'_, T>,
    out: &mut [T],
) {
    match condition {
        Block::Scalar(condition) => match if condition != 0 { yes } else { no } {
            Block::Slice(chosen) => out.copy_from_slice(chosen),
            Block::Scalar(value) => out.fill(value),
        },
        Block::Slice(condition) => simd::dispatch(Select {
            condition,
            yes,
            no,
            out,
        }),
    }
}

struct Select<'a, T> {
    condition: &'a [u8],
    yes: Block<'a, T>,
    no: Block<'a, T>,
    out: &'a mut [T],
}

impl<T: Copy> WithSimd for Select<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let pairs = self.out.iter_mut().zip(self.condition);
        match (self.yes, self.no) {
            (Block::Slice(yes), Block::Slice(no)) => {
                for (((out, condition), yes), no) in pairs.zip(yes).zip(no) {
                    *out = if *condition != 0 { *yes } else { *no };
                }
            }
            (Block::Slice(yes), Block::Scalar(no)) => {
                for ((out, condition), yes) in pairs.zip(yes) {
                    *out = if *condition != 0 { *yes } else { no };
                }
            }
            (Block::Scalar(yes), Block::Slice(no)) => {
                for ((out, condition), no) in pairs.zip(no) {
                    *out = if *condition != 0 { yes } else { *no };
                }
            }
            (Block::Scalar(yes), Block::Scalar(no)) => {
                for (out, condition) in pairs {
                    *out = if *condition != 0 { yes } else { no };
                }
            }
        }
    }
}
