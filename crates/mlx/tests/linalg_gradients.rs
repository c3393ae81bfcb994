//! Derivatives of factorizations, inverses and solutions: against central differences of doubles, and against values
//! that closed forms give.

use mlx::{Array, Dtype, Result, Triangle, array, grad, jvp, linalg, vmap};
use mlx_testdata::needs;
use rstest::rstest;

type Loss = fn(&Array) -> Result<Array>;

/// Doubles that look like noise, the same ones every time.
fn noise(shape: &[i32], seed: f64) -> Array {
    let size: i32 = shape.iter().product();
    let values: Vec<f64> = (0..size)
        .map(|i| (f64::from(i * i) * 0.7 + f64::from(i) * 1.3 + seed).sin())
        .collect();
    Array::from_slice(&values, shape.to_vec()).unwrap()
}

/// A number that depends on every element in its own way.
fn weighed(x: &Array) -> Result<Array> {
    let shape = x.shape()?.to_vec();
    Ok((x * noise(&shape, 0.4).astype(x.dtype()?)).sum(()))
}

fn t(x: &Array) -> Array {
    x.swapaxes(-1, -2)
}

/// A symmetric positive definite matrix that depends on every element.
fn positive(x: &Array) -> Result<Array> {
    let n = *x.shape()?.last().unwrap();
    Ok(x.matmul(&t(x)) + mlx::eye_with(n, n, 0, x.dtype()?))
}

/// A symmetric matrix whose eigenvalues are apart.
fn symmetric(x: &Array) -> Array {
    let n = x.dim(-1).unwrap();
    let spread = mlx::eye_with(n, n, 0, Dtype::Float64)
        * mlx::arange_with(0.0, f64::from(n), 1.0, Dtype::Float64);
    (x + t(x)) * 0.5 + spread.astype(x.dtype().unwrap())
}

fn svd(x: &Array) -> Result<Array> {
    let (u, s, vt) = linalg::svd(x)?;
    let (m, n) = (x.shape()?[x.ndim()? - 2], x.shape()?[x.ndim()? - 1]);
    let k = m.min(n);
    let (first, rest) = (u.i((.., ..k)), u.i((.., k..)));
    let (vt, others) = (vt.i((..k, ..)), vt.i((k.., ..)));
    // What no sign of a vector and no choice of the columns without a value changes.
    let values = (first * s.sin()).matmul(&vt);
    Ok(weighed(&values)?
        + weighed(&rest.matmul(&t(&rest)))?
        + weighed(&t(&others).matmul(&others))?)
}

