//! How elements of two ranks become one: sums, maxima and minima over bytes of any dtype.

use half::{bf16, f16};

use crate::Dtype;

/// What is done with elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reduction {
    Sum,
    Max,
    Min,
}

/// Combines elements of a dtype.
#[derive(Clone, Copy)]
pub(super) struct Combine {
    pub(super) reduction: Reduction,
    pub(super) dtype: Dtype,
}

impl Combine {
    /// Combines each element of `into` with that of `from` in its place. NaN stays NaN.
    pub(super) fn apply(self, into: &mut [u8], from: &[u8]) {
        match self.dtype {
            Dtype::Bool => self.integers(into, from, |a: u8, b| a | b),
            Dtype::Uint8 => self.integers(into, from, u8::wrapping_add),
            Dtype::Uint16 => self.integers(into, from, u16::wrapping_add),
            Dtype::Uint32 => self.integers(into, from, u32::wrapping_add),
            Dtype::Uint64 => self.integers(into, from, u64::wrapping_add),
            Dtype::Int8 => self.integers(into, from, i8::wrapping_add),
            Dtype::Int16 => self.integers(into, from, i16::wrapping_add),
            Dtype::Int32 => self.integers(into, from, i32::wrapping_add),
            Dtype::Int64 => self.integers(into, from, i64::wrapping_add),
            Dtype::Float16 => self.floats(into, from, |a: f16, b| {
                f16::from_f32(a.to_f32() + b.to_f32())
            }),
            Dtype::Bfloat16 => self.floats(into, from, |a: bf16, b| {
                bf16::from_f32(a.to_f32() + b.to_f32())
            }),
            Dtype::Float32 => self.floats(into, from, |a: f32, b| a + b),
            Dtype::Float64 => self.floats(into, from, |a: f64, b| a + b),
            Dtype::Complex64 => self.complex(into, from),
        }
    }

    fn integers<const N: usize, T: Bytes<N> + Ord>(
        self,
        into: &mut [u8],
        from: &[u8],
        sum: impl Fn(T, T) -> T,
    ) {
        match self.reduction {
            Reduction::Sum => each(into, from, sum),
            Reduction::Max => each(into, from, |a: T, b: T| a.max(b)),
            Reduction::Min => each(into, from, |a: T, b: T| a.min(b)),
        }
    }

    #[allow(clippy::eq_op)]
    fn floats<const N: usize, T: Bytes<N> + PartialOrd>(
        self,
        into: &mut [u8],
        from: &[u8],
        sum: impl Fn(T, T) -> T,
    ) {
        match self.reduction {
            Reduction::Sum => each(into, from, sum),
            // Of two numbers the larger one, and NaN of a number and NaN.
            Reduction::Max => each(into, from, |a: T, b: T| if a < b || b != b { b } else { a }),
            Reduction::Min => each(into, from, |a: T, b: T| if b < a || b != b { b } else { a }),
        }
    }

    /// Complex numbers are ordered by their real parts, then by their imaginary ones.
    fn complex(self, into: &mut [u8], from: &[u8]) {
        match self.reduction {
            Reduction::Sum => self.floats(into, from, |a: f32, b| a + b),
            Reduction::Max => each(into, from, |a: [f32; 2], b| if a < b { b } else { a }),
            Reduction::Min => each(into, from, |a: [f32; 2], b| if b < a { b } else { a }),
        }
    }
}

fn each<const N: usize, T: Bytes<N>>(into: &mut [u8], from: &[u8], combine: impl Fn(T, T) -> T) {
    let (into, _) = into.as_chunks_mut::<N>();
    let (from, _) = from.as_chunks::<N>();
    for (into, from) in into.iter_mut().zip(from) {
        *into = combine(T::read(*into), T::read(*from)).write();
    }
}

/// An element as its bytes, in this machine's order: all ranks have the same.
trait Bytes<const N: usize>: Copy {
    fn read(bytes: [u8; N]) -> Self;
    fn write(self) -> [u8; N];
}

macro_rules! bytes_of {
    ($($type:ty: $size:literal),*) => { $(
        impl Bytes<$size> for $type {
            fn read(bytes: [u8; $size]) -> Self {
                <$type>::from_ne_bytes(bytes)
            }
            fn write(self) -> [u8; $size] {
                self.to_ne_bytes()
            }
        }
    )* };
}

bytes_of!(u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, u64: 8, i64: 8, f16: 2, bf16: 2, f32: 4, f64: 8);

impl Bytes<8> for [f32; 2] {
    fn read(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        [f32::read([a, b, c, d]), f32::read([e, f, g, h])]
    }
    fn write(self) -> [u8; 8] {
        let ([a, b, c, d], [e, f, g, h]) = (self[0].write(), self[1].write());
        [a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reduction: Reduction, dtype: Dtype, into: &[u8], from: &[u8]) -> Vec<u8> {
        let mut into = into.to_vec();
        Combine { reduction, dtype }.apply(&mut into, from);
        into
    }

    #[test]
    fn sums_wrap_and_truth_values_are_joined() {
        let sum = |dtype, a: &[u8], b: &[u8]| of(Reduction::Sum, dtype, a, b);
        assert_eq!(sum(Dtype::Uint8, &[250, 1], &[10, 2]), [4, 3]);
        assert_eq!(sum(Dtype::Bool, &[1, 0, 1], &[1, 0, 0]), [1, 0, 1]);
        let (a, b) = (f16::from_f32(1.5), f16::from_f32(2.0));
        let both = sum(Dtype::Float16, &a.to_ne_bytes(), &b.to_ne_bytes());
        assert_eq!(both, f16::from_f32(3.5).to_ne_bytes());
    }

    #[test]
    fn nan_stays_in_maxima_and_minima() {
        for reduction in [Reduction::Max, Reduction::Min] {
            for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
                let bytes = of(
                    reduction,
                    Dtype::Float32,
                    &a.to_ne_bytes(),
                    &b.to_ne_bytes(),
                );
                assert!(f32::from_ne_bytes(bytes.try_into().unwrap()).is_nan());
            }
        }
    }

    #[test]
    fn complex_numbers_are_ordered_by_their_real_parts_first() {
        let (a, b) = ([1.0_f32, 5.0].write(), [2.0_f32, -1.0].write());
        assert_eq!(of(Reduction::Max, Dtype::Complex64, &a, &b), b);
        assert_eq!(of(Reduction::Min, Dtype::Complex64, &a, &b), a);
    }
}
