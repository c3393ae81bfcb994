//! Rows of single operations, with the targets of the CPU's own kernels.

use serde_json::{Value, json};

use super::{ARRAYS, Benchmark, Cost, Group, Target, by, id};
use crate::harness::check::Check;
use crate::harness::inputs::{Draw, Input};

const FLOAT: f64 = 4.0;
const NORMAL: Draw = Draw::Normal(1.0);

pub(super) fn rows() -> Vec<Benchmark> {
    let square = [4096, 4096];
    let small = [4, 128, 1024];
    vec![
        rms_norm(&square, Target::ratio(1.0)),
        layer_norm(&square, Target::ratio(1.0)),
        softmax(&square, Target::ratio(1.0)),
        rms_norm(&small, Target::ratio(1.2)),
        layer_norm(&small, Target::ratio(1.2)),
        attention(&[1, 6, 1500, 64], Target::ratio(1.0)),
        attention(&[2, 8, 128, 64], Target::ratio(1.2)),
        rope(&[1, 9, 512, 64], Target::ratio(1.5)),
        gelu(&[1500, 1536], Target::ratio(1.1)),
        elementwise("exp", 1, &square, Target::ratio(1.1)),
        elementwise("add", 2, &square, Target::ratio(1.1)),
        chain(&square),
        matvec(4096, Target::ratio(1.2)),
        quantized(1, "quantized_matvec", Target::ratio(0.9)),
        quantized(1, "quantized_matvec_int8", Target::ratio(1.2)),
        matmul(1024, 1024, 1024, Target::ratio(1.05)),
        matmul(1500, 384, 1536, Target::default()),
        matmul(2048, 2048, 2048, Target::default()),
    ]
}

/// A row over `float32` inputs with the settings that most share.
fn plain(op: &'static str, shape: &[usize], inputs: Vec<Input>, params: Value) -> Benchmark {
    let read = inputs.iter().map(|input| floats(&input.shape)).sum();
    Benchmark {
        id: id(op, "float32", &by(shape)),
        op,
        shape: by(shape),
        dtype: "float32",
        group: Group::Kernels,
        params,
        inputs,
        check: Check::close(1e-5, 1e-5),
        cost: Cost {
            read,
            written: floats(shape),
            flops: 0.0,
        },
        target: Target::default(),
        rivals: ARRAYS,
        forms: &[],
        left_out: &[],
        quick: true,
        note: "",
    }
}

fn floats(shape: &[usize]) -> f64 {
    shape.iter().product::<usize>() as f64 * FLOAT
}

pub(super) fn rms_norm(shape: &[usize], target: Target) -> Benchmark {
    let last = shape.last().copied().unwrap_or(1);
    let inputs = vec![
        Input::new(shape, NORMAL),
        Input::new(&[last], Draw::Even(0.5, 1.5)),
    ];
    let row = plain("rms_norm", shape, inputs, json!({"eps": 1e-5}));
    Benchmark {
        target,
        forms: &["composed", "compiled"],
        ..row
    }
}

fn layer_norm(shape: &[usize], target: Target) -> Benchmark {
    let last = shape.last().copied().unwrap_or(1);
    let inputs = vec![
        Input::new(shape, NORMAL),
        Input::new(&[last], Draw::Even(0.5, 1.5)),
        Input::new(&[last], NORMAL),
    ];
    let row = plain("layer_norm", shape, inputs, json!({"eps": 1e-5}));
    Benchmark {
        target,
        forms: &["composed", "compiled"],
        check: Check::close(1e-4, 1e-4),
        ..row
    }
}

fn softmax(shape: &[usize], target: Target) -> Benchmark {
    let row = plain("softmax", shape, vec![Input::new(shape, NORMAL)], json!({}));
    Benchmark {
        target,
        check: Check::close(1e-4, 1e-8),
        ..row
    }
}

pub(super) fn attention(shape: &[usize; 4], target: Target) -> Benchmark {
    let [batch, heads, seq, dim] = *shape;
    let inputs = vec![Input::new(shape, NORMAL); 3];
    let scale = (dim as f64).powf(-0.5);
    let row = plain("attention", shape, inputs, json!({"scale": scale}));
    Benchmark {
        target,
        forms: &["composed", "compiled"],
        check: Check::close(1e-4, 1e-5),
        cost: Cost {
            flops: 4.0 * (batch * heads * seq * seq * dim) as f64,
            ..row.cost
        },
        ..row
    }
}

