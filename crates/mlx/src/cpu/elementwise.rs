//! Functions of one or two elements.

use mlx_kernels::{BinaryOp, UnaryOp};

use super::elementwise_typed::{self, form_of};
use super::layout::{error_text, input, output};
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;

/// Runs the function of an operation on each element.
pub(super) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    match form_of(op) {
        Some(form) => elementwise_typed::run(form, inputs, outputs),
        None => Err("has no kernel".to_owned()),
    }
}

/// Computes the gradient of an activation: inputs are its own, then the gradient of its result.
pub(super) fn activation_gradient(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let function = activation_of(op).ok_or("the gradient has no kernel")?;
    let (x, g) = (input(inputs, 0)?, input(inputs, 1)?);
    let (x, g) = (x.to_contiguous::<f32>()?, g.to_contiguous::<f32>()?);
    let out = output(outputs, 0)?.as_mut_slice()?;
    mlx_kernels::activation_gradient(function, &x, &g, out).map_err(error_text)
}

/// Computes the gradients of the gate and the input of `swiglu`.
pub(super) fn swiglu_gradient(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (gate, x, g) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let (gate, x) = (gate.to_contiguous::<f32>()?, x.to_contiguous::<f32>()?);
    let g = g.to_contiguous::<f32>()?;
    let [by_gate, by_x] = outputs else {
        return Err(format!("wanted 2 outputs, got {}", outputs.len()));
    };
    let out = [by_gate.as_mut_slice()?, by_x.as_mut_slice()?];
    mlx_kernels::swiglu_gradient(&gate, &x, &g, out).map_err(error_text)
}

/// The function of one element that takes more than an instruction or two.
pub(super) fn unary_of(op: &Op) -> Option<UnaryOp> {
    Some(match op {
        Op::Exp => UnaryOp::Exp,
        Op::Log => UnaryOp::Log,
        Op::Sin => UnaryOp::Sin,
        Op::Cos => UnaryOp::Cos,
        Op::Tanh => UnaryOp::Tanh,
        Op::Sigmoid => UnaryOp::Sigmoid,
        Op::Erf => UnaryOp::Erf,
        _ => return None,
    })
}

/// The same of fused operations, which are no steps of elementwise programs.
pub(super) fn activation_of(op: &Op) -> Option<UnaryOp> {
    Some(match op {
        Op::Gelu => UnaryOp::Gelu,
        Op::GeluApprox => UnaryOp::GeluTanh,
        Op::Silu => UnaryOp::Silu,
        _ => return None,
    })
}

/// The function of one element that is an instruction or two.
pub(super) fn simple_of(op: &Op) -> Option<UnaryOp> {
    Some(match op {
        Op::Abs => UnaryOp::Abs,
        Op::Negative => UnaryOp::Negate,
        Op::Square => UnaryOp::Square,
        Op::Sqrt => UnaryOp::Sqrt,
        Op::Rsqrt => UnaryOp::Rsqrt,
        Op::Reciprocal => UnaryOp::Reciprocal,
        Op::Floor => UnaryOp::Floor,
        Op::Ceil => UnaryOp::Ceil,
        Op::Round { decimals: 0 } => UnaryOp::Round,
        Op::Trunc => UnaryOp::Truncate,
        Op::Sign => UnaryOp::Sign,
        Op::LogicalNot => UnaryOp::Not,
        Op::Isnan => UnaryOp::IsNan,
        Op::Isinf => UnaryOp::IsInfinite,
        Op::Isfinite => UnaryOp::IsFinite,
        Op::Expm1 => UnaryOp::Expm1,
        Op::Log1p => UnaryOp::Log1p,
        Op::Log2 => UnaryOp::Log2,
        Op::Log10 => UnaryOp::Log10,
        Op::Tan => UnaryOp::Tan,
        Op::Sinh => UnaryOp::Sinh,
        Op::Cosh => UnaryOp::Cosh,
        Op::Arccos => UnaryOp::Arccos,
        Op::Arccosh => UnaryOp::Arccosh,
        Op::Arcsin => UnaryOp::Arcsin,
        Op::Arcsinh => UnaryOp::Arcsinh,
        Op::Arctan => UnaryOp::Arctan,
        Op::Arctanh => UnaryOp::Arctanh,
        Op::Erfinv => UnaryOp::Erfinv,
        _ => return None,
    })
}

/// The function of two elements.
pub(super) fn binary_of(op: &Op) -> Option<BinaryOp> {
    Some(match op {
        Op::Add => BinaryOp::Add,
        Op::Subtract => BinaryOp::Subtract,
        Op::Multiply => BinaryOp::Multiply,
        Op::Divide => BinaryOp::Divide,
        Op::Maximum => BinaryOp::Maximum,
        Op::Minimum => BinaryOp::Minimum,
        Op::Power => BinaryOp::Power,
        Op::Logaddexp => BinaryOp::Logaddexp,
        Op::Arctan2 => BinaryOp::Arctan2,
        Op::Equal => BinaryOp::Equal,
        Op::NotEqual => BinaryOp::NotEqual,
        Op::Less => BinaryOp::Less,
        Op::LessEqual => BinaryOp::LessEqual,
        Op::Greater => BinaryOp::Greater,
        Op::GreaterEqual => BinaryOp::GreaterEqual,
        Op::LogicalAnd | Op::BitwiseAnd => BinaryOp::And,
        Op::LogicalOr | Op::BitwiseOr => BinaryOp::Or,
        _ => return None,
    })
}
