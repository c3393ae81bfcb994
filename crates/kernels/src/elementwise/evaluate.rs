//! One step over one block.

use pulp::{Simd, WithSimd};

use super::{Binary, Simple, Step};
use crate::simd::f32_to_f16::{round_to_bf16, round_to_f16};
use crate::simd::lanes::Lanes;
use crate::simd::{self, streaming_store};

/// An operand of one block.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Slice(&'a [f32]),
    Scalar(f32),
}

/// Writes the value of a step, with streaming stores if `stream`.
pub(super) fn compute(step: Step, operands: [Source<'_>; 3], out: &mut [f32], stream: bool) {
    let [a, b, c] = operands;
    match (step, a) {
        (Step::Unary(function, _), Source::Slice(x)) => function.block(x, out, stream),
        (Step::Unary(function, _), Source::Scalar(x)) => {
            let mut one = [0.0];
            function.block(&[x], &mut one, false);
            out.fill(one[0]);
        }
        (Step::Simple(function, _), a) if stream => {
            simd::dispatch(OfOne::<true> { function, a, out });
        }
        (Step::Simple(function, _), a) => simd::dispatch(OfOne::<false> { function, a, out }),
        (Step::Binary(function, ..), a) => compute_binary(function, a, b, out, stream),
        (Step::Select { .. }, Source::Scalar(condition)) => {
            let a = if condition != 0.0 { b } else { c };
            match a {
                Source::Slice(a) => out.copy_from_slice(a),
                Source::Scalar(x) => out.fill(x),
            }
        }
        (Step::Select { .. }, Source::Slice(condition)) => simd::dispatch(Choose {
            condition,
            yes: b,
            no: c,
            out,
        }),
        (Step::Input(_) | Step::Constant(_), _) => {}
    }
}

/// Writes a function of two operands, with streaming stores if `stream`.
pub(crate) fn compute_binary(
    function: Binary,
    a: Source<'_>,
    b: Source<'_>,
    out: &mut [f32],
    stream: bool,
) {
    if stream {
        simd::dispatch(OfTwo::<true> {
            function,
            a,
            b,
            out,
        });
    } else {
        simd::dispatch(OfTwo::<false> {
            function,
            a,
            b,
            out,
        });
    }
}

/// A slice as a part before the first whole aligned register of the output, whole registers, and the rest.
#[inline(always)]
fn parts<S: Simd>(values: &[f32], head: usize) -> (&[f32], &[S::f32s], &[f32]) {
    let (head, body) = values.split_at(head);
    let (body, tail) = S::as_simd_f32s(body);
    (head, body, tail)
}

// Loops over registers with the formula written into them: a closure would be compiled without the vector instructions.
macro_rules! of_one {
    ($simd:ident, $stream:ident, $a:expr, $out:expr, |$x:ident| $value:expr) => {
        match $a {
            Source::Scalar(x) => {
                let $x = Lanes::splat($simd, x);
                let value = $value.value;
                let (body, tail) = S::as_mut_simd_f32s($out);
                body.fill(value);
                $simd.partial_store_f32s(tail, value);
            }
            Source::Slice(a) => {
                let head = if $stream {
                    streaming_store::alignment_prefix::<S>($out)
                } else {
                    0
                };
                let (a_head, a, a_tail) = parts::<S>(a, head);
                let (out_head, out) = $out.split_at_mut(head);
                let (out, out_tail) = S::as_mut_simd_f32s(out);
                for (out, x) in out.iter_mut().zip(a) {
                    let $x = Lanes::new($simd, *x);
                    streaming_store::store::<S, $stream>(out, $value.value);
                }
                for (out, x) in [(out_head, a_head), (out_tail, a_tail)] {
                    let $x = Lanes::new($simd, $simd.partial_load_f32s(x));
                    $simd.partial_store_f32s(out, $value.value);
                }
            }
        }
    };
}

macro_rules! of_two {
    ($simd:ident, $stream:ident, $a:expr, $b:expr, $out:expr, |$x:ident, $y:ident| $value:expr) => {
        match ($a, $b) {
            (Source::Slice(a), Source::Slice(b)) => {
                let head = if $stream {
                    streaming_store::alignment_prefix::<S>($out)
                } else {
                    0
                };
                let (a_head, a, a_tail) = parts::<S>(a, head);
                let (b_head, b, b_tail) = parts::<S>(b, head);
                let (out_head, out) = $out.split_at_mut(head);
                let (out, out_tail) = S::as_mut_simd_f32s(out);
                for ((out, x), y) in out.iter_mut().zip(a).zip(b) {
                    let ($x, $y) = (Lanes::new($simd, *x), Lanes::new($simd, *y));
                    streaming_store::store::<S, $stream>(out, $value.value);
                }
                for (out, x, y) in [(out_head, a_head, b_head), (out_tail, a_tail, b_tail)] {
                    let $x = Lanes::new($simd, $simd.partial_load_f32s(x));
                    let $y = Lanes::new($simd, $simd.partial_load_f32s(y));
                    $simd.partial_store_f32s(out, $value.value);
                }
            }
            (a, Source::Scalar(y)) => {
                let $y = Lanes::splat($simd, y);
                of_one!($simd, $stream, a, $out, |$x| $value)
            }
            (Source::Scalar(x), b) => {
                let $x = Lanes::splat($simd, x);
                of_one!($simd, $stream, b, $out, |$y| $value)
            }
        }
    };
}

// What has no register form: plain loops, which the compiler makes vector instructions of where there are some.
macro_rules! one_by_one {
    ($a:expr, $out:expr, |$x:ident| $value:expr) => {
        match $a {
            Source::Slice(a) => {
                for (out, $x) in $out.iter_mut().zip(a) {
                    let $x = *$x;
                    *out = $value;
                }
            }
            Source::Scalar($x) => $out.fill($value),
        }
    };
}

struct OfOne<'a, const STREAM: bool> {
    function: Simple,
    a: Source<'a>,
    out: &'a mut [f32],
}

