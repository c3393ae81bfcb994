//! Small kernels in a program: twenty calls, each of the last one's result, in one compiled function or CUDA graph.

use serde_json::{Value, json};

use super::{AS_EAGER, AS_PYTHON, EAGER, Kernel, Made, PYTORCH, Size};
use crate::harness::check::Check;
use crate::harness::rows::{Aim, Benchmark, Cost, Group, Target, by};

/// The calls of a program.
const LENGTH: usize = 20;
const AIMS: &[Aim] = &[AS_PYTHON, AS_EAGER];

pub(super) fn rows(size: Size) -> Vec<Benchmark> {
    let mut rows = Vec::new();
    for dtype in ["float32", "bfloat16"] {
        let number = |shape: &[usize], seed| Made::around_zero(&size.of(shape), dtype, 1.0, seed);
        let one = |shape: &[usize], seed| Made::around_one(&size.of(shape), dtype, seed);
        let tokens: &[usize] = &[4, 128, 1024];
        let heads: &[usize] = &[2, 8, 128, 64];
        let (query, keys): (&[usize], &[usize]) = (&[1, 16, 1, 128], &[1, 8, 512, 128]);
        let eps = json!({"eps": 1e-5});
        let scale =
            |dim: usize| json!({"scale": (size.axis(dim) as f64).powf(-0.5), "causal": false});
        let width = size.axis(1024) as f32;
        let matrix = Made::around_zero(&size.of(&[1024, 1024]), dtype, width.powf(-0.5), 2);
        let programs = [
            (
                "rms_norm",
                "",
                tokens,
                vec![number(tokens, 1), one(&[1024], 2)],
                eps.clone(),
            ),
            (
                "add_rms_norm",
                "",
                tokens,
                vec![number(tokens, 1), number(tokens, 2), one(&[1024], 3)],
                eps.clone(),
            ),
            (
                "layer_norm",
                "",
                tokens,
                vec![number(tokens, 1), one(&[1024], 2), number(&[1024], 3)],
                eps,
            ),
            (
                "softmax",
                "",
                &[512, 1024],
                vec![number(&[512, 1024], 1)],
                Value::Null,
            ),
            (
                "rope",
                "",
                &[1, 16, 128, 128],
                vec![number(&[1, 16, 128, 128], 1)],
                json!({"base": 10000.0}),
            ),
            (
                "attention",
                "_small",
                heads,
                vec![number(heads, 1), number(heads, 2), number(heads, 3)],
                scale(64),
            ),
            (
                "attention",
                "_decode",
                query,
                vec![number(query, 1), number(keys, 2), number(keys, 3)],
                scale(128),
            ),
            (
                "matmul",
                "",
                &[128, 1024, 1024],
                vec![number(&[128, 1024], 1), matrix],
                Value::Null,
            ),
            ("gelu", "", tokens, vec![number(tokens, 1)], Value::Null),
            (
                "swiglu",
                "",
                tokens,
                vec![number(tokens, 1), one(tokens, 2)],
                Value::Null,
            ),
        ];
        for (name, variant, shape, arrays, attributes) in programs {
            let count = arrays[0].count();
            let kernel = Kernel {
                name,
                variant,
                dtype,
                shape: by(shape),
                arrays,
                attributes,
                result: (count, dtype),
                flops: if name == "matmul" {
                    2.0 * count as f64 * f64::from(width)
                } else {
                    0.0
                },
                read: None,
                gradients: 0,
                rivals: EAGER,
                quick: true,
            };
            rows.push(program(&kernel, size));
        }
    }
    rows
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
