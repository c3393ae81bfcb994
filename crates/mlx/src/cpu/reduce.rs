//! Reductions over any axes, and the places of maxima and minima.
//!
//! An array that is dense in any order of its axes is reduced as it is stored, over one group of neighbouring axes after
//! the other, the last one first; sums between two groups are `float32`. Views with gaps are copied first. Where the axes
//! that stay are stored in another order than their own, the result is, and is copied.

use std::borrow::Cow;

use mlx_kernels::{FoldKind, ReduceShape};

use super::by_type::element_type;
use super::layout::{error_text, input, output, size};
use crate::ffi::host::{HostInput, HostOutput, Layout};
use crate::shape::axis_index;

/// An array as it is stored: the axes that are longer than 1, from the outermost on.
pub(super) struct Memory {
    /// The sizes of runs of axes, and whether a run is reduced; no two neighbours are alike.
    runs: Vec<(usize, bool)>,
    /// The axes that stay.
    kept: Vec<usize>,
    /// Whether the array itself is dense; a copy in row-major order is otherwise.
    is_dense: bool,
}

impl Memory {
    pub(super) fn of(axes: &[i32], x: Layout<'_>) -> Option<Self> {
        let ndim = x.shape().len();
        let axes: Vec<usize> = axes
            .iter()
            .map(|&axis| axis_index(axis, ndim))
            .collect::<Option<_>>()?;
        let mut order: Vec<usize> = (0..ndim).filter(|&axis| x.shape()[axis] != 1).collect();
        order.sort_by_key(|&axis| std::cmp::Reverse(x.strides()[axis]));
        let mut expected = 1;
        let is_dense = order.iter().rev().all(|&axis| {
            let fits = x.strides()[axis] == expected;
            expected *= i64::from(x.shape()[axis]);
            fits
        });
        if !is_dense {
            order.sort_unstable();
        }
        let mut runs: Vec<(usize, bool)> = Vec::new();
        for &axis in &order {
            let (n, is_reduced) = (size(x.shape()[axis]), axes.contains(&axis));
            match runs.last_mut() {
                Some((size, same)) if *same == is_reduced => *size *= n,
                _ => runs.push((n, is_reduced)),
            }
        }
        order.retain(|axis| !axes.contains(axis));
        Some(Self {
            runs,
            kept: order,
            is_dense,
        })
    }

    /// Whether there is at most one run to reduce.
    pub(super) fn is_simple(&self) -> bool {
        let reduced = self.runs.iter().filter(|(_, is_reduced)| *is_reduced);
        reduced.count() <= 1
    }

    /// Calls `reduce` with memory for the result, and brings that into the order of its axes.
    fn write(
        &self,
        x: Layout<'_>,
        out: &mut HostOutput<'_>,
        reduce: impl FnOnce(&mut [u8]) -> mlx_kernels::Result<()>,
    ) -> Result<(), String> {
        if self.kept.is_sorted() {
            return reduce(out.as_mut_bytes()).map_err(error_text);
        }
        let mut axes: Vec<(usize, usize, isize)> = Vec::with_capacity(self.kept.len());
        let mut stride = 1;
        for &axis in self.kept.iter().rev() {
            let n = size(x.shape()[axis]);
            axes.push((axis, n, stride));
            stride *= n as isize;
        }
        axes.sort_unstable();
        let shape: Vec<usize> = axes.iter().map(|&(_, n, _)| n).collect();
        let strides: Vec<isize> = axes.iter().map(|&(.., stride)| stride).collect();
        let layout = (shape.as_slice(), strides.as_slice());
        let element = out.dtype().size();
        mlx_kernels::write_with_strides(element, layout, out.as_mut_bytes(), reduce)
            .map_err(error_text)
    }

    /// Shapes of one reduction after the other.
    fn steps(&self) -> Vec<ReduceShape> {
        let mut runs = self.runs.clone();
        let mut steps = Vec::new();
        while let Some(at) = runs.iter().rposition(|(_, is_reduced)| *is_reduced) {
            let product = |runs: &[(usize, bool)]| runs.iter().map(|(n, _)| n).product();
            steps.push(ReduceShape {
                outer: product(&runs[..at]),
                reduced: runs[at].0,
                inner: product(&runs[at + 1..]),
            });
            runs.remove(at);
        }
        if steps.is_empty() {
            let all: usize = runs.iter().map(|(n, _)| n).product();
            steps.push(ReduceShape {
                outer: all,
                reduced: 1,
                inner: 1,
            });
        }
        steps
    }
}

/// The bytes of the elements as they lie in memory, or copied in row-major order.
fn bytes<'a>(memory: &Memory, x: &HostInput<'a>) -> Result<Cow<'a, [u8]>, String> {
    if memory.is_dense {
        x.strided_bytes().map(Cow::Borrowed)
    } else {
        x.contiguous_bytes()
    }
}

pub(super) fn run(
    kind: FoldKind,
    axes: &[i32],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let x = input(inputs, 0)?;
    let memory = Memory::of(axes, x.layout()).ok_or("wanted axes of the array")?;
    let of = element_type(x.dtype());
    let elements = bytes(&memory, x)?;
    memory.write(x.layout(), output(outputs, 0)?, |out| {
        mlx_kernels::fold_values(kind, of, &memory.steps(), &elements, out)
    })
}

/// Where the maximum, or the minimum, along one axis is.
pub(super) fn arg_reduce(
    is_max: bool,
    axis: i32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let x = input(inputs, 0)?;
    let memory = Memory::of(&[axis], x.layout()).ok_or("wanted an axis of the array")?;
    let of = element_type(x.dtype());
    let elements = bytes(&memory, x)?;
    memory.write(x.layout(), output(outputs, 0)?, |out| {
        let shape = memory.steps()[0];
        mlx_kernels::arg_reduce_values(is_max, of, shape, &elements, out)
    })
}
