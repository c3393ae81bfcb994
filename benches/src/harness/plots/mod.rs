//! Pictures of a run: speed-ups, distance from the machine's limits, cost against size.

mod axis;
mod bars;
mod growth;
mod limits;
mod svg;
mod threads;

use super::results::Results;

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// What it shows, for those who do not see it.
    pub caption: String,
    /// Its file's name.
    pub file: String,
    /// The picture.
    pub svg: String,
}

/// Draws every picture that the run has numbers for.
pub fn all(results: &Results) -> Vec<Plot> {
    let mut plots = Vec::new();
    plots.extend(bars::speed_ups(results));
    plots.extend(limits::roofline(results));
    plots.extend(threads::scaling(results));
    plots.extend(growth::all(results));
    plots
}

/// The colour of whoever a mark stands for; ours stands out, and nobody depends on red against green.
fn colour(name: &str) -> &'static str {
    match name {
        "ours" => "#d55e00",
        "composed" => "#8c8c8c",
        "compiled" => "#e6a700",
        "one-thread" => "#f0b48c",
        "onnxruntime" => "#0072b2",
        "jax" => "#009e73",
        "numpy" => "#56b4e9",
        "python-mlx" => "#b9a3c9",
        "python-mlx-openblas" => "#7b4fa3",
        "candle" => "#7a5c3e",
        "eager" => "#5c5c5c",
        _ => "#333333",
    }
}
