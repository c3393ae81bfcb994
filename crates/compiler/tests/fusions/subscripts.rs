//! Products written by subscripts, as in JAX and in papers: attention and linear layers by `einsum`, `inner` and
//! `tensordot`; and what stands in the way of attention by name and line.

use mlx::Dtype::{Bfloat16, Float16, Float32};
use mlx::{Array, einsum, where_};
use mlx_compiler::{Fallback, Fusion};
use rstest::rstest;

use crate::check::{self, Formulas, Type};

const QKV: &[Type] = &[
    (&[2, 3, 4, 8], Float32),
    (&[2, 3, 5, 8], Float32),
    (&[2, 3, 5, 8], Float32),
];
const SEQ_HEADS: &[Type] = &[
    (&[2, 4, 3, 8], Float32),
    (&[2, 5, 3, 8], Float32),
    (&[2, 5, 3, 8], Float32),
];
const GROUPED: &[Type] = &[
    (&[2, 2, 3, 4, 8], Float32),
    (&[2, 2, 5, 8], Float32),
    (&[2, 2, 5, 8], Float32),
];

pub mod attention {
    use super::*;

    spellings! { Fusion::Attention, "fast.scaled_dot_product_attention";
        heads_first(QKV),
        heads_first_with_ellipsis(QKV),
        with_spaces(QKV),
        implicit_result(&[(&[4, 8], Float32), (&[5, 8], Float32), (&[5, 8], Float32)]),
        seq_first(SEQ_HEADS),
        flax(SEQ_HEADS),
        in_groups(GROUPED),
        in_half(&[(&[2, 3, 4, 8], Float16), (&[2, 3, 5, 8], Float16), (&[2, 3, 5, 8], Float16)]),
        in_bfloat16(&[(&[2, 3, 4, 8], Bfloat16), (&[2, 3, 5, 8], Bfloat16), (&[2, 3, 5, 8], Bfloat16)]),
        softmax_upcast(&[(&[2, 4, 3, 8], Bfloat16), (&[2, 5, 3, 8], Bfloat16), (&[2, 5, 3, 8], Bfloat16)]),
        jax_in_groups(&[(&[2, 4, 2, 3, 8], Float32), (&[2, 5, 2, 8], Float32), (&[2, 5, 2, 8], Float32)]),
        queries_scaled(SEQ_HEADS),
        scores_transposed(QKV),
        one_head(&[(&[4, 8], Float32), (&[5, 8], Float32), (&[5, 8], Float32)]),
        values_by_matmul(QKV),
        causal(&[(&[2, 3, 4, 8], Float32), (&[2, 3, 4, 8], Float32), (&[2, 3, 4, 8], Float32)]),
    }

    refusals! { Fusion::Attention;
        scores_are_returned(Output, QKV),
        over_heads(Axis, SEQ_HEADS),
    }

    fn by(a: &[Array], scores: &str, values: &str) -> Array {
        let scores = einsum(scores, [&a[0], &a[1]]) / 8_f32.sqrt();
        einsum(values, [&scores.softmax(-1), &a[2]])
    }

    fn heads_first(a: &[Array]) -> Array {
        by(a, "bhqd,bhkd->bhqk", "bhqk,bhkd->bhqd")
    }

    fn heads_first_with_ellipsis(a: &[Array]) -> Array {
        by(a, "...qd,...kd->...qk", "...qk,...kd->...qd")
    }

    fn with_spaces(a: &[Array]) -> Array {
        by(a, "bhqd, bhkd -> bhqk", "bhqk, bhkd -> bhqd")
    }

    /// The letters of the result are those that stand once, in the order of the alphabet.
    fn implicit_result(a: &[Array]) -> Array {
        by(a, "ac,bc", "ab,bc")
    }

    fn seq_first(a: &[Array]) -> Array {
        by(a, "bqhd,bkhd->bhqk", "bhqk,bkhd->bhqd")
    }

    /// `dot_product_attention` of Flax.
    fn flax(a: &[Array]) -> Array {
        by(a, "...qhd,...khd->...hqk", "...hqk,...khd->...qhd")
    }

    fn in_groups(a: &[Array]) -> Array {
        by(a, "bhgqd,bhkd->bhgqk", "bhgqk,bhkd->bhgqd")
    }

    fn in_half(a: &[Array]) -> Array {
        heads_first(a)
    }

    fn in_bfloat16(a: &[Array]) -> Array {
        heads_first(a)
    }

    /// The softmax in `float32`, as in Flax with `force_fp32_for_softmax`.
    fn softmax_upcast(a: &[Array]) -> Array {
        let scores = einsum("...qhd,...khd->...hqk", [&(&a[0] / 8_f32.sqrt()), &a[1]]);
        let weights = scores.astype(Float32).softmax(-1).astype(Bfloat16);
        einsum("...hqk,...khd->...qhd", [&weights, &a[2]])
    }

