//! What keeps an operation from crashing: checks and replacements before the C call.
//!
//! MLX leaves some inputs undefined on the CPU (integer division by zero, indices out of range, views beyond the
//! buffer, allocations that fail). None of them may crash or read foreign memory from safe Rust, so each becomes
//! an error or a defined value here. Everything else goes straight to the table.

mod attributes;
mod divide;
mod indices;
mod memory;

use crate::ffi::table::{self, Outputs};
use crate::ffi::{Fault, Handle, stream};
use crate::op::Op;

pub(crate) use attributes::countable;
pub(crate) use memory::check_size;

/// Calls `op` on `stream` with whatever it needs to be safe.
pub(crate) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, Fault> {
    if let Op::Custom(custom) = op {
        return custom.call(inputs);
    }
    attributes::check(op, inputs)?;
    if matches!(op, Op::FloorDivide | Op::Remainder | Op::Divmod) {
        return divide::call(op, inputs, stream);
    }
    let checked = indices::check(op, inputs, stream)?;
    let raws: Vec<_> = match &checked {
        None => inputs.iter().map(|handle| handle.raw()).collect(),
        Some(replaced) => replaced.iter().map(|handle| handle.raw()).collect(),
    };
    if is_cpu_only(op) && stream::is_gpu(stream) {
        let cpu = stream::StreamHandle::default_of(false)?;
        return table::call(op, &raws, cpu.raw());
    }
    table::call(op, &raws, stream)
}

/// Calls an operation of the table that has one output, without any checks.
pub(crate) fn one(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, Fault> {
    let raws: Vec<_> = inputs.iter().map(|handle| handle.raw()).collect();
    match table::call(op, &raws, stream)? {
        Outputs::One(handle) => Ok(handle),
        Outputs::Many(_) => Err(Fault::from("wanted an operation with one output")),
    }
}

/// Operations that MLX has on the CPU only.
fn is_cpu_only(op: &Op) -> bool {
    matches!(
        op,
        Op::Cholesky { .. }
            | Op::CholeskyInv { .. }
            | Op::Det
            | Op::Eig
            | Op::Eigh { .. }
            | Op::Eigvals
            | Op::Eigvalsh { .. }
            | Op::Inv
            | Op::Lu
            | Op::LuFactor
            | Op::Pinv
            | Op::Qr
            | Op::Slogdet
            | Op::Solve
            | Op::SolveTriangular { .. }
            | Op::Svd { .. }
            | Op::TriInv { .. }
    )
}
