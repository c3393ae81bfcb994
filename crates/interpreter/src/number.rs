//! One element of a tensor: exact integers, reals as `f64`, complex numbers as two `f64`, and conversions of dtype.

use half::{bf16, f16};
use mlx::{Dtype, DtypeKind};

/// One element of a [`Tensor`](crate::Tensor).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// `bool`.
    Bool(bool),
    /// A signed integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    Unsigned(u64),
    /// A real number of any floating dtype.
    Float(f64),
    /// Real and imaginary part.
    Complex(f64, f64),
}

/// What happens to floating-point results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// They stay `f64` through the whole graph, as in exact arithmetic.
    #[default]
    Exact,
    /// Each is rounded to its dtype, as if every operation computed exactly and then stored.
    PerOp,
    /// Each is rounded to its dtype and perturbed by at most `ulps` units in the last place: shows how much a graph
    /// amplifies small errors. Equal numbers are perturbed equally; another seed gives other errors.
    Noisy {
        /// The maximum error of a result.
        ulps: u32,
        /// Chooses the errors.
        seed: u32,
    },
}

impl Rounding {
    /// Returns a real number rounded to a dtype.
    pub(crate) fn round(self, value: f64, dtype: Dtype) -> f64 {
        match self {
            Rounding::Exact => value,
            // Noise is added to results, not where operands are converted: see `with_rounding`.
            Rounding::PerOp | Rounding::Noisy { .. } => stored(value, dtype),
        }
    }

    /// Returns a result with its rounding error. An `absolute` error is relative to 1, or to the value if that is
    /// larger.
    pub(crate) fn with_rounding(self, value: f64, dtype: Dtype, absolute: bool) -> f64 {
        match self {
            Rounding::Noisy { ulps, seed } => {
                let size = if absolute {
                    value.abs().max(1.0)
                } else {
                    value
                };
                value + size * epsilon(dtype) * f64::from(ulps) * noise(value, seed)
            }
            _ => value,
        }
    }
}

