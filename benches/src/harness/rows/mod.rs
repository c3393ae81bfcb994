//! What is measured? Every row: its work, its inputs, who else can do it, and what we aim at.

mod kernels;
mod models;
mod sweeps;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::Check;
use super::inputs::Input;

/// Which part of the table a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// One operation.
    Kernels,
    /// A model on real data.
    Models,
    /// Composed against fused over sizes: where fusing wins and where it loses.
    Sweep,
    /// Cost against size.
    Scaling,
}

/// What a row has to do at least, whoever does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes of inputs, each read once.
    pub read: f64,
    /// Bytes of the result.
    pub written: f64,
    /// Floating-point operations of products of matrices; elementwise ones are not counted.
    pub flops: f64,
}

/// What is aimed at. All that is given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Target {
    /// Ours over a rival's time is at most this.
    pub ratio: Option<f64>,
    /// The rival that is meant; otherwise the best one of the run.
    pub against: Option<&'static str>,
    /// Our milliseconds are at most this.
    pub ms: Option<f64>,
    /// We reach at least this share of the machine's limit.
    pub share: Option<f64>,
}

impl Target {
    /// Returns the target of a ratio to the best rival.
    pub fn ratio(ratio: f64) -> Self {
        Self {
            ratio: Some(ratio),
            ..Self::default()
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// `op/dtype/shape/device`.
    pub id: String,
    /// The operation, as runners know it.
    pub op: &'static str,
    /// The shape, `4x128x1024`.
    pub shape: String,
    /// The element type.
    pub dtype: &'static str,
    /// The part of the table.
    pub group: Group,
    /// Attributes for the runners.
    pub params: Value,
    /// Inputs.
    pub inputs: Vec<Input>,
    /// How results are compared before anything is timed.
    pub check: Check,
    /// What must be done at least.
    pub cost: Cost,
    /// What is aimed at.
    pub target: Target,
    /// Whoever can be asked.
    pub rivals: &'static [&'static str],
    /// Other forms of ours that are timed beside.
    pub forms: &'static [&'static str],
    /// Rivals that are not asked although they could be, and why.
    pub left_out: &'static [(&'static str, &'static str)],
    /// Whether `--quick` measures it.
    pub quick: bool,
    /// What a reader should know.
    pub note: &'static str,
}

/// Everyone who computes single operations.
pub const ARRAYS: &[&str] = &[
    "python-mlx",
    "python-mlx-openblas",
    "numpy",
    "jax",
    "onnxruntime",
    "candle",
];
/// Everyone who transcribes with Whisper.
pub const WHISPER: &[&str] = &[
    "python-mlx",
    "python-mlx-openblas",
    "faster-whisper",
    "candle",
];
/// Everyone who generates with SmolLM2.
pub const LLAMA: &[&str] = &["python-mlx", "python-mlx-openblas", "llama-cpp", "candle"];

/// Returns every row; with `quick` the rows of the short run.
pub fn all(quick: bool) -> Vec<Row> {
    let mut rows = kernels::rows();
    rows.extend(models::rows(quick));
    rows.extend(sweeps::rows(quick));
    rows.retain(|row| row.quick || !quick);
    rows
}

/// Returns the prompt of ten tokens that language models continue.
pub fn prompt() -> [u32; 10] {
    models::PROMPT
}

/// Returns `4x128x1024`.
fn by(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    sizes.join("x")
}

fn id(op: &str, dtype: &str, shape: &str) -> String {
    format!("{op}/{dtype}/{shape}/cpu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_have_four_parts() {
        let rows = all(false);
        let mut names: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert!(names.iter().all(|name| name.split('/').count() == 4));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
    }

    #[test]
    fn the_short_run_has_every_row_with_a_target() {
        let with_target = |quick| {
            let rows = all(quick).into_iter();
            let mut ids: Vec<String> = rows
                .filter(|row| row.target != Target::default())
                .map(|row| row.id)
                .collect();
            ids.sort();
            ids
        };
        assert_eq!(with_target(true), with_target(false));
        assert!(with_target(true).len() >= 20);
    }
}
