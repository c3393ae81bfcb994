//! Formulas of attention under several masks, and of rows that see no key or only what is hidden by a finite fill.

use mlx::Dtype::{Bool, Float32};
use mlx::{Array, arange_with, iota, where_};

use super::{finish, scores};

pub(super) fn bias_and_padding(a: &[Array]) -> Array {
    finish(where_(&a[4], scores(a) + &a[3], f32::MIN), a)
}

pub(super) fn bias_and_causal(a: &[Array]) -> Array {
    let mask = mlx::tri_with(4, 4, 0, Bool);
    finish(where_(&mask, scores(a), f32::NEG_INFINITY) + &a[3], a)
}

pub(super) fn two_biases(a: &[Array]) -> Array {
    finish(scores(a) + &a[3] + a[3].square(), a)
}

pub(super) fn causal_and_padding(a: &[Array]) -> Array {
    let scores = where_(&mlx::tri_with(4, 4, 0, Bool), scores(a), f32::NEG_INFINITY);
    finish(where_(&a[3], scores, f32::NEG_INFINITY), a)
}

pub(super) fn causal_and_padding_by(fill: f32, a: &[Array]) -> Array {
    let scores = where_(&mlx::tri_with(4, 4, 0, Bool), scores(a), fill);
    let keep = a[3].logical_and(mlx::array!([[[[true]]], [[[false]]]]));
    finish(where_(&keep, scores, fill), a)
}

pub(super) fn causal_and_padding_least_finite(a: &[Array]) -> Array {
    causal_and_padding_by(f32::MIN, a)
}

pub(super) fn causal_and_padding_in_half(a: &[Array]) -> Array {
    causal_and_padding_by(-65504.0, a)
}

pub(super) fn causal_and_padding_in_bfloat16(a: &[Array]) -> Array {
    causal_and_padding_by(-3e38, a)
}

pub(super) fn distances(a: &[Array]) -> Array {
    let slopes = Array::scalar(2.0_f32)
        .power(-arange_with(1.0, 4.0, 1.0, Float32))
        .reshape([3, 1, 1]);
    let distance = iota(4).expand_dims(0) - iota(4).expand_dims(1);
    (slopes * distance.astype(Float32)).astype(a[0].dtype().unwrap())
}

pub(super) fn alibi_and_causal(a: &[Array]) -> Array {
    let mask = mlx::full([4, 4], f32::NEG_INFINITY).triu_with(1);
    finish(scores(a) + distances(a) + mask, a)
}

pub(super) fn padding_added_and_causal(a: &[Array]) -> Array {
    let padding = (1.0 - a[3].astype(Float32)) * -1e9;
    let mask = mlx::tri_with(4, 4, 0, Bool);
    finish(where_(&mask, scores(a) + padding, f32::NEG_INFINITY), a)
}

/// Scores of -1e10: what is hidden by -1e9 is seen best.
pub(super) fn scores_below(a: &[Array]) -> Array {
    scores(&[a[0].abs() + 1e5, -(a[1].abs() + 1e5), a[2].clone()])
}

pub(super) fn scores_below_what_is_added(a: &[Array]) -> Array {
    let mask = (1.0 - mlx::tri(4)) * -1e9;
    finish(scores_below(a) + mask, a)
}

pub(super) fn scores_below_the_fill(a: &[Array]) -> Vec<Array> {
    let mask = mlx::tri_with(4, 4, 0, Bool);
    vec![finish(where_(&mask, scores_below(a), -1e9), a)]
}

/// No key is seen by the second half of the batch.
pub(super) fn half_seen(a: &[Array]) -> Array {
    a[3].logical_and(mlx::array!([[[[true]]], [[[false]]]]))
}

pub(super) fn dead_rows_by_fill_in_half(a: &[Array]) -> Array {
    finish(where_(&half_seen(a), scores(a), -65504.0), a)
}

pub(super) fn dead_rows_by_fill_in_groups_in_half(a: &[Array]) -> Array {
    let (k, v) = (a[1].repeat(3, 1), a[2].repeat(3, 1));
    dead_rows_by_fill_in_half(&[a[0].clone(), k, v, a[3].clone()])
}

pub(super) fn dead_rows_added(least: f32, a: &[Array]) -> Array {
    let mask = where_(&half_seen(a), 0.0, least).astype(a[0].dtype().unwrap());
    finish(scores(a) + mask, a)
}

pub(super) fn dead_rows_added_in_half(a: &[Array]) -> Array {
    dead_rows_added(-65504.0, a)
}

pub(super) fn dead_rows_added_in_bfloat16(a: &[Array]) -> Array {
    dead_rows_added(-3e38, a)
}

pub(super) fn dead_rows_added_less_in_bfloat16(a: &[Array]) -> Array {
    dead_rows_added(-1e9, a)
}

pub(super) fn low_fill(a: &[Array]) -> Vec<Array> {
    vec![finish(where_(&a[3], scores(a), -1e9), a)]
}

pub(super) fn low_fill_in_bfloat16(a: &[Array]) -> Vec<Array> {
    low_fill(a)
}

pub(super) fn causal_by_low_fill(a: &[Array]) -> Vec<Array> {
    let mask = mlx::tri_with(4, 4, 0, Bool);
    vec![finish(where_(&mask, scores(a), -1e9), a)]
}

pub(super) fn masks_of_two_fills(a: &[Array]) -> Vec<Array> {
    let scores = where_(&mlx::tri_with(4, 4, 0, Bool), scores(a), f32::MIN);
    vec![finish(where_(&a[3], scores, -3e38), a)]
}
