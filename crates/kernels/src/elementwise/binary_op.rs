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
    /// `a^b`, by the standard library.
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
}

impl BinaryOp {
    /// A rough cost of one element that is in the cache, on one thread.
    pub(super) fn nanoseconds(self) -> f64 {
        if self == Self::Power { 15.0 } else { 0.1 }
    }
}
