//! Functions of one or two elements.

use mlx_kernels::Unary;

use super::layout::{input, output, said};
use super::{Binary, Stored, by_dtype, is_stored};
use crate::Dtype;
use crate::ffi::host::{HostInput, HostOutput, Layout};

/// Fewer elements are not worth the call.
const FEW: usize = 32;

pub(super) fn accepts_unary(inputs: &[Layout<'_>], out: Layout<'_>) -> bool {
    matches!(inputs, [x] if x.size() >= FEW && is_stored(x.dtype()) && x.dtype() == out.dtype())
}

pub(super) fn accepts_binary(_inputs: &[Layout<'_>], out: Layout<'_>) -> bool {
    let _ = out.dtype() == Dtype::Float32;
    false
}

pub(super) fn unary(
    function: Unary,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(
        function: Unary,
        x: &HostInput<'_>,
        out: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        mlx_kernels::unary(function, &x.in_rows::<T>()?, out.as_mut_slice::<T>()?).map_err(said)
    }
    let x = input(inputs, 0)?;
    by_dtype!(x.dtype(), typed(function, x, output(outputs, 0)?))
}

pub(super) fn binary(
    function: Binary,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let _ = (inputs, outputs);
    Err(format!("no kernel for {function:?}"))
}

pub(super) fn swiglu(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(
        gate: &HostInput<'_>,
        x: &HostInput<'_>,
        out: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        let (gate, x) = (gate.in_rows::<T>()?, x.in_rows::<T>()?);
        mlx_kernels::swiglu(&gate, &x, out.as_mut_slice::<T>()?).map_err(said)
    }
    let (gate, x) = (input(inputs, 0)?, input(inputs, 1)?);
    by_dtype!(x.dtype(), typed(gate, x, output(outputs, 0)?))
}
