//! Attention with sinks, as of gpt-oss: one more score for each head, whose weight is dropped.

use mlx::Dtype::{Bfloat16, Float16, Float32};
use mlx::fast::{self, AttentionOptions};
use mlx::{Array, concatenate, keepdims, where_};
use mlx_compiler::{Fallback, Fusion};

use crate::check::{self, Type};

const SUNK: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 5, 8], Float32),
    (&[2, 3, 5, 8], Float32),
    (&[3], Float32),
];
const HALF: &[Type] = &[
    (&[2, 3, 4, 8], Float16),
    (&[2, 3, 5, 8], Float16),
    (&[2, 3, 5, 8], Float16),
    (&[3], Float16),
];
const BRAIN: &[Type] = &[
    (&[2, 3, 4, 8], Bfloat16),
    (&[2, 3, 5, 8], Bfloat16),
    (&[2, 3, 5, 8], Bfloat16),
    (&[3], Bfloat16),
];
const GROUPED: &[Type] = &[
    (&[2, 6, 4, 8], Float32),
    (&[2, 2, 5, 8], Float32),
    (&[2, 2, 5, 8], Float32),
    (&[6], Float32),
];
const IN_GROUPS: &[Type] = &[
    (&[2, 2, 3, 4, 8], Float32),
    (&[2, 2, 1, 5, 8], Float32),
    (&[2, 2, 1, 5, 8], Float32),
    (&[2, 3], Float32),
];
const KEEP: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 4, 8], Float32),
    (&[3], Float32),
    (&[2, 1, 4, 4], mlx::Dtype::Bool),
];
const KEEP_HALF: &[Type] = &[
    (&[2, 3, 4, 8], Float16),
    (&[2, 3, 4, 8], Float16),
    (&[2, 3, 4, 8], Float16),
    (&[3], Float16),
    (&[2, 1, 4, 4], mlx::Dtype::Bool),
];

spellings! { Fusion::Attention, " sinks";
    plain(SUNK),
    plain_in_half(HALF),
    plain_in_bfloat16(BRAIN),
    gpt_oss(SUNK),
    gpt_oss_in_half(HALF),
    gpt_oss_in_bfloat16(BRAIN),
    softmax_in_float32(BRAIN),
    softmax_written(SUNK),
    of_one_row(&[(&[4, 8], Float32), (&[5, 8], Float32), (&[5, 8], Float32), (&[1], Float32)]),
    no_batch(&[(&[3, 4, 8], Float32), (&[3, 5, 8], Float32), (&[3, 5, 8], Float32), (&[3], Float32)]),
    one_for_all(&[(&[2, 3, 4, 8], Float32), (&[2, 3, 5, 8], Float32), (&[2, 3, 5, 8], Float32), (&[1], Float32)]),
    sinks_first(SUNK),
    keys_repeated(GROUPED),
    in_groups(IN_GROUPS),
    causal(KEEP),
    padded(KEEP),
    padded_by_least_number_in_half(KEEP_HALF),
    composed(SUNK),
    composed_of_groups(GROUPED),
}

refusals! { Fusion::Attention;
    one_for_each_row(Shape, &[
        (&[2, 3, 4, 8], Float32),
        (&[2, 3, 5, 8], Float32),
        (&[2, 3, 5, 8], Float32),
        (&[2, 3, 4, 1], Float32),
    ]),
    one_for_each_of_the_batch(Shape, &[
        (&[3, 3, 4, 8], Float32),
        (&[3, 3, 5, 8], Float32),
        (&[3, 3, 5, 8], Float32),
        (&[3, 1, 1, 1], Float32),
    ]),
    full_sinks_of_half(Dtype, &[
        (&[2, 3, 4, 8], Bfloat16),
        (&[2, 3, 5, 8], Bfloat16),
        (&[2, 3, 5, 8], Bfloat16),
        (&[3], Float32),
    ]),
    two_more_scores(Formula, SUNK),
    first_weight_dropped(Formula, SUNK),
    joined_is_returned(Output, SUNK),
}

fn scores(a: &[Array]) -> Array {
    a[0].matmul(&a[1].swapaxes(-1, -2)) * 0.353_553_4
}

fn sinks(a: &[Array], scores: &Array) -> Array {
    let mut shape = scores.shape().unwrap();
    *shape.last_mut().unwrap() = 1;
    a[3].reshape([1, -1, 1, 1]).broadcast_to(shape)
}

fn plain(a: &[Array]) -> Array {
    let scores = scores(a);
    let weights = concatenate([&scores, &sinks(a, &scores)], -1).softmax(-1);
    weights.i((.., .., .., ..5)).matmul(&a[2])
}

fn plain_in_half(a: &[Array]) -> Array {
    plain(a)
}

fn plain_in_bfloat16(a: &[Array]) -> Array {
    plain(a)
}

/// As in Hugging Face's transformers: below the maximum, so that half precision holds it.
fn gpt_oss(a: &[Array]) -> Array {
    let scores = scores(a);
    let joined = concatenate([&scores, &sinks(a, &scores)], -1);
    let joined = &joined - joined.max(keepdims(-1));
    joined.softmax(-1).i((.., .., .., ..-1)).matmul(&a[2])
}

fn gpt_oss_in_half(a: &[Array]) -> Array {
    gpt_oss(a)
}

fn gpt_oss_in_bfloat16(a: &[Array]) -> Array {
    gpt_oss(a)
}

fn softmax_in_float32(a: &[Array]) -> Array {
    let scores = scores(a);
    let joined = concatenate([&scores, &sinks(a, &scores)], -1).astype(Float32);
    let weights = joined.softmax(-1).i((.., .., .., ..5)).astype(Bfloat16);
    weights.matmul(&a[2])
}

