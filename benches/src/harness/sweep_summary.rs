//! What the sweep says as a whole: the geometric mean against PyTorch, and how many rows are where.

use std::fmt;

use super::results::{Results, RowResult};
use super::rows::{Group, PYTORCH};

/// The ratio to PyTorch above which a row is named.
const SLOW: f64 = 1.5;
/// The ratio to `float32` above which half precision is slower: less is what two runs of one program differ by.
const SLOWER_IN_HALF: f64 = 1.05;

/// The sweep in numbers. Ratios are ours over PyTorch's time: below 1 this library is faster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The number of rows.
    pub rows: usize,
    /// The number of those with a ratio.
    pub compared: usize,
    /// The geometric mean of the ratios.
    pub mean: Option<f64>,
    /// The number of rows whose ratio is at most 1.
    pub ahead: usize,
    /// The rows above 1.5, the slowest first.
    pub slow: Vec<(String, f64)>,
    /// The number of rows in half precision with a time, whose operation has one in `float32` too.
    pub halves: usize,
    /// Those of them that are slower than in `float32`, with how many times as long they take, the slowest first.
    pub slow_in_half: Vec<(String, f64)>,
    /// The rows without a ratio, and why.
    pub without: Vec<(String, String)>,
}

impl Summary {
    /// Returns the summary of the rows of the sweep, or nothing when the run has none.
    pub fn of(results: &Results) -> Option<Self> {
        let rows = results.rows.iter();
        let rows: Vec<&RowResult> = rows.filter(|row| row.group == Group::Operations).collect();
        if rows.is_empty() {
            return None;
        }
        let mut summary = Summary {
            rows: rows.len(),
            ..Self::default()
        };
        let mut logarithms = 0.0;
        for row in &rows {
            match row.target_ratio().filter(|ratio| *ratio > 0.0) {
                Some(ratio) => {
                    summary.compared += 1;
                    logarithms += ratio.ln();
                    summary.ahead += usize::from(ratio <= 1.0);
                    if ratio > SLOW {
                        summary.slow.push((name(row), ratio));
                    }
                }
                None => summary.without.push((name(row), why(row, results))),
            }
            summary.add_half(row, results);
        }
        let mean = (logarithms / summary.compared as f64).exp();
        summary.mean = (summary.compared > 0).then_some(mean);
        let slowest_first = |a: &(String, f64), b: &(String, f64)| b.1.total_cmp(&a.1);
        summary.slow.sort_by(slowest_first);
        summary.slow_in_half.sort_by(slowest_first);
        Some(summary)
    }

    /// Compares a row in half precision with the same operation in `float32`.
    fn add_half(&mut self, row: &RowResult, results: &Results) {
        if row.dtype == "float32" {
            return;
        }
        let in_float32 = row.id.replace(&row.dtype, "float32");
        let float32_ms = results.row(&in_float32).and_then(|row| row.ours_ms);
        if let (Some(half), Some(float32)) = (row.ours_ms, float32_ms) {
            self.halves += 1;
            if half > float32 * SLOWER_IN_HALF {
                self.slow_in_half.push((name(row), half / float32));
            }
        }
    }
}

/// Returns why a row has no ratio.
fn why(row: &RowResult, results: &Results) -> String {
    let ours = row.failures.get("ours").map(|why| format!("ours: {why}"));
    let theirs = row.failures.get(PYTORCH);
    let theirs = theirs.or(results.absent.get(PYTORCH));
    let theirs = theirs.map(|why| format!("{PYTORCH}: {why}"));
    ours.or(theirs).unwrap_or_else(|| "was not run".to_owned())
}

/// Returns `exp/bfloat16`.
fn name(row: &RowResult) -> String {
    let name = row.id.trim_end_matches("/cpu");
    name.trim_start_matches("sweep/").to_owned()
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { rows, compared, .. } = self;
        writeln!(
            f,
            "- {rows} rows, {compared} of them compared with {PYTORCH}"
        )?;
        if let Some(mean) = self.mean {
            writeln!(f, "- geometric mean of ours / {PYTORCH}: {mean:.3}")?;
        }
        writeln!(
            f,
            "- at or ahead of {PYTORCH}: {} of {compared}",
            self.ahead
        )?;
        let slow = named(&self.slow);
        writeln!(f, "- above {SLOW}: {}{slow}", self.slow.len())?;
        let (count, halves) = (self.slow_in_half.len(), self.halves);
        let named = named(&self.slow_in_half);
        writeln!(
            f,
            "- slower in half precision than in float32: {count} of {halves}{named}"
        )?;
        // One line for each reason.
        let mut reasons: Vec<&str> = self.without.iter().map(|(_, why)| why.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        for reason in reasons {
            let without = self.without.iter().filter(|(_, why)| why == reason);
            let names: Vec<&str> = without.map(|(name, _)| name.as_str()).collect();
            let names = match names.len() == *rows {
                true => "every row".to_owned(),
                false => names.join(", "),
            };
            writeln!(
                f,
                "- without a ratio ({}): {names}",
                reason.replace('\n', " ")
            )?;
        }
        Ok(())
    }
}

fn named(rows: &[(String, f64)]) -> String {
    let names: Vec<String> = rows
        .iter()
        .map(|(name, ratio)| format!("{name} {ratio:.2}"))
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(" ({})", names.join(", ")),
    }
}
