//! A quantized matrix times vectors, in `f32` and with vectors of 8 bits, against sums in `f64`.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{Element, MatrixShape, Quantized, quantized_matmul, quantized_matmul_int8};
use reference::attention::Number;
use reference::random;
use rstest::rstest;

/// A number of a stream of bits, from the low bits of the first word up.
fn number(words: &[u32], at: usize, bits: usize) -> f64 {
    let bit = |i: usize| words[i / 32] >> (i % 32) & 1;
    f64::from((0..bits).fold(0, |number, i| number | bit(at * bits + i) << i))
}

fn words(count: usize, seed: u64) -> Vec<u32> {
    let mixed = |x: &f32| x.to_bits().wrapping_mul(0x9e37_79b1);
    random(count, seed).iter().map(mixed).collect()
}

/// A product in `f64`, the sum of the sizes of its terms, and what rounding the vector to 8 bits may lose.
struct Exact {
    sum: f64,
    size: f64,
    rounding: f64,
}

fn exact<S: Number>(matrix: Quantized<S>, row: usize, x: &[f64]) -> Exact {
    let (columns, group_size) = (matrix.shape.columns, matrix.group_size);
    let words = columns / 32 * matrix.bits;
    let weights = &matrix.weights[row * words..][..words];
    let middle = f64::from(1 << (matrix.bits - 1));
    let (mut sum, mut size, mut rounding) = (0.0, 0.0, 0.0);
    for (group, x) in x.chunks(group_size).enumerate() {
        let at = row * (columns / group_size) + group;
        let (scale, bias) = (matrix.scales[at].wide(), matrix.biases[at].wide());
        let largest = x.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        for (i, x) in x.iter().enumerate() {
            let number = number(weights, group * group_size + i, matrix.bits);
            sum += (scale * number + bias) * x;
            size += (scale.abs() * number + bias.abs()) * x.abs();
            rounding += largest / 254.0 * (scale * (number - middle)).abs();
        }
    }
    Exact {
        sum,
        size,
        rounding,
    }
}

fn check<S: Element + Number, T: Element + Number>(
    bits: usize,
    group_size: usize,
    groups: usize,
    rows: usize,
    vectors: usize,
) {
    let columns = groups * group_size;
    let weights = words(rows * columns / 32 * bits, 1);
    let narrow = |seed| -> Vec<S> {
        let numbers = random(rows * groups, seed);
        numbers.iter().map(|x| S::narrow(*x)).collect()
    };
    let (scales, biases) = (narrow(2), narrow(3));
    let x = random(vectors * columns, 4);
    let x: Vec<T> = x.iter().map(|x| T::narrow(*x)).collect();
    let wide: Vec<f64> = x.iter().map(|x| x.wide()).collect();
    let matrix = Quantized {
        shape: MatrixShape { rows, columns },
        bits,
        group_size,
        weights: &weights,
        scales: &scales,
        biases: &biases,
    };
    let mut out = vec![T::narrow(f32::NAN); vectors * rows];
    let mut rounded = out.clone();
    quantized_matmul(matrix, vectors, &x, &mut out).unwrap();
    quantized_matmul_int8(matrix, vectors, &x, &mut rounded).unwrap();
    let single = 1.0 / 16_777_216.0;
    let bound = (8.0 + columns.min(512) as f64 + columns as f64 / 16.0) * single;
    let unrounded = if vectors >= 16 { columns.min(512) } else { 0 };
    let bound_int8 = (16.0 + unrounded as f64 + columns as f64 / 16.0) * single;
    for at in 0..vectors * rows {
        let exact = exact(matrix, at % rows, &wide[at / rows * columns..][..columns]);
        let stored = exact.sum.abs() * T::ROUNDING + T::TINY;
        let error = (out[at].wide() - exact.sum).abs();
        let allowed = exact.size * bound * (1.0 + T::ROUNDING) + stored;
        assert!(error <= allowed, "{bits} bits, {at}: {error:e} {allowed:e}");
        let error = (rounded[at].wide() - exact.sum).abs();
        let allowed = (exact.rounding + exact.size * bound_int8) * (1.0 + T::ROUNDING) + stored;
        assert!(
            error <= allowed,
            "{bits} bits, int8, {at}: {error:e} {allowed:e}"
        );
    }
}

