//! Attention as in `mlx-lm`, Hugging Face's transformers, nanoGPT, Whisper and of papers: layouts, scales, softmax.

use mlx::Dtype::{Bfloat16, Float16, Float32, Float64};
use mlx::{Array, Dtype, keepdims, random};
use mlx_compiler::Fusion;

use crate::check::Type;

const QKV: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
];
/// More keys than queries, values of another width.
const CACHE: &[Type] = &[
    (&[2, 3, 2, 8], Float32),
    (&[2, 3, 5, 8], Float32),
    (&[2, 3, 5, 6], Float32),
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
const GROUPED: &[Type] = &[
    (&[2, 6, 4, 8], Float32),
    (&[2, 2, 4, 8], Float32),
    (&[2, 2, 4, 8], Float32),
];
/// `[batch, seq, heads, dim]`, as projections give it.
const BSHD: &[Type] = &[
    (&[2, 4, 3, 8], Float32),
    (&[2, 4, 3, 8], Float32),
    (&[2, 4, 3, 8], Float32),
];
const BSHD_GROUPED: &[Type] = &[
    (&[2, 4, 6, 8], Float32),
    (&[2, 4, 2, 8], Float32),
    (&[2, 4, 2, 8], Float32),
];
const THREE: &[Type] = &[
    (&[3, 4, 8], Float32),
    (&[3, 5, 8], Float32),
    (&[3, 5, 8], Float32),
];
const TWO: &[Type] = &[(&[4, 8], Float32), (&[5, 8], Float32), (&[5, 8], Float32)];
const SQUARE: &[Type] = &[
    (&[1, 1, 8, 8], Float32),
    (&[1, 1, 8, 8], Float32),
    (&[1, 1, 8, 8], Float32),
];
const DOUBLE: &[Type] = &[
    (&[2, 3, 4, 8], Float64),
    (&[2, 3, 4, 8], Float64),
    (&[2, 3, 4, 8], Float64),
];
const MIXED: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float16),
];

spellings! { Fusion::Attention, "fast.scaled_dot_product_attention";
    textbook(QKV),
    scale_on_scores(QKV),
    scale_on_queries(QKV),
    scale_on_keys(QKV),
    scale_on_transposed_keys(QKV),
    scale_on_both(QKV),
    scale_by_sqrt_of_dim(QKV),
    negative_scale(QKV),
    without_scale(QKV),
    of_cache(CACHE),
    one_query(&[(&[2, 3, 1, 8], Float32), (&[2, 3, 5, 8], Float32), (&[2, 3, 5, 8], Float32)]),
    softmax_written(QKV),
    softmax_with_reciprocal(QKV),
    precise_softmax(QKV),
    in_half(HALF),
    in_bfloat16(BRAIN),
    softmax_in_float32(HALF),
    softmax_in_float32_of_bfloat16(BRAIN),
    product_in_float32(HALF),
    from_seq_heads(BSHD),
    keys_transposed_once(BSHD),
    nano_gpt(&[(&[2, 4, 24], Float32), (&[24, 72], Float32)]),
    three_axes(THREE),
    two_axes(TWO),
    square_of_sides(SQUARE),
    grouped_by_repeat(GROUPED),
    grouped_by_repeat_of_seq_heads(BSHD_GROUPED),
    repeat_kv(GROUPED),
    grouped_with_five_axes(GROUPED),
    one_head_for_all(&[(&[2, 6, 4, 8], Float32), (&[2, 1, 4, 8], Float32), (&[2, 1, 4, 8], Float32)]),
    heads_in_other_order(GROUPED),
    keys_repeated_for_both(&[(&[2, 6, 4, 8], Float32), (&[2, 2, 4, 8], Float32)]),
    values_are_keys(&[(&[2, 3, 4, 8], Float32), (&[2, 3, 5, 8], Float32)]),
    all_the_same(&[(&[2, 3, 4, 8], Float32)]),
    scaled_all_the_same(&[(&[2, 3, 4, 8], Float32)]),
    dropout_at_inference(QKV),
    wide_values(&[(&[1, 2, 3, 8], Float32), (&[1, 2, 4, 8], Float32), (&[1, 2, 4, 16], Float32)]),
    composed(QKV),
    composed_of_groups(GROUPED),
    composed_in_half(HALF),
}

