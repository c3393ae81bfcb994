//! Norms, decompositions, inverses and systems of equations, as Python's `mlx.core.linalg`.
//!
//! Matrices are the last two axes, `float32` or `float64`; leading axes are batches. All but [`norm`] and [`cross`]
//! run on the CPU, whatever the device. A matrix that is singular, not positive definite where that is needed, or has
//! an element that is not finite, is an error of [`eval`](crate::eval()): LAPACK may end the process on NaN, and leaves
//! garbage where a Cholesky factor does not exist.

use crate::op::{Op, OpString, Triangle};
use crate::{Array, Error, Reduction, Result, bind, bind_all};

/// Which norm [`norm`] takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Order {
    /// The root of the sum of squares, of vectors, matrices or, over `()`, of all elements.
    #[default]
    Euclidean,
    /// Of vectors `sum(abs(x)^p)^(1/p)`: infinity takes the maximum, negative infinity the minimum, 0 counts non-zeros.
    /// Of matrices: 1 the largest sum of a column, infinity of a row, 2 the largest singular value; negative, the
    /// smallest.
    P(f64),
    /// The Frobenius norm of matrices.
    Frobenius,
    /// The sum of the singular values of matrices.
    Nuclear,
}

/// The order as Python writes it: `1.0`, `2`, `f32::INFINITY`, `"fro"`, `"nuc"`.
impl From<f64> for Order {
    fn from(order: f64) -> Self {
        Order::P(order)
    }
}

impl From<f32> for Order {
    fn from(order: f32) -> Self {
        Order::P(f64::from(order))
    }
}

impl From<i32> for Order {
    fn from(order: i32) -> Self {
        Order::P(f64::from(order))
    }
}

/// `"fro"`, `"nuc"`, `"inf"` or a number; another text gives a norm that carries an error.
impl From<&str> for Order {
    fn from(order: &str) -> Self {
        match order {
            "fro" => Order::Frobenius,
            "nuc" => Order::Nuclear,
            number => Order::P(number.parse().unwrap_or(f64::NAN)),
        }
    }
}

/// Returns the Euclidean norm of all elements: the square root of the sum of their squares; others with [`norm_with`].
#[track_caller]
pub fn norm(a: impl AsRef<Array>) -> Array {
    norm_with(a, Order::Euclidean, ())
}

/// Returns a norm of vectors (one axis) or matrices (two axes); `()` means all axes.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::linalg::{self, Order};
/// let x = mlx::array!([[3.0, 4.0], [6.0, 8.0]]);
/// assert_eq!(linalg::norm_with(&x, Order::Euclidean, -1).to_vec::<f32>()?, [5.0, 10.0]);
/// assert_eq!(linalg::norm_with(&x, Order::P(1.0), -1).to_vec::<f32>()?, [7.0, 14.0]);
/// assert_eq!(linalg::norm_with(&x, 1, -1).to_vec::<f32>()?, [7.0, 14.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn norm_with(
    a: impl AsRef<Array>,
    order: impl Into<Order>,
    over: impl Into<Reduction>,
) -> Array {
    let a = a.as_ref();
    let (order, Reduction { axes, keepdims }) = (order.into(), over.into());
    let all = axes == crate::Axes::All;
    let axes = a.axes_list(axes);
    let op = match order {
        Order::Euclidean if all => {
            let norm = bind(
                Op::NormL2 {
                    axes: vec![0],
                    keepdims: false,
                },
                &[&a.flatten(0, -1)],
            );
            return if keepdims {
                norm.reshape(vec![1; axes.len()])
            } else {
                norm
            };
        }
        Order::Euclidean => Op::NormL2 { axes, keepdims },
        Order::P(order) if order.is_nan() => {
            let message = "order must be a number, \"fro\" or \"nuc\", got NaN or another text";
            return Array::failed(Error::op("norm", message));
        }
        Order::P(ord) => Op::Norm {
            ord,
            axes,
            keepdims,
        },
        Order::Frobenius => Op::NormMatrix {
            ord: OpString::new("fro"),
            axes,
            keepdims,
        },
        Order::Nuclear => Op::NormMatrix {
            ord: OpString::new("nuc"),
            axes,
            keepdims,
        },
    };
    bind(op, &[a])
}

