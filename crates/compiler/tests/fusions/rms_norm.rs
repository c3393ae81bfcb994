//! RMS normalization in the spellings of Llama, Gemma, T5, `mlx-lm`, and of papers.

use mlx::Dtype::{Bfloat16, Float16, Float32, Float64};
use mlx::{Array, array, fast, keepdims};
use mlx_compiler::Fusion;

use crate::check::{self, Type};

const X: &[Type] = &[(&[2, 3, 8], Float32)];
const XW: &[Type] = &[(&[2, 3, 8], Float32), (&[8], Float32)];
const SQUARE: &[Type] = &[(&[8, 8], Float32), (&[8], Float32)];
const HALF: &[Type] = &[(&[2, 3, 8], Float16), (&[8], Float16)];
const BRAIN: &[Type] = &[(&[2, 3, 8], Bfloat16), (&[8], Bfloat16)];
const HALF_BESIDE_FULL: &[Type] = &[(&[2, 3, 8], Float16), (&[8], Float32)];

spellings! { Fusion::RmsNorm, "fast.rms_norm";
    mean_of_square(XW),
    mean_of_power(XW),
    mean_of_product(XW),
    sum_over_dim(XW),
    sum_times_inverse_dim(XW),
    one_over_sqrt(XW),
    power_minus_half(XW),
    divided_by_sqrt(XW),
    divided_by_power(XW),
    weight_first(XW),
    eps_first(XW),
    without_eps(XW),
    without_weight(X),
    expanded(XW),
    indexed(XW),
    square_of_sides(SQUARE),
    one_axis(&[(&[8], Float32), (&[8], Float32)]),
    one_axis_without_keeping(&[(&[8], Float32), (&[8], Float32)]),
    weight_plus_one(XW),
    weight_from_x(X),
    large_eps(XW),
    weight_of_all_axes(&[(&[2, 3, 8], Float32), (&[1, 1, 8], Float32)]),
    weight_captured(X),
    llama(HALF),
    llama_in_bfloat16(BRAIN),
    llama_in_float32(XW),
    gemma(HALF),
    gemma_in_bfloat16(BRAIN),
    weight_before_cast(HALF_BESIDE_FULL),
    stays_wide(HALF_BESIDE_FULL),
    upcast_without_weight(&[(&[2, 3, 8], Float16)]),
    t5(HALF),
    t5_in_bfloat16(BRAIN),
    t5_beside_full_weight(HALF_BESIDE_FULL),
    t5_stays_wide(&[(&[2, 3, 8], Float16)]),
    flax(XW),
    flax_in_half(HALF),
    flax_in_bfloat16(BRAIN),
    weight_on_input(XW),
    weight_by_broadcast_to(XW),
    composed(XW),
    composed_in_half(HALF),
    composed_without_weight(X),
}

refusals! { Fusion::RmsNorm;
    mean_is_returned(Output, XW),
    normalized_is_returned(Output, XW),
    scale_is_reused(Reused, XW),
    square_is_reused(Reused, XW),
    weight_depends_on_scale(Reused, X),
    first_axis(Axis, SQUARE),
    both_axes(Axis, XW),
    statistics_in_half(Dtype, HALF),
    statistics_in_bfloat16(Dtype, BRAIN),
    scale_rounded_before_product(Dtype, HALF),
    statistics_in_double(Dtype, &[(&[2, 3, 8], Float64), (&[8], Float64)]),
    eps_outside(Eps, XW),
    eps_outside_of_inverse(Eps, XW),
    eps_is_negative(Eps, XW),
}

others! { Fusion::RmsNorm;
    mean_of_another(&[(&[2, 3, 8], Float32), (&[2, 3, 8], Float32)]),
    mean_of_cube(XW),
    mean_of_abs(XW),
    sum_without_division(XW),
    sum_over_another_number(XW),
    mean_broadcast_over_columns(SQUARE),
    eps_varies(&[(&[2, 3, 8], Float32), (&[2, 3, 1], Float32)]),
    root_of_root(XW),
    l2_norm(XW),
    negated_root(XW),
}

