//! Functions of one array, element by element.

use crate::op::Op;
use crate::{Array, Dtype, bind};

impl Array {
    /// Returns the absolute value of each element.
    #[track_caller]
    pub fn abs(&self) -> Array {
        bind(Op::Abs, &[self])
    }

    /// Returns the inverse cosine of each element, in radians.
    #[track_caller]
    pub fn arccos(&self) -> Array {
        bind(Op::Arccos, &[self])
    }

    /// Returns the inverse hyperbolic cosine of each element.
    #[track_caller]
    pub fn arccosh(&self) -> Array {
        bind(Op::Arccosh, &[self])
    }

    /// Returns the inverse sine of each element, in radians.
    #[track_caller]
    pub fn arcsin(&self) -> Array {
        bind(Op::Arcsin, &[self])
    }

    /// Returns the inverse hyperbolic sine of each element.
    #[track_caller]
    pub fn arcsinh(&self) -> Array {
        bind(Op::Arcsinh, &[self])
    }

    /// Returns the inverse tangent of each element, in radians.
    #[track_caller]
    pub fn arctan(&self) -> Array {
        bind(Op::Arctan, &[self])
    }

    /// Returns the inverse hyperbolic tangent of each element.
    #[track_caller]
    pub fn arctanh(&self) -> Array {
        bind(Op::Arctanh, &[self])
    }

    /// Returns the bitwise complement of each integer (`!x`); of a bool, its negation.
    #[track_caller]
    pub fn bitwise_invert(&self) -> Array {
        bind(Op::BitwiseInvert, &[self])
    }

    /// Returns the smallest integer not less than each element.
    #[track_caller]
    pub fn ceil(&self) -> Array {
        bind(Op::Ceil, &[self])
    }

    /// Returns the complex conjugate of each element.
    #[track_caller]
    pub fn conjugate(&self) -> Array {
        bind(Op::Conjugate, &[self])
    }

    /// Returns the same values in an array of its own.
    #[track_caller]
    pub fn copy(&self) -> Array {
        bind(Op::Copy, &[self])
    }

    /// Returns the cosine of each element, in radians.
    #[track_caller]
    pub fn cos(&self) -> Array {
        bind(Op::Cos, &[self])
    }

    /// Returns the hyperbolic cosine of each element.
    #[track_caller]
    pub fn cosh(&self) -> Array {
        bind(Op::Cosh, &[self])
    }

    /// Returns each element turned from radians to degrees.
    #[track_caller]
    pub fn degrees(&self) -> Array {
        bind(Op::Degrees, &[self])
    }

    /// Returns the error function `2 / sqrt(pi) * integral of exp(-t^2) from 0 to x`.
    #[track_caller]
    pub fn erf(&self) -> Array {
        bind(Op::Erf, &[self])
    }

    /// Returns the inverse of the error function; infinite at -1 and 1, NaN outside.
    #[track_caller]
    pub fn erfinv(&self) -> Array {
        bind(Op::Erfinv, &[self])
    }

    /// Returns the exponential of each element.
    #[track_caller]
    pub fn exp(&self) -> Array {
        bind(Op::Exp, &[self])
    }

    /// Returns `exp(x) - 1`, accurate near 0.
    #[track_caller]
    pub fn expm1(&self) -> Array {
        bind(Op::Expm1, &[self])
    }

    /// Returns the largest integer not greater than each element.
    #[track_caller]
    pub fn floor(&self) -> Array {
        bind(Op::Floor, &[self])
    }

    /// Returns the imaginary part of each element.
    #[track_caller]
    pub fn imag(&self) -> Array {
        bind(Op::Imag, &[self])
    }

    /// Returns whether each element is neither infinite nor NaN.
    #[track_caller]
    pub fn isfinite(&self) -> Array {
        bind(Op::Isfinite, &[self])
    }

    /// Returns whether each element is infinite.
    #[track_caller]
    pub fn isinf(&self) -> Array {
        bind(Op::Isinf, &[self])
    }

    /// Returns whether each element is NaN.
    #[track_caller]
    pub fn isnan(&self) -> Array {
        bind(Op::Isnan, &[self])
    }

    /// Returns whether each element is negative infinity.
    #[track_caller]
    pub fn isneginf(&self) -> Array {
        bind(Op::Isneginf, &[self])
    }

    /// Returns whether each element is positive infinity.
    #[track_caller]
    pub fn isposinf(&self) -> Array {
        bind(Op::Isposinf, &[self])
    }

    /// Returns the natural logarithm of each element.
    #[track_caller]
    pub fn log(&self) -> Array {
        bind(Op::Log, &[self])
    }

    /// Returns the logarithm to base 10 of each element.
    #[track_caller]
    pub fn log10(&self) -> Array {
        bind(Op::Log10, &[self])
    }

    /// Returns `log(1 + x)`, accurate near 0.
    #[track_caller]
    pub fn log1p(&self) -> Array {
        bind(Op::Log1p, &[self])
    }

    /// Returns the logarithm to base 2 of each element.
    #[track_caller]
    pub fn log2(&self) -> Array {
        bind(Op::Log2, &[self])
    }

    /// Returns whether each element is zero.
    #[track_caller]
    pub fn logical_not(&self) -> Array {
        bind(Op::LogicalNot, &[self])
    }

