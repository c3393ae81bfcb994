//! The results of a run, as they are kept in `benches/results/DATE-MACHINE.json`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::machine::Machine;
use super::rows::{Aim, Benchmark, Cost, Group, Target};
use super::statistics::{Summary, ratio};

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// When it began, as `2026-11-24T10:00:00Z`.
    pub date: String,
    /// `quick` or `full`.
    pub mode: String,
    /// The machine.
    pub machine: Machine,
    /// The share of the processors that others used before the run began.
    pub busy: Option<f64>,
    /// What it can do, measured in this run.
    pub limits: Limits,
    /// Versions: of this repository, of what is vendored, of each rival.
    pub pins: BTreeMap<String, String>,
    /// Why whole rivals are absent.
    pub absent: BTreeMap<String, String>,
    /// The rows.
    pub rows: Vec<RowResult>,
}

/// One row with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    /// `op/dtype/shape/device`.
    pub id: String,
    /// The operation.
    pub op: String,
    /// The shape.
    pub shape: String,
    /// The element type.
    pub dtype: String,
    /// The device.
    pub device: String,
    /// The part of the table.
    pub group: Group,
    /// Our median in milliseconds, when we have one.
    pub ours_ms: Option<f64>,
    /// The rivals' medians; null when a rival has none, for which `failures` has the reason.
    pub rivals: BTreeMap<String, Option<f64>>,
    /// The fastest rival.
    pub best_rival: Option<String>,
    /// Ours over the best rival's, from interleaved pairs.
    pub ratio: Option<f64>,
    /// What the machine's limit would take over what we take; above 1 where the caches hold the row.
    pub limit_share: Option<f64>,
    /// The ratio that is aimed at.
    pub target: Option<f64>,
    /// The rival that the target means, when that is not the best one.
    pub target_rival: Option<String>,
    /// The milliseconds that are aimed at.
    pub target_ms: Option<f64>,
    /// The share of the limit that is aimed at.
    pub target_share: Option<f64>,
    /// Other ratios that are aimed at, and what they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aims: Vec<AimResult>,
    /// Whether every target is met; null when there is none, or nothing to compare with.
    pub met: Option<bool>,
    /// What a reader should know.
    pub note: String,
    /// Our samples.
    pub ours: Option<Summary>,
    /// The rivals' samples.
    pub samples: BTreeMap<String, Summary>,
    /// Our samples in other forms: composed, compiled, eager, with one thread.
    pub forms: BTreeMap<String, Summary>,
    /// Why a rival or form has no number.
    pub failures: BTreeMap<String, String>,
    /// The minimum of work of the row.
    pub cost: Cost,
}

/// A ratio that is aimed at, and what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AimResult {
    /// `ours`, or one of our other forms.
    pub of: String,
    /// A rival, or one of our other forms.
    pub over: String,
    /// What the ratio is to be at most.
    pub most: f64,
    /// What it is, where both have a time.
    pub is: Option<f64>,
}

/// What a runner came to on a row.
pub type Measured = std::result::Result<Summary, String>;

