//! Indices out of range: an error that names the index, never a read or write elsewhere.
//!
//! Indices that are already computed are checked at once; others, on the CPU, by a host kernel when they are, so the error
//! comes from `eval`. On a GPU, where nothing can report, those are clamped to the range.

use std::sync::Arc;

use crate::ffi::closure::Closure;
use crate::ffi::host::{self, HostCall, HostInput, HostOutput};
use crate::ffi::table::one;
use crate::ffi::{Handle, NativeError, data, stream};
use crate::op::Op;
use crate::shape::axis_index;
use crate::{Dtype, Element};

/// How many computed indices are fetched from a GPU to be checked.
const FETCHED: usize = 1 << 16;

/// The range that each of some indices must be in.
#[derive(Clone, Debug)]
struct Range {
    /// The operation, for the message.
    op: &'static str,
    /// Exclusive upper ends; one for all indices, or one for each.
    ends: Vec<i64>,
    /// Sizes of the axes: what a negative index counts back from, or nothing when it may not be negative.
    wrap: Option<i64>,
}

impl Range {
    fn new(op: &'static str, ends: Vec<i64>, wrap: Option<i64>) -> Self {
        Self { op, ends, wrap }
    }
}

/// Returns the inputs with checked indices, or nothing when `op` has no indices.
pub(super) fn check(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Vec<Handle>>, NativeError> {
    let ranges = ranges(op, inputs);
    if ranges.is_empty() {
        return Ok(None);
    }
    let mut replaced: Vec<Handle> = inputs
        .iter()
        .map(|handle| handle.duplicate())
        .collect::<Result<_, _>>()?;
    for (position, range) in ranges {
        replaced[position] = checked(inputs[position], range, stream)?;
    }
    Ok(Some(replaced))
}

/// An input that holds indices, by its position, and their range.
type Indices = (usize, Range);

/// Which inputs of `op` are indices, and their ranges. Shapes that do not fit are left for MLX to refuse.
fn ranges(op: &Op, inputs: &[&Handle]) -> Vec<Indices> {
    let source = inputs.first().map_or(&[][..], |handle| handle.shape());
    match op {
        Op::Take { axis } => along("take", source, *axis),
        Op::TakeAlongAxis { axis } => along("take_along_axis", source, *axis),
        Op::PutAlongAxis { axis } => along("put_along_axis", source, *axis),
        Op::ScatterAddAxis { axis } => along("scatter_add_axis", source, *axis),
        Op::Gather { axes, slice_sizes } => slices("gather", inputs, axes, 1, slice_sizes),
        Op::Scatter { axes }
        | Op::ScatterAdd { axes }
        | Op::ScatterMax { axes }
        | Op::ScatterMin { axes }
        | Op::ScatterProd { axes } => {
            let updates = inputs.get(1).map_or(&[][..], |handle| handle.shape());
            // Updates are [broadcast indices.., one slice of the source..].
            let lead = updates.len().saturating_sub(source.len());
            slices("scatter", inputs, axes, 2, &updates[lead..])
        }
        Op::SliceDynamic { axes, slice_size } => {
            let extent = |axis: usize| slice_size.get(axis).map(|&n| i64::from(n));
            starts("slice_dynamic", source, axes, 1, extent)
        }
        Op::SliceUpdateDynamic { axes } => {
            let extent = |axis: usize| update_extent(inputs, axis);
            starts("slice_update_dynamic", source, axes, 2, extent)
        }
        Op::CrossEntropy => below_last("fast.cross_entropy", source, 1, 0),
        // A segment may end, or begin, where the contracted axis ends.
        Op::SegmentedMm => below_last("segmented_mm", source, 2, 1),
        Op::GatherMm { lhs, rhs, .. } => batches("gather_mm", inputs, 2, [*lhs, *rhs]),
        Op::GatherQmm {
            biases, lhs, rhs, ..
        } => batches("gather_qmm", inputs, 3 + usize::from(*biases), [*lhs, *rhs]),
        _ => Vec::new(),
    }
}

/// Indices, the second input, along one axis of the source.
fn along(op: &'static str, source: &[i32], axis: i32) -> Vec<Indices> {
    let range = axis_index(axis, source.len()).map(|axis| {
        let size = i64::from(source[axis]);
        (1, Range::new(op, vec![size], Some(size)))
    });
    range.into_iter().collect()
}

/// Indices of slices with these extents, one input for each of `axes`, from input `first` on.
fn slices(
    op: &'static str,
    inputs: &[&Handle],
    axes: &[i32],
    first: usize,
    extents: &[i32],
) -> Vec<Indices> {
    let source = inputs.first().map_or(&[][..], |handle| handle.shape());
    let one = |(k, &axis): (usize, &i32)| {
        let axis = axis_index(axis, source.len())?;
        let size = i64::from(source[axis]);
        let end = size - i64::from(*extents.get(axis)?) + 1;
        Some((first + k, Range::new(op, vec![end], Some(size))))
    };
    axes.iter()
        .enumerate()
        .take(inputs.len().saturating_sub(first))
        .filter_map(one)
        .collect()
}

/// The start indices of one slice, in one input with an element for each of `axes`.
fn starts(
    op: &'static str,
    source: &[i32],
    axes: &[i32],
    position: usize,
    extent: impl Fn(usize) -> Option<i64>,
) -> Vec<Indices> {
    let end = |&axis: &i32| {
        let axis = axis_index(axis, source.len())?;
        Some(i64::from(source[axis]) - extent(axis)? + 1)
    };
    let ends: Option<Vec<i64>> = axes.iter().map(end).collect();
    let range = ends.map(|ends| (position, Range::new(op, ends, None)));
    range.into_iter().collect()
}

/// The extent of an update, the second input, along an axis of the source.
///
/// An update has the last axes of the source, of any size up to its own, and covers one index of the others.
fn update_extent(inputs: &[&Handle], axis: usize) -> Option<i64> {
    let (source, update) = (inputs.first()?.shape(), inputs.get(1)?.shape());
    let lead = source.len().checked_sub(update.len())?;
    match axis.checked_sub(lead) {
        None => Some(1),
        Some(k) => Some(i64::from(update[k].min(source[axis]))),
    }
}

/// Indices, in one input, that are less than the size of the source's last axis plus `beyond`.
fn below_last(op: &'static str, source: &[i32], position: usize, beyond: i64) -> Vec<Indices> {
    let end = source.last().map(|&size| i64::from(size) + beyond);
    let range = end.map(|end| (position, Range::new(op, vec![end], None)));
    range.into_iter().collect()
}

/// Ranges of the optional matrix indices of `gather_mm`: they count the matrices of each operand.
fn batches(op: &'static str, inputs: &[&Handle], first: usize, present: [bool; 2]) -> Vec<Indices> {
    let mut position = first;
    let mut found = Vec::new();
    for (operand, present) in inputs.iter().zip(present) {
        if present && position < inputs.len() {
            let shape = operand.shape();
            let batch = &shape[..shape.len().saturating_sub(2)];
            let n: i64 = batch.iter().map(|&n| i64::from(n)).product();
            found.push((position, Range::new(op, vec![n], None)));
            position += 1;
        }
    }
    found
}

/// Returns these indices, known to be in range or to become an error.
fn checked(
    indices: &Handle,
    range: Range,
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let dtype = indices.dtype();
    if !dtype.is_integer() || indices.size() == 0 {
        return indices.duplicate();
    }
    if range.ends.len() != 1 && range.ends.len() != indices.size() {
        return Err(NativeError(format!(
            "wanted {} start indices, got {}",
            range.ends.len(),
            indices.size()
        )));
    }
    if let Some(end) = range.ends.iter().find(|&&end| end < 1) {
        return Err(NativeError(format!(
            "nothing fits at any index of an axis of that size (room for {end})"
        )));
    }
    let is_gpu = stream::is_gpu(stream);
    // From a GPU many indices would have to be fetched first.
    let is_near = !is_gpu || indices.size() <= FETCHED;
    if is_near && indices.is_available()? && indices.is_row_contiguous()? {
        return match first_bad(indices, &range) {
            None => indices.duplicate(),
            Some(text) => Err(NativeError(text)),
        };
    }
    if is_gpu {
        return clamped(indices, &range, stream);
    }
    lazily(indices, range, stream)
}

/// Checks indices when they have been computed.
fn lazily(
    indices: &Handle,
    range: Range,
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let shape = indices.shape().to_vec();
    let in_composed = range.clone();
    let composed = Closure::new(Box::new(move |inputs| {
        let [indices] = inputs.as_slice() else {
            return Err(NativeError::from("wanted one input"));
        };
        Ok(vec![clamped(indices, &in_composed, stream::current()?)?])
    }))?;
    let kernel = Arc::new(
        move |inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]| {
            let ([input], [output]) = (inputs, outputs) else {
                return Err(String::from(
                    "check_indices: wanted one input and one output",
                ));
            };
            match input.dtype() {
                Dtype::Int8 => copy_checked::<i8>(input, output, &range),
                Dtype::Int16 => copy_checked::<i16>(input, output, &range),
                Dtype::Int32 => copy_checked::<i32>(input, output, &range),
                Dtype::Int64 => copy_checked::<i64>(input, output, &range),
                Dtype::Uint8 => copy_checked::<u8>(input, output, &range),
                Dtype::Uint16 => copy_checked::<u16>(input, output, &range),
                Dtype::Uint32 => copy_checked::<u32>(input, output, &range),
                _ => copy_checked::<u64>(input, output, &range),
            }
        },
    );
    let call = HostCall {
        name: c"check_indices",
        outputs: &[(shape, indices.dtype())],
        kernel,
        defines_outputs: true,
        takes_strides: false,
        composed: Some(composed),
        origins: &[],
        captured: &[],
        identity: 0,
    };
    let mut results = host::apply(call, &[indices.raw()], stream)?;
    results
        .pop()
        .ok_or_else(|| NativeError::from("check_indices gave nothing"))
}

