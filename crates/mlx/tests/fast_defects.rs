//! The errors that other people's fallbacks were found to have, each with a small case computed by hand.

mod reference;

use mlx::fast::{self, AttentionMask, AttentionOptions, RopeFrequencies, RopeOptions, composed};
use mlx::{Array, Dtype, array};
use reference::assert_close;

/// Attention whose scores are all 0, so that a result is the plain mean of the values of the keys that are seen.
fn means(
    queries: i32,
    keys: &[f32],
    options: &AttentionOptions,
    dtype: Dtype,
) -> [(&'static str, Array); 2] {
    let n_keys = keys.len() as i32;
    let q = mlx::zeros_with([1, 1, queries, 4], dtype);
    let k = mlx::zeros_with([1, 1, n_keys, 4], dtype);
    let v = Array::from_slice(keys, [1, 1, n_keys, 1])
        .unwrap()
        .astype(dtype);
    [
        (
            "fused",
            fast::scaled_dot_product_attention_with(&q, &k, &v, options),
        ),
        (
            "composed",
            composed::scaled_dot_product_attention(&q, &k, &v, options),
        ),
    ]
}

fn masked(mask: AttentionMask) -> AttentionOptions {
    AttentionOptions {
        mask,
        ..Default::default()
    }
}

fn ropes(x: &Array, options: &RopeOptions) -> [(&'static str, Array); 2] {
    [
        ("fused", fast::rope(x, options)),
        ("composed", composed::rope(x, options)),
    ]
}

#[test]
fn causal_direction_a_query_sees_what_came_before_it() {
    for (what, got) in means(
        3,
        &[3.0, 6.0, 9.0],
        &masked(AttentionMask::causal()),
        Dtype::Float32,
    ) {
        assert_close(what, &got, &[1, 1, 3, 1], Dtype::Float32, &[3.0, 4.5, 6.0]);
    }
}

#[test]
fn causal_alignment_the_last_query_is_level_with_the_last_key() {
    let keys = [1.0, 3.0, 5.0, 7.0];
    for (what, got) in means(2, &keys, &masked(AttentionMask::causal()), Dtype::Float32) {
        assert_close(what, &got, &[1, 1, 2, 1], Dtype::Float32, &[3.0, 4.0]);
    }
    for (what, got) in means(
        2,
        &keys,
        &masked(AttentionMask::causal().offset(0)),
        Dtype::Float32,
    ) {
        assert_close(what, &got, &[1, 1, 2, 1], Dtype::Float32, &[1.0, 2.0]);
    }
    // More queries than keys: the first ones come before every key.
    for (what, got) in means(
        3,
        &[2.0, 4.0],
        &masked(AttentionMask::causal()),
        Dtype::Float32,
    ) {
        assert_close(what, &got, &[1, 1, 3, 1], Dtype::Float32, &[0.0, 2.0, 3.0]);
    }
}

#[test]
fn freqs_are_the_reciprocals_of_inverse_frequencies() {
    let x = array!([[[1.0, 0.0]]]);
    let frequencies = RopeFrequencies::Freqs(array!([4.0]));
    let options = RopeOptions {
        frequencies,
        offset: 2.into(),
        ..Default::default()
    };
    for (what, got) in ropes(&x, &options) {
        let angle = 2.0 / 4.0_f64;
        assert_close(
            what,
            &got,
            &[1, 1, 2],
            Dtype::Float32,
            &[angle.cos(), angle.sin()],
        );
    }
}

#[test]
fn offset_times_scale_the_offset_is_added_before_scaling() {
    let x = array!([[[1.0, 0.0], [1.0, 0.0]]]);
    let options = RopeOptions {
        scale: 0.5,
        offset: 3.into(),
        ..Default::default()
    };
    for (what, got) in ropes(&x, &options) {
        let (a, b) = (3.0 * 0.5_f64, 4.0 * 0.5_f64);
        assert_close(
            what,
            &got,
            &[1, 2, 2],
            Dtype::Float32,
            &[a.cos(), a.sin(), b.cos(), b.sin()],
        );
    }
}

#[test]
fn partial_rotary_tail_features_beyond_dims_pass_through() {
    let x = array!([[[1.0, 0.0, 5.0, 7.0, 9.0]]]);
    for traditional in [false, true] {
        let options = RopeOptions {
            dims: Some(2),
            traditional,
            offset: 1.into(),
            ..Default::default()
        };
        for (what, got) in ropes(&x, &options) {
            let want = [1_f64.cos(), 1_f64.sin(), 5.0, 7.0, 9.0];
            assert_close(what, &got, &[1, 1, 5], Dtype::Float32, &want);
        }
    }
}

#[test]
fn fully_masked_rows_are_zeros_whichever_way_they_are_masked() {
    let keys = [2.0, 4.0];
    let hide = array!([[false, false], [true, true]]);
    let minus = f32::NEG_INFINITY;
    let infinite = array!([[minus, minus], [0.0, 0.0]]);
    let masks = [
        AttentionMask::bool(&hide),
        AttentionMask::additive(&infinite),
        AttentionMask::bool(&hide).and_additive(&array!(0.0)),
        AttentionMask::window(0, 0)
            .offset(array!([-5]))
            .and_additive(&infinite),
    ];
    for dtype in [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16] {
        for (case, mask) in masks.iter().enumerate() {
            let want = if case < 3 { [0.0, 3.0] } else { [0.0, 0.0] };
            for (what, got) in means(2, &keys, &masked(mask.clone()), dtype) {
                assert_close(
                    &format!("{what}, mask {case}"),
                    &got,
                    &[1, 1, 2, 1],
                    dtype,
                    &want,
                );
            }
        }
    }
    // A sink takes all the weight of such a row, which is the same.
    let options = AttentionOptions {
        sinks: Some(array!([0.0])),
        ..masked(AttentionMask::bool(&hide))
    };
    for (what, got) in means(2, &keys, &options, Dtype::Float32) {
        assert_close(what, &got, &[1, 1, 2, 1], Dtype::Float32, &[0.0, 2.0]);
    }
}

#[test]
fn mask_dtype_cast_masks_and_sinks_take_the_dtype_of_the_queries() {
    let wide = array!([0.0, f32::NEG_INFINITY]);
    for dtype in [Dtype::Float16, Dtype::Bfloat16] {
        let options = AttentionOptions {
            sinks: Some(array!([0.0])),
            ..masked(AttentionMask::additive(&wide))
        };
        for (what, got) in means(1, &[2.0, 4.0], &options, dtype) {
            assert_close(what, &got, &[1, 1, 1, 1], dtype, &[1.0]);
        }
    }
    let options = masked(AttentionMask::additive(&Array::new([0.0_f64, -1e300])));
    for (what, got) in means(1, &[2.0, 4.0], &options, Dtype::Float32) {
        assert_close(what, &got, &[1, 1, 1, 1], Dtype::Float32, &[2.0]);
    }
}

#[test]
fn sinks_shape_is_one_number_for_each_query_head() {
    let x = mlx::zeros([1, 2, 1, 4]);
    for sinks in [
        array!([1.0]),
        array!([[1.0], [1.0]]),
        array!([[[[1.0]], [[1.0]]]]),
        array!(1.0),
    ] {
        let shape = sinks.shape().unwrap();
        let options = AttentionOptions {
            sinks: Some(sinks),
            ..Default::default()
        };
        for got in [
            fast::scaled_dot_product_attention_with(&x, &x, &x, &options),
            composed::scaled_dot_product_attention(&x, &x, &x, &options),
        ] {
            let text = got.shape().unwrap_err().to_string();
            let want = format!("sinks must be [2], one for each head of q, got {shape:?}");
            assert!(text.contains(&want), "{text}");
        }
    }
}

#[test]
fn a_single_position_with_three_axes_turns_as_with_four() {
    let x = array!([[[1.0, 2.0, 3.0, 4.0]], [[5.0, 6.0, 7.0, 8.0]]]);
    let options = RopeOptions {
        offset: 9.into(),
        ..Default::default()
    };
    let four = x.expand_dims(1);
    for ((what, got), (_, want)) in ropes(&x, &options).into_iter().zip(ropes(&four, &options)) {
        let want = want.to_vec::<f32>().unwrap();
        assert_eq!(got.to_vec::<f32>().unwrap(), want, "{what}");
    }
}
