//! Attention under masks: causal ones proven from the graph, truth values, numbers, and what each must not become.

use mlx::Dtype::{Bfloat16, Bool, Float16, Float32, Int32};
use mlx::fast::{AttentionMask, AttentionOptions};
use mlx::{Array, arange_with, iota, where_};
use mlx_compiler::{Fallback, Fusion};
use rstest::rstest;

use crate::check::{self, Formula, Type};

mod combined;
pub mod in_half;
use combined::*;

const QKV: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
];
const HALF: &[Type] = &[
    (&[2, 3, 4, 8], Float16),
    (&[2, 3, 4, 8], Float16),
    (&[2, 3, 4, 8], Float16),
];
const BRAIN: &[Type] = &[
    (&[2, 3, 4, 8], Bfloat16),
    (&[2, 3, 4, 8], Bfloat16),
    (&[2, 3, 4, 8], Bfloat16),
];
const CACHE: &[Type] = &[
    (&[2, 3, 2, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
];
/// Fewer keys than queries.
const SHORT: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 2, 8], Float32),
    (&[2, 3, 2, 8], Float32),
];
const ONE_QUERY: &[Type] = &[
    (&[2, 3, 1, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
];
const GROUPED: &[Type] = &[
    (&[2, 6, 4, 8], Float32),
    (&[2, 2, 4, 8], Float32),
    (&[2, 2, 4, 8], Float32),
];
const KEEP: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 1, 1, 4], Bool),
];
const KEEP_HALF: &[Type] = &[
    (&[2, 3, 4, 8], Float16),
    (&[2, 3, 4, 8], Float16),
    (&[2, 3, 4, 8], Float16),
    (&[2, 1, 1, 4], Bool),
];
const KEEP_BRAIN: &[Type] = &[
    (&[2, 3, 4, 8], Bfloat16),
    (&[2, 3, 4, 8], Bfloat16),
    (&[2, 3, 4, 8], Bfloat16),
    (&[2, 1, 1, 4], Bool),
];
const KEEP_GROUPED_HALF: &[Type] = &[
    (&[2, 6, 4, 8], Float16),
    (&[2, 2, 4, 8], Float16),
    (&[2, 2, 4, 8], Float16),
    (&[2, 1, 4, 4], Bool),
];
const KEEP_GROUPED: &[Type] = &[
    (&[2, 6, 4, 8], Float32),
    (&[2, 2, 4, 8], Float32),
    (&[2, 2, 4, 8], Float32),
    (&[2, 1, 4, 4], Bool),
];
const WHOLE: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 1, 1, 4], Int32),
];
const BIAS: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[3, 4, 4], Float32),
];
const BIAS_KEEP: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[3, 4, 4], Float32),
    (&[2, 1, 1, 4], Bool),
];
const WIDENING: &[Type] = &[
    (&[1, 3, 4, 8], Float32),
    (&[1, 3, 4, 8], Float32),
    (&[1, 3, 4, 8], Float32),
    (&[2, 1, 4, 4], Float32),
];
const BIAS_IN_HALF: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[3, 4, 4], Float16),
];

