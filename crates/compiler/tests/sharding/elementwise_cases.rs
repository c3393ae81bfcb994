//! Each elementwise operation, applied to arrays with dimensions that two and three ranks divide.

use mlx::{Array, Dtype, Op};

use super::cases::{Case, below, normal};

fn reals() -> Vec<Op> {
    vec![
        Op::Abs,
        Op::Arccos,
        Op::Arccosh,
        Op::Arcsin,
        Op::Arcsinh,
        Op::Arctan,
        Op::Arctanh,
        Op::Ceil,
        Op::Conjugate,
        Op::Cos,
        Op::Cosh,
        Op::Erf,
        Op::Erfinv,
        Op::Exp,
        Op::Expm1,
        Op::Floor,
        Op::Imag,
        Op::Isfinite,
        Op::Isinf,
        Op::Isnan,
        Op::Isneginf,
        Op::Isposinf,
        Op::Log,
        Op::Log10,
        Op::Log1p,
        Op::Log2,
        Op::LogicalNot,
        Op::NanToNum {
            nan: 0.5,
            posinf: None,
            neginf: None,
        },
        Op::Positive,
        Op::Real,
        Op::Reciprocal,
        Op::Round { decimals: 1 },
        Op::Rsqrt,
        Op::Sigmoid,
        Op::Sign,
        Op::Sin,
        Op::Sinh,
        Op::Sqrt,
        Op::Square,
        Op::Tan,
        Op::Tanh,
        Op::Trunc,
        Op::Astype {
            dtype: Dtype::Int32,
        },
        Op::ToFp8,
    ]
}

fn pairs_of_reals() -> Vec<Op> {
    vec![
        Op::Arctan2,
        Op::Equal,
        Op::FloorDivide,
        Op::Greater,
        Op::GreaterEqual,
        Op::Less,
        Op::LessEqual,
        Op::Logaddexp,
        Op::LogicalAnd,
        Op::LogicalOr,
        Op::LogicalXor,
        Op::Minimum,
        Op::NotEqual,
        Op::Power,
        Op::Remainder,
        Op::Isclose {
            rtol: 0.1,
            atol: 0.5,
            equal_nan: false,
        },
    ]
}

fn pairs_of_integers() -> Vec<Op> {
    vec![
        Op::BitwiseAnd,
        Op::BitwiseOr,
        Op::BitwiseXor,
        Op::LeftShift,
        Op::RightShift,
    ]
}

/// One case for each operation of these lists; those with ways of their own are among the other cases.
pub fn elementwise_operations() -> Vec<Case> {
    let integers = |shape: &[i32]| below(5, shape);
    let pair = |of: &dyn Fn(&[i32]) -> Array| vec![of(&[6, 1, 12]), of(&[4, 12])];
    let mut cases: Vec<Case> = Vec::new();
    cases.extend(
        reals()
            .into_iter()
            .map(|op| Case(op, vec![normal(&[6, 12])])),
    );
    cases.extend(
        pairs_of_reals()
            .into_iter()
            .map(|op| Case(op, pair(&normal))),
    );
    cases.extend(
        pairs_of_integers()
            .into_iter()
            .map(|op| Case(op, pair(&integers))),
    );
    cases.push(Case(Op::BitwiseInvert, vec![integers(&[6, 12])]));
    let dtype = Dtype::Float32;
    let bytes = integers(&[6, 12]).astype(Dtype::Uint8);
    cases.push(Case(Op::FromFp8 { dtype }, vec![bytes]));
    cases
}
