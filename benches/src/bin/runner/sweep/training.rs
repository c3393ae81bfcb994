//! Gradients of small networks and of single layers, and a step of Adam, written as a user of the layers writes them.

use anyhow::Result;
use mlx::{Array, concatenate, value_and_grad};
use mlx_compiler::jit;
use mlx_nn::optimizers::{Adam, Optimizer, OptimizerState};
use mlx_nn::{self as nn, Forward, Module, WeightMap, losses, relu};

use super::networks::block;
use crate::kernels::{Body, take};

pub fn body(name: &str, inputs: &[Array]) -> Result<Option<Body>> {
    let (step, is_compiled) = match name.strip_suffix("_jit") {
        Some(step) => (step, true),
        None => (name, false),
    };
    Ok(Some(match step {
        "train_mlp" => mlp(inputs, is_compiled)?,
        "train_conv_net" => conv_net(inputs, is_compiled)?,
        "train_block" => transformer_block(inputs, is_compiled)?,
        "train_lstm" => lstm(inputs, is_compiled)?,
        "train_adam_10M" => adam(inputs, is_compiled)?,
        _ => return layer(name, inputs),
    }))
}

/// A step of training: the gradients of a network's weights, in the order of `names`, as one array.
fn gradients<M: Module + Clone>(
    model: M,
    loss: fn(&M, &Array, &Array) -> Array,
    data: [Array; 2],
    names: &'static [&'static str],
    is_compiled: bool,
) -> Body {
    let [x, y] = data;
    let step = nn::value_and_grad(&model, loss);
    let flat = |gradients: &WeightMap| {
        let parts: Vec<Array> = names
            .iter()
            .map(|&name| gradients[name].reshape([-1]))
            .collect();
        Ok(concatenate(&parts, 0))
    };
    if is_compiled {
        let step = jit(move |model: &M, x: &Array, y: &Array| step.call((model, x, y)));
        return Box::new(move || flat(&step.call((&model, &x, &y))?.1));
    }
    Box::new(move || flat(&step.call((&model, &x, &y))?.1))
}

fn linear(weight: &Array, bias: &Array) -> Result<nn::Linear> {
    let shape = weight.shape()?;
    let mut linear = nn::Linear::new(shape[1], shape[0]);
    linear.weight = weight.clone();
    linear.bias = Some(bias.clone());
    Ok(linear)
}

fn conv(weight: &Array, bias: Option<&Array>, stride: i32, padding: i32) -> Result<nn::Conv2d> {
    let shape = weight.shape()?;
    let mut conv = nn::Conv2d::new(shape[3], shape[0], shape[1])
        .stride(stride)
        .padding(padding);
    conv.weight = weight.clone();
    conv.bias = bias.cloned();
    Ok(conv)
}

#[derive(Clone, Module)]
struct Mlp {
    up: nn::Linear,
    down: nn::Linear,
}

fn mlp(inputs: &[Array], is_compiled: bool) -> Result<Body> {
    let [x, w1, b1, w2, b2, y] = take(inputs)?;
    let model = Mlp {
        up: linear(&w1, &b1)?,
        down: linear(&w2, &b2)?,
    };
    let loss = |model: &Mlp, x: &Array, y: &Array| {
        let scores = model.down.forward(&relu(&model.up.forward(x)));
        losses::cross_entropy(&scores, y).mean(())
    };
    let names = &["up.weight", "up.bias", "down.weight", "down.bias"];
    Ok(gradients(model, loss, [x, y], names, is_compiled))
}

#[derive(Clone, Module)]
struct ConvNet {
    first: nn::Conv2d,
    second: nn::Conv2d,
    pool: nn::MaxPool2d,
    head: nn::Linear,
}

