//! Functions for all sizes: what is recognized holds for sizes that the function was not traced with.

use mlx::Dtype::{Float32, Int32};
use mlx::{Array, keepdims};
use mlx_compiler::{CompileOptions, Fallback, Fusion, jit_with};
use rstest::rstest;

use crate::check::{self, Formula, Type};

const ROW: &[Type] = &[(&[1, 8], Float32), (&[8], Float32)];
const ROWS: &[Type] = &[(&[3, 8], Float32), (&[8], Float32)];
const WIDE: &[Type] = &[(&[4, 16], Float32), (&[16], Float32)];
const RESIDUAL: &[Type] = &[(&[1, 8], Float32), (&[1, 8], Float32)];
const RESIDUALS: &[Type] = &[(&[3, 8], Float32), (&[3, 8], Float32)];
const QKV: &[Type] = &[
    (&[1, 2, 3, 8], Float32),
    (&[1, 2, 3, 8], Float32),
    (&[1, 2, 3, 8], Float32),
];
const LONG_QKV: &[Type] = &[
    (&[2, 4, 5, 8], Float32),
    (&[2, 4, 7, 8], Float32),
    (&[2, 4, 7, 8], Float32),
];
const QKV3: &[Type] = &[
    (&[2, 3, 8], Float32),
    (&[2, 3, 8], Float32),
    (&[2, 3, 8], Float32),
];
const LONG_QKV3: &[Type] = &[
    (&[4, 5, 8], Float32),
    (&[4, 7, 8], Float32),
    (&[4, 7, 8], Float32),
];
const LOGITS: &[Type] = &[(&[6, 4], Float32), (&[6, 1], Int32)];
const MORE_LOGITS: &[Type] = &[(&[7, 9], Float32), (&[7, 1], Int32)];

/// Traced with the first sizes, called with the second.
#[rstest]
#[case::rms_norm(rms_norm, ROW, WIDE, Some(Fusion::RmsNorm))]
#[case::sum_over_eight(sum_over_eight, ROW, WIDE, None)]
#[case::layer_norm(layer_norm, ROW, ROWS, Some(Fusion::LayerNorm))]
#[case::weight_for_each_element(rms_norm, RESIDUAL, RESIDUALS, Some(Fusion::RmsNorm))]
#[case::softmax(softmax, ROW, WIDE, Some(Fusion::Softmax))]
#[case::attention(attention, QKV, LONG_QKV, Some(Fusion::Attention))]
#[case::attention_of_three_axes(attention, QKV3, LONG_QKV3, None)]
#[case::cross_entropy(cross_entropy, LOGITS, MORE_LOGITS, None)]
fn serves_other_sizes(
    #[case] formula: Formula,
    #[case] traced: &[Type],
    #[case] called: &[Type],
    #[case] fires: Option<Fusion>,
) {
    let options = CompileOptions {
        shapeless: true,
        fallback: Fallback::Never,
        ..CompileOptions::default()
    };
    let function = jit_with(|a: &Vec<Array>| formula(a), options);
    for types in [traced, called] {
        let inputs = check::inputs(types);
        let compiled = function.call(&inputs).unwrap();
        check::same(&[formula(&inputs)], &[compiled]).unwrap();
    }
    assert_eq!(function.stats().misses, 1, "it was traced again");
    let report = function.report().unwrap();
    assert_eq!(report.fired.first().map(|fired| fired.fusion), fires);
}

fn rms_norm(a: &[Array]) -> Array {
    &a[0] * (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt() * &a[1]
}

fn sum_over_eight(a: &[Array]) -> Array {
    &a[0] * (a[0].square().sum(keepdims(-1)) / 8 + 1e-5).rsqrt() * &a[1]
}

fn layer_norm(a: &[Array]) -> Array {
    let x = &a[0];
    (x - x.mean(keepdims(-1))) * (x.var(keepdims(-1)) + 1e-5).rsqrt() * &a[1]
}

fn softmax(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    &exp / exp.sum(keepdims(-1)) * &a[1]
}

fn attention(a: &[Array]) -> Array {
    let scores = a[0].matmul(&a[1].swapaxes(-1, -2)) * 0.25;
    scores.softmax(-1).matmul(&a[2])
}

fn cross_entropy(a: &[Array]) -> Array {
    a[0].logsumexp(keepdims(-1)) - a[0].take_along_axis(&a[1], -1)
}