impl RowResult {
    /// Judges the numbers of a row.
    pub fn new(
        row: &Benchmark,
        limits: &Limits,
        ours: Measured,
        rivals: BTreeMap<String, Measured>,
        forms: BTreeMap<String, Measured>,
    ) -> Self {
        let mut failures = BTreeMap::new();
        let mut keep = |name: &str, measured: Measured| match measured {
            Ok(summary) => Some(summary),
            Err(why) => {
                failures.insert(name.to_owned(), why);
                None
            }
        };
        let ours = keep("ours", ours);
        let mut samples = BTreeMap::new();
        let mut medians = BTreeMap::new();
        for (name, measured) in rivals {
            let summary = keep(&name, measured);
            medians.insert(
                name.clone(),
                summary.as_ref().map(|summary| summary.median_ms),
            );
            samples.extend(summary.map(|summary| (name, summary)));
        }
        let forms: BTreeMap<String, Summary> = forms
            .into_iter()
            .filter_map(|(name, measured)| keep(&name, measured).map(|summary| (name, summary)))
            .collect();
        let ratio_to = |name: &str| ratio(ours.as_ref()?, samples.get(name)?);
        let by_median = |a: &(&String, &Summary), b: &(&String, &Summary)| {
            a.1.median_ms.total_cmp(&b.1.median_ms)
        };
        let best_rival = samples
            .iter()
            .min_by(by_median)
            .map(|(name, _)| name.clone());
        let best_ratio = best_rival.as_deref().and_then(ratio_to);
        let ours_ms = ours.as_ref().map(|ours| ours.median_ms);
        let limit_share = ours_ms.and_then(|ms| Some(limits.ms(&row.cost, row.dtype)? / ms));
        let target_ratio = match row.target.against {
            Some(name) => ratio_to(name),
            None => best_ratio,
        };
        let time_of = |name: &str| match name {
            Aim::OURS => ours.as_ref(),
            name => samples.get(name).or_else(|| forms.get(name)),
        };
        let aims = aims(row.target.also, time_of);
        RowResult {
            id: row.id.clone(),
            op: row.op.to_owned(),
            shape: row.shape.clone(),
            dtype: row.dtype.to_owned(),
            device: if row.group.is_of_gpu() { "gpu" } else { "cpu" }.to_owned(),
            group: row.group,
            ours_ms,
            rivals: medians,
            best_rival,
            ratio: best_ratio,
            limit_share,
            target: row.target.ratio,
            target_rival: row.target.against.map(str::to_owned),
            target_ms: row.target.ms,
            target_share: row.target.share,
            met: met(&row.target, target_ratio, ours_ms, limit_share, &aims),
            aims,
            note: row.note.to_owned(),
            ours,
            samples,
            forms,
            failures,
            cost: row.cost,
        }
    }

    /// Returns our time over that of the rival that the target names.
    pub fn target_ratio(&self) -> Option<f64> {
        match &self.target_rival {
            Some(name) => ratio(self.ours.as_ref()?, self.samples.get(name)?),
            None => self.ratio,
        }
    }
}

/// Judges further ratios by the times of all that computed a row.
fn aims<'a>(aims: &[Aim], time_of: impl Fn(&str) -> Option<&'a Summary>) -> Vec<AimResult> {
    let result = |aim: &Aim| AimResult {
        of: aim.of.to_owned(),
        over: aim.over.to_owned(),
        most: aim.most,
        is: time_of(aim.of)
            .zip(time_of(aim.over))
            .and_then(|(of, over)| ratio(of, over)),
    };
    aims.iter().map(result).collect()
}

/// Whether all targets hold; nothing when there are none or one cannot be judged, unless another is missed.
fn met(
    target: &Target,
    ratio: Option<f64>,
    ms: Option<f64>,
    share: Option<f64>,
    aims: &[AimResult],
) -> Option<bool> {
    let at_most = |value: Option<f64>, most: f64| value.map(|value| value <= most);
    let mut verdicts = Vec::new();
    verdicts.extend(target.ratio.map(|most| at_most(ratio, most)));
    verdicts.extend(target.ms.map(|most| at_most(ms, most)));
    verdicts.extend(target.share.map(|least| share.map(|share| share >= least)));
    verdicts.extend(aims.iter().map(|aim| at_most(aim.is, aim.most)));
    if verdicts.contains(&Some(false)) {
        return Some(false);
    }
    if verdicts.is_empty() || verdicts.contains(&None) {
        return None;
    }
    Some(true)
}

impl Results {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or has another format.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} has another form", path.display()))
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Returns a row.
    pub fn row(&self, id: &str) -> Option<&RowResult> {
        self.rows.iter().find(|row| row.id == id)
    }
}
