//! Functions of one or two elements.

use mlx_kernels::{Binary, Program, Simple, Step, Unary};

use super::layout::{input, output, said};
use super::{Stored, by_dtype, is_stored, region};
use crate::ffi::host::{HostInput, HostOutput, Layout};

/// Fewer elements are not worth the call.
const FEW: usize = 32;
/// The same for functions that MLX's own loops compute in an instruction.
const MANY: usize = 4096;

pub(super) fn accepts_unary(inputs: &[Layout<'_>], out: Layout<'_>) -> bool {
    matches!(inputs, [x] if x.size() >= FEW && is_stored(x.dtype()) && x.dtype() == out.dtype())
}

/// One or two inputs of the output's dtype, in any order that goes forwards.
pub(super) fn accepts_region(inputs: &[Layout<'_>], out: Layout<'_>) -> bool {
    let fits = |x: &Layout<'_>| {
        x.dtype() == out.dtype()
            && x.shape() == out.shape()
            && x.strides().iter().all(|&stride| stride >= 0)
    };
    out.size() >= MANY && is_stored(out.dtype()) && inputs.iter().all(fits)
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
    if !x.layout().is_row_contiguous() {
        return run(&[Step::Input(0), Step::Unary(function, 0)], inputs, outputs);
    }
    by_dtype!(x.dtype(), typed(function, x, output(outputs, 0)?))
}

pub(super) fn simple(
    function: Simple,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    run(
        &[Step::Input(0), Step::Simple(function, 0)],
        inputs,
        outputs,
    )
}

pub(super) fn binary(
    function: Binary,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let steps = [Step::Input(0), Step::Input(1), Step::Binary(function, 0, 1)];
    run(&steps, inputs, outputs)
}

/// Runs steps of which the last is the result.
fn run(
    steps: &[Step],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let program = Program::new(inputs.len(), steps, &[steps.len() - 1]).map_err(said)?;
    region::run(&program, inputs, outputs)
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
    if inputs.iter().any(|x| !x.layout().is_row_contiguous()) {
        // Halves of one array: read where they lie, block by block, rather than copied whole.
        let steps = [
            Step::Input(0),
            Step::Input(1),
            Step::Unary(Unary::Silu, 0),
            Step::Binary(Binary::Multiply, 2, 1),
        ];
        return run(&steps, inputs, outputs);
    }
    by_dtype!(x.dtype(), typed(gate, x, output(outputs, 0)?))
}
