//! Normalizations, softmax and cross entropy of rows against `f64` formulas, and their gradients.

mod reference;

use half::bf16;
use mlx_kernels::{
    NormGradient, RowMajorShape, cross_entropy, layer_norm, layer_norm_gradient, logsumexp,
    rms_norm, rms_norm_gradient, softmax,
};
use reference::{close, random, wide};
use rstest::rstest;

const EPS: f32 = 1e-5;
/// Every length about a register of 1, 4, 8 and 16 lanes, and rows longer than a cache block.
const DIMS: [usize; 22] = [
    1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 511, 1024, 1025, 20_001,
];
const BOUND: f64 = 1.0 / (1 << 21) as f64;
const GRADIENT_BOUND: f64 = 1.0 / (1 << 20) as f64;

fn scale_of(x: &[f64]) -> f64 {
    let mean_square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    1.0 / (mean_square + f64::from(EPS)).sqrt()
}

fn centered(x: &[f64]) -> Vec<f64> {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    x.iter().map(|x| x - mean).collect()
}

fn exact_softmax(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = x.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// Rows of different size: large, small, shifted.
fn input(rows: usize, dim: usize) -> Vec<f32> {
    let mut x = random(rows * dim, 11);
    for (row, x) in x.chunks_mut(dim).enumerate() {
        let (scale, shift) = [(1.0, 0.0), (1e4, 0.0), (1e-3, 0.0), (1.0, 30.0)][row % 4];
        x.iter_mut().for_each(|x| *x = *x * scale + shift);
    }
    x
}

#[test]
fn rms_norm_matches_its_formula_at_every_length() {
    for dim in DIMS {
        let rows = 5;
        let (x, weight) = (input(rows, dim), random(dim, 2));
        let mut out = vec![0.0; rows * dim];
        rms_norm(
            RowMajorShape { rows, dim },
            &x,
            Some(&weight),
            EPS,
            &mut out,
        )
        .unwrap();
        for (x, out) in x.chunks(dim).zip(out.chunks(dim)) {
            let x = wide(x);
            let scale = scale_of(&x);
            let exact: Vec<f64> = x
                .iter()
                .zip(&weight)
                .map(|(x, w)| x * scale * f64::from(*w))
                .collect();
            close(out, &exact, BOUND);
        }
    }
}

#[test]
fn layer_norm_matches_its_formula_at_every_length() {
    for dim in DIMS {
        let rows = 5;
        let (x, weight, bias) = (input(rows, dim), random(dim, 2), random(dim, 3));
        for with_bias in [false, true] {
            let mut out = vec![0.0; rows * dim];
            let given = with_bias.then_some(bias.as_slice());
            layer_norm(
                RowMajorShape { rows, dim },
                &x,
                Some(&weight),
                given,
                EPS,
                &mut out,
            )
            .unwrap();
            for (x, out) in x.chunks(dim).zip(out.chunks(dim)) {
                let size = wide(x).iter().fold(0.0_f64, |size, x| size.max(x.abs()));
                let x = centered(&wide(x));
                let scale = scale_of(&x);
                let term = |i: usize| x[i] * scale * f64::from(weight[i]);
                let shift = |i: usize| if with_bias { f64::from(bias[i]) } else { 0.0 };
                let exact: Vec<f64> = (0..dim).map(|i| term(i) + shift(i)).collect();
                // A mean that is large against the spread costs as many bits as it is larger.
                let largest = exact.iter().fold(1e-30_f64, |size, x| size.max(x.abs()));
                close(out, &exact, BOUND * (1.0 + size * scale / largest));
            }
        }
    }
}

#[test]
fn softmax_matches_its_formula_at_every_length() {
    for dim in DIMS {
        let rows = 4;
        let x: Vec<f32> = input(rows, dim).iter().map(|x| x * 4.0).collect();
        let mut out = vec![0.0; rows * dim];
        softmax(RowMajorShape { rows, dim }, &x, &mut out).unwrap();
        for (x, out) in x.chunks(dim).zip(out.chunks(dim)) {
            for (got, wanted) in out.iter().zip(exact_softmax(&wide(x))) {
                let error = (f64::from(*got) - wanted).abs();
                assert!(
                    error <= wanted * BOUND + 1.2e-38,
                    "dim {dim}: {got:e} {wanted:e}"
                );
            }
        }
    }
}

#[test]
fn softmax_keeps_infinities_and_what_is_not_a_number() {
    let infinity = f32::INFINITY;
    let mut out = [0.0; 3];
    let shape = RowMajorShape { rows: 1, dim: 3 };
    softmax(shape, &[-infinity, 0.0, -infinity], &mut out).unwrap();
    assert_eq!(out, [0.0, 1.0, 0.0]);
    softmax(shape, &[-infinity; 3], &mut out).unwrap();
    assert!(out.iter().all(|x| x.is_nan()));
    softmax(shape, &[0.0, f32::NAN, 1.0], &mut out).unwrap();
    assert!(out.iter().all(|x| x.is_nan()));
    softmax(shape, &[f32::MAX, f32::MIN, f32::MAX], &mut out).unwrap();
    assert_eq!(out, [0.5, 0.0, 0.5]);
}

#[test]
fn logsumexp_and_cross_entropy_match_their_formulas() {
    for dim in DIMS {
        let rows = 4;
        let x: Vec<f32> = input(rows, dim).iter().map(|x| x * 4.0).collect();
        let targets: Vec<u32> = (0..rows).map(|row| (row * 7 % dim) as u32).collect();
        let (mut sums, mut losses) = (vec![0.0; rows], vec![0.0; rows]);
        let shape = RowMajorShape { rows, dim };
        logsumexp(shape, &x, &mut sums).unwrap();
        cross_entropy(shape, &x, &targets, &mut losses).unwrap();
        for (row, x) in x.chunks(dim).map(wide).enumerate() {
            let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let exact = largest + x.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
            let bound = (exact.abs() + 1.0) / 4_194_304.0;
            assert!((f64::from(sums[row]) - exact).abs() <= bound, "dim {dim}");
            let loss = exact - x[targets[row] as usize];
            let bound = bound + loss.abs() / 8_388_608.0;
            assert!((f64::from(losses[row]) - loss).abs() <= bound, "dim {dim}");
        }
    }
}

#[rstest]
#[case(&[f32::NEG_INFINITY; 3], f32::NEG_INFINITY)]
#[case(&[f32::NEG_INFINITY, f32::INFINITY, 0.0], f32::INFINITY)]
#[case(&[f32::MAX, 0.0, 0.0], f32::MAX)]
fn logsumexp_of_extremes(#[case] x: &[f32; 3], #[case] wanted: f32) {
    let mut out = [0.0];
    logsumexp(RowMajorShape { rows: 1, dim: 3 }, x, &mut out).unwrap();
    assert_eq!(out[0], wanted);
    logsumexp(
        RowMajorShape { rows: 1, dim: 3 },
        &[f32::INFINITY, f32::NAN, 0.0],
        &mut out,
    )
    .unwrap();
    assert!(out[0].is_nan());
}

#[test]
fn gradients_match_their_formulas() {
    for dim in DIMS {
        let rows = 37;
        let (x, weight, g) = (random(rows * dim, 4), random(dim, 5), random(rows * dim, 6));
        for center in [false, true] {
            let (mut gx, mut gw, mut gb) = (vec![0.0; rows * dim], vec![0.0; dim], vec![0.0; dim]);
            let shape = RowMajorShape { rows, dim };
            if center {
                let out = NormGradient {
                    x: &mut gx,
                    weight: &mut gw,
                    bias: &mut gb,
                };
                layer_norm_gradient(shape, &x, Some(&weight), EPS, &g, out).unwrap();
            } else {
                let out = NormGradient {
                    x: &mut gx,
                    weight: &mut gw,
                    bias: &mut [],
                };
                rms_norm_gradient(shape, &x, Some(&weight), EPS, &g, out).unwrap();
            }
            let (mut sum_w, mut sum_b) = (vec![0.0; dim], vec![0.0; dim]);
            for row in 0..rows {
                let at = row * dim..(row + 1) * dim;
                let x = if center {
                    centered(&wide(&x[at.clone()]))
                } else {
                    wide(&x[at.clone()])
                };
                let r = scale_of(&x);
                let g = wide(&g[at.clone()]);
                let h: Vec<f64> = g
                    .iter()
                    .zip(&weight)
                    .map(|(g, w)| g * f64::from(*w))
                    .collect();
                let mean_h = if center {
                    h.iter().sum::<f64>() / dim as f64
                } else {
                    0.0
                };
                let mean_hn = h.iter().zip(&x).map(|(h, x)| h * x * r).sum::<f64>() / dim as f64;
                let size = r * h.iter().fold(0.0_f64, |size, h| size.max(h.abs()));
                for i in 0..dim {
                    sum_w[i] += g[i] * x[i] * r;
                    sum_b[i] += g[i];
                    let exact = r * (h[i] - mean_h - x[i] * r * mean_hn);
                    let error = (f64::from(gx[row * dim + i]) - exact).abs();
                    let bound = GRADIENT_BOUND * size * 2.0 * (1.0 + x[i].abs() * r);
                    assert!(error <= bound, "dim {dim}: {error:e} {bound:e}");
                }
            }
            let size = rows as f64 / 4.0;
            for i in 0..dim {
                assert!((f64::from(gw[i]) - sum_w[i]).abs() <= GRADIENT_BOUND * size);
                if center {
                    assert!((f64::from(gb[i]) - sum_b[i]).abs() <= GRADIENT_BOUND * size);
                }
            }
        }
    }
}

#[test]
fn half_precision_rows_round_once() {
    let (rows, dim) = (3, 100);
    let x: Vec<bf16> = random(rows * dim, 1)
        .iter()
        .map(|x| bf16::from_f32(*x))
        .collect();
    let single: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
    let (mut half, mut full) = (vec![bf16::ZERO; rows * dim], vec![0.0; rows * dim]);
    rms_norm(RowMajorShape { rows, dim }, &x, None, EPS, &mut half).unwrap();
    rms_norm(RowMajorShape { rows, dim }, &single, None, EPS, &mut full).unwrap();
    assert!(
        half.iter()
            .zip(&full)
            .all(|(half, full)| *half == bf16::from_f32(*full))
    );
    softmax(RowMajorShape { rows, dim }, &x, &mut half).unwrap();
    softmax(RowMajorShape { rows, dim }, &single, &mut full).unwrap();
    assert!(
        half.iter()
            .zip(&full)
            .all(|(half, full)| *half == bf16::from_f32(*full))
    );
}

#[test]
fn large_outputs_past_the_cache_equal_small_ones() {
    let (rows, dim) = (1501, 4099);
    let (x, weight) = (random(rows * dim, 1), random(dim, 2));
    let mut all = vec![0.0; rows * dim];
    let mut one = vec![0.0; dim];
    rms_norm(
        RowMajorShape { rows, dim },
        &x,
        Some(&weight),
        EPS,
        &mut all,
    )
    .unwrap();
    for row in (0..rows).step_by(50) {
        let at = row * dim..(row + 1) * dim;
        rms_norm(
            RowMajorShape { rows: 1, dim },
            &x[at.clone()],
            Some(&weight),
            EPS,
            &mut one,
        )
        .unwrap();
        assert_eq!(all[at], one);
    }
    softmax(RowMajorShape { rows, dim }, &x, &mut all).unwrap();
    for row in (0..rows).step_by(50) {
        let at = row * dim..(row + 1) * dim;
        softmax(RowMajorShape { rows: 1, dim }, &x[at.clone()], &mut one).unwrap();
        assert_eq!(all[at], one);
    }
}

#[test]
fn empty_shapes_and_wrong_lengths_do_not_panic() {
    let empty = RowMajorShape { rows: 0, dim: 4 };
    softmax::<f32>(empty, &[], &mut []).unwrap();
    rms_norm::<f32>(
        RowMajorShape { rows: 3, dim: 0 },
        &[],
        Some(&[]),
        EPS,
        &mut [],
    )
    .unwrap();
    logsumexp::<f32>(empty, &[], &mut []).unwrap();
    assert!(logsumexp::<f32>(RowMajorShape { rows: 2, dim: 0 }, &[], &mut [0.0; 2]).is_err());
    let shape = RowMajorShape { rows: 1, dim: 2 };
    let error = rms_norm(shape, &[1.0, 2.0], Some(&[1.0]), EPS, &mut [0.0; 2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rms_norm: weight must have 2 elements, got 1"
    );
    let error = cross_entropy(shape, &[1.0, 2.0], &[2], &mut [0.0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cross_entropy: target must be less than the number of classes, got 2"
    );
    let huge = RowMajorShape {
        rows: usize::MAX,
        dim: 2,
    };
    assert!(softmax(huge, &[0.0], &mut [0.0]).is_err());
}

#[rstest]
#[case(1, 1)]
#[case(3, 10)]
#[case(40, 1003)]
#[case(2, 70_001)]
fn the_gradient_of_cross_entropy_is_softmax_less_the_target(
    #[case] rows: usize,
    #[case] dim: usize,
) {
    let shape = RowMajorShape { rows, dim };
    let x: Vec<f32> = random(rows * dim, 1).iter().map(|x| x * 20.0).collect();
    let g = random(rows, 2);
    let targets: Vec<u32> = (0..rows).map(|r| (r * 7919 % dim) as u32).collect();
    let mut out = vec![7.0; rows * dim];
    mlx_kernels::cross_entropy_gradient(shape, &x, &targets, &g, &mut out).unwrap();
    let narrow: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
    let mut short = vec![bf16::ZERO; rows * dim];
    mlx_kernels::cross_entropy_gradient(shape, &narrow, &targets, &g, &mut short).unwrap();
    let check = |row: usize, x: &[f64], got: &dyn Fn(usize) -> f64, bound: f64| {
        let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = x.iter().map(|x| (x - most).exp()).sum();
        for (class, x) in x.iter().enumerate() {
            let target = f64::from(u8::from(targets[row] as usize == class));
            let wanted = f64::from(g[row]) * ((x - most).exp() / total - target);
            let error = (got(class) - wanted).abs();
            assert!(
                error <= bound * f64::from(g[row].abs()),
                "{row} {class}: {error:e}"
            );
        }
    };
    for row in 0..rows {
        let range = row * dim..(row + 1) * dim;
        let exact: Vec<f64> = x[range.clone()].iter().map(|x| f64::from(*x)).collect();
        check(
            row,
            &exact,
            &|class| f64::from(out[row * dim + class]),
            1.0 / 1_048_576.0,
        );
        let exact: Vec<f64> = narrow[range].iter().map(|x| x.to_f64()).collect();
        check(
            row,
            &exact,
            &|class| short[row * dim + class].to_f64(),
            0.004,
        );
    }
}

#[test]
fn the_gradient_of_cross_entropy_refuses_targets_that_are_no_class() {
    let shape = RowMajorShape { rows: 1, dim: 2 };
    let mut out = [7.0; 2];
    let error = mlx_kernels::cross_entropy_gradient(shape, &[0.0, 0.0], &[2], &[1.0], &mut out)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cross_entropy_gradient: target must be less than the number of classes, got 2"
    );
    assert_eq!(out, [7.0; 2]);
}
