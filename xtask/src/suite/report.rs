//! What came of each test, and the counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// How much of what a test said is kept, in bytes.
const KEPT: usize = 1500;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed,
    /// It said that it does not apply here, and why.
    Skipped,
    /// Another test runs it, in a process of its own.
    Ignored,
    /// Its process died.
    Aborted,
    TimedOut,
    /// The deadline came first.
    NotRun,
}

impl Outcome {
    /// Whether it counts against the suite.
    pub fn is_bad(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Aborted | Self::TimedOut | Self::NotRun
        )
    }
}

/// One test.
#[derive(Clone, Debug, Serialize)]
pub struct Test {
    pub program: String,
    pub name: String,
    pub outcome: Outcome,
    pub seconds: f64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A process that ended before its tests had; they were run again, one by one.
#[derive(Clone, Debug, Serialize)]
pub struct Lost {
    pub program: String,
    /// The tests that ran when it ended.
    pub running: Vec<String>,
    pub outcome: Outcome,
    pub message: String,
}

/// All tests of a run.
#[derive(Serialize)]
pub struct Report {
    /// How long the run took.
    seconds: f64,
    /// How many tests of each program ended how.
    counts: BTreeMap<String, BTreeMap<Outcome, usize>>,
    lost: Vec<Lost>,
    tests: Vec<Test>,
}

impl Report {
    pub fn new(tests: Vec<Test>, lost: Vec<Lost>, took: Duration) -> Self {
        let mut counts: BTreeMap<String, BTreeMap<Outcome, usize>> = BTreeMap::new();
        for test in &tests {
            for program in [&test.program, "all"] {
                let program = counts.entry(program.to_owned()).or_default();
                *program.entry(test.outcome).or_default() += 1;
            }
        }
        Self {
            seconds: took.as_secs_f64(),
            counts,
            lost,
            tests,
        }
    }

    /// Whether every test passed or said why it does not apply, and no process died.
    pub fn is_green(&self) -> bool {
        self.lost.is_empty() && self.tests.iter().all(|test| !test.outcome.is_bad())
    }

    /// The bad tests with the last line they said, and the counts, for people.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for test in self.tests.iter().filter(|test| test.outcome.is_bad()) {
            let line = test
                .message
                .lines()
                .rev()
                .find(|line| !line.trim().is_empty());
            let line: String = line.unwrap_or_default().chars().take(160).collect();
            let _ = writeln!(
                text,
                "{:?} {} {}: {line}",
                test.outcome, test.program, test.name
            );
        }
        for lost in &self.lost {
            let line = lost.message.lines().nth(1).unwrap_or_default();
            let line: String = line.chars().take(160).collect();
            let (program, running) = (&lost.program, lost.running.join(", "));
            let _ = writeln!(
                text,
                "A process of {program} died ({:?}) in {running}: {line}",
                lost.outcome
            );
        }
        for (program, counts) in &self.counts {
            let _ = write!(text, "{program}:");
            for (outcome, n) in counts {
                let _ = write!(text, " {n} {outcome:?}");
            }
            text.push('\n');
        }
        let _ = writeln!(text, "{:.1} s", self.seconds);
        text
    }
}

/// The last part of a text, from the start of a line.
pub fn tail(text: &str) -> String {
    let mut start = text.len().saturating_sub(KEPT);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let end = &text[start..];
    let whole = if start == 0 {
        0
    } else {
        end.find('\n').map_or(0, |at| at + 1)
    };
    end[whole..].trim_end().to_owned()
}

/// The name of a program's file.
pub fn file_name(program: &Path) -> String {
    program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