#[rstest]
fn matches_its_formula(
    #[values(2, 3, 4, 6, 8)] bits: usize,
    #[values(32, 64, 128)] group_size: usize,
    #[values(1, 2, 3, 5, 34)] groups: usize,
    #[values(1, 5, 67)] rows: usize,
    #[values(1, 2, 3, 4, 7, 12, 40)] vectors: usize,
) {
    check::<f32, f32>(bits, group_size, groups, rows, vectors);
}

#[rstest]
fn half_precision_is_rounded_once(
    #[values(2, 3, 4, 6, 8)] bits: usize,
    #[values(1, 3, 20)] vectors: usize,
) {
    check::<f16, f32>(bits, 64, 5, 33, vectors);
    check::<bf16, f32>(bits, 64, 5, 33, vectors);
    check::<f16, f16>(bits, 32, 5, 33, vectors);
    check::<bf16, bf16>(bits, 128, 5, 33, vectors);
}

#[rstest]
#[case(2, &[0b11_10_01_00, 0], &[0.0, 1.0, 2.0, 3.0, 0.0])]
#[case(3, &[0b111_110_101_100_011_010_001_000, 0, 0], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0])]
#[case(4, &[0x7654_3210, 0x0000_000f, 0, 0], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 15.0, 0.0])]
#[case(6, &[0b000011_000010_000001 | 63 << 24 | 1 << 30, 0b1, 0, 0, 0, 0], &[1.0, 2.0, 3.0, 0.0, 63.0, 5.0, 0.0])]
#[case(8, &[0xff01_0280, 3, 0, 0, 0, 0, 0, 0], &[128.0, 2.0, 1.0, 255.0, 3.0])]
fn numbers_lie_from_the_low_bits_up(
    #[case] bits: usize,
    #[case] head: &[u32],
    #[case] wanted: &[f32],
    #[values(1, 4, 32)] vectors: usize,
) {
    let mut weights = head.to_vec();
    weights.resize(bits, 0);
    let matrix = Quantized {
        shape: MatrixShape {
            rows: 1,
            columns: 32,
        },
        bits,
        group_size: 32,
        weights: &weights,
        scales: &[1.0_f32],
        biases: &[0.0],
    };
    for (column, wanted) in wanted.iter().enumerate() {
        let mut x = vec![0.0; vectors * 32];
        x[(vectors - 1) * 32 + column] = 1.0;
        let mut out = vec![f32::NAN; vectors];
        quantized_matmul(matrix, vectors, &x, &mut out).unwrap();
        assert_eq!(out[vectors - 1], *wanted);
        quantized_matmul_int8(matrix, vectors, &x, &mut out).unwrap();
        assert!((out[vectors - 1] - wanted).abs() < 1e-4);
    }
}

#[rstest]
fn the_largest_numbers_do_not_overflow_bytes(
    #[values(2, 3, 4, 6, 8)] bits: usize,
    #[values(1.0, -1.0, 1e30, 1e-30)] size: f32,
    #[values(1, 4)] vectors: usize,
) {
    let weights = vec![u32::MAX; 4 * bits];
    let matrix = Quantized {
        shape: MatrixShape {
            rows: 1,
            columns: 128,
        },
        bits,
        group_size: 128,
        weights: &weights,
        scales: &[1.0_f32],
        biases: &[0.0],
    };
    let mut out = vec![f32::NAN; vectors];
    quantized_matmul_int8(matrix, vectors, &vec![size; 128 * vectors], &mut out).unwrap();
    let wanted = f64::from(size) * 128.0 * f64::from((1 << bits) - 1);
    for out in out {
        assert!(
            (f64::from(out) - wanted).abs() <= wanted.abs() * 1e-5,
            "{out} {wanted}"
        );
    }
}

