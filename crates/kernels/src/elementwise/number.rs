//! What is computed of each element type: integers wrap around, half precision is computed in `f32` and rounded, `f64` in
//! `f64`, complex numbers as C++ does.

use half::{bf16, f16};

use super::block::BlockOperand;
use super::evaluate_binary::{evaluate_binary, evaluate_binary_half};
use super::evaluate_unary::{evaluate_unary, evaluate_unary_half};
use super::strided_blocks::Block;
use super::{BinaryOp, UnaryOp, compare, complex, double, integer};
use crate::instances::HasElementwise;

/// An element type of [`map`](super::map()), [`zip`](super::zip()) and [`compare`](super::compare()). Sealed:
/// integers, [`half::f16`], [`half::bf16`], `f32`, `f64`, and complex numbers as `[f32; 2]`.
pub trait Number: Copy + Default + Send + Sync + Functions + HasElementwise + 'static {}

macro_rules! numbers {
    ($($type:ty)*) => {$(impl Number for $type {})*};
}

numbers!(u8 u16 u32 u64 i8 i16 i32 i64 f16 bf16 f32 f64 [f32; 2]);

/// Blocks, as the functions of a type see them.
#[derive(Clone, Copy)]
pub struct BlockOf<'a, T>(pub(super) Block<'a, T>);

/// The functions of a type. One without a form writes nothing and returns false.
pub trait Functions: Sized {
    /// Writes `op(x)`.
    fn map(op: UnaryOp, x: BlockOf<'_, Self>, out: &mut [Self], stream: bool) -> bool;
    /// Writes `op(a, b)`.
    fn zip(op: BinaryOp, operands: [BlockOf<'_, Self>; 2], out: &mut [Self], stream: bool) -> bool;
    /// Writes 1 where `a op b`, and 0 elsewhere.
    fn compare(op: BinaryOp, operands: [BlockOf<'_, Self>; 2], out: &mut [u8]) -> bool;
}

impl Functions for f32 {
    fn map(op: UnaryOp, x: BlockOf<'_, Self>, out: &mut [Self], stream: bool) -> bool {
        if op == UnaryOp::BitwiseInvert {
            return false;
        }
        match x.0 {
            Block::Slice(x) => evaluate_unary(op, x, out, stream),
            Block::Scalar(x) => {
                let mut value = [0.0];
                evaluate_unary(op, &[x], &mut value, false);
                out.fill(value[0]);
            }
        }
        true
    }

    fn zip(op: BinaryOp, [a, b]: [BlockOf<'_, Self>; 2], out: &mut [Self], stream: bool) -> bool {
        if op.is_of_integers() {
            return false;
        }
        let operand = |x| match x {
            Block::Slice(x) => BlockOperand::Slice(x),
            Block::Scalar(x) => BlockOperand::Scalar(x),
        };
        evaluate_binary(op, operand(a.0), operand(b.0), out, stream);
        true
    }

    fn compare(op: BinaryOp, [a, b]: [BlockOf<'_, Self>; 2], out: &mut [u8]) -> bool {
        compare::ordered(op, a.0, b.0, out)
    }
}

macro_rules! half_functions {
    ($($type:ty)*) => {$(
        impl Functions for $type {
            fn map(op: UnaryOp, x: BlockOf<'_, Self>, out: &mut [Self], _: bool) -> bool {
                if op == UnaryOp::BitwiseInvert {
                    return false;
                }
                match x.0 {
                    Block::Slice(x) => evaluate_unary_half(op, x, out),
                    Block::Scalar(x) => {
                        let mut value = [Self::ZERO];
                        evaluate_unary_half(op, &[x], &mut value);
                        out.fill(value[0]);
                    }
                }
                true
            }

            fn zip(op: BinaryOp, [a, b]: [BlockOf<'_, Self>; 2], out: &mut [Self], _: bool) -> bool {
                if op.is_of_integers() {
                    return false;
                }
                evaluate_binary_half(op, a.0, b.0, out);
                true
            }

            fn compare(op: BinaryOp, [a, b]: [BlockOf<'_, Self>; 2], out: &mut [u8]) -> bool {
                compare::half(op, a.0, b.0, out)
            }
        }
    )*};
}

half_functions!(f16 bf16);

macro_rules! functions {
    ($($type:ty: $module:ident;)*) => {$(
        impl Functions for $type {
            fn map(op: UnaryOp, x: BlockOf<'_, Self>, out: &mut [Self], _: bool) -> bool {
                $module::map(op, x.0, out)
            }

            fn zip(op: BinaryOp, [a, b]: [BlockOf<'_, Self>; 2], out: &mut [Self], _: bool) -> bool {
                $module::zip(op, a.0, b.0, out)
            }

            fn compare(op: BinaryOp, [a, b]: [BlockOf<'_, Self>; 2], out: &mut [u8]) -> bool {
                $module::compare(op, a.0, b.0, out)
            }
        }
    )*};
}

functions! {
    u8: integer;
    u16: integer;
    u32: integer;
    u64: integer;
    i8: integer;
    i16: integer;
    i32: integer;
    i64: integer;
    f64: double;
    [f32; 2]: complex;
}
