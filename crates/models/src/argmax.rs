//! The largest of a row of logits.

/// Returns the largest value; negative infinity when there are none.
pub(crate) fn max(logits: &[f32]) -> f32 {
    // Eight lanes vectorise; a plain fold waits for each comparison.
    let mut lanes = [f32::NEG_INFINITY; 8];
    let chunks = logits.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

/// Returns the index of the first largest value.
pub(crate) fn argmax(logits: &[f32]) -> usize {
    let top = max(logits);
    logits.iter().position(|&value| value == top).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_values_counts() {
        let none = f32::NEG_INFINITY;
        let logits = [1.0, 5.0, none, 3.0, 5.0, 2.0, 0.0, -1.0, 4.0, 4.5];
        assert_eq!((max(&logits), argmax(&logits)), (5.0, 1));
        assert_eq!((max(&[none, none]), argmax(&[none, none])), (none, 0));
        assert_eq!((max(&[]), argmax(&[])), (none, 0));
    }
}
