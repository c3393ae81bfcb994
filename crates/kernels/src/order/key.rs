//! Order-preserving integer keys of numbers, and what the radix sort moves: keys, or keys with positions.

use half::{bf16, f16};

use crate::instances::HasOrder;

/// A type that can be sorted. Sealed: integers of 8 to 64 bits, `f16`, `bf16`, `f32` and `f64`.
pub trait Sortable:
    pulp::bytemuck::Pod + Default + Send + Sync + SortKey + HasOrder + 'static
{
}

pub(crate) mod private {
    use super::{Item, Key};

    /// Numbers as unsigned integers.
    pub trait SortKey: Copy {
        type Key: Key;
        /// What is moved when positions are sorted.
        type Entry: Item;
        /// Whether there are NaN and two zeros.
        const IS_FLOAT: bool;
        /// The negative zero's key is before the positive one's; those of NaN are at both ends.
        fn key(self) -> Self::Key;
        fn from_key(key: Self::Key) -> Self;
        fn is_nan(self) -> bool;
        /// As `key`, but both zeros are the positive one, and NaN is the largest key there is.
        fn rank(self) -> Self::Key;
        fn entry(self, position: u32) -> Self::Entry;
    }
}
pub(crate) use private::SortKey;

/// An unsigned integer.
pub trait Key: Item {
    /// The number of bits.
    const BITS: u32;
    /// The largest one.
    const MAX: Self;
    /// The number of leading bits that are alike.
    fn common_bits(self, other: Self) -> u32;
    /// This key with the lowest `bits` bits cleared.
    fn clear_low(self, bits: u32) -> Self;
    /// This key with one bit set.
    fn with_bit(self, bit: u32) -> Self;
}

/// What the radix sort moves. `Ord` is the order of its digits, and then of its position.
pub trait Item: Copy + Default + Ord + Send + Sync + 'static {
    /// The number of bytes that are sorted by.
    const DIGITS: usize;
    /// The byte at this place, the least significant one first.
    fn digit(self, place: usize) -> usize;
    /// The bits that are sorted by, as the lowest ones.
    fn bits(self) -> u64;
    /// The position that it carries.
    fn position(self) -> u32 {
        0
    }
}

macro_rules! keys {
    ($($type:ty),*) => {$(
        impl Item for $type {
            const DIGITS: usize = size_of::<$type>();

            #[inline(always)]
            fn digit(self, place: usize) -> usize {
                ((u64::from(self) >> (8 * place)) & 0xff) as usize
            }

            #[inline(always)]
            fn bits(self) -> u64 {
                u64::from(self)
            }
        }

        impl Key for $type {
            const BITS: u32 = <$type>::BITS;
            const MAX: Self = <$type>::MAX;

            #[inline(always)]
            fn common_bits(self, other: Self) -> u32 {
                (self ^ other).leading_zeros()
            }

            #[inline(always)]
            fn clear_low(self, bits: u32) -> Self {
                let mask = <$type>::MAX.checked_shl(bits).unwrap_or(0);
                self & mask
            }

            #[inline(always)]
            fn with_bit(self, bit: u32) -> Self {
                self | 1 << bit
            }
        }
    )*};
}
keys!(u8, u16, u32, u64);

/// A key of at most 32 bits above a position of 32.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packed<const DIGITS: usize>(u64);

impl<const DIGITS: usize> Item for Packed<DIGITS> {
    const DIGITS: usize = DIGITS;

    #[inline(always)]
    fn digit(self, place: usize) -> usize {
        ((self.0 >> (32 + 8 * place)) & 0xff) as usize
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        self.0 >> 32
    }

    #[inline(always)]
    fn position(self) -> u32 {
        self.0 as u32
    }
}

/// A key of 64 bits and a position.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wide {
    key: u64,
    position: u32,
}

impl Item for Wide {
    const DIGITS: usize = 8;

    #[inline(always)]
    fn digit(self, place: usize) -> usize {
        self.key.digit(place)
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        self.key
    }

    #[inline(always)]
    fn position(self) -> u32 {
        self.position
    }
}

