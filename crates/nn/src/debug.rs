//! How layers print for debugging: their type and their parameters with dtypes and shapes, so that models can derive
//! `Debug`. No value is computed; [`Module::summary`] is the table of a whole model.

use std::fmt;

use crate::module::{ParameterVisitor, copy};
use crate::{Module, lora};

/// Writes the name of the type, and the parameters and buffers: `Linear(bias float32[2], weight float32[2, 4])`.
fn debug<M: Module>(module: &M, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut copy = copy(module);
    f.write_str(M::type_label().unwrap_or(std::any::type_name::<M>()))?;
    let parts = ParameterVisitor::of(&mut copy).parts;
    let described = parts.iter().map(|part| match part.array.array_type() {
        Ok(array_type) => format!("{} {array_type}", part.name),
        Err(_) => format!("{} failed", part.name),
    });
    write!(f, "({})", described.collect::<Vec<_>>().join(", "))
}

macro_rules! layers {
    ($($layer:ty),* $(,)?) => {$(
        impl fmt::Debug for $layer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                debug(self, f)
            }
        }
    )*};
}

layers! {
    crate::BatchNorm, crate::Bilinear, crate::Conv1d, crate::Conv2d, crate::Conv3d,
    crate::ConvTranspose1d, crate::ConvTranspose2d, crate::ConvTranspose3d, crate::Embedding,
    crate::GRU, crate::GroupNorm, crate::InstanceNorm, crate::LSTM, crate::LayerNorm,
    crate::Linear, crate::MultiHeadAttention, crate::PReLU, crate::PackedWeights, crate::QQLinear,
    crate::QuantizedEmbedding, crate::QuantizedLinear, crate::RNN, crate::RmsNorm,
    crate::TransformerDecoder, crate::TransformerDecoderLayer, crate::TransformerEncoder,
    crate::TransformerEncoderLayer, lora::Adapter, lora::AdapterSlot,
}

impl<E: Module, D: Module> fmt::Debug for crate::Transformer<E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

/// The layers by their types, in a row.
impl fmt::Debug for crate::Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sequential")?;
        f.debug_list().entries(&self.layers).finish()
    }
}