refusals! { Fusion::Attention;
    weights_are_returned(Output, QKV),
    scores_are_returned(Output, QKV),
    weights_are_reused(Reused, QKV),
    scores_are_reused(Reused, QKV),
    softmax_over_queries(Axis, QKV),
    softmax_over_all(Axis, QKV),
    dropout(Dropout, QKV),
    dropout_by_selection(Dropout, QKV),
    in_double(Dtype, DOUBLE),
    mixed_dtypes(Dtype, MIXED),
    weights_rounded(Dtype, QKV),
    scores_rounded(Dtype, QKV),
    soft_cap(Formula, QKV),
    weights_scaled(Formula, QKV),
    weights_times_head_mask(Formula, QKV),
    one_batch_of_keys(Shape, &[(&[2, 3, 4, 8], Float32), (&[1, 3, 4, 8], Float32), (&[1, 3, 4, 8], Float32)]),
    one_matrix_of_values(Shape, &[(&[2, 3, 4, 8], Float32), (&[2, 3, 4, 8], Float32), (&[4, 8], Float32)]),
}

others! { Fusion::Attention;
    no_softmax(QKV),
    sigmoid_instead_of_softmax(QKV),
    scores_of_one(QKV),
    weights_cast_to_integers(QKV),
    softmax_without_max(QKV),
    scale_for_each_head(QKV),
    scale_is_infinite(QKV),
    absolute_scores(QKV),
    weights_transposed(SQUARE),
    divided_number(QKV),
    no_keys(&[(&[2, 3, 4, 8], Float32), (&[2, 3, 0, 8], Float32), (&[2, 3, 0, 8], Float32)]),
    no_features(&[(&[2, 3, 4, 0], Float32), (&[2, 3, 5, 0], Float32), (&[2, 3, 5, 8], Float32)]),
}

/// The scale of a dimension of 8.
const SCALE: f32 = 0.353_553_4;

fn scores(a: &[Array]) -> Array {
    a[0].matmul(&a[1].swapaxes(-1, -2))
}

fn textbook(a: &[Array]) -> Array {
    (scores(a) * SCALE).softmax(-1).matmul(&a[2])
}

fn scale_on_scores(a: &[Array]) -> Array {
    (scores(a) / 8_f32.sqrt()).softmax(-1).matmul(&a[2])
}

fn scale_on_queries(a: &[Array]) -> Array {
    let scores = (&a[0] * SCALE).matmul(&a[1].transpose([0, 1, 3, 2]));
    scores.softmax(-1).matmul(&a[2])
}

fn scale_on_keys(a: &[Array]) -> Array {
    let scores = a[0].matmul(&(&a[1] * SCALE).swapaxes(2, 3));
    scores.softmax(-1).matmul(&a[2])
}

fn scale_on_transposed_keys(a: &[Array]) -> Array {
    let scores = a[0].matmul(&(a[1].swapaxes(2, 3) / 8_f32.sqrt()));
    scores.softmax(-1).matmul(&a[2])
}

/// Whisper scales both by the fourth root.
fn scale_on_both(a: &[Array]) -> Array {
    let scale = 8_f32.powf(-0.25);
    let scores = (&a[0] * scale).matmul(&(a[1].transpose([0, 1, 3, 2]) * scale));
    scores.softmax(-1).matmul(&a[2])
}

fn scale_by_sqrt_of_dim(a: &[Array]) -> Array {
    let dim = Array::scalar(a[0].dim(-1).unwrap() as f32);
    (scores(a) / dim.sqrt()).softmax(-1).matmul(&a[2])
}