    /// `jax.nn.dot_product_attention` with fewer heads of keys.
    fn jax_in_groups(a: &[Array]) -> Array {
        by(a, "BTKGH,BSKH->BKGTS", "BKGTS,BSKH->BTKGH")
    }

    fn queries_scaled(a: &[Array]) -> Array {
        let scores = einsum("bqhd,bkhd->bhqk", [&(&a[0] * 0.25), &a[1]]);
        einsum("bhqk,bkhd->bqhd", [&scores.softmax(-1), &a[2]])
    }

    /// Keys first in both products.
    fn scores_transposed(a: &[Array]) -> Array {
        let scores = einsum("bhkd,bhqd->bhqk", [&a[1], &a[0]]) * 0.5;
        einsum("bhkd,bhqk->bhqd", [&a[2], &scores.softmax(-1)])
    }

    fn one_head(a: &[Array]) -> Array {
        by(a, "qd,kd->qk", "qk,kd->qd")
    }

    fn values_by_matmul(a: &[Array]) -> Array {
        let scores = einsum("bhqd,bhkd->bhqk", [&a[0], &a[1]]) * 0.5;
        scores.softmax(-1).matmul(&a[2])
    }

    fn causal(a: &[Array]) -> Array {
        let scores = einsum("bhqd,bhkd->bhqk", [&a[0], &a[1]]) * 0.5;
        let mask = mlx::tri_with(4, 4, 0, mlx::Dtype::Bool);
        let weights = where_(&mask, scores, f32::NEG_INFINITY).softmax(-1);
        einsum("bhqk,bhkd->bhqd", [&weights, &a[2]])
    }

    fn scores_are_returned(a: &[Array]) -> Vec<Array> {
        let scores = einsum("bhqd,bhkd->bhqk", [&a[0], &a[1]]) * 0.5;
        let result = einsum("bhqk,bhkd->bhqd", [&scores.softmax(-1), &a[2]]);
        vec![result, scores]
    }

    fn over_heads(a: &[Array]) -> Vec<Array> {
        let scores = einsum("bqhd,bkhd->bhqk", [&a[0], &a[1]]) * 0.5;
        vec![einsum("bhqk,bkhd->bqhd", [&scores.softmax(1), &a[2]])]
    }
}

pub mod linear {
    use super::*;

    const XWB: &[Type] = &[(&[2, 3, 4], Float32), (&[4, 5], Float32), (&[5], Float32)];
    const XTB: &[Type] = &[(&[2, 3, 4], Float32), (&[5, 4], Float32), (&[5], Float32)];

    spellings! { Fusion::Linear, "= addmm";
        rows(XWB),
        with_ellipsis(XWB),
        transposed(XTB),
        by_inner(XTB),
        by_tensordot(XWB),
        in_bfloat16(&[(&[2, 3, 4], Bfloat16), (&[4, 5], Bfloat16), (&[5], Bfloat16)]),
        in_half(&[(&[2, 3, 4], Float16), (&[4, 5], Float16), (&[5], Float16)]),
        weight_first(XWB),
        into_heads(&[(&[2, 3, 4], Float32), (&[4, 5, 6], Float32), (&[5, 6], Float32)]),
        into_heads_in_half(&[(&[2, 3, 4], Float16), (&[4, 5, 6], Float16), (&[5, 6], Float16)]),
        into_heads_in_bfloat16(&[(&[2, 3, 4], Bfloat16), (&[4, 5, 6], Bfloat16), (&[5, 6], Bfloat16)]),
        into_heads_of_transposed(&[(&[2, 3, 4], Float32), (&[5, 4, 6], Float32), (&[5, 6], Float32)]),
        reshaped_into_heads(&[(&[2, 3, 4], Float32), (&[4, 6], Float32), (&[3, 2], Float32)]),
        bias_by_broadcast_to(XWB),
        two_summed(&[(&[2, 3, 2, 4], Float32), (&[2, 4, 5], Float32), (&[5], Float32)]),
    }

    refusals! { Fusion::Linear;
        product_is_returned(Output, XWB),
        bias_of_last_axis(Shape, &[(&[2, 3, 4], Float32), (&[4, 5, 6], Float32), (&[6], Float32)]),
        bias_for_each_row(Shape, &[(&[2, 5, 4], Float32), (&[4, 5, 6], Float32), (&[5, 1, 6], Float32)]),
    }

    others! { Fusion::Linear;
        without_a_bias(XWB),
        outer(&[(&[4], Float32), (&[5], Float32), (&[5], Float32)]),
    }

    fn rows(a: &[Array]) -> Array {
        einsum("bsd,df->bsf", [&a[0], &a[1]]) + &a[2]
    }

