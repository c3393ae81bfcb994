//! Functions of real numbers that the standard library lacks: the error function and its inverse.

use std::f64::consts::PI;

/// Returns the error function, to about 1e-15.
pub(crate) fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() > 6.0 {
        return x.signum();
    }
    if x.abs() > 2.5 {
        return x.signum() * (1.0 - erfc_tail(x.abs()));
    }
    // 2 / sqrt(pi) * exp(-x^2) * sum of 2^n x^(2n+1) / (2n+1)!!, whose terms have one sign.
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// Returns `1 - erf(x)` for `x` above 2, by its continued fraction.
fn erfc_tail(x: f64) -> f64 {
    let mut fraction = x;
    for k in (1..=120).rev() {
        fraction = x + f64::from(k) / 2.0 / fraction;
    }
    (-x * x).exp() / PI.sqrt() / fraction
}

/// Returns the number whose error function is `y`; infinite at 1 and -1, NaN beyond.
pub(crate) fn erfinv(y: f64) -> f64 {
    if y.abs() >= 1.0 || y == 0.0 || y.is_nan() {
        return match y {
            1.0 => f64::INFINITY,
            -1.0 => f64::NEG_INFINITY,
            0.0 => y,
            _ => f64::NAN,
        };
    }
    // Winitzki's approximation, then Halley's steps.
    let log = (1.0 - y * y).ln();
    let a = 0.147;
    let b = 2.0 / (PI * a) + log / 2.0;
    let mut x = y.signum() * ((b * b - log / a).sqrt() - b).sqrt();
    for _ in 0..4 {
        let error = if x.abs() > 2.5 {
            y.signum() * ((1.0 - y.abs()) - erfc_tail(x.abs()))
        } else {
            erf(x) - y
        };
        let step = error / (2.0 / PI.sqrt() * (-x * x).exp());
        if !step.is_finite() {
            break;
        }
        x -= step / (1.0 + x * step);
    }
    x
}

/// Returns `ln(1 + exp(x))` without overflow.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Returns `ln(exp(a) + exp(b))`.
pub(crate) fn logaddexp(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    let (max, min) = (a.max(b), a.min(b));
    if max.is_infinite() || min == f64::NEG_INFINITY {
        return max;
    }
    max + softplus(min - max) - softplus(f64::NEG_INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0.5, 0.520_499_877_813_046_5)]
    #[case(-1.0, -0.842_700_792_949_714_9)]
    #[case(2.0, 0.995_322_265_018_952_7)]
    #[case(3.0, 0.999_977_909_503_001_4)]
    fn erf_is_that_of_the_tables(#[case] x: f64, #[case] want: f64) {
        assert!((erf(x) - want).abs() < 1e-15, "{}", erf(x));
        assert!((erfinv(want) - x).abs() < 1e-9, "{}", erfinv(want));
    }
}
