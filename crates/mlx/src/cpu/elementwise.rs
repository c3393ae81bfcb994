//! Functions of one or two elements.

use mlx_kernels::{Binary, Program, Simple, Step, Unary};

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
        let steps = [Step::Input(0), Step::Simple(function, 0)];
        return run_steps(&steps, inputs, outputs);
    }
    if let Some(function) = binary_of(op) {
        let steps = [Step::Input(0), Step::Input(1), Step::Binary(function, 0, 1)];
        return run_steps(&steps, inputs, outputs);
    }
    Err("has no kernel".to_owned())
}

/// The function of one element that takes more than an instruction or two.
pub(super) fn unary_of(op: &Op) -> Option<Unary> {
    Some(match op {
        Op::Exp => Unary::Exp,
        Op::Log => Unary::Log,
        Op::Sin => Unary::Sin,
        Op::Cos => Unary::Cos,
        Op::Tanh => Unary::Tanh,
        Op::Sigmoid => Unary::Sigmoid,
        Op::Erf => Unary::Erf,
        _ => return None,
    })
}

/// The same of fused operations, which are no steps of elementwise programs.
fn activation_of(op: &Op) -> Option<Unary> {
    Some(match op {
        Op::Gelu => Unary::Gelu,
        Op::GeluApprox => Unary::GeluTanh,
        Op::Silu => Unary::Silu,
        _ => return None,
    })
}

fn unary(
    function: Unary,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(
        function: Unary,
        x: &HostInput<'_>,
        out: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        mlx_kernels::unary(function, &x.in_rows::<T>()?, out.as_mut_slice::<T>()?)
            .map_err(error_text)
    }
    let x = input(inputs, 0)?;
    if !x.layout().is_row_contiguous() {
        let steps = [Step::Input(0), Step::Unary(function, 0)];
        return run_steps(&steps, inputs, outputs);
    }
    by_dtype!(x.dtype(), typed(function, x, output(outputs, 0)?))
}

/// Runs steps of which the last is the result.
fn run_steps(
    steps: &[Step],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let program = Program::new(inputs.len(), steps, &[steps.len() - 1]).map_err(error_text)?;
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
        let (gate, x) = (gate.in_rows::<T>()?, x.in_rows::<T>()?);
        mlx_kernels::swiglu(&gate, &x, out.as_mut_slice::<T>()?).map_err(error_text)
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
        return run_steps(&steps, inputs, outputs);
    }
    by_dtype!(x.dtype(), typed(gate, x, output(outputs, 0)?))
}

/// The function of one element that is an instruction or two.
pub(super) fn simple_of(op: &Op) -> Option<Simple> {
    Some(match op {
        Op::Abs => Simple::Abs,
        Op::Negative => Simple::Negate,
        Op::Square => Simple::Square,
        Op::Sqrt => Simple::Sqrt,
        Op::Rsqrt => Simple::Rsqrt,
        Op::Reciprocal => Simple::Reciprocal,
        Op::Floor => Simple::Floor,
        Op::Ceil => Simple::Ceil,
        Op::Round { decimals: 0 } => Simple::Round,
        Op::Trunc => Simple::Truncate,
        Op::Sign => Simple::Sign,
        Op::LogicalNot => Simple::Not,
        Op::Isnan => Simple::IsNan,
        Op::Isinf => Simple::IsInfinite,
        Op::Isfinite => Simple::IsFinite,
        Op::Expm1 => Simple::Expm1,
        Op::Log1p => Simple::Log1p,
        Op::Log2 => Simple::Log2,
        Op::Log10 => Simple::Log10,
        Op::Tan => Simple::Tan,
        Op::Sinh => Simple::Sinh,
        Op::Cosh => Simple::Cosh,
        _ => return None,
    })
}

/// The function of two elements.
pub(super) fn binary_of(op: &Op) -> Option<Binary> {
    Some(match op {
        Op::Add => Binary::Add,
        Op::Subtract => Binary::Subtract,
        Op::Multiply => Binary::Multiply,
        Op::Divide => Binary::Divide,
        Op::Maximum => Binary::Maximum,
        Op::Minimum => Binary::Minimum,
        Op::Power => Binary::Power,
        Op::Equal => Binary::Equal,
        Op::NotEqual => Binary::NotEqual,
        Op::Less => Binary::Less,
        Op::LessEqual => Binary::LessEqual,
        Op::Greater => Binary::Greater,
        Op::GreaterEqual => Binary::GreaterEqual,
        Op::LogicalAnd | Op::BitwiseAnd => Binary::And,
        Op::LogicalOr | Op::BitwiseOr => Binary::Or,
        _ => return None,
    })
}
