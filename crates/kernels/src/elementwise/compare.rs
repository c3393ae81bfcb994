//! Comparisons, which give 1 or 0.

use super::BinaryOp;
use super::loops::{Two, zip};
use super::strided_blocks::Block;
use crate::element::Element;

macro_rules! comparisons {
    ($($type:ident: $bound:ident = |$a:ident, $b:ident| $value:expr;)*) => {$(
        struct $type;

        impl<T: $bound> Two<T, T, u8> for $type {
            #[inline(always)]
            fn of($a: T, $b: T) -> u8 {
                u8::from($value)
            }
        }
    )*};
}

comparisons! {
    Equal: PartialEq = |a, b| a == b;
    NotEqual: PartialEq = |a, b| a != b;
    Less: PartialOrd = |a, b| a < b;
    LessEqual: PartialOrd = |a, b| a <= b;
    Greater: PartialOrd = |a, b| a > b;
    GreaterEqual: PartialOrd = |a, b| a >= b;
}

/// Comparisons of numbers that have an order; false for another function.
pub(super) fn ordered<T: Copy + PartialOrd>(
    op: BinaryOp,
    a: Block<'_, T>,
    b: Block<'_, T>,
    out: &mut [u8],
) -> bool {
    match op {
        BinaryOp::Less => zip::<Less, _, _, _>(a, b, out),
        BinaryOp::LessEqual => zip::<LessEqual, _, _, _>(a, b, out),
        BinaryOp::Greater => zip::<Greater, _, _, _>(a, b, out),
        BinaryOp::GreaterEqual => zip::<GreaterEqual, _, _, _>(a, b, out),
        _ => return equality(op, a, b, out),
    }
    true
}

/// Comparisons of numbers for equality only.
pub(super) fn equality<T: Copy + PartialEq>(
    op: BinaryOp,
    a: Block<'_, T>,
    b: Block<'_, T>,
    out: &mut [u8],
) -> bool {
    match op {
        BinaryOp::Equal => zip::<Equal, _, _, _>(a, b, out),
        BinaryOp::NotEqual => zip::<NotEqual, _, _, _>(a, b, out),
        _ => return false,
    }
    true
}

/// Elements that are converted at once.
const BLOCK: usize = 1024;

/// Comparisons of half precision, in `f32`.
pub(super) fn half<T: Element>(
    op: BinaryOp,
    a: Block<'_, T>,
    b: Block<'_, T>,
    out: &mut [u8],
) -> bool {
    let (mut a_f32, mut b_f32) = ([0.0; BLOCK], [0.0; BLOCK]);
    if out.is_empty() {
        return ordered::<f32>(op, Block::Scalar(0.0), Block::Scalar(0.0), out);
    }
    out.chunks_mut(BLOCK).enumerate().all(|(number, out)| {
        let from = number * BLOCK;
        let a = single(a, from, out.len(), &mut a_f32);
        let b = single(b, from, out.len(), &mut b_f32);
        ordered(op, a, b, out)
    })
}

fn single<'a, T: Element>(
    x: Block<'a, T>,
    from: usize,
    count: usize,
    scratch: &'a mut [f32],
) -> Block<'a, f32> {
    match x {
        Block::Slice(x) => Block::Slice(T::read(&x[from..][..count], scratch)),
        Block::Scalar(x) => {
            T::read(&[x], scratch);
            Block::Scalar(scratch[0])
        }
    }
}
