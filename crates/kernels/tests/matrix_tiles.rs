//! Products, convolutions and attention of `bf16` where the processor's matrix tiles may compute them, against `f64`: all
//! tails, special numbers, several callers, and the same with the tiles switched off.

mod reference;

use std::process::Command;
use std::thread;

use half::bf16;
use mlx_kernels::{
    AttentionInputs, AttentionShape, Conv, ConvAxis, MatmulShape, StridedMatrices, attention,
    batched_matmul, conv, conv_weight_gradient, has_matrix_tiles,
};
use reference::random;
use rstest::rstest;

const UNIT: f64 = 1.0 / 256.0;
/// Half of the distance of denormal numbers.
const LEAST: f64 = 4.6e-41;

fn rounded(numbers: Vec<f32>) -> Vec<bf16> {
    numbers.into_iter().map(bf16::from_f32).collect()
}

/// `left * right` of contiguous matrices, either of them transposed.
fn product(
    [rows, depth, columns]: [usize; 3],
    (left, is_left_transposed): (&[bf16], bool),
    (right, is_right_transposed): (&[bf16], bool),
) -> Vec<bf16> {
    let view = |data, rows: usize, columns: usize, is_transposed: bool| {
        let (row_stride, column_stride) = if is_transposed {
            (1, rows as isize)
        } else {
            (columns as isize, 1)
        };
        StridedMatrices {
            data,
            start: 0,
            batch_strides: &[],
            row_stride,
            column_stride,
        }
    };
    let shape = MatmulShape {
        batch: &[],
        rows,
        depth,
        columns,
    };
    let mut out = vec![bf16::from_f32(7.0); rows * columns];
    let left = view(left, rows, depth, is_left_transposed);
    let right = view(right, depth, columns, is_right_transposed);
    batched_matmul(shape, left, right, None, &mut out).unwrap();
    out
}

/// Compares with sums in `f64`; what is not finite must be so in the same places.
fn check(
    [rows, depth, columns]: [usize; 3],
    (left, is_left_transposed): (&[bf16], bool),
    (right, is_right_transposed): (&[bf16], bool),
    got: &[bf16],
) {
    for (i, got) in got.iter().enumerate() {
        let (row, column) = (i / columns, i % columns);
        let (mut want, mut magnitude) = (0.0, 0.0);
        for k in 0..depth {
            let left = left[if is_left_transposed {
                k * rows + row
            } else {
                row * depth + k
            }];
            let at = if is_right_transposed {
                column * depth + k
            } else {
                k * columns + column
            };
            let product = f64::from(left) * f64::from(right[at]);
            want += product;
            magnitude += product.abs();
        }
        let got = f64::from(*got);
        if !want.is_finite() || want.abs() > 3.389e38 {
            let is_same = got == want || got.is_nan() && want.is_nan();
            assert!(
                is_same || got.abs() >= 3.38e38,
                "[{row}, {column}]: {got} and not {want}"
            );
            continue;
        }
        let allowed = 2_f64.powi(-24) * (20 + depth) as f64 * magnitude + UNIT * want.abs() + LEAST;
        let is_near = (got - want).abs() <= allowed;
        assert!(
            is_near,
            "{rows} {depth} {columns} [{row}, {column}]: {got} and not {want}"
        );
    }
}

fn check_random(sizes: [usize; 3], seed: u64, transposed: (bool, bool)) {
    let [rows, depth, columns] = sizes;
    let left = rounded(random(rows * depth, seed));
    let right = rounded(random(depth * columns, seed + 1));
    let (left, right) = ((&left[..], transposed.0), (&right[..], transposed.1));
    check(sizes, left, right, &product(sizes, left, right));
}

#[rstest]
fn every_tail_of_every_axis(#[values(0, 1, 2)] axis: usize) {
    for tail in 0..=33 {
        let mut sizes = [40, 70, 50];
        sizes[axis] = 32 * (tail as usize % 3) + tail as usize;
        for transposed in [(false, false), (true, false), (false, true), (true, true)] {
            check_random(sizes, tail, transposed);
        }
    }
}

#[test]
fn random_sizes() {
    let mut state = 7_u64;
    let mut next = |most: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % most
    };
    for seed in 0..40 {
        let sizes = [next(180) as usize, next(1200) as usize, next(90) as usize];
        check_random(sizes, seed, (next(2) == 0, next(2) == 0));
    }
    check_random([300, 1100, 700], 3, (false, false));
    check_random([70, 40, 1100], 4, (false, true));
}