/// Returns the triangular factor of a symmetric positive definite matrix: `l @ l.T`.
///
/// Only one triangle of `a` is read. A matrix that is not positive definite is an error of `eval`.
#[track_caller]
pub fn cholesky(a: &Array) -> Array {
    cholesky_with(a, false)
}

/// Returns the factor as [`cholesky`] does, the upper triangular one with `upper`.
#[track_caller]
pub fn cholesky_with(a: &Array, upper: bool) -> Array {
    bind(Op::Cholesky { upper }, &[a])
}

/// Returns the inverse of the matrix whose [`cholesky`] factor this is.
#[track_caller]
pub fn cholesky_inv(factor: &Array) -> Array {
    cholesky_inv_with(factor, false)
}

/// Returns the inverse as [`cholesky_inv`] does, of an upper triangular factor with `upper`.
#[track_caller]
pub fn cholesky_inv_with(factor: &Array, upper: bool) -> Array {
    bind(Op::CholeskyInv { upper }, &[factor])
}

/// Returns the vectors at right angles to those of `a` and `b` along the last axis, which has size 2 or 3.
#[track_caller]
pub fn cross(a: &Array, b: &Array) -> Array {
    cross_with(a, b, -1)
}

/// Returns the vectors as [`cross`] does, along `axis`.
#[track_caller]
pub fn cross_with(a: &Array, b: &Array, axis: i32) -> Array {
    bind(Op::Cross { axis }, &[a, b])
}

/// Returns the determinant.
#[track_caller]
pub fn det(a: &Array) -> Array {
    bind(Op::Det, &[a])
}

/// Returns the sign of the determinant and the logarithm of its absolute value.
///
/// # Errors
/// When `a` is not square or not real.
#[track_caller]
pub fn slogdet(a: &Array) -> Result<(Array, Array)> {
    pair("linalg.slogdet", Op::Slogdet, &[a])
}

/// Returns eigenvalues and eigenvectors (as columns) of any square matrix, `complex64`.
///
/// # Errors
/// When `a` is not square, or of another dtype than `float32`, `float64` and `complex64`.
#[track_caller]
pub fn eig(a: &Array) -> Result<(Array, Array)> {
    pair("linalg.eig", Op::Eig, &[a])
}

/// Returns eigenvalues in ascending order and eigenvectors (as columns) of a symmetric or Hermitian matrix, of which
/// the lower triangle is read.
///
/// # Errors
/// When `a` is not square, or of another dtype than `float32`, `float64` and `complex64`.
#[track_caller]
pub fn eigh(a: &Array) -> Result<(Array, Array)> {
    eigh_with(a, Triangle::Lower)
}

/// Returns eigenvalues and eigenvectors as [`eigh`] does, of the matrix whose given triangle is read.
///
/// # Errors
/// As [`eigh`].
#[track_caller]
pub fn eigh_with(a: &Array, uplo: Triangle) -> Result<(Array, Array)> {
    pair("linalg.eigh", Op::Eigh { uplo }, &[a])
}

/// Returns the eigenvalues of any square matrix, `complex64`.
#[track_caller]
pub fn eigvals(a: &Array) -> Array {
    bind(Op::Eigvals, &[a])
}

/// Returns the eigenvalues, in ascending order, of a symmetric or Hermitian matrix, of which the lower triangle is
/// read.
#[track_caller]
pub fn eigvalsh(a: &Array) -> Array {
    eigvalsh_with(a, Triangle::Lower)
}

/// Returns the eigenvalues as [`eigvalsh`] does, of the matrix whose given triangle is read.
#[track_caller]
pub fn eigvalsh_with(a: &Array, uplo: Triangle) -> Array {
    bind(Op::Eigvalsh { uplo }, &[a])
}

/// Returns the inverse of a square matrix; a singular one is an error of `eval`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let half = mlx::linalg::inv(&mlx::array!([[2.0, 0.0], [0.0, 4.0]]));
/// assert_eq!(half.to_vec::<f32>()?, [0.5, 0.0, 0.0, 0.25]);
/// assert!(mlx::linalg::inv(&mlx::array!([[1.0, 1.0], [1.0, 1.0]])).eval().is_err());
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn inv(a: &Array) -> Array {
    bind(Op::Inv, &[a])
}

