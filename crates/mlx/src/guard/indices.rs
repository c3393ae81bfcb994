//! Indices out of range: an error that names the index, never a read or write elsewhere.
//!
//! On the CPU, indices that are already computed are checked at once; others by a host kernel when they are,
//! so the error comes from `eval`. On a GPU, where nothing can report, they are clamped to the range.

use std::sync::Arc;

use super::one;
use crate::ffi::closure::Closure;
use crate::ffi::host::{self, HostCall, HostInput, HostOutput};
use crate::ffi::{Fault, Handle, data, stream};
use crate::op::Op;
use crate::{Dtype, Element};

/// The range that each of some indices must lie in.
#[derive(Clone, Debug)]
struct Range {
    /// The operation, for the message.
    op: &'static str,
    /// Exclusive upper ends; one for all indices, or one for each.
    ends: Vec<i64>,
    /// Sizes of the axes: what a negative index counts back from, or nothing when it may not be negative.
    wrap: Option<i64>,
}

/// Returns the inputs with checked indices, or nothing when `op` has no indices.
pub(super) fn check(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Vec<Handle>>, Fault> {
    let ranges = ranges(op, inputs)?;
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

/// Which inputs of `op` are indices, and their ranges. Shapes that do not fit are left for MLX to refuse.
fn ranges(op: &Op, inputs: &[&Handle]) -> Result<Vec<(usize, Range)>, Fault> {
    let source = inputs.first().map_or(&[][..], |handle| handle.shape());
    let size = |axis: i32| -> Option<i64> {
        let ndim = i32::try_from(source.len()).ok()?;
        let axis = if axis < 0 { axis + ndim } else { axis };
        source
            .get(usize::try_from(axis).ok()?)
            .map(|&n| i64::from(n))
    };
    let along = |op: &'static str, axis: i32| {
        size(axis)
            .map(|n| {
                (
                    1,
                    Range {
                        op,
                        ends: vec![n],
                        wrap: Some(n),
                    },
                )
            })
            .into_iter()
            .collect()
    };
    let slices = |op: &'static str,
                  axes: &[i32],
                  first: usize,
                  extent: &dyn Fn(usize, usize) -> Option<i64>| {
        let one = |(k, &axis): (usize, &i32)| {
            let n = size(axis)?;
            let axis = usize::try_from(if axis < 0 {
                axis + i32::try_from(source.len()).ok()?
            } else {
                axis
            })
            .ok()?;
            Some((
                first + k,
                Range {
                    op,
                    ends: vec![n - extent(k, axis)? + 1],
                    wrap: Some(n),
                },
            ))
        };
        axes.iter()
            .enumerate()
            .take(inputs.len().saturating_sub(first))
            .filter_map(one)
            .collect()
    };
    let starts =
        |op: &'static str, position: usize, axes: &[i32], extent: &dyn Fn(usize) -> Option<i64>| {
            let end = |&axis: &i32| {
                let n = size(axis)?;
                let axis = usize::try_from(if axis < 0 {
                    axis + i32::try_from(source.len()).ok()?
                } else {
                    axis
                })
                .ok()?;
                Some(n - extent(axis)? + 1)
            };
            let ends: Option<Vec<i64>> = axes.iter().map(end).collect();
            ends.map(|ends| {
                (
                    position,
                    Range {
                        op,
                        ends,
                        wrap: None,
                    },
                )
            })
            .into_iter()
            .collect()
        };
    // An update has the last axes of the source, of any size up to its own, and covers one place of the others.
    let update = |axis: usize| {
        let shape = inputs.get(1)?.shape();
        let lead = source.len().checked_sub(shape.len())?;
        match axis.checked_sub(lead) {
            None => Some(1),
            Some(k) => Some(i64::from(shape[k].min(source[axis]))),
        }
    };
    Ok(match op {
        Op::Take { axis } => along("take", *axis),
        Op::TakeAlongAxis { axis } => along("take_along_axis", *axis),
        Op::PutAlongAxis { axis } => along("put_along_axis", *axis),
        Op::ScatterAddAxis { axis } => along("scatter_add_axis", *axis),
        Op::Gather { axes, slice_sizes } => slices("gather", axes, 1, &|_, axis| {
            slice_sizes.get(axis).map(|&n| i64::from(n))
        }),
        Op::Scatter { axes }
        | Op::ScatterAdd { axes }
        | Op::ScatterMax { axes }
        | Op::ScatterMin { axes }
        | Op::ScatterProd { axes } => {
            let updates = inputs.get(1).map_or(&[][..], |handle| handle.shape());
            // Updates are [broadcast indices.., one slice of the source..].
            let lead = updates.len().saturating_sub(source.len());
            slices("scatter", axes, 2, &|_, axis| {
                updates.get(lead + axis).map(|&n| i64::from(n))
            })
        }
        Op::SliceDynamic { axes, slice_size } => starts("slice_dynamic", 1, axes, &|axis| {
            slice_size.get(axis).map(|&n| i64::from(n))
        }),
        Op::SliceUpdateDynamic { axes } => starts("slice_update_dynamic", 2, axes, &update),
        Op::CrossEntropy => {
            let range = |n| {
                (
                    1,
                    Range {
                        op: "fast.cross_entropy",
                        ends: vec![n],
                        wrap: None,
                    },
                )
            };
            size(-1).map(range).into_iter().collect()
        }
        // A segment may end, or begin, where the contracted axis ends.
        Op::SegmentedMm => {
            let range = |n| {
                (
                    2,
                    Range {
                        op: "segmented_mm",
                        ends: vec![n + 1],
                        wrap: None,
                    },
                )
            };
            size(-1).map(range).into_iter().collect()
        }
        Op::GatherMm { lhs, rhs, .. } => batches("gather_mm", inputs, 2, [*lhs, *rhs]),
        Op::GatherQmm {
            biases, lhs, rhs, ..
        } => batches("gather_qmm", inputs, 3 + usize::from(*biases), [*lhs, *rhs]),
        _ => Vec::new(),
    })
}

