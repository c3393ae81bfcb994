//! Numbers of `f32` as sums of three of `bf16`, and the microkernel over tiles of them.
//!
//! `x = high + middle + low`: each is the rest rounded to the nearest `bf16`, whose 8 digits leave none of 24 over, so that
//! the sum is exact. Of the nine products of two such sums the three smallest, at most `2^-24` of the whole, are left out.
//! The tiles of the three lie beside each other, [`SIDE`] rows or columns to a tile: `[steps, 3, tiles, 16, 32]`.

use half::bf16;
use pulp::{Simd, WithSimd};

use super::amx::{SIDE, STEP, Tiles};
use super::dispatch_beside_tiles;

/// The parts of a number.
pub(crate) const PARTS: usize = 3;
/// The elements of a tile.
pub(crate) const TILE: usize = SIDE * STEP;

/// The smallest and the largest magnitude of numbers, from which follows whether tiles compute their products as `f32`
/// arithmetic does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// The bits of the smallest number that is not zero, without its sign, less one; all ones if there is none.
    least: u32,
    /// The bits of the largest number, without its sign.
    most: u32,
}

impl Range {
    /// Of no numbers.
    pub(crate) const NONE: Self = Self {
        least: u32::MAX,
        most: 0,
    };

    /// Of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
        }
    }

    /// Whether sums of `depth` products of these numbers with those are right: neither a part nor a product of parts nor a
    /// sum of them is denormal, which tiles take for zero, or overflows, and all are finite.
    ///
    /// Parts of numbers of exponent `e` and above are multiples of `2^(e - 23)`, and products and rounded sums of products
    /// of `2^(e + f - 46)`: what is not zero is at least as large, and normal from `2^-126` on. Rounding to a part can double
    /// the exponent's range by one.
    pub(crate) fn is_exact_with(self, other: Self, depth: usize) -> bool {
        let most = [self, other].map(|one| i64::from(one.most >> 23) - 127);
        if most.iter().any(|&exponent| exponent > 126) {
            return false;
        }
        if self.least == u32::MAX || other.least == u32::MAX {
            return true;
        }
        let least = [self, other].map(|one| i64::from((one.least + 1) >> 23) - 127);
        let growth = i64::from(usize::BITS - depth.leading_zeros());
        least.iter().all(|&exponent| exponent >= 23 - 126)
            && least[0] + least[1] >= 46 - 126
            && most[0] + most[1] + 4 + growth <= 127
    }
}

/// Rounds to the nearest `bf16`, ties to even; the bits are those of `f32`.
#[inline(always)]
fn rounded(bits: u32) -> u32 {
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000
}

/// The least and the most bits of the numbers in each place of a register or two.
struct Ranges<const N: usize> {
    least: [u32; N],
    most: [u32; N],
}

impl<const N: usize> Ranges<N> {
    const NONE: Self = Self {
        least: [u32::MAX; N],
        most: [0; N],
    };

    #[inline(always)]
    fn add(&mut self, numbers: &[f32; N]) {
        let places = self.least.iter_mut().zip(&mut self.most);
        for (number, (least, most)) in numbers.iter().zip(places) {
            let magnitude = number.to_bits() & 0x7fff_ffff;
            *least = (*least).min(magnitude.wrapping_sub(1));
            *most = (*most).max(magnitude);
        }
    }

    #[inline(always)]
    fn all(&self) -> Range {
        Range {
            least: self.least.iter().fold(u32::MAX, |all, one| all.min(*one)),
            most: self.most.iter().fold(0, |all, one| all.max(*one)),
        }
    }
}

/// Splits the elements of a row to its place in the tiles of `out`, which begins with that row: `[steps, 3, tiles, 16, 32]`,
/// zeros where the last step has no elements.
///
/// Like [`split_columns`] it is compiled once, not into each product that uses it.
pub(crate) fn split_row(numbers: &[f32], tiles: usize, out: &mut [bf16]) -> Range {
    struct Row<'a>(&'a [f32], usize, &'a mut [bf16]);

    impl WithSimd for Row<'_> {
        type Output = Range;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> Range {
            let Self(numbers, tiles, out) = self;
            let mut ranges = Ranges::NONE;
            let mut last = [0.0; STEP];
            let (whole, rest) = numbers.as_chunks::<STEP>();
            last[..rest.len()].copy_from_slice(rest);
            let last = (!rest.is_empty()).then_some(&last);
            let step_len = PARTS * tiles * TILE;
            for (step, numbers) in whole.iter().chain(last).enumerate() {
                ranges.add(numbers);
                let mut rest = *numbers;
                for part in 0..PARTS {
                    let out = &mut out[step * step_len + part * tiles * TILE..];
                    let Some(out) = out.first_chunk_mut::<STEP>() else {
                        return Range::NONE;
                    };
                    for i in 0..STEP {
                        let bits = rounded(rest[i].to_bits());
                        rest[i] -= f32::from_bits(bits);
                        out[i] = bf16::from_bits((bits >> 16) as u16);
                    }
                }
            }
            ranges.all()
        }
    }

    dispatch_beside_tiles(Row(numbers, tiles, out)).unwrap_or(Range::NONE)
}