/// Copies indices; a bad one becomes 0, so that what was queued behind this kernel stays in bounds too.
fn copy_checked<T: Index>(
    input: &HostInput<'_>,
    output: &mut HostOutput<'_>,
    range: &Range,
) -> Result<(), String> {
    let mut bad = None;
    let (from, to) = (input.as_slice::<T>()?, output.as_mut_slice::<T>()?);
    if range.contains_all(from) {
        to.copy_from_slice(from);
        return Ok(());
    }
    for (k, (&index, out)) in from.iter().zip(to).enumerate() {
        let fits = range.contains(k, index.wide());
        *out = if fits { index } else { T::default() };
        if !fits && bad.is_none() {
            bad = Some(range.message(k, index.wide()));
        }
    }
    bad.map_or(Ok(()), Err)
}

/// Returns what is wrong with the first bad index of an evaluated array, if there is one.
fn first_bad(indices: &Handle, range: &Range) -> Option<String> {
    fn find<T: Index>(indices: &Handle, range: &Range) -> Option<String> {
        let values = data::as_slice::<T>(indices).ok()?;
        if range.contains_all(values) {
            return None;
        }
        let bad = values
            .iter()
            .enumerate()
            .find(|(k, index)| !range.contains(*k, index.wide()));
        bad.map(|(k, index)| range.message(k, index.wide()))
    }
    match indices.dtype() {
        Dtype::Int8 => find::<i8>(indices, range),
        Dtype::Int16 => find::<i16>(indices, range),
        Dtype::Int32 => find::<i32>(indices, range),
        Dtype::Int64 => find::<i64>(indices, range),
        Dtype::Uint8 => find::<u8>(indices, range),
        Dtype::Uint16 => find::<u16>(indices, range),
        Dtype::Uint32 => find::<u32>(indices, range),
        _ => find::<u64>(indices, range),
    }
}

