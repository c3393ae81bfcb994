//! Layer normalization as in nanoGPT, PyTorch's manual, BERT, `mlx`, and of papers.

use mlx::Dtype::{Bfloat16, Float16, Float32, Float64};
use mlx::{Array, fast, keepdims};
use mlx_compiler::Fusion;

use crate::check::Type;

const X: &[Type] = &[(&[2, 3, 8], Float32)];
const XWB: &[Type] = &[(&[2, 3, 8], Float32), (&[8], Float32), (&[8], Float32)];
const SQUARE: &[Type] = &[(&[8, 8], Float32), (&[8], Float32), (&[8], Float32)];
const HALF: &[Type] = &[(&[2, 3, 8], Float16), (&[8], Float16), (&[8], Float16)];
const BRAIN: &[Type] = &[(&[2, 3, 8], Bfloat16), (&[8], Bfloat16), (&[8], Bfloat16)];

spellings! { Fusion::LayerNorm, "fast.layer_norm";
    by_var(XWB),
    mean_of_squared_differences(XWB),
    mean_of_power(XWB),
    differences_written_twice(XWB),
    sums_over_dim(XWB),
    divided_by_sqrt(XWB),
    one_over_sqrt(XWB),
    bias_first(XWB),
    without_bias(XWB),
    without_weight(X),
    only_bias(XWB),
    expanded(XWB),
    one_axis(&[(&[8], Float32), (&[8], Float32), (&[8], Float32)]),
    square_of_sides(SQUARE),
    of_centred_values(X),
    upcast_and_cast_back(HALF),
    upcast_in_bfloat16(BRAIN),
    cast_back_last(HALF),
    flax_without_fast_variance(XWB),
    flax_in_half(HALF),
    flax_in_bfloat16(BRAIN),
    weight_on_input(XWB),
    broadcast_weights(XWB),
    composed(XWB),
    composed_in_half(HALF),
    composed_plain(X),
    composed_without_bias(XWB),
}

refusals! { Fusion::LayerNorm;
    mean_is_returned(Output, XWB),
    centred_is_reused(Reused, XWB),
    variance_is_reused(Reused, XWB),
    one_pass(Formula, XWB),
    one_pass_over_root(Formula, XWB),
    flax(Formula, XWB),
    flax_fast_in_half(Formula, HALF),
    unbiased(Formula, XWB),
    first_axis(Axis, SQUARE),
    two_axes(Axis, XWB),
    mean_over_another_axis(Axis, SQUARE),
    variance_over_another_axis(Axis, SQUARE),
    differences_from_another_mean(Axis, SQUARE),
    statistics_in_half(Dtype, HALF),
    statistics_in_double(Dtype, &[(&[2, 3, 8], Float64), (&[8], Float64), (&[8], Float64)]),
    eps_outside(Eps, XWB),
    annotated_transformer(Eps, XWB),
    eps_is_negative(Eps, XWB),
    divided_by_std(Eps, XWB),
    without_eps(Eps, XWB),
    constant_rows_by_std(Eps, XWB),
}

others! { Fusion::LayerNorm;
    mean_of_another(&[(&[2, 3, 8], Float32), (&[2, 3, 8], Float32)]),
    variance_of_another(&[(&[2, 3, 8], Float32), (&[2, 3, 8], Float32)]),
    batch_norm(&[(&[2, 3, 8], Float32), (&[8], Float32), (&[8], Float32)]),
    mean_broadcast_over_columns(SQUARE),
    variance_broadcast_over_columns(SQUARE),
    median(XWB),
}

fn scaled(normalized: Array, a: &[Array]) -> Array {
    normalized * &a[1] + &a[2]
}

fn by_var(a: &[Array]) -> Array {
    let x = &a[0];
    let normalized = (x - x.mean(keepdims(-1))) * (x.var(keepdims(-1)) + 1e-5).rsqrt();
    scaled(normalized, a)
}

fn mean_of_squared_differences(a: &[Array]) -> Array {
    let centred = &a[0] - a[0].mean(keepdims(-1));
    let variance = centred.square().mean(keepdims(-1));
    scaled(&centred * (variance + 1e-5).rsqrt(), a)
}

fn mean_of_power(a: &[Array]) -> Array {
    let mean = a[0].mean(keepdims(-1));
    let variance = (&a[0] - &mean).power(2.0).mean(keepdims(-1));
    scaled((&a[0] - &mean) / (variance + 1e-5).sqrt(), a)
}

fn differences_written_twice(a: &[Array]) -> Array {
    let x = &a[0];
    let first = x - x.mean(keepdims(-1));
    let second = x - x.sum(keepdims(-1)) / 8;
    let variance = (&second * &second).mean(keepdims(-1));
    scaled(first * (variance + 1e-5).rsqrt(), a)
}

fn sums_over_dim(a: &[Array]) -> Array {
    let dim = a[0].dim(-1).unwrap();
    let centred = &a[0] - a[0].sum(keepdims(-1)) / dim;
    let variance = centred.square().sum(keepdims(-1)) / dim;
    scaled(centred / (variance + 1e-5).sqrt(), a)
}

