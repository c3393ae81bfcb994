//! The functions of two elements.

/// A function of two elements. A truth value is 1 or 0; as an operand, everything but 0 is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BinaryOp {
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a * b`.
    Multiply,
    /// `a / b`.
    Divide,
    /// The maximum; NaN if either is NaN, `b` of two zeros.
    Maximum,
    /// The minimum; NaN if either is NaN, `b` of two zeros.
    Minimum,
    /// `a^b`, within 1 ulp of floating numbers; integers wrap around, and to a negative power are 0.
    Power,
    /// Whether `a == b`.
    Equal,
    /// Whether `a != b`.
    NotEqual,
    /// Whether `a < b`.
    Less,
    /// Whether `a <= b`.
    LessEqual,
    /// Whether `a > b`.
    Greater,
    /// Whether `a >= b`.
    GreaterEqual,
    /// Whether both are true.
    And,
    /// Whether at least one is true.
    Or,
    /// `log(e^a + e^b)`, within 3 ulp of the largest of the result and the operands.
    Logaddexp,
    /// The angle of the point `(b, a)`, within 1 ulp.
    Arctan2,
    /// `silu(a) * b`, within 5 ulp.
    Swiglu,
    /// The floor of the quotient of integers; 0 by 0.
    FloorDivide,
    /// The remainder with the sign of the divisor, of floating numbers rounded correctly; by 0 `a` of integers, NaN else.
    Remainder,
    /// The bits that both have, of integers and truth values.
    BitwiseAnd,
    /// The bits that at least one has.
    BitwiseOr,
    /// The bits that exactly one has.
    BitwiseXor,
    /// The bits of `a` moved up.
    LeftShift,
    /// The bits of `a` moved down; the sign stays.
    RightShift,
}

impl BinaryOp {
    /// Whether it takes a polynomial, and not an instruction or two.
    pub fn is_transcendental(self) -> bool {
        matches!(
            self,
            Self::Power | Self::Logaddexp | Self::Arctan2 | Self::Swiglu
        )
    }

    /// Whether it is of integers only, and no instruction of programs.
    pub(super) fn is_of_integers(self) -> bool {
        matches!(
            self,
            Self::FloorDivide
                | Self::BitwiseAnd
                | Self::BitwiseOr
                | Self::BitwiseXor
                | Self::LeftShift
                | Self::RightShift
        )
    }

    /// A rough cost of one element that is in the cache, on one thread.
    pub(super) fn nanoseconds(self) -> f64 {
        match self {
            Self::Power => 2.5,
            Self::Logaddexp | Self::Swiglu => 1.2,
            Self::Arctan2 => 2.0,
            Self::FloorDivide | Self::Remainder => 2.0,
            _ => 0.1,
        }
    }
}