spellings! { Fusion::Attention, "fast.scaled_dot_product_attention";
    causal_by_tri(QKV),
    causal_by_tril(QKV),
    causal_by_triu(QKV),
    causal_by_arange(QKV),
    causal_by_positions(QKV),
    causal_nano_gpt(QKV),
    causal_added(QKV),
    causal_added_finite(QKV),
    causal_least_finite(QKV),
    causal_scaled_first(QKV),
    causal_in_half(HALF),
    causal_in_bfloat16(BRAIN),
    causal_captured(QKV),
    causal_of_cache(CACHE),
    causal_by_offset_positions(CACHE),
    causal_in_groups(GROUPED),
    causal_for_one_query(ONE_QUERY),
    nothing_hidden(QKV),
    zeros_added(QKV),
    causal_twice(QKV),
    window(QKV),
    window_added(QKV),
    padding(KEEP),
    padding_least_finite(KEEP),
    padding_by_masked_fill(KEEP),
    padding_in_half(KEEP_HALF),
    padding_and_causal(KEEP),
    padding_in_groups(KEEP_GROUPED),
    padding_with_five_axes(KEEP_GROUPED),
    padding_as_numbers(KEEP),
    padding_by_whole_numbers(WHOLE),
    padding_times_number(KEEP),
    bias(BIAS),
    bias_first(BIAS),
    number_added(QKV),
    one_truth_for_all(&[
        (&[2, 3, 4, 8], Float32),
        (&[2, 3, 4, 8], Float32),
        (&[2, 3, 4, 8], Float32),
        (&[], Bool),
    ]),
    keys_masked(&[
        (&[2, 3, 4, 8], Float32),
        (&[2, 3, 4, 8], Float32),
        (&[2, 3, 4, 8], Float32),
        (&[4], Bool),
    ]),
    bias_by_matmul(&[
        (&[2, 3, 4, 8], Float32),
        (&[2, 3, 4, 8], Float32),
        (&[2, 3, 4, 8], Float32),
        (&[8, 4], Float32),
    ]),
    three_axes_with_padding(&[
        (&[3, 4, 8], Float32),
        (&[3, 5, 8], Float32),
        (&[3, 5, 8], Float32),
        (&[3, 1, 5], Bool),
    ]),
    two_axes_with_padding(&[
        (&[4, 8], Float32),
        (&[5, 8], Float32),
        (&[5, 8], Float32),
        (&[5], Bool),
    ]),
    alibi(QKV),
    causal_top_left_of_cache(CACHE),
    causal_off_by_one(QKV),
    causal_upside_down(QKV),
    causal_of_few_keys(SHORT),
    bias_and_padding(BIAS_KEEP),
    bias_and_causal(BIAS),
    two_biases(BIAS),
    causal_and_padding(KEEP),
    causal_and_padding_least_finite(KEEP),
    causal_and_padding_in_half(KEEP_HALF),
    causal_and_padding_in_bfloat16(KEEP_BRAIN),
    alibi_and_causal(QKV),
    padding_added_and_causal(KEEP),
    scores_below_what_is_added(QKV),
    dead_rows_by_fill_in_half(KEEP_HALF),
    dead_rows_by_fill_in_groups_in_half(KEEP_GROUPED_HALF),
    dead_rows_added_in_half(KEEP_HALF),
    dead_rows_added_in_bfloat16(KEEP_BRAIN),
    dead_rows_added_less_in_bfloat16(KEEP_BRAIN),
    composed_causal(QKV),
    composed_window(QKV),
    composed_bool(KEEP),
    composed_additive(BIAS),
}

refusals! { Fusion::Attention;
    mask_scaled(Mask, BIAS),
    fill_too_small(Mask, KEEP),
    fill_is_zero(Mask, KEEP),
    low_fill(Mask, KEEP),
    low_fill_in_bfloat16(Mask, KEEP_BRAIN),
    causal_by_low_fill(Mask, QKV),
    scores_below_the_fill(Mask, QKV),
    masks_of_two_fills(Mask, KEEP),
    mask_widens(Shape, WIDENING),
    mask_differs_within_group(Shape, &[
        (&[2, 6, 4, 8], Float32),
        (&[2, 2, 4, 8], Float32),
        (&[2, 2, 4, 8], Float32),
        (&[2, 2, 3, 4, 4], Float32),
    ]),
    bias_in_another_dtype(Dtype, BIAS_IN_HALF),
    mask_from_scores(Reused, QKV),
}

others! { Fusion::Attention;
    soft_cap_and_causal(QKV),
    weights_masked(KEEP),
    scores_times_mask(KEEP),
}

/// What is told to the kernel: only a mask that hides just the keys behind the query is "causal".
#[rstest]
#[case::tri(causal_by_tri, QKV, "mask=\"causal\"")]
#[case::tril(causal_by_tril, QKV, "mask=\"causal\"")]
#[case::triu(causal_by_triu, QKV, "mask=\"causal\"")]
#[case::arange(causal_by_arange, QKV, "mask=\"causal\"")]
#[case::added(causal_added, QKV, "mask=\"causal\"")]
#[case::finite(causal_added_finite, QKV, "mask=\"array\"")]
#[case::least(causal_least_finite, QKV, "mask=\"causal\"")]
#[case::half(causal_in_half, HALF, "mask=\"causal\"")]
#[case::captured(causal_captured, QKV, "mask=\"causal\"")]
#[case::cache(causal_of_cache, CACHE, "mask=\"causal\"")]
#[case::offset(causal_by_offset_positions, CACHE, "mask=\"causal\"")]
#[case::groups(causal_in_groups, GROUPED, "mask=\"causal\"")]
#[case::twice(causal_twice, QKV, "mask=\"causal\"")]
#[case::composed(composed_causal, QKV, "mask=\"causal\"")]
#[case::one_query(causal_for_one_query, ONE_QUERY, "mask=\"\"")]
#[case::nothing_hidden(nothing_hidden, QKV, "mask=\"\"")]
#[case::zeros(zeros_added, QKV, "mask=\"\"")]
#[case::top_left(causal_top_left_of_cache, CACHE, "mask=\"array\"")]
#[case::off_by_one(causal_off_by_one, QKV, "mask=\"array\"")]
#[case::upside_down(causal_upside_down, QKV, "mask=\"array\"")]
#[case::few_keys(causal_of_few_keys, SHORT, "mask=\"array\"")]
#[case::window(window, QKV, "mask=\"array\"")]
#[case::padding(padding, KEEP, "mask=\"array\"")]
#[case::bias(bias, BIAS, "mask=\"array\"")]
fn mask_mode(#[case] formula: Formula, #[case] types: &[Type], #[case] mode: &str) {
    let inputs = check::inputs(types);
    let (_, text) = check::lower(|a| vec![formula(a)], &inputs, Fallback::Never);
    assert!(text.contains(mode), "{text}");
}