fn negative_scale(a: &[Array]) -> Array {
    (scores(a) * -0.5).softmax(-1).matmul(&a[2])
}

fn without_scale(a: &[Array]) -> Array {
    scores(a).softmax(-1).matmul(&a[2])
}

fn of_cache(a: &[Array]) -> Array {
    textbook(a)
}

fn one_query(a: &[Array]) -> Array {
    textbook(a)
}

fn softmax_written(a: &[Array]) -> Array {
    let scores = scores(a) * SCALE;
    let exp = (&scores - scores.max(keepdims(-1))).exp();
    (&exp / exp.sum(keepdims(-1))).matmul(&a[2])
}

fn softmax_with_reciprocal(a: &[Array]) -> Array {
    let scores = scores(a) * SCALE;
    let exp = (&scores - scores.max(keepdims(-1))).exp();
    (&exp * (1.0 / exp.sum(keepdims(-1)))).matmul(&a[2])
}

fn precise_softmax(a: &[Array]) -> Array {
    (scores(a) * SCALE).softmax_precise(-1).matmul(&a[2])
}

fn in_half(a: &[Array]) -> Array {
    textbook(a)
}

fn in_bfloat16(a: &[Array]) -> Array {
    textbook(a)
}

/// `nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)`.
fn softmax_in_float32(a: &[Array]) -> Array {
    let weights = (scores(a) * SCALE).astype(Float32).softmax(-1);
    weights.astype(a[0].dtype().unwrap()).matmul(&a[2])
}

fn softmax_in_float32_of_bfloat16(a: &[Array]) -> Array {
    softmax_in_float32(a)
}

fn product_in_float32(a: &[Array]) -> Array {
    let (q, k) = (a[0].astype(Float32), a[1].astype(Float32));
    let weights = (q.matmul(&k.swapaxes(-1, -2)) * SCALE).softmax(-1);
    weights.matmul(&a[2].astype(Float32)).astype(Float16)
}

fn heads_first(a: &[Array]) -> [Array; 3] {
    [0, 1, 2].map(|i| a[i].transpose([0, 2, 1, 3]))
}

fn from_seq_heads(a: &[Array]) -> Array {
    textbook(&heads_first(a))
        .transpose([0, 2, 1, 3])
        .reshape([2, 4, 24])
}

/// `k.transpose(0, 2, 3, 1)`, as older MLX examples have it.
fn keys_transposed_once(a: &[Array]) -> Array {
    let (q, k) = (a[0].transpose([0, 2, 1, 3]), a[1].transpose([0, 2, 3, 1]));
    let v = a[2].transpose([0, 2, 1, 3]);
    (q * SCALE).matmul(&k).softmax(-1).matmul(&v)
}

fn nano_gpt(a: &[Array]) -> Array {
    let parts = a[0].matmul(&a[1]).split(3, 2).unwrap();
    let heads: Vec<Array> = parts
        .iter()
        .map(|part| part.reshape([2, 4, 3, 8]).swapaxes(1, 2))
        .collect();
    let y = textbook(&heads);
    y.swapaxes(1, 2).reshape([2, 4, 24])
}

fn three_axes(a: &[Array]) -> Array {
    textbook(a)
}

fn two_axes(a: &[Array]) -> Array {
    (a[0].matmul(&a[1].t()) * SCALE).softmax(-1).matmul(&a[2])
}

fn square_of_sides(a: &[Array]) -> Array {
    textbook(a)
}

fn grouped_by_repeat(a: &[Array]) -> Array {
    textbook(&[a[0].clone(), a[1].repeat(3, 1), a[2].repeat(3, 1)])
}

fn grouped_by_repeat_of_seq_heads(a: &[Array]) -> Array {
    let (k, v) = (a[1].repeat(3, 2), a[2].repeat(3, 2));
    textbook(&heads_first(&[a[0].clone(), k, v]))
}

