//! Functions of one to three elements of any dtype and with any strides, each in one pass: which there are, and which
//! kernel computes them.

use mlx_kernels::{BinaryOp, Bits, Number, StridedSlice, UnaryOp};

use super::by_type::element_type;
use super::elementwise::{activation_of, binary_of, simple_of, unary_of};
use super::layout::{error_text, input, output, size};
use crate::Dtype;
use crate::ffi::host::{ElementBits, HostInput, HostOutput};
use crate::op::Op;

/// What an operation is to the kernels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// A function of one element.
    Map(UnaryOp),
    /// A function of two.
    Zip(BinaryOp),
    /// Truth values of two.
    Compare(BinaryOp),
    /// One of two by a condition.
    Select,
    /// The elements of another dtype.
    Cast,
}

/// The form of an operation.
pub(super) fn form_of(op: &Op) -> Option<Form> {
    Some(match op {
        Op::Where => Form::Select,
        Op::Astype { .. } => Form::Cast,
        Op::Equal | Op::NotEqual | Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => {
            Form::Compare(binary_of(op)?)
        }
        Op::BitwiseAnd => Form::Zip(BinaryOp::BitwiseAnd),
        Op::BitwiseOr => Form::Zip(BinaryOp::BitwiseOr),
        Op::BitwiseXor => Form::Zip(BinaryOp::BitwiseXor),
        Op::LeftShift => Form::Zip(BinaryOp::LeftShift),
        Op::RightShift => Form::Zip(BinaryOp::RightShift),
        Op::FloorDivide => Form::Zip(BinaryOp::FloorDivide),
        Op::Remainder => Form::Zip(BinaryOp::Remainder),
        Op::SwiGlu => Form::Zip(BinaryOp::Swiglu),
        Op::BitwiseInvert => Form::Map(UnaryOp::BitwiseInvert),
        _ => match unary_of(op)
            .or_else(|| simple_of(op))
            .or_else(|| activation_of(op))
        {
            Some(function) => Form::Map(function),
            None => Form::Zip(binary_of(op)?),
        },
    })
}

/// Calls a function that is generic over the number with that of a dtype; truth values are the numbers 0 and 1.
macro_rules! by_number {
    ($dtype:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match $dtype {
            Dtype::Bool | Dtype::Uint8 => $function::<u8>($($argument),*),
            Dtype::Uint16 => $function::<u16>($($argument),*),
            Dtype::Uint32 => $function::<u32>($($argument),*),
            Dtype::Uint64 => $function::<u64>($($argument),*),
            Dtype::Int8 => $function::<i8>($($argument),*),
            Dtype::Int16 => $function::<i16>($($argument),*),
            Dtype::Int32 => $function::<i32>($($argument),*),
            Dtype::Int64 => $function::<i64>($($argument),*),
            Dtype::Float16 => $function::<half::f16>($($argument),*),
            Dtype::Bfloat16 => $function::<half::bf16>($($argument),*),
            Dtype::Float32 => $function::<f32>($($argument),*),
            Dtype::Float64 => $function::<f64>($($argument),*),
            Dtype::Complex64 => $function::<[f32; 2]>($($argument),*),
        }
    };
}

/// Calls a function that is generic over the bits of an element with those of a size.
macro_rules! by_size {
    ($dtype:expr, $function:ident $(:: < $first:ty >)? ( $($argument:expr),* $(,)? )) => {
        match $dtype.size() {
            1 => $function::<$($first,)? u8>($($argument),*),
            2 => $function::<$($first,)? u16>($($argument),*),
            4 => $function::<$($first,)? u32>($($argument),*),
            _ => $function::<$($first,)? u64>($($argument),*),
        }
    };
}

/// Whether the kernels compute a form of elements of a dtype, and faster than MLX.
pub(super) fn has_kernel(form: Form, dtype: Dtype, output: Dtype) -> bool {
    match form {
        // MLX shares the memory of what it need not compute.
        Form::Map(UnaryOp::Abs) if dtype.kind() == crate::dtype::DtypeKind::Unsigned => false,
        // Of NaN, MLX's is 0.
        Form::Map(UnaryOp::Sign) if dtype.is_inexact() || dtype == Dtype::Bool => false,
        Form::Map(op) if dtype == Dtype::Bool => op == UnaryOp::Not && output == dtype,
        Form::Map(op) => output == dtype && by_number!(dtype, has_unary(op)),
        Form::Zip(op) if dtype == Dtype::Bool => truth_function(op).is_some() && output == dtype,
        Form::Zip(op) => output == dtype && by_number!(dtype, has_binary(op)),
        Form::Compare(op) => output == Dtype::Bool && by_number!(dtype, has_comparison(op)),
        Form::Select => output == dtype && dtype != Dtype::Complex64,
        Form::Cast => dtype != output && [dtype, output].iter().all(|of| *of != Dtype::Complex64),
    }
}

fn has_unary<T: Number>(op: UnaryOp) -> bool {
    mlx_kernels::has_unary::<T>(op)
}

fn has_binary<T: Number>(op: BinaryOp) -> bool {
    mlx_kernels::has_binary::<T>(op)
}

fn has_comparison<T: Number>(op: BinaryOp) -> bool {
    mlx_kernels::has_comparison::<T>(op)
}

