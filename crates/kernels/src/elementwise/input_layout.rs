//! Where an input's elements are, in the order in which outputs are written.

use super::TypedSlice;
use crate::error::{Error, Result, length, product};
use crate::strided::RowOffsets;

/// The shape of the outputs; axes that every input steps through with one stride are merged.
#[derive(Debug)]
pub(super) struct OutputShape {
    /// The axes before the last.
    outer: Vec<usize>,
    /// The length of a row.
    pub(super) row: usize,
    pub(super) elements: usize,
}

/// How one input is read.
#[derive(Debug)]
pub(super) enum InputLayout {
    /// In the order of the outputs.
    Contiguous,
    /// One element, repeated.
    Scalar(f32),
    /// Rows with these strides between them, and this one between their elements.
    Rows { outer: Vec<usize>, last: usize },
}

/// Where the elements of an input are for one block.
#[derive(Clone, Copy, Debug)]
pub(super) enum BlockInput {
    /// Contiguous `f32` from this index on.
    Direct(usize),
    Scalar(f32),
    /// Copied to the buffer of this input.
    Copied,
}

impl OutputShape {
    /// Checks that every input has the elements that its strides reach, and merges axes.
    pub(super) fn new(
        op: &'static str,
        shape: &[usize],
        inputs: &[(TypedSlice<'_>, &[usize])],
    ) -> Result<(Self, Vec<InputLayout>)> {
        let elements = product(op, shape)?;
        for (values, strides) in inputs {
            length(op, "strides", shape.len(), strides.len())?;
            if elements == 0 {
                continue;
            }
            let last = last_index(shape, strides).ok_or(Error::TooLarge { op })?;
            if last >= values.len() {
                let (wanted, got) = (last.saturating_add(1), values.len());
                return Err(Error::Length {
                    op,
                    what: "an input",
                    wanted,
                    got,
                });
            }
        }
        let (shape, strides) = merge_axes(shape, inputs);
        let row = shape.last().copied().unwrap_or(1);
        let outer = shape[..shape.len().saturating_sub(1)].to_vec();
        let layouts = inputs.iter().zip(strides).map(|((values, _), strides)| {
            if elements == 0 || strides.iter().all(|stride| *stride == 0) {
                return InputLayout::Scalar(if elements == 0 { 0.0 } else { values.at(0) });
            }
            match strides.split_last() {
                Some((1, [])) => InputLayout::Contiguous,
                Some((last, outer)) => InputLayout::Rows {
                    outer: outer.to_vec(),
                    last: *last,
                },
                None => InputLayout::Scalar(values.at(0)),
            }
        });
        let layouts = layouts.map(|layout| layout.simplified(&outer, row));
        let layouts = layouts.collect();
        let shape = Self {
            outer,
            row,
            elements,
        };
        Ok((shape, layouts))
    }

    /// Locates an input's elements for a block, and copies them to `copies` if they are not contiguous `f32`.
    pub(super) fn locate(
        &self,
        layout: &InputLayout,
        values: TypedSlice<'_>,
        (start, count): (usize, usize),
        copies: &mut [f32],
    ) -> BlockInput {
        let is_f32 = matches!(values, TypedSlice::F32(_));
        match layout {
            InputLayout::Scalar(value) => BlockInput::Scalar(*value),
            InputLayout::Contiguous if is_f32 => BlockInput::Direct(start),
            InputLayout::Contiguous => {
                values.read(start, 1, &mut copies[..count]);
                BlockInput::Copied
            }
            InputLayout::Rows { outer, last } => {
                let mut offsets = RowOffsets::from_row(&self.outer, outer, start / self.row);
                let mut column = start % self.row;
                let one_row = column + count <= self.row;
                if one_row && (*last == 0 || *last == 1 && is_f32) {
                    return match last {
                        0 => BlockInput::Scalar(values.at(offsets.current())),
                        _ => BlockInput::Direct(offsets.current() + column),
                    };
                }
                let mut rest = &mut copies[..count];
                while !rest.is_empty() {
                    let length = (self.row - column).min(rest.len());
                    let (part, later) = std::mem::take(&mut rest).split_at_mut(length);
                    match last {
                        0 => part.fill(values.at(offsets.current())),
                        _ => values.read(offsets.current() + column * last, *last, part),
                    }
                    (rest, column) = (later, 0);
                    offsets.advance(1);
                }
                BlockInput::Copied
            }
        }
    }
}

impl InputLayout {
    /// Rows that follow each other without a gap are [`InputLayout::Contiguous`].
    fn simplified(self, sizes: &[usize], row: usize) -> Self {
        let Self::Rows { outer, last } = &self else {
            return self;
        };
        let mut wanted = row;
        let fits = sizes.iter().zip(outer).rev().all(|(size, stride)| {
            let same = *stride == wanted;
            wanted = wanted.saturating_mul(*size);
            same
        });
        if fits && *last == 1 {
            Self::Contiguous
        } else {
            self
        }
    }
}

/// The index of the last element, unless it overflows.
fn last_index(shape: &[usize], strides: &[usize]) -> Option<usize> {
    shape
        .iter()
        .zip(strides)
        .try_fold(0_usize, |sum, (size, stride)| {
            sum.checked_add((size - 1).checked_mul(*stride)?)
        })
}

/// Sizes other than 1, neighbours merged where every input steps through both with one stride; and the new strides.
fn merge_axes(
    shape: &[usize],
    inputs: &[(TypedSlice<'_>, &[usize])],
) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut sizes: Vec<usize> = Vec::new();
    let mut strides: Vec<Vec<usize>> = vec![Vec::new(); inputs.len()];
    for (axis, size) in shape.iter().enumerate() {
        if *size == 1 {
            continue;
        }
        let merges = !sizes.is_empty()
            && inputs.iter().zip(&strides).all(|((_, given), strides)| {
                strides.last().copied() == given[axis].checked_mul(*size)
            });
        match sizes.last_mut().filter(|_| merges) {
            Some(last) => {
                *last *= size;
                for ((_, given), strides) in inputs.iter().zip(&mut strides) {
                    strides.pop();
                    strides.push(given[axis]);
                }
            }
            None => {
                sizes.push(*size);
                for ((_, given), strides) in inputs.iter().zip(&mut strides) {
                    strides.push(given[axis]);
                }
            }
        }
    }
    (sizes, strides)
}