/// `repeat_kv` of Hugging Face: expand, then reshape.
fn repeat_kv(a: &[Array]) -> Array {
    let repeat = |x: &Array| {
        let wide = x.expand_dims(2).broadcast_to([2, 2, 3, 4, 8]);
        wide.reshape([2, 6, 4, 8])
    };
    textbook(&[a[0].clone(), repeat(&a[1]), repeat(&a[2])])
}

fn grouped_with_five_axes(a: &[Array]) -> Array {
    let q = a[0].reshape([2, 2, 3, 4, 8]);
    let (k, v) = (a[1].expand_dims(2), a[2].expand_dims(2));
    textbook(&[q, k, v]).reshape([2, 6, 4, 8])
}

fn one_head_for_all(a: &[Array]) -> Array {
    textbook(a)
}

/// `tile` gives heads in the order 0 1 0 1 0 1, which no kernel has: all heads are kept.
fn heads_in_other_order(a: &[Array]) -> Array {
    let tile = |x: &Array| x.tile([1, 3, 1, 1]);
    textbook(&[a[0].clone(), tile(&a[1]), tile(&a[2])])
}

fn keys_repeated_for_both(a: &[Array]) -> Array {
    let k = a[1].repeat(3, 1);
    textbook(&[a[0].clone(), k.clone(), k])
}

fn values_are_keys(a: &[Array]) -> Array {
    textbook(&[a[0].clone(), a[1].clone(), a[1].clone()])
}

fn all_the_same(a: &[Array]) -> Array {
    textbook(&[a[0].clone(), a[0].clone(), a[0].clone()])
}

fn scaled_all_the_same(a: &[Array]) -> Array {
    let x = &a[0] * 0.25;
    x.matmul(&x.swapaxes(-1, -2)).softmax(-1).matmul(&x)
}

/// A layer of dropout that does nothing multiplies by one.
fn dropout_at_inference(a: &[Array]) -> Array {
    let weights = (scores(a) * SCALE).softmax(-1);
    (weights * 1.0).matmul(&a[2])
}

fn wide_values(a: &[Array]) -> Array {
    textbook(a)
}

fn options() -> mlx::fast::AttentionOptions {
    mlx::fast::AttentionOptions::default()
}

fn composed(a: &[Array]) -> Array {
    mlx::fast::composed::scaled_dot_product_attention(&a[0], &a[1], &a[2], &options())
}

fn composed_of_groups(a: &[Array]) -> Array {
    composed(a)
}

fn composed_in_half(a: &[Array]) -> Array {
    composed(a)
}

fn weights_are_returned(a: &[Array]) -> Vec<Array> {
    let weights = (scores(a) * SCALE).softmax(-1);
    vec![weights.matmul(&a[2]), weights]
}

/// As the Whisper of OpenAI does for word times.
fn scores_are_returned(a: &[Array]) -> Vec<Array> {
    let scores = scores(a) * SCALE;
    vec![scores.softmax(-1).matmul(&a[2]), scores]
}

fn weights_are_reused(a: &[Array]) -> Vec<Array> {
    let weights = (scores(a) * SCALE).softmax(-1);
    vec![weights.matmul(&a[2]) + weights.sum(keepdims(-1))]
}

fn scores_are_reused(a: &[Array]) -> Vec<Array> {
    let scores = scores(a) * SCALE;
    vec![scores.softmax(-1).matmul(&a[2]) + scores.max(keepdims(-1))]
}

fn softmax_over_queries(a: &[Array]) -> Vec<Array> {
    vec![(scores(a) * SCALE).softmax(-2).matmul(&a[2])]
}

fn softmax_over_all(a: &[Array]) -> Vec<Array> {
    vec![(scores(a) * SCALE).softmax([-2, -1]).matmul(&a[2])]
}

