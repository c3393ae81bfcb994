//! Training on the CPU, against PyTorch and JAX: gradients of small networks and of single layers, and a step of Adam.
//!
//! Sorting, gathering, scattering, transforms, factorizations, random numbers and convolutions forward are rows of the sweep.

use super::float32::block_gradient;
use super::{Agreement, NORMAL, Operation, PYTORCH, operation};
use crate::harness::inputs::{Draw, Input};
use crate::harness::rows::{Benchmark, Group, Target};

use Agreement::{Products, Rounded, Within};

/// The weights of a network.
const SMALL: Draw = Draw::Normal(0.05);
const CLASSES: Draw = Draw::Whole(0, 10);

pub(super) fn rows() -> Vec<Benchmark> {
    let steps = steps().into_iter().map(|step| row(&step, 1.0));
    let layers = layers().into_iter().map(|layer| row(&layer, 1.5));
    steps.chain(layers).collect()
}

fn row(operation: &Operation, ratio: f64) -> Benchmark {
    Benchmark {
        id: format!("training/{}/float32/cpu", operation.name),
        target: Target::ratio(ratio),
        rivals: &[PYTORCH, "jax"],
        ..operation.row("float32", Group::Training)
    }
}

/// Returns a row whose first input is data, and whose others are small.
fn network(
    name: &'static str,
    inputs: &[(&[usize], Draw)],
    result: usize,
    flops: f64,
) -> Operation {
    let inputs = inputs.iter().map(|&(shape, draw)| Input::new(shape, draw));
    Operation {
        name,
        inputs: inputs.collect(),
        result: vec![result],
        agreement: Within(5e-3, 1e-4),
        flops,
    }
}

/// Steps of training: the gradients of all weights, eager and compiled.
fn steps() -> Vec<Operation> {
    let mlp = |name| {
        let inputs: [(&[usize], Draw); 6] = [
            (&[256, 784], NORMAL),
            (&[512, 784], SMALL),
            (&[512], SMALL),
            (&[10, 512], SMALL),
            (&[10], SMALL),
            (&[256], CLASSES),
        ];
        let flops = 2.0 * 256.0 * (2.0 * 784.0 * 512.0 + 3.0 * 512.0 * 10.0);
        network(name, &inputs, 512 * 785 + 10 * 513, flops)
    };
    let conv_net = |name| {
        let inputs: [(&[usize], Draw); 8] = [
            (&[32, 28, 28, 1], NORMAL),
            (&[32, 3, 3, 1], SMALL),
            (&[32], SMALL),
            (&[64, 3, 3, 32], SMALL),
            (&[64], SMALL),
            (&[10, 3136], SMALL),
            (&[10], SMALL),
            (&[32], CLASSES),
        ];
        let first = 2.0 * 784.0 * 9.0 * 32.0;
        let second = 3.0 * 196.0 * 9.0 * 32.0 * 64.0;
        let flops = 2.0 * 32.0 * (first + second + 3.0 * 31360.0);
        let result = 32 * 10 + 64 * 289 + 10 * 3137;
        network(name, &inputs, result, flops)
    };
    let adam = |name| {
        let matrices: &[usize] = &[10, 1000, 1000];
        operation(name, &[matrices, matrices], &[1000, 1000], Rounded)
    };
    vec![
        mlp("train_mlp"),
        mlp("train_mlp_jit"),
        conv_net("train_conv_net"),
        conv_net("train_conv_net_jit"),
        block_gradient("train_block"),
        block_gradient("train_block_jit"),
        recurrent("train_lstm", 4, true),
        recurrent("train_lstm_jit", 4, true),
        adam("train_adam_10M"),
        adam("train_adam_10M_jit"),
    ]
}

/// 32 sequences of 64 steps, from 128 numbers to a state of 256.
fn recurrent(name: &'static str, gates: usize, has_gradient: bool) -> Operation {
    let (wide, weights) = (256 * gates, 256 * gates * (128 + 256 + 1));
    let inputs: [(&[usize], Draw); 4] = [
        (&[32, 64, 128], NORMAL),
        (&[wide, 128], SMALL),
        (&[wide, 256], SMALL),
        (&[wide], SMALL),
    ];
    let flops = 2.0 * (32 * 64 * wide * (128 + 256)) as f64;
    if has_gradient {
        // Nothing asks for the gradient of the data.
        let forth_and_back = flops * (2.0 + 256.0 / 384.0);
        return network(name, &inputs, weights, forth_and_back);
    }
    network(name, &inputs, 32 * 64 * 256, flops).agree(Within(1e-3, 1e-4))
}

/// Layers that the sweep has not, and gradients of layers by all that they read.
fn layers() -> Vec<Operation> {
    let pictures: &[usize] = &[8, 112, 112, 64];
    let pooled: &[usize] = &[8, 56, 56, 64];
    let normed: [&[usize]; 3] = [&[32, 56, 56, 64], &[64], &[64]];
    let normed_size = 32 * 56 * 56 * 64;
    let conv = |name, input: &[usize], weight: &[usize], pixels: usize| {
        let (depth, n) = (weight[1..].iter().product::<usize>(), weight[0]);
        let size = input.iter().product::<usize>() + n * depth;
        Operation {
            flops: 4.0 * (pixels * n * depth) as f64,
            ..operation(name, &[input, weight], &[size], Within(2e-3, 1e-2))
        }
    };
    vec![
        operation("max_pool", &[pictures], pooled, Agreement::Same),
        operation(
            "max_pool_grad",
            &[pictures],
            pictures,
            Agreement::Free("of equal maxima another one may have the gradient"),
        ),
        operation("avg_pool", &[pictures], pooled, Rounded),
        operation("avg_pool_grad", &[pictures], pictures, Rounded),
        operation("batch_norm", &normed, normed[0], Products),
        operation(
            "batch_norm_grad",
            &normed,
            &[normed_size + 128],
            Within(1e-3, 0.05),
        ),
        conv(
            "conv2d_grad_56x64",
            &[8, 56, 56, 64],
            &[64, 3, 3, 64],
            8 * 56 * 56,
        ),
        conv(
            "conv2d_grad_stem7x7",
            &[4, 224, 224, 3],
            &[64, 7, 7, 3],
            4 * 112 * 112,
        ),
        conv(
            "conv2d_grad_1x1",
            &[8, 56, 56, 256],
            &[64, 1, 1, 256],
            8 * 56 * 56,
        ),
        conv(
            "conv2d_grad_depthwise",
            &[8, 112, 112, 32],
            &[32, 3, 3, 1],
            8 * 112 * 112,
        ),
        recurrent("lstm", 4, false),
        recurrent("gru", 3, false),
    ]
}
