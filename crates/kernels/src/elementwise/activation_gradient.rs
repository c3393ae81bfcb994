//! Gradients of activations in one pass.
//!
//! Formula: `g` times the slope of the activation. With `s = sigmoid(x)`: that of SiLU is `s + x * s * (1 - s)`; that of GELU
//! `(1 + erf(x / sqrt(2))) / 2 + x * exp(-x^2 / 2) / sqrt(2 pi)`; of its form with `tanh`, with `s = sigmoid(2 u)`,
//! `s + x * s * (1 - s) * 2 u'`.
//! Blocking: tasks of 16,384 elements. Limit: arithmetic in the caches, memory beyond. Error: `2^-21` of the slope's terms.

use std::f32::consts::FRAC_1_SQRT_2;

use pulp::{Simd, WithSimd};

use super::UnaryOp;
use crate::error::{Error, Result, length};
use crate::parallel::parallel_for;
use crate::simd;
use crate::simd::lanes::Lanes;

const OP: &str = "activation_gradient";
/// Elements of a task.
const TASK: usize = 16 << 10;
/// Nanoseconds for an element on one thread.
const NANOSECONDS: f64 = 1.5;
/// Where the slope is 0 or 1.
const LIMIT: f32 = 100.0;
/// `1 / sqrt(2 pi)`.
const INV_SQRT_TAU: f32 = 0.398_942_3;
/// `2 * sqrt(2 / pi)`, and what the cube is multiplied by.
const TANH_SCALE: f32 = 1.595_769;
const TANH_CUBE: f32 = 0.044_715;

/// Writes the gradient of an activation at `x` to `out`, of which `g` is that of its result: of [`UnaryOp::Gelu`],
/// [`UnaryOp::GeluTanh`] and [`UnaryOp::Silu`].
///
/// # Errors
/// When the function is another one, or lengths differ.
pub fn activation_gradient(op: UnaryOp, x: &[f32], g: &[f32], out: &mut [f32]) -> Result<()> {
    let function = match op {
        UnaryOp::Gelu => Activation::Gelu,
        UnaryOp::GeluTanh => Activation::GeluTanh,
        UnaryOp::Silu => Activation::Silu,
        _ => {
            return Err(Error::Parameter {
                op: OP,
                what: "the function",
                wanted: "gelu, gelu_tanh or silu",
                got: op as usize,
            });
        }
    };
    length(OP, "g", x.len(), g.len())?;
    length(OP, "out", x.len(), out.len())?;
    let tasks = x.chunks(TASK).zip(g.chunks(TASK));
    parallel_for(
        tasks.zip(out.chunks_mut(TASK)),
        NANOSECONDS * x.len() as f64,
        || (),
        |(), ((x, g), out)| {
            simd::dispatch(OfOne {
                function,
                x,
                g,
                out,
            });
        },
    );
    Ok(())
}

/// Writes the gradients of [`swiglu`](crate::swiglu) by the gate and by `x`, of which `g` is that of its result.
///
/// # Errors
/// When lengths differ.
pub fn swiglu_gradient(
    gate: &[f32],
    x: &[f32],
    g: &[f32],
    [by_gate, by_x]: [&mut [f32]; 2],
) -> Result<()> {
    const OP: &str = "swiglu_gradient";
    length(OP, "x", gate.len(), x.len())?;
    length(OP, "g", gate.len(), g.len())?;
    length(OP, "gradient of gate", gate.len(), by_gate.len())?;
    length(OP, "gradient of x", gate.len(), by_x.len())?;
    let inputs = gate.chunks(TASK).zip(x.chunks(TASK)).zip(g.chunks(TASK));
    let outputs = by_gate.chunks_mut(TASK).zip(by_x.chunks_mut(TASK));
    parallel_for(
        inputs.zip(outputs),
        NANOSECONDS * gate.len() as f64,
        || (),
        |(), (((gate, x), g), (by_gate, by_x))| {
            simd::dispatch(OfGate {
                gate,
                x,
                g,
                by_gate,
                by_x,
            });
        },
    );
    Ok(())
}

/// A function whose slope is known.
#[derive(Clone, Copy)]
enum Activation {
    Gelu,
    GeluTanh,
    Silu,
}