fn divided_by_sqrt(a: &[Array]) -> Array {
    let x = &a[0];
    let normalized = (x - x.mean(keepdims(-1))) / (x.var(keepdims(-1)) + 1e-5).sqrt();
    scaled(normalized, a)
}

/// `_normalize` of Flax, in `float32` whatever the input is.
fn normalize(a: &[Array], mean: &Array, variance: Array) -> Array {
    let scale = (variance + 1e-6).rsqrt() * &a[1];
    ((&a[0] - mean) * scale + &a[2]).astype(a[0].dtype().unwrap())
}

fn flax_without_fast_variance(a: &[Array]) -> Array {
    let x = a[0].astype(Float32);
    let mean = x.mean(keepdims(-1));
    let variance = (&a[0] - &mean).square().mean(keepdims(-1));
    normalize(a, &mean, variance)
}

fn flax_in_half(a: &[Array]) -> Array {
    flax_without_fast_variance(a)
}

fn flax_in_bfloat16(a: &[Array]) -> Array {
    flax_without_fast_variance(a)
}

fn flax(a: &[Array]) -> Vec<Array> {
    let x = a[0].astype(Float32);
    let mean = x.mean(keepdims(-1));
    let variance = (x.square().mean(keepdims(-1)) - mean.square()).maximum(0.0);
    vec![normalize(a, &mean, variance)]
}

fn flax_fast_in_half(a: &[Array]) -> Vec<Array> {
    flax(a)
}

fn weight_on_input(a: &[Array]) -> Array {
    let x = &a[0];
    &a[1] * (x - x.mean(keepdims(-1))) / (x.var(keepdims(-1)) + 1e-5).sqrt() + &a[2]
}

fn broadcast_weights(a: &[Array]) -> Array {
    let x = &a[0];
    let normalized = (x - x.mean(keepdims(-1))) * (x.var(keepdims(-1)) + 1e-5).rsqrt();
    normalized * a[1].broadcast_to([2, 3, 8]) + a[2].broadcast_to([2, 3, 8])
}

/// 0 / 0 for a constant row.
fn constant_rows_by_std(a: &[Array]) -> Vec<Array> {
    let x = a[0].i((.., .., ..1)).broadcast_to([2, 3, 8]);
    vec![(&x - x.mean(keepdims(-1))) / x.std(keepdims(-1))]
}

fn divided_by_std(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![scaled((x - x.mean(keepdims(-1))) / x.std(keepdims(-1)), a)]
}

fn one_over_sqrt(a: &[Array]) -> Array {
    let x = &a[0];
    let scale = 1.0 / (x.var(keepdims(-1)) + 1e-5).sqrt();
    scaled((x - x.mean(keepdims(-1))) * scale, a)
}

fn bias_first(a: &[Array]) -> Array {
    let x = &a[0];
    let normalized = (x - x.mean(keepdims(-1))) * (x.var(keepdims(-1)) + 1e-5).rsqrt();
    &a[2] + &a[1] * normalized
}

fn without_bias(a: &[Array]) -> Array {
    without_weight(a) * &a[1]
}

fn without_weight(a: &[Array]) -> Array {
    let x = &a[0];
    (x - x.mean(keepdims(-1))) * (x.var(keepdims(-1)) + 1e-5).rsqrt()
}

fn only_bias(a: &[Array]) -> Array {
    without_weight(a) + &a[1]
}

fn expanded(a: &[Array]) -> Array {
    let x = &a[0];
    let mean = x.mean(-1).expand_dims(-1);
    let variance = x.var(-1).reshape([2, 3, 1]);
    scaled((x - mean) / (variance + 1e-5).sqrt(), a)
}

fn one_axis(a: &[Array]) -> Array {
    let x = &a[0];
    scaled((x - x.mean(-1)) / (x.var(-1) + 1e-5).sqrt(), a)
}

fn square_of_sides(a: &[Array]) -> Array {
    by_var(a)
}

/// The variance of centred values is that of the values.
fn of_centred_values(a: &[Array]) -> Array {
    let centred = &a[0] - a[0].mean(keepdims(-1));
    &centred / (centred.var(keepdims(-1)) + 1e-5).sqrt()
}

fn upcast_and_cast_back(a: &[Array]) -> Array {
    let wide = a[0].astype(Float32);
    let dtype = a[0].dtype().unwrap();
    let normalized = (&wide - wide.mean(keepdims(-1))) * (wide.var(keepdims(-1)) + 1e-5).rsqrt();
    scaled(normalized.astype(dtype), a)
}

fn upcast_in_bfloat16(a: &[Array]) -> Array {
    upcast_and_cast_back(a)
}

fn cast_back_last(a: &[Array]) -> Array {
    let wide = a[0].astype(Float32);
    let normalized = (&wide - wide.mean(keepdims(-1))) * (wide.var(keepdims(-1)) + 1e-5).rsqrt();
    (normalized * a[1].astype(Float32) + a[2].astype(Float32)).astype(Float16)
}