/// Numbers among ordinary ones that tiles do not compute as `f32` arithmetic does, or hardly do.
#[rstest]
#[case::denormal_left(&[(0, 1e-39)], &[(0, 1.0)])]
#[case::denormal_right(&[(5, 2.0)], &[(5, -3e-39)])]
#[case::denormal_and_large(&[(0, 1e-39)], &[(0, 3e38)])]
#[case::denormal_products(&[(0, 1e-25), (1, 1e-25)], &[(0, 1e-14), (1, 1e-14)])]
#[case::denormal_sums(&[(0, 1.5e-20), (1, -1.5e-20)], &[(0, 1e-18), (1, 1.01e-18)])]
#[case::least(&[(0, 9.2e-41)], &[(0, 1.0)])]
#[case::infinite(&[(3, f32::INFINITY)], &[(3, 2.0)])]
#[case::infinite_and_denormal(&[(3, f32::INFINITY)], &[(3, 1e-39)])]
#[case::infinite_and_zero(&[(3, f32::INFINITY)], &[(3, 0.0)])]
#[case::not_a_number(&[(3, f32::NAN)], &[(3, 0.0)])]
#[case::large(&[(3, 3e38), (4, -3e38)], &[(3, 1.0), (4, 1.0)])]
fn special_numbers(
    #[case] in_left: &[(usize, f32)],
    #[case] in_right: &[(usize, f32)],
    #[values(false, true)] are_alone: bool,
    #[values(false, true)] is_transposed: bool,
) {
    let sizes = [45, 66, 39];
    let [rows, depth, columns] = sizes;
    let mut left = rounded(random(rows * depth, 1));
    let mut right = rounded(random(depth * columns, 2));
    if are_alone {
        // So that nothing hides a small result.
        left.fill(bf16::ZERO);
        right.fill(bf16::ZERO);
    }
    for (k, number) in in_left {
        left[7 * depth + k] = bf16::from_f32(*number);
    }
    for (k, number) in in_right {
        for column in [0, 3, 38] {
            let at = if is_transposed {
                column * depth + k
            } else {
                k * columns + column
            };
            right[at] = bf16::from_f32(*number);
        }
    }
    let (left, right) = ((&left[..], false), (&right[..], is_transposed));
    check(sizes, left, right, &product(sizes, left, right));
}

#[test]
fn two_callers_at_once() {
    thread::scope(|scope| {
        for caller in 0..2 {
            scope.spawn(move || {
                for seed in 0..30 {
                    check_random([130, 520, 70], 100 * caller + seed, (false, false));
                }
            });
        }
    });
}

#[test]
fn the_same_call_gives_the_same_bits() {
    let sizes = [300, 600, 200];
    let (left, right) = (rounded(random(180_000, 1)), rounded(random(120_000, 2)));
    let first = product(sizes, (&left, false), (&right, false));
    for _ in 0..10 {
        assert_eq!(product(sizes, (&left, false), (&right, false)), first);
    }
}

/// A convolution and its gradient by the weights with one input element set to `number`.
fn convolve(number: f32) -> (Vec<bf16>, Vec<bf16>, Vec<bf16>, Vec<bf16>) {
    let axis = ConvAxis {
        input: 9,
        kernel: 3,
        output: 9,
        stride: 1,
        padding: 1,
        kernel_dilation: 1,
        input_dilation: 1,
    };
    let shape = Conv {
        batch: 2,
        axes: &[axis; 2],
        channels: 40,
        outputs: 33,
        groups: 1,
        flip: false,
    };
    let mut x = rounded(random(2 * 81 * 40, 5));
    x[40 * 40 + 7] = bf16::from_f32(number);
    let weight = rounded(random(33 * 9 * 40, 6));
    let mut out = vec![bf16::ZERO; 2 * 81 * 33];
    conv(shape, &x, &weight, &mut out).unwrap();
    let mut gradient = vec![bf16::ZERO; weight.len()];
    conv_weight_gradient(shape, &x, &out, &mut gradient).unwrap();
    (x, weight, out, gradient)
}

