//! The transformer: encoder, decoder, and their layers.

mod decoder;
mod encoder;
mod settings;
mod stack;

pub use decoder::{TransformerDecoder, TransformerDecoderLayer};
pub use encoder::{TransformerEncoder, TransformerEncoderLayer};

use mlx::fast::AttentionMask;
use mlx::{Array, Integer};

use crate::{Forward, Init, IntoLayer, Module};

/// A transformer of an encoder and a decoder, `mlx.nn.Transformer`.
///
/// The encoder processes the source sequence, and the decoder attends to what it gives. From Attention Is All You Need,
/// Vaswani et al. 2017. Python's defaults are 512 `dims` and 8 heads.
///
/// ```
/// use mlx::fast::AttentionMask;
/// use mlx_nn::Transformer;
///
/// # fn main() -> mlx::Result<()> {
/// let model = Transformer::new(16, 2).num_encoder_layers(1).num_decoder_layers(1).mlp_dims(32);
/// let source = mlx::ones([1, 5, 16]);
/// let target = mlx::ones([1, 3, 16]);
/// let (all, causal) = (AttentionMask::none(), AttentionMask::causal());
/// assert_eq!(model.forward(&source, &target, &all, &causal, &all).shape()?, [1, 3, 16]);
/// # Ok(())
/// # }
/// ```
///
/// The encoder and the decoder can be other modules, by [`custom_encoder`](Self::custom_encoder) and
/// [`custom_decoder`](Self::custom_decoder).
#[derive(Clone, Module)]
pub struct Transformer<E = TransformerEncoder, D = TransformerDecoder> {
    /// Maps the source and its mask to the memory.
    pub encoder: E,
    /// Maps the target, the memory and the masks of both to the result.
    pub decoder: D,
}

impl Transformer {
    /// Returns a transformer of 6 layers each over `dims` with `num_heads` heads, `4 * dims` hidden features, no dropout,
    /// ReLU, and norms before attention.
    pub fn new(dims: impl Integer, num_heads: impl Integer) -> Self {
        let (dims, num_heads) = (dims.to_i32(), num_heads.to_i32());
        Self::with_init(dims, num_heads, [6, 6], None, &mut Init::default())
    }

    /// Returns a transformer of this number of encoder and decoder layers, with initial values from `init`.
    pub fn with_init(
        dims: i32,
        num_heads: i32,
        [num_encoder_layers, num_decoder_layers]: [usize; 2],
        mlp_dims: impl Into<Option<i32>>,
        init: &mut Init,
    ) -> Self {
        let mlp_dims = mlp_dims.into();
        Self {
            encoder: TransformerEncoder::with_init(
                num_encoder_layers,
                dims,
                num_heads,
                mlp_dims,
                init,
            ),
            decoder: TransformerDecoder::with_init(
                num_decoder_layers,
                dims,
                num_heads,
                mlp_dims,
                init,
            ),
        }
    }

    /// Returns the transformer with another number of encoder layers; those that are added get new initial values.
    #[must_use]
    pub fn num_encoder_layers(mut self, num_encoder_layers: usize) -> Self {
        self.encoder = self.encoder.num_layers(num_encoder_layers);
        self
    }

    /// Returns the transformer with another number of decoder layers; those that are added get new initial values.
    #[must_use]
    pub fn num_decoder_layers(mut self, num_decoder_layers: usize) -> Self {
        self.decoder = self.decoder.num_layers(num_decoder_layers);
        self
    }

    /// Returns the transformer with another number of hidden features; the linear layers get new initial values.
    #[must_use]
    pub fn mlp_dims(self, mlp_dims: impl Integer) -> Self {
        let mlp_dims = mlp_dims.to_i32();
        self.with(|e| e.mlp_dims(mlp_dims), |d| d.mlp_dims(mlp_dims))
    }

    /// Returns the transformer with dropout of this probability after attention and in the MLP.
    #[must_use]
    pub fn dropout(self, dropout: f32) -> Self {
        self.with(|e| e.dropout(dropout), |d| d.dropout(dropout))
    }

    /// Returns the transformer with another activation of the hidden features: a module or a function of arrays.
    #[must_use]
    pub fn activation<Kind>(self, activation: impl IntoLayer<Kind>) -> Self {
        let activation = activation.into_layer();
        let (first, second) = (activation.clone(), activation);
        self.with(|e| e.activation(first), |d| d.activation(second))
    }

    /// Returns the transformer with norms before attention and MLP, or after.
    #[must_use]
    pub fn norm_first(self, norm_first: bool) -> Self {
        self.with(|e| e.norm_first(norm_first), |d| d.norm_first(norm_first))
    }

    /// Returns the transformer whose gradient computes each layer again instead of keeping what it computed, or not.
    #[must_use]
    pub fn checkpoint(self, checkpoint: bool) -> Self {
        self.with(|e| e.checkpoint(checkpoint), |d| d.checkpoint(checkpoint))
    }

    fn with(
        self,
        encoder: impl FnOnce(TransformerEncoder) -> TransformerEncoder,
        decoder: impl FnOnce(TransformerDecoder) -> TransformerDecoder,
    ) -> Self {
        Self {
            encoder: encoder(self.encoder),
            decoder: decoder(self.decoder),
        }
    }
}

impl<E, D> Transformer<E, D> {
    /// Returns the transformer with another encoder: a module from the source and its mask to the memory.
    #[must_use]
    pub fn custom_encoder<Other>(self, encoder: Other) -> Transformer<Other, D>
    where
        Other: Module + Forward<(Array, AttentionMask)>,
    {
        Transformer {
            encoder,
            decoder: self.decoder,
        }
    }

    /// Returns the transformer with another decoder: a module from the target, the memory, and the masks of both to the
    /// result.
    #[must_use]
    pub fn custom_decoder<Other>(self, decoder: Other) -> Transformer<E, Other>
    where
        Other: Module + Forward<(Array, Array, AttentionMask, AttentionMask)>,
    {
        Transformer {
            encoder: self.encoder,
            decoder,
        }
    }
}

impl<E, D> Transformer<E, D>
where
    E: Forward<(Array, AttentionMask)>,
    D: Forward<(Array, Array, AttentionMask, AttentionMask)>,
{
    /// Maps a source `[batch, length, dims]` and a target `[batch, length', dims]` to `[batch, length', dims]`.
    ///
    /// `src_mask` is of the attention of the source to itself, `tgt_mask` of the target to itself, `memory_mask` of the
    /// target to the source.
    #[track_caller]
    pub fn forward(
        &self,
        src: &Array,
        tgt: &Array,
        src_mask: impl Into<AttentionMask>,
        tgt_mask: impl Into<AttentionMask>,
        memory_mask: impl Into<AttentionMask>,
    ) -> Array {
        let memory = self.encoder.forward(&(src.clone(), src_mask.into()));
        let inputs = (tgt.clone(), memory, tgt_mask.into(), memory_mask.into());
        self.decoder.forward(&inputs)
    }
}

/// A source and a target, without masks.
impl<E, D> Forward<(Array, Array)> for Transformer<E, D>
where
    E: Forward<(Array, AttentionMask)>,
    D: Forward<(Array, Array, AttentionMask, AttentionMask)>,
{
    #[track_caller]
    fn forward(&self, (src, tgt): &(Array, Array)) -> Array {
        let none = AttentionMask::none();
        Self::forward(self, src, tgt, &none, &none, &none)
    }
}
