//! Kernels, their gradients, and programs of twenty of them.

use std::rc::Rc;

use anyhow::{Result, bail};
use mlx::fast::{self, AttentionMask, AttentionOptions, RopeFrequencies, RopeOptions};
use mlx::{Array, Dtype, Quantization, Quantized, vjp};
use mlx_compiler::jit;
use serde_json::Value;

use super::{Call, Calls, number, real, text};
use crate::work::{Form, Work};

/// A kernel of any number of inputs.
type Kernel = Rc<dyn Fn(&[Array]) -> Array>;

pub fn prepare(form: Form, params: &Value, inputs: Vec<Array>) -> Result<Box<dyn Work>> {
    let name = text(params, "kernel")?;
    let kernel = kernel(name, params)?;
    let gradients = number(params, "gradients")?;
    let calls = if params["chain"].is_null() {
        let call = match gradients {
            0 => forward(name, form, kernel, inputs),
            leading => gradient(kernel, inputs, leading)?,
        };
        Calls::new(params, call)?
    } else {
        let length = number(params, "chain")?;
        Calls {
            steps: length,
            ..Calls::new(params, program(form, kernel, inputs, length))?
        }
    };
    if name == "argmax" {
        // Of equal maxima any may be found: their values are compared.
        let x = made_again(params)?;
        return Ok(Box::new(Argmax { calls, x }));
    }
    Ok(Box::new(calls))
}

fn made_again(params: &Value) -> Result<Array> {
    let mut inputs = super::made::all(params)?;
    Ok(inputs.swap_remove(0))
}

/// The places of maxima, of which the values are compared.
struct Argmax {
    calls: Calls,
    x: Array,
}

impl Work for Argmax {
    fn first(&mut self, output: &std::path::Path) -> Result<Option<String>> {
        let found = (self.calls.call)()?;
        let places = found[0].astype(Dtype::Int32).expand_dims(-1);
        super::save_sample(output, &[self.x.take_along_axis(&places, -1)])?;
        self.run()?;
        Ok(None)
    }

    fn run(&mut self) -> Result<f64> {
        self.calls.run()
    }
}

fn forward(name: &str, form: Form, kernel: Kernel, inputs: Vec<Array>) -> Call {
    // What a user would compile: a formula of several operations.
    let is_formula = name == "chain";
    let is_compiled = form == Form::Compiled || (is_formula && form == Form::Usual);
    if is_compiled {
        let compiled = jit(move |inputs: &Vec<Array>| kernel(inputs));
        return Box::new(move || Ok(vec![compiled.call(&inputs)?]));
    }
    Box::new(move || Ok(vec![kernel(&inputs)]))
}

/// The gradients of the leading inputs, for the last input as cotangent.
fn gradient(kernel: Kernel, mut inputs: Vec<Array>, leading: usize) -> Result<Call> {
    let Some(cotangent) = inputs.pop() else {
        bail!("a gradient has no cotangent");
    };
    let others = inputs.split_off(leading);
    Ok(Box::new(move || {
        let (kernel, others) = (kernel.clone(), others.clone());
        let function = move |leading: &Vec<Array>| {
            let all: Vec<Array> = leading.iter().chain(&others).cloned().collect();
            kernel(&all)
        };
        Ok(vjp(function, &inputs, &cotangent)?.1)
    }))
}

/// A chain of calls, each of the last one's result.
fn program(form: Form, kernel: Kernel, inputs: Vec<Array>, length: usize) -> Call {
    let chain = move |inputs: &Vec<Array>| {
        let mut all = inputs.clone();
        for _ in 0..length {
            all[0] = kernel(&all);
        }
        all.swap_remove(0)
    };
    if form == Form::Eager {
        return Box::new(move || Ok(vec![chain(&inputs)]));
    }
    let compiled = jit(chain);
    Box::new(move || Ok(vec![compiled.call(&inputs)?]))
}

fn kernel(name: &str, params: &Value) -> Result<Kernel> {
    Ok(match name {
        "rms_norm" | "add_rms_norm" | "layer_norm" => norm(name, real(params, "eps")?),
        "attention" => attention(params)?,
        "rope" => {
            let options = RopeOptions {
                frequencies: RopeFrequencies::Base(real(params, "base")?),
                ..RopeOptions::default()
            };
            Rc::new(move |x| fast::rope(&x[0], &options))
        }
        // Sums in `float32`, as PyTorch has them.
        "softmax" => Rc::new(|x| x[0].softmax_precise(-1)),
        "cross_entropy" => Rc::new(|x| fast::cross_entropy(&x[0], &x[1])),
        "gelu" => Rc::new(|x| fast::gelu(&x[0])),
        "silu" => Rc::new(|x| fast::silu(&x[0])),
        "swiglu" => Rc::new(|x| fast::swiglu(&x[0], &x[1])),
        "add" => Rc::new(|x| &x[0] + &x[1]),
        "exp" => Rc::new(|x| x[0].exp()),
        "chain" => Rc::new(|x| chain(&x[0], &x[1])),
        "matmul" => Rc::new(|x| x[0].matmul(&x[1])),
        "sum" => Rc::new(|x| x[0].sum(())),
        "sum_rows" => Rc::new(|x| x[0].sum(-1)),
        "argmax" => Rc::new(|x| x[0].argmax(-1)),
        "sort" => Rc::new(|x| x[0].sort(-1)),
        "gather" => Rc::new(|x| x[0].take(&x[1], 0)),
        "quantized_matmul" => {
            let packing = quantization(params)?;
            Rc::new(move |x| x[0].quantized_matmul(&packed(&x[1..], packing), true))
        }
        "embedding" => {
            let packing = quantization(params)?;
            Rc::new(move |x| {
                let rows = [1, 2, 3].map(|part: usize| x[part].take(&x[0], 0));
                packed(&rows, packing).dequantize(None)
            })
        }
        other => bail!("has no kernel {other}"),
    })
}

fn norm(name: &str, eps: f32) -> Kernel {
    match name {
        "layer_norm" => Rc::new(move |x| fast::layer_norm(&x[0], &x[1], &x[2], eps)),
        "rms_norm" => Rc::new(move |x| fast::rms_norm(&x[0], &x[1], eps)),
        _ => Rc::new(move |x| fast::rms_norm(&(&x[0] + &x[1]), &x[2], eps)),
    }
}

fn attention(params: &Value) -> Result<Kernel> {
    let is_causal = params["causal"].as_bool().unwrap_or(false);
    let options = AttentionOptions {
        scale: Some(real(params, "scale")?),
        mask: match is_causal {
            true => AttentionMask::causal(),
            false => AttentionMask::none(),
        },
        ..AttentionOptions::default()
    };
    Ok(Rc::new(move |x| {
        fast::scaled_dot_product_attention_with(&x[0], &x[1], &x[2], &options)
    }))
}

fn quantization(params: &Value) -> Result<Quantization> {
    Ok(Quantization {
        bits: i32::try_from(number(params, "bits")?)?,
        group_size: i32::try_from(number(params, "group_size")?)?,
        ..Quantization::default()
    })
}

fn packed(parts: &[Array], quantization: Quantization) -> Quantized {
    Quantized {
        weight: parts[0].clone(),
        scales: parts[1].clone(),
        biases: Some(parts[2].clone()),
        quantization,
    }
}

/// `sqrt(abs(silu(2x + b) - x) + 1)`.
fn chain(x: &Array, bias: &Array) -> Array {
    let y = x * 2.0 + bias;
    let y = &y * y.sigmoid();
    ((y - x).abs() + 1.0).sqrt()
}
