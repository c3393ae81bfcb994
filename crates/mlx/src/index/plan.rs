//! What an index means for an array of a known shape: every part checked, ranges cut, ellipsis spelled out.

use super::entry::{Index, Indices, Slice};
use crate::op::Op;
use crate::{Array, Dtype, Error, Result, Size, bind};

/// What happens to one axis of the indexed array.
pub(super) enum Axis {
    /// It stays as it is.
    Keep,
    /// It is cut to a range: the three numbers of MLX's slice, and the size it has then.
    Slice {
        start: Size,
        stop: Size,
        step: i32,
        len: Size,
    },
    /// One position is taken, and the axis goes away.
    At(Size),
    /// It is indexed by an array of integers.
    Array(Array),
}

/// Where an axis of the result comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// This axis of the indexed array.
    Axis(usize),
    /// The axes of the index arrays, broadcast against each other.
    Block,
    /// A new axis of size 1.
    New,
}

/// What an index does, part by part.
pub(super) struct Plan {
    /// The shape of the indexed array.
    pub(super) shape: Vec<Size>,
    /// One for each axis of the indexed array.
    pub(super) axes: Vec<Axis>,
    /// The axes of the result from left to right.
    pub(super) result: Vec<Place>,
}

impl Plan {
    /// Checks `indices` against `shape`.
    #[track_caller]
    pub(super) fn new(shape: &[Size], indices: Indices) -> Result<Self> {
        let parts = indices.0;
        let is_consuming = |part: &Index| !matches!(part, Index::NewAxis | Index::Ellipsis);
        let used = parts.iter().filter(|part| is_consuming(part)).count();
        if used > shape.len() {
            return Err(refused(format!(
                "wanted at most {} positions for shape {shape:?}, got {used}",
                shape.len()
            )));
        }
        if parts
            .iter()
            .filter(|part| matches!(part, Index::Ellipsis))
            .count()
            > 1
        {
            return Err(refused("wanted one ellipsis at most, got more".to_owned()));
        }
        let has_arrays = parts.iter().any(|part| matches!(part, Index::Array(_)));
        let mut plan = Plan {
            shape: shape.to_vec(),
            axes: Vec::new(),
            result: Vec::new(),
        };
        let mut block = Block::default();
        for part in parts {
            let axis = plan.axes.len();
            match part {
                Index::Ellipsis => {
                    block.end();
                    plan.keep_axes(axis + shape.len() - used);
                    continue;
                }
                Index::NewAxis => {
                    block.end();
                    plan.result.push(Place::New);
                    continue;
                }
                Index::Slice(slice) => {
                    block.end();
                    plan.result.push(Place::Axis(axis));
                    let cut = cut(slice, &shape[axis])?;
                    plan.axes.push(cut);
                }
                Index::At(position) => {
                    // A number beside index arrays counts as one of them.
                    if has_arrays {
                        block.broadcast_with(plan.result.len());
                    }
                    let position = within(position, axis, shape)?;
                    plan.axes.push(Axis::At(position));
                }
                Index::Array(array) => {
                    block.broadcast_with(plan.result.len());
                    check_positions(&array)?;
                    plan.axes.push(Axis::Array(array));
                }
            }
        }
        plan.keep_axes(shape.len());
        if has_arrays {
            plan.result.insert(block.axis(), Place::Block);
        }
        Ok(plan)
    }

    /// Keeps the axes up to, not including, `end` as they are.
    fn keep_axes(&mut self, end: usize) {
        for axis in self.axes.len()..end {
            self.axes.push(Axis::Keep);
            self.result.push(Place::Axis(axis));
        }
    }

    /// Returns the index arrays with their axes.
    pub(super) fn arrays(&self) -> Vec<(usize, &Array)> {
        let mut found = Vec::new();
        for (number, axis) in self.axes.iter().enumerate() {
            if let Axis::Array(array) = axis {
                found.push((number, array));
            }
        }
        found
    }

    /// Returns the axes of single positions.
    pub(super) fn positions(&self) -> Vec<i32> {
        let is_position = |number: &usize| matches!(self.axes[*number], Axis::At(_));
        numbers((0..self.axes.len()).filter(is_position))
    }

    /// Returns the axes that are there after slicing.
    pub(super) fn kept(&self) -> Vec<Place> {
        let stays = |number: &usize| !matches!(self.axes[*number], Axis::At(_));
        (0..self.axes.len())
            .filter(stays)
            .map(Place::Axis)
            .collect()
    }

