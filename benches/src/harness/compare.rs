//! What got slower between two runs, row by row, beyond their noise.

use std::fmt;

use super::results::{Results, RowResult};
use super::statistics::Summary;

/// What became of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The row.
    pub id: String,
    /// What happened.
    pub verdict: Verdict,
}

/// What happened to a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Slower than the noise of both runs explains.
    Slower(Times),
    /// Faster than the noise of both runs explains.
    Faster(Times),
    /// Too near to tell.
    Same(Times),
    /// It had a time and has none now, or is not there any more.
    Lost(String),
    /// It is new, or had no time before.
    New,
}

/// The times of a row in both runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// The old median in milliseconds.
    pub old_ms: f64,
    /// The new one.
    pub new_ms: f64,
    /// How far both together may be apart by noise: 0.1 is 10 percent.
    pub noise: f64,
    /// New over old of the best rival that both runs have: what the machine itself did.
    pub rival: Option<f64>,
}

/// The minimum of noise that is assumed: two runs of one program differ by more than their rounds do.
const LEAST_NOISE: f64 = 0.02;

/// Compares every row of either run.
pub fn compare(old: &Results, new: &Results) -> Vec<Change> {
    let gone = old.rows.iter().filter(|row| new.row(&row.id).is_none());
    let gone = gone.map(|row| Change {
        id: row.id.clone(),
        verdict: Verdict::Lost("is not in the new run".to_owned()),
    });
    let there = new.rows.iter().map(|row| Change {
        id: row.id.clone(),
        verdict: verdict(old.row(&row.id), row),
    });
    // A short run, or one with `--only`, leaves rows out on purpose.
    let gone: Vec<Change> = if old.mode == new.mode {
        gone.collect()
    } else {
        Vec::new()
    };
    there.chain(gone).collect()
}

fn verdict(old: Option<&RowResult>, new: &RowResult) -> Verdict {
    let Some((row, old)) = old.and_then(|row| Some((row, row.ours.as_ref()?))) else {
        return Verdict::New;
    };
    let Some(ours) = &new.ours else {
        let why = new.failures.get("ours").cloned();
        return Verdict::Lost(why.unwrap_or_else(|| "has no time".to_owned()));
    };
    let noise = old.noise.max(LEAST_NOISE) + ours.noise.max(LEAST_NOISE);
    let times = Times {
        old_ms: old.median_ms,
        new_ms: ours.median_ms,
        noise,
        rival: rival(row, new),
    };
    match ours.median_ms / old.median_ms {
        change if change > 1.0 + noise => Verdict::Slower(times),
        change if change < 1.0 / (1.0 + noise) => Verdict::Faster(times),
        _ => Verdict::Same(times),
    }
}

fn rival(old: &RowResult, new: &RowResult) -> Option<f64> {
    let mut both: Vec<(&Summary, &Summary)> = old
        .samples
        .iter()
        .filter_map(|(name, before)| Some((before, new.samples.get(name)?)))
        .collect();
    both.sort_by(|a, b| a.0.median_ms.total_cmp(&b.0.median_ms));
    let (before, after) = both.first()?;
    (before.median_ms > 0.0).then(|| after.median_ms / before.median_ms)
}

/// Returns whether anything got slower or was lost.
pub fn is_worse(changes: &[Change]) -> bool {
    let worse = |change: &Change| matches!(change.verdict, Verdict::Slower(_) | Verdict::Lost(_));
    changes.iter().any(worse)
}

/// Returns the report: what is slower, lost and faster, and how many rows are as before.
pub fn report(changes: &[Change]) -> String {
    let mut lines = Vec::new();
    let mut same = 0;
    for change in changes {
        match &change.verdict {
            Verdict::Same(_) => same += 1,
            verdict => lines.push(format!("{verdict} {}", change.id)),
        }
    }
    // "slower" after "lost", before "new" and "faster": what matters most is printed last, next to the prompt.
    lines.sort();
    lines.push(format!("as before {same} of {} rows", changes.len()));
    lines.join("\n") + "\n"
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |f: &mut fmt::Formatter<'_>, word: &str, times: &Times| {
            let change = times.new_ms / times.old_ms;
            let (old, new) = (times.old_ms, times.new_ms);
            let noise = times.noise * 100.0;
            write!(
                f,
                "{word} {change:.2} x ({old:.3} to {new:.3} ms, noise {noise:.0} %"
            )?;
            match times.rival {
                Some(rival) => write!(f, ", best rival {rival:.2} x)"),
                None => write!(f, ")"),
            }
        };
        match self {
            Verdict::Slower(it) => times(f, "slower", it),
            Verdict::Faster(it) => times(f, "faster", it),
            Verdict::Same(it) => times(f, "as before", it),
            Verdict::Lost(why) => write!(f, "lost ({why})"),
            Verdict::New => write!(f, "new"),
        }
    }
}
