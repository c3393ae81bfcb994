//! A dense matrix times vectors, against sums in `f64`.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{MatrixShape, matmul};
use reference::random;
use rstest::rstest;

fn dense_bound(columns: usize) -> f64 {
    (4.0 + columns as f64 / 16.0) / 16_777_216.0
}

fn check_dense(weights: &[f64], x: &[f32], out: &[f32]) {
    let columns = x.len();
    for (row, out) in weights.chunks_exact(columns).zip(out) {
        let terms = || row.iter().zip(x).map(|(w, x)| w * f64::from(*x));
        let size: f64 = terms().map(f64::abs).sum();
        assert!((f64::from(*out) - terms().sum::<f64>()).abs() <= size * dense_bound(columns));
    }
}

#[rstest]
fn one_vector_matches_its_formula(
    #[values(0, 1, 2, 3, 4, 5, 7, 64, 301)] rows: usize,
    #[values(1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 65, 256, 257, 1000, 4096)] columns: usize,
) {
    let shape = MatrixShape { rows, columns };
    let (weights, x) = (random(rows * columns, 1), random(columns, 2));
    let mut out = vec![f32::NAN; rows];
    matmul(shape, 1, &weights, &x, &mut out).unwrap();
    check_dense(&reference::wide(&weights), &x, &out);

    let halves: Vec<f16> = weights.iter().map(|x| f16::from_f32(*x)).collect();
    matmul(shape, 1, &halves, &x, &mut out).unwrap();
    check_dense(
        &halves.iter().map(|x| x.to_f64()).collect::<Vec<_>>(),
        &x,
        &out,
    );

    let halves: Vec<bf16> = weights.iter().map(|x| bf16::from_f32(*x)).collect();
    matmul(shape, 1, &halves, &x, &mut out).unwrap();
    check_dense(
        &halves.iter().map(|x| x.to_f64()).collect::<Vec<_>>(),
        &x,
        &out,
    );
}

#[rstest]
fn matmul_matches_its_formula(
    #[values(1, 4, 7, 8, 33, 70)] rows: usize,
    #[values(1, 7, 64, 513, 1030)] columns: usize,
    #[values(1, 3, 4, 15, 32, 65)] vectors: usize,
) {
    let shape = MatrixShape { rows, columns };
    let (weights, x) = (random(rows * columns, 1), random(vectors * columns, 2));
    let mut out = vec![f32::NAN; rows * vectors];
    let check = |weights: &[f64], out: &[f32]| {
        let bound = (4.0 + columns.min(512) as f64 + columns as f64 / 512.0) / 16_777_216.0;
        for (i, got) in out.iter().enumerate() {
            let (row, x) = (
                &weights[i % rows * columns..][..columns],
                &x[i / rows * columns..],
            );
            let terms = || row.iter().zip(x).map(|(w, x)| w * f64::from(*x));
            let size: f64 = terms().map(f64::abs).sum();
            assert!((f64::from(*got) - terms().sum::<f64>()).abs() <= size * bound);
        }
    };
    matmul(shape, vectors, &weights, &x, &mut out).unwrap();
    check(&reference::wide(&weights), &out);
    let halves: Vec<f16> = weights.iter().map(|x| f16::from_f32(*x)).collect();
    matmul(shape, vectors, &halves, &x, &mut out).unwrap();
    check(&halves.iter().map(|x| x.to_f64()).collect::<Vec<_>>(), &out);
}

#[test]
fn every_half_precision_number_is_widened_exactly() {
    let x: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let mut out = vec![0.0; x.len()];
    matmul(
        MatrixShape {
            rows: x.len(),
            columns: 1,
        },
        1,
        &x,
        &[1.0],
        &mut out,
    )
    .unwrap();
    for (x, out) in x.iter().zip(&out) {
        assert!(
            x.to_f32() == *out || x.is_nan() && out.is_nan(),
            "{x} {out}"
        );
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let shape = MatrixShape {
        rows: 2,
        columns: 3,
    };
    let error = matmul(shape, 1, &[0.0_f32; 5], &[0.0; 3], &mut [0.0; 2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "matmul: weights must have 6 elements, got 5"
    );
    matmul::<f32>(
        MatrixShape {
            rows: 2,
            columns: 0,
        },
        1,
        &[],
        &[],
        &mut [1.0; 2],
    )
    .unwrap();
}