const SCALE: f32 = 0.353_553_4;

fn scores(a: &[Array]) -> Array {
    a[0].matmul(&a[1].swapaxes(-1, -2)) * SCALE
}

fn finish(scores: Array, a: &[Array]) -> Array {
    scores.softmax(-1).matmul(&a[2])
}

fn lengths(a: &[Array]) -> [i32; 2] {
    [a[0].dim(-2).unwrap(), a[1].dim(-2).unwrap()]
}

fn causal_by_tri(a: &[Array]) -> Array {
    let mask = mlx::tri_with(4, 4, 0, Bool);
    finish(where_(&mask, scores(a), f32::NEG_INFINITY), a)
}

fn causal_by_tril(a: &[Array]) -> Array {
    let mask = mlx::ones_with([4, 4], Bool).tril();
    finish(where_(&mask, scores(a), f32::NEG_INFINITY), a)
}

fn causal_by_triu(a: &[Array]) -> Array {
    let mask = mlx::full([4, 4], f32::NEG_INFINITY).triu_with(1);
    finish(scores(a) + mask, a)
}

fn causal_by_arange(a: &[Array]) -> Array {
    let rows = arange_with(0.0, 4.0, 1.0, Int32).expand_dims(1);
    let mask = rows.greater_equal(arange_with(0.0, 4.0, 1.0, Int32).expand_dims(0));
    finish(where_(&mask, scores(a), f32::MIN), a)
}

/// `create_additive_causal_mask` of `mlx.nn`.
fn causal_by_positions(a: &[Array]) -> Array {
    let indices = iota(4);
    let mask = indices.expand_dims(1).less(indices.expand_dims(0));
    finish(scores(a) + mask.astype(Float32) * -1e9, a)
}

fn causal_nano_gpt(a: &[Array]) -> Array {
    let bias = mlx::tri(8).reshape([1, 1, 8, 8]);
    let mask = bias.i((.., .., ..4, ..4)).equal(0);
    finish(where_(&mask, f32::NEG_INFINITY, scores(a)), a)
}

fn causal_added(a: &[Array]) -> Array {
    let mask = where_(&mlx::tri_with(4, 4, 0, Bool), 0.0, f32::NEG_INFINITY);
    finish(scores(a) + mask, a)
}

fn causal_added_finite(a: &[Array]) -> Array {
    let mask = (1.0 - mlx::tri(4)) * -1e9;
    finish(scores(a) + mask.reshape([1, 1, 4, 4]), a)
}

fn causal_least_finite(a: &[Array]) -> Array {
    let mask = mlx::tri_with(4, 4, 0, Bool);
    finish(where_(&mask, scores(a), f32::MIN), a)
}

fn causal_scaled_first(a: &[Array]) -> Array {
    let scores = (&a[0] * SCALE).matmul(&a[1].swapaxes(-1, -2));
    let mask = mlx::tri_with(4, 4, 0, Bool);
    finish(where_(&mask, scores, f32::NEG_INFINITY), a)
}

fn causal_in_half(a: &[Array]) -> Array {
    let mask = mlx::tri_with(4, 4, 0, Bool);
    finish(where_(&mask, scores(a), -65504.0), a)
}

fn causal_in_bfloat16(a: &[Array]) -> Array {
    let scores = scores(a).astype(Float32);
    let scores = where_(&mlx::tri_with(4, 4, 0, Bool), scores, f32::NEG_INFINITY);
    scores.softmax(-1).astype(Bfloat16).matmul(&a[2])
}

fn causal_captured(a: &[Array]) -> Array {
    let mask = mlx::array!([
        [true, false, false, false],
        [true, true, false, false],
        [true, true, true, false],
        [true, true, true, true],
    ]);
    finish(where_(&mask, scores(a), f32::NEG_INFINITY), a)
}