#[rstest]
fn convolutions(#[values(0.5, 1e-39, 1e-30)] number: f32) {
    let (x, weight, out, gradient) = convolve(number);
    let pixel = |n: usize, i: usize, j: usize| {
        let is_inside = (1..10).contains(&i) && (1..10).contains(&j);
        is_inside.then(|| ((n * 9 + i - 1) * 9 + j - 1) * 40)
    };
    let near = |got: bf16, want: f64, magnitude: f64| {
        let allowed = 1e-4 * magnitude + UNIT * want.abs();
        assert!(
            (f64::from(got) - want).abs() <= allowed,
            "{got} and not {want}"
        );
    };
    for (at, got) in out.iter().enumerate() {
        let (f, j, i, n) = (at % 33, at / 33 % 9, at / 297 % 9, at / 2673);
        let (mut want, mut magnitude) = (0.0, 0.0);
        for k in 0..9 {
            let Some(from) = pixel(n, i + k / 3, j + k % 3) else {
                continue;
            };
            for c in 0..40 {
                let product = f64::from(x[from + c]) * f64::from(weight[(f * 9 + k) * 40 + c]);
                want += product;
                magnitude += product.abs();
            }
        }
        near(*got, want, magnitude);
    }
    for (at, got) in gradient.iter().enumerate() {
        let (c, k, f) = (at % 40, at / 40 % 9, at / 360);
        let (mut want, mut magnitude) = (0.0, 0.0);
        for place in 0..162 {
            let (n, i, j) = (place / 81, place / 9 % 9, place % 9);
            let Some(from) = pixel(n, i + k / 3, j + k % 3) else {
                continue;
            };
            let product = f64::from(x[from + c]) * f64::from(out[place * 33 + f]);
            want += product;
            magnitude += product.abs();
        }
        near(*got, want, magnitude);
    }
}

#[rstest]
#[case::ordinary(0.5)]
#[case::denormal(1e-39)]
#[case::small(1e-25)]
#[case::infinite(f32::INFINITY)]
fn attention_to_special_values(#[case] value: f32) {
    let shape = AttentionShape {
        batch: 1,
        heads: 2,
        kv_heads: 1,
        queries: 70,
        keys: 150,
        dim: 40,
        value_dim: 36,
    };
    let scale_down = |numbers: Vec<f32>, by: f32| rounded(numbers.iter().map(|x| x * by).collect());
    let queries = scale_down(random(2 * 70 * 40, 1), 3.0);
    let keys = scale_down(random(150 * 40, 2), 3.0);
    // Column 0 has nothing but this value.
    let mut values = rounded(random(150 * 36, 3));
    for row in values.chunks_exact_mut(36) {
        row[0] = bf16::from_f32(value);
    }
    let mut out = vec![bf16::ZERO; 2 * 70 * 36];
    let inputs = AttentionInputs::contiguous(shape, &queries, &keys, &values);
    attention(shape, inputs, 0.5, &mut out).unwrap();
    for (query, out) in queries.chunks_exact(40).zip(out.chunks_exact(36)) {
        let dot = |key: &[bf16]| {
            let products = query
                .iter()
                .zip(key)
                .map(|(q, k)| f64::from(*q) * f64::from(*k));
            0.5 * products.sum::<f64>()
        };
        let scores: Vec<f64> = keys.chunks_exact(40).map(dot).collect();
        let max = scores.iter().copied().fold(f64::MIN, f64::max);
        let exps: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
        let sum: f64 = exps.iter().sum();
        for (d, got) in out.iter().enumerate().skip(1) {
            let rows = values.chunks_exact(36).zip(&exps);
            let want = rows.map(|(row, exp)| f64::from(row[d]) * exp).sum::<f64>() / sum;
            let error = (f64::from(*got) - want).abs();
            assert!(error <= UNIT * want.abs() + 2e-5, "{got} and not {want}");
        }
        let (got, want) = (out[0].to_f32(), bf16::from_f32(value).to_f32());
        assert!(
            got == want || (got - want).abs() <= 0.01 * want,
            "{got} and not {want}"
        );
    }
}

/// The other tests in a process without tiles.
#[test]
fn the_same_without_tiles() {
    const CHILD: &str = "MLX_TEST_WITHOUT_TILES";
    if std::env::var_os(CHILD).is_some() {
        assert!(!has_matrix_tiles());
        return;
    }
    println!("matrix tiles: {}", has_matrix_tiles());
    let child = Command::new(std::env::current_exe().unwrap())
        .env("MLX_KERNELS_SIMD", "avx512")
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{text}");
}
