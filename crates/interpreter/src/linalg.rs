//! Linear algebra on small matrices, by the methods of textbooks.
#![allow(clippy::needless_range_loop)] // Rows and columns are written as textbooks have them.

use mlx::{Op, Triangle};
use mlx_compiler::Result;

use crate::call::Call;
use crate::number::Number;
use crate::tensor::{Tensor, axes, axis, broadcast_shape, count, groups, lines};

type Matrix = Vec<Vec<f64>>;

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    Some(match op {
        Op::Cross { axis } => cross(call, *axis),
        Op::Norm { ord, axes, .. } => norm(call, axes, &|x| vector_norm(x, *ord), &|m| {
            matrix_norm(m, *ord)
        }),
        Op::NormL2 { axes, .. } => norm(call, axes, &|x| vector_norm(x, 2.0), &frobenius),
        Op::NormMatrix { ord, axes, .. } => match ord.to_string().as_str() {
            "fro" | "f" => norm(call, axes, &|x| vector_norm(x, 2.0), &frobenius),
            "nuc" => norm(call, axes, &|x| vector_norm(x, 2.0), &|m| {
                singular_values(m).iter().sum()
            }),
            other => Err(call.error(format!("interpret: wanted fro or nuc, got {other:?}"))),
        },
        Op::Cholesky { upper } => {
            each(call, &|m| Ok(vec![flat(&side(cholesky(call, m)?, *upper))]))
        }
        Op::CholeskyInv { upper } => each(call, &|m| {
            // The input is the factor.
            let lower = if *upper { transposed(m) } else { m.clone() };
            let lower = triangle(&lower, false);
            let inverse = inverse(call, &lower)?;
            Ok(vec![flat(&product(&transposed(&inverse), &inverse))])
        }),
        Op::TriInv { upper } => each(call, &|m| {
            Ok(vec![flat(&inverse(call, &triangle(m, *upper))?)])
        }),
        Op::Det => each(call, &|m| Ok(vec![vec![determinant(m)]])),
        Op::Slogdet => each(call, &|m| {
            let det = determinant(m);
            let sign = if det == 0.0 { 0.0 } else { det.signum() };
            Ok(vec![vec![sign], vec![det.abs().ln()]])
        }),
        Op::Inv => each(call, &|m| Ok(vec![flat(&inverse(call, m)?)])),
        Op::Solve => solve(call, None),
        Op::SolveTriangular { upper } => solve(call, Some(*upper)),
        Op::Lu => each(call, &|m| {
            let (rows, lu) = lu(m);
            let (l, u) = (lower_of(&lu), upper_of(&lu));
            let mut order = vec![0.0; rows.len()];
            for (k, &row) in rows.iter().enumerate() {
                order[row] = f64::from(u32::try_from(k).unwrap_or(0));
            }
            Ok(vec![order, flat(&l), flat(&u)])
        }),
        Op::LuFactor => each(call, &|m| {
            let (_, packed, swaps) = lu_with_swaps(m);
            let swaps = swaps
                .iter()
                .map(|&k| f64::from(u32::try_from(k).unwrap_or(0)))
                .collect();
            Ok(vec![flat(&packed), swaps])
        }),
        Op::Qr => each(call, &|m| {
            let (q, r) = qr(m);
            Ok(vec![flat(&q), flat(&r)])
        }),
        Op::Eigh { uplo } => each(call, &|m| {
            let (values, vectors) = eigh(&mirrored(m, *uplo));
            Ok(vec![values, flat(&vectors)])
        }),
        Op::Eigvalsh { uplo } => each(call, &|m| Ok(vec![eigh(&mirrored(m, *uplo)).0])),
        _ => return None,
    })
}

/// Maps each matrix of the last two axes to one or more lists of numbers.
fn each(call: &Call<'_>, map: &dyn Fn(&Matrix) -> Result<Vec<Vec<f64>>>) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    if crate::tensor::is_complex(x) {
        return Err(call.error("interpret: wanted real matrices, got complex64"));
    }
    let mut parts: Vec<Vec<Number>> = vec![Vec::new(); call.types.len()];
    for matrix in matrices(call, x)? {
        for (all, part) in parts.iter_mut().zip(map(&matrix)?) {
            all.extend(part.into_iter().map(Number::Float));
        }
    }
    parts
        .into_iter()
        .enumerate()
        .map(|(k, numbers)| call.result(k, numbers))
        .collect()
}

