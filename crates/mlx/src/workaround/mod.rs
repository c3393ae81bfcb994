//! What MLX computes wrongly or dies of, computed in another way: one file for each kind.
//!
//! An operation that MLX has right goes straight to the table. `docs/upstream.md` lists the faults.

mod addmm;
mod calculate;
mod canonical_attrs;
mod complex;
mod conv;
mod division;
mod draw;
mod empty;
mod float64;
mod fourier;
mod hadamard;
mod layer_norm;
mod order;
mod packed;
mod random;
mod ranges;
mod rope;
mod solve;
mod solve_kernel;
mod view;
mod wide;

use std::borrow::Cow;

use crate::ffi::table::{self, Outputs, one};
use crate::ffi::{Handle, NativeError, custom, exporting};
use crate::op::Op;
use crate::validate;

pub(crate) use empty::fresh_outputs;

/// Returns what an operation gives when it is not the plain call of the table; nothing when it is.
pub(crate) fn replace(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    if let Op::Custom(operation) = op {
        return custom::call(operation, inputs).map(Some);
    }
    let canonical = canonical_attrs::canonicalize(op, inputs);
    let fresh = empty::fresh_inputs(inputs, stream)?;
    let is_as_given = matches!(canonical, Cow::Borrowed(_)) && fresh.is_none();
    let fresh: Option<Vec<&Handle>> = fresh.as_ref().map(|fresh| fresh.iter().collect());
    let inputs = fresh.as_deref().unwrap_or(inputs);
    match replace_op(&canonical, inputs, stream)? {
        None if !is_as_given => table::call(&canonical, &table::raws(inputs), stream).map(Some),
        outputs => Ok(outputs),
    }
}

/// The same for attributes that MLX's arithmetic takes, and inputs that have elements.
fn replace_op(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    match op {
        Op::FloorDivide | Op::Remainder | Op::Divmod => {
            return division::call(op, inputs, stream).map(Some);
        }
        Op::Sign => {
            return division::sign(inputs[0], stream).map(|sign| Some(Outputs::One(sign)));
        }
        Op::View { dtype } => return view::call(*dtype, inputs[0], stream).map(Some),
        Op::Conv { .. } => return conv::call(op, inputs, stream).map(Some),
        Op::Addmm { beta, .. } if inputs[1].shape().last() == Some(&0) => {
            return addmm::of_nothing(op, *beta, inputs, stream).map(Some);
        }
        // Of an array with negative strides MLX takes each part for one element seen many times.
        Op::Split { .. } | Op::SplitSections { .. } | Op::Unstack { .. } => {
            let in_order = Op::Contiguous {
                allow_col_major: false,
            };
            let whole = one(&in_order, inputs, stream)?;
            return table::call(op, &[whole.raw()], stream).map(Some);
        }
        _ => {}
    }
    if let Some(sides) = solve::Sides::of(op, inputs, stream)? {
        let solution = with_checked_values(op, &[&sides.a, &sides.b], stream)?;
        let solution = match solution {
            Some(solution) => solution.into_one()?,
            None => one(op, &[&sides.a, &sides.b], stream)?,
        };
        return sides
            .solution(solution, stream)
            .map(|x| Some(Outputs::One(x)));
    }
    for call in [
        float64::call,
        packed::call,
        fourier::call,
        wide::call,
        order::call,
        draw::call,
        random::call,
        ranges::call,
        rope::call,
        layer_norm::call,
        complex::call,
        hadamard::call,
    ] {
        if let Some(outputs) = call(op, inputs, stream)? {
            return Ok(Some(outputs));
        }
    }
    with_checked_values(op, inputs, stream)
}

/// Calls an operation with inputs whose values are checked when they are computed; nothing when none has to be.
fn with_checked_values(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    if let Some(outputs) = solve_kernel::call(op, inputs, stream)? {
        return Ok(Some(outputs));
    }
    // A file of MLX's holds no checks.
    if exporting::is_exporting() {
        return Ok(None);
    }
    let Some(checked) = validate::check_values(op, inputs, stream)? else {
        return Ok(None);
    };
    let raws: Vec<_> = checked.iter().map(Handle::raw).collect();
    if let Some(solution) = solve::differentiable(op, &raws, inputs, stream)? {
        return Ok(Some(Outputs::One(solution)));
    }
    let outputs = table::call(op, &raws, stream)?;
    match (op, outputs) {
        (Op::Cholesky { .. }, Outputs::One(factor)) => {
            validate::factor(&factor, stream).map(|factor| Some(Outputs::One(factor)))
        }
        (_, outputs) => Ok(Some(outputs)),
    }
}