impl<const STREAM: bool> WithSimd for OfOne<'_, STREAM> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { function, a, out } = self;
        let zero = Lanes::splat(s, 0.0);
        let one = Lanes::splat(s, 1.0);
        let infinity = Lanes::splat(s, f32::INFINITY);
        match function {
            Simple::Abs => of_one!(s, STREAM, a, out, |x| x.abs()),
            Simple::Negate => of_one!(s, STREAM, a, out, |x| -x),
            Simple::Square => of_one!(s, STREAM, a, out, |x| x * x),
            Simple::Sqrt => of_one!(s, STREAM, a, out, |x| x.sqrt()),
            Simple::Rsqrt => of_one!(s, STREAM, a, out, |x| one / x.sqrt()),
            Simple::Reciprocal => of_one!(s, STREAM, a, out, |x| one / x),
            Simple::Sign => of_one!(s, STREAM, a, out, |x| {
                // NaN, which equals nothing, stays.
                let neither = Lanes::select(x.equal(zero), zero, x);
                let below = Lanes::select(x.less_than(zero), -one, neither);
                Lanes::select(zero.less_than(x), one, below)
            }),
            Simple::Not => of_one!(s, STREAM, a, out, |x| Lanes::select(
                x.equal(zero),
                one,
                zero
            )),
            Simple::IsTrue => of_one!(s, STREAM, a, out, |x| Lanes::select(
                x.equal(zero),
                zero,
                one
            )),
            Simple::IsNan => of_one!(s, STREAM, a, out, |x| Lanes::select(x.equal(x), zero, one)),
            Simple::IsInfinite => {
                of_one!(s, STREAM, a, out, |x| Lanes::select(
                    x.abs().equal(infinity),
                    one,
                    zero
                ))
            }
            Simple::IsFinite => {
                of_one!(s, STREAM, a, out, |x| Lanes::select(
                    x.abs().less_than(infinity),
                    one,
                    zero
                ))
            }
            Simple::Floor => one_by_one!(a, out, |x| x.floor()),
            Simple::Ceil => one_by_one!(a, out, |x| x.ceil()),
            Simple::Round => one_by_one!(a, out, |x| x.round_ties_even()),
            Simple::Truncate => one_by_one!(a, out, |x| x.trunc()),
            Simple::RoundToBf16 => one_by_one!(a, out, |x| round_to_bf16(x)),
            Simple::RoundToF16 => one_by_one!(a, out, |x| round_to_f16(x)),
            Simple::Expm1 => one_by_one!(a, out, |x| x.exp_m1()),
            Simple::Log1p => one_by_one!(a, out, |x| x.ln_1p()),
            Simple::Log2 => one_by_one!(a, out, |x| x.log2()),
            Simple::Log10 => one_by_one!(a, out, |x| x.log10()),
            Simple::Tan => one_by_one!(a, out, |x| x.tan()),
            Simple::Sinh => one_by_one!(a, out, |x| x.sinh()),
            Simple::Cosh => one_by_one!(a, out, |x| x.cosh()),
        }
    }
}

struct OfTwo<'a, const STREAM: bool> {
    function: Binary,
    a: Source<'a>,
    b: Source<'a>,
    out: &'a mut [f32],
}

