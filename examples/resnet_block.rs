//! A residual block with weights in PyTorch's layout: converted, compared with PyTorch's output, then imitated by a
//! fresh one: `cargo run --release -p mlx-examples --bin resnet_block`.

use std::collections::BTreeMap;

use anyhow::Context;
use mlx::random;
use mlx::{Array, io};
use mlx_examples::{is_short, progress, save_curve};
use mlx_nn as nn;
use mlx_nn::optimizers as optim;
use mlx_nn::{Forward, Module};

/// Made by `data/make_resnet_block.py`.
const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/resnet_block.safetensors");

/// The block of ResNet-18, with the names that torchvision gives its parameters.
#[derive(Clone, Module)]
struct BasicBlock {
    conv1: nn::Conv2d,
    bn1: nn::BatchNorm,
    conv2: nn::Conv2d,
    bn2: nn::BatchNorm,
    downsample: Option<(nn::Conv2d, nn::BatchNorm)>,
}

impl BasicBlock {
    fn new(inputs: i32, outputs: i32, stride: i32) -> Self {
        let conv = |inputs, size| nn::Conv2d::new(inputs, outputs, size).bias(false);
        let norm = || nn::BatchNorm::new(outputs);
        let resizes = stride != 1 || inputs != outputs;
        Self {
            conv1: conv(inputs, 3).stride(stride).padding(1),
            bn1: norm(),
            conv2: conv(outputs, 3).padding(1),
            bn2: norm(),
            downsample: resizes.then(|| (conv(inputs, 1).stride(stride), norm())),
        }
    }
}

impl Forward for BasicBlock {
    /// From `[batch, height, width, inputs]` to `[batch, height / stride, width / stride, outputs]`.
    fn forward(&self, x: &Array) -> Array {
        let y = nn::relu(&self.bn1.forward(&self.conv1.forward(x)));
        let y = self.bn2.forward(&self.conv2.forward(&y));
        let x = match &self.downsample {
            Some((conv, norm)) => norm.forward(&conv.forward(x)),
            None => x.clone(),
        };
        nn::relu(&(x + y))
    }
}

/// Returns arrays of PyTorch in MLX's layout: channels last, of images and of the kernels of convolutions.
fn converted(arrays: BTreeMap<String, Array>) -> mlx::Result<BTreeMap<String, Array>> {
    let mut converted = BTreeMap::new();
    for (name, array) in arrays {
        let array = match array.ndim()? {
            4 => array.transpose([0, 2, 3, 1]),
            _ => array,
        };
        // How many batches a norm has seen, which MLX does not count.
        if !name.ends_with("num_batches_tracked") {
            converted.insert(name, array);
        }
    }
    Ok(converted)
}

fn loss(block: &BasicBlock, x: &Array, y: &Array) -> Array {
    nn::losses::mse_loss(&block.forward(x), y)
}

fn main() -> anyhow::Result<()> {
    random::seed(0);
    let arrays = io::load_safetensors(WEIGHTS)?.arrays;
    let mut weights = converted(arrays.into_iter().collect())?;
    let x = weights.remove("input").context("an input")?;
    let wanted = weights.remove("output").context("an output")?;
    let mut teacher = BasicBlock::new(8, 16, 2);
    teacher.load(weights).require_exact()?;
    teacher.eval();
    let difference = (teacher.forward(&x) - wanted).abs().max(()).item::<f32>()?;
    println!("difference from PyTorch {difference}");
    anyhow::ensure!(difference < 1e-4, "the block differs from PyTorch's");

    let mut student = BasicBlock::new(8, 16, 2);
    let steps = if is_short() { 20 } else { 400 };
    let mut optimizer = optim::Adam::new(optim::cosine_decay(1e-2, steps));
    let step = nn::value_and_grad(&student, loss);
    let bar = progress(steps)?;
    let mut losses = Vec::new();
    for _ in 0..steps {
        let x = random::normal([16, 14, 14, 8]);
        let (loss, gradients) = step(&student, &x, &teacher.forward(&x))?;
        optimizer.update(&mut student, &gradients)?;
        mlx::eval(&student)?;
        losses.push(loss.item()?);
        bar.set_message(format!("loss {:.4}", losses[losses.len() - 1]));
        bar.inc(1);
    }
    bar.finish();
    save_curve("resnet_block", &losses)?;
    Ok(())
}
