//! Functions of two or three arrays, element by element, broadcasting sizes of 1.
//!
//! A Rust number on the other side is weak: it takes the array's dtype (see [`Scalar`](crate::Scalar)).

use crate::array::pair;
use crate::op::Op;
use crate::{Array, Operand, Result, bind, bind_all};

impl Array {
    /// Returns the sum of both sides (`a + b`).
    #[track_caller]
    pub fn add(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Add, &[self, &other.into().beside(self)])
    }

    /// Returns the difference (`a - b`).
    #[track_caller]
    pub fn subtract(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Subtract, &[self, &other.into().beside(self)])
    }

    /// Returns the product of both sides, element by element (`a * b`).
    #[track_caller]
    pub fn multiply(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Multiply, &[self, &other.into().beside(self)])
    }

    /// Returns the quotient (`a / b`); integers give `float32`.
    #[track_caller]
    pub fn divide(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Divide, &[self, &other.into().beside(self)])
    }

    /// Returns the quotient rounded down; of integers, cut towards zero, as MLX does ([`divmod`](Self::divmod) rounds
    /// down). Integers by 0 give 0.
    #[track_caller]
    pub fn floor_divide(&self, other: impl Into<Operand>) -> Array {
        bind(Op::FloorDivide, &[self, &other.into().beside(self)])
    }

    /// Returns the remainder, with the sign of the divisor (`a % b`); integers by 0 give 0.
    #[track_caller]
    pub fn remainder(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Remainder, &[self, &other.into().beside(self)])
    }

    /// Returns the left side to the power of the right.
    #[track_caller]
    pub fn power(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Power, &[self, &other.into().beside(self)])
    }

    /// Returns the greater of both sides; NaN where one is NaN.
    #[track_caller]
    pub fn maximum(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Maximum, &[self, &other.into().beside(self)])
    }

    /// Returns the lesser of both sides; NaN where one is NaN.
    #[track_caller]
    pub fn minimum(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Minimum, &[self, &other.into().beside(self)])
    }

    /// Returns `log(exp(a) + exp(b))` without overflow.
    #[track_caller]
    pub fn logaddexp(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Logaddexp, &[self, &other.into().beside(self)])
    }

    /// Returns the angle of the point `(b, a)` in radians.
    #[track_caller]
    pub fn arctan2(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Arctan2, &[self, &other.into().beside(self)])
    }

    /// Returns whether both sides are equal, element by element.
    #[track_caller]
    pub fn equal(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Equal, &[self, &other.into().beside(self)])
    }

    /// Returns whether both sides differ, element by element.
    #[track_caller]
    pub fn not_equal(&self, other: impl Into<Operand>) -> Array {
        bind(Op::NotEqual, &[self, &other.into().beside(self)])
    }

    /// Returns whether the left side is greater.
    #[track_caller]
    pub fn greater(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Greater, &[self, &other.into().beside(self)])
    }

    /// Returns whether the left side is greater or equal.
    #[track_caller]
    pub fn greater_equal(&self, other: impl Into<Operand>) -> Array {
        bind(Op::GreaterEqual, &[self, &other.into().beside(self)])
    }

    /// Returns whether the left side is less.
    #[track_caller]
    pub fn less(&self, other: impl Into<Operand>) -> Array {
        bind(Op::Less, &[self, &other.into().beside(self)])
    }

    /// Returns whether the left side is less or equal.
    #[track_caller]
    pub fn less_equal(&self, other: impl Into<Operand>) -> Array {
        bind(Op::LessEqual, &[self, &other.into().beside(self)])
    }

    /// Returns whether both sides are non-zero.
    #[track_caller]
    pub fn logical_and(&self, other: impl Into<Operand>) -> Array {
        bind(Op::LogicalAnd, &[self, &other.into().beside(self)])
    }

    /// Returns whether a side is non-zero.
    #[track_caller]
    pub fn logical_or(&self, other: impl Into<Operand>) -> Array {
        bind(Op::LogicalOr, &[self, &other.into().beside(self)])
    }

    /// Returns whether exactly one side is non-zero.
    #[track_caller]
    pub fn logical_xor(&self, other: impl Into<Operand>) -> Array {
        bind(Op::LogicalXor, &[self, &other.into().beside(self)])
    }

    /// Returns the bitwise and of both sides (`a & b`).
    #[track_caller]
    pub fn bitwise_and(&self, other: impl Into<Operand>) -> Array {
        bind(Op::BitwiseAnd, &[self, &other.into().beside(self)])
    }

    /// Returns the bitwise or of both sides (`a | b`).
    #[track_caller]
    pub fn bitwise_or(&self, other: impl Into<Operand>) -> Array {
        bind(Op::BitwiseOr, &[self, &other.into().beside(self)])
    }

    /// Returns the bitwise exclusive or of both sides (`a ^ b`).
    #[track_caller]
    pub fn bitwise_xor(&self, other: impl Into<Operand>) -> Array {
        bind(Op::BitwiseXor, &[self, &other.into().beside(self)])
    }

    /// Returns the left side shifted left (`a << b`); shifts beyond the width are unspecified.
    #[track_caller]
    pub fn left_shift(&self, other: impl Into<Operand>) -> Array {
        bind(Op::LeftShift, &[self, &other.into().beside(self)])
    }

    /// Returns the left side shifted right (`a >> b`); shifts beyond the width are unspecified.
    #[track_caller]
    pub fn right_shift(&self, other: impl Into<Operand>) -> Array {
        bind(Op::RightShift, &[self, &other.into().beside(self)])
    }

    /// Returns quotient rounded down and remainder together.
    ///
    /// # Errors
    /// When the shapes do not broadcast, or an input carries an error.
    #[track_caller]
    pub fn divmod(&self, other: impl Into<Operand>) -> Result<(Array, Array)> {
        let mut both = bind_all(Op::Divmod, &[self, &other.into().beside(self)])?.into_iter();
        let missing = || crate::Error::op("divmod", "wanted two outputs, got fewer");
        Ok((
            both.next().ok_or_else(missing)?,
            both.next().ok_or_else(missing)?,
        ))
    }

    /// Returns the elements limited to `min` and `max`, either of which may be `None::<f32>`.
    #[track_caller]
    pub fn clip<A: Into<Operand>, B: Into<Operand>>(
        &self,
        min: impl Into<Option<A>>,
        max: impl Into<Option<B>>,
    ) -> Array {
        let min = min.into().map(|min| min.into().beside(self));
        let max = max.into().map(|max| max.into().beside(self));
        if let (Some(min), Some(max)) = (&min, &max)
            && let Some(clipped) = crate::cpu::clip(self, min, max)
        {
            return clipped;
        }
        let op = Op::Clip {
            min: min.is_some(),
            max: max.is_some(),
        };
        let mut inputs = vec![self];
        inputs.extend(min.iter().chain(&max));
        bind(op, &inputs)
    }

    /// Returns whether elements are equal within `atol + rtol * abs(other)`, with Python MLX's tolerances 1e-5 and 1e-8.
    #[track_caller]
    pub fn isclose(&self, other: impl Into<Operand>) -> Array {
        self.isclose_with(other, CloseOptions::default())
    }

    /// Returns whether elements are equal within tolerances.
    #[track_caller]
    pub fn isclose_with(
        &self,
        other: impl Into<Operand>,
        options: impl Into<CloseOptions>,
    ) -> Array {
        let CloseOptions {
            rtol,
            atol,
            equal_nan,
        } = options.into();
        let op = Op::Isclose {
            rtol,
            atol,
            equal_nan,
        };
        bind(op, &[self, &other.into().beside(self)])
    }

    /// Returns whether all elements are equal within `atol + rtol * abs(other)`, as one `bool`, with Python MLX's
    /// tolerances 1e-5 and 1e-8.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([1.0, 2.0]);
    /// assert!(x.allclose(&x + 1e-6).item::<bool>()?);
    /// let strict = mlx::CloseOptions { rtol: 0.0, atol: 1e-7, ..Default::default() };
    /// assert!(!x.allclose_with(&x + 1e-6, strict).item::<bool>()?);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn allclose(&self, other: impl Into<Operand>) -> Array {
        self.allclose_with(other, CloseOptions::default())
    }

    /// Returns whether all elements are equal within tolerances, as one `bool`.
    #[track_caller]
    pub fn allclose_with(
        &self,
        other: impl Into<Operand>,
        options: impl Into<CloseOptions>,
    ) -> Array {
        let CloseOptions {
            rtol,
            atol,
            equal_nan,
        } = options.into();
        let op = Op::Allclose {
            rtol,
            atol,
            equal_nan,
        };
        bind(op, &[self, &other.into().beside(self)])
    }

    /// Returns whether both arrays have one shape and equal elements, as one `bool`; NaN is not equal to NaN.
    #[track_caller]
    pub fn array_equal(&self, other: impl Into<Operand>) -> Array {
        self.array_equal_with(other, false)
    }

    /// Returns whether both arrays have one shape and equal elements, as one `bool`; with `equal_nan`, NaN is equal to
    /// NaN.
    #[track_caller]
    pub fn array_equal_with(&self, other: impl Into<Operand>, equal_nan: bool) -> Array {
        bind(
            Op::ArrayEqual { equal_nan },
            &[self, &other.into().beside(self)],
        )
    }
}

