//! Where the elements of an operand with strides are, and how they are read.

use crate::error::{Result, length};
use crate::strided::{check_reach, merge_axes};

/// Elements of an array, and where those of a shape are among them.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a, T> {
    /// The elements, and whatever is stored between them.
    pub values: &'a [T],
    /// The index of the first element.
    pub start: usize,
    /// In elements, one for each axis of the output's shape; 0 repeats the same element along the axis.
    pub strides: &'a [isize],
}

/// How one operand is read.
pub(super) enum Layout {
    Contiguous,
    Scalar,
    /// Rows with these strides between them, and this one between their elements; wrapping, as they may be negative.
    Rows {
        outer: Vec<usize>,
        last: usize,
    },
}

impl Layout {
    pub(super) fn is_rows(&self) -> bool {
        matches!(self, Self::Rows { .. })
    }

    /// Whether rows that follow each other start at adjacent elements.
    pub(super) fn is_tiled(&self) -> bool {
        matches!(self, Self::Rows { outer, last } if *last > 1 && outer.last() == Some(&1))
    }
}

/// The strides of an operand, checked against its elements; zeros for one that is never read.
pub(super) fn strides_of<'a, T>(
    op: &'static str,
    operand: &Strided<'a, T>,
    shape: &[usize],
    zeros: &'a [isize],
) -> Result<&'a [isize]> {
    if size_of::<T>() == 0 {
        return Ok(zeros);
    }
    length(op, "strides", shape.len(), operand.strides.len())?;
    check_reach(
        (op, "an input"),
        operand.values.len(),
        operand.start,
        shape,
        operand.strides,
    )?;
    Ok(operand.strides)
}

/// Sizes other than 1, neighbours merged where every operand steps through both with one stride; and the new strides.
pub(super) fn merged(shape: &[usize], given: [&[isize]; 3]) -> (Vec<usize>, [Vec<usize>; 3]) {
    let axes = merge_axes(shape, given);
    let sizes = axes.iter().map(|axis| axis.size).collect();
    let strides =
        std::array::from_fn(|operand| axes.iter().map(|axis| axis.strides[operand]).collect());
    (sizes, strides)
}

/// How an operand is read, of merged axes.
pub(super) fn layout_of(strides: &[usize], outer: &[usize], row: usize) -> Layout {
    let Some((&last, rest)) = strides
        .split_last()
        .filter(|_| strides.iter().any(|s| *s != 0))
    else {
        return Layout::Scalar;
    };
    let mut wanted = row;
    let follows = outer.iter().zip(rest).rev().all(|(size, stride)| {
        let same = *stride == wanted;
        wanted = wanted.wrapping_mul(*size);
        same
    });
    match follows && last == 1 {
        true => Layout::Contiguous,
        false => Layout::Rows {
            outer: rest.to_vec(),
            last,
        },
    }
}
