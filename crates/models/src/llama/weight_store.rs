//! The weights of a model under Hugging Face's names, whatever the format of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use mlx::{Array, Dtype, Quantization, QuantizationMode, Quantized, SharedArray};
use mlx_nn::WeightMap;

use super::names::from_gguf;
use crate::weights::gguf::{Gguf, GgufTensor};
use crate::weights::{RawTensor, Weights};
use crate::{Error, Result};

/// The weights of a file or folder under Hugging Face's names: not read yet, or, after [`WeightStore::share`], all in
/// memory that threads share.
#[derive(Clone)]
pub struct WeightStore {
    tensors: BTreeMap<String, Tensor>,
    quantization: Option<Quantization>,
    /// The quantization of single modules where it differs; `None` for a plain one.
    modules: BTreeMap<String, Option<Quantization>>,
}

/// The former name of [`WeightStore`].
#[deprecated(note = "renamed to WeightStore")]
pub type Store = WeightStore;

#[derive(Clone)]
enum Tensor {
    Gguf(GgufTensor),
    Raw(RawTensor),
    Shared(SharedArray),
    SharedQuantized(SharedQuantized),
}

/// A quantized matrix that threads share.
#[derive(Clone)]
struct SharedQuantized {
    weight: SharedArray,
    scales: SharedArray,
    biases: Option<SharedArray>,
    quantization: Quantization,
}

/// A weight that has been read.
enum Weight {
    Plain(Array),
    Quantized(Quantized),
}

