//! Fourier transforms against the sum in `f64`, for sizes of every kind, any axes, layouts, and back again.

mod reference;

use mlx_kernels::{
    FftShape, complex_abs, complex_abs_to_complex, complex_to_real, fft, inverse_real_fft,
    real_fft, real_to_complex,
};
use reference::{random, ulps};
use rstest::rstest;

type Pair = (f64, f64);

/// The sum of the definition along one axis of complex numbers.
fn along(x: &[Pair], shape: &[usize], axis: usize, sign: f64) -> Vec<Pair> {
    let (n, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let mut out = vec![(0.0, 0.0); x.len()];
    for (at, out) in out.iter_mut().enumerate() {
        let (outer, k, column) = (at / (n * inner), at / inner % n, at % inner);
        for j in 0..n {
            let (re, im) = x[(outer * n + j) * inner + column];
            let angle = sign * std::f64::consts::TAU * ((j * k) % n) as f64 / n as f64;
            out.0 += re * angle.cos() - im * angle.sin();
            out.1 += re * angle.sin() + im * angle.cos();
        }
    }
    out
}

fn exact(x: &[Pair], shape: &[usize], axes: &[usize], inverse: bool) -> Vec<Pair> {
    let mut all = x.to_vec();
    for &axis in axes {
        all = along(&all, shape, axis, if inverse { 1.0 } else { -1.0 });
    }
    let elements: f64 = axes.iter().map(|&axis| shape[axis] as f64).product();
    let scale = if inverse { 1.0 / elements } else { 1.0 };
    all.iter()
        .map(|(re, im)| (re * scale, im * scale))
        .collect()
}

fn strides(shape: &[usize]) -> Vec<isize> {
    let mut stride = 1;
    let mut all: Vec<isize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let own = stride;
            stride *= size as isize;
            own
        })
        .collect();
    all.reverse();
    all
}

/// Within a few roundings of the result's root mean square.
fn assert_near(got: &[f64], want: &[f64], what: &str) {
    assert_within(1.0, got, want, what);
}