#[rstest]
#[case::inv(|x: &Array| weighed(&linalg::inv(&positive(x)?)), &[3, 3])]
#[case::inv_of_batches(|x: &Array| weighed(&linalg::inv(&positive(x)?)), &[2, 2, 3, 3])]
#[case::tri_inv_lower(|x: &Array| weighed(&linalg::tri_inv(&positive(x)?)), &[3, 3])]
#[case::tri_inv_upper(|x: &Array| weighed(&linalg::tri_inv_with(&positive(x)?, true)), &[2, 3, 3])]
#[case::cholesky_lower(|x: &Array| weighed(&linalg::cholesky(&positive(x)?)), &[3, 3])]
#[case::cholesky_upper(|x: &Array| weighed(&linalg::cholesky_with(&positive(x)?, true)), &[2, 4, 4])]
#[case::cholesky_inv(|x: &Array| weighed(&linalg::cholesky_inv(&positive(x)?)), &[3, 3])]
#[case::cholesky_inv_upper(|x: &Array| weighed(&linalg::cholesky_inv_with(&positive(x)?, true)), &[3, 3])]
#[case::solve_for_a(|x: &Array| weighed(&linalg::solve(&positive(x)?, &noise(&[3, 2], 2.0))), &[3, 3])]
#[case::solve_for_b(|x: &Array| weighed(&linalg::solve(&positive(&noise(&[3, 3], 1.0))?, x)), &[3, 2])]
#[case::solve_for_both(|x: &Array| weighed(&linalg::solve(x, &x.i((.., 0)))), &[4, 4])]
#[case::solve_of_batches(|x: &Array| weighed(&linalg::solve(x, &noise(&[3, 1], 2.0))), &[2, 3, 3])]
#[case::solve_of_a_batch_of_sides(|x: &Array| weighed(&linalg::solve(x, &noise(&[2, 3, 1], 2.0))), &[3, 3])]
#[case::solve_of_vectors(|x: &Array| weighed(&linalg::solve(x, &x.i((0, 0)))), &[2, 3, 3])]
#[case::solve_lower(|x: &Array| weighed(&linalg::solve_triangular(&positive(x)?, x)), &[3, 3])]
#[case::solve_upper(|x: &Array| weighed(&linalg::solve_triangular_with(&positive(x)?, x, true)), &[2, 3, 3])]
#[case::eigvalsh(|x: &Array| weighed(&linalg::eigvalsh(&symmetric(x))), &[4, 4])]
#[case::eigvalsh_upper(|x: &Array| weighed(&linalg::eigvalsh_with(&symmetric(x), Triangle::Upper)), &[2, 3, 3])]
#[case::eigh(|x: &Array| { let (w, v) = linalg::eigh(&symmetric(x))?; Ok(weighed(&w.sin())? + weighed(&(&v * &v))?) }, &[4, 4])]
#[case::eigh_of_batches(|x: &Array| { let (_, v) = linalg::eigh_with(&symmetric(x), Triangle::Upper)?; weighed(&(&v * &v)) }, &[2, 3, 3])]
#[case::svdvals(|x: &Array| weighed(&linalg::svdvals(x)), &[3, 4])]
#[case::svdvals_of_batches(|x: &Array| weighed(&linalg::svdvals(x)), &[2, 4, 3])]
#[case::nuclear_norm(|x: &Array| Ok(linalg::norm_with(x, linalg::Order::Nuclear, ())), &[3, 4])]
#[case::spectral_norm(|x: &Array| Ok(linalg::norm_with(x, linalg::Order::P(2.0), ())), &[3, 4])]
#[case::svd_square(svd, &[3, 3])]
#[case::svd_tall(svd, &[5, 3])]
#[case::svd_wide(svd, &[3, 5])]
#[case::svd_of_batches(|x: &Array| { let (u, s, vt) = linalg::svd(x)?; weighed(&(u.i((.., .., ..2)) * s.exp().expand_dims(-2)).matmul(&vt)) }, &[3, 4, 2])]
#[case::qr_square(|x: &Array| { let (q, r) = linalg::qr(x)?; Ok(weighed(&q)? + weighed(&r)?) }, &[3, 3])]
#[case::qr_tall(|x: &Array| { let (q, r) = linalg::qr(x)?; Ok(weighed(&q)? + weighed(&r)?) }, &[5, 3])]
#[case::qr_wide(|x: &Array| { let (q, r) = linalg::qr(x)?; Ok(weighed(&q)? + weighed(&r)?) }, &[3, 5])]
#[case::qr_of_batches(|x: &Array| { let (q, r) = linalg::qr(x)?; Ok(weighed(&q.square())? + weighed(&r)?) }, &[2, 4, 3])]
#[case::lu_square(|x: &Array| { let (_, l, u) = linalg::lu(x)?; Ok(weighed(&l)? + weighed(&u)?) }, &[4, 4])]
#[case::lu_tall(|x: &Array| { let (_, l, u) = linalg::lu(x)?; Ok(weighed(&l)? + weighed(&u)?) }, &[5, 3])]
#[case::lu_wide(|x: &Array| { let (_, l, u) = linalg::lu(x)?; Ok(weighed(&l)? + weighed(&u)?) }, &[3, 5])]
#[case::lu_of_batches(|x: &Array| { let (_, l, u) = linalg::lu(x)?; Ok(weighed(&l)? + weighed(&u)?) }, &[2, 3, 3])]
#[case::lu_factor(|x: &Array| weighed(&linalg::lu_factor(x)?.0), &[2, 3, 3])]
#[case::pinv_square(|x: &Array| weighed(&linalg::pinv(x)), &[3, 3])]
#[case::pinv_tall(|x: &Array| weighed(&linalg::pinv(x)), &[4, 3])]
#[case::pinv_wide(|x: &Array| weighed(&linalg::pinv(x)), &[2, 3, 4])]
#[case::det_small(|x: &Array| weighed(&linalg::det(x)), &[2, 3, 3])]
#[case::det_large(|x: &Array| weighed(&linalg::det(x)), &[2, 5, 5])]
#[case::slogdet(|x: &Array| weighed(&linalg::slogdet(x)?.1), &[2, 5, 5])]
fn slopes_are_those_of_differences(#[case] loss: Loss, #[case] shape: &[i32]) -> Result<()> {
    needs!(Float64, Ok(()));
    let x = noise(shape, 0.1);
    let got = grad(loss).call(&x)?.to_vec::<f64>()?;
    let along = noise(shape, 3.0);
    let want = differences(loss, &x)?;
    close(&got, &want, 1e-6);
    // What is pushed is what is pulled.
    let pushed = jvp(loss, &x, &along)?.1.item::<f64>()?;
    let pulled: f64 = got
        .iter()
        .zip(along.to_vec::<f64>()?)
        .map(|(g, t)| g * t)
        .sum();
    close(&[pushed], &[pulled], 1e-9);
    // In single precision the formula is the same.
    let single = grad(loss).call(&x.astype(Dtype::Float32))?;
    let single: Vec<f64> = single.to_vec::<f32>()?.into_iter().map(f64::from).collect();
    close(&single, &want, 1e-2);
    Ok(())
}

