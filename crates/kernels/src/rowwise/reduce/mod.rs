//! Reductions: sum, mean, maximum and minimum over one group of axes.
//!
//! An array is reshaped to `[outer, reduced, inner]`: the last axis has `inner = 1`, all axes `outer = inner = 1`, leading axes
//! `outer = 1`.
//! Formula: `out[o, i] = sum over r of x[o, r, i]`, and so on.
//! Blocking: rows (`inner = 1`) are summed in blocks of 4,096 elements whose sums are added pairwise; rows of more than
//! 65,536 elements are split over threads. Columns are summed row by row into a tile of up to 4,096 sums that stays in the
//! cache; more than 128 to 4,096 rows, by their length, are split over threads and their sums added pairwise.
//! Limit: memory bandwidth; with `inner` of 2 to 15 the loop over few columns.
//! Error of a sum: `2^-24 * (96 + log2(reduced / 4096))` of `sum(|x|)` for rows, `2^-24 * (128 + log2(reduced / 4096))` for
//! columns, and far less on average; a mean is rounded twice more. The result depends on the shape and the instruction
//! set alone. Maximum and minimum are exact, and NaN where one element is.

mod add_rows;
mod block;
mod columns;
mod fold;
mod pairwise;
mod rows;

pub use fold::{
    Factor, Fold, FoldAll, FoldAllFloat, FoldAny, FoldAnyFloat, FoldComplexSum, FoldFloatMax,
    FoldFloatMin, FoldFloatSum, FoldIntegerProduct, FoldMax, FoldMin, FoldProduct, FoldSum, Whole,
    fold,
};

use crate::element::Element;
use crate::error::{Error, Result, length, product};

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reduction {
    /// The sum; 0 of no elements.
    Sum,
    /// The mean; NaN of no elements.
    Mean,
    /// The maximum; NaN if one element is.
    Max,
    /// The minimum; NaN if one element is.
    Min,
}

/// Sizes of an array whose middle axis is reduced: `[outer, reduced, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReduceShape {
    /// The product of the axes before.
    pub outer: usize,
    /// The product of the axes that are reduced.
    pub reduced: usize,
    /// The product of the axes after.
    pub inner: usize,
}

impl ReduceShape {
    /// Refuses lengths of an array and of its reduction that do not match the shape.
    pub(super) fn check(self, op: &'static str, x: usize, out: usize) -> Result<()> {
        let Self {
            outer,
            reduced,
            inner,
        } = self;
        length(op, "x", product(op, &[outer, reduced, inner])?, x)?;
        length(op, "out", product(op, &[outer, inner])?, out)
    }
}

/// Writes a reduction over the middle axis to `out`, `[outer, inner]`; half precision is reduced in `f32`.
///
/// ```
/// use mlx_kernels::{ReduceShape, Reduction, reduce};
///
/// let shape = ReduceShape { outer: 1, reduced: 2, inner: 3 };
/// let mut out = [0.0; 3];
/// reduce(Reduction::Sum, shape, &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], &mut out)?;
/// assert_eq!(out, [11.0, 22.0, 33.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When a length does not match the shape, or there are no elements to take the maximum or minimum of.
pub fn reduce<T: Element, O: Element>(
    reduction: Reduction,
    shape: ReduceShape,
    x: &[T],
    out: &mut [O],
) -> Result<()> {
    let op = reduction.name();
    shape.check(op, x.len(), out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    if shape.reduced == 0 {
        return reduce_nothing(reduction, out);
    }
    if shape.inner == 1 {
        rows::reduce(reduction, shape.reduced, x, out);
    } else {
        columns::reduce(reduction, shape, x, out);
    }
    Ok(())
}

/// The reduction of no elements.
fn reduce_nothing<T: Element>(reduction: Reduction, out: &mut [T]) -> Result<()> {
    let value = match reduction {
        Reduction::Sum => 0.0,
        Reduction::Mean => f32::NAN,
        Reduction::Max | Reduction::Min => {
            return Err(Error::Parameter {
                op: reduction.name(),
                what: "the number of elements",
                wanted: "at least 1",
                got: 0,
            });
        }
    };
    let mut scratch = [0.0; 256];
    for out in out.chunks_mut(scratch.len()) {
        T::write(out, &mut scratch, |out| out.fill(value));
    }
    Ok(())
}

impl Reduction {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Max => "max",
            Self::Min => "min",
        }
    }

    /// Combines two partial results.
    #[inline(always)]
    fn combine(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Sum | Self::Mean => a + b,
            Self::Max => max_or_nan(a, b),
            Self::Min => min_or_nan(a, b),
        }
    }

    /// The result from the combination of all parts.
    fn finish(self, value: f32, count: usize) -> f32 {
        match self {
            Self::Mean => value / count as f32,
            _ => value,
        }
    }
}

// `|` and not `||`: a branch would keep loops of these scalar.
#[inline(always)]
fn max_or_nan(a: f32, b: f32) -> f32 {
    if a.is_nan() | (a > b) { a } else { b }
}

#[inline(always)]
fn min_or_nan(a: f32, b: f32) -> f32 {
    if a.is_nan() | (a < b) { a } else { b }
}