impl WeightStore {
    /// Returns the weights of a GGUF file.
    ///
    /// # Errors
    /// [`Error::Weights`] when there is one that this family does not have.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        // Factors of rotary embeddings belong to the configuration.
        for tensor in gguf.tensors().filter(|t| t.name != "rope_freqs.weight") {
            let name = from_gguf(&tensor.name).ok_or_else(|| {
                Error::Weights(format!("{}: wanted a weight of Llama's", tensor.name))
            })?;
            tensors.insert(name, Tensor::Gguf(tensor.clone()));
        }
        Ok(Self::of(tensors, None))
    }

    /// Returns the weights of a folder; `quantization` is that of matrices that have scales, as MLX's tools write them.
    pub fn from_weights(weights: &Weights, quantization: Option<Quantization>) -> Self {
        // Old files hold frequencies, which the configuration determines.
        let kept = weights
            .iter()
            .filter(|tensor| !tensor.name.ends_with(".rotary_emb.inv_freq"));
        let tensors = kept.map(|tensor| (tensor.name.clone(), Tensor::Raw(tensor.clone())));
        Self::of(tensors.collect(), quantization)
    }

    fn of(tensors: BTreeMap<String, Tensor>, quantization: Option<Quantization>) -> Self {
        Self {
            tensors,
            quantization,
            modules: BTreeMap::new(),
        }
    }

    /// Returns the store with another quantization of one module, such as `model.layers.0.mlp.down_proj`; `None` for a
    /// plain one.
    #[must_use]
    pub fn with_module(
        mut self,
        name: impl Into<String>,
        quantization: Option<Quantization>,
    ) -> Self {
        self.modules.insert(name.into(), quantization);
        self
    }

    /// Returns the store with every weight in memory, quantized where the file has it so, and in `dtype`, in which
    /// activations will be. Networks that are built from it on several threads use one copy of the weights.
    ///
    /// ```no_run
    /// use mlx_models::llama::{Checkpoint, Network, NetworkOptions};
    ///
    /// # fn main() -> mlx_models::Result<()> {
    /// let mut checkpoint = Checkpoint::open("SmolLM2-135M-Instruct.Q4_1.gguf")?;
    /// checkpoint.weights = checkpoint.weights.share(mlx::Dtype::Float32)?;
    /// let there = checkpoint.clone();
    /// let worker = std::thread::spawn(move || Network::new(&there, &NetworkOptions::default()).map(|_| ()));
    /// let here = Network::new(&checkpoint, &NetworkOptions::default())?;
    /// # let _ = (worker, here);
    /// # Ok(())
    /// # }
    /// ```
    /// # Errors
    /// [`Error::Io`] or [`Error::Weights`] when a weight cannot be read, [`Error::Model`] when MLX fails.
    pub fn share(&self, dtype: Dtype) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in self.whole_weights() {
            let tensor = match self.read(name, tensor)? {
                Weight::Plain(array) => Tensor::Shared(shared(&array.astype(dtype))?),
                Weight::Quantized(weight) => {
                    Tensor::SharedQuantized(SharedQuantized::new(weight, dtype)?)
                }
            };
            tensors.insert(name.to_owned(), tensor);
        }
        Ok(Self::of(tensors, None))
    }

    /// Returns the names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns whether there is a weight of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns how the matrix of a module is quantized, or `None` where it is plain.
    pub(super) fn quantization(&self, module: &str) -> Option<Quantization> {
        match self.tensors.get(&format!("{module}.weight"))? {
            Tensor::Gguf(tensor) => tensor.quantization(),
            Tensor::SharedQuantized(weight) => Some(weight.quantization),
            Tensor::Raw(_) if self.contains(&format!("{module}.scales")) => {
                let own = self.modules.get(module).copied();
                own.unwrap_or(self.quantization)
            }
            Tensor::Raw(_) | Tensor::Shared(_) => None,
        }
    }

    /// Returns the store without the weights of one module.
    #[must_use]
    pub(super) fn without_module(&self, module: &str) -> Self {
        let mut store = self.clone();
        let is_part = |name: &str| name.rsplit_once('.').is_some_and(|(of, _)| of == module);
        store.tensors.retain(|name, _| !is_part(name));
        store
    }

    /// Returns the store with these layers only, which count from 0 again, and what belongs to no layer.
    #[must_use]
    pub(super) fn layers(&self, range: &Range<usize>) -> Self {
        let rename = |name: &str| -> Option<String> {
            let Some(rest) = name.strip_prefix("model.layers.") else {
                return Some(name.to_owned());
            };
            let (number, part) = rest.split_once('.')?;
            let number: usize = number.parse().ok()?;
            let own = range.contains(&number).then(|| number - range.start)?;
            Some(format!("model.layers.{own}.{part}"))
        };
        let tensors = self.tensors.iter();
        let modules = self.modules.iter();
        Self {
            tensors: tensors
                .filter_map(|(name, tensor)| Some((rename(name)?, tensor.clone())))
                .collect(),
            quantization: self.quantization,
            modules: modules
                .filter_map(|(name, own)| Some((rename(name)?, *own)))
                .collect(),
        }
    }

    /// Returns all weights in `dtype` under the names of parameters: the parts of quantized matrices one by one, or
    /// `dequantized`.
    ///
    /// Weights of types that no network here has are left out, unless their name is among the `wanted`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Weights`] when a weight cannot be read, [`Error::Model`] when MLX fails.
    pub(super) fn to_map(
        &self,
        dtype: Dtype,
        dequantized: bool,
        wanted: &BTreeSet<String>,
    ) -> Result<WeightMap> {
        let mut map = WeightMap::new();
        for (name, tensor) in self.whole_weights() {
            let foreign = matches!(tensor, Tensor::Raw(tensor) if tensor.is_foreign());
            if foreign && !wanted.contains(name) {
                continue;
            }
            match self.read(name, tensor)? {
                Weight::Plain(array) => {
                    map.insert(name.to_owned(), array.astype(dtype));
                }
                Weight::Quantized(weight) if dequantized => {
                    let array = weight.dequantize(Dtype::Float32);
                    map.insert(name.to_owned(), array.astype(dtype));
                }
                Weight::Quantized(weight) => {
                    let module = name.trim_end_matches("weight");
                    let weight = with_scales_in(weight, dtype);
                    map.insert(name.to_owned(), weight.weight);
                    map.insert(format!("{module}scales"), weight.scales);
                    map.extend(
                        weight
                            .biases
                            .map(|biases| (format!("{module}biases"), biases)),
                    );
                }
            }
        }
        Ok(map)
    }

    /// The tensors without the scales and biases that belong to a quantized matrix.
    fn whole_weights(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let is_part = |name: &str| {
            let Some((module, part)) = name.rsplit_once('.') else {
                return false;
            };
            match (part, self.quantization(module)) {
                ("scales", Some(_)) => true,
                ("biases", Some(quantization)) => quantization.mode == QuantizationMode::Affine,
                _ => false,
            }
        };
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .filter(move |(name, _)| !is_part(name))
    }

    /// Reads a weight in the form in which it is stored.
    fn read(&self, name: &str, tensor: &Tensor) -> Result<Weight> {
        let module = name.strip_suffix(".weight");
        let quantization = module.and_then(|module| self.quantization(module));
        let (Some(module), Some(quantization)) = (module, quantization) else {
            return tensor.to_array().map(Weight::Plain);
        };
        Ok(match tensor {
            Tensor::Raw(tensor) => {
                Weight::Quantized(self.read_parts(module, tensor, quantization)?)
            }
            Tensor::Gguf(tensor) => match tensor.to_quantized()? {
                Some(weight) => Weight::Quantized(weight),
                None => Weight::Plain(tensor.to_array()?),
            },
            Tensor::SharedQuantized(weight) => Weight::Quantized(weight.to_quantized()),
            Tensor::Shared(array) => Weight::Plain(array.array()),
        })
    }

    /// Reads a quantized matrix whose scales and biases are tensors of their own.
    fn read_parts(
        &self,
        module: &str,
        weight: &RawTensor,
        quantization: Quantization,
    ) -> Result<Quantized> {
        let part = |part: &str| {
            let name = format!("{module}.{part}");
            let missing = || Error::Weights(format!("{name}: wanted a tensor, got none"));
            self.tensors.get(&name).ok_or_else(missing)
        };
        let affine = quantization.mode == QuantizationMode::Affine;
        Ok(Quantized {
            weight: weight.to_array()?,
            scales: match part("scales")? {
                // Exponents as bytes, not numbers.
                Tensor::Raw(scales) if !affine => scales.to_bytes_array()?,
                scales => scales.to_array()?,
            },
            biases: match affine {
                true => Some(part("biases")?.to_array()?),
                false => None,
            },
            quantization,
        })
    }
}

