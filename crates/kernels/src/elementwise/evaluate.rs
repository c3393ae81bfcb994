//! One instruction over one block.

use pulp::{Simd, WithSimd};

use super::Instruction;
use super::block::BlockOperand;
use super::evaluate_binary::evaluate_binary;
use super::evaluate_unary::evaluate_unary;
use crate::simd;
use crate::simd::lanes::Lanes;

/// Writes the value of an instruction, with streaming stores if `stream`.
pub(super) fn evaluate(
    instruction: Instruction,
    operands: [BlockOperand<'_>; 3],
    out: &mut [f32],
    stream: bool,
) {
    let [a, b, c] = operands;
    match (instruction, a) {
        (Instruction::Unary(function, _), BlockOperand::Slice(x)) => {
            evaluate_unary(function, x, out, stream);
        }
        (Instruction::Unary(function, _), BlockOperand::Scalar(x)) => {
            let mut value = [0.0];
            evaluate_unary(function, &[x], &mut value, false);
            out.fill(value[0]);
        }
        (Instruction::Binary(function, ..), a) => evaluate_binary(function, a, b, out, stream),
        (Instruction::Select { .. }, BlockOperand::Scalar(condition)) => {
            match if condition != 0.0 { b } else { c } {
                BlockOperand::Slice(chosen) => out.copy_from_slice(chosen),
                BlockOperand::Scalar(value) => out.fill(value),
            }
        }
        (Instruction::Select { .. }, BlockOperand::Slice(condition)) => simd::dispatch(Select {
            condition,
            yes: b,
            no: c,
            out,
        }),
        (Instruction::Input(_) | Instruction::Constant(_), _) => {}
    }
}

struct Select<'a> {
    condition: &'a [f32],
    yes: BlockOperand<'a>,
    no: BlockOperand<'a>,
    out: &'a mut [f32],
}

impl WithSimd for Select<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let zero = Lanes::splat(s, 0.0);
        let (condition, condition_tail) = S::as_simd_f32s(self.condition);
        let (out, out_tail) = S::as_mut_simd_f32s(self.out);
        let yes = SelectOperand::of(s, self.yes);
        let no = SelectOperand::of(s, self.no);
        let choose = |condition: S::f32s, yes: S::f32s, no: S::f32s| {
            s.select_f32s(s.equal_f32s(condition, zero.value), no, yes)
        };
        match (yes.body, no.body) {
            (Some(yes), Some(no)) => {
                for (((out, c), yes), no) in out.iter_mut().zip(condition).zip(yes).zip(no) {
                    *out = choose(*c, *yes, *no);
                }
            }
            (Some(yes), None) => {
                let no_splat = no.splat;
                for ((out, c), yes) in out.iter_mut().zip(condition).zip(yes) {
                    *out = choose(*c, *yes, no_splat);
                }
            }
            (None, Some(no)) => {
                let yes_splat = yes.splat;
                for ((out, c), no) in out.iter_mut().zip(condition).zip(no) {
                    *out = choose(*c, yes_splat, *no);
                }
            }
            (None, None) => {
                let (yes_splat, no_splat) = (yes.splat, no.splat);
                for (out, c) in out.iter_mut().zip(condition) {
                    *out = choose(*c, yes_splat, no_splat);
                }
            }
        }
        let condition = s.partial_load_f32s(condition_tail);
        s.partial_store_f32s(out_tail, choose(condition, yes.last(s), no.last(s)));
    }
}

/// Whole registers and the rest of a slice, or the one value of all.
struct SelectOperand<'a, S: Simd> {
    body: Option<&'a [S::f32s]>,
    tail: &'a [f32],
    splat: S::f32s,
}

impl<'a, S: Simd> SelectOperand<'a, S> {
    #[inline(always)]
    fn of(s: S, source: BlockOperand<'a>) -> Self {
        match source {
            BlockOperand::Slice(values) => {
                let (body, tail) = S::as_simd_f32s(values);
                Self {
                    body: Some(body),
                    tail,
                    splat: s.splat_f32s(0.0),
                }
            }
            BlockOperand::Scalar(value) => Self {
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
