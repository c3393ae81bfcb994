//! A gradient of a small network, and a transformer block of the sweep forward and backward.

use anyhow::Result;
use mlx::fast::{self, AttentionMask, AttentionOptions};
use mlx::transforms::Arg;
use mlx::{Array, concatenate, grad_of};
use mlx_compiler::jit;

use crate::kernels::{Body, take};

pub fn body(name: &str, inputs: &[Array]) -> Result<Option<Body>> {
    Ok(Some(match name {
        "mlp_grad_eager" => mlp_gradient(inputs)?,
        "block_forward" => {
            let [x, qkv, out, up, down, norm] = take(inputs)?;
            Box::new(move || Ok(block(&x, &qkv, &out, &up, &down, &norm)))
        }
        "block_forward_jit" => {
            let [x, qkv, out, up, down, norm] = take(inputs)?;
            let compiled = jit(block);
            Box::new(move || Ok(compiled.call((&x, &qkv, &out, &up, &down, &norm))?))
        }
        "block_grad" => block_gradient(inputs)?,
        _ => return Ok(None),
    }))
}

/// The gradients of a squared loss of two layers by both weights.
fn mlp_gradient(inputs: &[Array]) -> Result<Body> {
    let [x, w1, w2, y] = take(inputs)?;
    let loss = |w1: &Array, w2: &Array, x: &Array, y: &Array| {
        let hidden = x.matmul(w1).maximum(0.0_f32);
        (hidden.matmul(w2) - y).square().mean(())
    };
    let gradient = grad_of(loss, (Arg::<0>, Arg::<1>));
    Ok(Box::new(move || {
        let (w1, w2) = gradient.call((&w1, &w2, &x, &y))?;
        Ok(concatenate([&w1.reshape([-1]), &w2.reshape([-1])], 0))
    }))
}

/// The gradients of the block's mean square by its four matrices.
fn block_gradient(inputs: &[Array]) -> Result<Body> {
    let [x, qkv, out, up, down, norm] = take(inputs)?;
    let loss = |x: &Array, qkv: &Array, out: &Array, up: &Array, down: &Array, norm: &Array| {
        block(x, qkv, out, up, down, norm).square().mean(())
    };
    let gradient = grad_of(loss, (Arg::<1>, Arg::<2>, Arg::<3>, Arg::<4>));
    Ok(Box::new(move || {
        let (qkv, out, up, down) = gradient.call((&x, &qkv, &out, &up, &down, &norm))?;
        let flat = [qkv, out, up, down].map(|one| one.reshape([-1]));
        Ok(concatenate(&flat, 0))
    }))
}

/// A transformer block of width 512 with 8 heads over `[4, 256, 512]`.
pub fn block(x: &Array, qkv: &Array, out: &Array, up: &Array, down: &Array, norm: &Array) -> Array {
    let heads = fast::rms_norm(x, norm, 1e-5).matmul(&qkv.t());
    let heads = heads.reshape([4, 256, 3, 8, 64]).transpose([2, 0, 3, 1, 4]);
    let options = AttentionOptions {
        mask: AttentionMask::causal(),
        ..AttentionOptions::default()
    };
    let (q, k, v) = (heads.i(0), heads.i(1), heads.i(2));
    let attended = fast::scaled_dot_product_attention_with(&q, &k, &v, &options);
    let attended = attended.transpose([0, 2, 1, 3]).reshape([4, 256, 512]);
    let x = x + attended.matmul(&out.t());
    let hidden = fast::rms_norm(&x, norm, 1e-5).matmul(&up.t());
    x + fast::gelu(&hidden).matmul(&down.t())
}
