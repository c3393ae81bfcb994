//! The modules of sentence-transformers: the steps from tokens to a sentence embedding.

use std::path::{Component, Path, PathBuf};

use mlx::{Array, Dtype, keepdims};
use serde_json::Value;

use super::pooling::Pooling;
use crate::json::read_json;
use crate::weights::Weights;
use crate::{Error, Result};

/// Default max number of tokens; longer texts are truncated.
const LONGEST: usize = 256;

/// The steps of a model, in order.
pub(super) struct Modules {
    /// The folder of the encoder and its tokenizer.
    pub(super) transformer: PathBuf,
    /// The pooling of token vectors.
    pub(super) pooling: Pooling,
    /// The modules after pooling.
    pub(super) last: Vec<Step>,
}

/// A module after pooling.
pub(super) enum Step {
    /// Normalization to length 1.
    Normalize,
    /// A dense layer.
    Dense(Dense),
}

/// A dense layer: a linear map `[outputs, inputs]` and an activation function.
pub(super) struct Dense {
    weight: Array,
    bias: Option<Array>,
    activation: Activation,
}

/// The activation function of a dense layer.
#[derive(Clone, Copy)]
enum Activation {
    Identity,
    Tanh,
    Relu,
    Sigmoid,
    Gelu,
}

impl Modules {
    /// Reads `modules.json` and the files that it names; a folder without it has mean pooling and normalization.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let Some(Value::Array(list)) = read_json(&folder.join("modules.json"))? else {
            return Ok(Self {
                transformer: folder.to_path_buf(),
                pooling: Pooling::mean(),
                last: vec![Step::Normalize],
            });
        };
        let (mut transformer, mut pooling, mut last) = (None, None, Vec::new());
        for module in &list {
            let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
            let kind = text("type").rsplit('.').next().unwrap_or_default();
            let path = inside(folder, text("path"))?;
            match kind {
                "Transformer" if transformer.is_none() && pooling.is_none() => {
                    transformer = Some(path);
                }
                "Pooling" if transformer.is_some() && pooling.is_none() => {
                    let path = path.join("config.json");
                    let config = std::fs::read(&path).map_err(Error::io(&path))?;
                    let config = serde_json::from_slice(&config)
                        .map_err(|error| Error::Config(format!("{}: {error}", path.display())))?;
                    pooling = Some(Pooling::from_json(&config)?);
                }
                "Normalize" if pooling.is_some() => last.push(Step::Normalize),
                "Dense" if pooling.is_some() => last.push(Step::Dense(Dense::open(&path)?)),
                // Dropout has an effect in training only.
                "Dropout" => {}
                _ => {
                    return Err(Error::Config(format!(
                        "modules.json: wanted Transformer, Pooling, then Normalize, Dense or Dropout, got {:?}",
                        text("type")
                    )));
                }
            }
        }
        match (transformer, pooling) {
            (Some(transformer), Some(pooling)) => Ok(Self {
                transformer,
                pooling,
                last,
            }),
            _ => Err(Error::Config(
                "modules.json: wanted a Transformer and a Pooling, got a list without".into(),
            )),
        }
    }
}

/// Truncation and preprocessing of texts.
pub(super) struct Limits {
    /// Max number of tokens.
    pub(super) max_seq_length: usize,
    /// Whether texts are converted to lower case.
    pub(super) do_lower_case: bool,
    /// The prompt that is put before every text.
    pub(super) prompt: String,
}

impl Limits {
    /// Reads `sentence_bert_config.json` in the encoder's folder, and `config_sentence_transformers.json` in the
    /// model's; the encoder has `positions`.
    pub(super) fn open(folder: &Path, modules: &Modules, positions: usize) -> Result<Self> {
        let own = own_limits(&modules.transformer)?;
        let stated = own.as_ref().and_then(|own| own.get("max_seq_length"));
        let max_seq_length = match stated.filter(|stated| !stated.is_null()) {
            Some(stated) => length("max_seq_length", stated)?,
            None if folder.join("modules.json").is_file() || own.is_some() => {
                let tokenizer = read_json(&modules.transformer.join("tokenizer_config.json"))?;
                let most = tokenizer
                    .as_ref()
                    .and_then(|own| own.get("model_max_length"));
                // Files write a very large number where there is no limit.
                let most = most.and_then(Value::as_f64).unwrap_or(f64::INFINITY);
                most.min(positions as f64) as usize
            }
            None => LONGEST,
        };
        let model =
            read_json(&folder.join("config_sentence_transformers.json"))?.unwrap_or_default();
        let name = model.get("default_prompt_name").and_then(Value::as_str);
        let prompt = match name {
            Some(name) => match model.get("prompts").and_then(|prompts| prompts.get(name)) {
                Some(Value::String(prompt)) => prompt.clone(),
                _ => {
                    return Err(Error::Config(format!(
                        "default_prompt_name: wanted one of the prompts, got {name:?}"
                    )));
                }
            },
            None => String::new(),
        };
        if !prompt.is_empty() && !modules.pooling.include_prompt {
            return Err(Error::Config(
                "include_prompt: wanted true for a model with a prompt by default, got false"
                    .into(),
            ));
        }
        Ok(Self {
            max_seq_length: max_seq_length.min(positions),
            do_lower_case: own
                .and_then(|own| own.get("do_lower_case").and_then(Value::as_bool))
                .unwrap_or(false),
            prompt,
        })
    }
}