    /// Returns each element with its sign changed (`-x`).
    #[track_caller]
    pub fn negative(&self) -> Array {
        bind(Op::Negative, &[self])
    }

    /// Returns the same array; an error for `bool`.
    #[track_caller]
    pub fn positive(&self) -> Array {
        bind(Op::Positive, &[self])
    }

    /// Returns each element turned from degrees to radians.
    #[track_caller]
    pub fn radians(&self) -> Array {
        bind(Op::Radians, &[self])
    }

    /// Returns the real part of each element.
    #[track_caller]
    pub fn real(&self) -> Array {
        bind(Op::Real, &[self])
    }

    /// Returns `1 / x` of each element.
    #[track_caller]
    pub fn reciprocal(&self) -> Array {
        bind(Op::Reciprocal, &[self])
    }

    /// Returns `1 / sqrt(x)` of each element.
    #[track_caller]
    pub fn rsqrt(&self) -> Array {
        bind(Op::Rsqrt, &[self])
    }

    /// Returns the logistic function `1 / (1 + exp(-x))` of each element.
    #[track_caller]
    pub fn sigmoid(&self) -> Array {
        bind(Op::Sigmoid, &[self])
    }

    /// Returns -1, 0 or 1 by the sign of each element; of a complex number, `x / abs(x)`.
    #[track_caller]
    pub fn sign(&self) -> Array {
        bind(Op::Sign, &[self])
    }

    /// Returns the sine of each element, in radians.
    #[track_caller]
    pub fn sin(&self) -> Array {
        bind(Op::Sin, &[self])
    }

    /// Returns the hyperbolic sine of each element.
    #[track_caller]
    pub fn sinh(&self) -> Array {
        bind(Op::Sinh, &[self])
    }

    /// Returns the square root of each element.
    #[track_caller]
    pub fn sqrt(&self) -> Array {
        bind(Op::Sqrt, &[self])
    }

    /// Returns the square of each element.
    #[track_caller]
    pub fn square(&self) -> Array {
        bind(Op::Square, &[self])
    }

    /// Returns the same values, through which no gradient flows.
    #[track_caller]
    pub fn stop_gradient(&self) -> Array {
        bind(Op::StopGradient, &[self])
    }

    /// Returns the tangent of each element, in radians.
    #[track_caller]
    pub fn tan(&self) -> Array {
        bind(Op::Tan, &[self])
    }

    /// Returns the hyperbolic tangent of each element.
    #[track_caller]
    pub fn tanh(&self) -> Array {
        bind(Op::Tanh, &[self])
    }

    /// Returns each element without its fraction.
    #[track_caller]
    pub fn trunc(&self) -> Array {
        bind(Op::Trunc, &[self])
    }

    /// Returns each element as FP8 (E4M3), in a `uint8`.
    #[track_caller]
    pub fn to_fp8(&self) -> Array {
        bind(Op::ToFp8, &[self])
    }

    /// Returns each element rounded to a whole number, halves to even; to decimal places with
    /// [`round_with`](Self::round_with).
    #[track_caller]
    pub fn round(&self) -> Array {
        self.round_with(0)
    }

    /// Returns each element rounded to `decimals` places, halves to even.
    #[track_caller]
    pub fn round_with(&self, decimals: i32) -> Array {
        bind(Op::Round { decimals }, &[self])
    }

    /// Returns the elements with NaN replaced by 0 and infinities by the largest and smallest numbers of the dtype; by
    /// others with [`nan_to_num_with`](Self::nan_to_num_with).
    #[track_caller]
    pub fn nan_to_num(&self) -> Array {
        self.nan_to_num_with(0.0, None, None)
    }

    /// Returns the elements with NaN and infinities replaced: NaN by `nan`, infinities by the given values or by the
    /// largest and smallest numbers of the dtype.
    #[track_caller]
    pub fn nan_to_num_with(&self, nan: f32, posinf: Option<f32>, neginf: Option<f32>) -> Array {
        bind(
            Op::NanToNum {
                nan,
                posinf,
                neginf,
            },
            &[self],
        )
    }

    /// Returns the elements converted to `dtype`.
    #[track_caller]
    pub fn astype(&self, dtype: Dtype) -> Array {
        bind(Op::Astype { dtype }, &[self])
    }

    /// Returns the same bytes read as `dtype`; the last axis grows or shrinks with the element size.
    #[track_caller]
    pub fn view(&self, dtype: Dtype) -> Array {
        bind(Op::View { dtype }, &[self])
    }

    /// Returns FP8 (E4M3) numbers held in a `uint8` array as `dtype`.
    #[track_caller]
    pub fn from_fp8(&self, dtype: Dtype) -> Array {
        bind(Op::FromFp8 { dtype }, &[self])
    }
}

/// The same functions under the names of the array API standard.
macro_rules! other_names {
    ($($name:ident = $method:ident;)*) => {
        impl Array {$(
            #[doc = concat!("Returns what [`", stringify!($method), "`](Self::", stringify!($method), ") does.")]
            #[track_caller]
            pub fn $name(&self) -> Array {
                self.$method()
            }
        )*}
    };
}

other_names! {
    acos = arccos;
    acosh = arccosh;
    asin = arcsin;
    asinh = arcsinh;
    atan = arctan;
    atanh = arctanh;
    conj = conjugate;
}
