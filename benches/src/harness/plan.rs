//! How long a run takes: an estimate before it starts, and a better one while it runs.

use std::time::Duration;

use super::measure::Settings;
use super::rows::{Benchmark, Group};

/// The rows to come, each with its estimate in seconds.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    estimates: Vec<f64>,
    done: usize,
}

/// What a call of a rival of average speed moves and computes in a second.
const BYTES: f64 = 6e9;
const FLOPS: f64 = 60e9;
/// What one participant needs to load a row: its inputs are read, the first call is made, its result is compared.
const LOADING: f64 = 0.35;
/// Models are loaded, run on all of their data, and differ most; this was seen on two cores, for each participant.
const MODEL: f64 = 9.0;

/// On a GPU: most of it is compiling kernels, loading models, and the way to the runner and back.
const GPU_KERNEL: f64 = 0.6;
const GPU_MODEL: f64 = 4.0;

impl Plan {
    /// Adds a row with its number of participants.
    pub fn push(&mut self, row: &Benchmark, participants: usize, settings: &Settings) {
        let call = (row.cost.read + row.cost.written) / BYTES + row.cost.flops / FLOPS;
        let round = settings.budget.as_secs_f64().max(call) + settings.pause.as_secs_f64();
        let longest = settings.longest.as_secs_f64().max(3.0 * round);
        let rounds = (round * settings.rounds as f64).min(longest);
        let one = match row.group {
            Group::Models => MODEL,
            Group::GpuKernels | Group::GpuPrograms => GPU_KERNEL,
            Group::GpuModels | Group::GpuTraining => GPU_MODEL,
            // A tenth of the bytes' time is theirs: inputs are drawn, written, read by all, and results compared.
            _ => LOADING + 12.0 * (row.cost.read + row.cost.written) / BYTES + 2.0 * call + rounds,
        };
        self.estimates.push(one * participants as f64);
    }

    /// Returns the time for everything.
    pub fn whole(&self) -> Duration {
        Duration::from_secs_f64(self.estimates.iter().sum())
    }

    /// Counts a row as done.
    pub fn advance(&mut self) {
        self.done += 1;
    }

    /// Returns what is left after `elapsed`: the estimate, corrected by how the rows so far kept to theirs.
    pub fn left(&self, elapsed: Duration) -> Duration {
        let (before, after) = self.estimates.split_at(self.done.min(self.estimates.len()));
        let (before, after): (f64, f64) = (before.iter().sum(), after.iter().sum());
        // Two minutes of estimate weigh as much as what was measured: the first rows say little of the others.
        let pace = (elapsed.as_secs_f64() + 120.0) / (before + 120.0);
        Duration::from_secs_f64(after * pace)
    }

    /// Returns the number of the present row, `3/40`.
    pub fn place(&self) -> String {
        let place = (self.done + 1).min(self.estimates.len());
        format!("{place}/{}", self.estimates.len())
    }
}

/// Returns a duration in the unit that suits it: `40 s`, `12 min`.
pub fn humanize(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_the_pace() {
        let mut plan = Plan {
            estimates: vec![120.0, 60.0],
            done: 0,
        };
        assert_eq!(plan.whole(), Duration::from_secs(180));
        plan.advance();
        assert_eq!(plan.place(), "2/2");
        assert_eq!(plan.left(Duration::from_secs(120)), Duration::from_secs(60));
        assert_eq!(
            plan.left(Duration::from_secs(360)),
            Duration::from_secs(120)
        );
        plan.advance();
        assert_eq!(plan.left(Duration::from_secs(500)), Duration::ZERO);
    }

    #[test]
    fn durations_have_the_unit_that_suits_them() {
        assert_eq!(humanize(Duration::from_secs(99)), "99 s");
        assert_eq!(humanize(Duration::from_secs(121)), "3 min");
    }
}
