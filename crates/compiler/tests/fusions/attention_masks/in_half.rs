//! Several masks at once in half precision.

use super::*;

const BIAS: &[Type] = &[
    (&[2, 3, 4, 8], Float16),
    (&[2, 3, 4, 8], Float16),
    (&[2, 3, 4, 8], Float16),
    (&[3, 4, 4], Float16),
    (&[2, 1, 1, 4], Bool),
];
const BIAS_BRAIN: &[Type] = &[
    (&[2, 3, 4, 8], Bfloat16),
    (&[2, 3, 4, 8], Bfloat16),
    (&[2, 3, 4, 8], Bfloat16),
    (&[3, 4, 4], Bfloat16),
    (&[2, 1, 1, 4], Bool),
];

spellings! { Fusion::Attention, "fast.scaled_dot_product_attention";
    alibi_and_causal_in_float16(HALF),
    alibi_and_causal_in_bfloat16(BRAIN),
    bias_and_padding_in_float16(BIAS),
    bias_and_padding_in_bfloat16(BIAS_BRAIN),
    bias_and_causal_in_float16(BIAS),
    bias_and_causal_in_bfloat16(BIAS_BRAIN),
    bias_padding_and_causal_in_float16(BIAS),
    bias_padding_and_causal_in_bfloat16(BIAS_BRAIN),
    padding_times_ten_thousand_in_float16(BIAS),
}

refusals! { Fusion::Attention;
    low_fill_and_bias_in_bfloat16(Mask, BIAS_BRAIN),
    low_fill_and_causal_in_bfloat16(Mask, BIAS_BRAIN),
}

/// Here and not in another file: a formula fires where its last operation is.
fn attend(scores: Array, a: &[Array]) -> Array {
    scores.softmax(-1).matmul(&a[2])
}

fn alibi_and_causal_in_float16(a: &[Array]) -> Array {
    let dtype = a[0].dtype().unwrap();
    let slopes = mlx::array!([0.5_f32, 0.25, 0.125]).reshape([3, 1, 1]);
    let distance = iota(4).expand_dims(0) - iota(4).expand_dims(1);
    let alibi = (slopes * distance.astype(Float32)).astype(dtype);
    let mask = mlx::tri_with(4, 4, 0, Bool);
    attend(where_(&mask, scores(a) + alibi, f32::NEG_INFINITY), a)
}

fn alibi_and_causal_in_bfloat16(a: &[Array]) -> Array {
    alibi_and_causal_in_float16(a)
}

fn bias_and_padding_in_float16(a: &[Array]) -> Array {
    attend(where_(&a[4], scores(a) + &a[3], f32::NEG_INFINITY), a)
}

fn bias_and_padding_in_bfloat16(a: &[Array]) -> Array {
    bias_and_padding_in_float16(a)
}

fn bias_and_causal_in_float16(a: &[Array]) -> Array {
    let mask = mlx::tri_with(4, 4, 0, Bool);
    attend(where_(&mask, scores(a), f32::NEG_INFINITY) + &a[3], a)
}

fn bias_and_causal_in_bfloat16(a: &[Array]) -> Array {
    bias_and_causal_in_float16(a)
}

fn bias_padding_and_causal_in_float16(a: &[Array]) -> Array {
    let keep = mlx::tri_with(4, 4, 0, Bool).logical_and(&a[4]);
    attend(where_(&keep, scores(a) + &a[3], f32::NEG_INFINITY), a)
}

fn bias_padding_and_causal_in_bfloat16(a: &[Array]) -> Array {
    bias_padding_and_causal_in_float16(a)
}

/// As BERT had it.
fn padding_times_ten_thousand_in_float16(a: &[Array]) -> Array {
    let padding = (1.0 - a[4].astype(Float16)) * -10000.0;
    attend(scores(a) + padding, a)
}

/// Other scores may be as low in `bfloat16`, which reaches to 3.4e38.
fn low_fill_and_bias_in_bfloat16(a: &[Array]) -> Vec<Array> {
    vec![attend(where_(&a[4], scores(a) + &a[3], -1e9), a)]
}

fn low_fill_and_causal_in_bfloat16(a: &[Array]) -> Vec<Array> {
    let keep = mlx::tri_with(4, 4, 0, Bool).logical_and(&a[4]);
    vec![attend(where_(&keep, scores(a), -1e9), a)]
}