impl Tensor {
    fn to_array(&self) -> Result<Array> {
        match self {
            Self::Gguf(tensor) => tensor.to_array().map_err(Error::from),
            Self::Raw(tensor) => tensor.to_array(),
            Self::Shared(array) => Ok(array.array()),
            Self::SharedQuantized(weight) => Ok(weight.to_quantized().dequantize(Dtype::Float32)),
        }
    }
}

impl SharedQuantized {
    fn new(weight: Quantized, dtype: Dtype) -> Result<Self> {
        let weight = with_scales_in(weight, dtype);
        Ok(Self {
            weight: shared(&weight.weight)?,
            scales: shared(&weight.scales)?,
            biases: weight.biases.as_ref().map(shared).transpose()?,
            quantization: weight.quantization,
        })
    }

    fn to_quantized(&self) -> Quantized {
        Quantized {
            weight: self.weight.array(),
            scales: self.scales.array(),
            biases: self.biases.as_ref().map(SharedArray::array),
            quantization: self.quantization,
        }
    }
}

fn shared(array: &Array) -> Result<SharedArray> {
    array.share().map_err(Error::model)
}

/// Returns quantized weights with scales and biases in `dtype`; scales that are exponents stay bytes.
fn with_scales_in(weight: Quantized, dtype: Dtype) -> Quantized {
    if weight.quantization.mode != QuantizationMode::Affine {
        return weight;
    }
    Quantized {
        scales: weight.scales.astype(dtype),
        biases: weight.biases.map(|biases| biases.astype(dtype)),
        ..weight
    }
}
