//! Dense linear algebra in `f32`: factorizations of general matrices, inverses, systems of equations.
//!
//! Matrices are row-major and follow each other: `[batch, rows, columns]`. Each algorithm is blocked: narrow panels are
//! factorized column by column in a scratch array that stays in the L2 cache, and everything else is products of
//! matrices (`gemm/blocked.rs`), which are split over threads. Several matrices are split over threads themselves.
//! Limit: multiplications for large matrices, the columns of panels for small ones.
//! Error: that of the LAPACK algorithms of the same names (backward stable, Householder and partial pivoting).

mod lu;
mod product;
mod qr;
mod triangular;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result, length, product as product_of};
use crate::gemm::MatrixShape;
use crate::gemm::scratch::Scratch;
use crate::parallel::parallel_for;

/// Nanoseconds of a multiplication with its addition on one thread, in factorizations.
const NANOSECONDS: f64 = 0.03;

/// Where the factors of a matrix are written.
#[derive(Debug)]
pub struct LuFactors<'a> {
    /// The matrices, which become their factors: `u` on and above the diagonal, `l` without its ones below it.
    pub lu: &'a mut [f32],
    /// The row exchanged with each row in turn: `[batch, min(rows, columns)]`.
    pub pivots: &'a mut [u32],
    /// The row of the factors that each row of the matrix is, as MLX has it: `[batch, rows]`.
    pub order: &'a mut [u32],
}

/// Factorizes matrices with partial pivoting: `a = (l * u)[order]`, in place.
///
/// # Errors
/// When slices do not match the shape. A singular matrix has a zero on the diagonal of `u` and is no error.
pub fn lu_factor(shape: MatrixShape, factors: LuFactors<'_>) -> Result<()> {
    const OP: &str = "lu_factor";
    let MatrixShape { rows, columns } = shape;
    let LuFactors { lu, pivots, order } = factors;
    let (size, depth) = (product_of(OP, &[rows, columns])?, rows.min(columns));
    if size == 0 {
        return length(OP, "lu", 0, lu.len());
    }
    let batch = lu.len() / size;
    length(OP, "lu", batch * size, lu.len())?;
    length(OP, "pivots", batch * depth, pivots.len())?;
    length(OP, "order", batch * rows, order.len())?;
    let tasks = lu
        .chunks_exact_mut(size)
        .zip(pivots.chunks_exact_mut(depth))
        .zip(order.chunks_exact_mut(rows));
    let work = NANOSECONDS * (lu_len(batch, size) * depth) as f64;
    parallel_for(
        tasks,
        work,
        || (),
        |(), ((lu, pivots), order)| {
            lu::factor(rows, columns, lu, pivots);
            lu::places_of(pivots, order);
        },
    );
    Ok(())
}

/// Elements of all matrices.
fn lu_len(batch: usize, size: usize) -> usize {
    batch.saturating_mul(size)
}

/// Writes the inverses of matrices `[batch, n, n]` to `out`.
///
/// ```
/// let mut out = [0.0; 4];
/// mlx_kernels::inverse(2, &[2.0, 0.0, 0.0, 4.0], &mut out)?;
/// assert_eq!(out, [0.5, 0.0, 0.0, 0.25]);
/// assert!(mlx_kernels::inverse(2, &[1.0, 1.0, 1.0, 1.0], &mut out).is_err());
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When slices do not match, or a matrix is singular.
pub fn inverse(n: usize, a: &[f32], out: &mut [f32]) -> Result<()> {
    const OP: &str = "inverse";
    each_inverse(OP, n, a, out, |a, out| {
        let mut pivots = vec![0; n];
        let mut factors = Scratch::new(n * n);
        let factors = factors.as_mut_slice();
        factors.copy_from_slice(a);
        lu::factor(n, n, factors, &mut pivots);
        if has_zero_pivot(n, factors) {
            return false;
        }
        out.fill(0.0);
        triangular::lower_inverse(factors, n, n, true, out);
        triangular::upper(factors, n, n, (out, n), n);
        lu::exchange_columns(n, &pivots, out);
        true
    })
}

/// Writes the inverses of triangular matrices `[batch, n, n]`, of which only that triangle is read, to `out`.
///
/// # Errors
/// When slices do not match, or there is a zero on a diagonal.
pub fn triangular_inverse(n: usize, upper: bool, a: &[f32], out: &mut [f32]) -> Result<()> {
    const OP: &str = "triangular_inverse";
    each_inverse(OP, n, a, out, |a, out| {
        if has_zero_pivot(n, a) {
            return false;
        }
        out.fill(0.0);
        if upper {
            triangular::upper_inverse(a, n, n, out);
        } else {
            triangular::lower_inverse(a, n, n, false, out);
        }
        true
    })
}

