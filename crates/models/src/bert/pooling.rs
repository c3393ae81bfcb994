//! Pooling: the vectors of a text's tokens become one.

use mlx::{Array, Dtype};
use serde_json::Value;

use crate::{Error, Result};

/// Pooling modes, whose results are concatenated.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pooling {
    modes: Vec<Mode>,
    /// Whether the tokens of the prompt are included.
    pub(super) include_prompt: bool,
}

/// A pooling mode.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// The first token.
    Cls,
    /// The max of each feature.
    Max,
    /// The mean.
    Mean,
    /// The sum, divided by the square root of the number of tokens.
    MeanSqrtLen,
    /// The mean with position-proportional weights.
    WeightedMean,
    /// The last token.
    Last,
}

/// Names of modes: in newer files, and as a boolean key in older ones. Older files concatenate several
/// modes in this order.
const MODES: [(&str, &str, Mode); 6] = [
    ("cls", "pooling_mode_cls_token", Mode::Cls),
    ("max", "pooling_mode_max_tokens", Mode::Max),
    ("mean", "pooling_mode_mean_tokens", Mode::Mean),
    (
        "mean_sqrt_len_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
        Mode::MeanSqrtLen,
    ),
    (
        "weightedmean",
        "pooling_mode_weightedmean_tokens",
        Mode::WeightedMean,
    ),
    ("lasttoken", "pooling_mode_lasttoken", Mode::Last),
];

impl Pooling {
    /// Returns mean pooling.
    pub(super) fn mean() -> Self {
        Self {
            modes: vec![Mode::Mean],
            include_prompt: true,
        }
    }

    /// Reads the `config.json` of the module.
    pub(super) fn from_json(json: &Value) -> Result<Self> {
        let modes = match json.get("pooling_mode") {
            Some(Value::String(name)) => vec![named(name)?],
            Some(Value::Array(names)) if !names.is_empty() => names
                .iter()
                .map(|name| named(name.as_str().unwrap_or_default()))
                .collect::<Result<_>>()?,
            None | Some(Value::Null) => flagged(json),
            Some(other) => return Err(unknown(&other.to_string())),
        };
        let include_prompt = json.get("include_prompt").and_then(Value::as_bool);
        Ok(Self {
            modes,
            include_prompt: include_prompt.unwrap_or(true),
        })
    }

    /// Maps vectors of tokens `[batch, length, dims]` to `[batch, dims * modes]`; `visible`, `[batch, length]`, is true
    /// for tokens, which come first in each row, and `last`, `[batch]`, is the index of the last token.
    pub(super) fn forward(&self, hidden: &Array, visible: &Array, last: &Array) -> Array {
        let weights = visible.astype(Dtype::Float32).expand_dims([-1]);
        let sum = |weights: &Array| (hidden * weights).sum(1);
        // The mean of no tokens is 0.
        let count = |weights: &Array| weights.sum(1).maximum(1e-9);
        let one = |mode: &Mode| match mode {
            Mode::Cls => hidden
                .take(&mlx::zeros_with([1], Dtype::Int32), 1)
                .squeeze([1]),
            Mode::Max => {
                let shown = visible.expand_dims([-1]);
                mlx::where_(&shown, hidden, f32::NEG_INFINITY).max(1)
            }
            Mode::Mean => sum(&weights) / count(&weights),
            Mode::MeanSqrtLen => sum(&weights) / count(&weights).sqrt(),
            Mode::WeightedMean => {
                let length = hidden.axis_size(1).unwrap_or_else(|_| 1.into());
                let places = (mlx::iota(length).astype(Dtype::Float32) + 1.0).expand_dims([0, -1]);
                let weights = &weights * places;
                sum(&weights) / count(&weights)
            }
            Mode::Last => hidden
                .take_along_axis(&last.expand_dims([-1, -2]), 1)
                .squeeze([1]),
        };
        let vectors: Vec<Array> = self.modes.iter().map(one).collect();
        match vectors.as_slice() {
            [vector] => vector.clone(),
            several => mlx::concatenate(several, -1),
        }
    }
}

fn named(name: &str) -> Result<Mode> {
    let known = MODES.iter().find(|mode| mode.0 == name);
    known.map(|mode| mode.2).ok_or_else(|| unknown(name))
}

/// Returns the modes whose key is true; the mean when there is none.
fn flagged(json: &Value) -> Vec<Mode> {
    let is_true = |key: &str| json.get(key).and_then(Value::as_bool) == Some(true);
    let modes: Vec<Mode> = MODES
        .iter()
        .filter(|mode| is_true(mode.1))
        .map(|mode| mode.2)
        .collect();
    match modes.is_empty() {
        true => vec![Mode::Mean],
        false => modes,
    }
}

fn unknown(name: &str) -> Error {
    let names: Vec<&str> = MODES.iter().map(|mode| mode.0).collect();
    Error::Config(format!(
        "pooling_mode: wanted one of {}, got {name}",
        names.join(", ")
    ))
}