#[rstest]
#[case::inv(|x: &Array| weighed(&linalg::inv(x)), &[2, 3, 3])]
#[case::cholesky(|x: &Array| weighed(&linalg::cholesky(&positive(x)?)), &[3, 3])]
#[case::solve(|x: &Array| weighed(&linalg::solve(x, &noise(&[3, 2], 2.0))), &[3, 3])]
#[case::solve_triangular(|x: &Array| weighed(&linalg::solve_triangular_with(&positive(x)?, x, true)), &[3, 3])]
#[case::pinv(|x: &Array| weighed(&linalg::pinv(x)), &[4, 3])]
#[case::eigvalsh(|x: &Array| weighed(&linalg::eigvalsh(&symmetric(x))), &[3, 3])]
#[case::eigh(|x: &Array| { let (_, v) = linalg::eigh(&symmetric(x))?; weighed(&(&v * &v)) }, &[3, 3])]
#[case::svdvals(|x: &Array| weighed(&linalg::svdvals(x)), &[4, 3])]
#[case::svd(svd, &[4, 3])]
#[case::qr(|x: &Array| { let (q, r) = linalg::qr(x)?; Ok(weighed(&q)? + weighed(&r)?) }, &[4, 3])]
#[case::lu(|x: &Array| { let (_, l, u) = linalg::lu(x)?; Ok(weighed(&l)? + weighed(&u)?) }, &[3, 3])]
fn second_derivatives_are_those_of_differences(
    #[case] loss: Loss,
    #[case] shape: &[i32],
) -> Result<()> {
    needs!(Float64, Ok(()));
    let x = noise(shape, 0.1);
    let slope = move |x: &Array| -> Result<Array> {
        let slope = grad(loss).call(x)?;
        weighed(&slope.sin())
    };
    let got = grad(slope).call(&x)?.to_vec::<f64>()?;
    close(&got, &differences(slope, &x)?, 1e-5);
    let along = noise(shape, 3.0);
    let pushed = jvp(slope, &x, &along)?.1.item::<f64>()?;
    let pulled: f64 = got
        .iter()
        .zip(along.to_vec::<f64>()?)
        .map(|(g, t)| g * t)
        .sum();
    close(&[pushed], &[pulled], 1e-8);
    // The slope of a slope pushed twice.
    let twice = move |x: &Array| Ok(jvp(loss, x, &noise(shape, 3.0))?.1);
    let pushed = grad(twice).call(&x)?.to_vec::<f64>()?;
    close(&pushed, &differences(twice, &x)?, 1e-5);
    Ok(())
}

