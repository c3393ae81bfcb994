//! Matrix tiles of `bf16` (AMX): whether this process may use them, and the microkernel over them.
//!
//! The compiler has no stable intrinsics for them, so the instructions are written out. `tdpbf16ps` multiplies 16 rows of 32
//! numbers with 32 rows of 16 columns and adds in `f32`, to the nearest; it takes denormal numbers for zero, among inputs
//! and results. Who calls it must know that there are none: see `magnitudes.rs`.

use std::marker::PhantomData;

use half::bf16;

/// Rows and columns of a tile of sums.
pub(crate) const SIDE: usize = 16;
/// Columns that are packed side by side: two tiles.
pub(crate) const STRIP: usize = 2 * SIDE;
/// The depth of a step: elements of a row of a tile.
pub(crate) const STEP: usize = 32;

/// Whether products of `bf16` can be computed with tiles: the processor has them, the system has given permission, and
/// `MLX_KERNELS_SIMD` does not name a lesser instruction set. Asked of the system once.
pub(crate) fn is_available() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        use std::sync::OnceLock;
        static IS_AVAILABLE: OnceLock<bool> = OnceLock::new();
        *IS_AVAILABLE.get_or_init(|| super::dispatch::may_use_tiles() && x86::request())
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    false
}

/// The tiles of this thread, in use until this is dropped: eight of 16 rows of 64 bytes.
pub(crate) struct Tiles {
    _of_this_thread: PhantomData<*const ()>,
}

/// Where the steps of a row are, counted in elements from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps<'a> {
    offsets: &'a [usize],
    /// The elements up to the end of the last one.
    reach: usize,
}

impl<'a> Steps<'a> {
    pub(crate) fn at(offsets: &'a [usize]) -> Self {
        let reach = offsets.iter().max().map_or(0, |last| last + STEP);
        Self { offsets, reach }
    }
}

impl Steps<'static> {
    /// The most steps of [`Steps::adjacent`].
    pub(crate) const MOST: usize = 32;

    /// `count` steps, one behind the other.
    pub(crate) fn adjacent(count: usize) -> Self {
        const ALL: [usize; Steps::MOST] = {
            let mut offsets = [0; Steps::MOST];
            let mut i = 0;
            while i < Steps::MOST {
                offsets[i] = i * STEP;
                i += 1;
            }
            offsets
        };
        static OFFSETS: [usize; Steps::MOST] = ALL;
        Self {
            offsets: &OFFSETS[..count],
            reach: count * STEP,
        }
    }
}

/// A product of up to two by two tiles.
pub(crate) struct TileProduct<'a> {
    /// Rows that start `left_stride` elements apart.
    pub(crate) left: &'a [bf16],
    pub(crate) left_stride: usize,
    pub(crate) steps: Steps<'a>,
    /// Pairs of neighbours along the depth, the first one lower: `[steps, STEP / 2, STRIP]`.
    pub(crate) right: &'a [u32],
    /// `[rows, columns]`, rows `sums_stride` apart.
    pub(crate) sums: &'a mut [f32],
    pub(crate) sums_stride: usize,
    /// Whether there are sums already.
    pub(crate) adds: bool,
}