/// Comparisons and powers under the names of Rust's operators and of the array API standard.
macro_rules! other_names {
    ($($name:ident = $method:ident;)*) => {
        impl Array {$(
            #[doc = concat!("Returns what [`", stringify!($method), "`](Self::", stringify!($method), ") does.")]
            #[track_caller]
            pub fn $name(&self, other: impl Into<Operand>) -> Array {
                self.$method(other)
            }
        )*}
    };
}

other_names! {
    eq = equal;
    ne = not_equal;
    gt = greater;
    ge = greater_equal;
    lt = less;
    le = less_equal;
    pow = power;
    atan2 = arctan2;
    bitwise_left_shift = left_shift;
    bitwise_right_shift = right_shift;
}

/// Tolerances of [`isclose`](Array::isclose) and [`allclose`](Array::allclose): by default those of Python MLX.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CloseOptions {
    /// The relative tolerance; 1e-5 by default.
    pub rtol: f64,
    /// The absolute tolerance; 1e-8 by default.
    pub atol: f64,
    /// Whether NaN is equal to NaN; not by default.
    pub equal_nan: bool,
}

impl CloseOptions {
    /// Returns the options with these tolerances; NaN is not equal to NaN.
    pub const fn new(rtol: f64, atol: f64) -> Self {
        Self {
            rtol,
            atol,
            equal_nan: false,
        }
    }
}

/// The relative and the absolute tolerance: `allclose_with(&a, &b, (1e-5, 1e-8))`.
impl From<(f64, f64)> for CloseOptions {
    fn from((rtol, atol): (f64, f64)) -> Self {
        Self::new(rtol, atol)
    }
}

impl Default for CloseOptions {
    fn default() -> Self {
        Self {
            rtol: 1e-5,
            atol: 1e-8,
            equal_nan: false,
        }
    }
}

/// Returns the elements of `x` where `condition` is true and of `y` elsewhere.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::Array::new([-1.0_f32, 2.0]);
/// let relu = mlx::where_(&x.greater(0), &x, 0);
/// assert_eq!(relu.to_vec::<f32>()?, [0.0, 2.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn where_(
    condition: impl Into<Operand>,
    x: impl Into<Operand>,
    y: impl Into<Operand>,
) -> Array {
    let (x, y) = pair(x.into(), y.into());
    bind(Op::Where, &[&condition.into().alone(), &x, &y])
}
