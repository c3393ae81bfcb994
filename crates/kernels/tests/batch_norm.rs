//! Batch norm and its gradient against plain loops in `f64`.

use half::{bf16, f16};
use mlx_kernels::{
    Affine, BatchNormGradient, BatchStatistics, Element, batch_norm, batch_norm_gradient,
};
use rstest::rstest;

const EPS: f64 = 1e-3;

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    };
    (0..count).map(|_| next() * 2.0 - 1.0).collect()
}

/// What is computed of a batch, in `f64`.
struct Computed {
    y: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
    x: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

fn reference(x: &[f64], weight: &[f64], bias: &[f64], g: &[f64]) -> Computed {
    let channels = weight.len();
    let rows = x.len() / channels;
    let mut computed = Computed {
        y: vec![0.0; x.len()],
        mean: vec![0.0; channels],
        variance: vec![0.0; channels],
        x: vec![0.0; x.len()],
        weight: vec![0.0; channels],
        bias: vec![0.0; channels],
    };
    for c in 0..channels {
        let of = |all: &[f64]| -> Vec<f64> { (0..rows).map(|r| all[r * channels + c]).collect() };
        let mean_of = |all: &[f64]| all.iter().sum::<f64>() / rows as f64;
        let (x, g) = (of(x), of(g));
        let mean = mean_of(&x);
        let squares: Vec<f64> = x.iter().map(|x| (x - mean) * (x - mean)).collect();
        let variance = mean_of(&squares);
        let scale = 1.0 / (variance + EPS).sqrt();
        let n: Vec<f64> = x.iter().map(|x| (x - mean) * scale).collect();
        let gn: Vec<f64> = n.iter().zip(&g).map(|(n, g)| n * g).collect();
        let (mean_g, mean_gn) = (mean_of(&g), mean_of(&gn));
        for r in 0..rows {
            let at = r * channels + c;
            computed.y[at] = n[r] * weight[c] + bias[c];
            computed.x[at] = scale * weight[c] * (g[r] - mean_g - n[r] * mean_gn);
        }
        (computed.mean[c], computed.variance[c]) = (mean, variance);
        (computed.weight[c], computed.bias[c]) = (gn.iter().sum(), g.iter().sum());
    }
    computed
}

#[track_caller]
fn near<T: Copy + Into<f64>>(got: &[T], wanted: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), wanted.len());
    for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let got: f64 = (*got).into();
        let is_near = (got - wanted).abs() <= tolerance * (1.0 + wanted.abs());
        assert!(is_near, "{what} at {at}: {got} {wanted}");
    }
}

fn compare<T: Element + Into<f64>>(
    (rows, channels): (usize, usize),
    offset: f64,
    (of, tolerance): (fn(f64) -> T, f64),
) {
    let stored = |count: usize, seed: u64, offset: f64| -> Vec<T> {
        let all = numbers(count, seed).into_iter();
        all.map(|x| of(x + offset)).collect()
    };
    let x = stored(rows * channels, 1, offset);
    let g = stored(rows * channels, 2, 0.0);
    let (weight, bias) = (stored(channels, 3, 1.5), stored(channels, 4, 0.0));
    let wide = |all: &[T]| -> Vec<f64> { all.iter().map(|x| (*x).into()).collect() };
    let wanted = reference(&wide(&x), &wide(&weight), &wide(&bias), &wide(&g));
    let mut y = vec![T::default(); x.len()];
    let mut known = [(); 4].map(|()| vec![0.0_f32; channels]);
    let [mean, rest, variance, scale] = known.each_mut().map(Vec::as_mut_slice);
    let statistics = BatchStatistics {
        mean,
        rest,
        variance,
        scale,
    };
    let affine = Affine {
        weight: Some(&weight),
        bias: Some(&bias),
    };
    batch_norm(&x, affine, EPS as f32, &mut y, statistics).unwrap();
    near(&y, &wanted.y, tolerance, "y");
    near(&known[0], &wanted.mean, 1e-6, "mean");
    near(&known[2], &wanted.variance, 1e-6, "variance");
    let [mean, rest, variance, scale] = known.each_ref().map(Vec::as_slice);
    let statistics = BatchStatistics {
        mean,
        rest,
        variance,
        scale,
    };
    let (mut dx, mut dw, mut db) = (y.clone(), weight.clone(), bias.clone());
    let gradient = BatchNormGradient {
        x: &mut dx,
        weight: &mut dw,
        bias: &mut db,
    };
    batch_norm_gradient(&x, Some(&weight), statistics, &g, gradient).unwrap();
    near(&dx, &wanted.x, 2.0 * tolerance, "gradient of x");
    let sums = tolerance * (rows as f64).sqrt();
    near(&dw, &wanted.weight, sums, "gradient of weight");
    near(&db, &wanted.bias, sums, "gradient of bias");
}