impl Tiles {
    /// Configures this thread's tiles; `None` where there are none.
    pub(crate) fn configure() -> Option<Self> {
        if !is_available() {
            return None;
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        x86::configure();
        Some(Self {
            _of_this_thread: PhantomData,
        })
    }

    /// Computes `ROWS` by `COLUMNS` tiles, one or two of each.
    #[inline(always)]
    pub(crate) fn multiply<const ROWS: usize, const COLUMNS: usize>(
        &self,
        product: TileProduct<'_>,
    ) {
        let rows = ROWS * SIDE - 1;
        assert!(
            matches!((ROWS, COLUMNS), (1 | 2, 1 | 2))
                && product.right.len() >= product.steps.offsets.len() * STEP / 2 * STRIP
                && product.left.len() >= rows * product.left_stride + product.steps.reach
                && product.sums.len() >= rows * product.sums_stride + COLUMNS * SIDE
        );
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        x86::multiply::<ROWS, COLUMNS>(product);
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        x86::release();
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod x86 {
    #![expect(
        unsafe_code,
        reason = "the compiler has no stable intrinsics for tiles"
    )]

    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;

    use super::{SIDE, STRIP, TileProduct};

    /// Asks the processor, and the system for permission, which holds for all threads of the process.
    pub(super) fn request() -> bool {
        const BF16: u32 = 1 << 22;
        const TILE: u32 = 1 << 24;
        /// The state of tiles and of their configuration, which the system must save.
        const STATE: u32 = 3 << 17;
        const ARCH_PRCTL: usize = 158;
        const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
        const XFEATURE_XTILEDATA: usize = 18;
        if __cpuid_count(0, 0).eax < 7 || __cpuid_count(7, 0).edx & (BF16 | TILE) != BF16 | TILE {
            return false;
        }
        let (saved, result): (u32, isize);
        // SAFETY: `xgetbv` reads a register that a processor with AVX-512 has, which was asked before.
        unsafe {
            asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack));
        }
        if saved & STATE != STATE {
            return false;
        }
        // SAFETY: the call takes no pointer; it lets threads use tiles, or returns an error where it is refused or unknown.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL.cast_signed() => result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        result == 0
    }

    /// The operand of `ldtilecfg`.
    #[repr(C, align(64))]
    struct Configuration {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    pub(super) fn configure() {
        static ALL: Configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
            rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        // SAFETY: the operand is 64 bytes of a valid configuration, and the process has permission.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const ALL, options(readonly, nostack));
        }
    }

    pub(super) fn release() {
        // SAFETY: nothing is read or written; the tiles of this thread are not used after this.
        unsafe { asm!("tilerelease", options(nomem, nostack)) }
    }

    /// A microkernel: sums in tiles 0 to 3, rows in 4 and 5, columns in 6 and 7.
    macro_rules! microkernel {
        (
            $product:ident;
            zero $($zero:literal)*; load $($load:literal)*; step $($step:literal)*; store $($store:literal)*
        ) => {
            asm!(
                // Whether there are sums already.
                "test {a}, {a}",
                "jnz 2f",
                $(concat!("tilezero ", $zero),)*
                "jmp 3f",
                "2:",
                $($load,)*
                "3:",
                "test {n}, {n}",
                "jz 5f",
                "4:",
                "mov {a2}, [{at}]",
                "lea {a}, [{l} + 2*{a2}]",
                "lea {a2}, [{l2} + 2*{a2}]",
                $($step,)*
                "add {at}, 8",
                "add {b}, 2048",
                "dec {n}",
                "jnz 4b",
                // Without a second row of tiles its place is not used but in this comment.
                "5: # {c2}",
                $($store,)*
                a = inout(reg) usize::from($product.adds) => _,
                a2 = out(reg) _,
                n = inout(reg) $product.steps.offsets.len() => _,
                at = inout(reg) $product.steps.offsets.as_ptr() => _,
                l = in(reg) $product.left.as_ptr(),
                l2 = in(reg) $product.left.as_ptr().wrapping_add(SIDE * $product.left_stride),
                sa = in(reg) 2 * $product.left_stride,
                b = inout(reg) $product.right.as_ptr() => _,
                sb = in(reg) 4 * STRIP,
                c = in(reg) $product.sums.as_mut_ptr(),
                c2 = in(reg) $product.sums.as_mut_ptr().wrapping_add(SIDE * $product.sums_stride),
                sc = in(reg) 4 * $product.sums_stride,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            )
        };
    }

    /// The caller has checked that the slices hold the rows and columns of all tiles, and configured them.
    #[inline(always)]
    pub(super) fn multiply<const ROWS: usize, const COLUMNS: usize>(product: TileProduct<'_>) {
        match (ROWS, COLUMNS) {
            // SAFETY: two by two tiles are read and written within the slices, whose lengths were checked.
            (2, 2) => unsafe {
                microkernel!(product;
                    zero "tmm0" "tmm1" "tmm2" "tmm3";
                    load "tileloadd tmm0, [{c} + {sc}]" "tileloadd tmm1, [{c} + {sc} + 64]"
                        "tileloadd tmm2, [{c2} + {sc}]" "tileloadd tmm3, [{c2} + {sc} + 64]";
                    step "tileloadd tmm6, [{b} + {sb}]" "tileloadd tmm4, [{a} + {sa}]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tileloadd tmm7, [{b} + {sb} + 64]"
                        "tdpbf16ps tmm1, tmm4, tmm7" "tileloadd tmm5, [{a2} + {sa}]"
                        "tdpbf16ps tmm2, tmm5, tmm6" "tdpbf16ps tmm3, tmm5, tmm7";
                    store "tilestored [{c} + {sc}], tmm0" "tilestored [{c} + {sc} + 64], tmm1"
                        "tilestored [{c2} + {sc}], tmm2" "tilestored [{c2} + {sc} + 64], tmm3")
            },
            // SAFETY: two tiles, one below the other, as above.
            (2, 1) => unsafe {
                microkernel!(product;
                    zero "tmm0" "tmm2";
                    load "tileloadd tmm0, [{c} + {sc}]" "tileloadd tmm2, [{c2} + {sc}]";
                    step "tileloadd tmm6, [{b} + {sb}]" "tileloadd tmm4, [{a} + {sa}]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tileloadd tmm5, [{a2} + {sa}]"
                        "tdpbf16ps tmm2, tmm5, tmm6";
                    store "tilestored [{c} + {sc}], tmm0" "tilestored [{c2} + {sc}], tmm2")
            },
            // SAFETY: two tiles side by side, as above.
            (1, 2) => unsafe {
                microkernel!(product;
                    zero "tmm0" "tmm1";
                    load "tileloadd tmm0, [{c} + {sc}]" "tileloadd tmm1, [{c} + {sc} + 64]";
                    step "tileloadd tmm6, [{b} + {sb}]" "tileloadd tmm4, [{a} + {sa}]"
                        "tdpbf16ps tmm0, tmm4, tmm6" "tileloadd tmm7, [{b} + {sb} + 64]"
                        "tdpbf16ps tmm1, tmm4, tmm7";
                    store "tilestored [{c} + {sc}], tmm0" "tilestored [{c} + {sc} + 64], tmm1")
            },
            // SAFETY: one tile, as above.
            _ => unsafe {
                microkernel!(product;
                    zero "tmm0";
                    load "tileloadd tmm0, [{c} + {sc}]";
                    step "tileloadd tmm6, [{b} + {sb}]" "tileloadd tmm4, [{a} + {sa}]"
                        "tdpbf16ps tmm0, tmm4, tmm6";
                    store "tilestored [{c} + {sc}], tmm0")
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_multiply() {
        let Some(tiles) = Tiles::configure() else {
            return;
        };
        // Row `r` of the left factor is all `r + 1`; pairs of the right one are `(c, 1)` in column `c`.
        let left: Vec<bf16> = (0..32 * 64)
            .map(|i| bf16::from_f32((i / 64 + 1) as f32))
            .collect();
        let pair = |i: usize| {
            let low = bf16::from_f32((i % STRIP) as f32).to_bits();
            u32::from(low) | u32::from(bf16::ONE.to_bits()) << 16
        };
        let right: Vec<u32> = (0..32 * STRIP).map(pair).collect();
        let mut sums = vec![1000.0; 32 * 40];
        let product = TileProduct {
            left: &left,
            left_stride: 64,
            steps: Steps::at(&[STEP, 0]),
            right: &right,
            sums: &mut sums,
            sums_stride: 40,
            adds: true,
        };
        tiles.multiply::<2, 2>(product);
        for (i, sum) in sums.iter().enumerate() {
            let (row, column) = (i / 40, i % 40);
            let product = 32 * (row + 1) * (column + 1);
            let want = if column < 32 { 1000 + product } else { 1000 };
            assert_eq!(*sum, want as f32, "[{row}, {column}]");
        }
    }
}