/// Splits rows of the columns of `tiles` tiles, `[rows, tiles * 16]`, to `[steps, 3, tiles, 16, 16]` pairs of rows that follow
/// each other. The rows fill whole steps.
pub(crate) fn split_columns(numbers: &[f32], tiles: usize, out: &mut [u32]) -> Range {
    struct Columns<'a>(&'a [f32], usize, &'a mut [u32]);

    impl WithSimd for Columns<'_> {
        type Output = Range;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> Range {
            let Self(numbers, tiles, out) = self;
            let width = tiles * SIDE;
            let mut ranges = Ranges::NONE;
            for (pair, numbers) in numbers.chunks_exact(2 * width).enumerate() {
                let (first, second) = numbers.split_at(width);
                let columns = first.as_chunks::<SIDE>().0.iter();
                let columns = columns.zip(second.as_chunks::<SIDE>().0).enumerate();
                let step = pair / SIDE * PARTS * tiles * TILE / 2 + pair % SIDE * SIDE;
                for (tile, (first, second)) in columns {
                    ranges.add(first);
                    ranges.add(second);
                    let (mut first, mut second) = (*first, *second);
                    for part in 0..PARTS {
                        let out = &mut out[step + (part * tiles + tile) * TILE / 2..];
                        let Some(out) = out.first_chunk_mut::<SIDE>() else {
                            return Range::NONE;
                        };
                        for i in 0..SIDE {
                            let low = rounded(first[i].to_bits());
                            let high = rounded(second[i].to_bits());
                            first[i] -= f32::from_bits(low);
                            second[i] -= f32::from_bits(high);
                            out[i] = low >> 16 | high;
                        }
                    }
                }
            }
            ranges.all()
        }
    }

    dispatch_beside_tiles(Columns(numbers, tiles, out)).unwrap_or(Range::NONE)
}

/// A product of two tiles of rows with one or two of columns.
pub(crate) struct SplitProduct<'a> {
    /// The parts of 32 rows.
    pub(crate) left: &'a [bf16],
    /// The parts of the columns, in pairs.
    pub(crate) right: &'a [u32],
    pub(crate) steps: usize,
    /// `[32, columns]`, rows `sums_stride` apart.
    pub(crate) sums: &'a mut [f32],
    pub(crate) sums_stride: usize,
    /// Whether there are sums already.
    pub(crate) adds: bool,
}

