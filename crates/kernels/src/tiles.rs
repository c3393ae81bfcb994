//! The inner loop of matrix products: a few rows times a tile of columns that fills registers.
//!
//! Each number of a row meets a whole register of columns, so rows are read as they lie in memory; only the columns
//! are transposed before. A tile is two registers wide and four or eight rows high: its sums stay in registers.

use pulp::Simd;

/// Registers that lie side by side in a tile.
pub(crate) const WIDE: usize = 2;

/// Whether there are 16 registers, for tiles of four rows, and not 32, for tiles of eight.
#[inline(always)]
pub(crate) fn few_registers<S: Simd>() -> bool {
    S::F32_LANES == 8 || S::F32_LANES == 1
}

/// The products of `ROWS` rows with a tile of columns: `result[row, :] = sum over k of rows[row][k] * columns[k, :]`.
#[inline(always)]
pub(crate) fn dots<S: Simd, const ROWS: usize>(
    simd: S,
    rows: [&[f32]; ROWS],
    columns: &[[S::f32s; WIDE]],
) -> [[S::f32s; WIDE]; ROWS] {
    /// Steps between two checks of the bounds of the rows.
    const STEPS: usize = 8;
    let mut sums = [[simd.splat_f32s(0.0); WIDE]; ROWS];
    let (column_steps, column_rest) = columns.as_chunks::<STEPS>();
    let row_steps: [&[[f32; STEPS]]; ROWS] =
        std::array::from_fn(|row| rows[row].as_chunks::<STEPS>().0);
    for (step, columns) in column_steps.iter().enumerate() {
        let rows: [&[f32; STEPS]; ROWS] = std::array::from_fn(|row| &row_steps[row][step]);
        for k in 0..STEPS {
            for row in 0..ROWS {
                let factor = simd.splat_f32s(rows[row][k]);
                for wide in 0..WIDE {
                    sums[row][wide] =
                        simd.mul_add_e_f32s(factor, columns[k][wide], sums[row][wide]);
                }
            }
        }
    }
    let done = column_steps.len() * STEPS;
    for (k, column) in column_rest.iter().enumerate() {
        for row in 0..ROWS {
            let factor = simd.splat_f32s(rows[row][done + k]);
            for wide in 0..WIDE {
                sums[row][wide] = simd.mul_add_e_f32s(factor, column[wide], sums[row][wide]);
            }
        }
    }
    sums
}
