//! Golden files: for each fusion the graph before and after as text, with the report; and the same of a formula that is
//! refused.
//!
//! `cargo xtask golden` writes them; they are in `tests/golden`.

use std::path::PathBuf;

use mlx::Dtype::{Bool, Float32, Int32, Uint32};
use mlx::{Array, Quantization, Quantized, concatenate, iota, keepdims, stack, where_};
use mlx_compiler::{CompileOptions, Fallback, Fusion, KernelFusion, jit_with};
use rstest::rstest;

use crate::check::{self, Formulas, Type};

const ROW: &[Type] = &[(&[2, 8, 64], Float32), (&[64], Float32)];
const NORM: &[Type] = &[(&[2, 8, 64], Float32), (&[64], Float32), (&[64], Float32)];
const HEADS: &[Type] = &[(&[1, 4, 8, 64], Float32), (&[], Int32)];
const PACKED_HEADS: &[Type] = &[(&[1, 8, 256], Float32)];
const QKV: &[Type] = &[
    (&[1, 4, 8, 64], Float32),
    (&[1, 2, 8, 64], Float32),
    (&[1, 2, 8, 64], Float32),
];
const X: &[Type] = &[(&[2, 64], Float32)];
const GATED: &[Type] = &[(&[2, 64], Float32), (&[2, 64], Float32)];
const LOGITS: &[Type] = &[(&[4, 10], Float32), (&[4], Int32)];
const LINEAR: &[Type] = &[(&[3, 8], Float32), (&[4, 8], Float32), (&[4], Float32)];
const PACKED: &[Type] = &[
    (&[3, 64], Float32),
    (&[4, 8], Uint32),
    (&[4, 1], Float32),
    (&[4, 1], Float32),
];

#[rstest]
#[case(Fusion::RmsNorm, ROW, rms_norm, eps_outside)]
#[case(Fusion::LayerNorm, NORM, layer_norm, one_pass)]
#[case(Fusion::Rope, HEADS, rope, positions_as_input)]
#[case(Fusion::Attention, QKV, attention, soft_cap)]
#[case(Fusion::Gelu, X, gelu, gelu_returned)]
#[case(Fusion::GeluApprox, X, gelu_approx, gelu_approx_returned)]
#[case(Fusion::Silu, X, silu, silu_returned)]
#[case(Fusion::SwiGlu, GATED, swiglu, swiglu_returned)]
#[case(Fusion::Softmax, X, softmax, softmax_without_max)]
#[case(Fusion::CrossEntropy, LOGITS, cross_entropy, log_of_softmax)]
#[case(Fusion::Linear, LINEAR, linear, bias_of_rows)]
#[case(Fusion::QuantizedLinear, PACKED, quantized_linear, weights_returned)]
fn golden_file(
    #[case] fusion: Fusion,
    #[case] types: &[Type],
    #[case] fires: Formulas,
    #[case] refused: Formulas,
) {
    check_golden(fusion.name(), types, fires, refused);
}

#[test]
fn golden_file_of_rope_between_reshapes() {
    check_golden(
        "rope_reshaped",
        PACKED_HEADS,
        rope_reshaped,
        rope_reshaped_twice,
    );
}

fn check_golden(name: &str, types: &[Type], fires: Formulas, refused: Formulas) {
    let got = format!(
        "# Fires\n\n{}\n# Refused\n\n{}",
        before_and_after(fires, types),
        before_and_after(refused, types)
    );
    let path = package().join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("MLX_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, got).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(&path).unwrap().replace('\r', "");
    assert!(
        wanted == got,
        "{name}.txt differs; `cargo xtask golden` writes it anew\n{got}"
    );
}

/// The graph as it was written, as it runs, and the report, which names files from the workspace's root.
fn before_and_after(formula: Formulas, types: &[Type]) -> String {
    let options = CompileOptions {
        fallback: Fallback::Never,
        kernel_fusion: KernelFusion::Off,
        ..CompileOptions::default()
    };
    let function = jit_with(|a: &Vec<Array>| formula(a), options);
    let lowered = function.lower(&check::inputs(types)).unwrap();
    let report = lowered.report().to_string().replace('\\', "/");
    format!("{}\n\n{lowered}\n\n{report}\n", lowered.traced())
}

fn rms_norm(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt() * &a[1]]
}

fn eps_outside(a: &[Array]) -> Vec<Array> {
    vec![&a[0] / (a[0].square().mean(keepdims(-1)).sqrt() + 1e-5) * &a[1]]
}

fn layer_norm(a: &[Array]) -> Vec<Array> {
    let centred = &a[0] - a[0].mean(keepdims(-1));
    let variance = centred.square().mean(keepdims(-1));
    vec![centred / (variance + 1e-5).sqrt() * &a[1] + &a[2]]
}

fn one_pass(a: &[Array]) -> Vec<Array> {
    let mean = a[0].mean(keepdims(-1));
    let variance = a[0].square().mean(keepdims(-1)) - mean.square();
    vec![(&a[0] - mean) / (variance + 1e-5).sqrt() * &a[1] + &a[2]]
}

