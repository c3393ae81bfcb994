//! Products of matrices, attention and convolutions of the sweep; pictures are `[batch, height, width, channels]`.

use anyhow::Result;
use mlx::fast::{AttentionMask, AttentionOptions, scaled_dot_product_attention_with};
use mlx::{Array, ConvOptions, einsum};

use crate::kernels::{Body, binary, take};

pub fn body(name: &str, inputs: &[Array]) -> Result<Option<Body>> {
    let padded = || ConvOptions {
        padding: [1, 1].into(),
        ..ConvOptions::default()
    };
    Ok(Some(match name {
        "matmul_512x1024x1024" | "bmm_16x256" | "matmul" => binary(inputs, |a, b| a.matmul(b))?,
        "gemv_4096" => binary(inputs, |x, weight| x.matmul(&weight.t()))?,
        "einsum_bij_bjk" => binary(inputs, |a, b| einsum("bij,bjk->bik", [a, b]))?,
        "einsum_bqhd_bkhd" => binary(inputs, |a, b| einsum("bqhd,bkhd->bhqk", [a, b]))?,
        "sdpa_causal_512" => attention(inputs)?,
        "conv2d_56x64" | "conv2d" => conv2d(inputs, padded())?,
        "depthwise_112" => {
            let options = ConvOptions {
                groups: 32,
                ..padded()
            };
            conv2d(inputs, options)?
        }
        "conv2d_stem7x7" => {
            let options = ConvOptions {
                padding: [3, 3].into(),
                stride: [2, 2].into(),
                ..ConvOptions::default()
            };
            conv2d(inputs, options)?
        }
        "conv2d_1x1" => conv2d(inputs, ConvOptions::default())?,
        "conv1d_1500x384" => binary(inputs, |x, weight| {
            let options = ConvOptions {
                padding: [1].into(),
                ..ConvOptions::default()
            };
            x.conv1d(weight, options)
        })?,
        _ => return Ok(None),
    }))
}

fn attention(inputs: &[Array]) -> Result<Body> {
    let [q, k, v] = take(inputs)?;
    let options = AttentionOptions {
        mask: AttentionMask::causal(),
        ..AttentionOptions::default()
    };
    Ok(Box::new(move || {
        Ok(scaled_dot_product_attention_with(&q, &k, &v, &options))
    }))
}

fn conv2d(inputs: &[Array], options: ConvOptions) -> Result<Body> {
    binary(inputs, move |x, weight| x.conv2d(weight, options.clone()))
}