fn dropout(a: &[Array]) -> Vec<Array> {
    let weights = (scores(a) * SCALE).softmax(-1);
    let kept = random::bernoulli_with(0.9, [2, 3, 4, 4], &random::key(7));
    vec![(weights * kept * (1.0 / 0.9)).matmul(&a[2])]
}

fn dropout_by_selection(a: &[Array]) -> Vec<Array> {
    let weights = (scores(a) * SCALE).softmax(-1);
    let kept = random::bernoulli_with(0.9, [2, 3, 4, 4], &random::key(7));
    vec![mlx::where_(&kept, weights / 0.9, 0.0).matmul(&a[2])]
}

fn in_double(a: &[Array]) -> Vec<Array> {
    mlx::with_device(mlx::Device::Cpu, || vec![textbook(a)]).unwrap()
}

fn mixed_dtypes(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn weights_rounded(a: &[Array]) -> Vec<Array> {
    let weights = (scores(a) * SCALE).softmax(-1);
    vec![weights.astype(Bfloat16).astype(Float32).matmul(&a[2])]
}

fn scores_rounded(a: &[Array]) -> Vec<Array> {
    let scores = (scores(a) * SCALE).astype(Bfloat16).astype(Float32);
    vec![scores.softmax(-1).matmul(&a[2])]
}

/// As in Gemma 2.
fn soft_cap(a: &[Array]) -> Vec<Array> {
    let scores = (scores(a) * SCALE / 50.0).tanh() * 50.0;
    vec![scores.softmax(-1).matmul(&a[2])]
}

fn weights_scaled(a: &[Array]) -> Vec<Array> {
    vec![((scores(a) * SCALE).softmax(-1) * 0.5).matmul(&a[2])]
}

fn weights_times_head_mask(a: &[Array]) -> Vec<Array> {
    let weights = (scores(a) * SCALE).softmax(-1);
    let heads = a[2].mean(keepdims([0, 2, 3]));
    vec![(weights * heads).matmul(&a[2])]
}

fn one_batch_of_keys(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn one_matrix_of_values(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn no_softmax(a: &[Array]) -> Vec<Array> {
    vec![(scores(a) * SCALE).matmul(&a[2])]
}

fn sigmoid_instead_of_softmax(a: &[Array]) -> Vec<Array> {
    vec![(scores(a) * SCALE).sigmoid().matmul(&a[2])]
}

fn scores_of_one(a: &[Array]) -> Vec<Array> {
    vec![a[0].i((.., .., .., ..4)).softmax(-1).matmul(&a[2])]
}

fn weights_cast_to_integers(a: &[Array]) -> Vec<Array> {
    let weights = (scores(a) * 9.0).softmax(-1);
    vec![weights.astype(Dtype::Int32).astype(Float32).matmul(&a[2])]
}

fn softmax_without_max(a: &[Array]) -> Vec<Array> {
    let exp = (scores(a) * SCALE).exp();
    vec![(&exp / exp.sum(keepdims(-1))).matmul(&a[2])]
}

fn scale_for_each_head(a: &[Array]) -> Vec<Array> {
    let scale = mlx::arange_with(1.0, 4.0, 1.0, Float32).reshape([3, 1, 1]);
    vec![(scores(a) * scale).softmax(-1).matmul(&a[2])]
}

fn scale_is_infinite(a: &[Array]) -> Vec<Array> {
    vec![(scores(a) / 0.0).softmax(-1).matmul(&a[2])]
}

fn absolute_scores(a: &[Array]) -> Vec<Array> {
    vec![(scores(a) * SCALE).abs().softmax(-1).matmul(&a[2])]
}

fn weights_transposed(a: &[Array]) -> Vec<Array> {
    let weights = (scores(a) * SCALE).softmax(-1);
    vec![weights.swapaxes(-1, -2).matmul(&a[2])]
}

fn divided_number(a: &[Array]) -> Vec<Array> {
    vec![(2.0 / scores(a)).softmax(-1).matmul(&a[2])]
}

fn no_keys(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn no_features(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}
