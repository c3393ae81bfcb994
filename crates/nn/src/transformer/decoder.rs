//! The decoder of a transformer and its layers.

use mlx::fast::AttentionMask;
use mlx::{Array, Integer, Result};

use super::settings::{Drops, Settings, key_of};
use super::stack::stack;
use crate::{
    AnyLayer, Dropout, Forward, Init, IntoLayer, LayerNorm, Linear, Module, ModuleState,
    MultiHeadAttention, checkpoint,
};

/// A layer of the decoder, `mlx.nn.TransformerDecoderLayer`: attention of a sequence to itself, attention to a memory,
/// and an MLP, each with a norm, dropout and a residual connection.
///
/// With norms first: `x = x + self_attention(ln1(x))`, `x = x + cross_attention(ln2(x), memory, memory)`, then
/// `x + linear2(activation(linear1(ln3(x))))`; else the norms are of the sums.
///
/// ```
/// use mlx::fast::AttentionMask;
///
/// # fn main() -> mlx::Result<()> {
/// let layer = mlx_nn::TransformerDecoderLayer::new(16, 2).mlp_dims(32);
/// let x = mlx::ones([1, 5, 16]);
/// let memory = mlx::ones([1, 7, 16]);
/// let y = layer.forward(&x, &memory, &AttentionMask::causal(), &AttentionMask::none());
/// assert_eq!(y.shape()?, [1, 5, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct TransformerDecoderLayer {
    /// Attention of the sequence to itself.
    pub self_attention: MultiHeadAttention,
    /// Attention of the sequence to the memory.
    pub cross_attention: MultiHeadAttention,
    /// The norm of the attention to itself.
    pub ln1: LayerNorm,
    /// The norm of the attention to the memory.
    pub ln2: LayerNorm,
    /// The norm of the MLP.
    pub ln3: LayerNorm,
    /// From `dims` to the hidden features.
    pub linear1: Linear,
    /// From the hidden features to `dims`.
    pub linear2: Linear,
    /// Dropout after the attention to itself.
    pub dropout1: Dropout,
    /// Dropout after the attention to the memory.
    pub dropout2: Dropout,
    /// Dropout of the hidden features.
    pub dropout3: Dropout,
    /// The activation of the hidden features.
    pub activation: AnyLayer,
    /// Whether norms come before attention and MLP.
    pub norm_first: bool,
    /// The mode of the layer.
    pub state: ModuleState,
}

impl TransformerDecoderLayer {
    /// Returns a layer over `dims` with `num_heads` heads, `4 * dims` hidden features, no dropout, ReLU, norms first.
    pub fn new(dims: impl Integer, num_heads: impl Integer) -> Self {
        let (dims, num_heads) = (dims.to_i32(), num_heads.to_i32());
        Self::with_init(dims, num_heads, None, &mut Init::default())
    }

    /// Returns a layer with this number of hidden features, `4 * dims` if none, and initial values from `init`.
    pub fn with_init(
        dims: i32,
        num_heads: i32,
        mlp_dims: impl Into<Option<i32>>,
        init: &mut Init,
    ) -> Self {
        Self::of(&Settings::new(dims, num_heads, mlp_dims.into()), init)
    }

    fn of(settings: &Settings, init: &mut Init) -> Self {
        let mut attention =
            || MultiHeadAttention::with_init(settings.dims, settings.num_heads, false, init);
        let (self_attention, cross_attention) = (attention(), attention());
        let (linear1, linear2) = settings.linears(init);
        Self {
            self_attention,
            cross_attention,
            ln1: LayerNorm::new(settings.dims),
            ln2: LayerNorm::new(settings.dims),
            ln3: LayerNorm::new(settings.dims),
            linear1,
            linear2,
            dropout1: Dropout::new(settings.dropout),
            dropout2: Dropout::new(settings.dropout),
            dropout3: Dropout::new(settings.dropout),
            activation: settings.activation.clone(),
            norm_first: settings.norm_first,
            state: ModuleState::default(),
        }
    }

    /// Returns the layer with another number of hidden features; the linear layers get new initial values.
    #[must_use]
    pub fn mlp_dims(mut self, mlp_dims: impl Integer) -> Self {
        let mlp_dims = mlp_dims.to_i32();
        let dims = crate::layer_error::axis_size(&self.linear2.weight, 0);
        let settings = Settings::new(dims, self.self_attention.n_heads, Some(mlp_dims));
        (self.linear1, self.linear2) = settings.linears(&mut Init::default());
        self
    }

    /// Returns the layer with dropout of this probability.
    #[must_use]
    pub fn dropout(mut self, dropout: f32) -> Self {
        for layer in [&mut self.dropout1, &mut self.dropout2, &mut self.dropout3] {
            layer.p = dropout;
        }
        self
    }

    /// Returns the layer with another activation of the hidden features: a module or a function of arrays.
    #[must_use]
    pub fn activation<Kind>(mut self, activation: impl IntoLayer<Kind>) -> Self {
        self.activation = activation.into_layer();
        self
    }

    /// Returns the layer with norms before attention and MLP, or after.
    #[must_use]
    pub fn norm_first(mut self, norm_first: bool) -> Self {
        self.norm_first = norm_first;
        self
    }

