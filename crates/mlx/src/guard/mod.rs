//! What keeps an operation from crashing: checks and replacements before the C call.
//!
//! MLX leaves some inputs undefined on the CPU (integer division by zero, indices out of range, views beyond the
//! buffer, allocations that fail). None of them may crash or read foreign memory from safe Rust, so each becomes
//! an error or a defined value here. Everything else goes straight to the table.

mod attributes;
mod calculate;
mod canonical_attrs;
mod conv;
mod division;
mod empty;
mod float64;
mod fourier;
mod indices;
mod linalg;
mod memory;
mod order;
mod packed;
mod random;
mod ranges;
mod shapes;
mod solve;
mod view;
mod wide;

use crate::ffi::table::{self, Outputs};
use crate::ffi::{Handle, NativeError, custom, data, stream};
use crate::op::{Op, OpFlags};

pub(crate) use attributes::countable;

/// Applies an operation to handles on this thread's stream, with everything that keeps it from crashing.
pub(crate) fn execute(op: &Op, inputs: &[&Handle]) -> Result<Outputs, NativeError> {
    let (min, max) = op.arity();
    if inputs.len() < min || inputs.len() > max {
        return Err(NativeError(format!(
            "takes {} inputs, got {}",
            arity_text(min, max),
            inputs.len()
        )));
    }
    let outputs = call(op, inputs, stream::current()?)?;
    outputs
        .as_slice()
        .iter()
        .try_for_each(|output| memory::check_size(op, output))?;
    Ok(outputs)
}

fn arity_text(min: usize, max: usize) -> String {
    match max {
        usize::MAX => format!("at least {min}"),
        max if max == min => min.to_string(),
        max => format!("{min} to {max}"),
    }
}

/// Calls `op` on `stream` with whatever it needs to be safe.
fn call(op: &Op, inputs: &[&Handle], stream: mlx_sys::mlx_stream) -> Result<Outputs, NativeError> {
    if let Op::Custom(operation) = op {
        return custom::call(operation, inputs);
    }
    attributes::check(op, inputs)?;
    shapes::check(op, inputs)?;
    memory::check_inputs(op, inputs)?;
    let op = &*canonical_attrs::canonicalize(op, inputs);
    let cpu;
    let stream = if op.flags().contains(OpFlags::CPU_ONLY) && stream::is_gpu(stream) {
        cpu = stream::StreamHandle::default_of(false)?;
        cpu.raw()
    } else {
        stream
    };
    let outputs = match empty::fresh_inputs(inputs, stream)? {
        None => dispatch(op, inputs, stream)?,
        Some(fresh) => dispatch(op, &fresh.iter().collect::<Vec<_>>(), stream)?,
    };
    empty::fresh_outputs(op, inputs, outputs, stream)
}

fn dispatch(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, NativeError> {
    match op {
        Op::FloorDivide | Op::Remainder | Op::Divmod => return division::call(op, inputs, stream),
        Op::Sign => return division::sign(inputs[0], stream).map(Outputs::One),
        Op::View { dtype } => return view::call(*dtype, inputs[0], stream),
        Op::Conv { .. } => return conv::call(op, inputs, stream),
        // Without a product to add, the CPU scales what may be seen through strides as if it were a plain row.
        Op::Addmm { beta, .. } if inputs[1].shape().last() == Some(&0) => {
            let plain = table::call(
                op,
                &[inputs[0].raw(), inputs[1].raw(), inputs[2].raw()],
                stream,
            )?;
            let (shape, dtype) = (
                plain.as_slice()[0].shape().to_vec(),
                plain.as_slice()[0].dtype(),
            );
            let factor = one(
                &Op::Astype { dtype },
                &[&data::from_slice(&[*beta], &[])?],
                stream,
            )?;
            let c = one(&Op::Astype { dtype }, &[inputs[0]], stream)?;
            let scaled = one(&Op::Multiply, &[&c, &factor], stream)?;
            return one(&Op::BroadcastTo { shape }, &[&scaled], stream).map(Outputs::One);
        }
        // Of an array with negative strides MLX takes each part for one element seen many times.
        Op::Split { .. } | Op::SplitSections { .. } | Op::Unstack { .. } => {
            let in_order = Op::Contiguous {
                allow_col_major: false,
            };
            let whole = one(&in_order, inputs, stream)?;
            return table::call(op, &[whole.raw()], stream);
        }
        _ => {}
    }
    if let Some(sides) = solve::Sides::of(op, inputs, stream)? {
        let solution = checked(op, &[&sides.a, &sides.b], stream)?;
        let Outputs::One(solution) = solution else {
            return Ok(solution);
        };
        return sides.solution(solution, stream).map(Outputs::One);
    }
    checked(op, inputs, stream)
}

/// Calls what MLX has right, with inputs that it can take.
fn checked(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, NativeError> {
    if let Some(outputs) = replaced(op, inputs, stream)? {
        return Ok(outputs);
    }
    let checked = match linalg::check(op, inputs, stream)? {
        None => indices::check(op, inputs, stream)?,
        checked => checked,
    };
    let raws: Vec<_> = match &checked {
        None => inputs.iter().map(|handle| handle.raw()).collect(),
        Some(replaced) => replaced.iter().map(Handle::raw).collect(),
    };
    if let Some(solution) = solve::differentiable(op, &raws, inputs, stream)? {
        return Ok(Outputs::One(solution));
    }
    match table::call(op, &raws, stream)? {
        Outputs::One(factor) if matches!(op, Op::Cholesky { .. }) => {
            linalg::factor(&factor, stream).map(Outputs::One)
        }
        outputs => Ok(outputs),
    }
}

/// Returns what is computed in another way than MLX does it, if anything is.
fn replaced(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    for call in [
        float64::call,
        packed::call,
        fourier::call,
        wide::call,
        order::call,
        random::call,
    ] {
        if let Some(outputs) = call(op, inputs, stream)? {
            return Ok(Some(outputs));
        }
    }
    ranges::call(op, stream)
}

/// Calls an operation of the table that has one output, without any checks.
pub(crate) fn one(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let raws: Vec<_> = inputs.iter().map(|handle| handle.raw()).collect();
    table::call(op, &raws, stream)?.into_one()
}
