//! The storage types: `f32`, and `f16` and `bf16`, which are converted when they are read and written; arithmetic is `f32`.

use half::{bf16, f16};

use crate::instances::HasKernels;

/// A storage type of kernels. Sealed: `f32`, [`half::f16`], [`half::bf16`].
pub trait Element: Copy + Default + Send + Sync + private::Storage + HasKernels + 'static {}

impl Element for f32 {}
impl Element for f16 {}
impl Element for bf16 {}

pub(crate) mod private {
    /// Reads and writes rows; `scratch` is at least as long as the row, and `f32` rows are read without it.
    pub trait Storage: Sized {
        /// Whether values are `f32` already, so that nothing is converted.
        const IS_F32: bool;
        /// The largest number of this type below 1.
        const BELOW_ONE: f32;
        /// The nearest number of this type.
        fn round(x: f32) -> f32;
        fn read<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32];
        /// As `read`, but inlined into the caller, with its instruction set.
        fn read_inline<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32];
        /// Both slices as `f32`, if that is what they are.
        fn as_f32<'a>(_: &'a [Self], _: &'a mut [Self]) -> Option<(&'a [f32], &'a mut [f32])> {
            None
        }
        /// The row, if it is of this type.
        fn as_f16(_: &[Self]) -> Option<&[half::f16]> {
            None
        }
        /// The row, if it is of this type.
        fn as_bf16(_: &[Self]) -> Option<&[half::bf16]> {
            None
        }
        /// The row to be written, if it is of this type.
        fn as_f16_mut(_: &mut [Self]) -> Option<&mut [half::f16]> {
            None
        }
        /// The row to be written, if it is of this type.
        fn as_bf16_mut(_: &mut [Self]) -> Option<&mut [half::bf16]> {
            None
        }
        /// The products of four rows with `x`, if the processor has instructions that read this type.
        fn dots(_: [&[Self]; 4], _: &[f32]) -> Option<[f32; 4]> {
            None
        }
        /// Lets `fill` write the row: in place, or to `scratch`, which is converted after.
        fn write(row: &mut [Self], scratch: &mut [f32], fill: impl FnOnce(&mut [f32]));
        /// Writes the nearest number of each value; both slices have the same length.
        fn store(values: &[f32], row: &mut [Self]);
    }
}

impl private::Storage for f32 {
    const IS_F32: bool = true;
    const BELOW_ONE: f32 = 1.0 - f32::EPSILON / 2.0;

    #[inline(always)]
    fn round(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn read_inline<'a>(row: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        row
    }

    fn as_f32<'a>(x: &'a [f32], out: &'a mut [f32]) -> Option<(&'a [f32], &'a mut [f32])> {
        Some((x, out))
    }

    #[inline(always)]
    fn read<'a>(row: &'a [Self], _: &'a mut [f32]) -> &'a [f32] {
        row
    }

    #[inline(always)]
    fn write(row: &mut [Self], _: &mut [f32], fill: impl FnOnce(&mut [f32])) {
        fill(row);
    }

    #[inline(always)]
    fn store(values: &[f32], row: &mut [Self]) {
        row.copy_from_slice(values);
    }
}

macro_rules! half_storage {
    ($type:ty, $as_self:ident, $as_self_mut:ident, $to_f32:path, $from_f32:path, $round:path, $dots:expr) => {
        impl private::Storage for $type {
            const IS_F32: bool = false;
            const BELOW_ONE: f32 = 1.0 - <$type>::EPSILON.to_f32_const() / 2.0;

            #[inline(always)]
            fn round(x: f32) -> f32 {
                $round(x)
            }

            fn $as_self(row: &[Self]) -> Option<&[Self]> {
                Some(row)
            }

            fn $as_self_mut(row: &mut [Self]) -> Option<&mut [Self]> {
                Some(row)
            }

            fn dots(rows: [&[Self]; 4], x: &[f32]) -> Option<[f32; 4]> {
                $dots(rows, x)
            }

            fn read<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
                let scratch = &mut scratch[..row.len()];
                crate::simd::half_lanes::widen(row, scratch);
                scratch
            }

            #[inline(always)]
            fn read_inline<'a>(row: &'a [Self], scratch: &'a mut [f32]) -> &'a [f32] {
                let scratch = &mut scratch[..row.len()];
                $to_f32(row, scratch);
                scratch
            }

            fn write(row: &mut [Self], scratch: &mut [f32], fill: impl FnOnce(&mut [f32])) {
                let scratch = &mut scratch[..row.len()];
                fill(scratch);
                $from_f32(scratch, row);
            }

            fn store(values: &[f32], row: &mut [Self]) {
                $from_f32(values, row);
            }
        }
    };
}

half_storage!(
    f16,
    as_f16,
    as_f16_mut,
    crate::simd::f16_to_f32::f16_to_f32,
    crate::simd::f32_to_f16::f32_to_f16,
    crate::simd::f32_to_f16::round_to_f16,
    crate::simd::dot_half::dots_f16
);
half_storage!(
    bf16,
    as_bf16,
    as_bf16_mut,
    crate::simd::f16_to_f32::bf16_to_f32,
    crate::simd::f32_to_f16::f32_to_bf16,
    crate::simd::f32_to_f16::round_to_bf16,
    crate::simd::dot_half::dots_bf16
);

/// All of `values` as `f32`, converted once.
pub(crate) fn to_f32_vec<T: Element>(values: &[T]) -> Vec<f32> {
    let mut converted = vec![0.0; values.len()];
    if T::IS_F32 {
        converted.copy_from_slice(T::read(values, &mut []));
    } else {
        T::read(values, &mut converted);
    }
    converted
}