fn causal_of_cache(a: &[Array]) -> Array {
    let [queries, keys] = lengths(a);
    let mask = mlx::tri_with(queries, keys, keys - queries, Bool);
    finish(where_(&mask, scores(a), f32::NEG_INFINITY), a)
}

fn causal_by_offset_positions(a: &[Array]) -> Array {
    let [queries, keys] = lengths(a);
    let rows = iota(queries) + (keys - queries);
    let mask = rows.expand_dims(1).greater_equal(iota(keys).expand_dims(0));
    finish(where_(&mask, scores(a), f32::NEG_INFINITY), a)
}

fn causal_in_groups(a: &[Array]) -> Array {
    let q = a[0].reshape([2, 2, 3, 4, 8]);
    let (k, v) = (a[1].expand_dims(2), a[2].expand_dims(2));
    causal_by_tri(&[q, k, v]).reshape([2, 6, 4, 8])
}

fn causal_for_one_query(a: &[Array]) -> Array {
    causal_of_cache(a)
}

fn nothing_hidden(a: &[Array]) -> Array {
    let mask = mlx::ones_with([4, 4], Bool);
    finish(where_(&mask, scores(a), f32::NEG_INFINITY), a)
}

fn zeros_added(a: &[Array]) -> Array {
    finish(scores(a) + mlx::zeros([1, 1, 4, 4]), a)
}

fn causal_twice(a: &[Array]) -> Array {
    let mask = mlx::tri_with(4, 4, 0, Bool);
    let scores = where_(&mask, scores(a), f32::NEG_INFINITY);
    finish(
        scores + mlx::full([4, 4], f32::NEG_INFINITY).triu_with(1),
        a,
    )
}

fn near(a: &[Array]) -> Array {
    let [queries, keys] = lengths(a);
    let distance = iota(queries).expand_dims(1) - iota(keys).expand_dims(0);
    distance.greater_equal(0).logical_and(distance.less(2))
}

fn window(a: &[Array]) -> Array {
    finish(where_(&near(a), scores(a), f32::NEG_INFINITY), a)
}

fn window_added(a: &[Array]) -> Array {
    finish(scores(a) + where_(&near(a), 0.0, -1e9), a)
}

fn padding(a: &[Array]) -> Array {
    finish(where_(&a[3], scores(a), f32::NEG_INFINITY), a)
}

/// A row that sees nothing is the mean of all values.
fn padding_least_finite(a: &[Array]) -> Array {
    let keep = a[3].logical_and(mlx::array!([[[[true]]], [[[false]]]]));
    finish(where_(&keep, scores(a), f32::MIN), a)
}

fn padding_by_masked_fill(a: &[Array]) -> Array {
    finish(where_(&a[3].logical_not(), f32::MIN, scores(a)), a)
}

fn padding_in_half(a: &[Array]) -> Array {
    finish(where_(&a[3], scores(a), -65504.0), a)
}

fn padding_and_causal(a: &[Array]) -> Array {
    let keep = a[3].logical_and(mlx::tri_with(4, 4, 0, Bool));
    finish(where_(&keep, scores(a), f32::NEG_INFINITY), a)
}

fn padding_in_groups(a: &[Array]) -> Array {
    let (k, v) = (a[1].repeat(3, 1), a[2].repeat(3, 1));
    padding_by_masked_fill(&[a[0].clone(), k, v, a[3].clone()])
}

fn padding_with_five_axes(a: &[Array]) -> Array {
    let q = a[0].reshape([2, 2, 3, 4, 8]);
    let (k, v) = (a[1].expand_dims(2), a[2].expand_dims(2));
    padding_by_masked_fill(&[q, k, v, a[3].expand_dims(2)]).reshape([2, 6, 4, 8])
}

/// `extended_attention_mask` of Hugging Face.
fn padding_as_numbers(a: &[Array]) -> Array {
    let mask = (1.0 - a[3].astype(Float32)) * f32::MIN;
    finish(scores(a) + mask, a)
}

fn padding_by_whole_numbers(a: &[Array]) -> Array {
    finish(where_(&a[3], scores(a), f32::MIN), a)
}

fn padding_times_number(a: &[Array]) -> Array {
    finish(scores(a) + where_(&a[3], 0.0, -1e4), a)
}

fn bias(a: &[Array]) -> Array {
    finish(scores(a) + &a[3], a)
}

fn bias_first(a: &[Array]) -> Array {
    finish(&a[3] + scores(a), a)
}

fn number_added(a: &[Array]) -> Array {
    finish(scores(a) + 1.5, a)
}

fn one_truth_for_all(a: &[Array]) -> Array {
    finish(where_(&a[3], scores(a), f32::MIN), a)
}

