//! Cross entropy of class indices, as in `mlx.nn`, nanoGPT and JAX.

use mlx::Dtype::{Float16, Float32, Int32, Uint32};
use mlx::{Array, fast, iota, keepdims};
use mlx_compiler::{Fallback, Fusion};

use crate::check::{self, Type};

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
    log_likelihood(ROWS),
    negative_mean(ROWS),
    negative_mean_of_tokens(TOKENS),
    negative_sum_under_mask(&[(&[6, 4], Float32), (&[6], Int32), (&[6], Float32)]),
    twice(ROWS),
    indexed(ROWS),
    indexed_likelihood(ROWS),
    indexed_likelihood_of_tokens(TOKENS),
    likelihood_by_difference(ROWS),
    likelihood_by_difference_of_tokens(TOKENS),
    indexed_by_difference(ROWS),
    optax(ROWS),
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
    one_hot(Formula, ROWS),
    one_hot_over_all(Formula, ROWS),
    one_hot_of_logits(Formula, ROWS),
    smoothed(Reused, ROWS),
    negative_mean_in_half(Dtype, HALF),
    sum_without_max(Formula, ROWS),
}

others! { Fusion::CrossEntropy;
    of_another(&[(&[6, 4], Float32), (&[6], Int32), (&[6, 4], Float32)]),
    sum_over_all(ROWS),
    indexed_in_another_order(SQUARE),
    sum_over_rows(SQUARE),
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
    let targets = mlx::zeros_with([6], Int32) * &a[1];
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

fn log_softmax_of(a: &[Array]) -> Array {
    &a[0] - a[0].logsumexp(keepdims(-1))
}

/// The negative of the loss.
fn log_likelihood(a: &[Array]) -> Array {
    taken(&log_softmax_of(a), &a[1]) * 1.0
}

fn negative_mean(a: &[Array]) -> Array {
    -taken(&log_softmax_of(a), &a[1]).mean(())
}

fn negative_mean_of_tokens(a: &[Array]) -> Array {
    negative_mean(a)
}

fn negative_sum_under_mask(a: &[Array]) -> Array {
    -(taken(&log_softmax_of(a), &a[1]) * &a[2]).sum(()) / 3.0
}

fn indexed(a: &[Array]) -> Array {
    a[0].logsumexp(-1) - a[0].i((&iota(6), &a[1]))
}

fn indexed_likelihood(a: &[Array]) -> Array {
    -log_softmax_of(a).i((&iota(6), &a[1])).mean(())
}

fn indexed_likelihood_of_tokens(a: &[Array]) -> Array {
    let (batch, step) = (iota(2).expand_dims(-1), iota(3).expand_dims(0));
    -log_softmax_of(a).i((&batch, &step, &a[1])).mean(())
}

fn indexed_in_another_order(a: &[Array]) -> Vec<Array> {
    vec![
        -log_softmax_of(a)
            .i((&mlx::array!([0, 2, 1, 3]), &a[1]))
            .mean(()),
    ]
}

fn one_hot(a: &[Array]) -> Vec<Array> {
    let targets = a[1].expand_dims(-1).equal(iota(4)).astype(Float32);
    vec![-(targets * log_softmax_of(a)).sum(-1).mean(())]
}

fn one_hot_over_all(a: &[Array]) -> Vec<Array> {
    let targets = a[1].expand_dims(-1).equal(iota(4)).astype(Float32);
    vec![-(targets * log_softmax_of(a)).sum(()) / 6.0]
}

fn one_hot_of_logits(a: &[Array]) -> Vec<Array> {
    let targets = a[1].expand_dims(-1).equal(iota(4)).astype(Float32);
    vec![(a[0].logsumexp(-1) - (targets * &a[0]).sum(-1)).mean(())]
}

/// With label smoothing, which needs all of the logarithms.
fn smoothed(a: &[Array]) -> Vec<Array> {
    let log_softmax = log_softmax_of(a);
    let loss = -taken(&log_softmax, &a[1]);
    vec![0.9 * loss - 0.1 * log_softmax.mean(-1)]
}

fn likelihood_by_difference(a: &[Array]) -> Array {
    -(taken(&a[0], &a[1]) - a[0].logsumexp(-1)).mean(())
}

fn likelihood_by_difference_of_tokens(a: &[Array]) -> Array {
    likelihood_by_difference(a)
}

fn indexed_by_difference(a: &[Array]) -> Array {
    (a[0].i((&iota(6), &a[1])) - a[0].logsumexp(-1)).sum(()) / -6.0
}

/// `softmax_cross_entropy_with_integer_labels`.
fn optax(a: &[Array]) -> Array {
    let logits = &a[0] - a[0].max(keepdims(-1)).stop_gradient();
    let label = taken(&logits, &a[1]);
    logits.exp().sum(-1).log() - label
}

fn negative_mean_in_half(a: &[Array]) -> Vec<Array> {
    vec![negative_mean(a)]
}

/// Of two large logits the loss is ln 2, of a target of 2^32 an error, as without compiling.
#[test]
fn large_logits_and_large_targets() {
    let written = |a: &[Array]| {
        let shifted = &a[0] - a[0].max(keepdims(-1));
        let log_softmax = &shifted - shifted.exp().sum(keepdims(-1)).log();
        vec![-taken(&log_softmax, &a[1])]
    };
    let logits = mlx::array!([[1e8_f32, 1e8], [1e30, 1e30]]);
    let inputs = [logits, mlx::array!([0, 1])];
    for fallback in [Fallback::Never, Fallback::Always] {
        let loss = check::compiled(&written, &inputs, fallback);
        for value in loss[0].to_vec::<f32>().unwrap() {
            assert!(
                (f64::from(value) - std::f64::consts::LN_2).abs() < 1e-6,
                "{value}"
            );
        }
    }
    mlx_testdata::needs!(ErrorsOfValues);
    for target in [1_i64 << 32, -(1_i64 << 32), 3, -3] {
        let target = Array::from_slice(&[target], [1]).unwrap();
        let function =
            mlx_compiler::jit(|x: &Array, target: &Array| mlx_nn(&[x.clone(), target.clone()]));
        let got = function
            .call((&mlx::array!([[1.0, 2.0]]), &target))
            .unwrap();
        let text = got.to_vec::<f32>().unwrap_err().to_string();
        assert!(text.contains("out of range"), "{text}");
    }
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

fn twice(a: &[Array]) -> Array {
    -2.0 * taken(&log_softmax_of(a), &a[1])
}