/// Clamps indices to their range with MLX's own operations.
fn clamped(
    indices: &Handle,
    range: &Range,
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let wide = one(
        &Op::Astype {
            dtype: Dtype::Int64,
        },
        &[indices],
        stream,
    )?;
    let zero = data::from_slice(&[0_i64], &[])?;
    let wrapped = match range.wrap {
        None => wide,
        Some(size) => {
            let shifted = one(&Op::Add, &[&wide, &data::from_slice(&[size], &[])?], stream)?;
            let negative = one(&Op::Less, &[&wide, &zero], stream)?;
            one(&Op::Where, &[&negative, &shifted, &wide], stream)?
        }
    };
    let last: Vec<i64> = range.ends.iter().map(|end| end - 1).collect();
    let shape = if last.len() == 1 {
        vec![]
    } else {
        indices.shape().to_vec()
    };
    let last = data::from_slice(&last, &shape)?;
    let inside = one(
        &Op::Clip {
            min: true,
            max: true,
        },
        &[&wrapped, &zero, &last],
        stream,
    )?;
    one(
        &Op::Astype {
            dtype: indices.dtype(),
        },
        &[&inside],
        stream,
    )
}

impl Range {
    fn contains(&self, k: usize, index: i128) -> bool {
        let end = i128::from(self.end(k));
        match self.wrap {
            // A negative start counts back from the size of the axis, and must leave room for its slice.
            Some(size) if index < 0 => (0..end).contains(&(index + i128::from(size))),
            _ => (0..end).contains(&index),
        }
    }

    /// Whether all are known to be in range by the least and the greatest of them.
    fn contains_all<T: Index>(&self, indices: &[T]) -> bool {
        // With one end, and where all that count back are in range too, the range has no gap.
        let &[end] = self.ends.as_slice() else {
            return false;
        };
        let [first, ..] = indices else {
            return true;
        };
        let bounds = indices
            .iter()
            .fold((*first, *first), |(least, most), &index| {
                (least.min(index), most.max(index))
            });
        let has_gap = self.wrap.is_some_and(|size| size != end);
        let fits = |index: T| (index.wide() >= 0 || !has_gap) && self.contains(0, index.wide());
        fits(bounds.0) && fits(bounds.1)
    }

    fn end(&self, k: usize) -> i64 {
        *self.ends.get(k).unwrap_or(&self.ends[0])
    }

    fn message(&self, k: usize, index: i128) -> String {
        let end = self.end(k);
        let least = self.wrap.map_or(0, |size| -size);
        format!(
            "{}: index {index} is out of range, wanted {least} to {}",
            self.op,
            end - 1
        )
    }
}

/// An integer element that can be an index.
trait Index: Element + Ord {
    fn wide(self) -> i128;
}

macro_rules! indices {
    ($($t:ty),*) => {$(impl Index for $t {
        fn wide(self) -> i128 {
            i128::from(self)
        }
    })*};
}
indices!(i8, i16, i32, i64, u8, u16, u32, u64);