fn keys_masked(a: &[Array]) -> Array {
    padding_by_masked_fill(a)
}

/// Relative positions as in T5 and ViT.
fn bias_by_matmul(a: &[Array]) -> Array {
    finish(a[0].matmul(&a[3]) + scores(a), a)
}

fn three_axes_with_padding(a: &[Array]) -> Array {
    padding_by_masked_fill(a)
}

fn two_axes_with_padding(a: &[Array]) -> Array {
    padding_by_masked_fill(a)
}

fn alibi(a: &[Array]) -> Array {
    let slopes = Array::scalar(2.0_f32)
        .power(-arange_with(1.0, 4.0, 1.0, Float32))
        .reshape([3, 1, 1]);
    let distance = iota(4).expand_dims(0) - iota(4).expand_dims(1);
    finish(scores(a) + slopes * distance.astype(Float32), a)
}

fn causal_top_left_of_cache(a: &[Array]) -> Array {
    let [queries, keys] = lengths(a);
    let mask = mlx::tri_with(queries, keys, 0, Bool);
    finish(where_(&mask, scores(a), f32::NEG_INFINITY), a)
}

fn causal_off_by_one(a: &[Array]) -> Array {
    let mask = mlx::tri_with(4, 4, 1, Bool);
    finish(where_(&mask, scores(a), f32::NEG_INFINITY), a)
}

fn causal_upside_down(a: &[Array]) -> Array {
    let mask = mlx::ones_with([4, 4], Bool).triu();
    finish(where_(&mask, scores(a), f32::NEG_INFINITY), a)
}

fn causal_of_few_keys(a: &[Array]) -> Array {
    causal_of_cache(a)
}

fn composed_with(mask: AttentionMask, a: &[Array]) -> Array {
    let options = AttentionOptions {
        mask,
        ..AttentionOptions::default()
    };
    mlx::fast::composed::scaled_dot_product_attention(&a[0], &a[1], &a[2], &options)
}

fn composed_causal(a: &[Array]) -> Array {
    composed_with(AttentionMask::causal(), a)
}

fn composed_window(a: &[Array]) -> Array {
    composed_with(AttentionMask::window(1, 0), a)
}

fn composed_bool(a: &[Array]) -> Array {
    composed_with(AttentionMask::bool(&a[3]), a)
}

fn composed_additive(a: &[Array]) -> Array {
    composed_with(AttentionMask::additive(&a[3]), a)
}

fn mask_scaled(a: &[Array]) -> Vec<Array> {
    let scores = a[0].matmul(&a[1].swapaxes(-1, -2));
    vec![finish((scores + &a[3]) * SCALE, a)]
}

fn fill_too_small(a: &[Array]) -> Vec<Array> {
    vec![finish(where_(&a[3], scores(a), -100.0), a)]
}

fn fill_is_zero(a: &[Array]) -> Vec<Array> {
    vec![finish(where_(&a[3], scores(a), 0.0), a)]
}

/// The mask has a batch, and nothing else does.
fn mask_widens(a: &[Array]) -> Vec<Array> {
    let scores = scores(a) + &a[3];
    vec![scores.softmax(-1).matmul(&a[2])]
}

fn mask_differs_within_group(a: &[Array]) -> Vec<Array> {
    let q = a[0].reshape([2, 2, 3, 4, 8]);
    let (k, v) = (a[1].expand_dims(2), a[2].expand_dims(2));
    vec![bias(&[q, k, v, a[3].clone()])]
}

fn bias_in_another_dtype(a: &[Array]) -> Vec<Array> {
    vec![bias(a)]
}

/// Only scores above the mean count.
fn mask_from_scores(a: &[Array]) -> Vec<Array> {
    let scores = scores(a);
    let keep = scores.greater_equal(scores.mean(mlx::keepdims(-1)));
    vec![finish(where_(&keep, scores, f32::NEG_INFINITY), a)]
}

fn soft_cap_and_causal(a: &[Array]) -> Vec<Array> {
    let scores = (scores(a) / 50.0).tanh() * 50.0;
    let mask = mlx::tri_with(4, 4, 0, Bool);
    vec![finish(where_(&mask, scores, f32::NEG_INFINITY), a)]
}

fn weights_masked(a: &[Array]) -> Vec<Array> {
    let weights = scores(a).softmax(-1);
    vec![where_(&a[3], weights, 0.0).matmul(&a[2])]
}

fn scores_times_mask(a: &[Array]) -> Vec<Array> {
    vec![finish(scores(a) * a[3].astype(Float32), a)]
}