fn mean_of_square(a: &[Array]) -> Array {
    &a[0] * (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt() * &a[1]
}

fn mean_of_power(a: &[Array]) -> Array {
    &a[0] * (a[0].power(2.0).mean(keepdims(-1)) + 1e-5).rsqrt() * &a[1]
}

fn mean_of_product(a: &[Array]) -> Array {
    &a[0] * ((&a[0] * &a[0]).mean(keepdims(-1)) + 1e-5).rsqrt() * &a[1]
}

fn sum_over_dim(a: &[Array]) -> Array {
    let dim = a[0].dim(-1).unwrap();
    &a[0] * (a[0].square().sum(keepdims(-1)) / dim + 1e-5).rsqrt() * &a[1]
}

fn sum_times_inverse_dim(a: &[Array]) -> Array {
    &a[0] * (a[0].square().sum(keepdims(-1)) * 0.125 + 1e-5).rsqrt() * &a[1]
}

fn one_over_sqrt(a: &[Array]) -> Array {
    &a[0] * (1.0 / (a[0].square().mean(keepdims(-1)) + 1e-5).sqrt()) * &a[1]
}

fn power_minus_half(a: &[Array]) -> Array {
    &a[0] * (a[0].square().mean(keepdims(-1)) + 1e-5).power(-0.5) * &a[1]
}

fn divided_by_sqrt(a: &[Array]) -> Array {
    &a[0] / (a[0].square().mean(keepdims(-1)) + 1e-5).sqrt() * &a[1]
}

fn divided_by_power(a: &[Array]) -> Array {
    &a[0] / (a[0].square().mean(keepdims(-1)) + 1e-5).power(0.5) * &a[1]
}

fn weight_first(a: &[Array]) -> Array {
    &a[1] * ((a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt() * &a[0])
}

fn eps_first(a: &[Array]) -> Array {
    &a[0] * (1e-5 + a[0].square().mean(keepdims(-1))).rsqrt() * &a[1]
}

fn without_eps(a: &[Array]) -> Array {
    &a[0] * a[0].square().mean(keepdims(-1)).rsqrt() * &a[1]
}

fn without_weight(a: &[Array]) -> Array {
    &a[0] * (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt()
}

fn expanded(a: &[Array]) -> Array {
    &a[0] * (a[0].square().mean(-1).expand_dims(-1) + 1e-5).rsqrt() * &a[1]
}

fn indexed(a: &[Array]) -> Array {
    let scale = (a[0].square().mean(-1) + 1e-5).rsqrt();
    &a[0] * scale.reshape([2, 3, 1]) * &a[1]
}

fn square_of_sides(a: &[Array]) -> Array {
    mean_of_square(a)
}

fn one_axis(a: &[Array]) -> Array {
    mean_of_square(a)
}

fn one_axis_without_keeping(a: &[Array]) -> Array {
    &a[0] * (a[0].square().mean(-1) + 1e-5).rsqrt() * &a[1]
}

fn weight_plus_one(a: &[Array]) -> Array {
    &a[0] * (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt() * (1.0 + &a[1])
}

fn weight_from_x(a: &[Array]) -> Array {
    without_weight(a) * a[0].mean([0, 1])
}

#[test]
fn no_rows_stay_none() {
    let inputs = check::inputs(&[(&[0, 8], Float32), (&[8], Float32)]);
    check::agree(&|a| vec![mean_of_square(a)], &inputs);
}

fn large_eps(a: &[Array]) -> Array {
    &a[0] * (a[0].square().mean(keepdims(-1)) + 3).rsqrt() * &a[1]
}

fn weight_of_all_axes(a: &[Array]) -> Array {
    mean_of_square(a)
}

fn weight_captured(a: &[Array]) -> Array {
    let weight = array!([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    without_weight(a) * weight
}

/// `LlamaRMSNorm`: cast back, then the weight.
fn llama(a: &[Array]) -> Array {
    let wide = a[0].astype(Float32);
    let variance = wide.power(2.0).mean(keepdims(-1));
    let normalized = &wide * (variance + 1e-6).rsqrt();
    &a[1] * normalized.astype(a[0].dtype().unwrap())
}

fn llama_in_bfloat16(a: &[Array]) -> Array {
    llama(a)
}

fn llama_in_float32(a: &[Array]) -> Array {
    llama(a)
}

/// `GemmaRMSNorm`: the weight plus one, in `float32`, then the cast back.
fn gemma(a: &[Array]) -> Array {
    let wide = a[0].astype(Float32);
    let normalized = &wide * (wide.square().mean(keepdims(-1)) + 1e-6).rsqrt();
    (normalized * (1.0 + a[1].astype(Float32))).astype(a[0].dtype().unwrap())
}

fn gemma_in_bfloat16(a: &[Array]) -> Array {
    gemma(a)
}

fn weight_before_cast(a: &[Array]) -> Array {
    let wide = a[0].astype(Float32);
    let normalized = &wide / (wide.square().mean(keepdims(-1)) + 1e-6).sqrt();
    (normalized * &a[1]).astype(Float16)
}

fn stays_wide(a: &[Array]) -> Array {
    let wide = a[0].astype(Float32);
    &wide * (wide.square().mean(keepdims(-1)) + 1e-6).rsqrt() * &a[1]
}

fn upcast_without_weight(a: &[Array]) -> Array {
    let wide = a[0].astype(Float32);
    (&wide * (wide.square().mean(keepdims(-1)) + 1e-6).rsqrt()).astype(Float16)
}

fn composed(a: &[Array]) -> Array {
    fast::composed::rms_norm(&a[0], &a[1], 1e-5)
}

/// What is normalized stands beside the root in half precision, and the product is `float32`.
fn wide_scale(a: &[Array]) -> Array {
    (a[0].astype(Float32).power(2.0).mean(keepdims(-1)) + 1e-6).rsqrt()
}

fn t5(a: &[Array]) -> Array {
    let normalized = &a[0] * wide_scale(a);
    &a[1] * normalized.astype(a[1].dtype().unwrap())
}

fn t5_in_bfloat16(a: &[Array]) -> Array {
    t5(a)
}

fn t5_beside_full_weight(a: &[Array]) -> Array {
    t5(a)
}

fn t5_stays_wide(a: &[Array]) -> Array {
    &a[0] * wide_scale(a)
}

fn flax(a: &[Array]) -> Array {
    let scale = wide_scale(a) * &a[1];
    (&a[0] * scale).astype(a[0].dtype().unwrap())
}

fn flax_in_half(a: &[Array]) -> Array {
    flax(a)
}

fn flax_in_bfloat16(a: &[Array]) -> Array {
    flax(a)
}

fn weight_on_input(a: &[Array]) -> Array {
    &a[1] * &a[0] * (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt()
}

fn weight_by_broadcast_to(a: &[Array]) -> Array {
    let normalized = &a[0] * (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt();
    normalized * a[1].broadcast_to([2, 3, 8])
}

fn composed_in_half(a: &[Array]) -> Array {
    fast::composed::rms_norm(&a[0], &a[1], 1e-5)
}

fn composed_without_weight(a: &[Array]) -> Array {
    fast::composed::rms_norm(&a[0], None, 1e-5)
}

fn mean_is_returned(a: &[Array]) -> Vec<Array> {
    let mean = a[0].square().mean(keepdims(-1));
    vec![&a[0] * (&mean + 1e-5).rsqrt() * &a[1], mean]
}

fn normalized_is_returned(a: &[Array]) -> Vec<Array> {
    let scale = (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt();
    vec![&a[0] * &scale, scale]
}

fn scale_is_reused(a: &[Array]) -> Vec<Array> {
    let scale = (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt();
    vec![&a[0] * &scale * &a[1] + scale.exp()]
}

fn square_is_reused(a: &[Array]) -> Vec<Array> {
    let square = a[0].square();
    vec![&a[0] * (square.mean(keepdims(-1)) + 1e-5).rsqrt() + square]
}

fn weight_depends_on_scale(a: &[Array]) -> Vec<Array> {
    let scale = (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt();
    let weight = (&a[0] * scale.exp()).i((0, 0));
    vec![&a[0] * scale * weight]
}

fn first_axis(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].square().mean(keepdims(0)) + 1e-5).rsqrt() * &a[1]]
}

fn both_axes(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].square().mean(keepdims([1, 2])) + 1e-5).rsqrt() * &a[1]]
}

fn statistics_in_half(a: &[Array]) -> Vec<Array> {
    vec![mean_of_square(a)]
}

fn statistics_in_bfloat16(a: &[Array]) -> Vec<Array> {
    vec![mean_of_square(a)]
}

fn scale_rounded_before_product(a: &[Array]) -> Vec<Array> {
    let wide = a[0].astype(Float32);
    let scale = (wide.square().mean(keepdims(-1)) + 1e-5).rsqrt();
    vec![&a[0] * scale.astype(Float16) * &a[1]]
}

fn statistics_in_double(a: &[Array]) -> Vec<Array> {
    mlx::with_device(mlx::Device::Cpu, || vec![mean_of_square(a)]).unwrap()
}

fn eps_outside(a: &[Array]) -> Vec<Array> {
    vec![&a[0] / (a[0].square().mean(keepdims(-1)).sqrt() + 1e-5) * &a[1]]
}

fn eps_outside_of_inverse(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (1.0 / (a[0].square().mean(keepdims(-1)).sqrt() + 1e-5)) * &a[1]]
}

fn eps_is_negative(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].square().mean(keepdims(-1)) - 1e-5).rsqrt() * &a[1]]
}

fn mean_of_another(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[1].square().mean(keepdims(-1)) + 1e-5).rsqrt()]
}

