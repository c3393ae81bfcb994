//! Small kernels in a program: twenty calls, each of the last one's result, in one compiled function or CUDA graph.

use serde_json::{Value, json};

use super::kernels::alike;
use super::{AS_EAGER, AS_PYTHON, EAGER, Kernel, Made, PYTORCH, Size};
use crate::harness::check::Check;
use crate::harness::rows::{Aim, Benchmark, Cost, Group, Target};

/// The calls of a program.
const LENGTH: usize = 20;
const AIMS: &[Aim] = &[AS_PYTHON, AS_EAGER];

pub(super) fn rows(size: Size) -> Vec<Benchmark> {
    let dtypes = ["float32", "bfloat16"].into_iter();
    let kernels =
        dtypes.flat_map(|dtype| norms(dtype, size).into_iter().chain(others(dtype, size)));
    kernels.map(|kernel| program(&kernel, size)).collect()
}

/// A kernel whose result is like its first input, without `torch.compile`.
fn kernel(name: &'static str, shape: &[usize], arrays: Vec<Made>, attributes: Value) -> Kernel {
    Kernel {
        rivals: EAGER,
        ..alike(name, shape, arrays, attributes)
    }
}

const TOKENS: &[usize] = &[4, 128, 1024];

fn norms(dtype: &'static str, size: Size) -> Vec<Kernel> {
    let number = |seed| Made::around_zero(&size.of(TOKENS), dtype, 1.0, seed);
    let weight = |seed| Made::around_one(&size.of(&[1024]), dtype, seed);
    let bias = Made::around_zero(&size.of(&[1024]), dtype, 1.0, 3);
    let of = |name, arrays| kernel(name, TOKENS, arrays, json!({"eps": 1e-5}));
    vec![
        of("rms_norm", vec![number(1), weight(2)]),
        of("add_rms_norm", vec![number(1), number(2), weight(3)]),
        of("layer_norm", vec![number(1), weight(2), bias]),
    ]
}

fn others(dtype: &'static str, size: Size) -> Vec<Kernel> {
    let number = |shape: &[usize], seed| Made::around_zero(&size.of(shape), dtype, 1.0, seed);
    let heads: &[usize] = &[2, 8, 128, 64];
    let turned: &[usize] = &[1, 16, 128, 128];
    let (query, keys): (&[usize], &[usize]) = (&[1, 16, 1, 128], &[1, 8, 512, 128]);
    let attention = |variant, shape: &[usize], keys: &[usize]| {
        let dim = size.axis(shape[3]) as f64;
        let attributes = json!({"scale": dim.powf(-0.5), "causal": false});
        let arrays = vec![number(shape, 1), number(keys, 2), number(keys, 3)];
        Kernel {
            variant,
            ..kernel("attention", shape, arrays, attributes)
        }
    };
    let rows: &[usize] = &[512, 1024];
    let width = size.axis(1024);
    let matrix = Made::around_zero(&[width, width], dtype, (width as f32).powf(-0.5), 2);
    let product = kernel(
        "matmul",
        &[128, 1024, 1024],
        vec![number(&[128, 1024], 1), matrix],
        Value::Null,
    );
    let up = Made::around_one(&size.of(TOKENS), dtype, 2);
    vec![
        kernel("softmax", rows, vec![number(rows, 1)], Value::Null),
        kernel(
            "rope",
            turned,
            vec![number(turned, 1)],
            json!({"base": 10000.0}),
        ),
        attention("_small", heads, heads),
        attention("_decode", query, keys),
        product,
        kernel("gelu", TOKENS, vec![number(TOKENS, 1)], Value::Null),
        kernel("swiglu", TOKENS, vec![number(TOKENS, 1), up], Value::Null),
    ]
}

fn program(kernel: &Kernel, size: Size) -> Benchmark {
    let row = kernel.row(size);
    let mut params = row.params;
    params["chain"] = json!(LENGTH);
    // A run is some programs.
    params["calls"] = json!(if size == Size::Tiny { 2 } else { 10 });
    let name = format!("program_{}{}", kernel.name, kernel.variant);
    Benchmark {
        id: format!("gpu/{name}/{}/{}", kernel.dtype, kernel.shape),
        group: Group::GpuPrograms,
        params,
        // Twenty roundings, of which products and attention have more.
        check: Check::norm(if kernel.dtype == "float32" {
            2e-2
        } else {
            8e-2
        }),
        // What is read may stay in the device's caches: it is no limit.
        cost: Cost::default(),
        target: Target {
            against: Some(PYTORCH),
            also: AIMS,
            ..Target::ratio(1.3)
        },
        forms: &["eager"],
        ..row
    }
}
