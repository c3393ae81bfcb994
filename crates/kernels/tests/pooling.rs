//! Pooling and its gradients against plain loops in `f64`.

use half::{bf16, f16};
use mlx_kernels::{
    Element, Pool, PoolAxis, max_pool, max_pool_gradient, mean_pool, mean_pool_gradient,
};
use rstest::rstest;

/// A window along one axis: kernel, stride, padding, input.
fn axis([kernel, stride, padding, input]: [usize; 4]) -> PoolAxis {
    PoolAxis {
        input,
        kernel,
        output: (input + 2 * padding - kernel) / stride + 1,
        stride,
        padding,
    }
}

/// Small whole numbers, so that there are ties.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % 7
    };
    (0..count).map(|_| next() as f64 - 3.0).collect()
}

/// Maxima or means, and the gradient for these cotangents.
fn reference(pool: Pool<'_>, is_mean: bool, x: &[f64], cotangents: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let one = axis([1, 1, 0, 1]);
    let mut axes = [one; 3];
    axes[3 - pool.axes.len()..].copy_from_slice(pool.axes);
    let sizes = |of: fn(&PoolAxis) -> usize| axes.map(|axis| of(&axis));
    let (kernel, outputs, inputs) = (
        sizes(|axis| axis.kernel),
        sizes(|axis| axis.output),
        sizes(|axis| axis.input),
    );
    let places = |[a, b, c]: [usize; 3]| {
        (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| [i, j, k])))
    };
    let outside = if is_mean { 0.0 } else { f64::NEG_INFINITY };
    let (mut maxima, mut gradient) = (Vec::new(), vec![0.0; x.len()]);
    for batch in 0..pool.batch {
        for output in places(outputs) {
            for channel in 0..pool.channels {
                let window: Vec<(Option<usize>, f64)> = places(kernel)
                    .map(|k| {
                        let mut at = batch;
                        for a in 0..3 {
                            let place = output[a] * axes[a].stride + k[a];
                            match place.checked_sub(axes[a].padding) {
                                Some(place) if place < inputs[a] => at = at * inputs[a] + place,
                                _ => return (None, outside),
                            }
                        }
                        let at = at * pool.channels + channel;
                        (Some(at), x[at])
                    })
                    .collect();
                let cotangent = cotangents[maxima.len()];
                if is_mean {
                    let count = window.len() as f64;
                    for at in window.iter().filter_map(|(at, _)| *at) {
                        gradient[at] += cotangent / count;
                    }
                    maxima.push(window.iter().map(|(_, x)| x).sum::<f64>() / count);
                    continue;
                }
                let is_nan = window.iter().any(|(_, x)| x.is_nan());
                let max = window
                    .iter()
                    .map(|(_, x)| *x)
                    .fold(f64::NEG_INFINITY, f64::max);
                let max = if is_nan { f64::NAN } else { max };
                let count = window.iter().filter(|(_, x)| *x == max).count() as f64;
                for (at, x) in window {
                    if let Some(at) = at {
                        let share = if x == max { 1.0 } else { 0.0 };
                        gradient[at] += cotangent * share / count;
                    }
                }
                maxima.push(max);
            }
        }
    }
    (maxima, gradient)
}

fn check<T: Element>(
    axes: &[PoolAxis],
    channels: usize,
    x: &[f64],
    round: fn(f64) -> T,
    value: fn(T) -> f64,
    tolerance: f64,
) {
    let pool = Pool {
        batch: 2,
        axes,
        channels,
    };
    let outputs: usize = axes.iter().map(|axis| axis.output).product();
    let cotangents = numbers(2 * outputs * channels, 5);
    let (maxima, gradient) = reference(pool, false, x, &cotangents);
    let wide = (x, cotangents.clone());
    let x: Vec<T> = x.iter().map(|&x| round(x)).collect();
    let cotangents: Vec<T> = cotangents.iter().map(|&x| round(x)).collect();
    let mut out = vec![T::default(); cotangents.len()];
    max_pool(pool, &x, &mut out).unwrap();
    for (got, want) in out.iter().zip(&maxima) {
        let got = value(*got);
        assert!(
            got == *want || got.is_nan() && want.is_nan(),
            "{got} {want}"
        );
    }
    let near = |got: &[T], want: &[f64]| {
        for (at, (got, want)) in got.iter().zip(want).enumerate() {
            let got = value(*got);
            let is_near = (got - want).abs() <= tolerance * want.abs().max(1.0);
            assert!(
                is_near || got.is_nan() && want.is_nan() || got == *want,
                "{at}: {got} {want}"
            );
        }
    };
    let mut got = vec![T::default(); x.len()];
    max_pool_gradient(pool, &x, &cotangents, &mut got).unwrap();
    near(&got, &gradient);
    let (means, gradient) = reference(pool, true, wide.0, &wide.1);
    mean_pool(pool, &x, &mut out).unwrap();
    near(&out, &means);
    mean_pool_gradient(pool, &cotangents, &mut got).unwrap();
    near(&got, &gradient);
}

