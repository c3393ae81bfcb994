//! The random number generator of sampling, and a draw by weights.

/// The SplitMix64 generator: the same seed gives the same text on every machine.
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// Returns the generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number in `[0, 1)`.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws an index with probability `weights[index] / sum(weights)`.
    ///
    /// Returns `None` where rounding leaves residual probability mass behind the last weight.
    pub(crate) fn draw(&mut self, weights: impl Iterator<Item = f64> + Clone) -> Option<usize> {
        let mut rest = self.next_f64() * weights.clone().sum::<f64>();
        weights.into_iter().position(|weight| {
            rest -= weight;
            rest < 0.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_weights() {
        let mut random = SplitMix64::new(7);
        let mut counts = [0; 3];
        for _ in 0..4000 {
            counts[random.draw([1.0, 0.0, 3.0].into_iter()).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2850..3150).contains(&counts[2]), "{counts:?}");
    }
}
