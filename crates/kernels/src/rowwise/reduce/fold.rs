//! Reductions of other kinds than sums of floating numbers in `f32`: products, integers, `f64` and complex numbers, and
//! whether any or all are not zero.
//!
//! Formula: `out[o, i] = finish(combine over r of lift(x[o, r, i]))`.
//! Blocking: rows (`inner = 1`) are folded in 64 lanes, columns row by row into tiles of 2,048 results; what is too long for
//! one task is folded in parts, and the parts are combined in order.
//! Limit: memory bandwidth; of products the conversion to `f64`. Error: integers wrap around and are exact; a product is kept
//! in `f64` and rounded once, within `2^-53` for each factor. The result depends on the shape alone.

use std::marker::PhantomData;

use half::{bf16, f16};
use pulp::bytemuck::Pod;
use pulp::{Simd, WithSimd};

use super::ReduceShape;
use crate::error::Result;
use crate::parallel::parallel_for;
use crate::simd;

/// Elements of a task.
const TASK: usize = 32 * 1024;
/// Results that stay in the cache.
const TILE: usize = 2048;
/// Elements that are folded beside each other.
const LANES: usize = 64;

/// How elements are combined to one.
pub trait Fold: Copy + Send + Sync {
    /// An element.
    type In: Copy + Send + Sync;
    /// What is kept on the way.
    type Acc: Copy + Send + Sync;
    /// The result.
    type Out: Send + Sync;
    /// The result of no elements.
    const IDENTITY: Self::Acc;
    /// One element.
    fn lift(x: Self::In) -> Self::Acc;
    /// Two parts.
    fn combine(a: Self::Acc, b: Self::Acc) -> Self::Acc;
    /// The result of all parts.
    fn finish(acc: Self::Acc) -> Self::Out;
}

/// Writes a reduction over the middle axis to `out`, `[outer, inner]`.
///
/// # Errors
/// When a length does not match the shape.
pub fn fold<F: Fold>(shape: ReduceShape, x: &[F::In], out: &mut [F::Out]) -> Result<()> {
    shape.check("reduce", x.len(), out.len())?;
    let ReduceShape { reduced, inner, .. } = shape;
    if out.is_empty() {
        return Ok(());
    }
    let nanoseconds = 0.1 * size_of::<F::In>() as f64 * x.len() as f64;
    if reduced == 0 {
        out.iter_mut().for_each(|out| *out = F::finish(F::IDENTITY));
    } else if reduced * inner <= TASK {
        let per_task = TASK / (reduced * inner);
        let tasks = x
            .chunks(per_task * reduced * inner)
            .zip(out.chunks_mut(per_task * inner));
        parallel_for(
            tasks,
            nanoseconds,
            || vec![F::IDENTITY; inner],
            |acc, (x, out)| {
                let rows = x.chunks(reduced * inner).zip(out.chunks_mut(inner));
                for (x, out) in rows {
                    fold_rows::<F>(x, inner, 0, acc);
                    for (out, acc) in out.iter_mut().zip(acc.iter()) {
                        *out = F::finish(*acc);
                    }
                }
            },
        );
    } else {
        fold_in_parts::<F>(shape, nanoseconds, x, out);
    }
    Ok(())
}

/// Parts of the rows and tiles of the columns are folded separately, then the parts of a column in order.
fn fold_in_parts<F: Fold>(shape: ReduceShape, nanoseconds: f64, x: &[F::In], out: &mut [F::Out]) {
    let ReduceShape {
        outer,
        reduced,
        inner,
    } = shape;
    let per_part = (TASK / inner).max(64);
    let parts = reduced.div_ceil(per_part);
    let mut partial = vec![F::IDENTITY; outer * parts * inner];
    let rows = x.chunks(reduced * inner);
    let tasks: Vec<_> = rows
        .flat_map(|x| x.chunks(per_part * inner))
        .zip(partial.chunks_mut(inner))
        .flat_map(|(x, acc)| {
            let tiles = acc.chunks_mut(TILE).enumerate();
            tiles.map(move |(tile, acc)| (x, tile * TILE, acc))
        })
        .collect();
    parallel_for(
        tasks.into_iter(),
        nanoseconds,
        || (),
        |(), (x, column, acc)| fold_rows::<F>(x, inner, column, acc),
    );
    let all = partial.chunks(parts * inner).zip(out.chunks_mut(inner));
    for (partial, out) in all {
        for (column, out) in out.iter_mut().enumerate() {
            let parts = partial[column..].iter().step_by(inner);
            *out = F::finish(parts.fold(F::IDENTITY, |a, b| F::combine(a, *b)));
        }
    }
}

/// Folds `acc.len()` columns, from `column` on, of rows of `inner` elements.
fn fold_rows<F: Fold>(x: &[F::In], inner: usize, column: usize, acc: &mut [F::Acc]) {
    simd::dispatch(FoldRows::<F> {
        x,
        inner,
        column,
        acc,
        of: PhantomData,
    });
}

