//! Functions of two arrays: sum, difference, product, quotient, the greater and the lesser one, of equal shapes or with one
//! side repeated.
//!
//! Formula: `out[i] = function(a[i], b[i])`, rounded once; maximum and minimum are not a number if one side is not.
//! Blocking: pieces of 64 KiB go to threads, blocks of 8 KiB stay in the first cache between the operation and the write;
//! outputs of 24 MiB and more are written with streaming stores. Limit: memory bandwidth.

use super::{Binary, Source, compute_binary};
use crate::element::Element;
use crate::error::{Error, Result, length};
use crate::parallel::parallel_for;
use crate::simd::streaming_store;

/// Elements that one thread takes at a time.
const PIECE: usize = 16 * 1024;
/// Elements that are computed before they are written out.
const BLOCK: usize = 2048;

/// One side of a function of two arrays.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a, T> {
    /// One element for each of the output.
    Array(&'a [T]),
    /// The same row again and again: the output's last axes.
    Row(&'a [T]),
    /// The same element everywhere.
    Scalar(T),
}

/// Writes `function(a, b)` to `out`, element by element; half precision is computed in `f32` and rounded.
///
/// ```
/// use mlx_kernels::{Binary, Operand, binary};
///
/// let mut out = [0.0; 4];
/// binary(Binary::Add, Operand::Array(&[1.0, 2.0, 3.0, 4.0]), Operand::Row(&[10.0, 20.0]), &mut out)?;
/// assert_eq!(out, [11.0, 22.0, 13.0, 24.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When the length of an array is not that of `out`, or the length of a row does not divide it.
pub fn binary<T: Element>(
    function: Binary,
    a: Operand<'_, T>,
    b: Operand<'_, T>,
    out: &mut [T],
) -> Result<()> {
    a.check(function, "a", out.len())?;
    b.check(function, "b", out.len())?;
    let stream = T::IS_F32 && streaming_store::should_stream(size_of_val(out));
    let nanoseconds = function.nanoseconds() * out.len() as f64;
    parallel_for(
        out.chunks_mut(PIECE).enumerate(),
        nanoseconds,
        || [[0.0; BLOCK]; 3],
        |[left, right, result], (piece, out)| {
            let mut start = piece * PIECE;
            let mut rest = out;
            while !rest.is_empty() {
                let count = BLOCK.min(rest.len());
                let count = a.run(start, b.run(start, count));
                let (block, after) = rest.split_at_mut(count);
                let (a, b) = (a.read(start, count, left), b.read(start, count, right));
                write(function, a, b, block, result, stream);
                start += count;
                rest = after;
            }
            if stream {
                streaming_store::sfence();
            }
        },
    );
    Ok(())
}

fn write<T: Element>(
    function: Binary,
    a: Source<'_>,
    b: Source<'_>,
    out: &mut [T],
    scratch: &mut [f32],
    stream: bool,
) {
    T::write(out, scratch, |out| {
        compute_binary(function, a, b, out, stream)
    });
}

impl<T: Element> Operand<'_, T> {
    fn check(&self, function: Binary, what: &'static str, wanted: usize) -> Result<()> {
        match self {
            Self::Array(values) => length(function.name(), what, wanted, values.len()),
            Self::Row(row)
                if wanted == 0 || wanted.is_multiple_of(row.len().max(1)) && !row.is_empty() =>
            {
                Ok(())
            }
            Self::Row(row) => Err(Error::Parameter {
                op: function.name(),
                what: "the length of a row",
                wanted: "a divisor of the length of out",
                got: row.len(),
            }),
            Self::Scalar(_) => Ok(()),
        }
    }

    /// How many elements from `start` on are read at once: a long row is read to its end, short ones are repeated.
    fn run(&self, start: usize, count: usize) -> usize {
        match self {
            Self::Row(row) if row.len() >= BLOCK / 4 => count.min(row.len() - start % row.len()),
            _ => count,
        }
    }

    fn read<'s>(&'s self, start: usize, count: usize, scratch: &'s mut [f32; BLOCK]) -> Source<'s> {
        match self {
            Self::Array(values) => Source::Slice(T::read(&values[start..start + count], scratch)),
            Self::Row(row) if row.len() >= BLOCK / 4 => {
                let column = start % row.len();
                Source::Slice(T::read(&row[column..column + count], scratch))
            }
            Self::Row(row) => {
                let mut one = [0.0; BLOCK / 4];
                let row = T::read(row, &mut one);
                let mut column = start % row.len();
                let mut done = 0;
                while done < count {
                    let part = (row.len() - column).min(count - done);
                    scratch[done..done + part].copy_from_slice(&row[column..column + part]);
                    done += part;
                    column = 0;
                }
                Source::Slice(&scratch[..count])
            }
            Self::Scalar(value) => {
                let mut one = [0.0];
                Source::Scalar(T::read(std::slice::from_ref(value), &mut one)[0])
            }
        }
    }
}
