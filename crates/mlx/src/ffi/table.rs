//! The calls of the operation table: each line of `op/table.rs` becomes one checked C call.

use mlx_sys as sys;

use super::call::{api, check};
use super::exporting::is_exporting;
use super::handle::{Handle, null_array};
use super::vector::Vector;
use crate::dtype::Dtype;
use crate::error::NativeError;
use crate::op::table::op_table;
use crate::op::{Op, OpString};

// What follows the arguments is the stream in every function of the table.
// SAFETY (of each block): input handles and the stream are borrowed from live Rust values for the call; the
// result slots are empty, so C allocates new handles which the returned values own; list and text arguments
// point into `op` or into temporaries that live to the end of the statement.
macro_rules! call_with {
    (fused, ($op:ident, $i:ident), $api:ident, $function:ident, (), $stream:ident) => {{
        let mut bytes = Vec::with_capacity(32);
        $op.encode(&mut bytes);
        let mut out = null_array();
        // SAFETY: see above `call_with`.
        let status = unsafe { $api.$function(&mut out, bytes.as_ptr(), bytes.len(), $i.as_ptr(), $i.len(), $stream) };
        check($api, status)?;
        Ok(Outputs::One(Handle::from_raw(out)))
    }};
    (one, ($op:ident, $i:ident), $api:ident, $function:ident, ($($argument:expr),*), $stream:ident) => {{
        let mut out = null_array();
        // SAFETY: see above `call_with`.
        let status = unsafe { $api.$function(&mut out, $($argument,)* $stream) };
        check($api, status)?;
        Ok(Outputs::One(Handle::from_raw(out)))
    }};
    (two, ($op:ident, $i:ident), $api:ident, $function:ident, ($($argument:expr),*), $stream:ident) => {{
        let (mut first, mut second) = (null_array(), null_array());
        // SAFETY: see above `call_with`.
        let status = unsafe { $api.$function(&mut first, &mut second, $($argument,)* $stream) };
        check($api, status)?;
        Ok(Outputs::Many(vec![Handle::from_raw(first), Handle::from_raw(second)]))
    }};
    (many, ($op:ident, $i:ident), $api:ident, $function:ident, ($($argument:expr),*), $stream:ident) => {{
        let mut out = Vector::new()?;
        // SAFETY: see above `call_with`.
        let status = unsafe { $api.$function(out.slot(), $($argument,)* $stream) };
        check($api, status)?;
        Ok(Outputs::Many(out.handles()?))
    }};
}

macro_rules! define_call {
    ($i:ident; $(
        $name:ident $({ $($attr:ident : $type:ty),* })? $text:literal ($least:expr, $most:expr)
        [$($flag:ident)|+] $outputs:ident $function:ident ( $($argument:expr),* );
    )*) => {
        /// Builds the (lazy) result of an operation of the table on `stream`.
        ///
        /// The number of inputs has been checked against [`Op::arity`] by the caller, `bind`.
        // A fused operation crosses as a whole, and its attributes are not read one by one.
        #[allow(unused_variables)]
        pub(crate) fn call(op: &Op, $i: &[sys::mlx_array], stream: sys::mlx_stream) -> Result<Outputs, NativeError> {
            let api = api()?;
            let copied = Op::Copy;
            let op = match op {
                // What MLX writes to a file has no such operation, and reads any layout.
                Op::Contiguous { .. } if is_exporting() => &copied,
                op => op,
            };
            match op {
                $(Op::$name $({ $($attr),* })? => {
                    call_with!($outputs, (op, $i), api, $function, ($($argument),*), stream)
                })*
                Op::Custom(_) => Err(NativeError::from("a custom operation has no line in the table")),
            }
        }
    };
}

op_table!(define_call);

/// Calls an operation of the table that has one output, without any checks.
pub(crate) fn one(
    op: &Op,
    inputs: &[&Handle],
    stream: sys::mlx_stream,
) -> Result<Handle, NativeError> {
    call(op, &raws(inputs), stream)?.into_one()
}

/// What the functions of the table take.
pub(crate) fn raws(inputs: &[&Handle]) -> Vec<sys::mlx_array> {
    inputs.iter().map(|handle| handle.raw()).collect()
}

/// What an operation gives.
pub(crate) enum Outputs {
    /// One array.
    One(Handle),
    /// Several, also when there happens to be one.
    Many(Vec<Handle>),
}

impl Outputs {
    pub(crate) fn as_slice(&self) -> &[Handle] {
        match self {
            Outputs::One(handle) => std::slice::from_ref(handle),
            Outputs::Many(handles) => handles,
        }
    }

    /// Returns the only array.
    pub(crate) fn into_one(self) -> Result<Handle, NativeError> {
        match self {
            Outputs::One(handle) => Ok(handle),
            Outputs::Many(_) => Err(NativeError::from("wanted an operation with one output")),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Handle> {
        match self {
            Outputs::One(handle) => vec![handle],
            Outputs::Many(handles) => handles,
        }
    }
}

/// The input at `index`, or none.
fn nth(inputs: &[sys::mlx_array], index: usize) -> sys::mlx_array {
    inputs.get(index).copied().unwrap_or_else(null_array)
}

/// The input at `index` if the operation has it.
fn nth_if(inputs: &[sys::mlx_array], index: usize, present: bool) -> sys::mlx_array {
    if present {
        nth(inputs, index)
    } else {
        null_array()
    }
}

fn optional_f32(value: Option<f32>) -> sys::mlx_optional_float {
    sys::mlx_optional_float {
        value: value.unwrap_or(0.0),
        has_value: value.is_some(),
    }
}

fn optional_dtype(value: Option<Dtype>) -> sys::mlx_optional_dtype {
    sys::mlx_optional_dtype {
        value: value.unwrap_or(Dtype::Float32).raw(),
        has_value: value.is_some(),
    }
}

/// The group with this name, which `validate` has found.
fn group_of(name: &OpString) -> sys::mlx_distributed_group {
    super::distributed::handle(name.to_string())
}

fn some_i32(value: i32) -> sys::mlx_optional_int {
    sys::mlx_optional_int {
        value,
        has_value: true,
    }
}
