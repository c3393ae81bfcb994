//! How an operation is written as bytes: the one form in which it crosses the language border.
//!
//! Two bytes with its place in the table, low one first, then its attributes in the table's order: numbers little-endian,
//! truth values and enums as one byte, an optional as one byte and perhaps the value, lists and text as a length of four
//! bytes and the elements. The other side is `native/op_bytes.h`, with a struct for each operation in `native/mlx_ops.h`,
//! which is generated from the table (`cargo xtask golden`).

use super::OpString;
use crate::Dtype;

/// An attribute that can be written as bytes.
pub(crate) trait Encode: Sized {
    /// A number that changes with the meaning of the bytes: their width, the order of an enum's cases.
    const LAYOUT: u64;
    /// Appends the value.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads a value and advances; `None` when the bytes end first or mean nothing.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;
    /// The type in C++.
    #[cfg(test)]
    fn cpp_type() -> String;
}

/// What the hash of no text is (FNV-1a, 64 bits).
pub(super) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Continues a hash with a text and its end. Spaces do not count: compilers print types with and without them.
pub(super) const fn fnv(mut hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b' ' {
            hash = (hash ^ bytes[i] as u64).wrapping_mul(FNV_PRIME);
        }
        i += 1;
    }
    (hash ^ 0xFF).wrapping_mul(FNV_PRIME)
}

/// Continues a hash with another one.
pub(super) const fn fnv_hash(mut hash: u64, other: u64) -> u64 {
    let bytes = other.to_le_bytes();
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(FNV_PRIME);
        i += 1;
    }
    hash
}

/// Takes the first `N` bytes.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

macro_rules! encode_numbers {
    ($($type:ty as $wire:ty = $cpp:literal),* $(,)?) => { $(
        impl Encode for $type {
            const LAYOUT: u64 = fnv(FNV_START, stringify!($wire));
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(*self as $wire).to_le_bytes());
            }
            fn decode(bytes: &mut &[u8]) -> Option<Self> {
                <$type>::try_from(<$wire>::from_le_bytes(take(bytes)?)).ok()
            }
            #[cfg(test)]
            fn cpp_type() -> String {
                $cpp.to_owned()
            }
        }
    )* };
}

encode_numbers! {
    i32 as i32 = "int32_t",
    i64 as i64 = "int64_t",
    usize as u64 = "uint64_t",
    f32 as f32 = "float",
    f64 as f64 = "double",
}

impl Encode for bool {
    const LAYOUT: u64 = fnv(FNV_START, "bool");
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        match take(bytes)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
    #[cfg(test)]
    fn cpp_type() -> String {
        "bool".to_owned()
    }
}

impl Encode for Dtype {
    const LAYOUT: u64 = {
        let mut hash = fnv(FNV_START, "dtype");
        let mut i = 0;
        while i < Dtype::ALL.len() {
            hash = fnv(hash, Dtype::ALL[i].name());
            i += 1;
        }
        hash
    };
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let [number] = take(bytes)?;
        Dtype::ALL.get(usize::from(number)).copied()
    }
    #[cfg(test)]
    fn cpp_type() -> String {
        "uint8_t".to_owned()
    }
}

impl<T: Encode> Encode for Option<T> {
    const LAYOUT: u64 = fnv_hash(fnv(FNV_START, "optional"), T::LAYOUT);
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(match bool::decode(bytes)? {
            true => Some(T::decode(bytes)?),
            false => None,
        })
    }
    #[cfg(test)]
    fn cpp_type() -> String {
        format!("std::optional<{}>", T::cpp_type())
    }
}

/// Appends a length.
fn encode_length(length: usize, out: &mut Vec<u8>) {
    // No list of axes or sizes is that long.
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

fn decode_length(bytes: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(take(bytes)?)).ok()
}

impl<T: Encode> Encode for Vec<T> {
    const LAYOUT: u64 = fnv_hash(fnv(FNV_START, "list"), T::LAYOUT);
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        self.iter().for_each(|value| value.encode(out));
    }
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let length = decode_length(bytes)?;
        // Each element has at least one byte: a length beyond the end allocates nothing.
        let mut values = Vec::with_capacity(length.min(bytes.len()));
        for _ in 0..length {
            values.push(T::decode(bytes)?);
        }
        Some(values)
    }
    #[cfg(test)]
    fn cpp_type() -> String {
        format!("std::vector<{}>", T::cpp_type())
    }
}

impl Encode for OpString {
    const LAYOUT: u64 = fnv(FNV_START, "text");
    fn encode(&self, out: &mut Vec<u8>) {
        let text = self.to_string();
        encode_length(text.len(), out);
        out.extend_from_slice(text.as_bytes());
    }
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let length = decode_length(bytes)?;
        let (text, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        std::str::from_utf8(text).ok().map(OpString::new)
    }
    #[cfg(test)]
    fn cpp_type() -> String {
        "std::string".to_owned()
    }
}

#[cfg(test)]
mod tests;
