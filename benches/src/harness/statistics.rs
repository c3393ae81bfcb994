//! Statistics of the samples of a row: medians, minima, and their noise.

use serde::{Deserialize, Serialize};

/// The samples of one runner on one row, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    rounds: Vec<Vec<f64>>,
    /// The maximum of bytes of arrays at once while the row was computed first, beyond its inputs; only our runner reports it.
    peak_bytes: Option<u64>,
}

/// What is kept of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The median of all samples, in milliseconds.
    pub median_ms: f64,
    /// The shortest sample.
    pub min_ms: f64,
    /// The number of samples.
    pub runs: usize,
    /// Half the range of the rounds' medians over the median: 0.05 is 5 percent up or down.
    pub noise: f64,
    /// The median of each round, in the order of time.
    pub rounds_ms: Vec<f64>,
    /// The maximum of bytes of arrays at once, beyond the inputs, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
}

impl Samples {
    /// Returns no samples yet of a row whose peak of memory is known, or is not.
    pub fn with_peak(peak_bytes: Option<u64>) -> Self {
        let rounds = Vec::new();
        Self { rounds, peak_bytes }
    }

    /// Adds the samples of one round.
    pub fn push(&mut self, round: Vec<f64>) {
        self.rounds.push(round);
    }

    /// Returns what is kept, or nothing when no round has a sample.
    pub fn summary(&self) -> Option<Summary> {
        let all: Vec<f64> = self.rounds.iter().flatten().copied().collect();
        let median_ms = median(&all)?;
        let rounds_ms: Vec<f64> = self.rounds.iter().filter_map(|one| median(one)).collect();
        let lowest = rounds_ms.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = rounds_ms.iter().copied().fold(0.0, f64::max);
        let noise = if median_ms > 0.0 {
            (highest - lowest) / 2.0 / median_ms
        } else {
            0.0
        };
        Some(Summary {
            median_ms,
            min_ms: all.iter().copied().fold(f64::INFINITY, f64::min),
            runs: all.len(),
            noise,
            rounds_ms,
            peak_bytes: self.peak_bytes,
        })
    }
}

/// Returns our time over theirs: the median of the rounds' ratios, as both ran within moments in each round.
pub fn ratio(ours: &Summary, theirs: &Summary) -> Option<f64> {
    let pairs = ours.rounds_ms.iter().zip(&theirs.rounds_ms);
    let ratios: Vec<f64> = pairs
        .filter(|(_, theirs)| **theirs > 0.0)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    median(&ratios)
}

/// Returns the middle value, or the mean of the two middle ones.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(rounds: &[&[f64]]) -> Summary {
        let mut samples = Samples::default();
        rounds.iter().for_each(|round| samples.push(round.to_vec()));
        samples.summary().unwrap()
    }

    #[test]
    fn noise_is_half_the_range_of_the_rounds() {
        let summary = summary(&[&[1.0, 9.0, 1.0], &[1.2], &[1.1]]);
        assert_eq!(summary.rounds_ms, [1.0, 1.2, 1.1]);
        assert_eq!((summary.runs, summary.min_ms), (5, 1.0));
        assert!((summary.noise - 0.1 / summary.median_ms).abs() < 1e-12);
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        // The machine was twice as slow in the second round, for both.
        let (ours, theirs) = (summary(&[&[1.0], &[2.0]]), summary(&[&[2.0], &[4.0]]));
        assert_eq!(ratio(&ours, &theirs), Some(0.5));
    }

    #[test]
    fn no_samples_have_no_summary() {
        assert_eq!(Samples::default().summary(), None);
        assert_eq!(median(&[]), None);
    }
}
