//! Numbers of `f32` as sums of three of `bf16`, and the microkernel over tiles of them.
//!
//! `x = high + middle + low`: each is the rest rounded to the nearest `bf16`, whose 8 digits leave none of 24 over, so that
//! the sum is exact. Of the nine products of two such sums the three smallest, at most `2^-24` of the whole, are left out.
//! The tiles of the three lie beside each other, [`SIDE`] rows or columns to a tile: `[steps, 3, tiles, 16, 32]`.

use half::bf16;

use super::amx::{SIDE, STEP, Tiles};

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

    #[inline(always)]
    fn add(&mut self, bits: u32) {
        let magnitude = bits & 0x7fff_ffff;
        self.least = self.least.min(magnitude.wrapping_sub(1));
        self.most = self.most.max(magnitude);
    }

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

/// The bits of the parts of a number.
#[inline(always)]
fn parts(number: f32) -> [u32; PARTS] {
    let high = rounded(number.to_bits());
    let rest = number - f32::from_bits(high);
    let middle = rounded(rest.to_bits());
    let low = rest - f32::from_bits(middle);
    [high, middle, low.to_bits()]
}

/// The ranges of the numbers in each place of a step.
pub(crate) struct Ranges([Range; STEP]);

impl Ranges {
    pub(crate) const NONE: Self = Self([Range::NONE; STEP]);

    /// The range of all.
    pub(crate) fn all(&self) -> Range {
        self.0.iter().fold(Range::NONE, |all, one| all.and(*one))
    }
}

/// Splits a step of a row to its place in the tiles of `out`, which begins with that row.
#[inline(always)]
pub(crate) fn split_row(
    numbers: &[f32; STEP],
    tiles: usize,
    out: &mut [bf16],
    ranges: &mut Ranges,
) {
    let mut split = [[0_u16; STEP]; PARTS];
    for (i, &number) in numbers.iter().enumerate() {
        let bits = parts(number);
        for part in 0..PARTS {
            split[part][i] = (bits[part] >> 16) as u16;
        }
        ranges.0[i].add(number.to_bits());
    }
    for (part, numbers) in split.iter().enumerate() {
        let out = &mut out[part * tiles * TILE..][..STEP];
        for (out, &bits) in out.iter_mut().zip(numbers) {
            *out = bf16::from_bits(bits);
        }
    }
}

/// Splits a pair of rows of a tile's columns to its place in the tiles of `out`, which begins with that pair.
#[inline(always)]
pub(crate) fn split_pair(
    rows: [&[f32; SIDE]; 2],
    tiles: usize,
    out: &mut [u32],
    ranges: &mut Ranges,
) {
    let mut pairs = [[0_u32; SIDE]; PARTS];
    for i in 0..SIDE {
        let [first, second] = rows.map(|row| parts(row[i]));
        for part in 0..PARTS {
            pairs[part][i] = first[part] >> 16 | second[part] & 0xffff_0000;
        }
        ranges.0[i].add(rows[0][i].to_bits());
        ranges.0[i].add(rows[1][i].to_bits());
    }
    for (part, pairs) in pairs.iter().enumerate() {
        out[part * tiles * TILE / 2..][..SIDE].copy_from_slice(pairs);
    }
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
