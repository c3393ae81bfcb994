//! What a program can do in one step.

use super::Unary;

/// One step of a [`Program`](super::Program): a value made of the values of earlier steps, named by their numbers.
///
/// All values are `f32`. A truth value is 1 or 0; where one is asked for, everything but 0 counts as true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The input of this number.
    Input(usize),
    /// The same number everywhere.
    Constant(f32),
    /// A function of one value that takes a polynomial or more.
    Unary(Unary, usize),
    /// A function of one value that is an instruction, or one of the standard library.
    Simple(Simple, usize),
    /// A function of two values.
    Binary(Binary, usize, usize),
    /// One value where a condition is true, another elsewhere.
    Select {
        /// The condition.
        condition: usize,
        /// The value where it is true.
        yes: usize,
        /// The value where it is not.
        no: usize,
    },
}

/// A function of one value without an error of its own, except the last seven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Simple {
    /// The magnitude.
    Abs,
    /// The value with the other sign.
    Negate,
    /// The value times itself.
    Square,
    /// The square root; not a number below 0.
    Sqrt,
    /// One over the square root, rounded twice.
    Rsqrt,
    /// One over the value.
    Reciprocal,
    /// The greatest integer not above.
    Floor,
    /// The least integer not below.
    Ceil,
    /// The nearest integer, the even one of two.
    Round,
    /// The integer part.
    Truncate,
    /// -1, 0 or 1; 0 for what is not a number.
    Sign,
    /// Whether the value is 0.
    Not,
    /// Whether the value is not 0.
    IsTrue,
    /// Whether the value is not a number.
    IsNan,
    /// Whether the value is an infinity.
    IsInfinite,
    /// Whether the value is a number and no infinity.
    IsFinite,
    /// The nearest `f16`.
    RoundToF16,
    /// The nearest `bf16`.
    RoundToBf16,
    /// `e^x - 1`, by the standard library.
    Expm1,
    /// `log(1 + x)`, by the standard library.
    Log1p,
    /// The logarithm to base 2, by the standard library.
    Log2,
    /// The logarithm to base 10, by the standard library.
    Log10,
    /// The tangent, by the standard library.
    Tan,
    /// The hyperbolic sine, by the standard library.
    Sinh,
    /// The hyperbolic cosine, by the standard library.
    Cosh,
}

/// A function of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a * b`.
    Multiply,
    /// `a / b`.
    Divide,
    /// The greater one; not a number if one of both is not, `b` of two zeros.
    Maximum,
    /// The lesser one; not a number if one of both is not, `b` of two zeros.
    Minimum,
    /// `a^b`, by the standard library.
    Power,
    /// Whether both are equal.
    Equal,
    /// Whether they are not.
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
    /// Whether one of both is true.
    Or,
}

impl Step {
    /// The steps whose values this one takes.
    pub(super) fn operands(self) -> [Option<usize>; 3] {
        match self {
            Self::Input(_) | Self::Constant(_) => [None; 3],
            Self::Unary(_, a) | Self::Simple(_, a) => [Some(a), None, None],
            Self::Binary(_, a, b) => [Some(a), Some(b), None],
            Self::Select { condition, yes, no } => [Some(condition), Some(yes), Some(no)],
        }
    }

    /// A rough cost of one element on one thread.
    pub(super) fn nanoseconds(self) -> f64 {
        match self {
            Self::Input(_) | Self::Constant(_) => 0.1,
            Self::Unary(function, _) => function.nanoseconds(),
            Self::Simple(function, _) if function.is_slow() => 8.0,
            Self::Binary(Binary::Power, ..) => 15.0,
            _ => 0.1,
        }
    }
}

impl Simple {
    fn is_slow(self) -> bool {
        matches!(
            self,
            Self::Expm1
                | Self::Log1p
                | Self::Log2
                | Self::Log10
                | Self::Tan
                | Self::Sinh
                | Self::Cosh
        )
    }
}

impl Binary {
    /// The name, as errors give it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
            Self::Divide => "divide",
            Self::Maximum => "maximum",
            Self::Minimum => "minimum",
            Self::Power => "power",
            Self::Equal => "equal",
            Self::NotEqual => "not_equal",
            Self::Less => "less",
            Self::LessEqual => "less_equal",
            Self::Greater => "greater",
            Self::GreaterEqual => "greater_equal",
            Self::And => "logical_and",
            Self::Or => "logical_or",
        }
    }

    /// A rough cost of one element on one thread.
    pub(crate) fn nanoseconds(self) -> f64 {
        if self == Self::Power { 15.0 } else { 0.4 }
    }
}
