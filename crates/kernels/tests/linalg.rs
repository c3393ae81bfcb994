//! Factorizations, inverses and systems of equations against products in double, at sizes around those of the blocks.

use mlx_kernels::{
    Error, LuFactors, MatrixShape, inverse, lu_factor, qr, solve, triangular_inverse,
};
use rstest::rstest;

const EPSILON: f64 = f32::EPSILON as f64;

/// Numbers between -1 and 1.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// `sum over k of a(r, k) * b(k, c)` in double, with `depth` terms.
fn product(
    (rows, depth, columns): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f64> {
    let mut out = vec![0.0; rows * columns];
    for r in 0..rows {
        for k in 0..depth {
            let left = f64::from(a(r, k));
            for c in 0..columns {
                out[r * columns + c] += left * f64::from(b(k, c));
            }
        }
    }
    out
}

fn largest(x: &[f32]) -> f64 {
    x.iter().fold(0.0, |most, x| most.max(f64::from(x.abs())))
}

/// The greatest difference of elements.
fn difference(got: &[f64], want: impl Fn(usize) -> f64) -> f64 {
    let differences = got.iter().enumerate().map(|(i, got)| (got - want(i)).abs());
    differences.fold(0.0, f64::max)
}

fn is_one(n: usize) -> impl Fn(usize) -> f64 {
    move |i| f64::from(u8::from(i / n == i % n))
}

#[rstest]
fn solutions_have_small_residuals(
    #[values(1, 2, 3, 17, 64, 65, 130, 257)] n: usize,
    #[values(1, 3, 4, 70)] columns: usize,
) {
    let (a, b) = (numbers(n * n, 1), numbers(n * columns, 2));
    let mut x = vec![0.0; n * columns];
    solve(n, columns, &[(&a, &b)], &mut x).unwrap();
    let got = product(
        (n, n, columns),
        |r, k| a[r * n + k],
        |k, c| x[k * columns + c],
    );
    let bound = 16.0 * EPSILON * n as f64 * largest(&a) * largest(&x).max(1.0);
    assert!(difference(&got, |i| f64::from(b[i])) <= bound);
}

#[test]
fn ill_conditioned_systems_have_small_residuals() {
    let n = 96;
    // Rows scaled from 1 to 1e-9, and a nearly singular pair.
    let mut a = numbers(n * n, 3);
    for (r, row) in a.chunks_exact_mut(n).enumerate() {
        let scale = 10_f32.powf(-9.0 * r as f32 / n as f32);
        row.iter_mut().for_each(|x| *x *= scale);
    }
    for c in 0..n {
        a[n + c] = a[c] * (1.0 + 1e-5 * (c as f32 / n as f32));
    }
    let b = numbers(n, 4);
    let mut x = vec![0.0; n];
    solve(n, 1, &[(&a, &b)], &mut x).unwrap();
    let got = product((n, n, 1), |r, k| a[r * n + k], |k, _| x[k]);
    for (r, got) in got.iter().enumerate() {
        let row: f64 = (0..n).map(|k| f64::from((a[r * n + k] * x[k]).abs())).sum();
        let bound = 64.0 * EPSILON * n as f64 * row.max(largest(&a) * largest(&x) * 1e-3);
        assert!((got - f64::from(b[r])).abs() <= bound, "row {r}");
    }
}

#[test]
fn systems_of_one_matrix_are_solved_as_alone() {
    let n = 20;
    let (a, other, b) = (numbers(n * n, 1), numbers(n * n, 2), numbers(3 * n * 5, 3));
    let sides: Vec<&[f32]> = b.chunks_exact(n * 5).collect();
    let systems = [
        (&a[..], sides[0]),
        (&a[..], sides[1]),
        (&other[..], sides[2]),
    ];
    let mut x = vec![0.0; b.len()];
    solve(n, 5, &systems, &mut x).unwrap();
    for (system, got) in systems.iter().zip(x.chunks_exact(n * 5)) {
        let mut want = vec![0.0; n * 5];
        solve(n, 5, &[*system], &mut want).unwrap();
        assert_eq!(got, want);
    }
}

#[rstest]
fn inverses(#[values(1, 2, 3, 17, 64, 65, 130, 257)] n: usize, #[values(1, 3)] batch: usize) {
    let mut a = numbers(batch * n * n, 5);
    for matrix in a.chunks_exact_mut(n * n) {
        (0..n).for_each(|i| matrix[i * n + i] += 2.0);
    }
    let mut out = vec![0.0; a.len()];
    inverse(n, &a, &mut out).unwrap();
    for (a, x) in a.chunks_exact(n * n).zip(out.chunks_exact(n * n)) {
        let got = product((n, n, n), |r, k| a[r * n + k], |k, c| x[k * n + c]);
        let bound = 16.0 * EPSILON * n as f64 * largest(a) * largest(x).max(1.0);
        assert!(difference(&got, is_one(n)) <= bound);
    }
}

#[rstest]
fn triangular_inverses(
    #[values(1, 2, 3, 17, 64, 65, 130, 257)] n: usize,
    #[values(false, true)] upper: bool,
) {
    let mut a = numbers(n * n, 6);
    (0..n).for_each(|i| a[i * n + i] += n as f32);
    let mut x = vec![0.0; n * n];
    triangular_inverse(n, upper, &a, &mut x).unwrap();
    let is_read = |r: usize, c: usize| if upper { c >= r } else { c <= r };
    let of = |r: usize, c: usize| if is_read(r, c) { a[r * n + c] } else { 0.0 };
    let got = product((n, n, n), of, |k, c| x[k * n + c]);
    assert!(difference(&got, is_one(n)) <= 16.0 * EPSILON * n as f64);
    let others = (0..n * n).filter(|i| !is_read(i / n, i % n));
    assert!(others.into_iter().all(|i| x[i] == 0.0));
}

const SHAPES: [(usize, usize); 12] = [
    (1, 1),
    (3, 3),
    (2, 9),
    (9, 2),
    (17, 17),
    (33, 40),
    (64, 64),
    (65, 65),
    (200, 33),
    (33, 200),
    (257, 257),
    (1, 70),
];

#[test]
fn rows_in_order_are_the_product_of_lu() {
    for (rows, columns) in SHAPES {
        let a = numbers(2 * rows * columns, 7);
        let depth = rows.min(columns);
        let (mut lu, mut pivots, mut order) = (a.clone(), vec![0; 2 * depth], vec![0; 2 * rows]);
        let factors = LuFactors {
            lu: &mut lu,
            pivots: &mut pivots,
            order: &mut order,
        };
        lu_factor(MatrixShape { rows, columns }, factors).unwrap();
        let size = rows * columns;
        for (i, lu) in lu.chunks_exact(size).enumerate() {
            let (a, order) = (&a[i * size..][..size], &order[i * rows..][..rows]);
            let lower = |r: usize, k: usize| match r.cmp(&k) {
                std::cmp::Ordering::Less => 0.0,
                std::cmp::Ordering::Equal => 1.0,
                std::cmp::Ordering::Greater => lu[r * columns + k],
            };
            let upper = |k: usize, c: usize| if c < k { 0.0 } else { lu[k * columns + c] };
            let got = product((rows, depth, columns), lower, upper);
            // The exchanges in turn say which row of the matrix each row of the factors is.
            let mut exchanged: Vec<u32> = (0..rows as u32).collect();
            for (row, pivot) in pivots[i * depth..][..depth].iter().enumerate() {
                exchanged.swap(row, *pivot as usize);
            }
            let want =
                |i: usize| f64::from(a[exchanged[i / columns] as usize * columns + i % columns]);
            assert!(difference(&got, want) <= 8.0 * EPSILON * depth as f64 * largest(lu));
            // Partial pivoting: no multiplier is above one.
            let mut below = (0..size).filter(|i| i / columns > i % columns);
            assert!(below.all(|i| lu[i].abs() <= 1.0 + f32::EPSILON));
            // The order is the inverse of that.
            let back: Vec<u32> = order.iter().map(|&row| exchanged[row as usize]).collect();
            assert!(back.into_iter().eq(0..rows as u32));
        }
    }
}

#[rstest]
#[case::ordinary(1.0)]
#[case::squares_overflow(1e30)]
#[case::squares_underflow(1e-30)]
fn columns_of_q_are_orthonormal_and_q_r_is_the_matrix(#[case] scale: f32) {
    for (rows, columns) in SHAPES {
        let mut a = numbers(2 * rows * columns, 8);
        a.iter_mut().for_each(|x| *x *= scale);
        let (depth, size) = (rows.min(columns), rows * columns);
        let (mut q, mut r) = (vec![0.0; 2 * rows * depth], vec![0.0; 2 * depth * columns]);
        qr(MatrixShape { rows, columns }, &a, &mut q, &mut r).unwrap();
        let matrices = a.chunks_exact(size).zip(q.chunks_exact(rows * depth));
        for ((a, q), r) in matrices.zip(r.chunks_exact(depth * columns)) {
            let got = product(
                (rows, depth, columns),
                |i, k| q[i * depth + k],
                |k, c| r[k * columns + c],
            );
            let bound = 8.0 * EPSILON * (rows as f64).sqrt() * depth as f64 * largest(a);
            assert!(difference(&got, |i| f64::from(a[i])) <= bound);
            let squares = product(
                (depth, rows, depth),
                |i, k| q[k * depth + i],
                |k, c| q[k * depth + c],
            );
            assert!(difference(&squares, is_one(depth)) <= 8.0 * EPSILON * rows as f64);
            assert!((0..depth * columns).all(|i| i % columns >= i / columns || r[i] == 0.0));
        }
    }
}

#[test]
fn a_matrix_of_zeros_has_the_identity_as_q() {
    let (mut q, mut r) = (vec![9.0; 6], vec![9.0; 4]);
    let shape = MatrixShape {
        rows: 3,
        columns: 2,
    };
    qr(shape, &[0.0; 6], &mut q, &mut r).unwrap();
    assert_eq!(q, [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(r, [0.0; 4]);
}

#[test]
fn singular_matrices_have_no_inverse() {
    let ones = [1.0; 4];
    let mut out = [0.0; 4];
    let is_singular = |result| matches!(result, Err(Error::Singular { .. }));
    assert!(is_singular(inverse(2, &ones, &mut out)));
    assert!(is_singular(solve(2, 2, &[(&ones, &ones)], &mut out)));
    assert!(is_singular(triangular_inverse(
        2,
        true,
        &[1.0, 2.0, 0.0, 0.0],
        &mut out
    )));
    let mut factors = ones;
    let (mut pivots, mut order) = ([0; 2], [0; 2]);
    let factors = LuFactors {
        lu: &mut factors,
        pivots: &mut pivots,
        order: &mut order,
    };
    let shape = MatrixShape {
        rows: 2,
        columns: 2,
    };
    assert_eq!(lu_factor(shape, factors), Ok(()));
}

#[test]
fn lengths_must_match() {
    let mut out = [0.0; 4];
    assert!(inverse(2, &[1.0; 3], &mut out).is_err());
    assert!(solve(2, 2, &[(&[1.0; 4], &[1.0; 3])], &mut out).is_err());
    assert!(
        qr(
            MatrixShape {
                rows: 2,
                columns: 2
            },
            &[1.0; 4],
            &mut [0.0; 3],
            &mut out
        )
        .is_err()
    );
}
