//! Where the elements of an operand with strides are, and how they are read.

use crate::error::{Error, Result, length};

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
    let (mut min, mut max) = (Some(operand.start), Some(operand.start));
    for (size, stride) in shape.iter().zip(operand.strides) {
        let reach = stride.unsigned_abs().checked_mul(size - 1);
        if *stride < 0 {
            min = min
                .zip(reach)
                .and_then(|(min, reach)| min.checked_sub(reach));
        } else {
            max = max
                .zip(reach)
                .and_then(|(max, reach)| max.checked_add(reach));
        }
    }
    match (min, max) {
        (Some(_), Some(max)) if max < operand.values.len() => Ok(operand.strides),
        (_, max) => Err(Error::Reach {
            op,
            what: "an input",
            wanted: max.map_or(usize::MAX, |max| max.saturating_add(1)),
            got: operand.values.len(),
        }),
    }
}

/// Sizes other than 1, neighbours merged where every operand steps through both with one stride; and the new strides.
pub(super) fn merge_axes(shape: &[usize], given: [&[isize]; 3]) -> (Vec<usize>, [Vec<usize>; 3]) {
    let mut sizes: Vec<usize> = Vec::new();
    let mut strides: [Vec<isize>; 3] = Default::default();
    for (axis, &size) in shape.iter().enumerate().filter(|(_, size)| **size != 1) {
        let follows = |(given, strides): (&&[isize], &Vec<isize>)| {
            let wanted = isize::try_from(size)
                .ok()
                .and_then(|size| given[axis].checked_mul(size));
            strides.last().copied() == wanted
        };
        let merges = !sizes.is_empty() && given.iter().zip(&strides).all(follows);
        match sizes.last_mut().filter(|_| merges) {
            Some(last) => *last *= size,
            None => sizes.push(size),
        }
        for (given, strides) in given.iter().zip(&mut strides) {
            if merges {
                strides.pop();
            }
            strides.push(given[axis]);
        }
    }
    // Sums of these wrap around as signed ones do.
    let wrapping =
        |strides: Vec<isize>| strides.into_iter().map(|stride| stride as usize).collect();
    (sizes, strides.map(wrapping))
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