fn assert_within(factor: f64, got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let square: f64 = want.iter().map(|x| x * x).sum();
    let allowed = factor * 3e-6 * (square / want.len().max(1) as f64).sqrt().max(1e-9);
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let allowed = allowed + 1e-6 * want.abs();
        assert!((got - want).abs() <= allowed, "{what} [{at}]: {got} {want}");
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn flat(x: &[Pair]) -> Vec<f64> {
    x.iter().flat_map(|(re, im)| [*re, *im]).collect()
}

#[rstest]
#[case(&[1], &[0])]
#[case(&[2], &[0])]
#[case(&[3, 4], &[1])]
#[case(&[4, 30], &[0])]
#[case(&[2, 5, 7], &[1])]
#[case(&[6, 8, 9], &[0, 1, 2])]
#[case(&[6, 8, 9], &[2, 0])]
#[case(&[3, 100], &[1])]
#[case(&[97, 19], &[0, 1])]
#[case(&[2, 1, 128], &[1, 2])]
#[case(&[64, 64], &[0, 1])]
#[case(&[2, 1000], &[1])]
#[case(&[1009], &[0])]
fn transforms_are_the_sums_of_their_definition(#[case] shape: &[usize], #[case] axes: &[usize]) {
    let of = FftShape { shape, axes };
    let n: usize = shape.iter().product();
    let x = random(2 * n, 5);
    let pairs: Vec<Pair> = x
        .chunks(2)
        .map(|x| (f64::from(x[0]), f64::from(x[1])))
        .collect();
    for inverse in [false, true] {
        let mut out = vec![0.0; 2 * n];
        fft(of, inverse, &x, &strides(shape), &mut out).unwrap();
        let want = flat(&exact(&pairs, shape, axes, inverse));
        assert_near(&wide(&out), &want, &format!("{shape:?} {axes:?} {inverse}"));
    }
    // Real numbers: the first half of the last axis.
    let reals = &x[..n];
    let last = *axes.last().unwrap();
    let half = shape[last] / 2 + 1;
    let inner: usize = shape[last + 1..].iter().product();
    let pairs: Vec<Pair> = reals.iter().map(|&x| (f64::from(x), 0.0)).collect();
    let whole = exact(&pairs, shape, axes, false);
    let is_kept = |at: &usize| at / inner % shape[last] < half;
    let kept: Vec<Pair> = (0..n).filter(is_kept).map(|at| whole[at]).collect();
    let mut out = vec![0.0; 2 * kept.len()];
    real_fft(of, reals, &strides(shape), &mut out).unwrap();
    assert_near(
        &wide(&out),
        &flat(&kept),
        &format!("real {shape:?} {axes:?}"),
    );
    let mut half_shape = shape.to_vec();
    half_shape[last] = half;
    let mut back = vec![0.0; n];
    inverse_real_fft(of, &out, &strides(&half_shape), &mut back).unwrap();
    assert_near(
        &wide(&back),
        &wide(reals),
        &format!("back {shape:?} {axes:?}"),
    );
}

#[test]
fn strides_are_followed() {
    // The transpose of 5 x 4, and one row seen three times.
    let x = random(40, 1);
    let mut transposed = vec![0.0; 40];
    for (i, j) in (0..4).flat_map(|i| (0..5).map(move |j| (i, j))) {
        let (to, from) = (2 * (i * 5 + j), 2 * (j * 4 + i));
        transposed[to..to + 2].copy_from_slice(&x[from..from + 2]);
    }
    let of = FftShape {
        shape: &[4, 5],
        axes: &[0, 1],
    };
    let (mut got, mut want) = ([0.0; 40], [0.0; 40]);
    fft(of, false, &x, &[1, 4], &mut got).unwrap();
    fft(of, false, &transposed, &[5, 1], &mut want).unwrap();
    assert_eq!(got, want);
    let of = FftShape {
        shape: &[3, 8],
        axes: &[1],
    };
    let mut got = [0.0; 30];
    real_fft(of, &x[..8], &[0, 1], &mut got).unwrap();
    assert_eq!(got[..10], got[20..]);
}

#[test]
fn imaginary_parts_that_real_numbers_do_not_have_are_not_read() {
    let of = FftShape {
        shape: &[4],
        axes: &[0],
    };
    let (mut a, mut b) = ([0.0; 4], [0.0; 4]);
    inverse_real_fft(of, &[1.0, 0.0, 2.0, 3.0, 4.0, 0.0], &[1], &mut a).unwrap();
    inverse_real_fft(of, &[1.0, 9.0, 2.0, 3.0, 4.0, f32::NAN], &[1], &mut b).unwrap();
    assert_eq!(a, b);
}

#[test]
fn refuses_axes_that_are_not_there() {
    let mut out = [0.0; 8];
    for axes in [&[][..], &[1], &[0, 0]] {
        let of = FftShape { shape: &[4], axes };
        assert!(fft(of, false, &[0.0; 8], &[1], &mut out).is_err());
    }
}

/// A sum of a few waves, whose transform is known.
#[rstest]
#[case(1 << 16)]
#[case(1 << 17)]
#[case(300 * 257)]
#[case(65_537)]
fn long_rows_are_transformed(#[case] n: usize) {
    let waves = [(0, 0.5), (1, 1.0), (n / 3, 2.0), (n - 2, -1.5)];
    let turn = |j: usize, k: usize| {
        let angle = std::f64::consts::TAU * ((j * k) % n) as f64 / n as f64;
        (angle.cos(), angle.sin())
    };
    let mut x = vec![0.0; 2 * n];
    for (j, x) in x.chunks_mut(2).enumerate() {
        for (k, size) in waves {
            x[0] += (size * turn(j, k).0) as f32;
            x[1] += (size * turn(j, k).1) as f32;
        }
    }
    let of = FftShape {
        shape: &[n],
        axes: &[0],
    };
    let mut got = vec![0.0; 2 * n];
    fft(of, false, &x, &[1], &mut got).unwrap();
    let mut want = vec![0.0; 2 * n];
    for (k, size) in waves {
        want[2 * k] = size * n as f64;
    }
    // A rounding of a rotation is the same for all of a wave: it shows as another wave.
    let largest = want.iter().copied().fold(0.0, f64::max);
    for (at, (got, want)) in got.iter().zip(&want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(error <= 2e-7 * largest, "{n} [{at}]: {got} {want}");
    }
    let mut back = vec![0.0; 2 * n];
    fft(of, true, &got, &[1], &mut back).unwrap();
    // A prime size takes two transforms of about twice the size, each with roundings of its own.
    let back: Vec<f64> = wide(&back);
    let x_wide = wide(&x);
    let factor = if n == 65_537 { 8.0 } else { 1.0 };
    assert_within(factor, &back, &x_wide, &format!("{n} back"));
    let real = &x[..n];
    let mut half = vec![0.0; 2 * (n / 2 + 1)];
    real_fft(of, real, &[1], &mut half).unwrap();
    let mut back = vec![0.0; n];
    inverse_real_fft(of, &half, &[1], &mut back).unwrap();
    assert_within(factor, &wide(&back), &wide(real), &format!("{n} real"));
}

#[test]
fn magnitudes_are_within_units_in_the_last_place_at_any_scale() {
    let mut x = random(6000, 3);
    for (at, x) in x.iter_mut().enumerate().skip(3000) {
        *x *= 10_f32.powi(at as i32 / 2 % 70 - 38);
    }
    x.extend([0.0, 0.0, -0.0, 3.0, f32::INFINITY, f32::NAN, f32::NAN, 1.0]);
    x.extend([f32::MAX, 1.0, 1e-45, 0.0, -f32::INFINITY, 5.0]);
    let mut out = vec![0.0; x.len() / 2];
    complex_abs(&x, &mut out).unwrap();
    for (pair, got) in x.chunks(2).zip(&out) {
        let exact = f64::from(pair[0]).hypot(f64::from(pair[1]));
        assert!(ulps(*got, exact) <= 1.5, "{pair:?} {got}");
    }
    let mut pairs = vec![1.0; 2 * x.len()];
    real_to_complex(&x, &mut pairs).unwrap();
    let is_same = |(pair, x): (&[f32], &f32)| pair[0].to_bits() == x.to_bits() && pair[1] == 0.0;
    assert!(pairs.chunks(2).zip(&x).all(is_same));
    assert!(complex_abs(&x[1..], &mut out).is_err());
    // The same as complex numbers, and real parts of these.
    let mut complex = vec![1.0; x.len()];
    complex_abs_to_complex(&x, &mut complex).unwrap();
    let is_same = |(pair, x): (&[f32], &f32)| pair[0].to_bits() == x.to_bits() && pair[1] == 0.0;
    assert!(complex.chunks(2).zip(&out).all(is_same));
    let mut real = vec![1.0; out.len()];
    complex_to_real(&complex, &mut real).unwrap();
    let mut both = real.iter().zip(&out);
    assert!(both.all(|(real, out)| real.to_bits() == out.to_bits()));
    assert!(complex_abs_to_complex(&x[1..], &mut complex).is_err());
    assert!(complex_to_real(&complex[1..], &mut real).is_err());
}