impl Step {
    /// Maps vectors `[sentences, dims]`.
    pub(super) fn forward(&self, x: &Array) -> Array {
        match self {
            Self::Normalize => x / x.square().sum(keepdims(-1)).sqrt().maximum(1e-12),
            Self::Dense(dense) => dense.forward(x),
        }
    }
}

impl Dense {
    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let config = read_json(&path)?.unwrap_or_default();
        if config.get("use_residual").and_then(Value::as_bool) == Some(true) {
            return Err(Error::Config(format!(
                "{}: wanted use_residual false, got true",
                path.display()
            )));
        }
        let input = config.get("module_input_name").and_then(Value::as_str);
        if let Some(other) = input.filter(|input| *input != "sentence_embedding") {
            return Err(Error::Config(format!(
                "{}: wanted the module_input_name sentence_embedding, got {other}",
                path.display()
            )));
        }
        let name = config.get("activation_function").and_then(Value::as_str);
        let activation = match name.map(|name| name.rsplit('.').next().unwrap_or(name)) {
            None | Some("Tanh") => Activation::Tanh,
            Some("Identity") => Activation::Identity,
            Some("ReLU") => Activation::Relu,
            Some("Sigmoid") => Activation::Sigmoid,
            Some("GELU") => Activation::Gelu,
            Some(other) => {
                return Err(Error::Config(format!(
                    "{}: wanted the activation_function Tanh, Identity, ReLU, Sigmoid or GELU, got {other}",
                    path.display()
                )));
            }
        };
        let weights = Weights::open(folder)?;
        let read =
            |name: &str| Ok::<_, Error>(weights.get(name)?.to_array()?.astype(Dtype::Float32));
        let bias = config.get("bias").and_then(Value::as_bool) != Some(false);
        let dense = Self {
            weight: read("linear.weight")?,
            bias: match bias {
                true => Some(read("linear.bias")?),
                false => None,
            },
            activation,
        };
        let shape = |key: &str| config.get(key).and_then(Value::as_i64);
        let stated = (shape("out_features"), shape("in_features"));
        let got = dense.weight.shape().map_err(Error::model)?;
        let sizes: Vec<Option<i64>> = got.iter().map(|&size| Some(i64::from(size))).collect();
        if sizes != [stated.0, stated.1] {
            return Err(Error::Weights(format!(
                "linear.weight: wanted [out_features, in_features] of {}, got {got:?}",
                path.display()
            )));
        }
        Ok(dense)
    }

    fn forward(&self, x: &Array) -> Array {
        let mapped = x.matmul(&self.weight.transpose([1, 0]));
        let mapped = match &self.bias {
            Some(bias) => mapped + bias,
            None => mapped,
        };
        match self.activation {
            Activation::Identity => mapped,
            Activation::Tanh => mapped.tanh(),
            Activation::Relu => mapped.maximum(0.0),
            Activation::Sigmoid => mapped.sigmoid(),
            Activation::Gelu => mlx_nn::FastOps::Composed.gelu(&mapped),
        }
    }
}

/// Returns the file, which older folders name after the encoder.
fn own_limits(folder: &Path) -> Result<Option<Value>> {
    for name in ["bert", "roberta", "xlm-roberta", "camembert"] {
        let own = read_json(&folder.join(format!("sentence_{name}_config.json")))?;
        if own.is_some() {
            return Ok(own);
        }
    }
    Ok(None)
}

/// Returns a path that `modules.json` names, which must be inside the model's folder.
fn inside(folder: &Path, path: &str) -> Result<PathBuf> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(path).components().all(plain) {
        return Ok(folder.join(path));
    }
    Err(Error::Config(format!(
        "modules.json: wanted a path inside the model's folder, got {path:?}"
    )))
}

fn length(key: &str, stated: &Value) -> Result<usize> {
    match stated.as_u64().map(usize::try_from) {
        Some(Ok(length @ 1..)) => Ok(length),
        _ => Err(Error::Config(format!(
            "{key}: wanted a number from 1 on, got {stated}"
        ))),
    }
}
