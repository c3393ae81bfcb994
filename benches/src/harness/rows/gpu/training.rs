//! One step of training: the gradients of all weights of a small network, and plain descent along them.

use serde_json::json;

use super::{AS_EAGER, AS_PYTHON, COMPILED, EVERYONE, Made, OP, Size};
use crate::harness::check::Check;
use crate::harness::rows::{Aim, Benchmark, Cost, Group, Target};

const AIMS: &[Aim] = &[AS_PYTHON, AS_EAGER];

pub(super) fn rows(size: Size) -> Vec<Benchmark> {
    let mut rows = Vec::new();
    for dtype in ["float32", "bfloat16"] {
        rows.push(block(dtype, size));
    }
    rows.push(conv_net(size));
    rows
}

fn row(name: &str, dtype: &'static str, shape: &str, arrays: &[Made], flops: f64) -> Benchmark {
    Benchmark {
        id: format!("gpu/{name}/{dtype}/{shape}"),
        op: OP,
        shape: shape.to_owned(),
        dtype,
        group: Group::GpuTraining,
        params: json!({}),
        inputs: Vec::new(),
        check: Check::norm(if dtype == "float32" { 1e-2 } else { 5e-2 }),
        cost: Cost {
            read: arrays.iter().map(Made::bytes).sum(),
            written: arrays.iter().skip(1).map(Made::bytes).sum(),
            flops,
        },
        target: Target {
            against: Some(COMPILED),
            also: AIMS,
            ..Target::ratio(1.0)
        },
        rivals: EVERYONE,
        forms: &["eager"],
        left_out: &[],
        quick: name == "train_conv_net" || dtype == "bfloat16",
        note: "gradients by all weights and plain descent; ours compiled, Python MLX compiled",
    }
}

/// A transformer block, causal, on `[8, 1024, 1024]` with 16 heads: norm, attention, norm, two layers with `gelu`.
fn block(dtype: &'static str, size: Size) -> Benchmark {
    let [batch, seq, width] = [8, 1024, 1024].map(|axis| size.axis(axis));
    let heads = size.axis(16);
    let small = |shape: &[usize], seed| {
        let deviation = (width as f32).powf(-0.5);
        Made::around_zero(shape, dtype, deviation, seed)
    };
    let arrays = vec![
        Made::around_zero(&[batch, seq, width], dtype, 1.0, 1),
        small(&[3 * width, width], 2),
        small(&[width, width], 3),
        small(&[4 * width, width], 4),
        small(&[width, 4 * width], 5),
        Made::around_one(&[width], dtype, 6),
    ];
    let tokens = (batch * seq) as f64;
    let products = 2.0 * tokens * 12.0 * (width * width) as f64;
    let attention = 2.0 * tokens * (seq * width) as f64;
    let calls = if size == Size::Tiny { 2 } else { 4 };
    let row = row(
        "train_block",
        dtype,
        "8x1024x1024",
        &arrays,
        3.0 * (products + attention),
    );
    Benchmark {
        params: json!({
            "train": "block", "dtype": dtype, "calls": calls, "heads": heads, "rate": 1e-3, "arrays": arrays,
        }),
        ..row
    }
}

/// Two convolutions with pooling and a layer of 10 classes, on 128 pictures of 28 x 28.
fn conv_net(size: Size) -> Benchmark {
    let batch = size.axis(128);
    let small = |shape: &[usize], seed| Made::around_zero(shape, "float32", 0.05, seed);
    let arrays = vec![
        Made::around_zero(&[batch, 28, 28, 1], "float32", 1.0, 1),
        small(&[32, 3, 3, 1], 2),
        small(&[32], 3),
        small(&[64, 3, 3, 32], 4),
        small(&[64], 5),
        small(&[10, 3136], 6),
        small(&[10], 7),
        Made::whole(&[batch], 10, 8),
    ];
    let first = 2.0 * 784.0 * 9.0 * 32.0;
    let second = 3.0 * 196.0 * 9.0 * 32.0 * 64.0;
    let flops = 2.0 * batch as f64 * (first + second + 3.0 * 31360.0);
    let calls = if size == Size::Tiny { 2 } else { 10 };
    Benchmark {
        params: json!({
            "train": "conv_net", "dtype": "float32", "calls": calls, "rate": 1e-3, "arrays": arrays,
        }),
        ..row("train_conv_net", "float32", "128x28x28", &arrays, flops)
    }
}
