//! Slices of several element types, which programs read and write; values in between are `f32`.

use half::{bf16, f16};

use super::{Instruction, UnaryOp};
use crate::element::private::Storage;
use crate::simd::f32_to_f16::{f32_to_bf16, f32_to_f16};
use crate::simd::streaming_store;

/// Elements that a program reads.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum TypedSlice<'a> {
    /// Read as they are.
    F32(&'a [f32]),
    /// Converted to `f32`.
    F16(&'a [f16]),
    /// Converted to `f32`.
    Bf16(&'a [bf16]),
    /// Read as 0 and 1.
    Bool(&'a [bool]),
    /// Rounded to the nearest `f32`.
    I32(&'a [i32]),
    /// Rounded to the nearest `f32`.
    U32(&'a [u32]),
}

/// Elements that a program writes.
#[derive(Debug)]
#[non_exhaustive]
pub enum TypedSliceMut<'a> {
    /// Written as they are.
    F32(&'a mut [f32]),
    /// Rounded to the nearest.
    F16(&'a mut [f16]),
    /// Rounded to the nearest.
    Bf16(&'a mut [bf16]),
    /// Written as whether the value is not 0.
    Bool(&'a mut [bool]),
}

impl TypedSlice<'_> {
    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::U32(values) => values.len(),
        }
    }

    /// The element at an index that has been checked.
    pub(super) fn at(&self, index: usize) -> f32 {
        match self {
            Self::F32(values) => values[index],
            Self::F16(values) => values[index].to_f32(),
            Self::Bf16(values) => values[index].to_f32(),
            Self::Bool(values) => bool_to_f32(values[index]),
            Self::I32(values) => values[index] as f32,
            Self::U32(values) => values[index] as f32,
        }
    }

    /// Reads `out.len()` elements from `start` on, `stride` apart.
    pub(super) fn read(&self, start: usize, stride: usize, out: &mut [f32]) {
        if stride != 1 {
            match self {
                Self::F32(values) => convert_strided(&values[start..], stride, out, |value| value),
                Self::F16(values) => convert_strided(&values[start..], stride, out, f16::to_f32),
                Self::Bf16(values) => convert_strided(&values[start..], stride, out, bf16::to_f32),
                Self::Bool(values) => convert_strided(&values[start..], stride, out, bool_to_f32),
                Self::I32(values) => {
                    convert_strided(&values[start..], stride, out, |value| value as f32)
                }
                Self::U32(values) => {
                    convert_strided(&values[start..], stride, out, |value| value as f32)
                }
            }
            return;
        }
        let range = start..start + out.len();
        match self {
            Self::F32(values) => out.copy_from_slice(&values[range]),
            Self::F16(values) => {
                f16::read_inline(&values[range], out);
            }
            Self::Bf16(values) => {
                bf16::read_inline(&values[range], out);
            }
            Self::Bool(values) => convert(&values[range], out, bool_to_f32),
            Self::I32(values) => convert(&values[range], out, |value| value as f32),
            Self::U32(values) => convert(&values[range], out, |value| value as f32),
        }
    }
}

fn convert<T: Copy, U>(from: &[T], to: &mut [U], of: impl Fn(T) -> U) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = of(*from);
    }
}

/// Converts elements that are `stride` apart, at least 1.
fn convert_strided<T: Copy>(from: &[T], stride: usize, to: &mut [f32], of: impl Fn(T) -> f32) {
    for (to, from) in to.iter_mut().zip(from.iter().step_by(stride)) {
        *to = of(*from);
    }
}

fn bool_to_f32(value: bool) -> f32 {
    f32::from(u8::from(value))
}

impl Default for TypedSliceMut<'_> {
    fn default() -> Self {
        Self::F32(&mut [])
    }
}

impl<'a> TypedSliceMut<'a> {
    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::Bool(values) => values.len(),
        }
    }

    /// All elements, reborrowed.
    pub(super) fn reborrow(&mut self) -> TypedSliceMut<'_> {
        match self {
            Self::F32(values) => TypedSliceMut::F32(values),
            Self::F16(values) => TypedSliceMut::F16(values),
            Self::Bf16(values) => TypedSliceMut::Bf16(values),
            Self::Bool(values) => TypedSliceMut::Bool(values),
        }
    }

    /// Splits off the first elements.
    pub(super) fn take_first(&mut self, count: usize) -> Self {
        match self {
            Self::F32(values) => Self::F32(split_off(values, count)),
            Self::F16(values) => Self::F16(split_off(values, count)),
            Self::Bf16(values) => Self::Bf16(split_off(values, count)),
            Self::Bool(values) => Self::Bool(split_off(values, count)),
        }
    }

    /// Whether an instruction does no more than writing to this slice does.
    pub(super) fn rounds_by(&self, instruction: Instruction) -> bool {
        matches!(
            (self, instruction),
            (Self::F16(_), Instruction::Unary(UnaryOp::RoundToF16, _))
                | (Self::Bf16(_), Instruction::Unary(UnaryOp::RoundToBf16, _))
        )
    }

    /// Writes values at `start`, with streaming stores if `stream`.
    pub(super) fn write(&mut self, start: usize, values: &[f32], stream: bool) {
        let range = start..start + values.len();
        match self {
            Self::F32(out) if stream => streaming_store::copy(values, &mut out[range]),
            Self::F32(out) => out[range].copy_from_slice(values),
            Self::F16(out) => f32_to_f16(values, &mut out[range]),
            Self::Bf16(out) => f32_to_bf16(values, &mut out[range]),
            Self::Bool(out) => convert(values, &mut out[range], |value| value != 0.0),
        }
    }
}

fn split_off<'a, T>(values: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    let (first, rest) = std::mem::take(values).split_at_mut(count);
    *values = rest;
    first
}