#[rstest]
fn a_batch_is_normalized_with_its_gradients(
    #[values(1, 2, 7, 33, 1000)] rows: usize,
    #[values(1, 3, 16, 24, 67, 129)] channels: usize,
) {
    compare::<f32>((rows, channels), 0.25, (|x| x as f32, 2e-6));
    compare::<f16>((rows, channels), 0.25, (f16::from_f64, 2e-3));
    compare::<bf16>((rows, channels), 0.25, (bf16::from_f64, 2e-2));
}

#[rstest]
#[case(1000, 64)]
#[case(333, 5)]
#[case(3, 5000)]
fn means_far_from_zero_lose_nothing(#[case] rows: usize, #[case] channels: usize) {
    compare::<f32>((rows, channels), 4096.0, (|x| x as f32, 2e-5));
}

#[test]
fn an_empty_batch_and_vectors_that_are_not_given_are_taken() {
    let mut known = [[0.0_f32; 2]; 4];
    let [mean, rest, variance, scale] = known.each_mut().map(|all| &mut all[..]);
    let statistics = BatchStatistics {
        mean,
        rest,
        variance,
        scale,
    };
    let affine = Affine::<f32> {
        weight: None,
        bias: None,
    };
    batch_norm(&[], affine, 1e-5, &mut [], statistics).unwrap();
    assert!(known[0][0].is_nan());
}

#[test]
fn one_number_that_is_none_is_of_its_channel() {
    let mut known = [[0.0_f32; 2]; 4];
    let [mean, rest, variance, scale] = known.each_mut().map(|all| &mut all[..]);
    let statistics = BatchStatistics {
        mean,
        rest,
        variance,
        scale,
    };
    let affine = Affine {
        weight: None,
        bias: None,
    };
    let mut y = [0.0; 4];
    batch_norm(&[f32::NAN, 1.0, 2.0, 3.0], affine, 0.0, &mut y, statistics).unwrap();
    assert!(y[0].is_nan() && y[2].is_nan() && known[2][0].is_nan());
    assert_eq!((y[1], y[3]), (-1.0, 1.0));
}

#[test]
fn other_lengths_are_refused() {
    let mut known = [[0.0_f32; 2]; 4];
    let [mean, rest, variance, scale] = known.each_mut().map(|all| &mut all[..]);
    let statistics = BatchStatistics {
        mean,
        rest,
        variance,
        scale,
    };
    let affine = Affine {
        weight: Some(&[1.0][..]),
        bias: None,
    };
    let error = batch_norm(&[1.0; 4], affine, 0.0, &mut [0.0; 4], statistics).unwrap_err();
    assert_eq!(
        error.to_string(),
        "batch_norm: weight must have 2 elements, got 1"
    );
    let affine = Affine {
        weight: None,
        bias: None,
    };
    let none = BatchStatistics::default();
    let error = batch_norm(&[1.0; 4], affine, 0.0, &mut [0.0; 4], none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "batch_norm: the number of channels must be a divisor of the number of elements, got 0"
    );
}
