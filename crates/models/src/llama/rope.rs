//! How fast does each pair of features turn with the position?

use std::f64::consts::PI;

use serde_json::Value;

use crate::{Error, Result};

/// More than a hundred times what models have: beyond it memory ends before errors of weights are found.
const MAX_HEAD_DIM: usize = 1 << 16;

/// Rotary positions: how fast pairs turn, and which features are pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Pair `i` of `n` turns by `theta^(-i / n)` radians for each position.
    pub theta: f64,
    /// What stretches this to longer texts.
    pub scaling: RopeScaling,
    /// Whether pairs are neighbours rather than half a head apart. So GGUF files of Llama hold them; Hugging Face's
    /// and those of other families do not.
    pub traditional: bool,
}

/// What slows pairs down, so that a model reads longer texts than it was first trained on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Nothing.
    None,
    /// All pairs turn slower by this factor.
    Linear(f64),
    /// Llama 3: slow pairs turn slower by the factor, fast ones as before, those between in between.
    Llama3 {
        /// How much slower the slow pairs turn.
        factor: f64,
        /// Pairs that turn less often than this over the original context are slow.
        low_freq_factor: f64,
        /// Pairs that turn more often than this over the original context are fast.
        high_freq_factor: f64,
        /// The length of the texts of the first training.
        original_max_position_embeddings: f64,
    },
    /// Each pair turns slower by its own factor: the tensor `rope_freqs.weight` of GGUF files.
    Factors(Vec<f32>),
}

impl Rope {
    /// Returns the radians by which each pair of a head of `head_dim` features turns for a position.
    ///
    /// # Errors
    /// [`Error::Config`] for a head of more than 65536 features.
    pub fn radians_per_position(&self, head_dim: usize) -> Result<Vec<f32>> {
        if head_dim > MAX_HEAD_DIM {
            return Err(Error::Config(format!(
                "rope: wanted a head of at most {MAX_HEAD_DIM} features, got {head_dim}"
            )));
        }
        let n = head_dim / 2;
        let radians = (0..n).map(|i| self.theta.powf(-(i as f64) / n as f64));
        let scaled = radians.enumerate().map(|(i, radians)| match &self.scaling {
            RopeScaling::None => radians,
            RopeScaling::Linear(factor) => radians / factor,
            RopeScaling::Factors(factors) => {
                radians / factors.get(i).copied().map_or(1.0, f64::from)
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: context,
            } => {
                let turns = context * radians / (2.0 * PI);
                let fast = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                radians * (fast + (1.0 - fast) / factor)
            }
        });
        Ok(scaled.map(|radians| radians as f32).collect())
    }

    /// Reads the keys of a `config.json`: `rope_theta` and `rope_scaling`, or `rope_parameters` with both.
    pub(super) fn from_json(json: &Value) -> Result<Self> {
        let parameters = json.get("rope_parameters").filter(|json| !json.is_null());
        let scaling = parameters.or_else(|| json.get("rope_scaling"));
        let theta = parameters
            .and_then(|parameters| parameters.get("rope_theta"))
            .or_else(|| json.get("rope_theta"));
        Ok(Self {
            theta: theta.and_then(Value::as_f64).unwrap_or(10_000.0),
            scaling: match scaling {
                None | Some(Value::Null) => RopeScaling::None,
                Some(scaling) => RopeScaling::from_json(scaling)?,
            },
            traditional: false,
        })
    }

    /// Refuses numbers that are no angles.
    pub(super) fn check(&self, head_dim: usize) -> Result<()> {
        if let RopeScaling::Factors(factors) = &self.scaling
            && factors.len() != head_dim / 2
        {
            return Err(Error::Config(format!(
                "rope: wanted {} factors, one for each pair, got {}",
                head_dim / 2,
                factors.len()
            )));
        }
        let radians = self.radians_per_position(head_dim)?;
        if self.theta > 0.0 && radians.iter().all(|radians| radians.is_finite()) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "rope: wanted a positive theta and factors, got {self:?}"
        )))
    }
}

impl RopeScaling {
    fn from_json(json: &Value) -> Result<Self> {
        // Older files say "type".
        let name = json.get("rope_type").or_else(|| json.get("type"));
        let number = |key: &str| {
            json.get(key)
                .and_then(Value::as_f64)
                .ok_or_else(|| Error::Config(format!("rope scaling: wanted a number {key}")))
        };
        match name.and_then(Value::as_str).unwrap_or("default") {
            "default" => Ok(Self::None),
            "linear" => Ok(Self::Linear(number("factor")?)),
            "llama3" => Ok(Self::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_position_embeddings: number("original_max_position_embeddings")?,
            }),
            other => Err(Error::Config(format!(
                "rope scaling: wanted default, linear or llama3, got {other}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_no_memory_holds_are_an_error() {
        let rope = Rope {
            theta: 10_000.0,
            scaling: RopeScaling::None,
            traditional: false,
        };
        for head_dim in [usize::MAX, 1 << 40, MAX_HEAD_DIM + 1] {
            let text = rope.radians_per_position(head_dim).unwrap_err().to_string();
            assert!(text.contains("at most 65536 features"), "{text}");
        }
        // theta^(-i / 2): one radian, then a hundredth of one.
        assert_eq!(rope.radians_per_position(4).unwrap(), [1.0, 0.01]);
        assert!(rope.radians_per_position(0).unwrap().is_empty());
    }
}
