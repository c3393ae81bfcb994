//! Rotary position embeddings: the angle of each pair of features per position.

use std::f64::consts::PI;

use serde_json::Value;

use crate::{Error, Result};

/// More than a hundred times what models have: a larger size would exhaust memory before its weights are checked.
const MAX_HEAD_DIM: usize = 1 << 16;

/// The settings of rotary position embeddings.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base: pair `i` of `n` rotates by `theta^(-i / n)` radians for each position.
    pub theta: f64,
    /// The scaling for longer contexts.
    pub scaling: RopeScaling,
    /// Whether pairs are neighbours rather than half a head apart. GGUF files of Llama are stored so; those of Hugging
    /// Face and of other families are not.
    pub traditional: bool,
}

/// The scaling of frequencies, which extends a model's context beyond that of its training.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// None.
    None,
    /// All frequencies are divided by this factor.
    Linear(f64),
    /// Llama 3: low frequencies are divided by `factor`, high ones are unchanged, with a linear ramp between.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Pairs with fewer rotations over the original context have a low frequency.
        low_freq_factor: f64,
        /// Pairs with more rotations over the original context have a high frequency.
        high_freq_factor: f64,
        /// The context length of the original training.
        original_max_position_embeddings: f64,
    },
    /// A divisor for each pair: the tensor `rope_freqs.weight` of GGUF files.
    Factors(Vec<f32>),
}

impl Rope {
    /// Returns the angle per position of each pair of a head of `head_dim` features, in radians.
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

    /// Refuses angles that are not finite.
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
