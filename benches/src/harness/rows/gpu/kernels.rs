//! Norms, attention, elementwise functions and reductions, forward and gradient.

use serde_json::{Value, json};

use super::{EAGER, EVERYONE, Kernel, Made, Size};
use crate::harness::rows::{Benchmark, Target, by};

const LARGE: &[usize] = &[8, 2048, 4096];
const SMALL: &[usize] = &[4, 128, 1024];
const F32: &str = "float32";
const BF16: &str = "bfloat16";
/// The share of the copy that layer_norm is to reach.
const SHARE: f64 = 0.75;

pub(super) fn rows(size: Size) -> Vec<Benchmark> {
    let mut rows = norms(size);
    let kernels = [attention(size), elementwise(size), classes(size)];
    let kernels = kernels.into_iter().flatten();
    rows.extend(kernels.map(|kernel| kernel.row(size)));
    rows
}

/// A kernel whose result has the shape and the type of its first input.
pub(super) fn alike(
    name: &'static str,
    shape: &[usize],
    arrays: Vec<Made>,
    attributes: Value,
) -> Kernel {
    let (count, dtype) = arrays
        .first()
        .map_or((0, F32), |one| (one.count(), one.dtype));
    Kernel {
        name,
        variant: "",
        dtype,
        shape: by(shape),
        arrays,
        attributes,
        result: (count, dtype),
        flops: 0.0,
        read: None,
        gradients: 0,
        rivals: EVERYONE,
        quick: true,
    }
}

impl Kernel {
    /// The gradients of its leading inputs, for a cotangent like its result.
    fn gradient(mut self, leading: usize, cotangent: Made) -> Self {
        self.arrays.push(cotangent);
        self.gradients = leading;
        let counts = self.arrays.iter().take(leading).map(Made::count);
        self.result.0 = counts.sum();
        self.flops *= 2.5;
        self
    }

    /// Without `torch.compile`.
    fn beside_eager(self) -> Self {
        Self {
            rivals: EAGER,
            ..self
        }
    }

    fn only_in_full(self) -> Self {
        Self {
            quick: false,
            ..self
        }
    }
}

fn norms(size: Size) -> Vec<Benchmark> {
    let mut rows = Vec::new();
    for dtype in [F32, BF16] {
        for shape in [LARGE, SMALL] {
            let real = size.of(shape);
            let width = &real[real.len() - 1..];
            let x = Made::around_zero(&real, dtype, 1.0, 1);
            let weight = Made::around_one(width, dtype, 2);
            let bias = Made::around_zero(width, dtype, 1.0, 3);
            let cotangent = Made::around_zero(&real, dtype, 1.0, 4);
            let eps = json!({"eps": 1e-5});
            let rms = alike(
                "rms_norm",
                shape,
                vec![x.clone(), weight.clone()],
                eps.clone(),
            );
            let layer = alike("layer_norm", shape, vec![x, weight, bias], eps);
            let is_large = shape == LARGE;
            let row = layer.row(size);
            rows.push(Benchmark {
                target: Target {
                    share: is_large.then_some(SHARE),
                    ..row.target
                },
                ..row
            });
            rows.push(rms.row(size));
            // The short run has the gradients of large ones.
            for gradient in [
                rms.gradient(2, cotangent.clone()),
                layer.gradient(3, cotangent),
            ] {
                let gradient = gradient.beside_eager();
                let quick = is_large;
                rows.push(Kernel { quick, ..gradient }.row(size));
            }
        }
    }
    rows
}

/// Queries `[batch, heads, seq, dim]`, keys and values `[batch, kv_heads, keys, dim]`.
fn attention_of(
    (variant, dtype): (&'static str, &'static str),
    queries: [usize; 4],
    [kv_heads, keys]: [usize; 2],
    causal: bool,
    size: Size,
) -> Kernel {
    let [batch, heads, seq, dim] = queries;
    let q = size.of(&queries);
    let kv = size.of(&[batch, kv_heads, keys, dim]);
    let arrays = vec![
        Made::around_zero(&q, dtype, 1.0, 1),
        Made::around_zero(&kv, dtype, 1.0, 2),
        Made::around_zero(&kv, dtype, 1.0, 3),
    ];
    let scale = (q[3] as f64).powf(-0.5);
    let half = if causal { 0.5 } else { 1.0 };
    let shape = format!("{}-{kv_heads}x{keys}", by(&queries));
    Kernel {
        variant,
        shape,
        flops: half * 4.0 * (batch * heads * seq * keys * dim) as f64,
        rivals: EAGER,
        ..alike(
            "attention",
            &queries,
            arrays,
            json!({"scale": scale, "causal": causal}),
        )
    }
}

