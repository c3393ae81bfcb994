//! Attention masks: every kind and combination, fused and composed against the reference.

mod reference;

use mlx::fast::{self, AttentionMask, AttentionOptions, composed};
use mlx::{Array, Dtype, array};
use mlx_testdata::needs;
use reference::attention::{Attention, Mask, attention};
use reference::compare::assert_close_by;
use reference::{Numbers, Tensor};
use rstest::rstest;

const SHAPE: [i32; 4] = [2, 6, 5, 7];
const FLOATS: [Dtype; 3] = [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16];

/// Queries, keys and values for scores of this shape, two query heads for each of the key heads.
fn inputs([batch, heads, queries, keys]: [i32; 4], dtype: Dtype) -> [Tensor; 3] {
    let mut numbers = Numbers::new(31);
    [
        numbers.tensor(1.0, &[batch, heads, queries, 8], dtype),
        numbers.tensor(1.0, &[batch, heads / 2, keys, 8], dtype),
        numbers.tensor(1.0, &[batch, heads / 2, keys, 4], dtype),
    ]
}

fn both([q, k, v]: &[Tensor; 3], options: &AttentionOptions) -> [(&'static str, Array); 2] {
    let (q, k, v) = (q.array(), k.array(), v.array());
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

#[track_caller]
fn check_sinks(
    shape: [i32; 4],
    dtype: Dtype,
    mask: AttentionMask,
    meaning: &Mask<'_>,
    sinks: Option<&Tensor>,
) {
    let tensors = inputs(shape, dtype);
    let [q, k, v] = &tensors;
    let scale = 1.0 / 8_f64.sqrt();
    let want = attention(
        q,
        k,
        v,
        &Attention {
            scale,
            mask: meaning,
            sinks,
            softcap: None,
        },
    );
    let options = AttentionOptions {
        mask,
        sinks: sinks.map(Tensor::array),
        ..Default::default()
    };
    for (what, got) in both(&tensors, &options) {
        let what = format!("{what} {shape:?}");
        assert_close_by(
            2.0,
            &what,
            &got,
            &[shape[0], shape[1], shape[2], 4],
            dtype,
            &want,
        );
    }
}

#[track_caller]
fn check(shape: [i32; 4], dtype: Dtype, mask: AttentionMask, meaning: &Mask<'_>) {
    check_sinks(shape, dtype, mask, meaning, None);
}

/// Whether key `j` is within the window of query `i`.
fn within(i: usize, j: usize, offset: i64, left: Option<i32>, right: Option<i32>) -> bool {
    let distance = j as i64 - (i as i64 + offset);
    left.is_none_or(|left| -distance <= i64::from(left))
        && right.is_none_or(|right| distance <= i64::from(right))
}

#[rstest]
fn windows_are_bands_around_the_position(
    #[values(None, Some(0), Some(1), Some(3), Some(i32::MAX))] left: Option<i32>,
    #[values(None, Some(0), Some(2), Some(i32::MAX))] right: Option<i32>,
    #[values(None, Some(0), Some(2), Some(-3), Some(6), Some(40), Some(-40), Some(i32::MAX), Some(i32::MIN))]
    offset: Option<i32>,
) {
    for [queries, keys] in [[5, 7], [7, 5], [1, 7], [4, 4], [1, 1], [7, 1]] {
        let shape = [2, 6, queries, keys];
        let mut mask = AttentionMask::window(left, right);
        if let Some(offset) = offset {
            mask = mask.offset(offset);
        }
        let offset = i64::from(offset.unwrap_or(keys - queries));
        let meaning = |_, _, i, j| within(i, j, offset, left, right).then_some(0.0);
        check(shape, Dtype::Float32, mask, &meaning);
    }
}

#[rstest]
fn each_batch_row_may_have_its_own_offset(
    #[values(None, Some(2))] left: Option<i32>,
    #[values([0, 2], [6, 1], [-9, 3], [100, 0])] offsets: [i32; 2],
) {
    let mask = AttentionMask::causal()
        .and_window(left, None)
        .offset(Array::new(offsets));
    let meaning =
        |b: usize, _, i, j| within(i, j, i64::from(offsets[b]), left, Some(0)).then_some(0.0);
    check(SHAPE, Dtype::Float32, mask, &meaning);
    let mask = AttentionMask::causal().offset(Array::new([offsets[0]]));
    let meaning = |_, _, i, j| within(i, j, i64::from(offsets[0]), None, Some(0)).then_some(0.0);
    check(SHAPE, Dtype::Float32, mask, &meaning);
}

/// Element of a broadcast mask.
fn at(shape: &[i32], [b, h, i, j]: [usize; 4]) -> usize {
    let from_end = [j, i, h, b].into_iter().zip(shape.iter().rev());
    let mut stride = 1;
    let mut index = 0;
    for (position, &size) in from_end {
        index += if size == 1 { 0 } else { position * stride };
        stride *= size as usize;
    }
    index
}

#[rstest]
fn bool_masks_keep_where_true(
    #[values(&[], &[7], &[1], &[5, 1], &[5, 7], &[1, 5, 7], &[6, 5, 7], &[6, 1, 1], &[2, 1, 1, 7], &[2, 6, 5, 7], &[1, 6, 1, 7])]
    shape: &[i32],
    #[values(0, 30, 70, 100)] percent: u64,
) {
    let count = shape.iter().product::<i32>();
    let values = Numbers::new(32).bools(percent, shape);
    assert_eq!(values.len(), count as usize);
    let keep = Array::from_slice(&values, shape).unwrap();
    for dtype in FLOATS {
        let meaning = |b, h, i, j| values[at(shape, [b, h, i, j])].then_some(0.0);
        check(SHAPE, dtype, AttentionMask::bool(&keep), &meaning);
        let meaning = |b, h, i, j| (values[at(shape, [b, h, i, j])] && j <= i + 2).then_some(0.0);
        check(
            SHAPE,
            dtype,
            AttentionMask::bool(&keep).and_causal(),
            &meaning,
        );
    }
}

#[rstest]
fn additive_masks_are_added_to_scaled_scores(
    #[values(&[], &[7], &[5, 1], &[5, 7], &[6, 5, 7], &[2, 1, 1, 7], &[2, 6, 5, 7])]
    shape: &[i32],
    #[values(0, 60, 100)] percent: u64,
) {
    for dtype in FLOATS {
        let mut numbers = Numbers::new(33);
        let hidden = numbers.bools(percent, shape);
        let mut bias = numbers.tensor(3.0, shape, dtype);
        for (value, hidden) in bias.values.iter_mut().zip(hidden) {
            if hidden {
                *value = f64::NEG_INFINITY;
            }
        }
        let value = |place| Some(bias.values[at(shape, place)]).filter(|value| value.is_finite());
        let mask = || AttentionMask::additive(&bias.array());
        check(SHAPE, dtype, mask(), &|b, h, i, j| value([b, h, i, j]));
        let meaning =
            |b, h, i, j| value([b, h, i, j]).filter(|_| within(i, j, 2, Some(2), Some(1)));
        check(SHAPE, dtype, mask().and_window(2, 1), &meaning);
    }
}

#[test]
fn all_kinds_together_with_an_offset_and_sinks() {
    let mut numbers = Numbers::new(34);
    let keep = numbers.bools(80, &[2, 1, 1, 7]);
    let other = numbers.bools(80, &[5, 7]);
    for dtype in FLOATS {
        let (a, b) = (
            numbers.tensor(2.0, &[6, 1, 7], dtype),
            numbers.tensor(2.0, &[5, 1], dtype),
        );
        let sinks = numbers.tensor(1.0, &[6], dtype);
        let mask = AttentionMask::causal()
            .and_window(4, 3)
            .and_bool(&Array::from_slice(&keep, [2, 1, 1, 7]).unwrap())
            .and_bool(&Array::from_slice(&other, [5, 7]).unwrap())
            .and_additive(&a.array())
            .and_additive(&b.array())
            .offset(1);
        let meaning = |n: usize, h: usize, i: usize, j: usize| {
            let seen = within(i, j, 1, Some(4), Some(0)) && keep[n * 7 + j] && other[i * 7 + j];
            seen.then_some(a.values[h * 7 + j] + b.values[i])
        };
        check(SHAPE, dtype, mask.clone(), &meaning);
        check_sinks(SHAPE, dtype, mask, &meaning, Some(&sinks));
    }
}

#[rstest]
#[case(f64::NEG_INFINITY)]
#[case(f64::MIN)]
#[case(f64::from(f32::MIN))]
#[case(-65504.0)]
fn the_least_number_of_the_dtype_hides_as_minus_infinity_does(#[case] hidden: f64) {
    needs!(Float64);
    // Scores of -20 would take -65504 in float16 over the edge, if it were only added.
    let q = Tensor::filled(-10.0, &[1, 1, 2, 4], Dtype::Float16);
    let k = Tensor::filled(1.0, &[1, 1, 3, 4], Dtype::Float16);
    let v = Tensor::new([1.0, 2.0, 3.0], &[1, 1, 3, 1], Dtype::Float16);
    let bias = Tensor::new(
        [hidden, hidden, hidden, hidden, 0.0, hidden],
        &[2, 3],
        Dtype::Float64,
    );
    let options = AttentionOptions {
        mask: AttentionMask::additive(&bias.array()),
        ..Default::default()
    };
    for (what, got) in both(&[q, k, v], &options) {
        assert_close_by(1.0, what, &got, &[1, 1, 2, 1], Dtype::Float16, &[0.0, 2.0]);
    }
}

#[test]
fn large_finite_numbers_are_only_added() {
    let bias = Tensor::filled(-1e9, &[5, 7], Dtype::Float32);
    let tensors = inputs(SHAPE, Dtype::Float32);
    let options = AttentionOptions {
        mask: AttentionMask::additive(&bias.array()),
        ..Default::default()
    };
    for (what, got) in both(&tensors, &options) {
        // Every key is as far down as the others, so each row is a mean over them and none is zero.
        let values = reference::numbers::read(&got);
        assert!(values.iter().all(|x| x.is_finite()), "{what}");
        assert!(
            values.chunks(4).all(|row| row.iter().any(|&x| x != 0.0)),
            "{what}"
        );
    }
}

#[test]
fn not_a_number_in_a_mask_is_not_hidden_away() {
    let tensors = inputs(SHAPE, Dtype::Float32);
    let options = AttentionOptions {
        mask: AttentionMask::additive(&array!(f32::NAN)),
        ..Default::default()
    };
    for (what, got) in both(&tensors, &options) {
        assert!(
            reference::numbers::read(&got).iter().all(|x| x.is_nan()),
            "{what}"
        );
    }
}

#[rstest]
#[case(AttentionMask::bool(&mlx::zeros_with([7], Dtype::Int32)), "a keep mask must be bool, got int32")]
#[case(AttentionMask::additive(&array!([true])), "an additive mask must be real numbers, got bool")]
#[case(AttentionMask::bool(&mlx::ones_with([5, 6], Dtype::Bool)), "mask must broadcast to [2, 6, 5, 7], got [5, 6]")]
#[case(AttentionMask::additive(&mlx::ones([1, 1, 1, 1, 1])), "mask must broadcast to [2, 6, 5, 7], got [1, 1, 1, 1, 1]")]
#[case(AttentionMask::window(-1, None), "left side of the window must be at least 0, got -1")]
#[case(AttentionMask::window(None, -2), "right side of the window must be at least 0, got -2")]
#[case(AttentionMask::causal().offset(array!([1, 2, 3])), "offset must be a scalar or [2], got [3]")]
#[case(AttentionMask::none().offset(array!([1.0])), "offset must be integers, got float32")]
fn masks_say_what_was_wanted(#[case] mask: AttentionMask, #[case] want: &str) {
    let options = AttentionOptions {
        mask,
        ..Default::default()
    };
    for (what, got) in both(&inputs(SHAPE, Dtype::Float32), &options) {
        let text = got.shape().unwrap_err().to_string();
        let want = format!("fast.scaled_dot_product_attention: {want}");
        assert!(text.starts_with(&want), "{what}: {text}");
        assert!(text.contains("fast_attention_mask.rs:"), "{text}");
    }
}
