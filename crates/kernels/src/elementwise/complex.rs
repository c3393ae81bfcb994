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
    Multiply = |a, b| [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]];
}

/// Computes again the products whose two parts are NaN: of an infinity and a number that is not 0 they are infinite, as the
/// C standard has it in its annex G.
fn recover_infinities(a: Block<'_, Complex>, b: Block<'_, Complex>, out: &mut [Complex]) {
    let element = |x: &Block<'_, Complex>, index: usize| match x {
        Block::Slice(x) => x[index],
        Block::Scalar(x) => *x,
    };
    for (index, out) in out.iter_mut().enumerate() {
        if out[0].is_nan() && out[1].is_nan() {
            *out = infinite_product(element(&a, index), element(&b, index)).unwrap_or(*out);
        }
    }
}

/// The product of numbers of which one is infinite, or whose product is.
fn infinite_product(a: Complex, b: Complex) -> Option<Complex> {
    let is_infinite = |x: Complex| x[0].is_infinite() || x[1].is_infinite();
    // An infinity as a direction, and 0 for NaN.
    let boxed = |x: Complex| x.map(|x| f32::from(u8::from(x.is_infinite())).copysign(x));
    let without_nan = |x: Complex| x.map(|x| if x.is_nan() { 0.0_f32.copysign(x) } else { x });
    let (mut x, mut y) = (a, b);
    if is_infinite(a) {
        (x, y) = (boxed(x), without_nan(y));
    }
    if is_infinite(y) {
        (x, y) = (without_nan(x), boxed(y));
    }
    let parts = [a[0] * b[0], a[1] * b[1], a[0] * b[1], a[1] * b[0]];
    if !is_infinite(a) && !is_infinite(b) {
        if !parts.iter().any(|part| part.is_infinite()) {
            return None;
        }
        (x, y) = (without_nan(x), without_nan(y));
    }
    Some([
        f32::INFINITY * (x[0] * y[0] - x[1] * y[1]),
        f32::INFINITY * (x[0] * y[1] + x[1] * y[0]),
    ])
}

/// Quotients are MLX's: their infinities are those of its C++ library.
pub(super) fn zip(
    op: BinaryOp,
    a: Block<'_, Complex>,
    b: Block<'_, Complex>,
    out: &mut [Complex],
) -> bool {
    match op {
        BinaryOp::Add => loops::zip::<Add, _, _, _>(a, b, out),
        BinaryOp::Subtract => loops::zip::<Subtract, _, _, _>(a, b, out),
        BinaryOp::Multiply => {
            loops::zip::<Multiply, _, _, _>(a, b, out);
            recover_infinities(a, b, out);
        }
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