impl SplitProduct<'_> {
    /// Computes it with `COLUMNS` tiles of columns.
    #[inline(always)]
    pub(crate) fn compute<const COLUMNS: usize>(self, _: &Tiles) {
        assert!(
            matches!(COLUMNS, 1 | 2)
                && self.left.len() >= self.steps * PARTS * 2 * TILE
                && self.right.len() >= self.steps * PARTS * COLUMNS * TILE / 2
                && self.sums.len() >= (2 * SIDE - 1) * self.sums_stride + COLUMNS * SIDE
        );
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        x86::compute::<COLUMNS>(self);
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod x86 {
    #![expect(
        unsafe_code,
        reason = "the compiler has no stable intrinsics for tiles"
    )]

    use std::arch::asm;

    use super::{SIDE, SplitProduct};

    /// Sums in tiles 0 to 3, rows in 4 and 5, columns in 6 and 7.
    macro_rules! microkernel {
        ($product:ident, $right_step:literal; zero $($zero:literal)*; load $($load:literal)*; step $($step:literal)*; store $($store:literal)*) => {
            asm!(
                "test {adds}, {adds}",
                "jnz 2f",
                $(concat!("tilezero ", $zero),)*
                "jmp 3f",
                "2:",
                $($load,)*
                "3:",
                "test {n}, {n}",
                "jz 5f",
                "4:",
                $($step,)*
                "add {a}, 6144",
                concat!("add {b}, ", $right_step),
                "dec {n}",
                "jnz 4b",
                "5:",
                $($store,)*
                adds = in(reg) usize::from($product.adds),
                n = inout(reg) $product.steps => _,
                a = inout(reg) $product.left.as_ptr() => _,
                b = inout(reg) $product.right.as_ptr() => _,
                s = in(reg) 64_usize,
                c = in(reg) $product.sums.as_mut_ptr(),
                c2 = in(reg) $product.sums.as_mut_ptr().wrapping_add(SIDE * $product.sums_stride),
                sc = in(reg) 4 * $product.sums_stride,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            )
        };
    }

    /// The caller has configured tiles and checked that the slices hold all of them.
    #[inline(always)]
    pub(super) fn compute<const COLUMNS: usize>(product: SplitProduct<'_>) {
        if COLUMNS == 2 {
            // SAFETY: the tiles of all steps and the sums are within the slices, whose lengths were checked.
            unsafe {
                microkernel!(product, "6144";
                    zero "tmm0" "tmm1" "tmm2" "tmm3";
                    load "tileloadd tmm0, [{c} + {sc}]" "tileloadd tmm1, [{c} + {sc} + 64]"
                        "tileloadd tmm2, [{c2} + {sc}]" "tileloadd tmm3, [{c2} + {sc} + 64]";
                    // high * (high, low, middle), middle * (middle, high), low * high
                    step "tileloadd tmm4, [{a} + {s}]" "tileloadd tmm6, [{b} + {s}]"
                        "tileloadd tmm5, [{a} + {s} + 1024]" "tileloadd tmm7, [{b} + {s} + 1024]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm4, tmm7"
                        "tdpbf16ps tmm2, tmm5, tmm6" "tdpbf16ps tmm3, tmm5, tmm7"
                        "tileloadd tmm6, [{b} + {s} + 4096]" "tileloadd tmm7, [{b} + {s} + 5120]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm4, tmm7"
                        "tdpbf16ps tmm2, tmm5, tmm6" "tdpbf16ps tmm3, tmm5, tmm7"
                        "tileloadd tmm6, [{b} + {s} + 2048]" "tileloadd tmm7, [{b} + {s} + 3072]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm4, tmm7"
                        "tdpbf16ps tmm2, tmm5, tmm6" "tdpbf16ps tmm3, tmm5, tmm7"
                        "tileloadd tmm4, [{a} + {s} + 2048]" "tileloadd tmm5, [{a} + {s} + 3072]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm4, tmm7"
                        "tdpbf16ps tmm2, tmm5, tmm6" "tdpbf16ps tmm3, tmm5, tmm7"
                        "tileloadd tmm6, [{b} + {s}]" "tileloadd tmm7, [{b} + {s} + 1024]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm4, tmm7"
                        "tdpbf16ps tmm2, tmm5, tmm6" "tdpbf16ps tmm3, tmm5, tmm7"
                        "tileloadd tmm4, [{a} + {s} + 4096]" "tileloadd tmm5, [{a} + {s} + 5120]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm4, tmm7"
                        "tdpbf16ps tmm2, tmm5, tmm6" "tdpbf16ps tmm3, tmm5, tmm7";
                    store "tilestored [{c} + {sc}], tmm0" "tilestored [{c} + {sc} + 64], tmm1"
                        "tilestored [{c2} + {sc}], tmm2" "tilestored [{c2} + {sc} + 64], tmm3")
            }
        } else {
            // SAFETY: as above, with one tile of columns.
            unsafe {
                microkernel!(product, "3072";
                    zero "tmm0" "tmm2";
                    load "tileloadd tmm0, [{c} + {sc}]" "tileloadd tmm2, [{c2} + {sc}]";
                    step "tileloadd tmm4, [{a} + {s}]" "tileloadd tmm6, [{b} + {s}]"
                        "tileloadd tmm5, [{a} + {s} + 1024]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm2, tmm5, tmm6"
                        "tileloadd tmm7, [{b} + {s} + 2048]"
                        "tdpbf16ps tmm0, tmm4, tmm7" "tdpbf16ps tmm2, tmm5, tmm7"
                        "tileloadd tmm7, [{b} + {s} + 1024]"
                        "tdpbf16ps tmm0, tmm4, tmm7" "tdpbf16ps tmm2, tmm5, tmm7"
                        "tileloadd tmm4, [{a} + {s} + 2048]" "tileloadd tmm5, [{a} + {s} + 3072]"
                        "tdpbf16ps tmm0, tmm4, tmm7" "tdpbf16ps tmm2, tmm5, tmm7"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm2, tmm5, tmm6"
                        "tileloadd tmm4, [{a} + {s} + 4096]" "tileloadd tmm5, [{a} + {s} + 5120]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm2, tmm5, tmm6";
                    store "tilestored [{c} + {sc}], tmm0" "tilestored [{c2} + {sc}], tmm2")
            }
        }
    }
}
