//! Systems of equations whose sides differ in rank or dtype: they broadcast as NumPy's, which MLX does only in part.

use crate::Dtype;
use crate::ffi::table::{self, Outputs, one};
use crate::ffi::{Handle, NativeError, inspect};
use crate::op::Op;

/// The two sides of `a @ x == b` as MLX takes them.
pub(super) struct Sides {
    pub(super) a: Handle,
    pub(super) b: Handle,
    /// Whether `b` was a vector, which is one column now.
    is_vector: bool,
}

impl Sides {
    /// Returns the sides in one dtype and with as many leading axes; nothing when MLX takes them as they are.
    ///
    /// As in NumPy 2, `b` of one axis is a vector, and otherwise a matrix for each element of its leading axes.
    pub(super) fn of(
        op: &Op,
        inputs: &[&Handle],
        stream: mlx_sys::mlx_stream,
    ) -> Result<Option<Self>, NativeError> {
        let (Op::Solve | Op::SolveTriangular { .. }, &[a, b]) = (op, inputs) else {
            return Ok(None);
        };
        check_leading_axes(a.shape(), b.shape())?;
        let dtype = common_dtype(a.dtype(), b.dtype());
        let (a_ndim, b_ndim) = (a.shape().len(), b.shape().len());
        // A product broadcasts by itself: only the exchange of rows wants as many axes.
        let is_ragged = *op == Op::Solve && a_ndim != b_ndim && a_ndim > 1 && b_ndim > 0;
        let is_vector = is_ragged && b_ndim == 1 && a_ndim > 2;
        let is_ragged = is_ragged && (is_vector || b_ndim > 1);
        if dtype.is_none() && !is_ragged {
            return Ok(None);
        }
        let mut sides = [a.duplicate()?, b.duplicate()?];
        if let Some(dtype) = dtype {
            for side in &mut sides {
                *side = one(&Op::Astype { dtype }, &[side], stream)?;
            }
        }
        let [mut a, mut b] = sides;
        if is_vector {
            b = one(&Op::ExpandDims { axes: vec![-1] }, &[&b], stream)?;
        }
        if is_ragged {
            a = in_front(a, b.shape().len(), stream)?;
            b = in_front(b, a.shape().len(), stream)?;
        }
        Ok(Some(Self { a, b, is_vector }))
    }

    /// Returns the solution in the shape of what was given.
    pub(super) fn solution(
        &self,
        solution: Handle,
        stream: mlx_sys::mlx_stream,
    ) -> Result<Handle, NativeError> {
        if self.is_vector {
            one(&Op::Squeeze { axes: vec![-1] }, &[&solution], stream)
        } else {
            Ok(solution)
        }
    }
}

/// Returns the solution by factors of `a` if a transform works on it: MLX would take a gradient of the order of rows.
pub(super) fn differentiable(
    op: &Op,
    inputs: &[mlx_sys::mlx_array],
    originals: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Handle>, NativeError> {
    let (Op::Solve, &[a, b], &[original, side]) = (op, inputs, originals) else {
        return Ok(None);
    };
    if !inspect::is_tracer(original)? {
        return Ok(None);
    }
    // Says what it does not like; nothing of it is computed.
    drop(table::call(op, inputs, stream)?);
    let factors = table::call(&Op::Lu, &[a], stream)?.into_vec();
    let [rows, lower, upper] = &factors[..] else {
        return Err(NativeError::from("wanted three factors"));
    };
    let mut order = one(&Op::Argsort { axis: -1 }, &[rows], stream)?;
    let mut axis = -1;
    if side.ndim() > 1 {
        order = one(&Op::ExpandDims { axes: vec![-1] }, &[&order], stream)?;
        axis = -2;
    }
    let order = one(&Op::StopGradient, &[&order], stream)?;
    let Outputs::One(b) = table::call(&Op::TakeAlongAxis { axis }, &[b, order.raw()], stream)?
    else {
        return Err(NativeError::from("wanted one array of rows"));
    };
    let y = one(&Op::SolveTriangular { upper: false }, &[lower, &b], stream)?;
    one(&Op::SolveTriangular { upper: true }, &[upper, &y], stream).map(Some)
}

/// Adds axes of size 1 in front until there are `ndim`.
fn in_front(x: Handle, ndim: usize, stream: mlx_sys::mlx_stream) -> Result<Handle, NativeError> {
    let missing = ndim.saturating_sub(x.shape().len());
    if missing == 0 {
        return Ok(x);
    }
    let axes = (0..missing)
        .filter_map(|axis| i32::try_from(axis).ok())
        .collect();
    one(&Op::ExpandDims { axes }, &[&x], stream)
}

/// The dtype that both sides are taken to, if they differ: MLX factorizes `a` before it reads that of `b`.
fn common_dtype(a: Dtype, b: Dtype) -> Option<Dtype> {
    let has = |dtype| a == dtype || b == dtype;
    match () {
        () if a == b || has(Dtype::Complex64) => None,
        () if has(Dtype::Float64) => Some(Dtype::Float64),
        () if has(Dtype::Float32) => Some(Dtype::Float32),
        () => None,
    }
}

/// Leading axes of two matrices broadcast, or are named.
fn check_leading_axes(a: &[i32], b: &[i32]) -> Result<(), NativeError> {
    let lead = |shape: &[i32]| shape[..shape.len().saturating_sub(2)].to_vec();
    let (lead_a, lead_b) = (lead(a), lead(b));
    let pairs = lead_a.iter().rev().zip(lead_b.iter().rev());
    if pairs.into_iter().all(|(&m, &n)| m == n || m == 1 || n == 1) {
        return Ok(());
    }
    Err(NativeError(format!(
        "the leading axes of {a:?} and {b:?} must broadcast, got {lead_a:?} and {lead_b:?}"
    )))
}