/// A function of truth values as one of the numbers 0 and 1. As in C++, a sum is true if either is.
fn truth_function(op: BinaryOp) -> Option<BinaryOp> {
    use BinaryOp as Two;
    match op {
        Two::And | Two::BitwiseAnd | Two::Multiply | Two::Minimum => Some(Two::BitwiseAnd),
        Two::Or | Two::BitwiseOr | Two::Add | Two::Maximum => Some(Two::BitwiseOr),
        Two::BitwiseXor => Some(Two::BitwiseXor),
        _ => None,
    }
}

/// Computes a form.
pub(super) fn run(
    form: Form,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let call = Call {
        shape: output(outputs, 0)?
            .shape()
            .iter()
            .map(|&n| size(n))
            .collect(),
        inputs,
    };
    let out = output(outputs, 0)?;
    let dtype = input(inputs, 0)?.dtype();
    match form {
        Form::Map(op) => by_number!(dtype, map(op, &call, out)),
        Form::Zip(op) => {
            let of_truth = (dtype == Dtype::Bool).then(|| truth_function(op)).flatten();
            by_number!(dtype, zip(of_truth.unwrap_or(op), &call, out))
        }
        Form::Compare(op) => by_number!(dtype, compare(op, &call, out)),
        Form::Select => by_size!(out.dtype(), select(&call, out)),
        Form::Cast => match dtype.size() {
            1 => by_size!(out.dtype(), cast::<u8>(&call, out)),
            2 => by_size!(out.dtype(), cast::<u16>(&call, out)),
            4 => by_size!(out.dtype(), cast::<u32>(&call, out)),
            _ => by_size!(out.dtype(), cast::<u64>(&call, out)),
        },
    }
}

/// The inputs and the shape of the output.
struct Call<'a> {
    shape: Vec<usize>,
    inputs: &'a [HostInput<'a>],
}

/// An input's elements and how far apart they are.
struct View<'a, T> {
    values: &'a [T],
    start: usize,
    strides: Vec<isize>,
}

impl<T> View<'_, T> {
    fn strided(&self) -> StridedSlice<'_, T> {
        StridedSlice {
            values: self.values,
            start: self.start,
            strides: &self.strides,
        }
    }
}

impl<'a> Call<'a> {
    fn view<T: ElementBits>(&self, index: usize) -> Result<View<'a, T>, String> {
        let x = input(self.inputs, index)?;
        if x.is_in_output() {
            return Err("an input that the output holds is read elsewhere".to_owned());
        }
        let (values, start) = x.as_spread::<T>()?;
        let strides = x.layout().strides().iter();
        let strides = strides.map(|&stride| isize::try_from(stride).unwrap_or(0));
        Ok(View {
            values,
            start,
            strides: strides.collect(),
        })
    }
}

fn map<T: Number + ElementBits>(
    op: UnaryOp,
    call: &Call<'_>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    if call.inputs[0].is_in_output() {
        return mlx_kernels::map_in_place(op, out.as_mut_bits::<T>()?).map_err(error_text);
    }
    let x = call.view::<T>(0)?;
    mlx_kernels::map(op, &call.shape, x.strided(), out.as_mut_bits()?).map_err(error_text)
}

fn zip<T: Number + ElementBits>(
    op: BinaryOp,
    call: &Call<'_>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let in_place = call.inputs.iter().position(HostInput::is_in_output);
    if let Some(own) = in_place {
        let (other, out) = (call.view::<T>(1 - own.min(1))?, out.as_mut_bits()?);
        return mlx_kernels::zip_in_place(op, &call.shape, other.strided(), own == 0, out)
            .map_err(error_text);
    }
    let (a, b) = (call.view::<T>(0)?, call.view::<T>(1)?);
    let out = out.as_mut_bits()?;
    mlx_kernels::zip(op, &call.shape, a.strided(), b.strided(), out).map_err(error_text)
}

fn compare<T: Number + ElementBits>(
    op: BinaryOp,
    call: &Call<'_>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let (a, b) = (call.view::<T>(0)?, call.view::<T>(1)?);
    let out = out.as_mut_bits()?;
    mlx_kernels::compare(op, &call.shape, a.strided(), b.strided(), out).map_err(error_text)
}

fn select<T: Bits + ElementBits>(call: &Call<'_>, out: &mut HostOutput<'_>) -> Result<(), String> {
    let in_place = call.inputs.iter().position(HostInput::is_in_output);
    if let Some(own @ 1..) = in_place {
        let (condition, other) = (call.view::<u8>(0)?, call.view::<T>(3 - own.min(2))?);
        let (condition, other) = (condition.strided(), other.strided());
        let out = out.as_mut_bits()?;
        return mlx_kernels::select_in_place(&call.shape, condition, other, own == 2, out)
            .map_err(error_text);
    }
    let (condition, yes, no) = (call.view::<u8>(0)?, call.view::<T>(1)?, call.view::<T>(2)?);
    let choices = (yes.strided(), no.strided());
    let out = out.as_mut_bits()?;
    mlx_kernels::select(&call.shape, condition.strided(), choices.0, choices.1, out)
        .map_err(error_text)
}

fn cast<A: Bits + ElementBits, O: Bits + ElementBits>(
    call: &Call<'_>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let x = call.view::<A>(0)?;
    let from = element_type(input(call.inputs, 0)?.dtype());
    let to = element_type(out.dtype());
    mlx_kernels::cast(from, to, &call.shape, x.strided(), out.as_mut_bits::<O>()?)
        .map_err(error_text)
}
