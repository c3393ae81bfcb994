//! Elementwise programs over arrays with any strides: views are read in place, block by block, and never copied whole.

use std::borrow::Cow;

use half::{bf16, f16};
use mlx_kernels::{ElementwiseProgram, StridedInput, TypedSlice, TypedSliceMut};

use super::custom::{HostKernel, host_kernel};
use super::layout::{error_text, output, size};
use super::lower::lower;
use crate::ffi::host::{HostInput, HostOutput};
use crate::program::Elementwise;
use crate::{ArrayType, Dtype, Element};

/// Makes a host kernel of elementwise operations, if the kernels have steps for all of them. Its inputs broadcast to the
/// shape of its outputs, and are read with any strides.
pub fn elementwise_kernel(
    name: &str,
    output_types: impl Fn(&[ArrayType]) -> Result<Vec<ArrayType>, String> + Send + Sync + 'static,
    elementwise: &Elementwise,
) -> Option<HostKernel> {
    let program = lower(elementwise)?;
    let run = move |inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]| {
        run(&program, inputs, outputs)
    };
    Some(host_kernel(name, output_types, run).ok()?.taking_strides())
}

/// Runs a program. Inputs have any strides and broadcast to the outputs' shape.
pub(super) fn run(
    program: &ElementwiseProgram,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let shape: Vec<usize> = output(outputs, 0)?
        .shape()
        .iter()
        .map(|&n| size(n))
        .collect();
    let read: Vec<Read<'_>> = inputs.iter().map(Read::of).collect::<Result<_, _>>()?;
    let strides: Vec<Vec<usize>> = read
        .iter()
        .zip(inputs)
        .map(|(read, input)| read.along(input.shape(), &shape))
        .collect::<Result<_, _>>()?;
    let inputs: Vec<StridedInput<'_>> = read
        .iter()
        .zip(&strides)
        .map(|(read, strides)| StridedInput {
            values: read.values.borrowed(),
            strides,
        })
        .collect();
    let mut outputs: Vec<TypedSliceMut<'_>> = outputs
        .iter_mut()
        .map(values_mut)
        .collect::<Result<_, _>>()?;
    program
        .run(&shape, &inputs, &mut outputs)
        .map_err(error_text)
}

/// An input's elements and how far apart they are.
struct Read<'a> {
    values: Elements<'a>,
    strides: Vec<usize>,
}

/// Elements in place, or a copy in rows.
enum Elements<'a> {
    F32(Cow<'a, [f32]>),
    F16(Cow<'a, [f16]>),
    Bf16(Cow<'a, [bf16]>),
    Bool(Cow<'a, [bool]>),
    I32(Cow<'a, [i32]>),
    U32(Cow<'a, [u32]>),
}

impl<'a> Read<'a> {
    fn of(input: &HostInput<'a>) -> Result<Self, String> {
        Ok(match input.dtype() {
            Dtype::Float32 => typed(input, Elements::F32)?,
            Dtype::Float16 => typed(input, Elements::F16)?,
            Dtype::Bfloat16 => typed(input, Elements::Bf16)?,
            Dtype::Bool => typed(input, Elements::Bool)?,
            Dtype::Int32 => typed(input, Elements::I32)?,
            Dtype::Uint32 => typed(input, Elements::U32)?,
            other => return Err(format!("wanted real numbers, got {other}")),
        })
    }

    /// Strides along the axes of the output, 0 along those on which the input is repeated.
    fn along(&self, from: &[i32], shape: &[usize]) -> Result<Vec<usize>, String> {
        let misfit = || format!("wanted an input that broadcasts to {shape:?}, got {from:?}");
        let lead = shape.len().checked_sub(from.len()).ok_or_else(misfit)?;
        let mut strides = vec![0; shape.len()];
        for (axis, (&n, &stride)) in from.iter().zip(&self.strides).enumerate() {
            match size(n) {
                1 => {}
                n if n == shape[lead + axis] => strides[lead + axis] = stride,
                _ => return Err(misfit()),
            }
        }
        Ok(strides)
    }
}

impl Elements<'_> {
    fn borrowed(&self) -> TypedSlice<'_> {
        match self {
            Self::F32(values) => TypedSlice::F32(values),
            Self::F16(values) => TypedSlice::F16(values),
            Self::Bf16(values) => TypedSlice::Bf16(values),
            Self::Bool(values) => TypedSlice::Bool(values),
            Self::I32(values) => TypedSlice::I32(values),
            Self::U32(values) => TypedSlice::U32(values),
        }
    }
}

fn typed<'a, T: Element>(
    input: &HostInput<'a>,
    elements: impl Fn(Cow<'a, [T]>) -> Elements<'a>,
) -> Result<Read<'a>, String> {
    if let Some(values) = input.as_strided::<T>()? {
        let strides = input.layout().strides().iter();
        // Where an axis has one element, its stride is never used and may be anything.
        let strides = strides.map(|&stride| usize::try_from(stride).unwrap_or(0));
        return Ok(Read {
            values: elements(Cow::Borrowed(values)),
            strides: strides.collect(),
        });
    }
    // Programs only go forwards.
    let shape: Vec<usize> = input.shape().iter().map(|&n| size(n)).collect();
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    Ok(Read {
        values: elements(input.to_contiguous::<T>()?),
        strides,
    })
}

fn values_mut<'a>(output: &'a mut HostOutput<'_>) -> Result<TypedSliceMut<'a>, String> {
    Ok(match output.dtype() {
        Dtype::Float32 => TypedSliceMut::F32(output.as_mut_slice()?),
        Dtype::Float16 => TypedSliceMut::F16(output.as_mut_slice()?),
        Dtype::Bfloat16 => TypedSliceMut::Bf16(output.as_mut_slice()?),
        Dtype::Bool => TypedSliceMut::Bool(output.as_mut_slice()?),
        other => return Err(format!("wanted real numbers, got {other}")),
    })
}
