//! Functions of one or two elements.

use half::{bf16, f16};
use mlx_kernels::{Binary, Program, RegionInput, Simple, Step, Unary, Values, ValuesMut};

use super::layout::{input, output, said, size};
use super::{Stored, by_dtype, is_stored};
use crate::Dtype;
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
    let out = output(outputs, 0)?;
    let shape: Vec<usize> = out.shape().iter().map(|&axis| size(axis)).collect();
    let strides: Vec<Vec<usize>> = inputs.iter().map(strides).collect::<Result<_, _>>()?;
    let inputs: Vec<RegionInput<'_>> = inputs
        .iter()
        .zip(&strides)
        .map(|(input, strides)| {
            let values = values(input)?;
            Ok(RegionInput { values, strides })
        })
        .collect::<Result<_, String>>()?;
    let out = match out.dtype() {
        Dtype::Float32 => ValuesMut::F32(out.as_mut_slice()?),
        Dtype::Float16 => ValuesMut::F16(out.as_mut_slice()?),
        _ => ValuesMut::Bf16(out.as_mut_slice()?),
    };
    program.run(&shape, &inputs, &mut [out]).map_err(said)
}

/// Where the elements of an input are along the axes of the output, which has its shape.
fn strides(input: &HostInput<'_>) -> Result<Vec<usize>, String> {
    let layout = input.layout();
    let axes = layout.shape().iter().zip(layout.strides());
    axes.map(|(&size, &stride)| match size {
        1 => Ok(0),
        _ => usize::try_from(stride).map_err(|_| format!("a stride is {stride}")),
    })
    .collect()
}

fn values<'a>(input: &HostInput<'a>) -> Result<Values<'a>, String> {
    const BACKWARDS: &str = "strides go backwards";
    Ok(match input.dtype() {
        Dtype::Float32 => Values::F32(input.as_strided()?.ok_or(BACKWARDS)?),
        Dtype::Float16 => Values::F16(input.as_strided::<f16>()?.ok_or(BACKWARDS)?),
        Dtype::Bfloat16 => Values::Bf16(input.as_strided::<bf16>()?.ok_or(BACKWARDS)?),
        other => return Err(format!("no kernel reads {other}")),
    })
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