fn matrices(call: &Call<'_>, x: &Tensor) -> Result<Vec<Matrix>> {
    let [.., rows, columns] = x.shape() else {
        return Err(call.error(format!("wanted matrices, got {:?}", x.shape())));
    };
    let (rows, columns) = (*rows, *columns);
    let n = count(x.shape())? / (rows * columns).max(1);
    let one = |k: usize| {
        (0..rows)
            .map(|i| {
                (0..columns)
                    .map(|j| x.at((k * rows + i) * columns + j).to_f64())
                    .collect()
            })
            .collect()
    };
    Ok((0..n).map(one).collect())
}

fn flat(m: &Matrix) -> Vec<f64> {
    m.iter().flatten().copied().collect()
}

fn get(m: &Matrix, i: usize, j: usize) -> f64 {
    m.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0.0)
}

fn columns(m: &Matrix) -> usize {
    m.first().map_or(0, Vec::len)
}

fn made(rows: usize, columns: usize, of: impl Fn(usize, usize) -> f64) -> Matrix {
    (0..rows)
        .map(|i| (0..columns).map(|j| of(i, j)).collect())
        .collect()
}

fn transposed(m: &Matrix) -> Matrix {
    made(columns(m), m.len(), |i, j| get(m, j, i))
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    made(a.len(), columns(b), |i, j| {
        (0..b.len()).map(|k| get(a, i, k) * get(b, k, j)).sum()
    })
}

fn triangle(m: &Matrix, upper: bool) -> Matrix {
    made(m.len(), columns(m), |i, j| {
        if i == j || (j > i) == upper {
            get(m, i, j)
        } else {
            0.0
        }
    })
}

/// The symmetric matrix of which one triangle is read.
fn mirrored(m: &Matrix, uplo: Triangle) -> Matrix {
    let upper = uplo == Triangle::Upper;
    made(m.len(), m.len(), |i, j| {
        if (j > i) == upper {
            get(m, i, j)
        } else {
            get(m, j, i)
        }
    })
}

fn side(lower: Matrix, upper: bool) -> Matrix {
    if upper { transposed(&lower) } else { lower }
}

fn cholesky(call: &Call<'_>, m: &Matrix) -> Result<Matrix> {
    let n = m.len();
    let mut l = made(n, n, |_, _| 0.0);
    for i in 0..n {
        for j in 0..=i {
            let rest: f64 = get(m, i, j) - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            if i == j {
                if rest.is_nan() || rest <= 0.0 {
                    return Err(call.error("wanted a positive definite matrix"));
                }
                l[i][i] = rest.sqrt();
            } else {
                l[i][j] = rest / l[j][j];
            }
        }
    }
    Ok(l)
}

/// Returns the order of rows and the factors in one matrix: `m[rows] = l @ u`.
fn lu(m: &Matrix) -> (Vec<usize>, Matrix) {
    let (rows, lu, _) = lu_with_swaps(m);
    (rows, lu)
}

fn lu_with_swaps(m: &Matrix) -> (Vec<usize>, Matrix, Vec<usize>) {
    let mut lu = m.clone();
    let (n, width) = (m.len(), columns(m));
    let mut rows: Vec<usize> = (0..n).collect();
    let mut swaps = Vec::new();
    for k in 0..n.min(width) {
        let pivot = (k..n).fold(k, |best, i| {
            if lu[i][k].abs() > lu[best][k].abs() {
                i
            } else {
                best
            }
        });
        lu.swap(k, pivot);
        rows.swap(k, pivot);
        swaps.push(pivot);
        for i in k + 1..n {
            let factor = if lu[k][k] == 0.0 {
                0.0
            } else {
                lu[i][k] / lu[k][k]
            };
            lu[i][k] = factor;
            for j in k + 1..width {
                lu[i][j] -= factor * lu[k][j];
            }
        }
    }
    (rows, lu, swaps)
}

fn lower_of(lu: &Matrix) -> Matrix {
    let k = lu.len().min(columns(lu));
    made(lu.len(), k, |i, j| match i.cmp(&j) {
        std::cmp::Ordering::Equal => 1.0,
        std::cmp::Ordering::Greater => get(lu, i, j),
        std::cmp::Ordering::Less => 0.0,
    })
}

fn upper_of(lu: &Matrix) -> Matrix {
    let k = lu.len().min(columns(lu));
    made(
        k,
        columns(lu),
        |i, j| if j >= i { get(lu, i, j) } else { 0.0 },
    )
}

fn determinant(m: &Matrix) -> f64 {
    let (_, lu, swaps) = lu_with_swaps(m);
    let odd = swaps
        .iter()
        .enumerate()
        .filter(|(k, pivot)| k != *pivot)
        .count()
        % 2;
    let diagonal: f64 = (0..m.len()).map(|k| get(&lu, k, k)).product();
    if odd == 1 { -diagonal } else { diagonal }
}