fn conv_net(inputs: &[Array], is_compiled: bool) -> Result<Body> {
    let [x, w1, b1, w2, b2, w3, b3, y] = take(inputs)?;
    let model = ConvNet {
        first: conv(&w1, Some(&b1), 1, 1)?,
        second: conv(&w2, Some(&b2), 1, 1)?,
        pool: nn::MaxPool2d::new(2),
        head: linear(&w3, &b3)?,
    };
    let loss = |model: &ConvNet, x: &Array, y: &Array| {
        let x = model.pool.forward(&relu(&model.first.forward(x)));
        let x = model.pool.forward(&relu(&model.second.forward(&x)));
        losses::cross_entropy(&model.head.forward(&x.flatten(1, -1)), y).mean(())
    };
    let names = &[
        "first.weight",
        "first.bias",
        "second.weight",
        "second.bias",
        "head.weight",
        "head.bias",
    ];
    Ok(gradients(model, loss, [x, y], names, is_compiled))
}

/// The block of the sweep, whose weights are one tree here.
fn transformer_block(inputs: &[Array], is_compiled: bool) -> Result<Body> {
    let [x, qkv, out, up, down, norm] = take(inputs)?;
    let weights = [qkv, out, up, down];
    let loss = |weights: &[Array; 4], x: &Array, norm: &Array| {
        let [qkv, out, up, down] = weights;
        block(x, qkv, out, up, down, norm).square().mean(())
    };
    let step = value_and_grad(loss);
    let flat = |gradients: [Array; 4]| concatenate(&gradients.map(|one| one.reshape([-1])), 0);
    if is_compiled {
        let step =
            jit(move |weights: &[Array; 4], x: &Array, norm: &Array| step.call((weights, x, norm)));
        return Ok(Box::new(move || {
            Ok(flat(step.call((&weights, &x, &norm))?.1))
        }));
    }
    Ok(Box::new(move || {
        Ok(flat(step.call((&weights, &x, &norm))?.1))
    }))
}

fn lstm_of(wx: &Array, wh: &Array, bias: &Array) -> nn::LSTM {
    let mut lstm = nn::LSTM::new(128, 256);
    (lstm.wx, lstm.wh, lstm.bias) = (wx.clone(), wh.clone(), Some(bias.clone()));
    lstm
}

fn lstm(inputs: &[Array], is_compiled: bool) -> Result<Body> {
    let [x, wx, wh, bias] = take(inputs)?;
    let loss = |lstm: &nn::LSTM, x: &Array, _: &Array| lstm.forward(x).0.square().mean(());
    let model = lstm_of(&wx, &wh, &bias);
    let data = [x, Array::scalar(0.0_f32)];
    Ok(gradients(
        model,
        loss,
        data,
        &["Wx", "Wh", "bias"],
        is_compiled,
    ))
}

/// Ten matrices of a million numbers each.
#[derive(Clone, Module)]
struct Matrices {
    all: Vec<Array>,
}

fn adam(inputs: &[Array], is_compiled: bool) -> Result<Body> {
    let [weights, gradients] = take(inputs)?;
    let mut model = Matrices {
        all: weights.unstack(0)?,
    };
    let gradients = Matrices {
        all: gradients.unstack(0)?,
    };
    mlx::eval((&model, &gradients))?;
    let gradients = gradients.parameters();
    let mut optimizer = Adam::new(1e-3).bias_correction(true);
    if is_compiled {
        let mut state = optimizer.init(&model.parameters());
        let step = jit(
            move |model: &Matrices, gradients: &WeightMap, state: &OptimizerState| {
                let (mut model, mut state) = (model.clone(), state.clone());
                optimizer.update_with_state(&mut model, gradients, &mut state)?;
                mlx::Result::Ok((model, state))
            },
        );
        return Ok(Box::new(move || {
            (model, state) = step.call((&model, &gradients, &state))?;
            mlx::eval((&model, &state))?;
            Ok(model.all[0].clone())
        }));
    }
    Ok(Box::new(move || {
        optimizer.update(&mut model, &gradients)?;
        mlx::eval((&model, optimizer.state()))?;
        Ok(model.all[0].clone())
    }))
}

