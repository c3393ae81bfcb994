//! How are weights taken out of a file, whatever its format, under Hugging Face's names?

use std::collections::BTreeMap;

use mlx::{Array, Dtype, Quantization, QuantizationMode, Quantized, SharedArray};
use mlx_nn::{Embedding, Linear, QuantizedEmbedding, QuantizedLinear, RmsNorm};

use super::names::from_gguf;
use super::projection::{Projection, Table, scales_in};
use crate::weights::gguf::{Gguf, GgufTensor};
use crate::weights::{RawTensor, Weights};
use crate::{Error, Result};

/// The weights of a file or folder under Hugging Face's names: none of them read yet, or, after [`Store::share`], all
/// of them in memory that threads share.
#[derive(Clone)]
pub struct Store {
    tensors: BTreeMap<String, Tensor>,
    quantization: Option<Quantization>,
    /// How single modules are packed, or that they are not, where that differs.
    modules: BTreeMap<String, Option<Quantization>>,
}

#[derive(Clone)]
enum Tensor {
    Gguf(GgufTensor),
    Raw(RawTensor),
    Shared(SharedArray),
    SharedPacked(Packed),
}

/// A packed matrix that threads share.
#[derive(Clone)]
struct Packed {
    weight: SharedArray,
    scales: SharedArray,
    biases: Option<SharedArray>,
    quantization: Quantization,
}

/// A matrix as it is stored.
pub enum Stored {
    /// Plain numbers.
    Plain(Array),
    /// Packed in few bits.
    Packed(Quantized),
}

impl Store {
    /// Returns the weights of a GGUF file.
    ///
    /// # Errors
    /// [`Error::Weights`] when there is one that this family does not have.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        // Factors of rotary positions belong to the configuration.
        for tensor in gguf.tensors().filter(|t| t.name != "rope_freqs.weight") {
            let name = from_gguf(&tensor.name).ok_or_else(|| {
                Error::Weights(format!("{}: wanted a weight of Llama's", tensor.name))
            })?;
            tensors.insert(name, Tensor::Gguf(tensor.clone()));
        }
        Ok(Self {
            tensors,
            quantization: None,
            modules: BTreeMap::new(),
        })
    }

    /// Returns the weights of a folder; `quantization` says how those are packed that come with scales, as MLX's own
    /// tools write them.
    pub fn from_weights(weights: &Weights, quantization: Option<Quantization>) -> Self {
        // Frequencies that old files hold are worked out from the configuration.
        let kept = weights
            .iter()
            .filter(|tensor| !tensor.name.ends_with(".rotary_emb.inv_freq"));
        Self {
            tensors: kept
                .map(|tensor| (tensor.name.clone(), Tensor::Raw(tensor.clone())))
                .collect(),
            quantization,
            modules: BTreeMap::new(),
        }
    }

    /// Returns the store with one module, such as `model.layers.0.mlp.down_proj`, packed in another way than the rest,
    /// or not packed.
    #[must_use]
    pub fn with_module(
        mut self,
        name: impl Into<String>,
        quantization: Option<Quantization>,
    ) -> Self {
        self.modules.insert(name.into(), quantization);
        self
    }

    /// Returns the store with every weight read, packed where the file has it so, and in `dtype`, in which activations
    /// will be. Networks that are built from it on several threads use one copy of the weights.
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
        let mut rest = self.clone();
        let mut tensors = BTreeMap::new();
        let matrices: Vec<String> = self
            .names()
            .filter_map(|name| name.strip_suffix(".weight"))
            .map(str::to_owned)
            .collect();
        for name in matrices {
            let tensor = match rest.matrix(&name, true)? {
                Stored::Plain(array) => Tensor::Shared(shared(&array.astype(dtype))?),
                Stored::Packed(weights) => Tensor::SharedPacked(Packed::new(weights, dtype)?),
            };
            tensors.insert(format!("{name}.weight"), tensor);
        }
        for (name, tensor) in rest.tensors {
            let array = tensor.to_array()?.astype(dtype);
            tensors.insert(name, Tensor::Shared(shared(&array)?));
        }
        Ok(Self {
            tensors,
            quantization: None,
            modules: BTreeMap::new(),
        })
    }

    /// Returns the names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns whether there is a weight of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn take(&mut self, name: &str) -> Result<Tensor> {
        self.tensors
            .remove(name)
            .ok_or_else(|| Error::Weights(format!("{name}: wanted a tensor, got none")))
    }

    /// Takes a matrix out in the form in which it is stored, or unpacked.
    fn matrix(&mut self, name: &str, packed: bool) -> Result<Stored> {
        let tensor = self.take(&format!("{name}.weight"))?;
        let stated = self.modules.get(name).copied();
        let stored = match (&tensor, stated.unwrap_or(self.quantization)) {
            (Tensor::Gguf(tensor), _) if packed => tensor.to_quantized()?.map(Stored::Packed),
            (Tensor::SharedPacked(weights), _) if packed => Some(Stored::Packed(weights.weights())),
            (Tensor::Raw(tensor), Some(quantization))
                if self.contains(&format!("{name}.scales")) =>
            {
                let mut part = |part: &str| self.take(&format!("{name}.{part}"));
                let affine = quantization.mode == QuantizationMode::Affine;
                let weights = Quantized {
                    weight: tensor.to_array()?,
                    scales: match part("scales")? {
                        // Exponents, of which the bits are wanted.
                        Tensor::Raw(scales) if !affine => scales.to_bytes_array()?,
                        scales => scales.to_array()?,
                    },
                    biases: match affine {
                        true => Some(part("biases")?.to_array()?),
                        false => None,
                    },
                    quantization,
                };
                Some(if packed {
                    Stored::Packed(weights)
                } else {
                    Stored::Plain(weights.dequantize(Dtype::Float32))
                })
            }
            _ => None,
        };
        match stored {
            Some(stored) => Ok(stored),
            None => Ok(Stored::Plain(tensor.to_array()?)),
        }
    }
}

