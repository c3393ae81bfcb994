//! From the body of a region to a program: operations as steps, roundings of half precision as steps of their own.

use half::{bf16, f16};
use mlx::{Dtype, Op};
use mlx_kernels::{Binary, Program, Simple, Step, Unary};

use crate::graph::{Constant, Graph, Literal, Node, Source, Value};

/// Whether a node can be a step of a program: its operation is known, and its dtypes give in `f32` what MLX gives.
pub(crate) fn supports(graph: &Graph, node: &Node) -> bool {
    let ([output], Some(op)) = (node.outputs.as_slice(), node.operation.op()) else {
        return false;
    };
    let to = graph.array_type(*output).dtype;
    let from: Vec<Dtype> = node
        .inputs
        .iter()
        .map(|input| graph.array_type(*input).dtype)
        .collect();
    // An integer is read as `f32`, which is right where MLX would convert it to that.
    let produced = |value: &Value| matches!(graph.source(*value), Source::Node(..));
    let whole = |dtype: Dtype| matches!(dtype, Dtype::Int32 | Dtype::Uint32);
    if node
        .inputs
        .iter()
        .zip(&from)
        .any(|(value, dtype)| whole(*dtype) && produced(value))
    {
        return false;
    }
    let numbers = || from.iter().all(|dtype| is_real(*dtype) || whole(*dtype));
    let single = || from.contains(&Dtype::Float32);
    let exact = || from.iter().all(|dtype| is_real(*dtype));
    match kind(op) {
        Kind::Arithmetic => match to {
            Dtype::Float32 => numbers(),
            Dtype::Float16 | Dtype::Bfloat16 => exact(),
            _ => false,
        },
        Kind::Comparison => numbers() && (exact() || single()),
        Kind::Logic => exact(),
        Kind::Bits => from.iter().all(|dtype| *dtype == Dtype::Bool),
        Kind::Choice => match to {
            Dtype::Float32 => numbers() && is_real(from[0]),
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
        _ if unary(op).is_some() || simple(op).is_some() || binary(op).is_some() => {
            Kind::Arithmetic
        }
        _ => Kind::Unknown,
    }
}

fn unary(op: &Op) -> Option<Unary> {
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

fn simple(op: &Op) -> Option<Simple> {
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

fn binary(op: &Op) -> Option<Binary> {
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

/// Makes a program of a body, or `None` if something in it has no step.
pub(super) fn translate(body: &Graph) -> Option<Program> {
    let mut made = Made {
        steps: Vec::new(),
        step_of: vec![None; body.values.len()],
    };
    for (number, input) in body.inputs.iter().enumerate() {
        made.step_of[input.index()] = Some(made.push(Step::Input(number)));
    }
    for node in &body.nodes {
        if !supports(body, node) {
            return None;
        }
        let inputs: Option<Vec<usize>> = node
            .inputs
            .iter()
            .map(|input| made.operand(body, *input))
            .collect();
        let to = body.array_type(node.outputs[0]).dtype;
        let step = made.node(node.operation.op()?, &inputs?, to)?;
        made.step_of[node.outputs[0].index()] = Some(step);
    }
    let outputs: Option<Vec<usize>> = body
        .outputs
        .iter()
        .map(|output| made.operand(body, *output))
        .collect();
    Program::new(body.inputs.len(), &made.steps, &outputs?).ok()
}

/// Steps so far, and which is the value of what.
struct Made {
    steps: Vec<Step>,
    step_of: Vec<Option<usize>>,
}

impl Made {
    fn push(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    fn operand(&mut self, body: &Graph, value: Value) -> Option<usize> {
        if let Some(step) = self.step_of[value.index()] {
            return Some(step);
        }
        let Some(Constant::Number(literal)) = body.constant(value) else {
            return None;
        };
        let number = single(*literal, body.array_type(value).dtype)?;
        let step = self.push(Step::Constant(number));
        self.step_of[value.index()] = Some(step);
        Some(step)
    }

    fn node(&mut self, op: &Op, inputs: &[usize], to: Dtype) -> Option<usize> {
        let &first = inputs.first()?;
        let of_two = |function| Some(Step::Binary(function, first, *inputs.get(1)?));
        let step = match op {
            Op::StopGradient | Op::Positive => return Some(first),
            Op::Astype { dtype: Dtype::Bool } => Step::Simple(Simple::IsTrue, first),
            Op::Astype { .. } => return Some(self.rounded(first, to)),
            Op::Where => Step::Select {
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
                let infinity = self.push(Step::Constant(infinity));
                Step::Binary(Binary::Equal, first, infinity)
            }
            // MLX rounds the root and then its inverse.
            Op::Rsqrt if to != Dtype::Float32 => {
                let root = self.push(Step::Simple(Simple::Sqrt, first));
                Step::Simple(Simple::Reciprocal, self.rounded(root, to))
            }
            _ => match (unary(op), simple(op)) {
                (Some(function), _) => Step::Unary(function, first),
                (_, Some(function)) => Step::Simple(function, first),
                _ => of_two(binary(op)?)?,
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
        for (here, function) in [(min, Binary::Maximum), (max, Binary::Minimum)] {
            if here {
                value = self.push(Step::Binary(function, value, *bounds.next()?));
            }
        }
        Some(value)
    }

    /// A value as one of a dtype.
    fn rounded(&mut self, value: usize, to: Dtype) -> usize {
        match to {
            Dtype::Float16 => self.push(Step::Simple(Simple::RoundToF16, value)),
            Dtype::Bfloat16 => self.push(Step::Simple(Simple::RoundToBf16, value)),
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
fn single(literal: Literal, dtype: Dtype) -> Option<f32> {
    let number = literal.as_f64()?;
    Some(match dtype {
        Dtype::Float16 => f16::from_f64(number).to_f32(),
        Dtype::Bfloat16 => bf16::from_f64(number).to_f32(),
        _ => number as f32,
    })
}