    fn with_ellipsis(a: &[Array]) -> Array {
        einsum("...d,df->...f", [&a[0], &a[1]]) + &a[2]
    }

    fn transposed(a: &[Array]) -> Array {
        einsum("bsd,fd->bsf", [&a[0], &a[1]]) + &a[2]
    }

    fn by_inner(a: &[Array]) -> Array {
        a[0].inner(&a[1]) + &a[2]
    }

    fn by_tensordot(a: &[Array]) -> Array {
        a[0].tensordot(&a[1], ([2], [0])) + &a[2]
    }

    fn in_bfloat16(a: &[Array]) -> Array {
        rows(a)
    }

    fn in_half(a: &[Array]) -> Array {
        rows(a)
    }

    /// `DenseGeneral` of Flax and `EinsumDense` of Keras.
    fn into_heads(a: &[Array]) -> Array {
        einsum("abc,cde->abde", [&a[0], &a[1]]) + &a[2]
    }

    fn into_heads_in_half(a: &[Array]) -> Array {
        into_heads(a)
    }

    fn into_heads_in_bfloat16(a: &[Array]) -> Array {
        into_heads(a)
    }

    fn into_heads_of_transposed(a: &[Array]) -> Array {
        einsum("bsd,hdk->bshk", [&a[0], &a[1]]) + &a[2]
    }

    fn reshaped_into_heads(a: &[Array]) -> Array {
        a[0].matmul(&a[1]).reshape([2, 3, 3, 2]) + &a[2]
    }

    fn bias_of_last_axis(a: &[Array]) -> Vec<Array> {
        vec![into_heads(a)]
    }

    fn bias_for_each_row(a: &[Array]) -> Vec<Array> {
        vec![into_heads(a)]
    }

    fn weight_first(a: &[Array]) -> Array {
        &a[2] + einsum("df,bsd->bsf", [&a[1], &a[0]])
    }

    fn bias_by_broadcast_to(a: &[Array]) -> Array {
        einsum("bsd,df->bsf", [&a[0], &a[1]]) + a[2].broadcast_to([2, 3, 5])
    }

    /// The projection behind heads.
    fn two_summed(a: &[Array]) -> Array {
        einsum("bshk,hkd->bsd", [&a[0], &a[1]]) + &a[2]
    }

    fn product_is_returned(a: &[Array]) -> Vec<Array> {
        let product = einsum("bsd,df->bsf", [&a[0], &a[1]]);
        vec![&product + &a[2], product]
    }

    fn without_a_bias(a: &[Array]) -> Vec<Array> {
        vec![einsum("bsd,df->bsf", [&a[0], &a[1]])]
    }

    fn outer(a: &[Array]) -> Vec<Array> {
        vec![einsum("i,j->ij", [&a[0], &a[1]]) + &a[2]]
    }
}

/// A product around which nothing is found stays as it was written.
#[test]
fn products_alone_are_left() {
    let inputs = check::inputs(QKV);
    let formula = |a: &[Array]| vec![einsum("bhqd,bhkd->bhqk", [&a[0], &a[1]]).softmax(-1)];
    let (_, text) = check::lower(formula, &inputs, Fallback::Never);
    assert!(
        text.contains("einsum") && !text.contains("matmul"),
        "{text}"
    );
}

fn scores(a: &[Array]) -> Array {
    a[0].matmul(&a[1].swapaxes(-1, -2)) * 0.353_553_4
}

fn weights_of_two_softmaxes(a: &[Array]) -> Vec<Array> {
    vec![scores(a).softmax(-1).power(2.0).matmul(&a[2])]
}

fn scores_in_absolute(a: &[Array]) -> Vec<Array> {
    vec![scores(a).abs().softmax(-1).matmul(&a[2])]
}

fn scores_clipped(a: &[Array]) -> Vec<Array> {
    vec![scores(a).minimum(1.0).softmax(-1).matmul(&a[2])]
}

/// What looks like attention says what stands in the way, and where.
#[rstest]
#[case::weights(
    weights_of_two_softmaxes,
    "stands between the softmax and the product with the values"
)]
#[case::scores(
    scores_in_absolute,
    "abs at crates/compiler/tests/fusions/subscripts.rs:"
)]
#[case::clipped(
    scores_clipped,
    "minimum at crates/compiler/tests/fusions/subscripts.rs:"
)]
fn near_attention_is_refused(#[case] formula: Formulas, #[case] wanted: &str) {
    let inputs = check::inputs(QKV);
    let (report, _) = check::lower(formula, &inputs, Fallback::Never);
    let text = report.to_string();
    assert!(
        text.contains("refused scaled_dot_product_attention") && text.contains(wanted),
        "{text}"
    );
    check::agree(&formula, &inputs);
}