fn mean_of_cube(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].power(3.0).mean(keepdims(-1)) + 9.0).rsqrt() * &a[1]]
}

fn mean_of_abs(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].abs().mean(keepdims(-1)) + 1e-5).rsqrt() * &a[1]]
}

fn sum_without_division(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].square().sum(keepdims(-1)) + 1e-5).rsqrt() * &a[1]]
}

fn sum_over_another_number(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].square().sum(keepdims(-1)) / 7 + 1e-5).rsqrt() * &a[1]]
}

/// The mean of row `j` scales column `j`.
fn mean_broadcast_over_columns(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].square().mean(-1) + 1e-5).rsqrt() * &a[1]]
}

fn eps_varies(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].square().mean(keepdims(-1)) + a[1].square()).rsqrt()]
}

fn root_of_root(a: &[Array]) -> Vec<Array> {
    vec![&a[0] * (a[0].square().mean(keepdims(-1)) + 1e-5).sqrt().rsqrt()]
}

fn l2_norm(a: &[Array]) -> Vec<Array> {
    vec![&a[0] / a[0].square().sum(keepdims(-1)).sqrt()]
}

/// Divided by the root, less the square of the root: not a product at all.
fn negated_root(a: &[Array]) -> Vec<Array> {
    vec![&a[0] - (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt()]
}