fn softmax_written(a: &[Array]) -> Array {
    let scores = scores(a);
    let joined = concatenate([&scores, &sinks(a, &scores)], -1);
    let exp = (&joined - joined.max(keepdims(-1))).exp();
    let weights = &exp / exp.sum(keepdims(-1));
    weights.i((.., .., .., ..5)).matmul(&a[2])
}

fn of_one_row(a: &[Array]) -> Array {
    let joined = concatenate([&scores(a), &a[3].broadcast_to([4, 1])], -1);
    joined.softmax(-1).i((.., ..5)).matmul(&a[2])
}

fn no_batch(a: &[Array]) -> Array {
    let sinks = a[3].reshape([3, 1, 1]).broadcast_to([3, 4, 1]);
    let joined = concatenate([&scores(a), &sinks], -1);
    joined.softmax(-1).i((.., .., ..5)).matmul(&a[2])
}

fn one_for_all(a: &[Array]) -> Array {
    plain(a)
}

fn sinks_first(a: &[Array]) -> Array {
    let scores = scores(a);
    let weights = concatenate([&sinks(a, &scores), &scores], -1).softmax(-1);
    weights.i((.., .., .., 1..)).matmul(&a[2])
}

fn keys_repeated(a: &[Array]) -> Array {
    let (k, v) = (a[1].repeat(3, 1), a[2].repeat(3, 1));
    plain(&[a[0].clone(), k, v, a[3].clone()])
}

fn in_groups(a: &[Array]) -> Array {
    let sinks = a[3].reshape([1, 2, 3, 1, 1]).broadcast_to([2, 2, 3, 4, 1]);
    let weights = concatenate([&scores(a), &sinks], -1).softmax(-1);
    weights.i((.., .., .., .., ..5)).matmul(&a[2])
}

fn masked(a: &[Array], keep: &Array, fill: f32) -> Array {
    let scores = where_(keep, scores(a), fill);
    let weights = concatenate([&scores, &sinks(a, &scores)], -1).softmax(-1);
    weights.i((.., .., .., ..4)).matmul(&a[2])
}

fn causal(a: &[Array]) -> Array {
    masked(
        a,
        &mlx::tri_with(4, 4, 0, mlx::Dtype::Bool),
        f32::NEG_INFINITY,
    )
}

fn padded(a: &[Array]) -> Array {
    masked(a, &a[4], f32::NEG_INFINITY)
}

fn padded_by_least_number_in_half(a: &[Array]) -> Array {
    masked(a, &a[4], -65504.0)
}

fn with_options(a: &[Array]) -> Array {
    let options = AttentionOptions {
        sinks: Some(a[3].clone()),
        ..AttentionOptions::default()
    };
    fast::composed::scaled_dot_product_attention(&a[0], &a[1], &a[2], &options)
}

fn composed(a: &[Array]) -> Array {
    with_options(a)
}

fn composed_of_groups(a: &[Array]) -> Array {
    with_options(a)
}

fn one_for_each_row(a: &[Array]) -> Vec<Array> {
    let weights = concatenate([&scores(a), &a[3]], -1).softmax(-1);
    vec![weights.i((.., .., .., ..5)).matmul(&a[2])]
}

fn one_for_each_of_the_batch(a: &[Array]) -> Vec<Array> {
    let sinks = a[3].broadcast_to([3, 3, 4, 1]);
    let weights = concatenate([&scores(a), &sinks], -1).softmax(-1);
    vec![weights.i((.., .., .., ..5)).matmul(&a[2])]
}

fn full_sinks_of_half(a: &[Array]) -> Vec<Array> {
    let scores = scores(a).astype(Float32);
    let weights = concatenate([&scores, &sinks(a, &scores)], -1).softmax(-1);
    let weights = weights.i((.., .., .., ..5)).astype(Bfloat16);
    vec![weights.matmul(&a[2])]
}

fn two_more_scores(a: &[Array]) -> Vec<Array> {
    let scores = scores(a);
    let sinks = sinks(a, &scores);
    let weights = concatenate([&scores, &sinks, &sinks], -1).softmax(-1);
    vec![weights.i((.., .., .., ..5)).matmul(&a[2])]
}

fn first_weight_dropped(a: &[Array]) -> Vec<Array> {
    let scores = scores(a);
    let weights = concatenate([&scores, &sinks(a, &scores)], -1).softmax(-1);
    vec![weights.i((.., .., .., 1..)).matmul(&a[2])]
}

fn joined_is_returned(a: &[Array]) -> Vec<Array> {
    let scores = scores(a);
    let joined = concatenate([&scores, &sinks(a, &scores)], -1);
    vec![
        joined.softmax(-1).i((.., .., .., ..5)).matmul(&a[2]),
        joined,
    ]
}

/// A row that sees no key gives the sink all the weight: zeros, as without compiling.
#[test]
fn rows_that_see_only_the_sink() {
    for dtype in [Float32, Float16, Bfloat16] {
        for fill in [f32::NEG_INFINITY, -65504.0] {
            if dtype != Float16 && fill.is_finite() {
                continue;
            }
            let formula = |a: &[Array]| vec![masked(a, &a[4], fill)];
            let mut inputs: Vec<Array> = check::inputs(KEEP);
            for input in &mut inputs[..4] {
                *input = input.astype(dtype);
            }
            inputs[4] = mlx::zeros_with([2, 1, 4, 4], mlx::Dtype::Bool);
            let got = check::compiled(&formula, &inputs, Fallback::Never);
            let values = got[0].astype(Float32).to_vec::<f32>().unwrap();
            assert!(values.iter().all(|value| *value == 0.0), "{values:?}");
        }
    }
}
