//! Functions of one or two elements.

use mlx_kernels::{BinaryOp, ElementwiseProgram, Instruction, UnaryOp};

use super::layout::{error_text, input, output};
use super::{Stored, by_dtype, elementwise_program};
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;

/// Runs the function of an operation on each element.
pub(super) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    if let Some(function) = unary_of(op).or_else(|| activation_of(op)) {
        return unary(function, inputs, outputs);
    }
    if let Some(function) = simple_of(op) {
        let steps = [Instruction::Input(0), Instruction::Unary(function, 0)];
        return run_steps(&steps, inputs, outputs);
    }
    if let Some(function) = binary_of(op) {
        let steps = [
            Instruction::Input(0),
            Instruction::Input(1),
            Instruction::Binary(function, 0, 1),
        ];
        return run_steps(&steps, inputs, outputs);
    }
    Err("has no kernel".to_owned())
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
        Op::Erfinv => UnaryOp::ErfInv,
        _ => return None,
    })
}

/// The same of fused operations, which are no steps of elementwise programs.
fn activation_of(op: &Op) -> Option<UnaryOp> {
    Some(match op {
        Op::Gelu => UnaryOp::Gelu,
        Op::GeluApprox => UnaryOp::GeluTanh,
        Op::Silu => UnaryOp::Silu,
        _ => return None,
    })
}

fn unary(
    function: UnaryOp,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(
        function: UnaryOp,
        x: &HostInput<'_>,
        out: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        mlx_kernels::unary(function, &x.to_contiguous::<T>()?, out.as_mut_slice::<T>()?)
            .map_err(error_text)
    }
    let x = input(inputs, 0)?;
    if !x.layout().is_row_contiguous() {
        let steps = [Instruction::Input(0), Instruction::Unary(function, 0)];
        return run_steps(&steps, inputs, outputs);
    }
    by_dtype!(x.dtype(), typed(function, x, output(outputs, 0)?))
}

/// Runs steps of which the last is the result.
fn run_steps(
    steps: &[Instruction],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let program =
        ElementwiseProgram::new(inputs.len(), steps, &[steps.len() - 1]).map_err(error_text)?;
    elementwise_program::run(&program, inputs, outputs)
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
        let (gate, x) = (gate.to_contiguous::<T>()?, x.to_contiguous::<T>()?);
        mlx_kernels::swiglu(&gate, &x, out.as_mut_slice::<T>()?).map_err(error_text)
    }
    let (gate, x) = (input(inputs, 0)?, input(inputs, 1)?);
    if inputs.iter().any(|x| !x.layout().is_row_contiguous()) {
        // Halves of one array: read in place, block by block, rather than copied whole.
        let steps = [
            Instruction::Input(0),
            Instruction::Input(1),
            Instruction::Unary(UnaryOp::Silu, 0),
            Instruction::Binary(BinaryOp::Multiply, 2, 1),
        ];
        return run_steps(&steps, inputs, outputs);
    }
    by_dtype!(x.dtype(), typed(gate, x, output(outputs, 0)?))
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
