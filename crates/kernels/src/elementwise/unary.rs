//! Functions of one element: `exp` and its family, activations, and the gated `swiglu`.
//!
//! Blocking: pieces of 64 KiB go to threads; within one, blocks of 16 KiB stay in the first or second cache while
//! they are converted and computed; outputs of 24 MiB and more are written with streaming stores.
//! Limit: memory bandwidth for large arrays on two cores or more, otherwise 10 to 25 vector instructions a register.

use pulp::{Simd, WithSimd};

use crate::element::Element;
use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd::lanes::{Lanes, TRIGONOMETRIC_LIMIT};
use crate::simd::{self, streaming_store};

/// Elements that one thread takes at a time.
const PIECE: usize = 16 * 1024;
/// Elements that are computed before they are written out.
const BLOCK: usize = 4096;

/// A function of one element.
///
/// Errors are against the exact result of the `f32` argument, in units in the last place (ulp) of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unary {
    /// `e^x`, within 2 ulp; denormal results included.
    Exp,
    /// The natural logarithm, within 2 ulp; `-inf` at 0, not a number below.
    Log,
    /// The sine, within 2 ulp.
    Sin,
    /// The cosine, within 2 ulp.
    Cos,
    /// The hyperbolic tangent, within 3 ulp.
    Tanh,
    /// `1 / (1 + e^-x)`, within 3 ulp.
    Sigmoid,
    /// The error function, within 2 ulp.
    Erf,
    /// `x * (1 + erf(x / sqrt(2))) / 2`, within `2^-22 * |x|`: the sum cancels for negative `x`.
    Gelu,
    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`, within `2^-22 * |x|`.
    GeluTanh,
    /// `x / (1 + e^-x)`, within 4 ulp, or within `2^-149 * |x|` where `e^x` is denormal.
    Silu,
}

/// Writes `function(x)` to `out`, element by element.
///
/// # Errors
/// When the lengths differ.
pub fn unary<T: Element>(function: Unary, x: &[T], out: &mut [T]) -> Result<()> {
    length(function.name(), "out", x.len(), out.len())?;
    let stream = T::IS_F32 && streaming_store::should_stream(size_of_val(out));
    let nanoseconds = function.nanoseconds() * x.len() as f64;
    let pieces = x.chunks(PIECE).zip(out.chunks_mut(PIECE));
    parallel_for(
        pieces,
        nanoseconds,
        || [0.0; 2 * BLOCK],
        |scratch, (x, out)| {
            let (wide, result) = scratch.split_at_mut(BLOCK);
            for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                let x = T::read(x, wide);
                T::write(out, result, |out| function.block(x, out, stream));
            }
            if stream {
                streaming_store::sfence();
            }
        },
    );
    Ok(())
}

/// Replaces each element of `values` by `function` of it: no second array is touched.
pub fn unary_in_place<T: Element>(function: Unary, values: &mut [T]) {
    let nanoseconds = function.nanoseconds() * values.len() as f64;
    parallel_for(
        values.chunks_mut(PIECE),
        nanoseconds,
        || [0.0; 2 * BLOCK],
        |scratch, values| {
            let (wide, result) = scratch.split_at_mut(BLOCK);
            for values in values.chunks_mut(BLOCK) {
                let wide = &mut wide[..values.len()];
                let read = T::read(values, wide);
                if T::IS_F32 {
                    result[..read.len()].copy_from_slice(read);
                    T::write(values, wide, |out| {
                        function.block(&result[..out.len()], out, false)
                    });
                } else {
                    let read = &*wide;
                    T::write(values, result, |out| function.block(read, out, false));
                }
            }
        },
    );
}

macro_rules! named {
    ($($name:ident = $function:ident),*) => {$(
        #[doc = concat!("Writes [`Unary::", stringify!($function), "`] of each element of `x` to `out`.")]
        ///
        /// # Errors
        /// When the lengths differ.
        pub fn $name<T: Element>(x: &[T], out: &mut [T]) -> Result<()> {
            unary(Unary::$function, x, out)
        }
    )*};
}

named!(
    exp = Exp,
    log = Log,
    sin = Sin,
    cos = Cos,
    tanh = Tanh,
    sigmoid = Sigmoid,
    erf = Erf,
    gelu = Gelu,
    gelu_tanh = GeluTanh,
    silu = Silu
);

/// Writes `silu(gate) * x` to `out`: the gated activation of Llama-like feed-forward layers, within 5 ulp.
///
/// # Errors
/// When the lengths differ.
pub fn swiglu<T: Element>(gate: &[T], x: &[T], out: &mut [T]) -> Result<()> {
    length("swiglu", "x", gate.len(), x.len())?;
    length("swiglu", "out", gate.len(), out.len())?;
    let pieces = gate
        .chunks(PIECE)
        .zip(x.chunks(PIECE))
        .zip(out.chunks_mut(PIECE));
    parallel_for(
        pieces,
        1.2 * gate.len() as f64,
        || [0.0; 3 * BLOCK],
        |scratch, ((gate, x), out)| {
            let (wide_gate, scratch) = scratch.split_at_mut(BLOCK);
            let (wide_x, result) = scratch.split_at_mut(BLOCK);
            let inputs = gate.chunks(BLOCK).zip(x.chunks(BLOCK));
            for ((gate, x), out) in inputs.zip(out.chunks_mut(BLOCK)) {
                let gate = T::read(gate, wide_gate);
                let x = T::read(x, wide_x);
                T::write(out, result, |out| simd::dispatch(Gated { gate, x, out }));
            }
        },
    );
    Ok(())
}

impl Unary {
    fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Sin => "sin",
            Self::Cos => "cos",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Erf => "erf",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Silu => "silu",
        }
    }

    /// A rough cost of one element on one thread.
    pub(crate) fn nanoseconds(self) -> f64 {
        match self {
            Self::Exp | Self::Log => 0.6,
            Self::Sin | Self::Cos | Self::Sigmoid | Self::Silu => 0.9,
            Self::Tanh | Self::Erf | Self::Gelu | Self::GeluTanh => 1.1,
        }
    }

    /// Computes one block of at most [`BLOCK`] elements.
    pub(crate) fn block(self, x: &[f32], out: &mut [f32], stream: bool) {
        let function = self;
        if stream {
            simd::dispatch(Block::<true> { function, x, out });
        } else {
            simd::dispatch(Block::<false> { function, x, out });
        }
        if matches!(self, Self::Sin | Self::Cos) && !simd::dispatch(Reducible(x)) {
            // Arguments of more than 5,000 turns: the standard library reduces them with as many bits as it takes. Only
            // these, so that a result never depends on its neighbours.
            let far = |x: f32| x.is_nan() || x.abs() > TRIGONOMETRIC_LIMIT;
            for (out, x) in out.iter_mut().zip(x).filter(|(_, x)| far(**x)) {
                *out = if self == Self::Sin { x.sin() } else { x.cos() };
            }
        }
    }
}

/// `STREAM` the cache or not.
struct Block<'a, const STREAM: bool> {
    function: Unary,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<const STREAM: bool> WithSimd for Block<'_, STREAM> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { function, x, out } = self;
        match function {
            Unary::Exp => map::<S, Exp, STREAM>(simd, x, out),
            Unary::Log => map::<S, Log, STREAM>(simd, x, out),
            Unary::Sin => map::<S, Sin, STREAM>(simd, x, out),
            Unary::Cos => map::<S, Cos, STREAM>(simd, x, out),
            Unary::Tanh => map::<S, Tanh, STREAM>(simd, x, out),
            Unary::Sigmoid => map::<S, Sigmoid, STREAM>(simd, x, out),
            Unary::Erf => map::<S, Erf, STREAM>(simd, x, out),
            Unary::Gelu => map::<S, Gelu, STREAM>(simd, x, out),
            Unary::GeluTanh => map::<S, GeluTanh, STREAM>(simd, x, out),
            Unary::Silu => map::<S, Silu, STREAM>(simd, x, out),
        }
    }
}

/// A function of a register. A type and not a closure: a reference to a generic function is called through a shim that
/// is compiled without the vector instructions, and then nothing is inlined.
trait Function {
    fn of<S: Simd>(x: Lanes<S>) -> Lanes<S>;
}

macro_rules! functions {
    ($($type:ident = $method:ident),*) => {$(
        struct $type;

        impl Function for $type {
            #[inline(always)]
            fn of<S: Simd>(x: Lanes<S>) -> Lanes<S> {
                x.$method()
            }
        }
    )*};
}

functions!(
    Exp = exp,
    Log = log,
    Sin = sin,
    Cos = cos,
    Tanh = tanh,
    Sigmoid = sigmoid,
    Erf = erf,
    Gelu = gelu,
    GeluTanh = gelu_tanh,
    Silu = silu
);

#[inline(always)]
fn map<S: Simd, F: Function, const STREAM: bool>(simd: S, x: &[f32], out: &mut [f32]) {
    let head = if STREAM {
        streaming_store::alignment_prefix::<S>(out)
    } else {
        0
    };
    let (x_head, x) = x.split_at(head);
    let (out_head, out) = out.split_at_mut(head);
    let (x, x_tail) = S::as_simd_f32s(x);
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    for (out, x) in out.iter_mut().zip(x) {
        streaming_store::store::<S, STREAM>(out, F::of(Lanes::new(simd, *x)).value);
    }
    // A loop and not a closure, which would be compiled without the vector instructions.
    for (out, x) in [(out_head, x_head), (out_tail, x_tail)] {
        if !x.is_empty() {
            let value = F::of(Lanes::new(simd, simd.partial_load_f32s(x))).value;
            simd.partial_store_f32s(out, value);
        }
    }
}

struct Gated<'a> {
    gate: &'a [f32],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Gated<'_> {
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

/// Whether every argument is small enough for the reduction of `sin` and `cos`; not a number is not.
struct Reducible<'a>(&'a [f32]);

impl WithSimd for Reducible<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let outside = self
            .0
            .iter()
            .map(|x| u32::from(x.abs() > TRIGONOMETRIC_LIMIT || x.is_nan()))
            .sum::<u32>();
        outside == 0
    }
}