struct FoldRows<'a, F: Fold> {
    x: &'a [F::In],
    inner: usize,
    column: usize,
    acc: &'a mut [F::Acc],
    of: PhantomData<F>,
}

impl<F: Fold> WithSimd for FoldRows<'_, F> {
    type Output = ();

    // Plain loops, which the compiler vectorizes.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            x,
            inner,
            column,
            acc,
            ..
        } = self;
        acc.fill(F::IDENTITY);
        if inner > LANES / 2 {
            for x in x.chunks(inner) {
                add_row::<F>(&x[column..column + acc.len()], acc);
            }
            return;
        }
        // As many rows beside each other as there are lanes.
        let mut lanes = [F::IDENTITY; LANES];
        let group = LANES / inner * inner;
        let tail = if group == LANES {
            let (body, tail) = x.as_chunks::<LANES>();
            for x in body {
                for lane in 0..LANES {
                    lanes[lane] = F::combine(lanes[lane], F::lift(x[lane]));
                }
            }
            tail
        } else {
            let body = x.chunks_exact(group);
            let tail = body.remainder();
            for x in body {
                add_row::<F>(x, &mut lanes[..group]);
            }
            tail
        };
        let mut width = group / inner;
        while width > 1 {
            let half = width.div_ceil(2);
            for lane in 0..(width - half) * inner {
                lanes[lane] = F::combine(lanes[lane], lanes[lane + half * inner]);
            }
            width = half;
        }
        acc.copy_from_slice(&lanes[..inner]);
        for x in tail.chunks(inner) {
            add_row::<F>(x, acc);
        }
    }
}

#[inline(always)]
fn add_row<F: Fold>(x: &[F::In], acc: &mut [F::Acc]) {
    for (acc, x) in acc.iter_mut().zip(x) {
        *acc = F::combine(*acc, F::lift(*x));
    }
}

/// Declares a kind of reduction.
macro_rules! folds {
    ($($(#[$doc:meta])* $name:ident<$t:ident: $bound:path> = $in:ty, $acc:ty, $out:ty;
        $identity:expr; $lift:expr; $combine:expr; $finish:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<$t>(PhantomData<$t>);

        impl<$t: $bound> Fold for $name<$t> {
            type In = $in;
            type Acc = $acc;
            type Out = $out;
            const IDENTITY: $acc = $identity;

            #[inline(always)]
            fn lift(x: $in) -> $acc {
                $lift(x)
            }

            #[inline(always)]
            fn combine(a: $acc, b: $acc) -> $acc {
                $combine(a, b)
            }

            #[inline(always)]
            fn finish(acc: $acc) -> $out {
                $finish(acc)
            }
        }
    )*};
}

/// Numbers whose products are kept in `f64`.
pub trait Factor: Pod + Send + Sync {
    /// The number in double precision, exactly.
    fn widen(self) -> f64;
    /// The nearest number.
    fn nearest(x: f64) -> Self;
    /// The nearest number, half precision by way of `f32`.
    fn rounded(x: f64) -> Self;
}

impl Factor for f32 {
    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }

    fn nearest(x: f64) -> Self {
        x as f32
    }

    #[inline(always)]
    fn rounded(x: f64) -> Self {
        x as f32
    }
}

impl Factor for f64 {
    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }

    fn nearest(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn rounded(x: f64) -> Self {
        x
    }
}

impl Factor for f16 {
    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(simd::f16_to_f32::f16_to_f32_by_shifts(self))
    }

    fn nearest(x: f64) -> Self {
        Self::from_f64(x)
    }

    #[inline(always)]
    fn rounded(x: f64) -> Self {
        simd::f32_to_f16::nearest_f16(x as f32)
    }
}

impl Factor for bf16 {
    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(f32::from_bits(u32::from(self.to_bits()) << 16))
    }

    fn nearest(x: f64) -> Self {
        Self::from_f64(x)
    }

    #[inline(always)]
    fn rounded(x: f64) -> Self {
        simd::f32_to_f16::nearest_bf16(x as f32)
    }
}

