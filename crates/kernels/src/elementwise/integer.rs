//! Functions of integers: exact, and wrapping around.

use super::loops::{self, One, Two};
use super::strided_blocks::Block;
use super::{BinaryOp, UnaryOp};

pub(super) use super::compare::ordered as compare;

/// An integer type.
pub(super) trait Integer: Copy + PartialOrd {
    fn add(self, other: Self) -> Self;
    fn subtract(self, other: Self) -> Self;
    fn multiply(self, other: Self) -> Self;
    /// The quotient towards 0; 0 by 0.
    fn divide(self, other: Self) -> Self;
    /// The floor of the quotient; 0 by 0.
    fn floor_divide(self, other: Self) -> Self;
    /// The remainder with the sign of the divisor; `self` by 0.
    fn remainder(self, other: Self) -> Self;
    fn power(self, exponent: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn shift_left(self, count: Self) -> Self;
    fn shift_right(self, count: Self) -> Self;
    fn invert(self) -> Self;
    fn negate(self) -> Self;
    fn magnitude(self) -> Self;
    fn sign(self) -> Self;
    fn is_zero(self) -> Self;
}

/// `wide` is what C++ promotes the type to before it shifts.
macro_rules! integers {
    ($($type:ty, $wide:ty, $is_signed:expr;)*) => {$(
        impl Integer for $type {
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            #[inline(always)]
            fn subtract(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            #[inline(always)]
            fn multiply(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }

            #[inline(always)]
            fn divide(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }

            #[inline(always)]
            #[allow(unused_comparisons)]
            fn floor_divide(self, other: Self) -> Self {
                if other == 0 {
                    return 0;
                }
                let quotient = self.wrapping_div(other);
                let is_below = self.wrapping_rem(other) != 0 && (self < 0) != (other < 0);
                if is_below { quotient.wrapping_sub(1) } else { quotient }
            }

            #[inline(always)]
            #[allow(unused_comparisons)]
            fn remainder(self, other: Self) -> Self {
                if other == 0 {
                    return self;
                }
                let rest = self.wrapping_rem(other);
                if rest != 0 && (rest < 0) != (other < 0) { rest.wrapping_add(other) } else { rest }
            }

            #[inline(always)]
            #[allow(unused_comparisons)]
            fn power(self, exponent: Self) -> Self {
                let (mut power, mut base, mut left) = (1, self, exponent);
                if exponent < 0 {
                    return 0;
                }
                while left != 0 {
                    if left & 1 == 1 {
                        power = Integer::multiply(power, base);
                    }
                    left >>= 1;
                    base = base.multiply(base);
                }
                power
            }

            #[inline(always)]
            fn and(self, other: Self) -> Self {
                self & other
            }

            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }

            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }

            #[inline(always)]
            fn shift_left(self, count: Self) -> Self {
                (self as $wide).wrapping_shl(count as u32) as Self
            }

            #[inline(always)]
            fn shift_right(self, count: Self) -> Self {
                (self as $wide).wrapping_shr(count as u32) as Self
            }

            #[inline(always)]
            fn invert(self) -> Self {
                !self
            }

            #[inline(always)]
            fn negate(self) -> Self {
                self.wrapping_neg()
            }

            #[inline(always)]
            #[allow(unused_comparisons)]
            fn magnitude(self) -> Self {
                if $is_signed && self < 0 { self.wrapping_neg() } else { self }
            }

            #[inline(always)]
            fn is_zero(self) -> Self {
                Self::from(self == 0)
            }

            #[inline(always)]
            #[allow(unused_comparisons)]
            fn sign(self) -> Self {
                // The number before 0 is -1, of unsigned integers it never comes here.
                if self < 0 { (0 as Self).wrapping_sub(1) } else { Self::from(self > 0) }
            }
        }
    )*};
}

integers! {
    u8, i32, false;
    u16, i32, false;
    u32, u32, false;
    u64, u64, false;
    i8, i32, true;
    i16, i32, true;
    i32, i32, true;
    i64, i64, true;
}

