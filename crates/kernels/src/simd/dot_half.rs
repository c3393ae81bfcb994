//! Inner products of rows of half precision with an `f32` vector, converted register by register.
//!
//! `pulp` has no conversion of half precision, so that the loops are written for the two instruction sets of x86 that have
//! one; elsewhere rows are first converted to a buffer. `bf16` are the upper halves of `f32`. Limit: the bandwidth of reading the rows.

use half::{bf16, f16};

/// Rows of a call.
pub(crate) const ROWS: usize = 4;

/// The products of four rows with `x`, all of the same length; `None` if this machine has no instruction for it.
#[inline]
pub(crate) fn dots_f16(rows: [&[f16]; ROWS], x: &[f32]) -> Option<[f32; ROWS]> {
    #[cfg(target_arch = "x86_64")]
    return x86::dots(rows, x);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (rows, x);
        None
    }
}

/// The same for `bf16`.
#[inline]
pub(crate) fn dots_bf16(rows: [&[bf16]; ROWS], x: &[f32]) -> Option<[f32; ROWS]> {
    #[cfg(target_arch = "x86_64")]
    return x86::dots(rows, x);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (rows, x);
        None
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "pulp has no conversion of half precision")]

    use std::arch::is_x86_feature_detected;
    use std::arch::x86_64::{
        __m128i, __m256, __m256i, __m512, _mm256_add_ps, _mm256_castsi256_ps,
        _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_setzero_ps,
        _mm256_slli_epi32, _mm512_add_ps, _mm512_castsi512_ps, _mm512_cvtepu16_epi32,
        _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_setzero_ps,
        _mm512_slli_epi32,
    };

    use half::{bf16, f16};
    use pulp::bytemuck::cast;

    use super::ROWS;

    /// A type of half precision, whose bits are converted in registers.
    pub(super) trait Half: Copy {
        const IS_BF16: bool;
        fn bits(self) -> u16;
        fn wide(self) -> f32;
    }

    impl Half for f16 {
        const IS_BF16: bool = false;

        #[inline(always)]
        fn bits(self) -> u16 {
            self.to_bits()
        }

        fn wide(self) -> f32 {
            self.to_f32()
        }
    }

    impl Half for bf16 {
        const IS_BF16: bool = true;

        #[inline(always)]
        fn bits(self) -> u16 {
            self.to_bits()
        }

        fn wide(self) -> f32 {
            self.to_f32()
        }
    }

    /// Sixteen numbers as `f32`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn wide_512<H: Half>(bits: __m256i) -> __m512 {
        if H::IS_BF16 {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
        } else {
            _mm512_cvtph_ps(bits)
        }
    }

    /// Eight numbers as `f32`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn wide_256<H: Half>(bits: __m128i) -> __m256 {
        if H::IS_BF16 {
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
        } else {
            _mm256_cvtph_ps(bits)
        }
    }

    pub(super) fn dots<H: Half>(rows: [&[H]; ROWS], x: &[f32]) -> Option<[f32; ROWS]> {
        if rows.iter().any(|row| row.len() != x.len()) {
            return None;
        }
        match crate::simd::instruction_set() {
            // SAFETY: the instruction set in use says that the processor has AVX-512.
            "avx512" => Some(unsafe { dots_512(rows, x) }),
            "avx2" if is_x86_feature_detected!("f16c") => {
                // SAFETY: the instruction set in use says that it has AVX2 and FMA; F16C was checked.
                Some(unsafe { dots_256(rows, x) })
            }
            _ => None,
        }
    }

    #[target_feature(enable = "avx512f")]
    fn dots_512<H: Half>(rows: [&[H]; ROWS], x: &[f32]) -> [f32; ROWS] {
        let mut products = [0.0; ROWS];
        for (product, row) in products.iter_mut().zip(rows) {
            *product = dot_512(row, x);
        }
        products
    }

    /// Rows are read one after another, as they are stored: only so does the hardware prefetcher follow.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn dot_512<H: Half>(row: &[H], x: &[f32]) -> f32 {
        let mut sums = [[_mm512_setzero_ps(); 2]; 2];
        let (row, row_tail) = row.as_chunks::<32>();
        let (x, x_tail) = x.as_chunks::<32>();
        let (row_pairs, row_last) = row.as_chunks::<2>();
        let (x_pairs, x_last) = x.as_chunks::<2>();
        for (row, x) in row_pairs.iter().zip(x_pairs) {
            for half in 0..2 {
                sums[half] = add_512(sums[half], &row[half], cast(x[half]));
            }
        }
        for (row, x) in row_last.iter().zip(x_last) {
            sums[0] = add_512(sums[0], row, cast(*x));
        }
        let [[a, b], [c, d]] = sums;
        let sum = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
        _mm512_reduce_add_ps(sum) + rest(row_tail, x_tail)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add_512<H: Half>(sums: [__m512; 2], row: &[H; 32], x: [__m512; 2]) -> [__m512; 2] {
        let halves: [[u16; 16]; 2] = bits(row);
        [
            _mm512_fmadd_ps(wide_512::<H>(cast(halves[0])), x[0], sums[0]),
            _mm512_fmadd_ps(wide_512::<H>(cast(halves[1])), x[1], sums[1]),
        ]
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    fn dots_256<H: Half>(rows: [&[H]; ROWS], x: &[f32]) -> [f32; ROWS] {
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        let (body, tail) = x.as_chunks::<16>();
        let [a, b, c, d] = rows;
        let [a, b, c, d] = [
            a.as_chunks::<16>(),
            b.as_chunks::<16>(),
            c.as_chunks::<16>(),
            d.as_chunks::<16>(),
        ];
        let bodies = a.0.iter().zip(b.0).zip(c.0.iter().zip(d.0));
        for (x, ((a, b), (c, d))) in body.iter().zip(bodies) {
            let x: [__m256; 2] = cast(*x);
            sums[0] = add_256(sums[0], a, x);
            sums[1] = add_256(sums[1], b, x);
            sums[2] = add_256(sums[2], c, x);
            sums[3] = add_256(sums[3], d, x);
        }
        let mut products = [0.0; ROWS];
        let tails = [a.1, b.1, c.1, d.1];
        for row in 0..ROWS {
            let [first, second] = sums[row];
            let both: [f32; 8] = cast(_mm256_add_ps(first, second));
            products[row] = both.iter().sum::<f32>() + rest(tails[row], tail);
        }
        products
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn add_256<H: Half>(sums: [__m256; 2], row: &[H; 16], x: [__m256; 2]) -> [__m256; 2] {
        let halves: [[u16; 8]; 2] = bits(row);
        [
            _mm256_fmadd_ps(wide_256::<H>(cast(halves[0])), x[0], sums[0]),
            _mm256_fmadd_ps(wide_256::<H>(cast(halves[1])), x[1], sums[1]),
        ]
    }

    /// The bits of a register's worth of numbers and another.
    #[inline(always)]
    fn bits<H: Half, const N: usize, const HALF: usize>(row: &[H; N]) -> [[u16; HALF]; 2] {
        let mut halves = [[0; HALF]; 2];
        for i in 0..HALF {
            halves[0][i] = row[i].bits();
            halves[1][i] = row[HALF + i].bits();
        }
        halves
    }

    fn rest<H: Half>(row: &[H], x: &[f32]) -> f32 {
        row.iter().zip(x).map(|(row, x)| row.wide() * x).sum()
    }
}