/// Without tangents: MLX has none of the scatter that the gradient of a diagonal is.
#[test]
fn second_derivatives_of_a_determinant_are_those_of_differences() -> Result<()> {
    needs!(Float64, Ok(()));
    let x = noise(&[4, 4], 0.1);
    let slope = |x: &Array| -> Result<Array> {
        let slope = grad(|x: &Array| linalg::det(x)).call(x)?;
        weighed(&slope.sin())
    };
    let got = grad(slope).call(&x)?.to_vec::<f64>()?;
    close(&got, &differences(slope, &x)?, 1e-5);
    Ok(())
}

/// Values by hand, or by formulas that share nothing with the rules: the comment of each case says which.
#[rstest]
// d/dA log det A = A^-T, and 2 sum(log diag(L)) = log det A: symmetric, as in PyTorch and JAX.
#[case::log_det_by_cholesky(
    |x: &Array| Ok(linalg::cholesky(x).diagonal_with(0, -2, -1).log().sum(()) * 2.0),
    &[2.0, 1.0, 1.0, 2.0], &[2.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0, 2.0 / 3.0])]
// d trace(A^-1) = -A^-2 transposed; [[2, 0], [0, 4]] gives -1/4 and -1/16.
#[case::trace_of_inverse(|x: &Array| Ok(linalg::inv(x).trace_with(0, 0, 1, x.dtype()?)), &[2.0, 0.0, 0.0, 4.0], &[-0.25, 0.0, 0.0, -0.0625])]
// The upper element is not read.
#[case::triangle(|x: &Array| Ok(linalg::tri_inv(x).sum(())), &[2.0, 9.0, 0.0, 4.0], &[-0.25, 0.0, -0.125, -0.0625])]
// The greatest eigenvalue of [[2, 1], [1, 2]] has the vector (1, 1) / sqrt 2.
#[case::greatest_eigenvalue(|x: &Array| Ok(linalg::eigvalsh(x).i(1)), &[2.0, 1.0, 1.0, 2.0], &[0.5, 0.5, 0.5, 0.5])]
// The sum of the eigenvalues is the trace, also where they are equal.
#[case::equal_eigenvalues(|x: &Array| Ok(linalg::eigh(x)?.0.sum(())), &[3.0, 0.0, 0.0, 3.0], &[1.0, 0.0, 0.0, 1.0])]
// The slope of the nuclear norm at the identity is U V^T, the identity.
#[case::equal_singular_values(|x: &Array| Ok(linalg::svd(x)?.1.sum(())), &[1.0, 0.0, 0.0, 1.0], &[1.0, 0.0, 0.0, 1.0])]
// The pseudo-inverse of the identity is its inverse: -1 everywhere for the sum.
#[case::pinv_of_the_identity(|x: &Array| Ok(linalg::pinv(x).sum(())), &[1.0, 0.0, 0.0, 1.0], &[-1.0, -1.0, -1.0, -1.0])]
// Of rank one: A = e1 e1^T, so P = A and A' = -P^T P' P^T + (I - A P) P'^T P P^T + P^T P P'^T (I - P A).
#[case::pinv_of_rank_one(|x: &Array| Ok(linalg::pinv(x).sum(())), &[1.0, 0.0, 0.0, 0.0], &[-1.0, 1.0, 1.0, 0.0])]
#[case::pinv_of_zeros(|x: &Array| Ok(linalg::pinv(x).sum(())), &[0.0, 0.0, 0.0, 0.0], &[0.0, 0.0, 0.0, 0.0])]
// d det / dA = det A * A^-T.
#[case::determinant(|x: &Array| Ok(linalg::det(x)), &[1.0, 2.0, 3.0, 4.0], &[4.0, -3.0, -2.0, 1.0])]
fn slopes_are_these(#[case] loss: Loss, #[case] x: &[f64], #[case] want: &[f64]) -> Result<()> {
    needs!(Float64, Ok(()));
    for dtype in [Dtype::Float32, Dtype::Float64] {
        let x = Array::from_slice(x, [2, 2])?.astype(dtype);
        let got = grad(loss).call(&x)?.astype(Dtype::Float64);
        close(&got.to_vec::<f64>()?, want, 1e-5);
    }
    Ok(())
}

