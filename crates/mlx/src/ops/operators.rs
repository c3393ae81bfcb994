//! `+ - * / %`, `-x`, `!x`, `& | ^ << >>` between arrays, references to arrays, and numbers.
//!
//! They mean what they mean in Python MLX, except that `%` and integer division by zero give 0. None panics.
//!
//! On the right, numbers are of any type. On the left, they are `f32`, `i32`, `bool`, half precision, complex or a
//! [`Scalar`]: with more, `(2.0 * x).sum(())` would not say which type 2.0 has. So `x * v` for a variable of another type,
//! or `Scalar::from(v) - x`.

use std::ops;

use half::{bf16, f16};

use crate::array::pair;
use crate::dtype::Complex64;
use crate::op::Op;
use crate::{Array, Operand, Scalar, bind};

macro_rules! binary_operators {
    ($($trait:ident $method:ident $op:ident $assign_trait:ident $assign:ident;)*) => {$(
        impl<T: Into<Operand>> ops::$trait<T> for &Array {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: T) -> Array {
                bind(Op::$op, &[self, &other.into().beside(self)])
            }
        }
        impl<T: Into<Operand>> ops::$trait<T> for Array {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: T) -> Array {
                bind(Op::$op, &[&self, &other.into().beside(&self)])
            }
        }
        impl<T: Into<Operand>> ops::$assign_trait<T> for Array {
            #[track_caller]
            fn $assign(&mut self, other: T) {
                *self = bind(Op::$op, &[self, &other.into().beside(self)]);
            }
        }
        binary_operators!(@numbers $trait $method $op; f32, i32, bool, f16, bf16, Complex64, Scalar);
    )*};
    (@numbers $trait:ident $method:ident $op:ident; $($t:ty),*) => {$(
        impl ops::$trait<Array> for $t {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: Array) -> Array {
                let (a, b) = pair(Operand::Scalar(Scalar::from(self)), Operand::Array(other));
                bind(Op::$op, &[&a, &b])
            }
        }
        impl ops::$trait<&Array> for $t {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: &Array) -> Array {
                let (a, b) = pair(Operand::Scalar(Scalar::from(self)), Operand::Array(other.clone()));
                bind(Op::$op, &[&a, &b])
            }
        }
    )*};
}

binary_operators! {
    Add add Add AddAssign add_assign;
    Sub sub Subtract SubAssign sub_assign;
    Mul mul Multiply MulAssign mul_assign;
    Div div Divide DivAssign div_assign;
    Rem rem Remainder RemAssign rem_assign;
    BitAnd bitand BitwiseAnd BitAndAssign bitand_assign;
    BitOr bitor BitwiseOr BitOrAssign bitor_assign;
    BitXor bitxor BitwiseXor BitXorAssign bitxor_assign;
    Shl shl LeftShift ShlAssign shl_assign;
    Shr shr RightShift ShrAssign shr_assign;
}

macro_rules! unary_operators {
    ($($trait:ident $method:ident $op:ident;)*) => {$(
        impl ops::$trait for &Array {
            type Output = Array;
            #[track_caller]
            fn $method(self) -> Array {
                bind(Op::$op, &[self])
            }
        }
        impl ops::$trait for Array {
            type Output = Array;
            #[track_caller]
            fn $method(self) -> Array {
                bind(Op::$op, &[&self])
            }
        }
    )*};
}

unary_operators! {
    Neg neg Negative;
    Not not BitwiseInvert;
}
