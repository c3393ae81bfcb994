//! The quantization of a folder's weights as MLX's tools write it: one for all modules, and exceptions.

use mlx::{Quantization, QuantizationMode};
use serde_json::{Map, Value};

use super::weight_store::WeightStore;
use crate::weights::Weights;
use crate::{Error, Result};

/// Returns the weights of a folder, quantized as its `config.json` says.
///
/// `quantization` holds the settings of all modules that have scales, and under the path of a module its own settings,
/// or whether it is quantized at all.
pub(super) fn packed_store(weights: &Weights, config: &Value) -> Result<WeightStore> {
    // Newer files have the same under both names; the second may also hold another tool's method.
    let stated = ["quantization", "quantization_config"]
        .into_iter()
        .filter_map(|key| config.get(key)?.as_object())
        .find(|stated| !stated.contains_key("quant_method"));
    let Some(stated) = stated else {
        return match config.get("quantization") {
            None | Some(Value::Null | Value::Object(_)) => {
                Ok(WeightStore::from_weights(weights, None))
            }
            Some(other) => Err(wrong("quantization", other)),
        };
    };
    if !["group_size", "bits"]
        .iter()
        .all(|key| stated.contains_key(*key))
    {
        return Err(wrong("quantization", &Value::Object(stated.clone())));
    }
    let all = quantization("quantization", stated)?;
    let mut store = WeightStore::from_weights(weights, Some(all));
    for (module, other) in stated {
        store = match other {
            Value::Object(other) => store.with_module(module, Some(quantization(module, other)?)),
            Value::Bool(packed) => store.with_module(module, packed.then_some(all)),
            _ => store,
        };
    }
    Ok(store)
}

/// Reads one quantization; what is left out has the mode's default, as in MLX.
fn quantization(name: &str, stated: &Map<String, Value>) -> Result<Quantization> {
    let refused = || wrong(name, &Value::Object(stated.clone()));
    let mode = match stated.get("mode").filter(|mode| !mode.is_null()) {
        None => QuantizationMode::Affine,
        Some(mode) => match mode.as_str() {
            Some("affine") => QuantizationMode::Affine,
            Some("mxfp4") => QuantizationMode::Mxfp4,
            Some("mxfp8") => QuantizationMode::Mxfp8,
            Some("nvfp4") => QuantizationMode::Nvfp4,
            _ => return Err(refused()),
        },
    };
    let default = Quantization::of(mode);
    let number = |key: &str, default: i32, most: i32| {
        let Some(number) = stated.get(key).filter(|number| !number.is_null()) else {
            return Ok(default);
        };
        let number = number.as_i64().and_then(|n| i32::try_from(n).ok());
        number
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(refused)
    };
    Ok(Quantization {
        group_size: number("group_size", default.group_size, i32::MAX)?,
        bits: number("bits", default.bits, 8)?,
        mode,
    })
}

fn wrong(name: &str, got: &Value) -> Error {
    Error::Config(format!(
        "{name}: wanted group_size, bits and the mode affine, mxfp4, mxfp8 or nvfp4, got {got}"
    ))
}
