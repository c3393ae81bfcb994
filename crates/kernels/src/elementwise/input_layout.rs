//! Where an input's elements lie, seen from the order in which outputs are written.

use super::values::Values;
use crate::error::{Error, Result, length, product};
use crate::strided::walk::Walk;

/// The shape of the outputs, with axes joined that all inputs step through alike.
#[derive(Debug)]
pub(super) struct Shape {
    /// The axes before the last.
    outer: Vec<usize>,
    /// The length of a row.
    pub(super) row: usize,
    pub(super) elements: usize,
}

/// How one input is read.
#[derive(Debug)]
pub(super) enum Layout {
    /// Element by element as outputs are written.
    Contiguous,
    /// The same element everywhere.
    Scalar(f32),
    /// Rows that start where the outer strides say.
    Rows { outer: Vec<usize>, last: usize },
}

/// What an input is for one block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Its elements lie together as `f32` from here on.
    Direct(usize),
    Scalar(f32),
    /// Its elements were copied.
    Loaded,
}

impl Shape {
    /// Checks that every input has the elements its strides ask for, and joins axes.
    pub(super) fn new(
        op: &'static str,
        shape: &[usize],
        inputs: &[(Values<'_>, &[usize])],
    ) -> Result<(Self, Vec<Layout>)> {
        let elements = product(op, shape)?;
        for (values, strides) in inputs {
            length(op, "strides", shape.len(), strides.len())?;
            if elements == 0 {
                continue;
            }
            let last = reach(shape, strides).ok_or(Error::TooLarge { op })?;
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
        let (shape, strides) = joined(shape, inputs);
        let row = shape.last().copied().unwrap_or(1);
        let outer = shape[..shape.len().saturating_sub(1)].to_vec();
        let layouts = inputs.iter().zip(strides).map(|((values, _), strides)| {
            if elements == 0 || strides.iter().all(|stride| *stride == 0) {
                return Layout::Scalar(if elements == 0 { 0.0 } else { values.at(0) });
            }
            match strides.split_last() {
                Some((1, [])) => Layout::Contiguous,
                Some((last, outer)) => Layout::Rows {
                    outer: outer.to_vec(),
                    last: *last,
                },
                None => Layout::Scalar(values.at(0)),
            }
        });
        let layouts = layouts.map(|layout| layout.unless_contiguous(&outer, row));
        let layouts = layouts.collect();
        let shape = Self {
            outer,
            row,
            elements,
        };
        Ok((shape, layouts))
    }

    /// Finds an input's elements for a block, and copies them to `copies` if they do not lie together.
    pub(super) fn place(
        &self,
        layout: &Layout,
        values: Values<'_>,
        (start, count): (usize, usize),
        copies: &mut [f32],
    ) -> Place {
        let is_f32 = matches!(values, Values::F32(_));
        match layout {
            Layout::Scalar(value) => Place::Scalar(*value),
            Layout::Contiguous if is_f32 => Place::Direct(start),
            Layout::Contiguous => {
                values.read(start, 1, &mut copies[..count]);
                Place::Loaded
            }
            Layout::Rows { outer, last } => {
                let mut walk = Walk::from_row(&self.outer, outer, start / self.row);
                let mut column = start % self.row;
                let one_row = column + count <= self.row;
                if one_row && (*last == 0 || *last == 1 && is_f32) {
                    return match last {
                        0 => Place::Scalar(values.at(walk.place())),
                        _ => Place::Direct(walk.place() + column),
                    };
                }
                let mut rest = &mut copies[..count];
                while !rest.is_empty() {
                    let length = (self.row - column).min(rest.len());
                    let (part, later) = std::mem::take(&mut rest).split_at_mut(length);
                    match last {
                        0 => part.fill(values.at(walk.place())),
                        _ => values.read(walk.place() + column * last, *last, part),
                    }
                    (rest, column) = (later, 0);
                    walk.advance(1);
                }
                Place::Loaded
            }
        }
    }
}

impl Layout {
    /// Rows that follow each other without a gap are [`Layout::Contiguous`].
    fn unless_contiguous(self, sizes: &[usize], row: usize) -> Self {
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

/// The place of the last element, unless it is beyond all memory.
fn reach(shape: &[usize], strides: &[usize]) -> Option<usize> {
    shape
        .iter()
        .zip(strides)
        .try_fold(0_usize, |sum, (size, stride)| {
            sum.checked_add((size - 1).checked_mul(*stride)?)
        })
}

/// Sizes without those of 1, neighbours joined where every input goes through both with one stride; the new strides.
fn joined(shape: &[usize], inputs: &[(Values<'_>, &[usize])]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut sizes: Vec<usize> = Vec::new();
    let mut strides: Vec<Vec<usize>> = vec![Vec::new(); inputs.len()];
    for (axis, size) in shape.iter().enumerate() {
        if *size == 1 {
            continue;
        }
        let joins = !sizes.is_empty()
            && inputs.iter().zip(&strides).all(|((_, given), strides)| {
                strides.last().copied() == given[axis].checked_mul(*size)
            });
        match sizes.last_mut().filter(|_| joins) {
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