/// Integers of any width, and what MLX adds and multiplies them in, of which only the bits matter.
pub trait Whole: Pod + Send + Sync + Ord {
    /// The sum's type.
    type Sum: Copy + Send + Sync + 'static;
    /// The smallest number.
    const LEAST: Self;
    /// The greatest number.
    const MOST: Self;
    /// No bits.
    const ZERO: Self;
    /// The number 1.
    const ONE: Self;
    /// All bits.
    const ONES: Self;
    /// 0 in the sum's type.
    const SUM_OF_NONE: Self::Sum;
    /// 1 in the sum's type.
    const PRODUCT_OF_NONE: Self::Sum;
    /// The number in the sum's type.
    fn widen(self) -> Self::Sum;
    /// The sum, wrapping around.
    fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    /// The product, wrapping around.
    fn multiply(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    /// The sum in its own type, wrapping around.
    fn wrapping_sum(self, other: Self) -> Self;
    /// The product in its own type, wrapping around.
    fn wrapping_product(self, other: Self) -> Self;
    /// Bits that are in one of both.
    fn or(self, other: Self) -> Self;
    /// Bits that are in both.
    fn and(self, other: Self) -> Self;
}

macro_rules! whole {
    ($($t:ty => $sum:ty),*) => {$(impl Whole for $t {
        type Sum = $sum;
        const LEAST: Self = <$t>::MIN;
        const MOST: Self = <$t>::MAX;
        const ZERO: Self = 0;
        const ONE: Self = 1;
        const ONES: Self = !0;
        const SUM_OF_NONE: $sum = 0;
        const PRODUCT_OF_NONE: $sum = 1;

        #[inline(always)]
        fn widen(self) -> $sum {
            // Signed ones with their sign, as the same bits.
            self as $sum
        }

        #[inline(always)]
        fn add(a: $sum, b: $sum) -> $sum {
            a.wrapping_add(b)
        }

        #[inline(always)]
        fn multiply(a: $sum, b: $sum) -> $sum {
            a.wrapping_mul(b)
        }

        #[inline(always)]
        fn wrapping_sum(self, other: Self) -> Self {
            self.wrapping_add(other)
        }

        #[inline(always)]
        fn wrapping_product(self, other: Self) -> Self {
            self.wrapping_mul(other)
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            self | other
        }

        #[inline(always)]
        fn and(self, other: Self) -> Self {
            self & other
        }
    })*};
}
whole!(i8 => u32, i16 => u32, i32 => u32, i64 => u64, u8 => u32, u16 => u32, u32 => u32, u64 => u64);

folds! {
    /// The sum of floating numbers, in `f64`.
    FoldFloatSum<T: Factor> = T, f64, T;
        0.0; T::widen; |a: f64, b: f64| a + b; T::nearest;
    /// The greatest floating number; NaN if one is.
    FoldFloatMax<T: Factor> = T, f64, T;
        f64::NEG_INFINITY; T::widen; |a: f64, b: f64| if a.is_nan() | (a > b) { a } else { b }; T::nearest;
    /// The smallest floating number; NaN if one is.
    FoldFloatMin<T: Factor> = T, f64, T;
        f64::INFINITY; T::widen; |a: f64, b: f64| if a.is_nan() | (a < b) { a } else { b }; T::nearest;
    /// The product of floating numbers.
    FoldProduct<T: Factor> = T, f64, T;
        1.0; T::widen; |a: f64, b: f64| a * b; T::nearest;
    /// The sum of integers, in 32 bits at least.
    FoldSum<T: Whole> = T, T::Sum, T::Sum;
        T::SUM_OF_NONE; T::widen; T::add; |acc| acc;
    /// The product of integers, in 32 bits at least.
    FoldIntegerProduct<T: Whole> = T, T::Sum, T::Sum;
        T::PRODUCT_OF_NONE; T::widen; T::multiply; |acc| acc;
    /// The greatest integer.
    FoldMax<T: Whole> = T, T, T;
        T::LEAST; |x| x; |a: T, b: T| a.max(b); |acc| acc;
    /// The smallest integer.
    FoldMin<T: Whole> = T, T, T;
        T::MOST; |x| x; |a: T, b: T| a.min(b); |acc| acc;
    /// Whether an element has any bits: 1 or 0.
    FoldAny<T: Whole> = T, T, u8;
        T::ZERO; |x| x; T::or; |acc| u8::from(acc != T::ZERO);
    /// Whether all elements have any bits: 1 or 0.
    FoldAll<T: Whole> = T, T, u8;
        T::ONES; |x| if x == T::ZERO { T::ZERO } else { T::ONES }; T::and; |acc| u8::from(acc != T::ZERO);
    /// Whether an element has any bits but the highest, which is the sign of floating numbers.
    FoldAnyFloat<T: Whole> = T, T, u8;
        T::ZERO; |x: T| x.and(T::MOST); T::or; |acc| u8::from(acc != T::ZERO);
    /// Whether all elements have any bits but the highest.
    FoldAllFloat<T: Whole> = T, T, u8;
        T::ONES; |x: T| if x.and(T::MOST) == T::ZERO { T::ZERO } else { T::ONES }; T::and; |acc| u8::from(acc != T::ZERO);
}

/// The sum of complex numbers, in `f64`.
#[derive(Clone, Copy, Debug)]
pub struct FoldComplexSum;

impl Fold for FoldComplexSum {
    type In = [f32; 2];
    type Acc = [f64; 2];
    type Out = [f32; 2];
    const IDENTITY: [f64; 2] = [0.0; 2];

    #[inline(always)]
    fn lift(x: [f32; 2]) -> [f64; 2] {
        [f64::from(x[0]), f64::from(x[1])]
    }

    #[inline(always)]
    fn combine(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
        [a[0] + b[0], a[1] + b[1]]
    }

    #[inline(always)]
    fn finish(acc: [f64; 2]) -> [f32; 2] {
        [acc[0] as f32, acc[1] as f32]
    }
}
