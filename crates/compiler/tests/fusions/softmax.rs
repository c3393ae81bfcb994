//! Softmax written out, over one axis or several.

use mlx::Dtype::{Bfloat16, Float16, Float32, Float64, Int32};
use mlx::{Array, keepdims};
use mlx_compiler::Fusion;

use crate::check::Type;

const X: &[Type] = &[(&[2, 3, 8], Float32)];
const SQUARE: &[Type] = &[(&[4, 4], Float32)];

spellings! { Fusion::Softmax, "= softmax";
    textbook(X),
    max_not_differentiated(X),
    expanded(X),
    reciprocal(X),
    inverse_sum(X),
    first_axis(X),
    first_axis_without_keeping(SQUARE),
    two_axes(X),
    all_axes(X),
    one_axis(&[(&[8], Float32)]),
    square_of_sides(SQUARE),
    half(&[(&[2, 8], Float16)]),
    brain(&[(&[2, 8], Bfloat16)]),
    double(&[(&[2, 8], Float64)]),
}

refusals! { Fusion::Softmax;
    without_max(Formula, X),
    mean_subtracted(Formula, X),
    max_of_another(Formula, &[(&[2, 8], Float32), (&[2, 8], Float32)]),
    max_over_another_axis(Axis, SQUARE),
    max_over_more_axes(Axis, X),
    exp_is_reused(Reused, X),
    exp_is_returned(Output, X),
    sum_is_returned(Output, X),
}

others! { Fusion::Softmax;
    sum_over_columns(SQUARE),
    max_over_columns(SQUARE),
    sum_of_another(&[(&[2, 8], Float32), (&[2, 8], Float32)]),
    mean_instead_of_sum(X),
    power_of_two(X),
    of_integers(&[(&[2, 8], Int32)]),
    plus_one(X),
}

fn textbook(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    &exp / exp.sum(keepdims(-1))
}

fn max_not_differentiated(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(keepdims(-1)).stop_gradient()).exp();
    &exp / exp.sum(keepdims(-1))
}

fn expanded(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(-1).expand_dims(-1)).exp();
    &exp / exp.sum(-1).expand_dims(-1)
}

fn reciprocal(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    &exp * exp.sum(keepdims(-1)).reciprocal()
}

fn inverse_sum(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    1.0 / exp.sum(keepdims(-1)) * &exp
}

fn first_axis(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(keepdims(0))).exp();
    &exp / exp.sum(keepdims(0))
}

fn first_axis_without_keeping(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(0)).exp();
    &exp / exp.sum(0)
}

fn two_axes(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(keepdims([1, 2]))).exp();
    &exp / exp.sum(keepdims([-1, -2]))
}

fn all_axes(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(())).exp();
    &exp / exp.sum(())
}

fn one_axis(a: &[Array]) -> Array {
    let exp = (&a[0] - a[0].max(-1)).exp();
    &exp / exp.sum(-1)
}

fn square_of_sides(a: &[Array]) -> Array {
    textbook(a)
}

fn half(a: &[Array]) -> Array {
    textbook(a)
}

fn brain(a: &[Array]) -> Array {
    textbook(a)
}

fn double(a: &[Array]) -> Array {
    mlx::with_device(mlx::Device::Cpu, || textbook(a)).unwrap()
}

fn without_max(a: &[Array]) -> Vec<Array> {
    let exp = a[0].exp();
    vec![&exp / exp.sum(keepdims(-1))]
}

fn mean_subtracted(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].mean(keepdims(-1))).exp();
    vec![&exp / exp.sum(keepdims(-1))]
}

fn max_of_another(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[1].max(keepdims(-1))).exp();
    vec![&exp / exp.sum(keepdims(-1))]
}

fn max_over_another_axis(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(keepdims(0))).exp();
    vec![&exp / exp.sum(keepdims(1))]
}

fn max_over_more_axes(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(())).exp();
    vec![&exp / exp.sum(keepdims(-1))]
}

fn exp_is_reused(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    vec![&exp / exp.sum(keepdims(-1)) + exp]
}

fn exp_is_returned(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    vec![&exp / exp.sum(keepdims(-1)), exp]
}

fn sum_is_returned(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    let sum = exp.sum(keepdims(-1));
    vec![exp / &sum, sum]
}

/// The sum of row `j` divides column `j`.
fn sum_over_columns(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    vec![&exp / exp.sum(-1)]
}

fn max_over_columns(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(-1)).exp();
    vec![&exp / exp.sum(keepdims(-1))]
}

fn sum_of_another(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    let other = (&a[1] - a[1].max(keepdims(-1))).exp();
    vec![exp / other.sum(keepdims(-1))]
}

fn mean_instead_of_sum(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    vec![&exp / exp.mean(keepdims(-1))]
}

fn power_of_two(a: &[Array]) -> Vec<Array> {
    let power = Array::scalar(2.0_f32).power(&a[0] - a[0].max(keepdims(-1)));
    vec![&power / power.sum(keepdims(-1))]
}

fn of_integers(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn plus_one(a: &[Array]) -> Vec<Array> {
    let exp = (&a[0] - a[0].max(keepdims(-1))).exp();
    vec![&exp / (exp.sum(keepdims(-1)) + 1.0)]
}
