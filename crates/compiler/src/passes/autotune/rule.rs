//! When a form is taken for faster than the default: its gain must be larger than the noise.

use std::time::Duration;

use crate::report::FormTiming;

/// How many times the combined spread of both forms the difference of their medians must be.
pub(super) const MIN_SPREADS: f64 = 3.0;

/// Which part of the default's time the difference must be at least.
pub(super) const MIN_GAIN: f64 = 0.03;

/// The standard deviation of a normal distribution, by the median distance from its median.
const DEVIATION: f64 = 1.4826;

/// Returns median and spread of the times of a form.
pub(super) fn timing(form: &str, times: &[Duration]) -> FormTiming {
    let mut times: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    let middle = median(&mut times);
    let mut distances: Vec<f64> = times.iter().map(|time| (time - middle).abs()).collect();
    FormTiming {
        form: form.to_owned(),
        median: Duration::from_secs_f64(middle),
        spread: Duration::from_secs_f64(DEVIATION * median(&mut distances)),
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match (values.get(half), values.len() % 2) {
        (None, _) => 0.0,
        (Some(middle), 1) => *middle,
        (Some(above), _) => f64::midpoint(values[half - 1], *above),
    }
}

/// Returns the form to use: the fastest of those that are faster than the default beyond the noise, or the default.
pub(super) fn choose(default: usize, timings: &[FormTiming]) -> usize {
    let Some(standard) = timings.get(default) else {
        return default;
    };
    let faster = timings.iter().enumerate().filter(|(number, timing)| {
        let (was, is) = (standard.median.as_secs_f64(), timing.median.as_secs_f64());
        let (a, b) = (standard.spread.as_secs_f64(), timing.spread.as_secs_f64());
        let gain = was - is;
        *number != default && gain > MIN_SPREADS * a.hypot(b) && gain > MIN_GAIN * was
    });
    faster
        .min_by_key(|(_, timing)| timing.median)
        .map_or(default, |(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(times: &[u64]) -> Vec<Duration> {
        times.iter().map(|n| Duration::from_micros(*n)).collect()
    }

    fn chosen(default: &[u64], other: &[u64]) -> usize {
        let forms = [
            timing("kernel", &micros(default)),
            timing("composed", &micros(other)),
        ];
        choose(0, &forms)
    }

    #[test]
    fn median_and_spread_are_those_of_the_formula() {
        let one = timing("kernel", &micros(&[10, 14, 11, 900, 12]));
        assert_eq!(one.median, Duration::from_micros(12));
        // Distances 2, 2, 1, 888, 0.
        assert!((one.spread.as_secs_f64() - 2e-6 * DEVIATION).abs() < 1e-9);
        let even = timing("kernel", &micros(&[10, 20]));
        assert_eq!(even.median, Duration::from_micros(15));
        assert_eq!(timing("kernel", &[]).median, Duration::ZERO);
    }

    #[test]
    fn a_gain_must_be_larger_than_three_spreads() {
        // Both medians have distances of 2, so that 3 combined spreads are 12.6.
        assert_eq!(chosen(&[98, 100, 102], &[85, 87, 89]), 1);
        assert_eq!(chosen(&[98, 100, 102], &[86, 88, 90]), 0);
    }

    #[test]
    fn a_gain_must_be_larger_than_three_percent() {
        assert_eq!(chosen(&[1000; 5], &[970; 5]), 0);
        assert_eq!(chosen(&[1000; 5], &[969; 5]), 1);
    }

    #[test]
    fn ties_and_slower_forms_leave_the_default() {
        assert_eq!(chosen(&[100; 5], &[100; 5]), 0);
        assert_eq!(chosen(&[100; 5], &[200; 5]), 0);
        assert_eq!(chosen(&[0; 5], &[0; 5]), 0);
    }

    #[test]
    fn outliers_do_not_decide() {
        let slow_twice = [100, 101, 99, 100, 9000, 100, 8000, 100, 101];
        assert_eq!(chosen(&slow_twice, &[101; 9]), 0);
        assert_eq!(
            chosen(&[100; 9], &[100, 100, 100, 100, 100, 1, 1, 1, 100]),
            0
        );
        // Nor do they hide a gain.
        assert_eq!(
            chosen(&slow_twice, &[50, 50, 5000, 51, 50, 49, 50, 50, 50]),
            1
        );
    }

    #[test]
    fn the_fastest_of_several_forms_is_chosen() {
        let forms = [100, 80, 60, 61].map(|n| timing("form", &micros(&[n; 5])));
        assert_eq!(choose(0, &forms), 2);
        assert_eq!(choose(2, &forms), 2);
        assert_eq!(choose(9, &forms), 9);
    }
}