#[rstest]
#[case(f32::NAN)]
#[case(f32::INFINITY)]
#[case(f32::NEG_INFINITY)]
fn what_is_not_finite_reaches_every_result_of_its_vector(
    #[case] x: f32,
    #[values(2, 3, 4, 6, 8)] bits: usize,
) {
    let weights = words(4 * bits, 1);
    let matrix = Quantized {
        shape: MatrixShape {
            rows: 2,
            columns: 64,
        },
        bits,
        group_size: 32,
        weights: &weights,
        scales: &[1.0_f32; 4],
        biases: &[1.0; 4],
    };
    let mut vectors = vec![1.0; 3 * 64];
    vectors[64 + 40] = x;
    let mut out = [0.0; 6];
    quantized_matmul_int8(matrix, 3, &vectors, &mut out).unwrap();
    let finite: Vec<bool> = out.iter().map(|x| x.is_finite()).collect();
    assert_eq!(finite, [true, true, false, false, true, true]);
    assert!(out[2].is_nan() && out[3].is_nan());
    quantized_matmul(matrix, 3, &vectors, &mut out).unwrap();
    assert!(!out[2].is_finite() && !out[3].is_finite());
}

#[rstest]
#[case(0.0)]
#[case(-0.0)]
#[case(1e-45)]
#[case(3e-42)]
#[case(1e33)]
fn extreme_vectors_keep_the_bound(#[case] size: f32, #[values(2, 3, 4, 6, 8)] bits: usize) {
    let weights = words(2 * bits, 1);
    let matrix = Quantized {
        shape: MatrixShape {
            rows: 1,
            columns: 64,
        },
        bits,
        group_size: 64,
        weights: &weights,
        scales: &[1e-3_f32],
        biases: &[-1e-3],
    };
    let x: Vec<f32> = random(64, 2).iter().map(|x| x * size).collect();
    let wide = reference::wide(&x);
    let exact = exact(matrix, 0, &wide);
    let mut out = [f32::NAN];
    for int8 in [false, true] {
        let run = if int8 {
            quantized_matmul_int8
        } else {
            quantized_matmul
        };
        run(matrix, 1, &x, &mut out).unwrap();
        let rounding = if int8 { exact.rounding } else { 0.0 };
        // The smallest numbers are multiples of 2^-149; each of 64 terms may lose half of one, times its number.
        let tiny = 2_f64.powi(-149) * 64.0 * 256.0;
        let error = (f64::from(out[0]) - exact.sum).abs();
        let allowed = rounding + exact.size * 1e-5 + tiny;
        assert!(error <= allowed, "{int8} {error:e} {allowed:e}");
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let right = Quantized {
        shape: MatrixShape {
            rows: 1,
            columns: 32,
        },
        bits: 4,
        group_size: 32,
        weights: &[0; 4],
        scales: &[1.0_f32],
        biases: &[0.0],
    };
    let run = |matrix| {
        let int8 = quantized_matmul_int8(matrix, 1, &[0.0_f32; 32], &mut [0.0]);
        let plain = quantized_matmul(matrix, 1, &[0.0_f32; 32], &mut [0.0]);
        assert_eq!(int8.is_err(), plain.is_err());
        plain
    };
    run(right).unwrap();
    let error = run(Quantized { bits: 5, ..right }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "quantized_matmul: bits must be 2, 3, 4, 6 or 8, got 5"
    );
    for group_size in [0, 64] {
        assert!(
            run(Quantized {
                group_size,
                ..right
            })
            .is_err()
        );
    }
    for bits in [2, 3, 6, 8] {
        assert!(run(Quantized { bits, ..right }).is_err());
    }
    let weights = &[0; 3];
    assert!(run(Quantized { weights, ..right }).is_err());
    let shape = MatrixShape {
        rows: usize::MAX,
        columns: 32,
    };
    assert!(run(Quantized { shape, ..right }).is_err());
    assert!(quantized_matmul(right, 2, &[0.0_f32; 32], &mut [0.0; 2]).is_err());
    let shape = MatrixShape {
        rows: 2,
        columns: 0,
    };
    let empty = Quantized {
        shape,
        weights: &[],
        scales: &[],
        biases: &[],
        ..right
    };
    let mut out = [1.0_f32; 2];
    quantized_matmul(empty, 1, &[], &mut out).unwrap();
    assert_eq!(out, [0.0; 2]);
    quantized_matmul_int8(right, 0, &[0.0_f32; 0], &mut []).unwrap();
}