#[rstest]
#[case(&[[3, 2, 1, 9]], 5)]
#[case(&[[2, 2, 0, 8]], 16)]
#[case(&[[1, 1, 0, 4]], 1)]
#[case(&[[1, 3, 0, 8]], 3)]
#[case(&[[3, 2, 1, 7], [2, 1, 0, 6]], 3)]
#[case(&[[3, 2, 1, 56], [3, 2, 1, 55]], 33)]
#[case(&[[4, 3, 2, 10], [5, 1, 2, 7]], 17)]
#[case(&[[2, 5, 3, 4], [3, 2, 3, 3]], 2)]
#[case(&[[3, 2, 1, 5], [3, 1, 1, 4], [2, 3, 1, 9]], 6)]
fn equals_the_reference(#[case] windows: &[[usize; 4]], #[case] channels: usize) {
    let axes: Vec<PoolAxis> = windows.iter().map(|&window| axis(window)).collect();
    let inputs: usize = axes.iter().map(|axis| axis.input).product();
    let x = numbers(2 * inputs * channels, 1);
    check::<f32>(&axes, channels, &x, |x| x as f32, f64::from, 1e-6);
    check::<f16>(&axes, channels, &x, f16::from_f64, f16::to_f64, 2e-3);
    check::<bf16>(&axes, channels, &x, bf16::from_f64, bf16::to_f64, 2e-2);
}

#[test]
fn infinities_and_nan() {
    let axes = [axis([3, 2, 1, 7]), axis([3, 1, 1, 5])];
    let mut x = numbers(2 * 35 * 4, 3);
    for (at, x) in x.iter_mut().enumerate() {
        match at % 11 {
            0 => *x = f64::INFINITY,
            1..=8 => *x = f64::NEG_INFINITY,
            _ => {}
        }
    }
    check::<f32>(&axes, 4, &x, |x| x as f32, f64::from, 1e-6);
    x[50] = f64::NAN;
    check::<f32>(&axes, 4, &x, |x| x as f32, f64::from, 1e-6);
    let lowest = vec![f64::NEG_INFINITY; x.len()];
    check::<f32>(&axes, 4, &lowest, |x| x as f32, f64::from, 1e-6);
}

#[test]
fn refuses_other_lengths_and_sizes() {
    let pool = |axes| Pool {
        batch: 1,
        axes,
        channels: 1,
    };
    let axes = [axis([2, 2, 0, 4])];
    let text = max_pool(pool(&axes), &[0.0; 3], &mut [0.0; 2])
        .unwrap_err()
        .to_string();
    assert_eq!(text, "max_pool: x must have 4 elements, got 3");
    let zero = [PoolAxis {
        kernel: 0,
        ..axes[0]
    }];
    let text = max_pool(pool(&zero), &[0.0; 4], &mut [0.0; 2])
        .unwrap_err()
        .to_string();
    assert_eq!(text, "max_pool: kernel must be at least 1, got 0");
    let text = mean_pool(pool(&axes), &[0.0; 4], &mut [0.0; 3]).unwrap_err();
    assert_eq!(
        text.to_string(),
        "mean_pool: out must have 2 elements, got 3"
    );
    let text = mean_pool_gradient(pool(&axes), &[0.0; 2], &mut [0.0; 5]).unwrap_err();
    let text = text.to_string();
    assert_eq!(text, "mean_pool_gradient: x must have 4 elements, got 5");
    mean_pool::<f32>(
        Pool {
            batch: 0,
            ..pool(&axes)
        },
        &[],
        &mut [],
    )
    .unwrap();
    let text = max_pool_gradient(pool(&[]), &[0.0; 4], &[0.0; 2], &mut [0.0; 4]).unwrap_err();
    let text = text.to_string();
    assert_eq!(
        text,
        "max_pool_gradient: the number of axes must be 1 to 3, got 0"
    );
}