/// Solves `a @ x = b` by Gaussian elimination with partial pivoting.
fn solved(call: &Call<'_>, a: &Matrix, b: &Matrix) -> Result<Matrix> {
    if b.len() != a.len() {
        return Err(call.error(format!("wanted {} rows, got {}", a.len(), b.len())));
    }
    let (rows, lu) = lu(a);
    let n = a.len();
    if (0..n).any(|k| get(&lu, k, k) == 0.0) {
        return Err(call.error("wanted an invertible matrix"));
    }
    let mut x: Matrix = rows
        .iter()
        .map(|&row| b.get(row).cloned().unwrap_or_default())
        .collect();
    let width = columns(b);
    for i in 0..n {
        for k in 0..i {
            for c in 0..width {
                x[i][c] -= lu[i][k] * x[k][c];
            }
        }
    }
    for i in (0..n).rev() {
        for c in 0..width {
            let rest: f64 = (i + 1..n).map(|k| lu[i][k] * x[k][c]).sum();
            x[i][c] = (x[i][c] - rest) / lu[i][i];
        }
    }
    Ok(x)
}

fn inverse(call: &Call<'_>, m: &Matrix) -> Result<Matrix> {
    if m.len() != columns(m) {
        return Err(call.error("wanted square matrices"));
    }
    solved(
        call,
        m,
        &made(m.len(), m.len(), |i, j| f64::from(u8::from(i == j))),
    )
}

fn solve(call: &Call<'_>, is_triangular: Option<bool>) -> Result<Vec<Tensor>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let is_vector = b.ndim() == 1;
    let b = if is_vector {
        b.reshaped(&[b.size(), 1])?
    } else {
        b.clone()
    };
    let lead = |x: &Tensor| {
        x.shape()
            .get(..x.ndim().saturating_sub(2))
            .unwrap_or_default()
            .to_vec()
    };
    let (lead_a, lead_b) = (lead(a), lead(&b));
    let both = broadcast_shape([lead_a.as_slice(), lead_b.as_slice()].into_iter())?;
    let full = |x: &Tensor| -> Result<Tensor> {
        let tail = x
            .shape()
            .get(x.ndim().saturating_sub(2)..)
            .unwrap_or_default();
        x.broadcast_to(&[both.as_slice(), tail].concat())
    };
    let mut numbers = Vec::new();
    for (a, b) in matrices(call, &full(a)?)?
        .iter()
        .zip(matrices(call, &full(&b)?)?)
    {
        let a = is_triangular.map_or_else(|| a.clone(), |upper| triangle(a, upper));
        numbers.extend(flat(&solved(call, &a, &b)?).into_iter().map(Number::Float));
    }
    call.one(numbers)
}

/// By Householder's reflections; `q` has orthonormal columns.
fn qr(m: &Matrix) -> (Matrix, Matrix) {
    let (n, width) = (m.len(), columns(m));
    let k = n.min(width);
    let mut r = m.clone();
    let mut q = made(n, n, |i, j| f64::from(u8::from(i == j)));
    for step in 0..k {
        let norm = (step..n).map(|i| r[i][step].powi(2)).sum::<f64>().sqrt();
        if norm == 0.0 {
            continue;
        }
        let mut v: Vec<f64> = (0..n)
            .map(|i| if i < step { 0.0 } else { r[i][step] })
            .collect();
        v[step] += norm.copysign(v[step]);
        let size: f64 = v.iter().map(|x| x * x).sum();
        if size == 0.0 {
            continue;
        }
        let reflect = |m: &Matrix| -> Matrix {
            let dot: Vec<f64> = (0..columns(m))
                .map(|j| (0..n).map(|i| v[i] * m[i][j]).sum::<f64>())
                .collect();
            made(n, columns(m), |i, j| m[i][j] - 2.0 * v[i] * dot[j] / size)
        };
        r = reflect(&r);
        q = reflect(&q);
    }
    let q = transposed(&q);
    (
        made(n, k, |i, j| q[i][j]),
        made(k, width, |i, j| if j >= i { r[i][j] } else { 0.0 }),
    )
}

/// Returns eigenvalues in rising order and eigenvectors as columns, by Jacobi's rotations.
fn eigh(m: &Matrix) -> (Vec<f64>, Matrix) {
    let n = m.len();
    let mut a = m.clone();
    let mut v = made(n, n, |i, j| f64::from(u8::from(i == j)));
    for _ in 0..60 {
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = 1.0_f64.copysign(theta) / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..n {
                    (a[k][p], a[k][q]) = (c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]);
                }
                for k in 0..n {
                    (a[p][k], a[q][k]) = (c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]);
                }
                for row in &mut v {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[i][i].total_cmp(&a[j][j]));
    (
        order.iter().map(|&k| a[k][k]).collect(),
        made(n, n, |i, j| v[i][order[j]]),
    )
}

