//! One vector register of `f32` with arithmetic, so that formulas read as formulas for every instruction set.

mod arithmetic;
mod exponential;
mod hyperbolic;
mod scalef;
mod trigonometric;

pub(crate) use arithmetic::Lanes;
pub(crate) use trigonometric::TRIGONOMETRIC_LIMIT;
