//! Cross entropy of class indices, as in `mlx.nn`, nanoGPT and JAX.

use mlx::Dtype::{Float16, Float32, Int32, Uint32};
use mlx::{Array, fast, keepdims};
use mlx_compiler::Fusion;

use crate::check::Type;

const ROWS: &[Type] = &[(&[6, 4], Float32), (&[6], Int32)];
const UNSIGNED: &[Type] = &[(&[6, 4], Float32), (&[6], Uint32)];
const TOKENS: &[Type] = &[(&[2, 3, 4], Float32), (&[2, 3], Int32)];
const HALF: &[Type] = &[(&[6, 4], Float16), (&[6], Int32)];
const SQUARE: &[Type] = &[(&[4, 4], Float32), (&[4], Int32)];

spellings! { Fusion::CrossEntropy, "fast.cross_entropy";
    mlx_nn(ROWS),
    of_unsigned(UNSIGNED),
    of_tokens(TOKENS),
    keeps_axis(ROWS),
    log_softmax(ROWS),
    log_softmax_of_tokens(TOKENS),
    log_softmax_times_minus_one(ROWS),
    log_softmax_written(ROWS),
    log_sum_exp_written(ROWS),
    mean_over_rows(ROWS),
    flattened(TOKENS),
    upcast(HALF),
    one_class(&[(&[6, 1], Float32), (&[1], Int32)]),
    negative_targets(ROWS),
    composed(ROWS),
    composed_of_unsigned(UNSIGNED),
    composed_of_tokens(TOKENS),
}

refusals! { Fusion::CrossEntropy;
    in_half(Dtype, HALF),
    first_axis(Axis, SQUARE),
    several_targets(Shape, &[(&[6, 4], Float32), (&[6, 2], Int32)]),
    one_target_for_all(Shape, &[(&[6, 4], Float32), (&[1, 1], Int32)]),
    log_softmax_is_returned(Output, ROWS),
    sum_is_returned(Output, ROWS),
    sum_is_reused(Reused, ROWS),
    log_of_softmax(Formula, ROWS),
    sum_without_max(Formula, ROWS),
}

others! { Fusion::CrossEntropy;
    log_likelihood(ROWS),
    of_another(&[(&[6, 4], Float32), (&[6], Int32), (&[6, 4], Float32)]),
    sum_over_all(ROWS),
    sum_over_rows(SQUARE),
    twice(ROWS),
}

fn taken(logits: &Array, targets: &Array) -> Array {
    logits
        .take_along_axis(&targets.expand_dims(-1), -1)
        .squeeze(-1)
}

fn mlx_nn(a: &[Array]) -> Array {
    a[0].logsumexp(-1) - taken(&a[0], &a[1])
}

fn of_unsigned(a: &[Array]) -> Array {
    mlx_nn(a)
}

fn of_tokens(a: &[Array]) -> Array {
    mlx_nn(a)
}

fn keeps_axis(a: &[Array]) -> Array {
    a[0].logsumexp(keepdims(-1)) - a[0].take_along_axis(&a[1].expand_dims(-1), -1)
}

fn log_softmax(a: &[Array]) -> Array {
    let log_softmax = &a[0] - a[0].logsumexp(keepdims(-1));
    -taken(&log_softmax, &a[1])
}

fn log_softmax_of_tokens(a: &[Array]) -> Array {
    log_softmax(a)
}

fn log_softmax_times_minus_one(a: &[Array]) -> Array {
    let log_softmax = &a[0] - a[0].logsumexp(keepdims(-1));
    -1.0 * taken(&log_softmax, &a[1])
}

/// `jax.nn.log_softmax`, then the negative of what is taken.
fn log_softmax_written(a: &[Array]) -> Array {
    let shifted = &a[0] - a[0].max(keepdims(-1)).stop_gradient();
    let log_softmax = &shifted - shifted.exp().sum(keepdims(-1)).log();
    -taken(&log_softmax, &a[1])
}