/// A layer, or the gradients of its mean square by all that it reads.
fn layer(name: &str, inputs: &[Array]) -> Result<Option<Body>> {
    Ok(Some(match name {
        "max_pool" => forward(inputs, nn::MaxPool2d::new(3).stride(2).padding(1))?,
        "avg_pool" => forward(inputs, nn::AvgPool2d::new(3).stride(2).padding(1))?,
        "max_pool_grad" => backward(inputs, nn::MaxPool2d::new(3).stride(2).padding(1))?,
        "avg_pool_grad" => backward(inputs, nn::AvgPool2d::new(3).stride(2).padding(1))?,
        "batch_norm" => {
            let norm = batch_norm(inputs)?;
            forward(&inputs[..1], norm)?
        }
        "batch_norm_grad" => {
            let norm = batch_norm(inputs)?;
            let names = &["weight", "bias"];
            of_data_and_weights(norm, &inputs[0], names)
        }
        "conv2d_grad_56x64" | "conv2d_grad_depthwise" => conv_gradient(inputs, 1, 1)?,
        "conv2d_grad_stem7x7" => conv_gradient(inputs, 2, 3)?,
        "conv2d_grad_1x1" => conv_gradient(inputs, 1, 0)?,
        "lstm" => {
            let [x, wx, wh, bias] = take(inputs)?;
            let lstm = lstm_of(&wx, &wh, &bias);
            Box::new(move || Ok(lstm.forward(&x).0))
        }
        "gru" => {
            let [x, wx, wh, bias] = take(inputs)?;
            let mut gru = nn::GRU::new(128, 256);
            (gru.wx, gru.wh, gru.b) = (wx, wh, Some(bias));
            gru.bhn = Some(mlx::zeros([256]));
            Box::new(move || Ok(gru.forward(&x)))
        }
        _ => return Ok(None),
    }))
}

fn forward(inputs: &[Array], layer: impl Forward + 'static) -> Result<Body> {
    let [x] = take(inputs)?;
    Ok(Box::new(move || Ok(layer.forward(&x))))
}

fn backward(inputs: &[Array], layer: impl Forward + 'static) -> Result<Body> {
    let [x] = take(inputs)?;
    let gradient = mlx::grad(move |x: &Array| layer.forward(x).square().sum(()));
    Ok(Box::new(move || Ok(gradient.call(&x)?)))
}

fn batch_norm(inputs: &[Array]) -> Result<nn::BatchNorm> {
    let [_, weight, bias] = take(inputs)?;
    let mut norm = nn::BatchNorm::new(64);
    (norm.weight, norm.bias) = (Some(weight), Some(bias));
    Ok(norm)
}

fn conv_gradient(inputs: &[Array], stride: i32, padding: i32) -> Result<Body> {
    let [x, weight] = take(inputs)?;
    let depth = weight.shape()?[3];
    let groups = x.shape()?[3] / depth;
    let mut layer = conv(&weight, None, stride, padding)?;
    if groups > 1 {
        layer = nn::Conv2d::new(groups, groups, 3)
            .padding(padding)
            .groups(groups);
        (layer.weight, layer.bias) = (weight, None);
    }
    Ok(of_data_and_weights(layer, &x, &["weight"]))
}

/// The gradients of a layer's squares by its input and by its weights, as one array.
fn of_data_and_weights<L: Module + Forward + Clone>(
    layer: L,
    x: &Array,
    names: &'static [&'static str],
) -> Body {
    let x = x.clone();
    let loss = |(layer, x): &(L, Array)| layer.forward(x).square().sum(());
    let gradient = value_and_grad(loss);
    Box::new(move || {
        let (_, (layer, x)) = gradient.call(&(layer.clone(), x.clone()))?;
        let weights = layer.parameters();
        let mut parts = vec![x.reshape([-1])];
        parts.extend(names.iter().map(|&name| weights[name].reshape([-1])));
        Ok(concatenate(&parts, 0))
    })
}
