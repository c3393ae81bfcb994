//! The microkernels of matrix products: a few rows times a tile of columns whose sums stay in registers, and its transpose.
//!
//! Each number of a row is broadcast and multiplied with a register of columns, so rows are read as they are stored; only
//! the columns are transposed before. A tile is two registers wide and four or eight rows high.

use pulp::Simd;

/// Registers of a row of a tile.
pub(crate) const TILE_REGISTERS: usize = 2;

/// Whether there are 16 vector registers, for tiles of four rows, and not 32, for tiles of eight.
#[inline(always)]
pub(crate) fn has_16_registers<S: Simd>() -> bool {
    S::F32_LANES == 8 || S::F32_LANES == 1
}

/// Numbers as rows of a tile.
#[inline(always)]
pub(crate) fn as_tile<S: Simd>(numbers: &[f32]) -> &[[S::f32s; TILE_REGISTERS]] {
    S::as_simd_f32s(numbers).0.as_chunks().0
}

/// Mutable numbers as rows of a tile.
#[inline(always)]
pub(crate) fn as_tile_mut<S: Simd>(numbers: &mut [f32]) -> &mut [[S::f32s; TILE_REGISTERS]] {
    S::as_mut_simd_f32s(numbers).0.as_chunks_mut().0
}

/// The products of `ROWS` rows with a tile of columns that is `REGISTERS` registers wide:
/// `result[row, :] = sum over k of rows[row][k] * columns[k, :]`.
#[inline(always)]
pub(crate) fn dot_tile<S: Simd, const ROWS: usize, const REGISTERS: usize>(
    simd: S,
    rows: [&[f32]; ROWS],
    columns: &[[S::f32s; REGISTERS]],
) -> [[S::f32s; REGISTERS]; ROWS] {
    let zeros = [[simd.splat_f32s(0.0); REGISTERS]; ROWS];
    add_dot_tile(simd, zeros, rows, columns)
}

/// As [`dot_tile`], added to `sums`.
#[inline(always)]
pub(crate) fn add_dot_tile<S: Simd, const ROWS: usize, const REGISTERS: usize>(
    simd: S,
    mut sums: [[S::f32s; REGISTERS]; ROWS],
    mut rows: [&[f32]; ROWS],
    columns: &[[S::f32s; REGISTERS]],
) -> [[S::f32s; REGISTERS]; ROWS] {
    let columns = add_steps::<S, 8, ROWS, REGISTERS>(simd, &mut sums, &mut rows, columns);
    if !columns.is_empty() {
        let columns = add_steps::<S, 4, ROWS, REGISTERS>(simd, &mut sums, &mut rows, columns);
        add_steps::<S, 1, ROWS, REGISTERS>(simd, &mut sums, &mut rows, columns);
    }
    sums
}

/// Adds the products of as many elements as are whole steps, and leaves the rest; rows are checked once for each step.
#[inline(always)]
fn add_steps<'a, S: Simd, const STEP: usize, const ROWS: usize, const REGISTERS: usize>(
    simd: S,
    sums: &mut [[S::f32s; REGISTERS]; ROWS],
    rows: &mut [&[f32]; ROWS],
    columns: &'a [[S::f32s; REGISTERS]],
) -> &'a [[S::f32s; REGISTERS]] {
    let (column_steps, column_rest) = columns.as_chunks::<STEP>();
    // Closures of `array::from_fn` are not always inlined.
    let mut row_steps: [&[[f32; STEP]]; ROWS] = [&[]; ROWS];
    for (steps, row) in row_steps.iter_mut().zip(rows.iter_mut()) {
        let (whole, rest) = row.split_at(column_steps.len() * STEP);
        (*steps, *row) = (whole.as_chunks::<STEP>().0, rest);
    }
    for (step, columns) in column_steps.iter().enumerate() {
        let mut rows: [&[f32; STEP]; ROWS] = [&[0.0; STEP]; ROWS];
        for (row, steps) in rows.iter_mut().zip(row_steps) {
            *row = &steps[step];
        }
        for k in 0..STEP {
            for row in 0..ROWS {
                let factor = simd.splat_f32s(rows[row][k]);
                for register in 0..REGISTERS {
                    sums[row][register] =
                        simd.mul_add_e_f32s(factor, columns[k][register], sums[row][register]);
                }
            }
        }
    }
    column_rest
}

/// `out[row, :] = sum over k of rows[row, k] * columns[k, :]` for any number of rows, `ROWS` at a time.
#[inline(always)]
pub(crate) fn gemm_tile<S: Simd, const ROWS: usize>(
    simd: S,
    rows: &[f32],
    columns: &[[S::f32s; TILE_REGISTERS]],
    out: &mut [[S::f32s; TILE_REGISTERS]],
) {
    let length = columns.len();
    let mut groups = out.chunks_exact_mut(ROWS);
    let mut row_groups = rows.chunks_exact(ROWS * length);
    for (out, rows) in (&mut groups).zip(&mut row_groups) {
        let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &rows[row * length..][..length]);
        out.copy_from_slice(&dot_tile::<S, ROWS, TILE_REGISTERS>(simd, rows, columns));
    }
    let rest = groups.into_remainder().iter_mut();
    for (out, row) in rest.zip(row_groups.remainder().chunks_exact(length)) {
        [*out] = dot_tile::<S, 1, TILE_REGISTERS>(simd, [row], columns);
    }
}

/// `out[k, :] = out[k, :] * factors + sum over rows of rows[row, k] * weights[row, :]`, `ROWS` of `k` at a time.
#[inline(always)]
pub(crate) fn axpy_tile<S: Simd, const ROWS: usize>(
    simd: S,
    rows: &[f32],
    weights: &[[S::f32s; TILE_REGISTERS]],
    factors: [S::f32s; TILE_REGISTERS],
    out: &mut [[S::f32s; TILE_REGISTERS]],
) {
    let length = out.len();
    let mut groups = out.chunks_exact_mut(ROWS);
    let mut at = 0;
    for out in &mut groups {
        axpy_rows::<S, ROWS>(simd, rows, (length, at), weights, factors, out);
        at += ROWS;
    }
    for out in groups.into_remainder().chunks_exact_mut(1) {
        axpy_rows::<S, 1>(simd, rows, (length, at), weights, factors, out);
        at += 1;
    }
}

/// `ROWS` rows of [`axpy_tile`], from element `at` of rows of `length`.
#[inline(always)]
fn axpy_rows<S: Simd, const ROWS: usize>(
    simd: S,
    rows: &[f32],
    (length, at): (usize, usize),
    weights: &[[S::f32s; TILE_REGISTERS]],
    factors: [S::f32s; TILE_REGISTERS],
    out: &mut [[S::f32s; TILE_REGISTERS]],
) {
    let mut sums = [[simd.splat_f32s(0.0); TILE_REGISTERS]; ROWS];
    for row in 0..ROWS {
        for register in 0..TILE_REGISTERS {
            sums[row][register] = simd.mul_f32s(out[row][register], factors[register]);
        }
    }
    for (row, weight) in rows.chunks_exact(length).zip(weights) {
        let numbers = &row[at..at + ROWS];
        for row in 0..ROWS {
            let factor = simd.splat_f32s(numbers[row]);
            for register in 0..TILE_REGISTERS {
                sums[row][register] =
                    simd.mul_add_e_f32s(factor, weight[register], sums[row][register]);
            }
        }
    }
    out[..ROWS].copy_from_slice(&sums);
}