    /// Maps `x`, `[batch, length, dims]`, and the memory, `[batch, length', dims]`, to the shape of `x`. Dropout draws from
    /// this thread's random numbers.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Array,
        memory: &Array,
        x_mask: impl Into<AttentionMask>,
        memory_mask: impl Into<AttentionMask>,
    ) -> Array {
        let (x_mask, memory_mask) = (x_mask.into(), memory_mask.into());
        Array::from_result(self.run((x, memory), (&x_mask, &memory_mask), None))
    }

    /// Maps `x` as [`forward`](Self::forward), with dropout by this key.
    #[track_caller]
    pub fn forward_with_key(
        &self,
        x: &Array,
        memory: &Array,
        x_mask: &AttentionMask,
        memory_mask: &AttentionMask,
        key: &Array,
    ) -> Array {
        Array::from_result(self.run((x, memory), (x_mask, memory_mask), Some(key)))
    }

    #[track_caller]
    fn run(
        &self,
        (x, memory): (&Array, &Array),
        (x_mask, memory_mask): (&AttentionMask, &AttentionMask),
        key: Option<&Array>,
    ) -> Result<Array> {
        let mut drops = Drops::new(3, key)?;
        if self.norm_first {
            let y = self.ln1.forward(x);
            let y = self.self_attention.forward(&y, &y, &y, x_mask);
            let x = x + drops.apply(&self.dropout1, &y);
            let y = self.ln2.forward(&x);
            let y = self
                .cross_attention
                .forward(&y, memory, memory, memory_mask);
            let x = x + drops.apply(&self.dropout2, &y);
            let y = self.mlp(&self.ln3.forward(&x), &mut drops);
            Ok(x + y)
        } else {
            let y = self.self_attention.forward(x, x, x, x_mask);
            let x = self.ln1.forward(&(x + drops.apply(&self.dropout1, &y)));
            let y = self
                .cross_attention
                .forward(&x, memory, memory, memory_mask);
            let x = self.ln2.forward(&(x + drops.apply(&self.dropout2, &y)));
            let y = self.mlp(&x, &mut drops);
            Ok(self.ln3.forward(&(x + y)))
        }
    }

    #[track_caller]
    fn mlp(&self, x: &Array, drops: &mut Drops) -> Array {
        let hidden = self.activation.forward(&self.linear1.forward(x));
        self.linear2.forward(&drops.apply(&self.dropout3, &hidden))
    }

    /// Computes the same, and again for the gradient.
    #[track_caller]
    fn checkpointed(
        &self,
        (x, memory): (&Array, &Array),
        (x_mask, memory_mask): (&AttentionMask, &AttentionMask),
    ) -> Result<Array> {
        let key = key_of([&self.dropout1, &self.dropout2, &self.dropout3]);
        let inputs = (
            x.clone(),
            memory.clone(),
            x_mask.clone(),
            memory_mask.clone(),
        );
        checkpoint(
            self,
            &inputs,
            move |layer: &Self, (x, memory, x_mask, memory_mask)| {
                layer.run((x, memory), (x_mask, memory_mask), key.as_ref())
            },
        )
    }
}

impl Forward<(Array, Array, AttentionMask, AttentionMask)> for TransformerDecoderLayer {
    #[track_caller]
    fn forward(
        &self,
        (x, memory, x_mask, memory_mask): &(Array, Array, AttentionMask, AttentionMask),
    ) -> Array {
        Self::forward(self, x, memory, x_mask, memory_mask)
    }
}

/// The decoder of a transformer, `mlx.nn.TransformerDecoder`: [layers](TransformerDecoderLayer) and a norm.
///
/// ```
/// use mlx::fast::AttentionMask;
///
/// # fn main() -> mlx::Result<()> {
/// let decoder = mlx_nn::TransformerDecoder::new(2, 16, 4).dropout(0.1).norm_first(false);
/// let x = mlx::ones([1, 5, 16]);
/// let memory = mlx::ones([1, 7, 16]);
/// let y = decoder.forward(&x, &memory, &AttentionMask::causal(), &AttentionMask::none());
/// assert_eq!(y.shape()?, [1, 5, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct TransformerDecoder {
    /// The layers.
    pub layers: Vec<TransformerDecoderLayer>,
    /// The norm of the result.
    pub ln: LayerNorm,
    /// Whether the gradient computes each layer again instead of keeping what it computed.
    pub checkpoint: bool,
    #[module(skip)]
    settings: Settings,
}

stack!(TransformerDecoder of TransformerDecoderLayer, "a decoder", "decoder");

impl TransformerDecoder {
    /// Maps `x`, `[batch, length, dims]`, and the memory, `[batch, length', dims]`, to the shape of `x`. Dropout draws from
    /// this thread's random numbers.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Array,
        memory: &Array,
        x_mask: impl Into<AttentionMask>,
        memory_mask: impl Into<AttentionMask>,
    ) -> Array {
        let (x_mask, memory_mask) = (x_mask.into(), memory_mask.into());
        let masks = (&x_mask, &memory_mask);
        let mut y = x.clone();
        for layer in &self.layers {
            y = Array::from_result(match self.checkpoint {
                true => layer.checkpointed((&y, memory), masks),
                false => layer.run((&y, memory), masks, None),
            });
        }
        self.ln.forward(&y)
    }
}

impl Forward<(Array, Array, AttentionMask, AttentionMask)> for TransformerDecoder {
    #[track_caller]
    fn forward(
        &self,
        (x, memory, x_mask, memory_mask): &(Array, Array, AttentionMask, AttentionMask),
    ) -> Array {
        Self::forward(self, x, memory, x_mask, memory_mask)
    }
}
