//! Profile: how long a call takes, and which operation and line of the program takes how much of it.

mod clock;
mod measure;
mod table;

use std::time::Duration;

pub(crate) use measure::profile;

use crate::graph::SourceLocation;

/// Where the time of a call goes, as [`Jit::profile`](crate::Jit::profile) measured it.
///
/// Prints as a table, the most expensive rows first.
#[derive(Clone, Debug)]
pub struct Profile {
    /// How long a call takes, on an NVIDIA GPU by its own clock: the mean of the faster half of some.
    pub whole: Duration,
    /// How long one who calls waits for the outputs: as long as the call takes, and on a GPU what the host needs to launch
    /// it and to hear of its end besides.
    pub waited: Duration,
    /// Whether the GPU's own clock measured, and not the host's.
    pub is_gpu_clock: bool,
    /// Operations with their lines, the most expensive first. Equal ones of one line are one row.
    pub rows: Vec<ProfileRow>,
    /// What this machine can do at most.
    pub limits: MachineLimits,
    /// How many calls were measured.
    pub calls: usize,
}

/// What an operation of a line takes of a call.
#[derive(Clone, Debug)]
pub struct ProfileRow {
    /// The operation, by its name in the graph.
    pub operation: String,
    /// The line.
    pub site: SourceLocation,
    /// The kernel or program that it is part of, and how many operations that has.
    pub group: Option<String>,
    /// How often it runs in a call.
    pub count: usize,
    /// The time, all runs together. Inside of a group it is the group's, divided by the times of its operations one by
    /// one, or of elementwise ones by what they read and write.
    pub time: Duration,
    /// The bytes that it reads and writes.
    pub bytes: u64,
    /// The additions and multiplications of its products.
    pub operations: u64,
}

/// The measured limits of a machine.
#[derive(Clone, Copy, Debug)]
pub struct MachineLimits {
    /// Bytes that are read and written in a second by an addition to a large array.
    pub bytes_per_second: f64,
    /// Additions and multiplications in a second of a large product: of `float32`, on GPUs of `bfloat16`.
    pub operations_per_second: f64,
}

impl Profile {
    /// Returns the time of all operations, measured one by one.
    pub fn sum(&self) -> Duration {
        self.rows.iter().map(|row| row.time).sum()
    }

    /// Returns the part of all operations' time that a row takes, from 0 to 1.
    pub fn share(&self, row: &ProfileRow) -> f64 {
        row.time.as_secs_f64() / self.sum().as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Returns how near a row is to what the machine can do: the time that its bytes or its arithmetic would take at
    /// the limit, whichever is more, by the time that it takes. More than 1 where data is in a cache.
    #[allow(clippy::cast_precision_loss)]
    pub fn share_of_limit(&self, row: &ProfileRow) -> f64 {
        let moved = row.bytes as f64 / self.limits.bytes_per_second;
        let computed = row.operations as f64 / self.limits.operations_per_second;
        moved.max(computed) / row.time.as_secs_f64().max(1e-9)
    }

    /// Returns the rows as stacks of frames, the outermost first, with microseconds: the file, the line, the kernel if it
    /// is one of several operations, and the operation. It is what a flame graph is made of.
    pub fn stacks(&self) -> Vec<(Vec<String>, f64)> {
        self.rows.iter().map(ProfileRow::stack).collect()
    }
}

impl ProfileRow {
    fn stack(&self) -> (Vec<String>, f64) {
        let mut frames = match self.site.at {
            Some(at) => vec![at.file().to_owned(), format!("line {}", at.line())],
            None => vec!["unknown".to_owned()],
        };
        frames.extend(self.group.clone());
        frames.push(self.operation.clone());
        (frames, self.time.as_secs_f64() * 1e6)
    }
}