/// Inverts each matrix; `invert` returns whether there is an inverse.
fn each_inverse(
    op: &'static str,
    n: usize,
    a: &[f32],
    out: &mut [f32],
    invert: impl Fn(&[f32], &mut [f32]) -> bool + Sync,
) -> Result<()> {
    let size = product_of(op, &[n, n])?;
    length(op, "out", a.len(), out.len())?;
    if size == 0 {
        return length(op, "a", 0, a.len());
    }
    let batch = a.len() / size;
    length(op, "a", batch * size, a.len())?;
    let is_singular = AtomicBool::new(false);
    let tasks = a.chunks_exact(size).zip(out.chunks_exact_mut(size));
    let work = NANOSECONDS * (a.len() * n) as f64;
    parallel_for(
        tasks,
        work,
        || (),
        |(), (a, out)| {
            if !invert(a, out) {
                is_singular.store(true, Ordering::Relaxed);
            }
        },
    );
    if is_singular.into_inner() {
        return Err(Error::Singular { op });
    }
    Ok(())
}

fn has_zero_pivot(n: usize, factors: &[f32]) -> bool {
    factors.iter().step_by(n + 1).any(|pivot| *pivot == 0.0)
}

/// Writes the solutions of `a * x = b` to `out`, `[batch, n, columns]`, with a pair of `a`, `[n, n]`, and `b`, `[n, columns]`,
/// for each. Where pairs that follow each other have the same `a`, it is factorized once.
///
/// # Errors
/// When slices do not match, or a matrix is singular.
pub fn solve(
    n: usize,
    columns: usize,
    systems: &[(&[f32], &[f32])],
    out: &mut [f32],
) -> Result<()> {
    const OP: &str = "solve";
    let (size, side) = (product_of(OP, &[n, n])?, product_of(OP, &[n, columns])?);
    length(
        OP,
        "out",
        product_of(OP, &[systems.len(), side])?,
        out.len(),
    )?;
    for (a, b) in systems {
        length(OP, "a", size, a.len())?;
        length(OP, "b", side, b.len())?;
    }
    if out.is_empty() {
        return Ok(());
    }
    let mut tasks = Vec::new();
    let mut rest = out;
    for group in systems.chunk_by(|one, next| std::ptr::eq(one.0, next.0)) {
        let (out, after) = rest.split_at_mut(group.len() * side);
        tasks.push((group, out));
        rest = after;
    }
    let is_singular = AtomicBool::new(false);
    let work = NANOSECONDS * (systems.len() * n * (n + columns)) as f64 * n as f64;
    parallel_for(
        tasks.into_iter(),
        work,
        || (),
        |(), (group, out)| {
            if !solve_group(n, columns, group, out) {
                is_singular.store(true, Ordering::Relaxed);
            }
        },
    );
    if is_singular.into_inner() {
        return Err(Error::Singular { op: OP });
    }
    Ok(())
}

/// Solves systems of one matrix; returns whether it has an inverse.
fn solve_group(n: usize, columns: usize, systems: &[(&[f32], &[f32])], out: &mut [f32]) -> bool {
    let (mut pivots, mut order) = (vec![0; n], vec![0; n]);
    let mut factors = Scratch::new(n * n);
    let factors = factors.as_mut_slice();
    factors.copy_from_slice(systems[0].0);
    lu::factor(n, n, factors, &mut pivots);
    if has_zero_pivot(n, factors) {
        return false;
    }
    lu::order_of(&pivots, &mut order);
    for ((_, b), out) in systems.iter().zip(out.chunks_exact_mut(n * columns)) {
        for (out, &row) in out.chunks_exact_mut(columns).zip(&order) {
            out.copy_from_slice(&b[row as usize * columns..][..columns]);
        }
        triangular::lower(factors, n, n, true, (out, columns), columns);
        triangular::upper(factors, n, n, (out, columns), columns);
    }
    true
}

/// Factorizes matrices `a`, `[batch, rows, columns]`: `a = q * r` with `k = min(rows, columns)` orthonormal columns of `q`,
/// `[batch, rows, k]`, and an upper triangular `r`, `[batch, k, columns]`.
///
/// # Errors
/// When slices do not match the shape.
pub fn qr(shape: MatrixShape, a: &[f32], q: &mut [f32], r: &mut [f32]) -> Result<()> {
    const OP: &str = "qr";
    let MatrixShape { rows, columns } = shape;
    let (size, depth) = (product_of(OP, &[rows, columns])?, rows.min(columns));
    if size == 0 {
        return length(OP, "a", 0, a.len());
    }
    let batch = a.len() / size;
    length(OP, "a", batch * size, a.len())?;
    length(OP, "q", batch * rows * depth, q.len())?;
    length(OP, "r", batch * depth * columns, r.len())?;
    let tasks = a
        .chunks_exact(size)
        .zip(q.chunks_exact_mut(rows * depth))
        .zip(r.chunks_exact_mut(depth * columns));
    let work = NANOSECONDS * 4.0 * (a.len() * depth) as f64;
    parallel_for(
        tasks,
        work,
        || (),
        |(), ((a, q), r)| {
            qr::factor(rows, columns, a, q, r);
        },
    );
    Ok(())
}
