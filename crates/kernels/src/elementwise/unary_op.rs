//! The functions of one element: their names, errors and costs.

/// A function of one element.
///
/// Errors are against the exact result of the `f32` argument, in units in the last place (ulp) of it.
/// Where none is given the result is rounded correctly. A truth value is 1 or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnaryOp {
    /// `e^x`, within 2 ulp; denormal results included.
    Exp,
    /// The natural logarithm, within 2 ulp; `-inf` at 0, NaN below.
    Log,
    /// The sine, within 2 ulp.
    Sin,
    /// The cosine, within 2 ulp.
    Cos,
    /// The hyperbolic tangent, within 3 ulp.
    Tanh,
    /// `1 / (1 + e^-x)`, within 3 ulp.
    Sigmoid,
    /// The error function, within 2 ulp.
    Erf,
    /// `x * (1 + erf(x / sqrt(2))) / 2`, within `2^-22 * |x|`: the sum cancels for negative `x`.
    Gelu,
    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`, within `2^-22 * |x|`.
    GeluTanh,
    /// `x / (1 + e^-x)`, within 4 ulp, or within `2^-149 * |x|` where `e^x` is denormal.
    Silu,
    /// The absolute value.
    Abs,
    /// `-x`.
    Negate,
    /// `x * x`.
    Square,
    /// The square root; NaN below 0.
    Sqrt,
    /// `1 / sqrt(x)`, rounded twice.
    Rsqrt,
    /// `1 / x`.
    Reciprocal,
    /// The largest integer that is at most `x`.
    Floor,
    /// The smallest integer that is at least `x`.
    Ceil,
    /// The nearest integer, ties to even.
    Round,
    /// The integer part.
    Truncate,
    /// -1, 0 or 1; NaN for NaN.
    Sign,
    /// Whether `x` is 0.
    Not,
    /// Whether `x` is not 0.
    IsTrue,
    /// Whether `x` is NaN.
    IsNan,
    /// Whether `x` is an infinity.
    IsInfinite,
    /// Whether `x` is neither an infinity nor NaN.
    IsFinite,
    /// The nearest `f16`.
    RoundToF16,
    /// The nearest `bf16`.
    RoundToBf16,
    /// `e^x - 1`, within 2 ulp.
    Expm1,
    /// `log(1 + x)`, within 2 ulp; `-inf` at -1, NaN below.
    Log1p,
    /// The logarithm to base 2, within 2 ulp; `-inf` at 0, NaN below.
    Log2,
    /// The logarithm to base 10, within 2 ulp; `-inf` at 0, NaN below.
    Log10,
    /// The tangent, within 1 ulp.
    Tan,
    /// The hyperbolic sine, within 1 ulp.
    Sinh,
    /// The hyperbolic cosine, within 1 ulp.
    Cosh,
    /// The arc cosine, within 1 ulp; NaN outside of `[-1, 1]`.
    Arccos,
    /// The area hyperbolic cosine, within 1 ulp; NaN below 1.
    Arccosh,
    /// The arc sine, within 1 ulp; NaN outside of `[-1, 1]`.
    Arcsin,
    /// The area hyperbolic sine, within 1 ulp.
    Arcsinh,
    /// The arc tangent, within 1 ulp.
    Arctan,
    /// The area hyperbolic tangent, within 1 ulp; NaN outside of `[-1, 1]`.
    Arctanh,
    /// The inverse of the error function, within 1 ulp; NaN outside of `[-1, 1]`.
    Erfinv,
    /// All bits inverted, of integers only.
    BitwiseInvert,
}

impl UnaryOp {
    /// The name, as errors give it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Sin => "sin",
            Self::Cos => "cos",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Erf => "erf",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Silu => "silu",
            Self::Abs => "abs",
            Self::Negate => "negative",
            Self::Square => "square",
            Self::Sqrt => "sqrt",
            Self::Rsqrt => "rsqrt",
            Self::Reciprocal => "reciprocal",
            Self::Floor => "floor",
            Self::Ceil => "ceil",
            Self::Round => "round",
            Self::Truncate => "trunc",
            Self::Sign => "sign",
            Self::Not => "logical_not",
            Self::IsTrue => "is_true",
            Self::IsNan => "isnan",
            Self::IsInfinite => "isinf",
            Self::IsFinite => "isfinite",
            Self::RoundToF16 => "round_to_f16",
            Self::RoundToBf16 => "round_to_bf16",
            Self::Expm1 => "expm1",
            Self::Log1p => "log1p",
            Self::Log2 => "log2",
            Self::Log10 => "log10",
            Self::Tan => "tan",
            Self::Sinh => "sinh",
            Self::Cosh => "cosh",
            Self::Arccos => "arccos",
            Self::Arccosh => "arccosh",
            Self::Arcsin => "arcsin",
            Self::Arcsinh => "arcsinh",
            Self::Arctan => "arctan",
            Self::Arctanh => "arctanh",
            Self::Erfinv => "erfinv",
            Self::BitwiseInvert => "bitwise_invert",
        }
    }

    /// Whether it takes a polynomial, and not an instruction or two.
    pub fn is_transcendental(self) -> bool {
        self.is_wide()
            || matches!(
                self,
                Self::Exp
                    | Self::Log
                    | Self::Sin
                    | Self::Cos
                    | Self::Tanh
                    | Self::Sigmoid
                    | Self::Erf
                    | Self::Gelu
                    | Self::GeluTanh
                    | Self::Silu
                    | Self::Expm1
                    | Self::Log1p
                    | Self::Log2
                    | Self::Log10
            )
    }

    /// Whether it is computed in `f64`.
    fn is_wide(self) -> bool {
        matches!(
            self,
            Self::Tan
                | Self::Sinh
                | Self::Cosh
                | Self::Arccos
                | Self::Arccosh
                | Self::Arcsin
                | Self::Arcsinh
                | Self::Arctan
                | Self::Arctanh
                | Self::Erfinv
        )
    }

    /// A rough cost of one element that is in the cache, on one thread.
    pub(super) fn nanoseconds(self) -> f64 {
        match self {
            Self::Exp | Self::Log | Self::Expm1 | Self::Log1p | Self::Log2 | Self::Log10 => 0.6,
            Self::Sin | Self::Cos | Self::Sigmoid | Self::Silu => 0.9,
            Self::Tanh | Self::Erf | Self::Gelu | Self::GeluTanh => 1.1,
            _ if self.is_wide() => 1.5,
            _ => 0.1,
        }
    }
}
