//! Matrix times vector, dense and quantized, against sums in `f64`.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{MatrixShape, Quantized, matmul, matvec, quantized_matmul};
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
fn matvec_matches_its_formula(
    #[values(0, 1, 2, 3, 4, 5, 7, 64, 301)] rows: usize,
    #[values(1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 65, 256, 257, 1000, 4096)] columns: usize,
) {
    let shape = MatrixShape { rows, columns };
    let (weights, x) = (random(rows * columns, 1), random(columns, 2));
    let mut out = vec![f32::NAN; rows];
    matvec(shape, &weights, &x, &mut out).unwrap();
    check_dense(&reference::wide(&weights), &x, &out);

    let halves: Vec<f16> = weights.iter().map(|x| f16::from_f32(*x)).collect();
    matvec(shape, &halves, &x, &mut out).unwrap();
    check_dense(
        &halves.iter().map(|x| x.to_f64()).collect::<Vec<_>>(),
        &x,
        &out,
    );

    let halves: Vec<bf16> = weights.iter().map(|x| bf16::from_f32(*x)).collect();
    matvec(shape, &halves, &x, &mut out).unwrap();
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
    matvec(
        MatrixShape {
            rows: x.len(),
            columns: 1,
        },
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

#[rstest]
fn quantized_matches_its_formula(
    #[values(4, 8)] bits: usize,
    #[values(32, 64, 128)] group_size: usize,
    #[values(1, 2, 3, 5, 34)] groups: usize,
    #[values(1, 5, 67)] rows: usize,
    #[values(1, 2, 4, 7, 70)] vectors: usize,
) {
    let columns = groups * group_size;
    let places = 32 / bits;
    let weights: Vec<u32> = random(rows * columns / places, 1)
        .iter()
        .map(|x| x.to_bits().wrapping_mul(0x9e37_79b1))
        .collect();
    let (scales, biases) = (random(rows * groups, 2), random(rows * groups, 3));
    let x = random(vectors * columns, 4);
    let shape = MatrixShape { rows, columns };
    let matrix = Quantized {
        shape,
        bits,
        group_size,
        weights: &weights,
        scales: &scales,
        biases: &biases,
    };
    let mut out = vec![f32::NAN; vectors * rows];
    quantized_matmul(matrix, vectors, &x, &mut out).unwrap();
    let bound = (8.0 + columns.min(512) as f64 + columns as f64 / 16.0) / 16_777_216.0;
    for vector in 0..vectors {
        for row in 0..rows {
            let (mut sum, mut size) = (0.0, 0.0);
            for column in 0..columns {
                let word = weights[(row * columns + column) / places];
                let number = f64::from(word >> (column % places * bits) & ((1 << bits) - 1));
                let group = row * groups + column / group_size;
                let (scale, bias) = (f64::from(scales[group]), f64::from(biases[group]));
                let x = f64::from(x[vector * columns + column]);
                sum += (scale * number + bias) * x;
                size += (scale.abs() * number + bias.abs()) * x.abs();
            }
            let error = (f64::from(out[vector * rows + row]) - sum).abs();
            assert!(
                error <= size * bound,
                "{row} {vector}: {error:e} {:e}",
                size * bound
            );
        }
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let shape = MatrixShape {
        rows: 2,
        columns: 3,
    };
    let error = matvec(shape, &[0.0_f32; 5], &[0.0; 3], &mut [0.0; 2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "matvec: weights must have 6 elements, got 5"
    );
    matvec::<f32>(
        MatrixShape {
            rows: 2,
            columns: 0,
        },
        &[],
        &[],
        &mut [1.0; 2],
    )
    .unwrap();
    let shape = MatrixShape {
        rows: 1,
        columns: 32,
    };
    let right = Quantized {
        shape,
        bits: 4,
        group_size: 32,
        weights: &[0; 4],
        scales: &[1.0],
        biases: &[0.0],
    };
    let run = |matrix| quantized_matmul(matrix, 1, &[0.0; 32], &mut [0.0]);
    run(right).unwrap();
    let error = run(Quantized { bits: 3, ..right }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "quantized_matmul: bits must be 4 or 8, got 3"
    );
    assert!(
        run(Quantized {
            group_size: 0,
            ..right
        })
        .is_err()
    );
    assert!(
        run(Quantized {
            group_size: 64,
            ..right
        })
        .is_err()
    );
    assert!(
        run(Quantized {
            weights: &[0; 3],
            ..right
        })
        .is_err()
    );
    assert!(
        run(Quantized {
            shape: MatrixShape {
                rows: usize::MAX,
                columns: 32
            },
            ..right
        })
        .is_err()
    );
    assert!(quantized_matmul(right, 2, &[0.0; 32], &mut [0.0; 2]).is_err());
}
