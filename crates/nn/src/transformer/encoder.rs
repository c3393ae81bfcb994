//! The encoder of a transformer and its layers.

use mlx::fast::AttentionMask;
use mlx::{Array, Integer, Result};

use super::settings::{Drops, Settings, key_of};
use super::stack::stack;
use crate::{
    AnyLayer, Dropout, Forward, Init, IntoLayer, LayerNorm, Linear, Module, ModuleState,
    MultiHeadAttention, checkpoint,
};

/// A layer of the encoder, `mlx.nn.TransformerEncoderLayer`: attention of a sequence to itself, and an MLP, each with a
/// norm, dropout and a residual connection.
///
/// With norms first: `x = x + attention(ln1(x))`, then `x + linear2(activation(linear1(ln2(x))))`; else the norms are of
/// the sums.
///
/// ```
/// use mlx::fast::AttentionMask;
///
/// # fn main() -> mlx::Result<()> {
/// let layer = mlx_nn::TransformerEncoderLayer::new(16, 2).mlp_dims(32);
/// let x = mlx::ones([1, 5, 16]);
/// assert_eq!(layer.forward(&x, &AttentionMask::causal()).shape()?, [1, 5, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct TransformerEncoderLayer {
    /// Attention of the sequence to itself.
    pub attention: MultiHeadAttention,
    /// The norm of the attention.
    pub ln1: LayerNorm,
    /// The norm of the MLP.
    pub ln2: LayerNorm,
    /// From `dims` to the hidden features.
    pub linear1: Linear,
    /// From the hidden features to `dims`.
    pub linear2: Linear,
    /// Dropout after attention.
    pub dropout1: Dropout,
    /// Dropout of the hidden features.
    pub dropout2: Dropout,
    /// The activation of the hidden features.
    pub activation: AnyLayer,
    /// Whether norms come before attention and MLP.
    pub norm_first: bool,
    /// The mode of the layer.
    pub state: ModuleState,
}

impl TransformerEncoderLayer {
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
        let attention =
            MultiHeadAttention::with_init(settings.dims, settings.num_heads, false, init);
        let (linear1, linear2) = settings.linears(init);
        Self {
            attention,
            ln1: LayerNorm::new(settings.dims),
            ln2: LayerNorm::new(settings.dims),
            linear1,
            linear2,
            dropout1: Dropout::new(settings.dropout),
            dropout2: Dropout::new(settings.dropout),
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
        let settings = Settings::new(dims, self.attention.n_heads, Some(mlp_dims));
        (self.linear1, self.linear2) = settings.linears(&mut Init::default());
        self
    }

    /// Returns the layer with dropout of this probability.
    #[must_use]
    pub fn dropout(mut self, dropout: f32) -> Self {
        (self.dropout1.p, self.dropout2.p) = (dropout, dropout);
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

    /// Maps `[batch, length, dims]` to the same shape. Dropout draws from this thread's random numbers.
    #[track_caller]
    pub fn forward(&self, x: &Array, mask: impl Into<AttentionMask>) -> Array {
        Array::from_result(self.run(x, &mask.into(), None))
    }

    /// Maps `x` as [`forward`](Self::forward), with dropout by this key.
    #[track_caller]
    pub fn forward_with_key(&self, x: &Array, mask: &AttentionMask, key: &Array) -> Array {
        Array::from_result(self.run(x, mask, Some(key)))
    }

    #[track_caller]
    fn run(&self, x: &Array, mask: &AttentionMask, key: Option<&Array>) -> Result<Array> {
        let mut drops = Drops::new(2, key)?;
        if self.norm_first {
            let y = self.ln1.forward(x);
            let y = self.attention.forward(&y, &y, &y, mask);
            let x = x + drops.apply(&self.dropout1, &y);
            let y = self.mlp(&self.ln2.forward(&x), &mut drops);
            Ok(x + y)
        } else {
            let y = self.attention.forward(x, x, x, mask);
            let x = self.ln1.forward(&(x + drops.apply(&self.dropout1, &y)));
            let y = self.mlp(&x, &mut drops);
            Ok(self.ln2.forward(&(x + y)))
        }
    }

    #[track_caller]
    fn mlp(&self, x: &Array, drops: &mut Drops) -> Array {
        let hidden = self.activation.forward(&self.linear1.forward(x));
        self.linear2.forward(&drops.apply(&self.dropout2, &hidden))
    }

    /// Computes the same, and again for the gradient.
    #[track_caller]
    fn checkpointed(&self, x: &Array, mask: &AttentionMask) -> Result<Array> {
        let key = key_of([&self.dropout1, &self.dropout2]);
        let inputs = (x.clone(), mask.clone());
        checkpoint(self, &inputs, move |layer: &Self, (x, mask)| {
            layer.run(x, mask, key.as_ref())
        })
    }
}

impl Forward<(Array, AttentionMask)> for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, (x, mask): &(Array, AttentionMask)) -> Array {
        Self::forward(self, x, mask)
    }
}

/// A sequence without a mask.
impl Forward for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x, &AttentionMask::none())
    }
}

/// The encoder of a transformer, `mlx.nn.TransformerEncoder`: [layers](TransformerEncoderLayer) and a norm.
///
/// ```
/// use mlx::fast::AttentionMask;
///
/// # fn main() -> mlx::Result<()> {
/// let encoder = mlx_nn::TransformerEncoder::new(2, 16, 4).dropout(0.1).norm_first(false);
/// let x = mlx::ones([1, 5, 16]);
/// assert_eq!(encoder.forward(&x, &AttentionMask::none()).shape()?, [1, 5, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct TransformerEncoder {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer>,
    /// The norm of the result.
    pub ln: LayerNorm,
    /// Whether the gradient computes each layer again instead of keeping what it computed.
    pub checkpoint: bool,
    #[module(skip)]
    settings: Settings,
}

stack!(TransformerEncoder of TransformerEncoderLayer, "an encoder", "encoder");

impl TransformerEncoder {
    /// Maps `[batch, length, dims]` to the same shape. Dropout draws from this thread's random numbers.
    #[track_caller]
    pub fn forward(&self, x: &Array, mask: impl Into<AttentionMask>) -> Array {
        let (mask, mut y) = (mask.into(), x.clone());
        for layer in &self.layers {
            y = match self.checkpoint {
                true => Array::from_result(layer.checkpointed(&y, &mask)),
                false => layer.forward(&y, &mask),
            };
        }
        self.ln.forward(&y)
    }
}

impl Forward<(Array, AttentionMask)> for TransformerEncoder {
    #[track_caller]
    fn forward(&self, (x, mask): &(Array, AttentionMask)) -> Array {
        Self::forward(self, x, mask)
    }
}

/// A sequence without a mask.
impl Forward for TransformerEncoder {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x, &AttentionMask::none())
    }
}