impl Tensor {
    fn to_array(&self) -> Result<Array> {
        match self {
            Self::Gguf(tensor) => tensor.to_array(),
            Self::Raw(tensor) => tensor.to_array(),
            Self::Shared(array) => Ok(array.array()),
            Self::SharedPacked(weights) => Ok(weights.weights().dequantize(Dtype::Float32)),
        }
    }
}

impl Packed {
    fn new(weights: Quantized, dtype: Dtype) -> Result<Self> {
        let weights = scales_in(weights, dtype);
        Ok(Self {
            weight: shared(&weights.weight)?,
            scales: shared(&weights.scales)?,
            biases: weights.biases.as_ref().map(shared).transpose()?,
            quantization: weights.quantization,
        })
    }

    fn weights(&self) -> Quantized {
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

/// Takes weights out of a store as layers, and checks their shapes.
pub(super) struct Loader {
    store: Store,
    dtype: Dtype,
    packed: bool,
}

impl Loader {
    pub(super) fn new(store: &Store, dtype: Dtype, packed: bool) -> Self {
        Self {
            store: store.clone(),
            dtype,
            packed,
        }
    }

    /// Returns the layer `[outputs, inputs]` of this name.
    pub(super) fn projection(
        &mut self,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
    ) -> Result<Projection> {
        let stored = self.matrix(name, [outputs, inputs])?;
        let bias = match bias {
            true => Some(self.vector(&format!("{name}.bias"), outputs)?),
            false => None,
        };
        Ok(match stored {
            Stored::Plain(weight) => Projection::Plain(Linear { weight, bias }),
            Stored::Packed(weights) => Projection::Packed(QuantizedLinear::new(weights, bias)),
        })
    }

    /// Returns the table `[tokens, dims]` of this name.
    pub(super) fn table(&mut self, name: &str, shape: [usize; 2]) -> Result<Table> {
        Ok(match self.matrix(name, shape)? {
            Stored::Plain(weight) => Table::Plain(Embedding { weight }),
            Stored::Packed(weights) => Table::Packed(QuantizedEmbedding::new(weights)),
        })
    }

    /// Returns the norm of this name.
    pub(super) fn norm(&mut self, name: &str, dims: usize, eps: f32) -> Result<RmsNorm> {
        let mut norm = RmsNorm::new(0, eps);
        norm.weight = self.vector(&format!("{name}.weight"), dims)?;
        Ok(norm)
    }

    /// Leaves a weight out that the network does not use.
    pub(super) fn ignore(&mut self, name: &str) {
        self.store.tensors.remove(name);
    }

    /// Refuses weights that were not asked for: the network would not be the one they were made for.
    pub(super) fn finish(self) -> Result<()> {
        let foreign =
            |tensor: &Tensor| matches!(tensor, Tensor::Raw(tensor) if tensor.is_foreign());
        let left = self.store.tensors.iter();
        let left = left.filter(|(_, tensor)| !foreign(tensor)).take(8);
        let left: Vec<&str> = left.map(|(name, _)| name.as_str()).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(Error::Weights(format!(
            "wanted no other weights than the network's, got {}",
            left.join(", ")
        )))
    }

    fn vector(&mut self, name: &str, dims: usize) -> Result<Array> {
        let array = self.store.take(name)?.to_array()?;
        check_shape(name, &array, &[dims])?;
        Ok(array.astype(self.dtype))
    }

    fn matrix(&mut self, name: &str, [outputs, inputs]: [usize; 2]) -> Result<Stored> {
        let stored = self.store.matrix(name, self.packed)?;
        match stored {
            Stored::Plain(array) => {
                check_shape(name, &array, &[outputs, inputs])?;
                Ok(Stored::Plain(array.astype(self.dtype)))
            }
            Stored::Packed(weights) => {
                let Quantization {
                    group_size, bits, ..
                } = weights.quantization;
                let size = |size: i32| usize::try_from(size).unwrap_or(1).max(1);
                let words = inputs * size(bits) / 32;
                check_shape(name, &weights.weight, &[outputs, words])?;
                let groups = [outputs, inputs / size(group_size)];
                check_shape(name, &weights.scales, &groups)?;
                if let Some(biases) = &weights.biases {
                    check_shape(name, biases, &groups)?;
                }
                Ok(Stored::Packed(scales_in(weights, self.dtype)))
            }
        }
    }
}

fn check_shape(name: &str, array: &Array, wanted: &[usize]) -> Result<()> {
    let got = array.shape().map_err(Error::model)?;
    let fits = got.len() == wanted.len()
        && got
            .iter()
            .zip(wanted)
            .all(|(&got, &wanted)| usize::try_from(got) == Ok(wanted));
    if fits {
        return Ok(());
    }
    Err(Error::Weights(format!(
        "{name}: wanted shape {wanted:?}, got {got:?}"
    )))
}
