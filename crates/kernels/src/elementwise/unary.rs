//! Functions of one array: [`unary`] and the gated activation `swiglu`.
//!
//! Blocking: tasks of 64 KiB; within one, blocks of 16 KiB stay in the L1 or L2 cache while they are converted and
//! computed; outputs of 24 MiB and more are written with streaming stores.
//! Limit: memory bandwidth for large arrays on two cores or more, otherwise 10 to 25 vector instructions a register.

use pulp::{Simd, WithSimd};

use super::UnaryOp;
use super::evaluate_unary::evaluate_unary;
use crate::element::Element;
use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd::lanes::Lanes;
use crate::simd::{self, streaming_store};

/// Elements of a task.
const TASK: usize = 16 * 1024;
/// Elements that are computed before they are written out.
const BLOCK: usize = 4096;
/// What an element costs at least when it comes from memory, in nanoseconds.
const FROM_MEMORY: f64 = 0.4;

/// Writes `function(x)` to `out`, element by element; half precision is computed in `f32` and rounded.
///
/// # Errors
/// When the lengths differ.
pub fn unary<T: Element>(function: UnaryOp, x: &[T], out: &mut [T]) -> Result<()> {
    (T::kernels().unary)(function, x, out)
}

/// [`unary`], compiled in this crate.
pub(crate) fn unary_instance<T: Element>(function: UnaryOp, x: &[T], out: &mut [T]) -> Result<()> {
    length(function.name(), "out", x.len(), out.len())?;
    let stream = T::IS_F32 && streaming_store::should_stream(size_of_val(out));
    let nanoseconds = function.nanoseconds().max(FROM_MEMORY) * x.len() as f64;
    let tasks = x.chunks(TASK).zip(out.chunks_mut(TASK));
    parallel_for(
        tasks,
        nanoseconds,
        || [0.0; 2 * BLOCK],
        |scratch, (x, out)| {
            let (x_f32, result) = scratch.split_at_mut(BLOCK);
            for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                let x = T::read(x, x_f32);
                T::write(out, result, |out| evaluate_unary(function, x, out, stream));
            }
            if stream {
                streaming_store::sfence();
            }
        },
    );
    Ok(())
}

/// Writes `silu(gate) * x` to `out`: the gated activation of Llama-like feed-forward layers, within 5 ulp.
///
/// # Errors
/// When the lengths differ.
pub fn swiglu<T: Element>(gate: &[T], x: &[T], out: &mut [T]) -> Result<()> {
    (T::kernels().swiglu)(gate, x, out)
}

/// [`swiglu`], compiled in this crate.
pub(crate) fn swiglu_instance<T: Element>(gate: &[T], x: &[T], out: &mut [T]) -> Result<()> {
    length("swiglu", "x", gate.len(), x.len())?;
    length("swiglu", "out", gate.len(), out.len())?;
    let tasks = gate
        .chunks(TASK)
        .zip(x.chunks(TASK))
        .zip(out.chunks_mut(TASK));
    parallel_for(
        tasks,
        1.2 * gate.len() as f64,
        || [0.0; 3 * BLOCK],
        |scratch, ((gate, x), out)| {
            let (gate_f32, scratch) = scratch.split_at_mut(BLOCK);
            let (x_f32, result) = scratch.split_at_mut(BLOCK);
            let inputs = gate.chunks(BLOCK).zip(x.chunks(BLOCK));
            for ((gate, x), out) in inputs.zip(out.chunks_mut(BLOCK)) {
                let gate = T::read(gate, gate_f32);
                let x = T::read(x, x_f32);
                T::write(out, result, |out| simd::dispatch(Swiglu { gate, x, out }));
            }
        },
    );
    Ok(())
}

struct Swiglu<'a> {
    gate: &'a [f32],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Swiglu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (gate, gate_tail) = S::as_simd_f32s(self.gate);
        let (x, x_tail) = S::as_simd_f32s(self.x);
        let (out, out_tail) = S::as_mut_simd_f32s(self.out);
        for ((out, gate), x) in out.iter_mut().zip(gate).zip(x) {
            *out = (Lanes::new(simd, *gate).silu() * Lanes::new(simd, *x)).value;
        }
        if !gate_tail.is_empty() {
            let gate = Lanes::new(simd, simd.partial_load_f32s(gate_tail));
            let x = Lanes::new(simd, simd.partial_load_f32s(x_tail));
            simd.partial_store_f32s(out_tail, (gate.silu() * x).value);
        }
    }
}