/// A gradient of each matrix of a batch at once, and one after the other.
#[rstest]
#[case::inv(|x: &Array| weighed(&linalg::inv(x)), &[3, 3, 3])]
#[case::cholesky(|x: &Array| weighed(&linalg::cholesky_with(&positive(x)?, true)), &[3, 3, 3])]
#[case::solve(|x: &Array| weighed(&linalg::solve(x, &noise(&[3, 2], 2.0))), &[3, 3, 3])]
#[case::eigh(|x: &Array| { let (_, v) = linalg::eigh(&symmetric(x))?; weighed(&(&v * &v)) }, &[3, 3, 3])]
#[case::svd(svd, &[3, 4, 3])]
#[case::qr(|x: &Array| { let (q, r) = linalg::qr(x)?; Ok(weighed(&q)? + weighed(&r)?) }, &[3, 3, 4])]
#[case::lu(|x: &Array| { let (_, l, u) = linalg::lu(x)?; Ok(weighed(&l)? + weighed(&u)?) }, &[3, 3, 3])]
#[case::pinv(|x: &Array| weighed(&linalg::pinv(x)), &[3, 2, 3])]
fn vmap_of_a_gradient_is_the_loop(#[case] loss: Loss, #[case] shape: &[i32]) -> Result<()> {
    needs!(Float64, Ok(()));
    let x = noise(shape, 0.1);
    let all = vmap(move |x: &Array| grad(loss).call(x)).call(&x)?;
    let summed = move |x: &Array| -> Result<Array> { Ok(vmap(loss).call(x)?.sum(())) };
    let outside = grad(summed).call(&x)?;
    for i in 0..shape[0] {
        let want = grad(loss).call(&x.i(i))?.to_vec::<f64>()?;
        close(&all.i(i).to_vec::<f64>()?, &want, 1e-9);
        close(&outside.i(i).to_vec::<f64>()?, &want, 1e-9);
    }
    Ok(())
}

#[test]
fn a_complex_matrix_is_refused_by_name() {
    let x = array!([[2.0, 1.0], [1.0, 2.0]]).astype(Dtype::Complex64);
    let loss = |x: &Array| -> Result<Array> { Ok(linalg::eigvalsh(x).sum(())) };
    let error = grad(loss).call(&x).and_then(|g| g.eval()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("linalg.eigh: wanted a real matrix to take a gradient of"),
        "{text}"
    );
}

/// The slope of a loss by central differences.
fn differences(loss: impl Fn(&Array) -> Result<Array>, x: &Array) -> Result<Vec<f64>> {
    let step = 1e-5;
    let (shape, values) = (x.shape()?.to_vec(), x.to_vec::<f64>()?);
    let at = |i: usize, by: f64| -> Result<f64> {
        let mut moved = values.clone();
        moved[i] += by;
        loss(&Array::from_slice(&moved, shape.clone())?)?.item::<f64>()
    };
    (0..values.len())
        .map(|i| Ok((at(i, step)? - at(i, -step)?) / (2.0 * step)))
        .collect()
}

#[track_caller]
fn close(got: &[f64], want: &[f64], within: f64) {
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(1.0_f64, |size, x| size.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (g - w).abs() <= within * size,
            "element {i}: {g}, not {w}\n{got:?}\n{want:?}"
        );
    }
}
