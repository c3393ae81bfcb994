//! From elementwise operations to a program of the kernels: roundings of half precision become steps of their own.

use half::{bf16, f16};
use mlx_kernels::{BinaryOp, ElementwiseProgram, Instruction, UnaryOp};

use super::elementwise::{binary_of, simple_of, unary_of};
use crate::Dtype;
use crate::op::Op;
use crate::program::{Elementwise, Operand};

/// What an elementwise operation takes: a dtype, and whether another operation of the program makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementwiseInput {
    /// The dtype.
    pub dtype: Dtype,
    /// Whether it is the result of an operation.
    pub is_computed: bool,
}

/// Returns whether an operation can be a step of an elementwise program: it is known, and computed in `float32` it gives
/// what MLX gives.
pub fn supports_elementwise(op: &Op, inputs: &[ElementwiseInput], to: Dtype) -> bool {
    // An integer is read as `f32`, which is right where MLX would convert it to that.
    let whole = |dtype: Dtype| matches!(dtype, Dtype::Int32 | Dtype::Uint32);
    if inputs
        .iter()
        .any(|input| whole(input.dtype) && input.is_computed)
    {
        return false;
    }
    let dtypes = || inputs.iter().map(|input| input.dtype);
    let numbers = || dtypes().all(|dtype| is_real(dtype) || whole(dtype));
    let single = || dtypes().any(|dtype| dtype == Dtype::Float32);
    let exact = || dtypes().all(is_real);
    match kind(op) {
        Kind::Arithmetic => match to {
            Dtype::Float32 => numbers(),
            Dtype::Float16 | Dtype::Bfloat16 => exact(),
            _ => false,
        },
        Kind::Comparison => numbers() && (exact() || single()),
        Kind::Logic => exact(),
        Kind::Bits => dtypes().all(|dtype| dtype == Dtype::Bool),
        Kind::Choice => match to {
            Dtype::Float32 => numbers() && inputs.first().is_some_and(|x| is_real(x.dtype)),
            _ => is_real(to) && exact(),
        },
        Kind::Conversion => is_real(to) && (exact() || to == Dtype::Float32 && numbers()),
        Kind::Unknown => false,
    }
}

/// The dtypes whose values all are `f32`.
fn is_real(dtype: Dtype) -> bool {
    matches!(
        dtype,
        Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16 | Dtype::Bool
    )
}

/// What an operation needs of dtypes.
enum Kind {
    /// Floating results.
    Arithmetic,
    /// Truth values of numbers that are compared.
    Comparison,
    /// Truth values of numbers each by itself.
    Logic,
    /// Truth values of truth values.
    Bits,
    Choice,
    Conversion,
    Unknown,
}

fn kind(op: &Op) -> Kind {
    match op {
        Op::Astype { .. } | Op::StopGradient | Op::Positive => Kind::Conversion,
        Op::Where => Kind::Choice,
        Op::Clip { .. } => Kind::Arithmetic,
        Op::LogicalAnd
        | Op::LogicalOr
        | Op::LogicalNot
        | Op::Isnan
        | Op::Isinf
        | Op::Isfinite
        | Op::Isposinf
        | Op::Isneginf => Kind::Logic,
        Op::BitwiseAnd | Op::BitwiseOr => Kind::Bits,
        Op::Equal | Op::NotEqual | Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => {
            Kind::Comparison
        }
        _ if unary_of(op).is_some() || simple_of(op).is_some() || binary_of(op).is_some() => {
            Kind::Arithmetic
        }
        _ => Kind::Unknown,
    }
}

/// Makes a program of operations, or `None` if one of them has no step.
pub(super) fn lower(elementwise: &Elementwise) -> Option<ElementwiseProgram> {
    let mut lowering = Lowering {
        elementwise,
        steps: (0..elementwise.inputs.len())
            .map(Instruction::Input)
            .collect(),
        results: Vec::new(),
        numbers: Vec::new(),
    };
    for step in &elementwise.steps {
        let inputs: Option<Vec<ElementwiseInput>> = step
            .operands
            .iter()
            .map(|&operand| {
                Some(ElementwiseInput {
                    dtype: elementwise.dtype(operand)?,
                    is_computed: matches!(operand, Operand::Step(_)),
                })
            })
            .collect();
        if !supports_elementwise(&step.op, &inputs?, step.dtype) {
            return None;
        }
        let operands = step.operands.iter();
        let operands: Option<Vec<usize>> = operands.map(|&from| lowering.operand(from)).collect();
        let result = lowering.step(&step.op, &operands?, step.dtype)?;
        lowering.results.push(result);
    }
    let outputs = elementwise.outputs.iter();
    let outputs: Option<Vec<usize>> = outputs.map(|&from| lowering.operand(from)).collect();
    ElementwiseProgram::new(elementwise.inputs.len(), &lowering.steps, &outputs?).ok()
}

