//! Steps of training: gradients of all weights, and plain descent along them.

use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Result, bail};
use mlx::fast::{self, AttentionMask, AttentionOptions};
use mlx::{Array, value_and_grad};
use mlx_compiler::jit;
use mlx_nn::{self as nn, losses, relu};
use serde_json::Value;

use super::{number, real, save_sample, text};
use crate::work::{Form, Work};

/// The loss of weights on data.
type Loss = Rc<dyn Fn(&[Array], &[Array]) -> Array>;
/// A function of weights and data to as many arrays as there are weights.
type Step = Box<dyn Fn(&Vec<Array>, &Vec<Array>) -> Result<Vec<Array>>>;

pub fn prepare(form: Form, params: &Value, mut inputs: Vec<Array>) -> Result<Box<dyn Work>> {
    let rate = real(params, "rate")?;
    let (loss, data): (Loss, Vec<Array>) = match text(params, "train")? {
        "block" => {
            let heads = i32::try_from(number(params, "heads")?)?;
            let data = vec![inputs.remove(0)];
            (
                Rc::new(move |weights, data| block(weights, &data[0], heads)),
                data,
            )
        }
        "conv_net" => {
            let data = vec![inputs.remove(0), inputs.swap_remove(inputs.len() - 1)];
            (Rc::new(conv_net), data)
        }
        other => bail!("train: wanted block or conv_net, got {other:?}"),
    };
    let is_compiled = form != Form::Eager;
    Ok(Box::new(Training {
        gradients: step(loss.clone(), None, is_compiled),
        step: step(loss, Some(rate), is_compiled),
        weights: inputs,
        data,
        steps: number(params, "calls")?,
    }))
}

/// Returns the gradients, or with a rate the weights after a step along them.
fn step(loss: Loss, rate: Option<f32>, is_compiled: bool) -> Step {
    let gradient =
        value_and_grad(move |weights: &Vec<Array>, data: &Vec<Array>| loss(weights, data));
    let step = move |weights: &Vec<Array>, data: &Vec<Array>| {
        let (_, gradients) = gradient.call((weights, data))?;
        let Some(rate) = rate else {
            return Ok(gradients);
        };
        let pairs = weights.iter().zip(&gradients);
        mlx::Result::Ok(
            pairs
                .map(|(weight, gradient)| weight - gradient * rate)
                .collect(),
        )
    };
    if is_compiled {
        let compiled = jit(step);
        return Box::new(move |weights, data| Ok(compiled.call((weights, data))?));
    }
    Box::new(move |weights, data| Ok(step(weights, data)?))
}

struct Training {
    gradients: Step,
    step: Step,
    weights: Vec<Array>,
    data: Vec<Array>,
    steps: usize,
}

impl Work for Training {
    fn first(&mut self, output: &Path) -> Result<Option<String>> {
        save_sample(output, &(self.gradients)(&self.weights, &self.data)?)?;
        for _ in 0..3 {
            self.run()?;
        }
        Ok(None)
    }

    fn run(&mut self) -> Result<f64> {
        let start = Instant::now();
        for _ in 0..self.steps {
            self.weights = (self.step)(&self.weights, &self.data)?;
            mlx::async_eval(&self.weights)?;
        }
        mlx::eval(&self.weights)?;
        mlx::synchronize()?;
        Ok(start.elapsed().as_secs_f64() * 1e3 / self.steps as f64)
    }
}

/// The mean square of a transformer block's output.
fn block(weights: &[Array], x: &Array, heads: i32) -> Array {
    let [qkv, out, up, down, norm] = weights else {
        return x.clone();
    };
    let attended = |normed: &Array| -> mlx::Result<Array> {
        let [batch, seq, width] = x.dims()?;
        let split = normed.matmul(&qkv.t());
        let split = split.reshape([batch, seq, 3, heads, width / heads]);
        let split = split.transpose([2, 0, 3, 1, 4]);
        let options = AttentionOptions {
            mask: AttentionMask::causal(),
            ..AttentionOptions::default()
        };
        let (q, k, v) = (split.i(0), split.i(1), split.i(2));
        let heads = fast::scaled_dot_product_attention_with(&q, &k, &v, &options);
        Ok(heads.transpose([0, 2, 1, 3]).reshape([batch, seq, width]))
    };
    let attended = match attended(&fast::rms_norm(x, norm, 1e-5)) {
        Ok(attended) => attended,
        // The shapes of a row's own inputs are right.
        Err(_) => return x.clone(),
    };
    let x = x + attended.matmul(&out.t());
    let hidden = fast::rms_norm(&x, norm, 1e-5).matmul(&up.t());
    let y = x + fast::gelu(&hidden).matmul(&down.t());
    y.square().mean(())
}

/// The cross entropy of two convolutions with pooling and a layer.
fn conv_net(weights: &[Array], data: &[Array]) -> Array {
    let ([w1, b1, w2, b2, w3, b3], [x, y]) = (weights, data) else {
        return mlx::zeros([1]);
    };
    let pool = nn::MaxPool2d::new(2);
    let layer = |x: &Array, weight: &Array, bias: &Array| {
        pool.forward(&relu(
            &(x.conv2d(
                weight,
                mlx::ConvOptions {
                    padding: [1, 1].into(),
                    ..Default::default()
                },
            ) + bias),
        ))
    };
    let x = layer(&layer(x, w1, b1), w2, b2);
    let scores = x.flatten(1, -1).matmul(&w3.t()) + b3;
    losses::cross_entropy(&scores, y).mean(())
}