macro_rules! packed_entry {
    ($digits:literal) => {
        type Entry = Packed<$digits>;

        #[inline(always)]
        fn entry(self, position: u32) -> Self::Entry {
            Packed(u64::from(self.rank()) << 32 | u64::from(position))
        }
    };
}

macro_rules! wide_entry {
    () => {
        type Entry = Wide;

        #[inline(always)]
        fn entry(self, position: u32) -> Self::Entry {
            let key = self.rank();
            Wide { key, position }
        }
    };
}

macro_rules! integers {
    ($($type:ty, $key:ty, $sign:expr, $entry:ident($($digits:literal)?);)*) => {$(
        impl Sortable for $type {}

        impl SortKey for $type {
            type Key = $key;
            const IS_FLOAT: bool = false;
            $entry!($($digits)?);

            #[inline(always)]
            #[allow(trivial_numeric_casts)]
            fn key(self) -> $key {
                self as $key ^ $sign
            }

            #[inline(always)]
            #[allow(trivial_numeric_casts)]
            fn from_key(key: $key) -> Self {
                (key ^ $sign) as $type
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }

            #[inline(always)]
            fn rank(self) -> $key {
                self.key()
            }
        }
    )*};
}

integers! {
    u8, u8, 0, packed_entry(1);
    i8, u8, 1 << 7, packed_entry(1);
    u16, u16, 0, packed_entry(2);
    i16, u16, 1 << 15, packed_entry(2);
    u32, u32, 0, packed_entry(4);
    i32, u32, 1 << 31, packed_entry(4);
    u64, u64, 0, wide_entry();
    i64, u64, 1 << 63, wide_entry();
}

macro_rules! floats {
    ($($type:ty, $key:ty, $signed:ty, $infinity:expr, $entry:ident($($digits:literal)?);)*) => {$(
        impl Sortable for $type {}

        impl SortKey for $type {
            type Key = $key;
            const IS_FLOAT: bool = true;
            $entry!($($digits)?);

            // All bits of a negative number are flipped, of others only the sign.
            #[inline(always)]
            fn key(self) -> $key {
                let bits = self.to_bits();
                let negative = (bits as $signed >> (<$key>::BITS - 1)) as $key;
                bits ^ (negative | 1 << (<$key>::BITS - 1))
            }

            #[inline(always)]
            fn from_key(key: $key) -> Self {
                let positive = (key as $signed >> (<$key>::BITS - 1)) as $key;
                <$type>::from_bits(key ^ (!positive | 1 << (<$key>::BITS - 1)))
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                self.to_bits() & (<$key>::MAX >> 1) > $infinity
            }

            #[inline(always)]
            fn rank(self) -> $key {
                const ZERO: $key = 1 << (<$key>::BITS - 1);
                let key = self.key();
                // The negative zero's key is the one before.
                let key = if key == ZERO - 1 { ZERO } else { key };
                if self.is_nan() { <$key>::MAX } else { key }
            }
        }
    )*};
}

floats! {
    f16, u16, i16, 0x7c00, packed_entry(2);
    bf16, u16, i16, 0x7f80, packed_entry(2);
    f32, u32, i32, 0x7f80_0000, packed_entry(4);
    f64, u64, i64, 0x7ff0_0000_0000_0000, wide_entry();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_numbers_and_lead_back() {
        let numbers = [
            f32::NEG_INFINITY,
            -1.5,
            -f32::MIN_POSITIVE,
            -1e-40,
            -0.0,
            0.0,
            1e-40,
            2.0,
            f32::MAX,
            f32::INFINITY,
        ];
        assert!(numbers.is_sorted_by(|a, b| a.key() < b.key()));
        assert!(
            numbers
                .iter()
                .all(|x| f32::from_key(x.key()).to_bits() == x.to_bits())
        );
        assert_eq!((-0.0_f32).rank(), 0.0_f32.rank());
        assert!((-f32::NAN).rank() == u32::MAX && f32::INFINITY.rank() < u32::MAX);
        assert!([i64::MIN, -1, 0, 1, i64::MAX].is_sorted_by(|a, b| a.key() < b.key()));
        assert!(
            [i8::MIN, -1, 0, 1, i8::MAX]
                .iter()
                .all(|&x| i8::from_key(x.key()) == x)
        );
    }
}
