//! Logarithm and exponential that the compiler vectorizes.
//!
//! The standard library calls a scalar C function per element, which costs more than the
//! transforms around it. Both are within 2e-7 of the true value (relative for `exp`,
//! absolute for `log10` of values near one, relative elsewhere).

/// Returns `log10(x)` for a positive, normal `x`.
#[inline(always)]
pub(super) fn log10(x: f32) -> f32 {
    // x = 2^exponent * mantissa with the mantissa in [sqrt(1/2), sqrt(2)).
    const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let exponent = (shifted as i32) >> 23;
    let mantissa = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(SQRT_HALF_BITS));
    // ln(m) = 2 atanh(s); with |s| <= 0.1716 the first term left out is below 7e-10.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let tail = 1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0)));
    let ln = 2.0 * (s + s * z * tail);
    ln * std::f32::consts::LOG10_E + exponent as f32 * std::f32::consts::LOG10_2
}

/// Returns `exp(x)` for `x <= 0`; zero below -87, also for negative infinity.
#[inline(always)]
pub(super) fn exp_of_negative(x: f32) -> f32 {
    // ln 2 in two parts: the first has few enough bits that its product with n is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let bounded = x.max(-87.0);
    let n = bounded * std::f32::consts::LOG2_E + ROUND - ROUND;
    let r = bounded - n * LN2_HIGH - n * LN2_LOW;
    // Taylor to the sixth power: |r| <= 0.347 leaves less than 1.3e-7.
    let p = 1.0
        + r * (1.0
            + r * (0.5
                + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let power = f32::from_bits((((n as i32) + 127) << 23) as u32);
    if x < -87.0 { 0.0 } else { p * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log10_agrees_with_double_precision() {
        for step in 0..2_000_000_u32 {
            let x = f32::from_bits(0x2edb_e6ff + step * 450);
            let wanted = f64::from(x).log10();
            let error = (f64::from(log10(x)) - wanted).abs() / wanted.abs().max(1.0);
            assert!(error < 2e-7, "log10({x}) is off by {error}");
        }
    }

    #[test]
    fn exp_agrees_with_double_precision() {
        for step in 0..870_000 {
            let x = -(step as f32) * 1e-4;
            let wanted = f64::from(x).exp();
            let error = (f64::from(exp_of_negative(x)) - wanted).abs() / wanted;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        assert_eq!(exp_of_negative(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_of_negative(0.0), 1.0);
    }
}