fn attention(size: Size) -> Vec<Kernel> {
    let prefill = |dtype| {
        attention_of(
            ("_prefill", dtype),
            [1, 32, 2048, 128],
            [8, 2048],
            true,
            size,
        )
    };
    let gradient = |dtype| {
        let kernel = attention_of(
            ("_prefill", dtype),
            [4, 16, 1024, 64],
            [16, 1024],
            true,
            size,
        );
        let cotangent = Made::around_zero(&kernel.arrays[0].shape, dtype, 1.0, 4);
        kernel.gradient(3, cotangent)
    };
    let decode = |batch, keys, dtype| {
        attention_of(
            ("_decode", dtype),
            [batch, 32, 1, 128],
            [8, keys],
            false,
            size,
        )
    };
    let small = |dtype| attention_of(("_small", dtype), [2, 8, 128, 64], [8, 128], false, size);
    vec![
        prefill(BF16),
        prefill(F32).only_in_full(),
        gradient(BF16),
        gradient(F32).only_in_full(),
        decode(1, 512, BF16),
        decode(1, 4096, BF16),
        decode(1, 4096, F32),
        decode(8, 4096, BF16),
        decode(1, 32768, BF16).only_in_full(),
        small(F32),
        small(BF16),
    ]
}

fn elementwise(size: Size) -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for dtype in [F32, BF16] {
        let is_first = dtype == F32;
        let of = |name: &'static str, inputs: u32, shape: &[usize]| {
            let real = size.of(shape);
            let arrays = (1..=inputs).map(|seed| Made::around_zero(&real, dtype, 1.0, seed));
            alike(name, shape, arrays.collect(), Value::Null)
        };
        let gradient = |kernel: Kernel, leading| {
            let cotangent = Made::around_zero(&kernel.arrays[0].shape, dtype, 1.0, 9);
            kernel.gradient(leading, cotangent)
        };
        let rope = |shape: &[usize]| Kernel {
            attributes: json!({"base": 10000.0}),
            rivals: EAGER,
            ..of("rope", 1, shape)
        };
        let large = if is_first {
            [8, 8, 2048, 128]
        } else {
            [8, 32, 2048, 128]
        };
        let wide: &[usize] = &[8, 2048, 4096];
        let classes: &[usize] = &[1024, 150_000];
        let both = [
            rope(&large),
            of("add", 2, wide).beside_eager(),
            of("chain", 2, wide),
            of("softmax", 1, classes),
            of("softmax", 1, &[512, 1024]).beside_eager(),
        ];
        // The short run has these in half precision.
        let half = [
            rope(&[1, 32, 1, 128]),
            of("exp", 1, wide).beside_eager(),
            of("gelu", 1, wide),
            of("swiglu", 2, wide),
            gradient(of("gelu", 1, wide), 1).beside_eager(),
            gradient(of("swiglu", 2, wide), 2).beside_eager(),
        ];
        let full = [
            of("silu", 1, wide).beside_eager(),
            gradient(of("softmax", 1, classes), 1).beside_eager(),
        ];
        kernels.extend(both);
        kernels.extend(half.map(|kernel| Kernel {
            quick: !is_first,
            ..kernel
        }));
        kernels.extend(full.map(Kernel::only_in_full));
    }
    kernels
}

/// Cross entropy over 150,000 classes.
fn classes(size: Size) -> Vec<Kernel> {
    let shape: &[usize] = &[1024, 150_000];
    let real = size.of(shape);
    let mut kernels = Vec::new();
    for dtype in [F32, BF16] {
        let arrays = vec![
            Made::around_zero(&real, dtype, 1.0, 1),
            Made::whole(&real[..1], real[1], 2),
        ];
        let kernel = alike("cross_entropy", shape, arrays, Value::Null);
        let forward = Kernel {
            result: (real[0], dtype),
            ..kernel.clone()
        };
        kernels.push(forward);
        let cotangent = Made::around_one(&real[..1], dtype, 3);
        kernels.push(Kernel {
            rivals: EAGER,
            ..kernel.gradient(1, cotangent)
        });
    }
    kernels
}