    /// Returns start, stop and step of the slice for each axis, or nothing when every axis stays whole.
    pub(super) fn bounds(&self) -> Option<(Vec<Size>, Vec<Size>, Vec<i32>)> {
        let is_cut = |axis: &Axis| matches!(axis, Axis::Slice { .. } | Axis::At(_));
        if !self.axes.iter().any(is_cut) {
            return None;
        }
        let (mut starts, mut stops, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        for (axis, size) in self.axes.iter().zip(&self.shape) {
            let (start, stop, step) = match axis {
                Axis::Slice {
                    start, stop, step, ..
                } => (start.clone(), stop.clone(), *step),
                Axis::At(position) => (position.clone(), position + 1, 1),
                Axis::Keep | Axis::Array(_) => (Size::from(0), size.clone(), 1),
            };
            starts.push(start);
            stops.push(stop);
            steps.push(step);
        }
        Some((starts, stops, steps))
    }

    /// Returns the shape of the result when the index arrays have the shape `block`.
    pub(super) fn result_shape(&self, block: &[i32]) -> Vec<i32> {
        let mut shape = Vec::new();
        for place in &self.result {
            match place {
                Place::New => shape.push(1),
                Place::Block => shape.extend(block),
                Place::Axis(number) => shape.push(match &self.axes[*number] {
                    Axis::Slice { len, .. } => len.number(),
                    _ => self.shape[*number].number(),
                }),
            }
        }
        shape
    }

    /// Returns the numbers of the result's new axes when the index arrays have `ndim_block` axes.
    pub(super) fn new_axes(&self, ndim_block: usize) -> Vec<i32> {
        let starts = starts(&self.result, ndim_block);
        let is_new = |(k, _): &(usize, &i32)| self.result[*k] == Place::New;
        starts
            .iter()
            .enumerate()
            .filter(is_new)
            .map(|(_, start)| *start)
            .collect()
    }
}

/// Returns `y`, whose axes are `now`, with its axes in the order of `wanted`; new axes are left out.
#[track_caller]
pub(super) fn arranged(y: Array, now: &[Place], wanted: &[Place], ndim_block: usize) -> Array {
    let starts = starts(now, ndim_block);
    let mut axes = Vec::new();
    for place in wanted.iter().filter(|place| **place != Place::New) {
        let width = if *place == Place::Block {
            ndim_block
        } else {
            1
        };
        axes.extend((starts[place_of(now, *place)]..).take(width));
    }
    let is_in_order = axes.iter().zip(0..).all(|(axis, k)| *axis == k);
    if is_in_order {
        y
    } else {
        bind(Op::Transpose { axes }, &[&y])
    }
}

/// Returns the number of the first axis of each place.
fn starts(places: &[Place], ndim_block: usize) -> Vec<i32> {
    let mut next = 0;
    let start = |place: &Place| {
        let this = next;
        next += if *place == Place::Block {
            ndim_block
        } else {
            1
        };
        this
    };
    numbers(places.iter().map(start))
}

/// Returns the position of a place that is there.
pub(super) fn place_of(places: &[Place], wanted: Place) -> usize {
    places
        .iter()
        .position(|place| *place == wanted)
        .unwrap_or(0)
}

/// Returns axis numbers as MLX has them.
pub(super) fn numbers(axes: impl Iterator<Item = usize>) -> Vec<i32> {
    axes.map(|axis| i32::try_from(axis).unwrap_or(i32::MAX))
        .collect()
}

/// Where the axes of the index arrays go.
#[derive(Default)]
struct Block {
    /// The place in the result of the first one.
    first: Option<usize>,
    /// Something else came after it.
    ended: bool,
    /// And then another one.
    split: bool,
}

impl Block {
    fn broadcast_with(&mut self, place: usize) {
        self.first.get_or_insert(place);
        self.split |= self.ended;
    }

    fn end(&mut self) {
        self.ended |= self.first.is_some();
    }

    fn axis(&self) -> usize {
        if self.split {
            0
        } else {
            self.first.unwrap_or(0)
        }
    }
}

/// Returns an error of indexing at the caller's line.
#[track_caller]
pub(super) fn refused(message: String) -> Error {
    Error::op("index", message)
}

#[track_caller]
fn cut(slice: Slice, size: &Size) -> Result<Axis> {
    if slice.is_whole() {
        return Ok(Axis::Keep);
    }
    let Some((start, stop, step, len)) = slice.on(size) else {
        return Err(refused("wanted a step that is not 0, got 0".to_owned()));
    };
    if step == 1 && start == 0 && len == *size {
        return Ok(Axis::Keep);
    }
    if len == 0 {
        return Ok(Axis::Slice {
            start: Size::from(0),
            stop: Size::from(0),
            step: 1,
            len: Size::from(0),
        });
    }
    // Also a way to be rid of steps that no i32 holds.
    if step != 1 && len == 1 {
        return Ok(Axis::Slice {
            stop: &start + 1,
            start,
            step: 1,
            len: Size::from(1),
        });
    }
    Ok(Axis::Slice {
        start,
        // To MLX, -1 is the last element; what is before the first one is -1 - size.
        stop: if step < 0 && stop < 0 {
            Size::from(-1) - size
        } else {
            stop
        },
        step: i32::try_from(step).unwrap_or(i32::MAX),
        len,
    })
}

#[track_caller]
fn within(position: i64, axis: usize, shape: &[Size]) -> Result<Size> {
    let size = &shape[axis];
    let (counted, is_there) = match position < 0 {
        true => {
            let counted = size + position;
            let is_there = counted >= 0;
            (counted, is_there)
        }
        false => (Size::from(position), *size > position),
    };
    if is_there {
        return Ok(counted);
    }
    let size = size.number();
    Err(refused(match size {
        0 => format!(
            "wanted a position on axis {axis} of shape {shape:?}, which is empty, got {position}"
        ),
        _ => format!(
            "wanted {} to {} on axis {axis} of shape {shape:?}, got {position}",
            -size,
            size - 1
        ),
    }))
}

#[track_caller]
fn check_positions(array: &Array) -> Result<()> {
    match array.dtype()? {
        dtype if dtype.is_integer() => Ok(()),
        Dtype::Bool => Err(refused(
            "a boolean mask can only be the whole index of an update; to read, keep the shape with where_, or \
             index with the positions that nonzero gives"
                .to_owned(),
        )),
        dtype => Err(refused(format!("wanted integer positions, got {dtype}"))),
    }
}