fn singular_values(m: &Matrix) -> Vec<f64> {
    let squares = if m.len() < columns(m) {
        product(m, &transposed(m))
    } else {
        product(&transposed(m), m)
    };
    eigh(&squares)
        .0
        .into_iter()
        .map(|x| x.max(0.0).sqrt())
        .collect()
}

fn frobenius(m: &Matrix) -> f64 {
    m.iter().flatten().map(|x| x * x).sum::<f64>().sqrt()
}

#[allow(clippy::cast_precision_loss)]
fn vector_norm(x: &[f64], ord: f64) -> f64 {
    let size = x.iter().map(|x| x.abs());
    if ord == f64::INFINITY {
        size.fold(0.0, f64::max)
    } else if ord == f64::NEG_INFINITY {
        size.fold(f64::INFINITY, f64::min)
    } else if ord == 0.0 {
        x.iter().filter(|x| **x != 0.0).count() as f64
    } else {
        size.map(|x| x.powf(ord)).sum::<f64>().powf(1.0 / ord)
    }
}

fn matrix_norm(m: &Matrix, ord: f64) -> f64 {
    let sums = |m: &Matrix| -> Vec<f64> {
        m.iter()
            .map(|row| row.iter().map(|x| x.abs()).sum())
            .collect()
    };
    let list = match ord.abs() {
        1.0 => sums(&transposed(m)),
        2.0 => singular_values(m),
        f64::INFINITY => sums(m),
        _ => return f64::NAN,
    };
    let pick = if ord > 0.0 { f64::max } else { f64::min };
    list.into_iter().reduce(pick).unwrap_or(0.0)
}

/// Without axes, or with one, of vectors; with two, of matrices.
fn norm(
    call: &Call<'_>,
    list: &[i32],
    vector: &dyn Fn(&[f64]) -> f64,
    matrix: &dyn Fn(&Matrix) -> f64,
) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let along = axes(list, x.ndim())?;
    let size = |k: usize| {
        let (re, im) = x.at(k).to_complex();
        if im == 0.0 { re } else { re.hypot(im) }
    };
    if let [rows, columns] = along.as_slice() {
        let groups = groups(x.shape(), &[*rows, *columns]);
        let (n, width) = (x.shape()[*rows], x.shape()[*columns]);
        let of = |flat_indices: Vec<usize>| {
            // Groups are in row-major order of the axes in the array, which may be the other one.
            let m = if rows < columns {
                made(n, width, |i, j| {
                    flat_indices.get(i * width + j).map_or(0.0, |&k| size(k))
                })
            } else {
                made(n, width, |i, j| {
                    flat_indices.get(j * n + i).map_or(0.0, |&k| size(k))
                })
            };
            Number::Float(matrix(&m))
        };
        return call.one(groups.into_iter().map(of).collect());
    }
    let along = if along.is_empty() {
        (0..x.ndim()).collect()
    } else {
        along
    };
    let of = |flat_indices: Vec<usize>| {
        Number::Float(vector(
            &flat_indices.iter().map(|&k| size(k)).collect::<Vec<_>>(),
        ))
    };
    call.one(groups(x.shape(), &along).into_iter().map(of).collect())
}

fn cross(call: &Call<'_>, along: i32) -> Result<Vec<Tensor>> {
    let (_, inputs) = call.common(&[call.input(0)?, call.input(1)?])?;
    let [a, b] = inputs.as_slice() else {
        return Err(call.error("wanted two inputs"));
    };
    let along = axis(along, a.ndim())?;
    let shape = call.shape()?;
    let (lines_in, lines_out) = (lines(a.shape(), along), lines(&shape, along));
    let mut numbers = vec![Number::zero(a.dtype()); count(&shape)?];
    for (line, flat_indices) in lines_in.iter().zip(lines_out) {
        // Two components are those of vectors in a plane.
        let at = |x: &Tensor, k: usize| line.get(k).map_or(Number::zero(x.dtype()), |&k| x.at(k));
        for (k, flat_index) in flat_indices.into_iter().enumerate() {
            let (i, j) = ((k + 1) % 3, (k + 2) % 3);
            if let Some(slot) = numbers.get_mut(flat_index) {
                *slot = at(a, i)
                    .multiply(at(b, j))
                    .subtract(at(a, j).multiply(at(b, i)));
            }
        }
    }
    call.one(numbers)
}