/// A pseudorandom number between -1 and 1.
#[allow(clippy::cast_precision_loss)]
fn noise(value: f64, seed: u32) -> f64 {
    let mut bits = value.to_bits() ^ (u64::from(seed) << 32 | 0x9E37_79B9);
    for _ in 0..3 {
        bits = (bits ^ (bits >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
    }
    (bits >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// Returns the nearest number of a floating dtype.
#[allow(clippy::cast_possible_truncation)]
fn stored(value: f64, dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float16 => f16::from_f64(value).into(),
        Dtype::Bfloat16 => bf16::from_f64(value).into(),
        Dtype::Float32 | Dtype::Complex64 => f64::from(value as f32),
        _ => value,
    }
}

/// The machine epsilon: the distance from 1 to the next number.
fn epsilon(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float16 => f16::EPSILON.into(),
        Dtype::Bfloat16 => bf16::EPSILON.into(),
        Dtype::Float64 => f64::EPSILON,
        _ => f32::EPSILON.into(),
    }
}

impl Number {
    /// Returns the zero of a dtype.
    pub(crate) fn zero(dtype: Dtype) -> Self {
        Number::Int(0).cast(dtype, Rounding::Exact)
    }

    /// Converts to a dtype: integers wrap, reals are truncated towards zero, anything but zero is true.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn cast(self, dtype: Dtype, rounding: Rounding) -> Self {
        match dtype.kind() {
            DtypeKind::Bool => Number::Bool(self.is_true()),
            DtypeKind::Signed => Number::Int(wrap_signed(self.to_i64(), dtype)),
            DtypeKind::Unsigned => {
                Number::Unsigned(wrap_unsigned(self.to_i64() as u64, dtype, self))
            }
            DtypeKind::Floating => Number::Float(rounding.round(self.to_f64(), dtype)),
            DtypeKind::Complex => {
                let (re, im) = self.to_complex();
                Number::Complex(rounding.round(re, dtype), rounding.round(im, dtype))
            }
        }
    }

    /// Whether it is not zero.
    pub fn is_true(self) -> bool {
        match self {
            Number::Bool(x) => x,
            Number::Int(x) => x != 0,
            Number::Unsigned(x) => x != 0,
            Number::Float(x) => x != 0.0,
            Number::Complex(re, im) => re != 0.0 || im != 0.0,
        }
    }

    /// Returns the nearest `f64`; of a complex number its real part.
    #[allow(clippy::cast_precision_loss)]
    pub fn to_f64(self) -> f64 {
        match self {
            Number::Bool(x) => f64::from(u8::from(x)),
            Number::Int(x) => x as f64,
            Number::Unsigned(x) => x as f64,
            Number::Float(x) | Number::Complex(x, _) => x,
        }
    }

    /// Returns the number as an integer, wrapped or truncated.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    pub fn to_i64(self) -> i64 {
        match self {
            Number::Bool(x) => i64::from(x),
            Number::Int(x) => x,
            Number::Unsigned(x) => x as i64,
            Number::Float(x) | Number::Complex(x, _) => x as i64,
        }
    }

    /// Returns real and imaginary part.
    pub fn to_complex(self) -> (f64, f64) {
        match self {
            Number::Complex(re, im) => (re, im),
            other => (other.to_f64(), 0.0),
        }
    }

    /// Whether a part of it is NaN.
    pub(crate) fn is_nan(self) -> bool {
        match self {
            Number::Float(x) => x.is_nan(),
            Number::Complex(re, im) => re.is_nan() || im.is_nan(),
            _ => false,
        }
    }

    /// Whether one is before the other in order; complex numbers are ordered by real, then by imaginary part.
    pub(crate) fn is_less(self, other: Self) -> bool {
        match (self, other) {
            (Number::Bool(a), Number::Bool(b)) => !a & b,
            (Number::Int(a), Number::Int(b)) => a < b,
            (Number::Unsigned(a), Number::Unsigned(b)) => a < b,
            (Number::Complex(a, c), Number::Complex(b, d)) => a < b || (a == b && c < d),
            (a, b) => a.to_f64() < b.to_f64(),
        }
    }

    /// The order of sorting, with NaN last.
    pub(crate) fn order(self, other: Self) -> std::cmp::Ordering {
        use std::cmp::Ordering;
        let class = |x: Self| match x {
            Number::Complex(re, im) => u8::from(re.is_nan()) * 2 + u8::from(im.is_nan()),
            other => u8::from(other.is_nan()),
        };
        match (self, other) {
            _ if class(self) != class(other) => class(self).cmp(&class(other)),
            // In one class, the same parts are NaN.
            (Number::Complex(a, b), Number::Complex(c, d)) if class(self) > 0 => {
                let known = |(x, y): (f64, f64)| x.partial_cmp(&y).unwrap_or(Ordering::Equal);
                known((a, c)).then(known((b, d)))
            }
            _ if self.is_less(other) => Ordering::Less,
            _ if other.is_less(self) => Ordering::Greater,
            _ => Ordering::Equal,
        }
    }

    /// Returns the sum of numbers of one kind; integers wrap at 64 bits, and at their own width when stored.
    pub(crate) fn add(self, other: Self) -> Self {
        match (self, other) {
            (Number::Bool(a), Number::Bool(b)) => Number::Bool(a | b),
            (Number::Int(a), Number::Int(b)) => Number::Int(a.wrapping_add(b)),
            (Number::Unsigned(a), Number::Unsigned(b)) => Number::Unsigned(a.wrapping_add(b)),
            (Number::Float(a), Number::Float(b)) => Number::Float(a + b),
            (a, b) => {
                let ((a, b), (c, d)) = (a.to_complex(), b.to_complex());
                Number::Complex(a + c, b + d)
            }
        }
    }

    /// Returns the difference of numbers of one kind.
    pub(crate) fn subtract(self, other: Self) -> Self {
        match (self, other) {
            (Number::Bool(a), Number::Bool(b)) => Number::Bool(a ^ b),
            (Number::Int(a), Number::Int(b)) => Number::Int(a.wrapping_sub(b)),
            (Number::Unsigned(a), Number::Unsigned(b)) => Number::Unsigned(a.wrapping_sub(b)),
            (Number::Float(a), Number::Float(b)) => Number::Float(a - b),
            (a, b) => {
                let ((a, b), (c, d)) = (a.to_complex(), b.to_complex());
                Number::Complex(a - c, b - d)
            }
        }
    }

    /// Returns the product of numbers of one kind.
    pub(crate) fn multiply(self, other: Self) -> Self {
        match (self, other) {
            (Number::Bool(a), Number::Bool(b)) => Number::Bool(a & b),
            (Number::Int(a), Number::Int(b)) => Number::Int(a.wrapping_mul(b)),
            (Number::Unsigned(a), Number::Unsigned(b)) => Number::Unsigned(a.wrapping_mul(b)),
            (Number::Float(a), Number::Float(b)) => Number::Float(a * b),
            (a, b) => {
                let ((a, b), (c, d)) = (a.to_complex(), b.to_complex());
                Number::Complex(a * c - b * d, a * d + b * c)
            }
        }
    }

    /// Returns the quotient, real or complex.
    pub(crate) fn divide(self, other: Self) -> Self {
        match (self, other) {
            (Number::Complex(..), _) | (_, Number::Complex(..)) => {
                let ((a, b), (c, d)) = (self.to_complex(), other.to_complex());
                let norm = c * c + d * d;
                Number::Complex((a * c + b * d) / norm, (b * c - a * d) / norm)
            }
            (a, b) => Number::Float(a.to_f64() / b.to_f64()),
        }
    }

    /// Returns the greater one, or NaN if one is.
    pub(crate) fn maximum(self, other: Self) -> Self {
        if self.is_nan() || (!other.is_nan() && other.is_less(self)) {
            self
        } else {
            other
        }
    }

    /// Returns the lesser one, or NaN if one is.
    pub(crate) fn minimum(self, other: Self) -> Self {
        if self.is_nan() || (!other.is_nan() && self.is_less(other)) {
            self
        } else {
            other
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn wrap_signed(value: i64, dtype: Dtype) -> i64 {
    match dtype.size() {
        1 => i64::from(value as i8),
        2 => i64::from(value as i16),
        4 => i64::from(value as i32),
        _ => value,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn wrap_unsigned(value: u64, dtype: Dtype, from: Number) -> u64 {
    // Reals beyond the range of i64 fit u64.
    let value = match from {
        Number::Float(x) if x >= 9.2e18 => x as u64,
        _ => value,
    };
    match dtype.size() {
        1 => u64::from(value as u8),
        2 => u64::from(value as u16),
        4 => u64::from(value as u32),
        _ => value,
    }
}

/// Returns the dtype that MLX computes in when two meet.
pub(crate) fn promote(a: Dtype, b: Dtype) -> Dtype {
    use Dtype::{Bfloat16, Complex64, Float16, Float32, Float64, Int16, Int32, Int64, Uint64};
    let signed = |bytes: usize| match bytes {
        2 => Int16,
        4 => Int32,
        _ => Int64,
    };
    match (a.kind(), b.kind()) {
        _ if a == b => a,
        (DtypeKind::Complex, _) | (_, DtypeKind::Complex) => Complex64,
        (DtypeKind::Floating, DtypeKind::Floating) => match (a, b) {
            (Float64, _) | (_, Float64) => Float64,
            (Float32, _) | (_, Float32) | (Float16, Bfloat16) | (Bfloat16, Float16) => Float32,
            _ => a,
        },
        (DtypeKind::Floating, _) => a,
        (_, DtypeKind::Floating) => b,
        (DtypeKind::Bool, _) => b,
        (_, DtypeKind::Bool) => a,
        (DtypeKind::Signed, DtypeKind::Unsigned) | (DtypeKind::Unsigned, DtypeKind::Signed) => {
            let (s, u) = if a.kind() == DtypeKind::Signed {
                (a, b)
            } else {
                (b, a)
            };
            match (s, u) {
                (_, Uint64) => Float32,
                _ if s.size() > u.size() => s,
                _ => signed(u.size() * 2),
            }
        }
        _ if a.size() > b.size() => a,
        _ => b,
    }
}

/// Returns the floating or complex dtype that mathematical functions of this one give.
pub(crate) fn inexact(dtype: Dtype) -> Dtype {
    if dtype.is_inexact() {
        dtype
    } else {
        Dtype::Float32
    }
}
