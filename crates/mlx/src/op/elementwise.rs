//! Which operations make each element from the elements at the same place.

use super::Op;

impl Op {
    /// Returns whether the operation makes each element of its result from the elements at the same place of its inputs.
    pub fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Op::Abs
                | Op::Arccos
                | Op::Arccosh
                | Op::Arcsin
                | Op::Arcsinh
                | Op::Arctan
                | Op::Arctanh
                | Op::BitwiseInvert
                | Op::Ceil
                | Op::Conjugate
                | Op::Cos
                | Op::Cosh
                | Op::Degrees
                | Op::Erf
                | Op::Erfinv
                | Op::Exp
                | Op::Expm1
                | Op::Floor
                | Op::Imag
                | Op::Isfinite
                | Op::Isinf
                | Op::Isnan
                | Op::Isneginf
                | Op::Isposinf
                | Op::Log
                | Op::Log10
                | Op::Log1p
                | Op::Log2
                | Op::LogicalNot
                | Op::Negative
                | Op::NanToNum { .. }
                | Op::Positive
                | Op::Radians
                | Op::Real
                | Op::Reciprocal
                | Op::Round { .. }
                | Op::Rsqrt
                | Op::Sigmoid
                | Op::Sign
                | Op::Sin
                | Op::Sinh
                | Op::Sqrt
                | Op::Square
                | Op::Tan
                | Op::Tanh
                | Op::Trunc
                | Op::Astype { .. }
                | Op::Add
                | Op::Arctan2
                | Op::BitwiseAnd
                | Op::BitwiseOr
                | Op::BitwiseXor
                | Op::Divide
                | Op::Equal
                | Op::FloorDivide
                | Op::Greater
                | Op::GreaterEqual
                | Op::LeftShift
                | Op::Less
                | Op::LessEqual
                | Op::Logaddexp
                | Op::LogicalAnd
                | Op::LogicalOr
                | Op::LogicalXor
                | Op::Maximum
                | Op::Minimum
                | Op::Multiply
                | Op::NotEqual
                | Op::Power
                | Op::Remainder
                | Op::RightShift
                | Op::Subtract
                | Op::Where
                | Op::Clip { .. }
                | Op::Isclose { .. }
                | Op::StopGradient
        )
    }
}
