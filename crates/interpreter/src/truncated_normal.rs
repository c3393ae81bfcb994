//! Quantiles of the truncated normal distribution, accurate far out in a tail too.

use std::f64::consts::SQRT_2;

use crate::special::{erf, erfinv};

/// The quantile `unit` of the normal distribution truncated to the bounds.
pub(crate) fn quantile(low: f64, high: f64, unit: f64) -> f64 {
    // A probability of 0 would be an infinite number.
    let unit = unit.max(2_f64.powi(-33));
    let is_lower = low + high < 0.0;
    let (from, to, unit) = if is_lower {
        (-high, -low, 1.0 - unit)
    } else {
        (low, high, unit)
    };
    // Beyond this, 1 - erf loses more digits than the ratio of the tail.
    let drawn = if from > 4.0 {
        by_tail(from, to.max(from), unit)
    } else {
        let error = |x: f64| erf(x / SQRT_2);
        SQRT_2 * erfinv(error(from) + unit * (error(to) - error(from)))
    };
    let drawn = if is_lower { -drawn } else { drawn };
    drawn.min(high).max(low)
}

/// Newton's steps on the logarithm of the tail, from the solution for a constant ratio.
fn by_tail(from: f64, to: f64, unit: f64) -> f64 {
    let power = |x: f64| (from - x) * (from + x) / 2.0;
    let first = mills(from);
    let ratio = mills(to) / first * power(to).exp();
    let log = (unit * (ratio - 1.0)).ln_1p();
    let mut x = (from * from - 2.0 * log).sqrt();
    for _ in 0..3 {
        let here = mills(x);
        x += here * (power(x) + (here / first).ln() - log);
    }
    x
}

/// The area of the tail over the density at its beginning (Mills' ratio), as a continued fraction.
fn mills(x: f64) -> f64 {
    1.0 / (1..=14).rev().fold(x, |below, k| x + f64::from(k) / below)
}
