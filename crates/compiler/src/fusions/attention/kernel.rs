//! The fused form of attention: operands, masks and sinks brought into the shapes that the kernel takes.

use mlx::compiler_api::MaskMode;
use mlx::{Array, Dtype, Op, bind, keepdims, where_};

use super::mask::Mask;
use super::operands::{Layout, OperandView};

/// The settings of the kernel. Its inputs are queries, keys, values, masks, and sinks if there are any.
pub(super) struct AttentionKernel {
    pub(super) layout: Layout,
    pub(super) k_t: OperandView,
    pub(super) v: OperandView,
    pub(super) scale: f32,
    pub(super) mask: Mask,
    /// The shape of each array of the mask, as `[batch, heads, queries, keys]`.
    pub(super) mask_shapes: Vec<Vec<i32>>,
    pub(super) has_sinks: bool,
    pub(super) dtype: Dtype,
    /// The shape of the result.
    pub(super) shape: Vec<i32>,
}

impl AttentionKernel {
    /// Computes the result.
    pub(super) fn apply(&self, inputs: &[Array]) -> Array {
        let layout = &self.layout;
        let q = inputs[0].reshape(layout.q.clone());
        let k_t = self.k_t.apply(&inputs[1]);
        let k = k_t.swapaxes(-1, -2).reshape(layout.k.clone());
        let v = self.v.apply(&inputs[2]).reshape(layout.v.clone());
        let (masks, sinks) = inputs[3..].split_at(self.mask_shapes.len());
        let masks: Vec<Array> = masks
            .iter()
            .zip(&self.mask_shapes)
            .map(|(mask, shape)| mask.reshape(shape.clone()))
            .collect();
        let built = self.mask.build(&masks, self.dtype);
        let mut all = vec![&q, &k, &v];
        all.extend(built.as_ref().map(|built| &built.mask));
        let n_heads = layout.q[1];
        let sinks = sinks
            .first()
            .map(|sinks| sinks.reshape([-1]).broadcast_to([n_heads]));
        all.extend(&sinks);
        let mut result = bind(self.op(), &all);
        if let Some(mean_rows) = built.and_then(|built| built.mean_rows) {
            let mean = v.astype(Dtype::Float32).mean(keepdims(-2));
            let n_repeats = layout.q[1] / layout.v[1].max(1);
            let mean = mean.astype(self.dtype).repeat(n_repeats, 1);
            result = where_(&mean_rows, mean, result);
        }
        result.reshape(self.shape.clone())
    }

    fn op(&self) -> Op {
        Op::ScaledDotProductAttention {
            scale: self.scale,
            mask: match &self.mask {
                Mask::None => MaskMode::None,
                Mask::Causal => MaskMode::Causal,
                _ => MaskMode::Array,
            },
            sinks: self.has_sinks,
            force_fused: false,
        }
    }
}