impl Activation {
    #[inline(always)]
    fn slope<S: Simd>(self, x: Lanes<S>) -> Lanes<S> {
        let half = x.constant(0.5);
        // Beyond, slopes are 0 or 1; infinities would be multiplied by 0.
        let x = x
            .max(x.constant(-LIMIT))
            .min(x.constant(LIMIT))
            .propagate_nan(x);
        match self {
            Activation::Gelu => {
                let erf = (x * x.constant(FRAC_1_SQRT_2)).erf();
                let density = (-(half * x) * x).exp() * x.constant(INV_SQRT_TAU);
                x.mul_add(density, half.mul_add(erf, half))
            }
            Activation::GeluTanh => {
                let square = x * x;
                let cube = x.constant(TANH_CUBE) * square;
                let sigmoid = (cube.mul_add(x, x) * x.constant(TANH_SCALE)).sigmoid();
                let inner = cube.mul_add(x.constant(3.0), x.constant(1.0));
                let change = sigmoid * (x.constant(1.0) - sigmoid) * x.constant(TANH_SCALE);
                (x * inner).mul_add(change, sigmoid)
            }
            Activation::Silu => silu_slope(x, x.sigmoid()),
        }
    }
}

/// The slope of `x * sigmoid(x)`.
#[inline(always)]
fn silu_slope<S: Simd>(x: Lanes<S>, sigmoid: Lanes<S>) -> Lanes<S> {
    let change = sigmoid * (x.constant(1.0) - sigmoid);
    x.mul_add(change, sigmoid)
}

struct OfOne<'a> {
    function: Activation,
    x: &'a [f32],
    g: &'a [f32],
    out: &'a mut [f32],
}

impl OfOne<'_> {
    /// Every function has a loop of its own.
    #[inline(always)]
    fn with<S: Simd>(self, simd: S, function: Activation) {
        let (x, x_tail) = S::as_simd_f32s(self.x);
        let (g, g_tail) = S::as_simd_f32s(self.g);
        let (out, out_tail) = S::as_mut_simd_f32s(self.out);
        for ((out, x), g) in out.iter_mut().zip(x).zip(g) {
            *out = (function.slope(Lanes::new(simd, *x)) * Lanes::new(simd, *g)).value;
        }
        if !x_tail.is_empty() {
            let x = Lanes::new(simd, simd.partial_load_f32s(x_tail));
            let g = Lanes::new(simd, simd.partial_load_f32s(g_tail));
            simd.partial_store_f32s(out_tail, (function.slope(x) * g).value);
        }
    }
}

impl WithSimd for OfOne<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.function {
            Activation::Gelu => self.with(simd, Activation::Gelu),
            Activation::GeluTanh => self.with(simd, Activation::GeluTanh),
            Activation::Silu => self.with(simd, Activation::Silu),
        }
    }
}

/// The gradients by the gate and by `x`.
#[inline(always)]
fn of_gate<S: Simd>(simd: S, [gate, x, g]: [S::f32s; 3]) -> [S::f32s; 2] {
    let (gate, x, g) = (
        Lanes::new(simd, gate),
        Lanes::new(simd, x),
        Lanes::new(simd, g),
    );
    let slope = Activation::Silu.slope(gate);
    [(slope * x * g).value, (gate.silu() * g).value]
}

struct OfGate<'a> {
    gate: &'a [f32],
    x: &'a [f32],
    g: &'a [f32],
    by_gate: &'a mut [f32],
    by_x: &'a mut [f32],
}

impl WithSimd for OfGate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (gate, gate_tail) = S::as_simd_f32s(self.gate);
        let (x, x_tail) = S::as_simd_f32s(self.x);
        let (g, g_tail) = S::as_simd_f32s(self.g);
        let (by_gate, by_gate_tail) = S::as_mut_simd_f32s(self.by_gate);
        let (by_x, by_x_tail) = S::as_mut_simd_f32s(self.by_x);
        let outputs = by_gate.iter_mut().zip(by_x);
        for ((by_gate, by_x), ((gate, x), g)) in outputs.zip(gate.iter().zip(x).zip(g)) {
            [*by_gate, *by_x] = of_gate(simd, [*gate, *x, *g]);
        }
        if !gate_tail.is_empty() {
            let gate = simd.partial_load_f32s(gate_tail);
            let x = simd.partial_load_f32s(x_tail);
            let g = simd.partial_load_f32s(g_tail);
            let [gate, x] = of_gate(simd, [gate, x, g]);
            simd.partial_store_f32s(by_gate_tail, gate);
            simd.partial_store_f32s(by_x_tail, x);
        }
    }
}
