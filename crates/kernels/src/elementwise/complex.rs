//! Functions of complex numbers, as pairs of the real and the imaginary part.

use super::loops::{self, One, Two};
use super::strided_blocks::Block;
use super::{BinaryOp, UnaryOp};

type Complex = [f32; 2];

pub(super) use super::compare::equality as compare;

macro_rules! functions {
    ($($type:ident = |$a:ident, $b:ident| $value:expr;)*) => {$(
        struct $type;

        impl Two<Complex, Complex, Complex> for $type {
            #[inline(always)]
            fn of($a: Complex, $b: Complex) -> Complex {
                $value
            }
        }
    )*};
}

functions! {
    Add = |a, b| [a[0] + b[0], a[1] + b[1]];
    Subtract = |a, b| [a[0] - b[0], a[1] - b[1]];
}

/// Products and quotients are MLX's: their infinities are those of its C++ library.
pub(super) fn zip(
    op: BinaryOp,
    a: Block<'_, Complex>,
    b: Block<'_, Complex>,
    out: &mut [Complex],
) -> bool {
    match op {
        BinaryOp::Add => loops::zip::<Add, _, _, _>(a, b, out),
        BinaryOp::Subtract => loops::zip::<Subtract, _, _, _>(a, b, out),
        _ => return false,
    }
    true
}

struct Negate;

impl One<Complex, Complex> for Negate {
    #[inline(always)]
    fn of(x: Complex) -> Complex {
        [-x[0], -x[1]]
    }
}

pub(super) fn map(op: UnaryOp, x: Block<'_, Complex>, out: &mut [Complex]) -> bool {
    if op != UnaryOp::Negate {
        return false;
    }
    loops::map::<Negate, _, _>(x, out);
    true
}
