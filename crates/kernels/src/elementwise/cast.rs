//! Conversion of elements of one type to another, over operands with any strides: [`cast`].
//!
//! Formula: the number itself where the other type has it. Floating numbers become integers by cutting off the fraction;
//! those out of range become what the processor gives C++: the lowest `i32` or `i64`, of which narrower types take the low
//! bits. Integers wrap around. `f64` and integers become half precision by way of `f32`, as in MLX.
//! Blocking: see `strided_blocks`. Limit: memory bandwidth. Error: that of rounding to the nearest, ties to even.

use half::slice::HalfBitsSliceExt;
use half::{bf16, f16};
use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::loops::{self, One};
use super::strided_blocks::{Block, UNUSED, for_blocks};
use super::strided_layout::Strided;
use crate::element::private::Storage;
use crate::element_type::ElementType;
use crate::error::{Error, Result, length};
use crate::instances::{Cast, HasMoves};
use crate::simd::f32_to_f16::{f32_to_bf16, f32_to_f16};

/// What an element takes in memory, whatever its type. Sealed: `u8`, `u16`, `u32`, `u64`.
pub trait Bits: Pod + Default + Send + Sync + HasMoves + private::From {}

mod private {
    use super::{Bits, Cast};

    pub trait From: Sized {
        /// The conversion of elements of this size.
        fn cast<O: Bits>() -> Cast<Self, O>;
    }
}

macro_rules! bits {
    ($($type:ty: $cast:ident),*) => {$(
        impl Bits for $type {}

        impl private::From for $type {
            fn cast<O: Bits>() -> Cast<Self, O> {
                O::moves().$cast
            }
        }

        pub(crate) fn $cast<O: Bits>(
            from: ElementType,
            to: ElementType,
            shape: &[usize],
            x: Strided<'_, $type>,
            out: &mut [O],
        ) -> Result<()> {
            cast_instance(from, to, shape, x, out)
        }
    )*};
}

bits!(u8: cast_from_u8, u16: cast_from_u16, u32: cast_from_u32, u64: cast_from_u64);

/// Writes the elements of `x`, which are `from`, as `to`, to `out`, which is `shape` in row-major order.
///
/// # Errors
/// When the types are not of these sizes, `out` or the strides do not match the shape, or an element would be outside of
/// `x`.
pub fn cast<A: Bits, O: Bits>(
    from: ElementType,
    to: ElementType,
    shape: &[usize],
    x: Strided<'_, A>,
    out: &mut [O],
) -> Result<()> {
    A::cast::<O>()(from, to, shape, x, out)
}

/// [`cast`], compiled in this crate.
fn cast_instance<A: Bits, O: Bits>(
    from: ElementType,
    to: ElementType,
    shape: &[usize],
    x: Strided<'_, A>,
    out: &mut [O],
) -> Result<()> {
    for (given, element_type) in [(size_of::<A>(), from), (size_of::<O>(), to)] {
        length("cast", "an element", element_type.size(), given)?;
        if element_type == ElementType::C64 {
            return Err(Error::Parameter {
                op: "cast",
                what: "the type of elements",
                wanted: "real numbers",
                got: element_type as usize,
            });
        }
    }
    for_blocks(
        "cast",
        shape,
        (x, UNUSED, UNUSED),
        out,
        0.3,
        &|x, _, _, out| match x {
            Block::Slice(x) => cast_block(from, to, x, out),
            Block::Scalar(x) => {
                let mut value = [O::default()];
                cast_block(from, to, &[x], &mut value);
                out.fill(value[0]);
            }
        },
    )
}

/// Elements that are converted at once where that takes two steps.
const BLOCK: usize = 2048;

fn cast_block<A: Bits, O: Bits>(from: ElementType, to: ElementType, x: &[A], out: &mut [O]) {
    use ElementType as T;
    match from {
        T::Bool | T::U8 => cast_from::<u8, O>(to, cast_slice(x), out),
        T::U16 => cast_from::<u16, O>(to, cast_slice(x), out),
        T::U32 => cast_from::<u32, O>(to, cast_slice(x), out),
        T::U64 => cast_from::<u64, O>(to, cast_slice(x), out),
        T::I8 => cast_from::<i8, O>(to, cast_slice(x), out),
        T::I16 => cast_from::<i16, O>(to, cast_slice(x), out),
        T::I32 => cast_from::<i32, O>(to, cast_slice(x), out),
        T::I64 => cast_from::<i64, O>(to, cast_slice(x), out),
        T::F32 => cast_from::<f32, O>(to, cast_slice(x), out),
        T::F64 => cast_from::<f64, O>(to, cast_slice(x), out),
        T::F16 | T::Bf16 if to == T::F32 => widen(from, cast_slice(x), cast_slice_mut(out)),
        T::F16 | T::Bf16 => {
            let mut scratch = [0.0; BLOCK];
            let x: &[u16] = cast_slice(x);
            for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                let wide = &mut scratch[..x.len()];
                widen(from, x, wide);
                cast_from::<f32, O>(to, wide, out);
            }
        }
        // Refused above.
        T::C64 => {}
    }
}

