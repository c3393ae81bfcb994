//! The inner loops of matrix products: a few rows times a tile of columns that fills registers, and its transpose.
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

/// The products of `ROWS` rows with a tile of columns `WIDE` registers wide: `result[row, :] = sum over k of rows[row][k] * columns[k, :]`.
#[inline(always)]
pub(crate) fn dots<S: Simd, const ROWS: usize, const WIDE: usize>(
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

/// `out[row, :] = sum over k of rows[row, k] * columns[k, :]` for any number of rows, `ROWS` at a time.
#[inline(always)]
pub(crate) fn products<S: Simd, const ROWS: usize>(
    simd: S,
    rows: &[f32],
    columns: &[[S::f32s; WIDE]],
    out: &mut [[S::f32s; WIDE]],
) {
    let length = columns.len();
    let mut groups = out.chunks_exact_mut(ROWS);
    let mut row_groups = rows.chunks_exact(ROWS * length);
    for (out, rows) in (&mut groups).zip(&mut row_groups) {
        let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &rows[row * length..][..length]);
        out.copy_from_slice(&dots::<S, ROWS, WIDE>(simd, rows, columns));
    }
    let rest = groups.into_remainder().iter_mut();
    for (out, row) in rest.zip(row_groups.remainder().chunks_exact(length)) {
        [*out] = dots::<S, 1, WIDE>(simd, [row], columns);
    }
}

/// `out[k, :] = out[k, :] * factors + sum over rows of rows[row, k] * weights[row, :]`, `ROWS` of `k` at a time.
#[inline(always)]
pub(crate) fn accumulate<S: Simd, const ROWS: usize>(
    simd: S,
    rows: &[f32],
    weights: &[[S::f32s; WIDE]],
    factors: [S::f32s; WIDE],
    out: &mut [[S::f32s; WIDE]],
) {
    let length = out.len();
    let mut groups = out.chunks_exact_mut(ROWS);
    let mut at = 0;
    for out in &mut groups {
        add::<S, ROWS>(simd, rows, (length, at), weights, factors, out);
        at += ROWS;
    }
    for out in groups.into_remainder().chunks_exact_mut(1) {
        add::<S, 1>(simd, rows, (length, at), weights, factors, out);
        at += 1;
    }
}

/// `ROWS` rows of [`accumulate`], from element `at` of rows of `length`.
#[inline(always)]
fn add<S: Simd, const ROWS: usize>(
    simd: S,
    rows: &[f32],
    (length, at): (usize, usize),
    weights: &[[S::f32s; WIDE]],
    factors: [S::f32s; WIDE],
    out: &mut [[S::f32s; WIDE]],
) {
    let mut sums = [[simd.splat_f32s(0.0); WIDE]; ROWS];
    for row in 0..ROWS {
        for wide in 0..WIDE {
            sums[row][wide] = simd.mul_f32s(out[row][wide], factors[wide]);
        }
    }
    for (row, weight) in rows.chunks_exact(length).zip(weights) {
        let numbers = &row[at..at + ROWS];
        for row in 0..ROWS {
            let factor = simd.splat_f32s(numbers[row]);
            for wide in 0..WIDE {
                sums[row][wide] = simd.mul_add_e_f32s(factor, weight[wide], sums[row][wide]);
            }
        }
    }
    out[..ROWS].copy_from_slice(&sums);
}