fn turn(x: &Array, positions: &Array) -> Vec<Array> {
    let speeds = Array::scalar(10_000.0_f32).power(iota(32).astype(Float32) / -32.0);
    let angles = positions.astype(Float32).expand_dims(-1) * speeds;
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = x.split(2, -1).unwrap();
    let (a, b) = (&parts[0], &parts[1]);
    let turned = [a * &cos - b * &sin, b * &cos + a * &sin];
    vec![concatenate(&turned, -1)]
}

fn rope(a: &[Array]) -> Vec<Array> {
    turn(&a[0], &(iota(8) + &a[1]))
}

fn positions_as_input(a: &[Array]) -> Vec<Array> {
    turn(&a[0], &(iota(8) * &a[1]))
}

/// Pairs of neighbours, of four heads side by side.
fn turned_pairs(x: &Array) -> Array {
    let speeds = Array::scalar(10_000.0_f32).power(iota(32).astype(Float32) / -32.0);
    let angles = iota(8).astype(Float32).reshape([8, 1, 1]) * speeds;
    let (cos, sin) = (angles.cos(), angles.sin());
    let pairs = x.reshape([1, 8, 4, 32, 2]).unstack(-1).unwrap();
    let (a, b) = (&pairs[0], &pairs[1]);
    stack([&(a * &cos - b * &sin), &(b * &cos + a * &sin)], -1)
}

fn rope_reshaped(a: &[Array]) -> Vec<Array> {
    vec![turned_pairs(&a[0]).reshape([1, 8, 256])]
}

fn rope_reshaped_twice(a: &[Array]) -> Vec<Array> {
    let turned = turned_pairs(&a[0]);
    vec![turned.reshape([1, 8, 256]), turned.reshape([8, 256])]
}

fn scores(a: &[Array]) -> Array {
    a[0].matmul(&a[1].repeat(2, 1).swapaxes(-1, -2)) / 8.0
}

fn weighted(scores: &Array, a: &[Array]) -> Vec<Array> {
    let scores = where_(&mlx::tri_with(8, 8, 0, Bool), scores, f32::NEG_INFINITY);
    vec![scores.softmax(-1).matmul(&a[2].repeat(2, 1))]
}

fn attention(a: &[Array]) -> Vec<Array> {
    weighted(&scores(a), a)
}

fn soft_cap(a: &[Array]) -> Vec<Array> {
    weighted(&((scores(a) / 50.0).tanh() * 50.0), a)
}

fn gelu(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (1.0 + (&a[0] / std::f32::consts::SQRT_2).erf()) / 2.0]
}

fn gelu_returned(a: &[Array]) -> Vec<Array> {
    let erf = (&a[0] / std::f32::consts::SQRT_2).erf();
    vec![&a[0] * (1.0 + &erf) / 2.0, erf]
}

fn tanh_of_cubic(x: &Array) -> Array {
    (0.797_884_6 * (x + 0.044_715 * x.power(3))).tanh()
}

fn gelu_approx(a: &[Array]) -> Vec<Array> {
    vec![0.5 * &a[0] * (1.0 + tanh_of_cubic(&a[0]))]
}

fn gelu_approx_returned(a: &[Array]) -> Vec<Array> {
    let tanh = tanh_of_cubic(&a[0]);
    vec![0.5 * &a[0] * (1.0 + &tanh), tanh]
}

fn silu(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * a[0].sigmoid()]
}

fn silu_returned(a: &[Array]) -> Vec<Array> {
    let sigmoid = a[0].sigmoid();
    vec![&a[0] * &sigmoid, sigmoid]
}

fn swiglu(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * a[0].sigmoid() * &a[1]]
}

fn swiglu_returned(a: &[Array]) -> Vec<Array> {
    let sigmoid = a[0].sigmoid();
    vec![&a[0] * &sigmoid * &a[1], sigmoid]
}

fn softmax(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    vec![&exp / exp.sum(keepdims(-1))]
}

fn softmax_without_max(a: &[Array]) -> Vec<Array> {
    let exp = a[0].exp();
    vec![&exp / exp.sum(keepdims(-1))]
}

fn taken(values: &Array, a: &[Array]) -> Array {
    let targets = a[1].expand_dims(-1);
    values.take_along_axis(&targets, -1).squeeze(-1)
}

fn cross_entropy(a: &[Array]) -> Vec<Array> {
    vec![(a[0].logsumexp(-1) - taken(&a[0], a)).mean(())]
}

fn log_of_softmax(a: &[Array]) -> Vec<Array> {
    vec![-taken(&a[0].softmax(-1).log(), a)]
}

fn linear(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&a[1].t()) + &a[2]]
}

fn bias_of_rows(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&a[1].t()) + a[2].i(..3).expand_dims(-1)]
}

fn weights(a: &[Array]) -> Array {
    let packed = Quantized {
        weight: a[1].clone(),
        scales: a[2].clone(),
        biases: Some(a[3].clone()),
        quantization: Quantization::default(),
    };
    packed.dequantize(None)
}

fn quantized_linear(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&weights(a).t())]
}

fn weights_returned(a: &[Array]) -> Vec<Array> {
    let weights = weights(a);
    vec![a[0].matmul(&weights.t()), weights]
}

/// The folder of this crate, which `cargo test` and `cargo xtask suite` name when a test is run.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap().into()
}
