//! Whisper's encoder: features of one window of audio.

use mlx::{Array, fast::AttentionMask};
use mlx_nn::{Conv1d, Init, LayerNorm, Linear, Module};

use super::attention::Attention;
use crate::axis_size::axis_size;
use crate::whisper::Config;

/// Two convolutions, position embeddings, and layers of self-attention.
#[derive(Clone, Module)]
pub(super) struct Encoder {
    conv1: Conv1d,
    conv2: Conv1d,
    embed_positions: Positions,
    layers: Vec<Layer>,
    layer_norm: LayerNorm,
}

#[derive(Clone, Module)]
struct Layer {
    self_attn: Attention,
    self_attn_layer_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
}

/// The position embeddings.
#[derive(Clone, Module)]
pub(super) struct Positions {
    pub(super) weight: Array,
}

impl Encoder {
    pub(super) fn new(config: &Config, init: &mut Init) -> Self {
        let state = axis_size(config.n_audio_state);
        let convolution = |input: i32, stride: i32, init: &mut Init| {
            let convolution = Conv1d::with_init(input, state, 3, true, init);
            convolution.stride(stride).padding(1)
        };
        Self {
            conv1: convolution(axis_size(config.n_mels), 1, init),
            conv2: convolution(state, 2, init),
            embed_positions: Positions::new(axis_size(config.n_audio_ctx), state),
            layers: (0..config.n_audio_layer)
                .map(|_| Layer::new(config, init))
                .collect(),
            layer_norm: LayerNorm::new(state).eps(1e-5),
        }
    }

    pub(super) fn forward(&self, mel: &Array) -> Array {
        let kernels = self.layer_norm.kernels;
        let x = kernels.gelu(&self.conv1.forward(mel));
        let x = kernels.gelu(&self.conv2.forward(&x));
        let x = x + &self.embed_positions.weight;
        let x = self.layers.iter().fold(x, |x, layer| layer.forward(&x));
        self.layer_norm.forward(&x)
    }
}

impl Layer {
    fn new(config: &Config, init: &mut Init) -> Self {
        let (state, mlp) = (
            axis_size(config.n_audio_state),
            axis_size(config.n_audio_mlp()),
        );
        Self {
            self_attn: Attention::new(state, axis_size(config.n_audio_head), init),
            self_attn_layer_norm: LayerNorm::new(state).eps(1e-5),
            fc1: Linear::with_init(state, mlp, true, init),
            fc2: Linear::with_init(mlp, state, true, init),
            final_layer_norm: LayerNorm::new(state).eps(1e-5),
        }
    }

    fn forward(&self, x: &Array) -> Array {
        let normed = self.self_attn_layer_norm.forward(x);
        let kv = self.self_attn.keys_values(&normed);
        let x = x + self.self_attn.forward(&normed, &kv, &AttentionMask::none());
        feed_forward(&x, &self.final_layer_norm, &self.fc1, &self.fc2)
    }
}

/// Adds the feed-forward network of a layer.
pub(super) fn feed_forward(x: &Array, norm: &LayerNorm, fc1: &Linear, fc2: &Linear) -> Array {
    let hidden = norm.kernels.gelu(&fc1.forward(&norm.forward(x)));
    x + fc2.forward(&hidden)
}

impl Positions {
    pub(super) fn new(length: i32, dims: i32) -> Self {
        Self {
            weight: mlx::zeros([length, dims]),
        }
    }
}
