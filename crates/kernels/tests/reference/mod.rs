//! What tests compare with: `f64` formulas, random numbers, and the distance of a result from the exact one.

#![allow(dead_code)]

pub mod attention;

/// Uniform numbers in `[-1, 1)` from a small generator, the same each time.
pub fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..8).for_each(|_| {
        next();
    });
    (0..count).map(|_| next()).collect()
}

/// The distance of `got` from `exact` in units in the last place of the `f32` nearest to `exact`.
pub fn ulps(got: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if got.is_nan() && exact.is_nan() || got == nearest {
        return 0.0;
    }
    if got.is_nan() || exact.is_nan() {
        return f64::INFINITY;
    }
    // The largest number and infinity are neighbours.
    let finite = |x: f32| {
        if x.is_infinite() {
            2_f64.powi(128).copysign(f64::from(x))
        } else {
            f64::from(x)
        }
    };
    let magnitude = nearest.abs().clamp(f32::MIN_POSITIVE, f32::MAX);
    let unit = f64::from(magnitude) - f64::from(f32::from_bits(magnitude.to_bits() - 1));
    let unit = unit.max(f64::from(f32::from_bits(1)));
    let exact = if exact.abs() > 3.5e38 {
        finite(nearest)
    } else {
        exact
    };
    (finite(got) - exact).abs() / unit
}

/// The error function, by its series or its continued fraction.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() > 6.5 {
        return 1_f64.copysign(x);
    }
    if x.abs() > 3.0 {
        return (1.0 - erfc(x.abs())).copysign(x);
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

/// `1 - erf(x)` without cancellation.
pub fn erfc(x: f64) -> f64 {
    if x < 3.0 {
        return 1.0 - erf(x);
    }
    if x > 40.0 {
        return 0.0;
    }
    let mut fraction = x;
    for n in (1..120).rev() {
        fraction = x + f64::from(n) / 2.0 / fraction;
    }
    (-x * x).exp() / (fraction * std::f64::consts::PI.sqrt())
}

/// The numbers in `f64`.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// Asserts that no element is off by more than `bound` times the largest of `exact`.
#[track_caller]
pub fn close(got: &[f32], exact: &[f64], bound: f64) {
    assert_eq!(got.len(), exact.len());
    let largest = exact
        .iter()
        .fold(0.0_f64, |largest, x| largest.max(x.abs()));
    for (i, (got, exact)) in got.iter().zip(exact).enumerate() {
        let error = (f64::from(*got) - exact).abs();
        assert!(
            error <= bound * largest,
            "element {i}: {got:e}, wanted {exact:e}, largest {largest:e}"
        );
    }
}