impl<const STREAM: bool> WithSimd for OfTwo<'_, STREAM> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self {
            function,
            a,
            b,
            out,
        } = self;
        let zero = Lanes::splat(s, 0.0);
        let one = Lanes::splat(s, 1.0);
        match function {
            Binary::Add => of_two!(s, STREAM, a, b, out, |x, y| x + y),
            Binary::Subtract => of_two!(s, STREAM, a, b, out, |x, y| x - y),
            Binary::Multiply => of_two!(s, STREAM, a, b, out, |x, y| x * y),
            Binary::Divide => of_two!(s, STREAM, a, b, out, |x, y| x / y),
            Binary::Maximum => of_two!(s, STREAM, a, b, out, |x, y| {
                Lanes::select(y.less_than(x), x, y).propagate_nan(x)
            }),
            Binary::Minimum => of_two!(s, STREAM, a, b, out, |x, y| {
                Lanes::select(x.less_than(y), x, y).propagate_nan(x)
            }),
            Binary::Equal => {
                of_two!(s, STREAM, a, b, out, |x, y| Lanes::select(
                    x.equal(y),
                    one,
                    zero
                ))
            }
            Binary::NotEqual => {
                of_two!(s, STREAM, a, b, out, |x, y| Lanes::select(
                    x.equal(y),
                    zero,
                    one
                ))
            }
            Binary::Less => {
                of_two!(s, STREAM, a, b, out, |x, y| Lanes::select(
                    x.less_than(y),
                    one,
                    zero
                ))
            }
            Binary::LessEqual => {
                of_two!(s, STREAM, a, b, out, |x, y| Lanes::select(
                    x.less_equal(y),
                    one,
                    zero
                ))
            }
            Binary::Greater => {
                of_two!(s, STREAM, a, b, out, |x, y| Lanes::select(
                    y.less_than(x),
                    one,
                    zero
                ))
            }
            Binary::GreaterEqual => {
                of_two!(s, STREAM, a, b, out, |x, y| Lanes::select(
                    y.less_equal(x),
                    one,
                    zero
                ))
            }
            Binary::And => of_two!(s, STREAM, a, b, out, |x, y| {
                Lanes::select(x.equal(zero), zero, Lanes::select(y.equal(zero), zero, one))
            }),
            Binary::Or => of_two!(s, STREAM, a, b, out, |x, y| {
                Lanes::select(x.equal(zero), Lanes::select(y.equal(zero), zero, one), one)
            }),
            Binary::Power => match (a, b) {
                (Source::Slice(a), Source::Slice(b)) => {
                    for ((out, x), y) in out.iter_mut().zip(a).zip(b) {
                        *out = x.powf(*y);
                    }
                }
                (a, Source::Scalar(y)) => one_by_one!(a, out, |x| x.powf(y)),
                (Source::Scalar(x), b) => one_by_one!(b, out, |y| x.powf(y)),
            },
        }
    }
}

struct Choose<'a> {
    condition: &'a [f32],
    yes: Source<'a>,
    no: Source<'a>,
    out: &'a mut [f32],
}

impl WithSimd for Choose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let zero = Lanes::splat(s, 0.0);
        let (condition, condition_tail) = S::as_simd_f32s(self.condition);
        let (out, out_tail) = S::as_mut_simd_f32s(self.out);
        let yes = Registers::of(s, self.yes);
        let no = Registers::of(s, self.no);
        let pick = |condition: S::f32s, yes: S::f32s, no: S::f32s| {
            s.select_f32s(s.equal_f32s(condition, zero.value), no, yes)
        };
        match (yes.body, no.body) {
            (Some(yes), Some(no)) => {
                for (((out, c), yes), no) in out.iter_mut().zip(condition).zip(yes).zip(no) {
                    *out = pick(*c, *yes, *no);
                }
            }
            (Some(yes), None) => {
                let no_splat = no.splat;
                for ((out, c), yes) in out.iter_mut().zip(condition).zip(yes) {
                    *out = pick(*c, *yes, no_splat);
                }
            }
            (None, Some(no)) => {
                let yes_splat = yes.splat;
                for ((out, c), no) in out.iter_mut().zip(condition).zip(no) {
                    *out = pick(*c, yes_splat, *no);
                }
            }
            (None, None) => {
                let (yes_splat, no_splat) = (yes.splat, no.splat);
                for (out, c) in out.iter_mut().zip(condition) {
                    *out = pick(*c, yes_splat, no_splat);
                }
            }
        }
        let condition = s.partial_load_f32s(condition_tail);
        s.partial_store_f32s(out_tail, pick(condition, yes.last(s), no.last(s)));
    }
}

/// Whole registers and the rest of a slice, or the one value of all.
struct Registers<'a, S: Simd> {
    body: Option<&'a [S::f32s]>,
    tail: &'a [f32],
    splat: S::f32s,
}

impl<'a, S: Simd> Registers<'a, S> {
    #[inline(always)]
    fn of(s: S, source: Source<'a>) -> Self {
        match source {
            Source::Slice(values) => {
                let (body, tail) = S::as_simd_f32s(values);
                Self {
                    body: Some(body),
                    tail,
                    splat: s.splat_f32s(0.0),
                }
            }
            Source::Scalar(value) => Self {
                body: None,
                tail: &[],
                splat: s.splat_f32s(value),
            },
        }
    }

    #[inline(always)]
    fn last(&self, s: S) -> S::f32s {
        match self.body {
            Some(_) => s.partial_load_f32s(self.tail),
            None => self.splat,
        }
    }
}
