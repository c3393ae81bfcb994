//! The top logits, and their log-sum-exp.

use super::super::fast_math::exp_of_negative;
use crate::argmax::max;
use crate::{Error, Result};

/// Returns `ln(sum(exp(logits)))`; negative infinity when every logit is that.
///
/// # Errors
/// [`Error::Decoding`] when a logit is NaN or infinite.
pub(super) fn log_sum_exp(logits: &[f32]) -> Result<f32> {
    let top = max(logits);
    if top == f32::NEG_INFINITY && !logits.iter().any(|value| value.is_nan()) {
        return Ok(top);
    }
    let mut lanes = [0.0_f32; 8];
    let chunks = logits.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += exp_of_negative(value - top);
        }
    }
    // The bound of the exponential hides a NaN, which is therefore searched for.
    let broken = top.is_infinite() || logits.iter().any(|value| value.is_nan());
    if broken {
        return Err(Error::Decoding(
            "wanted finite logits from the model, got NaN or infinity".into(),
        ));
    }
    let sum = lanes.iter().sum::<f32>()
        + rest
            .iter()
            .map(|&value| exp_of_negative(value - top))
            .sum::<f32>();
    Ok(top + sum.ln())
}

/// Returns the `n` largest values with their indices, largest first; negative infinity never counts.
pub(super) fn top(logits: &[f32], n: usize) -> Vec<(usize, f32)> {
    let mut best: Vec<(usize, f32)> = Vec::with_capacity(n + 1);
    let mut bar = f32::NEG_INFINITY;
    for (index, &value) in logits.iter().enumerate() {
        if value > bar {
            let at = best.partition_point(|&(_, other)| other >= value);
            best.insert(at, (index, value));
            best.truncate(n);
            if best.len() == n {
                bar = best.last().map_or(f32::NEG_INFINITY, |&(_, value)| value);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f32 = f32::NEG_INFINITY;

    #[test]
    fn sums_in_probability() {
        let logits: Vec<f32> = (1..=20).map(|n| (n as f32).ln()).collect();
        assert!((log_sum_exp(&logits).unwrap() - 210_f32.ln()).abs() < 1e-6);
        assert_eq!(log_sum_exp(&[NONE, NONE]).unwrap(), NONE);
        assert_eq!(log_sum_exp(&[NONE, 3.0]).unwrap(), 3.0);
    }

    #[rstest::rstest]
    #[case::nan(f32::NAN)]
    #[case::infinity(f32::INFINITY)]
    fn refuses_broken_logits(#[case] value: f32) {
        let mut logits = [0.0; 11];
        for at in 0..11 {
            logits[at] = value;
            assert!(log_sum_exp(&logits).is_err());
            logits[at] = NONE;
        }
        assert!(log_sum_exp(&[value, NONE]).is_err());
    }

    #[test]
    fn returns_the_largest_in_order() {
        let logits = [1.0, 5.0, NONE, 3.0, 5.0, 2.0, 0.0, -1.0, 4.0, 4.5];
        assert_eq!(top(&logits, 4), [(1, 5.0), (4, 5.0), (9, 4.5), (8, 4.0)]);
        assert_eq!(top(&[NONE, 1.0], 2), [(1, 1.0)]);
    }
}
