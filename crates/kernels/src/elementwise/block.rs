//! An operand of one block, and the loops over it: whole registers, and what is left at both ends.

use pulp::Simd;

use crate::simd::lanes::Lanes;
use crate::simd::streaming_store;

/// An operand of one block.
#[derive(Clone, Copy)]
pub(super) enum BlockOperand<'a> {
    Slice(&'a [f32]),
    Scalar(f32),
}

/// A function of a register. A type and not a closure: a reference to a generic function is called through a shim that
/// is compiled without the vector instructions, and then nothing is inlined.
pub(super) trait LanesFn<S: Simd>: Copy {
    fn apply(self, x: Lanes<S>) -> Lanes<S>;
}

/// A function of two registers.
pub(super) trait BinaryLanesFn<S: Simd>: Copy {
    fn apply(self, x: Lanes<S>, y: Lanes<S>) -> Lanes<S>;
}

/// A slice as the part before the first register that is aligned in the output, whole registers, and the rest.
#[inline(always)]
fn parts<S: Simd>(values: &[f32], head: usize) -> (&[f32], &[S::f32s], &[f32]) {
    let (head, body) = values.split_at(head);
    let (body, tail) = S::as_simd_f32s(body);
    (head, body, tail)
}

/// Writes `function(x)`, with streaming stores if `STREAM`.
#[inline(always)]
pub(super) fn map<S: Simd, F: LanesFn<S>, const STREAM: bool>(
    simd: S,
    function: F,
    x: &[f32],
    out: &mut [f32],
) {
    let head = if STREAM {
        streaming_store::alignment_prefix::<S>(out)
    } else {
        0
    };
    let (x_head, x, x_tail) = parts::<S>(x, head);
    let (out_head, out) = out.split_at_mut(head);
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    for (out, x) in out.iter_mut().zip(x) {
        let value = function.apply(Lanes::new(simd, *x)).value;
        streaming_store::store::<S, STREAM>(out, value);
    }
    // A loop and not a closure, which would be compiled without the vector instructions.
    for (out, x) in [(out_head, x_head), (out_tail, x_tail)] {
        if !x.is_empty() {
            let x = Lanes::new(simd, simd.partial_load_f32s(x));
            simd.partial_store_f32s(out, function.apply(x).value);
        }
    }
}

/// Writes `function(x, y)`, with streaming stores if `STREAM`.
#[inline(always)]
fn map_pairs<S: Simd, F: BinaryLanesFn<S>, const STREAM: bool>(
    simd: S,
    function: F,
    x: &[f32],
    y: &[f32],
    out: &mut [f32],
) {
    let head = if STREAM {
        streaming_store::alignment_prefix::<S>(out)
    } else {
        0
    };
    let (x_head, x, x_tail) = parts::<S>(x, head);
    let (y_head, y, y_tail) = parts::<S>(y, head);
    let (out_head, out) = out.split_at_mut(head);
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        let value = function.apply(Lanes::new(simd, *x), Lanes::new(simd, *y));
        streaming_store::store::<S, STREAM>(out, value.value);
    }
    for (out, x, y) in [(out_head, x_head, y_head), (out_tail, x_tail, y_tail)] {
        if !x.is_empty() {
            let x = Lanes::new(simd, simd.partial_load_f32s(x));
            let y = Lanes::new(simd, simd.partial_load_f32s(y));
            simd.partial_store_f32s(out, function.apply(x, y).value);
        }
    }
}

/// A function of two registers whose first operand is fixed.
#[derive(Clone, Copy)]
struct WithFirst<S: Simd, F>(Lanes<S>, F);

impl<S: Simd, F: BinaryLanesFn<S>> LanesFn<S> for WithFirst<S, F> {
    #[inline(always)]
    fn apply(self, y: Lanes<S>) -> Lanes<S> {
        self.1.apply(self.0, y)
    }
}

/// The same with its second operand.
#[derive(Clone, Copy)]
struct WithSecond<S: Simd, F>(Lanes<S>, F);

impl<S: Simd, F: BinaryLanesFn<S>> LanesFn<S> for WithSecond<S, F> {
    #[inline(always)]
    fn apply(self, x: Lanes<S>) -> Lanes<S> {
        self.1.apply(x, self.0)
    }
}

/// Writes `function(a, b)` of slices or scalars, with streaming stores if `STREAM`.
#[inline(always)]
pub(super) fn zip<S: Simd, F: BinaryLanesFn<S>, const STREAM: bool>(
    simd: S,
    function: F,
    a: BlockOperand<'_>,
    b: BlockOperand<'_>,
    out: &mut [f32],
) {
    match (a, b) {
        (BlockOperand::Slice(a), BlockOperand::Slice(b)) => {
            map_pairs::<S, F, STREAM>(simd, function, a, b, out);
        }
        (BlockOperand::Slice(a), BlockOperand::Scalar(b)) => {
            let function = WithSecond(Lanes::splat(simd, b), function);
            map::<S, _, STREAM>(simd, function, a, out);
        }
        (BlockOperand::Scalar(a), BlockOperand::Slice(b)) => {
            let function = WithFirst(Lanes::splat(simd, a), function);
            map::<S, _, STREAM>(simd, function, b, out);
        }
        (BlockOperand::Scalar(a), BlockOperand::Scalar(b)) => {
            let mut value = [0.0];
            map_pairs::<S, F, false>(simd, function, &[a], &[b], &mut value);
            out.fill(value[0]);
        }
    }
}