/// Steps so far, and which of them has the result of each operation.
struct Lowering<'a> {
    elementwise: &'a Elementwise,
    steps: Vec<Instruction>,
    results: Vec<usize>,
    /// Numbers that have a step already, by their bits.
    numbers: Vec<(u32, usize)>,
}

impl Lowering<'_> {
    fn push(&mut self, step: Instruction) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    fn operand(&mut self, operand: Operand) -> Option<usize> {
        match operand {
            Operand::Input(input) => (input < self.elementwise.inputs.len()).then_some(input),
            Operand::Step(step) => self.results.get(step).copied(),
            Operand::Number(number, dtype) => {
                let number = as_f32(number, dtype);
                let bits = number.to_bits();
                if let Some((_, step)) = self.numbers.iter().find(|(other, _)| *other == bits) {
                    return Some(*step);
                }
                let step = self.push(Instruction::Constant(number));
                self.numbers.push((bits, step));
                Some(step)
            }
        }
    }

    fn step(&mut self, op: &Op, inputs: &[usize], to: Dtype) -> Option<usize> {
        let &first = inputs.first()?;
        let of_two = |function| Some(Instruction::Binary(function, first, *inputs.get(1)?));
        let step = match op {
            Op::StopGradient | Op::Positive => return Some(first),
            Op::Astype { dtype: Dtype::Bool } => Instruction::Unary(UnaryOp::IsTrue, first),
            Op::Astype { .. } => return Some(self.rounded(first, to)),
            Op::Where => Instruction::Select {
                condition: first,
                yes: *inputs.get(1)?,
                no: *inputs.get(2)?,
            },
            Op::Clip { min, max } => return self.clip(inputs, *min, *max),
            Op::Isposinf | Op::Isneginf => {
                let infinity = match op {
                    Op::Isposinf => f32::INFINITY,
                    _ => f32::NEG_INFINITY,
                };
                let infinity = self.push(Instruction::Constant(infinity));
                Instruction::Binary(BinaryOp::Equal, first, infinity)
            }
            // MLX rounds the root and then its inverse.
            Op::Rsqrt if to != Dtype::Float32 => {
                let root = self.push(Instruction::Unary(UnaryOp::Sqrt, first));
                Instruction::Unary(UnaryOp::Reciprocal, self.rounded(root, to))
            }
            _ => match (unary_of(op), simple_of(op)) {
                (Some(function), _) => Instruction::Unary(function, first),
                (_, Some(function)) => Instruction::Unary(function, first),
                _ => of_two(binary_of(op)?)?,
            },
        };
        let value = self.push(step);
        if is_exact(op) {
            return Some(value);
        }
        Some(self.rounded(value, to))
    }

    fn clip(&mut self, inputs: &[usize], min: bool, max: bool) -> Option<usize> {
        let (mut value, mut bounds) = (*inputs.first()?, inputs[1..].iter());
        for (here, function) in [(min, BinaryOp::Maximum), (max, BinaryOp::Minimum)] {
            if here {
                value = self.push(Instruction::Binary(function, value, *bounds.next()?));
            }
        }
        Some(value)
    }

    /// A value as one of a dtype.
    fn rounded(&mut self, value: usize, to: Dtype) -> usize {
        match to {
            Dtype::Float16 => self.push(Instruction::Unary(UnaryOp::RoundToF16, value)),
            Dtype::Bfloat16 => self.push(Instruction::Unary(UnaryOp::RoundToBf16, value)),
            _ => value,
        }
    }
}

/// Whether the result of values of one dtype is always a value of it, so that nothing is to be rounded.
fn is_exact(op: &Op) -> bool {
    matches!(
        op,
        Op::Abs
            | Op::Negative
            | Op::Sign
            | Op::Floor
            | Op::Ceil
            | Op::Trunc
            | Op::Round { decimals: 0 }
            | Op::Maximum
            | Op::Minimum
            | Op::Where
    )
}

/// A number of a dtype as `f32`, as MLX would read it.
#[allow(clippy::cast_possible_truncation)]
fn as_f32(number: f64, dtype: Dtype) -> f32 {
    match dtype {
        Dtype::Float16 => f16::from_f64(number).to_f32(),
        Dtype::Bfloat16 => bf16::from_f64(number).to_f32(),
        _ => number as f32,
    }
}