/// Ranges of the optional matrix indices of `gather_mm`: they count the matrices of each operand.
fn batches(
    op: &'static str,
    inputs: &[&Handle],
    first: usize,
    present: [bool; 2],
) -> Vec<(usize, Range)> {
    let mut position = first;
    let mut found = Vec::new();
    for (operand, present) in inputs.iter().zip(present) {
        if present && position < inputs.len() {
            let shape = operand.shape();
            let n: i64 = shape
                .iter()
                .take(shape.len().saturating_sub(2))
                .map(|&n| i64::from(n))
                .product();
            found.push((
                position,
                Range {
                    op,
                    ends: vec![n],
                    wrap: None,
                },
            ));
            position += 1;
        }
    }
    found
}

/// Returns these indices, known to be in range or to become an error.
fn checked(indices: &Handle, range: Range, stream: mlx_sys::mlx_stream) -> Result<Handle, Fault> {
    let dtype = indices.dtype();
    if !dtype.is_integer() || indices.size() == 0 {
        return indices.duplicate();
    }
    if range.ends.len() != 1 && range.ends.len() != indices.size() {
        return Err(Fault(format!(
            "wanted {} start indices, got {}",
            range.ends.len(),
            indices.size()
        )));
    }
    if let Some(end) = range.ends.iter().find(|&&end| end < 1) {
        return Err(Fault(format!(
            "nothing fits at any index of an axis of that size (room for {end})"
        )));
    }
    if stream::is_gpu(stream) {
        return clamped(indices, &range, stream);
    }
    if indices.is_available()? && indices.is_row_contiguous()? {
        return match first_bad(indices, &range) {
            None => indices.duplicate(),
            Some(text) => Err(Fault(text)),
        };
    }
    lazily(indices, range, stream)
}

/// Checks indices when they have been computed.
fn lazily(indices: &Handle, range: Range, stream: mlx_sys::mlx_stream) -> Result<Handle, Fault> {
    let shape = indices.shape().to_vec();
    let in_composed = range.clone();
    let composed = Closure::new(Box::new(move |inputs| {
        let [indices] = inputs.as_slice() else {
            return Err(Fault::from("wanted one input"));
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
        .ok_or_else(|| Fault::from("check_indices gave nothing"))
}

/// Copies indices; a bad one becomes 0, so that what was queued behind this kernel stays in bounds too.
fn copy_checked<T: Index>(
    input: &HostInput<'_>,
    output: &mut HostOutput<'_>,
    range: &Range,
) -> Result<(), String> {
    let mut bad = None;
    let (from, to) = (input.as_slice::<T>()?, output.as_mut_slice::<T>()?);
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
fn clamped(indices: &Handle, range: &Range, stream: mlx_sys::mlx_stream) -> Result<Handle, Fault> {
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
trait Index: Element {
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
