//! The types that operations give, for those that kernels compute: no type in a file is believed.

mod indexed;
mod moved;
mod products;

use mlx::{ArrayType, Dtype, DtypeKind, Op};

use crate::number::{inexact, promote};
use crate::tensor::{axes, axis, broadcast_shape, sizes};
use indexed::indexed;
use moved::moved;
pub(super) use moved::sliced as slice_shape;
use products::{fused, multiplied};

type Types = Result<Vec<ArrayType>, String>;

/// Returns the types of the results of an operation; `None` for those that only the interpreter computes, whose results it
/// makes of the types in the graph.
pub(super) fn output_types(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let (min, max) = op.arity();
    if !(min..=max).contains(&inputs.len()) {
        let got = inputs.len();
        return Some(Err(format!("wanted {min} to {max} inputs, got {got}")));
    }
    elementwise(op, inputs)
        .or_else(|| moved(op, inputs))
        .or_else(|| indexed(op, inputs))
        .or_else(|| reduced(op, inputs))
        .or_else(|| multiplied(op, inputs))
        .or_else(|| fused(op, inputs))
}

fn one(shape: Vec<i32>, dtype: Dtype) -> Types {
    Ok(vec![ArrayType { shape, dtype }])
}

fn like(x: &ArrayType) -> Types {
    Ok(vec![x.clone()])
}

fn size(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The shape that all broadcast to.
fn broadcast(inputs: &[ArrayType]) -> Result<Vec<i32>, String> {
    let shapes: Vec<Vec<usize>> = inputs
        .iter()
        .map(|x| sizes(&x.shape).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let shape = broadcast_shape(shapes.iter().map(Vec::as_slice));
    let shape = shape.map_err(|error| error.to_string())?;
    Ok(shape.into_iter().map(size).collect())
}

fn axis_of(number: i32, x: &ArrayType) -> Result<usize, String> {
    axis(number, x.shape.len()).map_err(|error| error.to_string())
}

fn count(shape: &[i32]) -> i64 {
    shape
        .iter()
        .fold(1, |n: i64, &size| n.saturating_mul(size.into()))
}

fn elementwise(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let common = || inputs.iter().map(|x| x.dtype).reduce(promote);
    let dtype = match op {
        Op::Negative
        | Op::Square
        | Op::Positive
        | Op::StopGradient
        | Op::BitwiseInvert
        | Op::Ceil
        | Op::Floor
        | Op::Trunc
        | Op::Sign => inputs.first()?.dtype,
        Op::Abs => match inputs.first()?.dtype {
            Dtype::Complex64 => Dtype::Float32,
            other => other,
        },
        Op::Round { decimals: 0 } => inputs.first()?.dtype,
        Op::Arccos
        | Op::Arccosh
        | Op::Arcsin
        | Op::Arcsinh
        | Op::Arctan
        | Op::Arctanh
        | Op::Cos
        | Op::Cosh
        | Op::Erf
        | Op::Erfinv
        | Op::Exp
        | Op::Expm1
        | Op::Log
        | Op::Log10
        | Op::Log1p
        | Op::Log2
        | Op::Reciprocal
        | Op::Rsqrt
        | Op::Sigmoid
        | Op::Sin
        | Op::Sinh
        | Op::Sqrt
        | Op::Tan
        | Op::Tanh => inexact(inputs.first()?.dtype),
        Op::Divide | Op::Arctan2 | Op::Logaddexp => inexact(common()?),
        Op::Add
        | Op::Subtract
        | Op::Multiply
        | Op::Maximum
        | Op::Minimum
        | Op::Power
        | Op::FloorDivide
        | Op::Remainder
        | Op::BitwiseAnd
        | Op::BitwiseOr
        | Op::BitwiseXor
        | Op::Clip { .. } => common()?,
        Op::LeftShift | Op::RightShift => match common()? {
            Dtype::Bool => Dtype::Uint8,
            other => other,
        },
        Op::Equal
        | Op::NotEqual
        | Op::Less
        | Op::LessEqual
        | Op::Greater
        | Op::GreaterEqual
        | Op::LogicalAnd
        | Op::LogicalOr
        | Op::LogicalXor
        | Op::LogicalNot
        | Op::Isnan => Dtype::Bool,
        Op::Where => promote(inputs.get(1)?.dtype, inputs.get(2)?.dtype),
        Op::Astype { dtype } => *dtype,
        _ => return None,
    };
    Some(broadcast(inputs).and_then(|shape| one(shape, dtype)))
}

/// Reductions, scans and orders.
fn reduced(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let x = inputs.first()?;
    let whole = match x.dtype.kind() {
        DtypeKind::Bool => Dtype::Int32,
        DtypeKind::Signed if x.dtype.size() < 4 => Dtype::Int32,
        DtypeKind::Unsigned if x.dtype.size() < 4 => Dtype::Uint32,
        _ => x.dtype,
    };
    let over = |list: &[i32], keepdims: bool, dtype: Dtype| {
        let gone = axes(list, x.shape.len()).map_err(|error| error.to_string())?;
        let kept = x.shape.iter().enumerate().filter_map(|(axis, &n)| {
            match (gone.contains(&axis), keepdims) {
                (false, _) => Some(n),
                (true, true) => Some(1),
                (true, false) => None,
            }
        });
        one(kept.collect(), dtype)
    };
    Some(match op {
        // Over no axes these are what they are given.
        Op::Sum { axes, .. } | Op::Prod { axes, .. } if axes.is_empty() => like(x),
        Op::Sum { axes, keepdims } | Op::Prod { axes, keepdims } => over(axes, *keepdims, whole),
        Op::Max { axes, keepdims } | Op::Min { axes, keepdims } => over(axes, *keepdims, x.dtype),
        Op::All { axes, keepdims } | Op::Any { axes, keepdims } => {
            over(axes, *keepdims, Dtype::Bool)
        }
        Op::Var { axes, keepdims, .. } | Op::Std { axes, keepdims, .. }
            if x.dtype != Dtype::Complex64 =>
        {
            over(axes, *keepdims, inexact(x.dtype))
        }
        Op::Mean { axes, keepdims } | Op::Logsumexp { axes, keepdims } => {
            over(axes, *keepdims, inexact(x.dtype))
        }
        Op::Argmax { axis, keepdims } | Op::Argmin { axis, keepdims } => {
            over(&[*axis], *keepdims, Dtype::Uint32)
        }
        Op::Softmax { axes: list, .. } if x.dtype.is_inexact() => {
            over(list, true, x.dtype).and_then(|_| one(x.shape.clone(), inexact(x.dtype)))
        }
        Op::Sort { axis } => axis_of(*axis, x).and_then(|_| like(x)),
        Op::Argsort { axis } => axis_of(*axis, x).and_then(|_| one(x.shape.clone(), Dtype::Uint32)),
        _ => return None,
    })
}