fn rope(shape: &[usize], target: Target) -> Benchmark {
    let params = json!({"base": 10000.0, "traditional": false});
    let row = plain("rope", shape, vec![Input::new(shape, NORMAL)], params);
    Benchmark {
        target,
        forms: &["composed"],
        // The angle of position 511 is known to some 3e-5 in float32, and rivals round it differently.
        check: Check::close(1e-3, 5e-4),
        ..row
    }
}

fn gelu(shape: &[usize], target: Target) -> Benchmark {
    let row = plain("gelu", shape, vec![Input::new(shape, NORMAL)], json!({}));
    Benchmark { target, ..row }
}

fn elementwise(op: &'static str, inputs: usize, shape: &[usize], target: Target) -> Benchmark {
    let inputs = vec![Input::new(shape, NORMAL); inputs];
    let row = plain(op, shape, inputs, json!({}));
    Benchmark { target, ..row }
}

/// `sqrt(abs(silu(2x + b) - x) + 1)`: eight operations in one compiled function.
fn chain(shape: &[usize]) -> Benchmark {
    let inputs = vec![Input::new(shape, NORMAL); 2];
    let row = plain("chain8", shape, inputs, json!({}));
    Benchmark {
        target: Target {
            against: Some("jax"),
            ..Target::ratio(0.7)
        },
        forms: &["eager"],
        note: "sqrt(abs(silu(2x + b) - x) + 1), compiled where there is a compiler",
        ..row
    }
}

fn matvec(n: usize, target: Target) -> Benchmark {
    let inputs = vec![Input::new(&[1, n], NORMAL), Input::new(&[n, n], NORMAL)];
    let row = plain("matvec", &[n, n], inputs, json!({}));
    Benchmark {
        target,
        check: Check::close(1e-3, 1e-3),
        cost: Cost {
            written: floats(&[n]),
            flops: 2.0 * (n * n) as f64,
            ..row.cost
        },
        ..row
    }
}

fn matmul(m: usize, k: usize, n: usize, target: Target) -> Benchmark {
    let inputs = vec![Input::new(&[m, k], NORMAL), Input::new(&[k, n], NORMAL)];
    let row = plain("matmul", &[m, k, n], inputs, json!({}));
    Benchmark {
        target,
        check: Check::close(1e-3, 1e-3),
        cost: Cost {
            written: floats(&[m, n]),
            flops: 2.0 * (m * k * n) as f64,
            ..row.cost
        },
        ..row
    }
}

/// Weights of 4 bits in groups of 64; `w = scale * (code - zero)`, which all layouts can hold exactly.
pub(super) fn quantized(rows: usize, op: &'static str, target: Target) -> Benchmark {
    let (n, group_size) = (4096, 64);
    let is_swept = op == "quantized_matmul";
    let shape: &[usize] = if is_swept { &[rows, n, n] } else { &[n, n] };
    let inputs = vec![
        Input::new(&[rows, n], NORMAL),
        Input::new(&[n, n], Draw::Codes(0, 16)),
        Input::new(&[n, n / group_size], Draw::Even(0.01, 0.02)),
        Input::new(&[n, n / group_size], Draw::Codes(6, 10)),
    ];
    let row = plain(
        op,
        shape,
        inputs,
        json!({"bits": 4, "group_size": group_size}),
    );
    let is_int8 = op.ends_with("int8");
    Benchmark {
        id: id(op, "q4g64", &by(shape)),
        dtype: "q4g64",
        target,
        // A sum of 4096 products of about 0.07: its deviation is 4.5. With
        // activations of 8 bits and candle's own scales it is off by 0.2, which a wrong layout is not.
        check: if is_int8 {
            Check::close(0.05, 1.0)
        } else {
            Check::close(1e-3, 5e-3)
        },
        cost: Cost {
            read: floats(&[rows, n]) + (n * n) as f64 / 2.0 + floats(&[n, n / group_size]) * 2.0,
            written: floats(&[rows, n]),
            flops: 2.0 * (rows * n * n) as f64,
        },
        note: if is_int8 {
            "activations are rounded to 8 bits, and candle's Q4_K has other groups; ours is `mlx_kernels::quantized_matmul_int8`, called directly, as MLX has no such operation"
        } else {
            ""
        },
        ..row
    }
}