fn widen(from: ElementType, x: &[u16], out: &mut [f32]) {
    match from {
        ElementType::F16 => {
            f16::read(x.reinterpret_cast::<f16>(), out);
        }
        _ => {
            bf16::read(x.reinterpret_cast::<bf16>(), out);
        }
    }
}

fn narrow(to: ElementType, x: &[f32], out: &mut [u16]) {
    match to {
        ElementType::F16 => f32_to_f16(x, out.reinterpret_cast_mut::<f16>()),
        _ => f32_to_bf16(x, out.reinterpret_cast_mut::<bf16>()),
    }
}

fn cast_from<A: Number, O: Bits>(to: ElementType, x: &[A], out: &mut [O]) {
    use ElementType as T;
    match to {
        T::Bool => convert::<A, Truth>(x, cast_slice_mut(out)),
        T::U8 => convert::<A, u8>(x, cast_slice_mut(out)),
        T::U16 => convert::<A, u16>(x, cast_slice_mut(out)),
        T::U32 => convert::<A, u32>(x, cast_slice_mut(out)),
        T::U64 => convert::<A, u64>(x, cast_slice_mut(out)),
        T::I8 => convert::<A, i8>(x, cast_slice_mut(out)),
        T::I16 => convert::<A, i16>(x, cast_slice_mut(out)),
        T::I32 => convert::<A, i32>(x, cast_slice_mut(out)),
        T::I64 => convert::<A, i64>(x, cast_slice_mut(out)),
        T::F32 => convert::<A, f32>(x, cast_slice_mut(out)),
        T::F64 => convert::<A, f64>(x, cast_slice_mut(out)),
        T::F16 | T::Bf16 => {
            let out: &mut [u16] = cast_slice_mut(out);
            if let Some(x) = A::as_f32(x) {
                return narrow(to, x, out);
            }
            let mut scratch = [0.0; BLOCK];
            for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                let single = &mut scratch[..x.len()];
                convert::<A, f32>(x, single);
                narrow(to, single, out);
            }
        }
        // Refused above.
        T::C64 => {}
    }
}

/// Converts each element.
fn convert<A: Number, O: Target>(x: &[A], out: &mut [O::Stored]) {
    struct Convert<O>(std::marker::PhantomData<O>);

    impl<A: Number, O: Target> One<A, O::Stored> for Convert<O> {
        #[inline(always)]
        fn of(x: A) -> O::Stored {
            O::convert(x)
        }
    }

    loops::map::<Convert<O>, A, O::Stored>(Block::Slice(x), out);
}

/// What is converted.
trait Number: Pod {
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }
    fn is_true(self) -> bool;
    fn to_i32(self) -> i32;
    fn to_i64(self) -> i64;
    fn to_u64(self) -> u64;
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Number for $type {
            #[inline(always)]
            fn is_true(self) -> bool {
                self != 0
            }

            #[inline(always)]
            fn to_i32(self) -> i32 {
                self as i32
            }

            #[inline(always)]
            fn to_i64(self) -> i64 {
                self as i64
            }

            #[inline(always)]
            fn to_u64(self) -> u64 {
                self as u64
            }

            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 i8 i16 i32 i64);

macro_rules! floats {
    ($($type:ty, $as_f32:expr;)*) => {$(
        impl Number for $type {
            fn as_f32(x: &[Self]) -> Option<&[f32]> {
                $as_f32(x)
            }

            #[inline(always)]
            fn is_true(self) -> bool {
                self != 0.0
            }

            // The lowest number is what the processor gives for all that are out of range, and for NaN.
            #[inline(always)]
            fn to_i32(self) -> i32 {
                let is_above = self >= 2_147_483_648.0 || self.is_nan();
                if is_above { i32::MIN } else { self as i32 }
            }

            #[inline(always)]
            fn to_i64(self) -> i64 {
                let is_above = self >= 9_223_372_036_854_775_808.0 || self.is_nan();
                if is_above { i64::MIN } else { self as i64 }
            }

            #[inline(always)]
            fn to_u64(self) -> u64 {
                if self >= 9_223_372_036_854_775_808.0 { self as u64 } else { self as i64 as u64 }
            }

            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

floats! {
    f32, Some;
    f64, |_| None;
}

/// What is converted to.
trait Target {
    type Stored: Pod;
    fn convert<A: Number>(x: A) -> Self::Stored;
}

/// 0 or 1.
struct Truth;

impl Target for Truth {
    type Stored = u8;

    #[inline(always)]
    fn convert<A: Number>(x: A) -> u8 {
        x.is_true() as u8
    }
}

macro_rules! targets {
    ($($type:ty: $method:ident;)*) => {$(
        impl Target for $type {
            type Stored = Self;

            #[inline(always)]
            fn convert<A: Number>(x: A) -> Self {
                x.$method() as Self
            }
        }
    )*};
}

targets! {
    u8: to_i32;
    u16: to_i32;
    u32: to_i64;
    u64: to_u64;
    i8: to_i32;
    i16: to_i32;
    i32: to_i32;
    i64: to_i64;
    f32: to_f32;
    f64: to_f64;
}