fn without_eps(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![scaled(
        (x - x.mean(keepdims(-1))) * x.var(keepdims(-1)).rsqrt(),
        a,
    )]
}

fn composed(a: &[Array]) -> Array {
    fast::composed::layer_norm(&a[0], &a[1], &a[2], 1e-5)
}

fn composed_in_half(a: &[Array]) -> Array {
    fast::composed::layer_norm(&a[0], &a[1], &a[2], 1e-5)
}

fn composed_plain(a: &[Array]) -> Array {
    fast::composed::layer_norm(&a[0], None, None, 1e-5)
}

fn composed_without_bias(a: &[Array]) -> Array {
    fast::composed::layer_norm(&a[0], &a[1], None, 1e-5)
}

fn mean_is_returned(a: &[Array]) -> Vec<Array> {
    let mean = a[0].mean(keepdims(-1));
    let normalized = (&a[0] - &mean) * (a[0].var(keepdims(-1)) + 1e-5).rsqrt();
    vec![scaled(normalized, a), mean]
}

fn centred_is_reused(a: &[Array]) -> Vec<Array> {
    let centred = &a[0] - a[0].mean(keepdims(-1));
    let variance = centred.square().mean(keepdims(-1));
    vec![scaled(&centred * (variance + 1e-5).rsqrt(), a) + centred]
}

fn variance_is_reused(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    let variance = x.var(keepdims(-1));
    vec![(x - x.mean(keepdims(-1))) * (&variance + 1e-5).rsqrt() + variance]
}

fn one_pass(a: &[Array]) -> Vec<Array> {
    let (x, mean) = (&a[0], a[0].mean(keepdims(-1)));
    let variance = x.square().mean(keepdims(-1)) - mean.square();
    vec![scaled((x - mean) * (variance + 1e-5).rsqrt(), a)]
}

fn one_pass_over_root(a: &[Array]) -> Vec<Array> {
    let (x, mean) = (&a[0], a[0].mean(keepdims(-1)));
    let variance = (x * x).mean(keepdims(-1)) - &mean * &mean;
    vec![scaled((x - mean) / (variance + 1e-5).sqrt(), a)]
}

fn unbiased(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    let normalized = (x - x.mean(keepdims(-1))) * (x.var(keepdims(-1).ddof(1)) + 1e-5).rsqrt();
    vec![scaled(normalized, a)]
}

fn first_axis(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![(x - x.mean(keepdims(0))) * (x.var(keepdims(0)) + 1e-5).rsqrt()]
}

fn two_axes(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![(x - x.mean(keepdims([1, 2]))) * (x.var(keepdims([1, 2])) + 1e-5).rsqrt()]
}

fn mean_over_another_axis(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![(x - x.mean(keepdims(0))) * (x.var(keepdims(1)) + 1e-5).rsqrt()]
}

fn variance_over_another_axis(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![(x - x.mean(keepdims(1))) * (x.var(keepdims(0)) + 1e-5).rsqrt()]
}

fn differences_from_another_mean(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    let other = x - x.mean(keepdims(0));
    let variance = other.square().mean(keepdims(-1));
    vec![(x - x.mean(keepdims(-1))) * (variance + 1e-5).rsqrt()]
}

fn statistics_in_half(a: &[Array]) -> Vec<Array> {
    vec![by_var(a)]
}

fn statistics_in_double(a: &[Array]) -> Vec<Array> {
    mlx::with_device(mlx::Device::Cpu, || vec![by_var(a)]).unwrap()
}

fn eps_outside(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    let root = x.var(keepdims(-1)).sqrt() + 1e-5;
    vec![scaled((x - x.mean(keepdims(-1))) / root, a)]
}

/// As in "The Annotated Transformer".
fn annotated_transformer(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    let (mean, std) = (x.mean(keepdims(-1)), x.std(keepdims(-1).ddof(1)));
    vec![&a[1] * (x - mean) / (std + 1e-6) + &a[2]]
}

fn eps_is_negative(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![(x - x.mean(keepdims(-1))) * (x.var(keepdims(-1)) - 1e-5).rsqrt()]
}

fn mean_of_another(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![(x - a[1].mean(keepdims(-1))) * (x.var(keepdims(-1)) + 1e-5).rsqrt()]
}

fn variance_of_another(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![(x - x.mean(keepdims(-1))) * (a[1].var(keepdims(-1)) + 1e-5).rsqrt()]
}

/// Statistics are inputs.
fn batch_norm(a: &[Array]) -> Vec<Array> {
    vec![(&a[0] - &a[1]) * (a[2].square() + 1e-5).rsqrt()]
}

fn mean_broadcast_over_columns(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![(x - x.mean(-1)) * (x.var(keepdims(-1)) + 1e-5).rsqrt()]
}

fn variance_broadcast_over_columns(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![(x - x.mean(keepdims(-1))) * (x.var(-1) + 1e-5).rsqrt()]
}

fn median(a: &[Array]) -> Vec<Array> {
    let x = &a[0];
    vec![(x - x.median(keepdims(-1))) * (x.var(keepdims(-1)) + 1e-5).rsqrt()]
}
