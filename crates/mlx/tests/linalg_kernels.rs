//! Inverses, factorizations and systems of equations of matrices of `float32`, which kernels compute, against those of
//! `float64`, which are LAPACK's: views, leading axes, errors.

use mlx::{Array, Dtype, Result, linalg, random};
use mlx_testdata::needs;
use rstest::rstest;

fn normal(shape: &[i32], seed: u64) -> Array {
    random::normal_with(shape, &random::key(seed))
}

/// Far from singular.
fn regular(shape: &[i32], seed: u64) -> Array {
    let n = shape[shape.len() - 1];
    normal(shape, seed) + mlx::eye(n) * (2.0 * (n as f32).sqrt())
}

fn doubles(x: &Array) -> Array {
    x.astype(Dtype::Float64)
}

fn assert_close(got: &Array, want: &Array, tolerance: f64) {
    assert_eq!(got.shape().unwrap(), want.shape().unwrap());
    let difference = (doubles(got) - doubles(want)).abs().max(());
    let scale = doubles(want).abs().max(()).item::<f64>().unwrap().max(1.0);
    let difference = difference.item::<f64>().unwrap();
    assert!(difference <= tolerance * scale, "{difference} of {scale}");
}

#[rstest]
#[case::one(&[1, 1], &[1, 1])]
#[case::vector(&[17, 17], &[17])]
#[case::matrix(&[64, 64], &[64, 5])]
#[case::several(&[3, 20, 20], &[3, 20, 4])]
#[case::one_matrix_of_several_sides(&[20, 20], &[4, 20, 2])]
#[case::several_matrices_of_one_side(&[2, 3, 9, 9], &[9, 2])]
#[case::both_broadcast(&[2, 1, 9, 9], &[1, 3, 9, 2])]
#[case::large(&[257, 257], &[257, 30])]
fn solutions_are_those_of_doubles(#[case] a: &[i32], #[case] b: &[i32]) {
    needs!(Float64);
    let (a, b) = (regular(a, 1), normal(b, 2));
    assert_close(
        &linalg::solve(&a, &b),
        &linalg::solve(&doubles(&a), &doubles(&b)),
        1e-5,
    );
    let (at, bt) = (a.swapaxes(-1, -2), &b * 2.0);
    assert_close(
        &linalg::solve(&at, &bt),
        &linalg::solve(&doubles(&at), &doubles(&bt)),
        1e-5,
    );
}

#[rstest]
fn inverses_are_those_of_doubles(#[values(1, 2, 3, 17, 64, 257)] n: i32) {
    needs!(Float64);
    for a in [regular(&[n, n], 3), regular(&[2, n, n], 4).swapaxes(-1, -2)] {
        assert_close(&linalg::inv(&a), &linalg::inv(&doubles(&a)), 1e-5);
        for upper in [false, true] {
            let a = &a + mlx::eye(n) * (n as f32);
            let want = linalg::tri_inv_with(&doubles(&a), upper);
            assert_close(&linalg::tri_inv_with(&a, upper), &want, 1e-5);
        }
    }
}

#[rstest]
#[case(&[4, 4])]
#[case(&[2, 33, 70])]
#[case(&[2, 70, 33])]
#[case(&[257, 257])]
fn factors_are_those_of_doubles(#[case] shape: &[i32]) -> Result<()> {
    needs!(Float64, Ok(()));
    let a = normal(shape, 5);
    for a in [a.clone(), a.swapaxes(-1, -2)] {
        let (q, r) = linalg::qr(&a)?;
        let (want_q, want_r) = linalg::qr(&doubles(&a))?;
        // Both take the same signs.
        assert_close(&q, &want_q, 1e-3);
        assert_close(&r, &want_r, 1e-4);
        let (order, l, u) = linalg::lu(&a)?;
        // MLX's order: the row of the product that each row of the matrix is.
        let rows = l.matmul(&u).take_along_axis(&order.expand_dims(-1), -2);
        assert_close(&rows, &doubles(&a), 1e-5);
        let (want_order, ..) = linalg::lu(&doubles(&a))?;
        assert_eq!(order.to_vec::<u32>()?, want_order.to_vec::<u32>()?);
        let determinant = |x: &Array| linalg::slogdet(x).map(|(sign, log)| sign * log);
        if shape[shape.len() - 1] == shape[shape.len() - 2] {
            assert_close(&determinant(&a)?, &determinant(&doubles(&a))?, 1e-4);
        }
    }
    Ok(())
}

#[test]
fn what_has_no_solution_is_an_error_that_names_the_operation() {
    needs!(ErrorsOfValues);
    let singular = mlx::array!([[1.0, 2.0], [2.0, 4.0]]);
    let nan = mlx::array!([[f32::NAN, 2.0], [2.0, 4.0]]);
    let side = mlx::array!([1.0, 2.0]);
    let text = |x: Array| x.eval().unwrap_err().to_string();
    assert!(text(linalg::solve(&singular, &side)).contains("linalg.solve: the matrix is singular"));
    assert!(text(linalg::inv(&singular)).contains("linalg.inv: the matrix is singular"));
    assert!(
        text(linalg::tri_inv_with(
            &mlx::array!([[0.0, 1.0], [0.0, 1.0]]),
            true
        ))
        .contains("singular")
    );
    assert!(
        text(linalg::solve(&nan, &side)).contains("linalg.solve: every element must be finite")
    );
    assert!(
        text(linalg::solve(&singular, &nan)).contains("linalg.solve: every element must be finite")
    );
    // What comes after an error is computed as ever.
    let half = linalg::solve(&mlx::array!([[2.0, 0.0], [0.0, 2.0]]), &side);
    assert_eq!(half.to_vec::<f32>().unwrap(), [0.5, 1.0]);
}

#[test]
fn empty_systems_have_empty_solutions() {
    let a = mlx::zeros([0, 0]);
    let b = mlx::zeros([0, 3]);
    assert_eq!(linalg::solve(&a, &b).shape().unwrap(), [0, 3]);
    let none = linalg::solve(&mlx::zeros([0, 2, 2]), &mlx::zeros([0, 2, 1]));
    none.eval().unwrap();
    assert_eq!(none.shape().unwrap(), [0, 2, 1]);
}
