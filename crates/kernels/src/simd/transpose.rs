//! Transposing blocks of `f32`, sixteen rows at a time.
//!
//! With AVX-512, four rounds of permutations of two registers; elsewhere element by element.

/// Rows that are transposed at a time.
pub(crate) const ROWS: usize = 16;

/// Writes the transpose of 16 rows: `to[c * to_stride + r] = from[r * from_stride + c]` for `c` below `columns`.
#[inline(always)]
pub(crate) fn transpose_rows(
    from: &[f32],
    from_stride: usize,
    columns: usize,
    to: &mut [f32],
    to_stride: usize,
) {
    #[cfg(target_arch = "x86_64")]
    let done = x86::transpose_rows(from, from_stride, columns, to, to_stride);
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    for r in 0..ROWS {
        let row = &from[r * from_stride..][..columns];
        for (c, value) in row.iter().enumerate().skip(done) {
            to[c * to_stride + r] = *value;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "pulp has no permutation of two registers")]

    use std::arch::x86_64::{__m512, _mm512_permutex2var_ps, _mm512_setzero_ps};

    use pulp::bytemuck::cast;

    use super::ROWS;

    const LOW: [u32; ROWS] = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
    const HIGH: [u32; ROWS] = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];

    /// Transposes whole blocks of 16 columns, and returns how many columns that were.
    pub(super) fn transpose_rows(
        from: &[f32],
        from_stride: usize,
        columns: usize,
        to: &mut [f32],
        to_stride: usize,
    ) -> usize {
        if crate::simd::instruction_set() != "avx512" {
            return 0;
        }
        // SAFETY: the instruction set in use says that the processor has AVX-512, which is all that the function needs.
        unsafe { transpose_blocks(from, from_stride, columns, to, to_stride) }
    }

    #[target_feature(enable = "avx512f")]
    fn transpose_blocks(
        from: &[f32],
        from_stride: usize,
        columns: usize,
        to: &mut [f32],
        to_stride: usize,
    ) -> usize {
        let blocks = columns / ROWS;
        for block in 0..blocks {
            let mut registers = [_mm512_setzero_ps(); ROWS];
            for (r, register) in registers.iter_mut().enumerate() {
                let mut row = [0.0_f32; ROWS];
                row.copy_from_slice(&from[r * from_stride + block * ROWS..][..ROWS]);
                *register = cast(row);
            }
            let columns = transposed(registers);
            for (c, column) in columns.into_iter().enumerate() {
                let column: [f32; ROWS] = cast(column);
                to[(block * ROWS + c) * to_stride..][..ROWS].copy_from_slice(&column);
            }
        }
        blocks * ROWS
    }

    /// Each round moves the highest bit of the row's number to the end of the column's, and the column's to the row's.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transposed(mut rows: [__m512; ROWS]) -> [__m512; ROWS] {
        for _ in 0..ROWS.trailing_zeros() {
            let before = rows;
            for i in 0..ROWS / 2 {
                let (a, b) = (before[i], before[i + ROWS / 2]);
                rows[2 * i] = _mm512_permutex2var_ps(a, cast(LOW), b);
                rows[2 * i + 1] = _mm512_permutex2var_ps(a, cast(HIGH), b);
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_any_number_of_columns() {
        for columns in [1, 15, 16, 17, 48, 50] {
            let from: Vec<f32> = (0..ROWS * 53).map(|i| i as f32).collect();
            let mut to = vec![-1.0; columns * 20];
            transpose_rows(&from, 53, columns, &mut to, 20);
            for (i, value) in to.into_iter().enumerate() {
                let (c, r) = (i / 20, i % 20);
                let want = if r < ROWS { (r * 53 + c) as f32 } else { -1.0 };
                assert_eq!(value, want, "{columns} {c} {r}");
            }
        }
    }
}
