//! Rows of single operations with this library.

use anyhow::{Context, Result};
use mlx::fast::{self, AttentionOptions, RopeFrequencies, RopeOptions};
use mlx::{Array, Quantized};
use mlx_bench::harness::protocol::Load;
use mlx_compiler::jit;

use crate::int8::Int8;
use crate::packed::pack;
use crate::work::{Computed, Form, Work};

/// Returns the row, or nothing when this form does not have it.
pub fn prepare(form: Form, load: &Load) -> Result<Option<Box<dyn Work>>> {
    let mut inputs = Vec::new();
    for path in &load.inputs {
        inputs.push(mlx::io::load_npy(path)?);
    }
    mlx_bench::ready(&inputs)?;
    if load.op == "quantized_matvec_int8" {
        return Ok(Some(Box::new(Int8::new(load, &inputs)?)));
    }
    let body = body(form, load, inputs)?;
    Ok(body.map(|body| Box::new(Computed(body)) as Box<dyn Work>))
}

/// A call that computes the row's result.
pub type Body = Box<dyn FnMut() -> Result<Array>>;

fn body(form: Form, load: &Load, inputs: Vec<Array>) -> Result<Option<Body>> {
    Ok(Some(match load.op.as_str() {
        "rms_norm" => rms_norm(form, number(load, "eps")?, &inputs)?,
        "layer_norm" => layer_norm(form, number(load, "eps")?, &inputs)?,
        "attention" => attention(form, number(load, "scale")?, &inputs)?,
        "rope" => rope(form, number(load, "base")?, &inputs)?,
        "softmax" => unary(&inputs, |x| x.softmax(-1))?,
        "gelu" => unary(&inputs, fast::gelu)?,
        "exp" => unary(&inputs, Array::exp)?,
        "add" => binary(&inputs, |a, b| a + b)?,
        "matvec" => binary(&inputs, |x, weight| x.matmul(&weight.t()))?,
        "matmul" => binary(&inputs, |a, b| a.matmul(b))?,
        "chain8" => chain(form, &inputs)?,
        "quantized_matvec" | "quantized_matmul" => quantized(load, &inputs)?,
        _ => return Ok(None),
    }))
}

fn rms_norm(form: Form, eps: f32, inputs: &[Array]) -> Result<Body> {
    let [x, weight] = take(inputs)?;
    let composed = move |x: &Array, weight: &Array| fast::composed::rms_norm(x, weight, eps);
    let compiled = jit(composed);
    Ok(match form {
        Form::Composed => Box::new(move || Ok(composed(&x, &weight))),
        Form::Compiled => Box::new(move || Ok(compiled.call((&x, &weight))?)),
        _ => Box::new(move || Ok(fast::rms_norm(&x, &weight, eps))),
    })
}

fn layer_norm(form: Form, eps: f32, inputs: &[Array]) -> Result<Body> {
    let [x, weight, bias] = take(inputs)?;
    let composed = move |x: &Array, weight: &Array, bias: &Array| {
        fast::composed::layer_norm(x, weight, bias, eps)
    };
    let compiled = jit(composed);
    Ok(match form {
        Form::Composed => Box::new(move || Ok(composed(&x, &weight, &bias))),
        Form::Compiled => Box::new(move || Ok(compiled.call((&x, &weight, &bias))?)),
        _ => Box::new(move || Ok(fast::layer_norm(&x, &weight, &bias, eps))),
    })
}

fn attention(form: Form, scale: f32, inputs: &[Array]) -> Result<Body> {
    let [q, k, v] = take(inputs)?;
    let options = AttentionOptions {
        scale: Some(scale),
        ..AttentionOptions::default()
    };
    let formula = options.clone();
    let compiled = jit(move |q: &Array, k: &Array, v: &Array| {
        fast::composed::scaled_dot_product_attention(q, k, v, &formula)
    });
    Ok(match form {
        Form::Composed => Box::new(move || {
            Ok(fast::composed::scaled_dot_product_attention(
                &q, &k, &v, &options,
            ))
        }),
        Form::Compiled => Box::new(move || Ok(compiled.call((&q, &k, &v))?)),
        _ => Box::new(move || {
            Ok(fast::scaled_dot_product_attention_with(
                &q, &k, &v, &options,
            ))
        }),
    })
}

fn rope(form: Form, base: f32, inputs: &[Array]) -> Result<Body> {
    let [x] = take(inputs)?;
    let options = RopeOptions {
        frequencies: RopeFrequencies::Base(base),
        ..RopeOptions::default()
    };
    Ok(match form {
        Form::Composed => Box::new(move || Ok(fast::composed::rope(&x, &options))),
        _ => Box::new(move || Ok(fast::rope(&x, &options))),
    })
}

fn chain(form: Form, inputs: &[Array]) -> Result<Body> {
    let [x, bias] = take(inputs)?;
    let formula = |x: &Array, bias: &Array| {
        let y = x * 2.0 + bias;
        let y = &y * y.sigmoid();
        ((y - x).abs() + 1.0).sqrt()
    };
    let compiled = jit(formula);
    Ok(match form {
        Form::Eager | Form::Composed => Box::new(move || Ok(formula(&x, &bias))),
        _ => Box::new(move || Ok(compiled.call((&x, &bias))?)),
    })
}

fn quantized(load: &Load, inputs: &[Array]) -> Result<Body> {
    let (x, weights) = packed(load, inputs)?;
    Ok(Box::new(move || Ok(x.quantized_matmul(&weights, true))))
}

/// Returns vectors and the packed matrix that they are multiplied by.
pub fn packed(load: &Load, inputs: &[Array]) -> Result<(Array, Quantized)> {
    let [x, codes, scales, zeros] = take(inputs)?;
    let group_size = load.params["group_size"].as_i64();
    let group_size = i32::try_from(group_size.context("group_size is missing")?)?;
    Ok((x, pack(&codes, &scales, &zeros, group_size)?))
}

/// Returns a call with one input.
pub fn unary(inputs: &[Array], function: impl Fn(&Array) -> Array + 'static) -> Result<Body> {
    let [x] = take(inputs)?;
    Ok(Box::new(move || Ok(function(&x))))
}

/// Returns a call with two inputs.
pub fn binary(
    inputs: &[Array],
    function: impl Fn(&Array, &Array) -> Array + 'static,
) -> Result<Body> {
    let [a, b] = take(inputs)?;
    Ok(Box::new(move || Ok(function(&a, &b))))
}

/// Returns the inputs when there are this number of them.
pub fn take<const N: usize>(inputs: &[Array]) -> Result<[Array; N]> {
    let inputs: &[Array; N] = inputs
        .try_into()
        .with_context(|| format!("wanted {N} inputs, got {}", inputs.len()))?;
    Ok(inputs.clone())
}

fn number(load: &Load, name: &str) -> Result<f32> {
    let value = load.params[name].as_f64();
    Ok(value.with_context(|| format!("{name} is missing"))? as f32)
}
