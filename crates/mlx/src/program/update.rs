//! Writing an update into part of an array that is already in the output.

use std::fmt;

use super::View;
use super::view::broadcast;
use crate::op::Op;
use crate::shape::axis_index;
use crate::{ArrayType, Dtype};

/// Which part of an array an update is written to.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Where the update starts, and the distances between its neighbours, along each axis.
    pub(crate) start: Vec<usize>,
    pub(crate) strides: Vec<usize>,
    /// The axes on which the second array that the instruction reads adds to the start.
    pub(crate) axes: Vec<usize>,
}

impl Update {
    /// Reads an update of the first input, and what else it reads: the values to write, and perhaps where. `None` for other
    /// operations.
    pub(crate) fn of(op: &Op, inputs: &[View]) -> Option<(Self, Vec<View>)> {
        let (target, rest) = inputs.split_first()?;
        let target = &target.array_type;
        let values = &rest.first()?.array_type;
        let (update, region) = match op {
            Op::SliceUpdate {
                start,
                stop,
                strides,
            } => sliced(target, [start, stop, strides])?,
            Op::SliceUpdateDynamic { axes } => {
                dynamic(target, values, axes, &rest.get(1)?.array_type)?
            }
            _ => return None,
        };
        let ndim = target.shape.len();
        // Bytes of a `bool` must be 0 or 1 at all times, also in memory that is being filled.
        let fits = values.dtype == target.dtype
            && target.dtype != Dtype::Bool
            && values.shape.len() == ndim
            && update.start.len() == ndim
            && update.strides.len() == ndim
            && ndim > 0
            && update.strides.iter().all(|&stride| stride > 0);
        fits.then_some(())?;
        let mut rest = rest.to_vec();
        // MLX repeats an update of a slice along axes on which it has one element.
        rest[0] = broadcast(&rest[0], &region)?;
        Some((update, rest))
    }
}

/// An update of a slice, and the slice's shape.
fn sliced(target: &ArrayType, [start, stop, strides]: [&[i32]; 3]) -> Option<(Update, Vec<i32>)> {
    let sizes = |numbers: &[i32]| -> Option<Vec<usize>> {
        let sizes = numbers.iter().map(|&number| usize::try_from(number).ok());
        sizes.collect()
    };
    let mut region = target.shape.clone();
    for (axis, length) in region.iter_mut().enumerate() {
        let (first, end) = (i64::from(*start.get(axis)?), i64::from(*stop.get(axis)?));
        let n = i64::from(*length);
        let end = if end < 0 { end + n } else { end };
        let stride = u64::try_from(*strides.get(axis)?).ok()?;
        let covered = u64::try_from(end.min(n) - first).unwrap_or(0);
        let count = (stride > 0).then(|| covered.div_ceil(stride))?;
        *length = i32::try_from(count).ok()?;
    }
    let update = Update {
        start: sizes(start)?,
        strides: sizes(strides)?,
        axes: Vec::new(),
    };
    Some((update, region))
}

/// An update at a start that an array says, and the shape of the part.
fn dynamic(
    target: &ArrayType,
    values: &ArrayType,
    axes: &[i32],
    start: &ArrayType,
) -> Option<(Update, Vec<i32>)> {
    let ndim = target.shape.len();
    let axes = axes.iter().map(|&axis| axis_index(axis, ndim));
    let axes: Vec<usize> = axes.collect::<Option<_>>()?;
    // It is as large as the update is, also along axes that have no start: nothing is repeated.
    let region = values.shape.clone();
    let is_part = region.iter().zip(&target.shape).all(|(part, n)| part <= n);
    let fits =
        is_part && start.dtype == Dtype::Int32 && start.shape == [i32::try_from(axes.len()).ok()?];
    let update = Update {
        start: vec![0; ndim],
        strides: vec![1; ndim],
        axes,
    };
    fits.then_some((update, region))
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "update start={:?}", self.start)?;
        if self.strides.iter().any(|&stride| stride != 1) {
            write!(f, " strides={:?}", self.strides)?;
        }
        if !self.axes.is_empty() {
            write!(f, " axes={:?}", self.axes)?;
        }
        Ok(())
    }
}
