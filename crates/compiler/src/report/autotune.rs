//! What a report says of autotuning: the forms of each site, how long they took, and which was chosen.

use std::fmt;
use std::time::Duration;

use crate::graph::SourceLocation;

/// A part of a function that can run in several forms, and the one that was chosen: see
/// [`CompileOptions::autotune`](crate::CompileOptions::autotune).
#[derive(Clone, Debug, PartialEq)]
pub struct TunedSite {
    /// What it is: the name of a formula, `elementwise kernel` or `program`.
    pub what: String,
    /// The line.
    pub site: SourceLocation,
    /// What its entry in the cache is found by, besides the machine and the versions.
    pub key: String,
    /// The forms that were timed; none when nothing was.
    pub forms: Vec<FormTiming>,
    /// The form that runs without autotuning.
    pub default: String,
    /// The form that runs.
    pub chosen: String,
    /// Where the times come from.
    pub source: TimingSource,
    /// How many equal sites the line has.
    pub count: usize,
}

/// How long a form takes.
#[derive(Clone, Debug, PartialEq)]
pub struct FormTiming {
    /// The form: `kernel`, `composed`, `program`, `operations`.
    pub form: String,
    /// The median of its times.
    pub median: Duration,
    /// How far the times are spread: the median distance from the median, times 1.4826, which is the standard deviation where
    /// times are normally distributed.
    pub spread: Duration,
}

/// Where the times of a site come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimingSource {
    /// They were measured when the function was compiled.
    Measured,
    /// The cache had them.
    Cache,
    /// Nothing was timed, for this reason, and the default runs.
    Untimed(String),
}

impl TimingSource {
    /// Returns the name: `measured`, `cache` or `untimed`.
    pub fn name(&self) -> &'static str {
        match self {
            TimingSource::Measured => "measured",
            TimingSource::Cache => "cache",
            TimingSource::Untimed(_) => "untimed",
        }
    }
}

impl TunedSite {
    /// Returns the form of this name.
    pub fn form(&self, name: &str) -> Option<&FormTiming> {
        self.forms.iter().find(|form| form.form == name)
    }
}

impl fmt::Display for FormTiming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let (median, spread) = (micros(self.median), micros(self.spread));
        write!(f, "{} {median:.1} +- {spread:.1} us", self.form)
    }
}

impl fmt::Display for TunedSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tuned   {} at {}: {}", self.what, self.site, self.chosen)?;
        match &self.source {
            TimingSource::Untimed(reason) => write!(f, ", not timed: {reason}")?,
            source => {
                let forms: Vec<String> = self.forms.iter().map(ToString::to_string).collect();
                write!(f, " ({}; {})", forms.join(", "), source.name())?;
            }
        }
        match self.count {
            1 => Ok(()),
            n => write!(f, " (x {n})"),
        }
    }
}