macro_rules! functions {
    ($($type:ident = |$a:ident, $b:ident| $value:expr;)*) => {$(
        struct $type;

        impl<T: Integer> Two<T, T, T> for $type {
            #[inline(always)]
            fn of($a: T, $b: T) -> T {
                $value
            }
        }
    )*};
}

functions! {
    Add = |a, b| a.add(b);
    Subtract = |a, b| a.subtract(b);
    Multiply = |a, b| a.multiply(b);
    Divide = |a, b| a.divide(b);
    FloorDivide = |a, b| a.floor_divide(b);
    Remainder = |a, b| a.remainder(b);
    Power = |a, b| a.power(b);
    Maximum = |a, b| if a > b { a } else { b };
    Minimum = |a, b| if a < b { a } else { b };
    And = |a, b| a.and(b);
    Or = |a, b| a.or(b);
    Xor = |a, b| a.xor(b);
    ShiftLeft = |a, b| a.shift_left(b);
    ShiftRight = |a, b| a.shift_right(b);
}

pub(super) fn zip<T: Integer>(
    op: BinaryOp,
    a: Block<'_, T>,
    b: Block<'_, T>,
    out: &mut [T],
) -> bool {
    match op {
        BinaryOp::Add => loops::zip::<Add, _, _, _>(a, b, out),
        BinaryOp::Subtract => loops::zip::<Subtract, _, _, _>(a, b, out),
        BinaryOp::Multiply => loops::zip::<Multiply, _, _, _>(a, b, out),
        BinaryOp::Divide => loops::zip::<Divide, _, _, _>(a, b, out),
        BinaryOp::FloorDivide => loops::zip::<FloorDivide, _, _, _>(a, b, out),
        BinaryOp::Remainder => loops::zip::<Remainder, _, _, _>(a, b, out),
        BinaryOp::Power => loops::zip::<Power, _, _, _>(a, b, out),
        BinaryOp::Maximum => loops::zip::<Maximum, _, _, _>(a, b, out),
        BinaryOp::Minimum => loops::zip::<Minimum, _, _, _>(a, b, out),
        BinaryOp::BitwiseAnd => loops::zip::<And, _, _, _>(a, b, out),
        BinaryOp::BitwiseOr => loops::zip::<Or, _, _, _>(a, b, out),
        BinaryOp::BitwiseXor => loops::zip::<Xor, _, _, _>(a, b, out),
        BinaryOp::LeftShift => loops::zip::<ShiftLeft, _, _, _>(a, b, out),
        BinaryOp::RightShift => loops::zip::<ShiftRight, _, _, _>(a, b, out),
        _ => return false,
    }
    true
}

macro_rules! functions_of_one {
    ($($type:ident = |$x:ident| $value:expr;)*) => {$(
        struct $type;

        impl<T: Integer> One<T, T> for $type {
            #[inline(always)]
            fn of($x: T) -> T {
                $value
            }
        }
    )*};
}

functions_of_one! {
    Negate = |x| x.negate();
    Magnitude = |x| x.magnitude();
    Sign = |x| x.sign();
    Square = |x| x.multiply(x);
    Invert = |x| x.invert();
    Not = |x| x.is_zero();
}

pub(super) fn map<T: Integer>(op: UnaryOp, x: Block<'_, T>, out: &mut [T]) -> bool {
    match op {
        UnaryOp::Negate => loops::map::<Negate, _, _>(x, out),
        UnaryOp::Abs => loops::map::<Magnitude, _, _>(x, out),
        UnaryOp::Sign => loops::map::<Sign, _, _>(x, out),
        UnaryOp::Square => loops::map::<Square, _, _>(x, out),
        UnaryOp::Not => loops::map::<Not, _, _>(x, out),
        UnaryOp::BitwiseInvert => loops::map::<Invert, _, _>(x, out),
        _ => return false,
    }
    true
}