/// Returns the inverse of a lower triangular matrix, of which only that triangle is read.
#[track_caller]
pub fn tri_inv(a: &Array) -> Array {
    tri_inv_with(a, false)
}

/// Returns the inverse as [`tri_inv`] does, of an upper triangular matrix with `upper`.
#[track_caller]
pub fn tri_inv_with(a: &Array, upper: bool) -> Array {
    bind(Op::TriInv { upper }, &[a])
}

/// Returns the pseudo-inverse `[..., n, m]` of a matrix `[..., m, n]`.
#[track_caller]
pub fn pinv(a: &Array) -> Array {
    bind(Op::Pinv, &[a])
}

/// Returns `(p, l, u)` with `l[p] @ u == a`: an order of rows, a lower and an upper triangular matrix.
///
/// # Errors
/// When `a` has fewer than two axes, or is neither `float32` nor `float64`.
#[track_caller]
pub fn lu(a: &Array) -> Result<(Array, Array, Array)> {
    triple("linalg.lu", Op::Lu, &[a])
}

/// Returns the triangular factors in one matrix, and the row exchanged with each row.
///
/// # Errors
/// When `a` has fewer than two axes, or is neither `float32` nor `float64`.
#[track_caller]
pub fn lu_factor(a: &Array) -> Result<(Array, Array)> {
    pair("linalg.lu_factor", Op::LuFactor, &[a])
}

/// Returns `(q, r)` with `q @ r == a`: orthonormal columns and an upper triangular matrix.
///
/// # Errors
/// When `a` has fewer than two axes, or is neither `float32` nor `float64`.
#[track_caller]
pub fn qr(a: &Array) -> Result<(Array, Array)> {
    pair("linalg.qr", Op::Qr, &[a])
}

/// Returns the solution `x` of `a @ x == b`; a singular `a` is an error of `eval`.
#[track_caller]
pub fn solve(a: &Array, b: &Array) -> Array {
    bind(Op::Solve, &[a, b])
}

/// Returns the solution `x` of `a @ x == b` for a lower triangular `a`, of which only that triangle is read.
#[track_caller]
pub fn solve_triangular(a: &Array, b: &Array) -> Array {
    solve_triangular_with(a, b, false)
}

/// Returns the solution as [`solve_triangular`] does, of an upper triangular matrix with `upper`.
#[track_caller]
pub fn solve_triangular_with(a: &Array, b: &Array, upper: bool) -> Array {
    bind(Op::SolveTriangular { upper }, &[a, b])
}

/// Returns `(u, s, vt)` with `(u * s) @ vt == a` for the first columns of `u`: singular values in descending order.
///
/// # Errors
/// When `a` has fewer than two axes, or is of another dtype than `float32`, `float64` and `complex64`.
#[track_caller]
pub fn svd(a: &Array) -> Result<(Array, Array, Array)> {
    triple("linalg.svd", Op::Svd { compute_uv: true }, &[a])
}

/// Returns the singular values in descending order: Python's `svd(a, compute_uv=False)`.
#[track_caller]
pub fn svdvals(a: &Array) -> Array {
    let values = bind_all(Op::Svd { compute_uv: false }, &[a]);
    Array::from_result(values.and_then(|mut values| {
        values
            .pop()
            .ok_or_else(|| Error::op("linalg.svd", "wanted one output, got none"))
    }))
}

#[track_caller]
fn pair(name: &'static str, op: Op, inputs: &[&Array]) -> Result<(Array, Array)> {
    let outputs: [Array; 2] = outputs(name, op, inputs)?;
    Ok(outputs.into())
}

#[track_caller]
fn triple(name: &'static str, op: Op, inputs: &[&Array]) -> Result<(Array, Array, Array)> {
    let outputs: [Array; 3] = outputs(name, op, inputs)?;
    Ok(outputs.into())
}

#[track_caller]
fn outputs<const N: usize>(name: &'static str, op: Op, inputs: &[&Array]) -> Result<[Array; N]> {
    let found = bind_all(op, inputs)?;
    let len = found.len();
    found
        .try_into()
        .map_err(|_| Error::op(name, format!("wanted {N} outputs, got {len}")))
}