fn log_sum_exp_written(a: &[Array]) -> Array {
    let max = a[0].max(keepdims(-1));
    let sum = (&a[0] - &max).exp().sum(keepdims(-1));
    (max + sum.log()).squeeze(-1) - taken(&a[0], &a[1])
}

fn mean_over_rows(a: &[Array]) -> Array {
    mlx_nn(a).mean(())
}

fn flattened(a: &[Array]) -> Array {
    let logits = a[0].reshape([-1, 4]);
    (logits.logsumexp(-1) - taken(&logits, &a[1].reshape(-1))).mean(())
}

fn upcast(a: &[Array]) -> Array {
    let logits = a[0].astype(Float32);
    logits.logsumexp(-1) - taken(&logits, &a[1])
}

fn one_class(a: &[Array]) -> Array {
    let targets = mlx::zeros([6], Int32) * &a[1];
    mlx_nn(&[a[0].clone(), targets])
}

/// A target of -1 is the last class, as `take_along_axis` has it.
fn negative_targets(a: &[Array]) -> Array {
    a[0].logsumexp(-1) - taken(&a[0], &(&a[1] - 4))
}

fn composed(a: &[Array]) -> Array {
    fast::composed::cross_entropy(&a[0], &a[1])
}

fn composed_of_unsigned(a: &[Array]) -> Array {
    fast::composed::cross_entropy(&a[0], &a[1])
}

fn composed_of_tokens(a: &[Array]) -> Array {
    fast::composed::cross_entropy(&a[0], &a[1])
}

fn in_half(a: &[Array]) -> Vec<Array> {
    vec![mlx_nn(a)]
}

fn first_axis(a: &[Array]) -> Vec<Array> {
    let taken = a[0].take_along_axis(&a[1].expand_dims(0), 0).squeeze(0);
    vec![a[0].logsumexp(0) - taken]
}

fn several_targets(a: &[Array]) -> Vec<Array> {
    vec![a[0].logsumexp(keepdims(-1)) - a[0].take_along_axis(&a[1], -1)]
}

fn one_target_for_all(a: &[Array]) -> Vec<Array> {
    vec![a[0].logsumexp(keepdims(-1)) - a[0].take_along_axis(&a[1], -1)]
}

fn log_softmax_is_returned(a: &[Array]) -> Vec<Array> {
    let log_softmax = &a[0] - a[0].logsumexp(keepdims(-1));
    vec![-taken(&log_softmax, &a[1]), log_softmax]
}

fn sum_is_returned(a: &[Array]) -> Vec<Array> {
    let sum = a[0].logsumexp(-1);
    vec![&sum - taken(&a[0], &a[1]), sum]
}

/// With the z-loss of PaLM.
fn sum_is_reused(a: &[Array]) -> Vec<Array> {
    let sum = a[0].logsumexp(-1);
    vec![&sum - taken(&a[0], &a[1]) + 1e-4 * sum.square()]
}

fn log_of_softmax(a: &[Array]) -> Vec<Array> {
    vec![-taken(&a[0].softmax(-1).log(), &a[1])]
}

fn sum_without_max(a: &[Array]) -> Vec<Array> {
    vec![a[0].exp().sum(-1).log() - taken(&a[0], &a[1])]
}

fn log_likelihood(a: &[Array]) -> Vec<Array> {
    let log_softmax = &a[0] - a[0].logsumexp(keepdims(-1));
    vec![taken(&log_softmax, &a[1])]
}

fn of_another(a: &[Array]) -> Vec<Array> {
    vec![a[0].logsumexp(-1) - taken(&a[2], &a[1])]
}

fn sum_over_all(a: &[Array]) -> Vec<Array> {
    vec![a[0].logsumexp(()) - taken(&a[0], &a[1])]
}

fn sum_over_rows(a: &[Array]) -> Vec<Array> {
    vec![a[0].logsumexp(0) - taken(&a[0], &a[1])]
}

fn twice(a: &[Array]) -> Vec<Array> {
    let log_softmax = &a[0] - a[0].logsumexp(keepdims(-1));
    vec![-2.0 * taken(&log_softmax, &a[1])]
}
