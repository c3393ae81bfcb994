//! A layer of a decoder over caches, as programs of the CPU and of CUDA are tested with.

use mlx::fast::{AttentionMask, AttentionOptions, RopeOptions};
use mlx::{Array, fast, iota, random};

pub fn normal(seed: u64, shape: &[i32]) -> Array {
    random::normal_with(shape, &random::key(seed))
}

/// One layer of a decoder with two heads: a norm, matrices, rotary positions, caches of fixed capacity, attention, a gated
/// network.
pub fn layer(
    weights: &[Array],
) -> impl Fn(&Array, &Array, &Array, &Array) -> mlx::Result<(Array, Array, Array)> + use<> {
    let weights = weights.to_vec();
    move |x, keys, values, start| {
        let width = x.dim(2)?;
        let heads = |x: Array| x.reshape([1, 1, 2, width / 2]).transpose([0, 2, 1, 3]);
        let normed = fast::rms_norm(x, Some(&weights[0]), 1e-5);
        let q = heads(normed.matmul(&weights[1].t()));
        let k = heads(normed.matmul(&weights[2].t()));
        let v = heads(normed.matmul(&weights[3].t()));
        let rope = RopeOptions {
            offset: start.clone().into(),
            ..RopeOptions::default()
        };
        let (q, k) = (fast::rope(&q, &rope), fast::rope(&k, &rope));
        let at = start.reshape([1]);
        let keys = keys.slice_update(&k, &at, 2);
        let values = values.slice_update(&v, &at, 2);
        let seen = iota(keys.dim(2)?).less_equal(start).reshape([1, 1, 1, -1]);
        let options = AttentionOptions {
            mask: AttentionMask::bool(&seen),
            ..AttentionOptions::default()
        };
        let mixed = fast::scaled_dot_product_attention_with(&q, &keys, &values, &options);
        let x = x + mixed.transpose([0, 2, 1, 3]).reshape([1, 1, width]);
        let gate = x.matmul(&weights[1].t());
        Ok((&x + fast::swiglu(&gate, &x), keys, values))
    }
}
