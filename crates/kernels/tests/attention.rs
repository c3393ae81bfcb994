//! Attention against the formula in `f64`, for every mask, grouped heads, layouts in memory, storage types, sinks, lengths.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{
    AttentionInputs, AttentionShape, Element, Mask, MaskStrides, Strided, Strides, attention,
};
use reference::attention::{Layout, Number, bound, exact, laid_out};
use reference::random;
use rstest::rstest;

#[derive(Clone, Copy, Debug)]
enum Kind {
    None,
    Causal,
    Boolean(bool, bool),
    Additive(bool, bool),
}

/// How an output of this type may differ from a result within `bound` of `wanted`.
fn allowed<T: Number>(bound: f64, wanted: f64) -> f64 {
    bound + (wanted.abs() + bound) * T::ROUNDING + T::TINY
}

fn check<T: Element + Number>(shape: AttentionShape, kind: Kind, with_sinks: bool, layout: Layout) {
    let [batch, heads, queries, keys] = shape.score_sizes();
    let (q, q_strides) = laid_out::<T>(layout, shape.query_sizes(), 3.0, 1);
    let (k, k_strides) = laid_out::<T>(layout, shape.key_sizes(), 3.0, 2);
    let (v, v_strides) = laid_out::<T>(layout, shape.value_sizes(), 1.0, 3);
    let sizes = |per_batch, per_head| {
        let batch = if per_batch { batch } else { 1 };
        [batch, if per_head { heads } else { 1 }, queries, keys]
    };
    let (booleans, numbers): (Vec<bool>, Vec<T>) = match kind {
        Kind::Boolean(b, h) => {
            // Query 2 sees nothing.
            let hidden = |(i, x): (usize, &f32)| *x > -0.2 && i / keys % queries != 2;
            let x = random(sizes(b, h).iter().product(), 4);
            (x.iter().enumerate().map(hidden).collect(), vec![])
        }
        Kind::Additive(b, h) => {
            let number = |x: &f32| if *x > 0.8 { f32::NEG_INFINITY } else { 5.0 * x };
            let x = random(sizes(b, h).iter().product(), 4);
            (vec![], x.iter().map(|x| T::narrow(number(x))).collect())
        }
        _ => (vec![], vec![]),
    };
    let mask = match kind {
        Kind::None => Mask::None,
        Kind::Causal => Mask::Causal,
        Kind::Boolean(b, h) => Mask::Boolean {
            values: &booleans,
            strides: MaskStrides::contiguous(sizes(b, h)),
        },
        Kind::Additive(b, h) => Mask::Additive {
            values: &numbers,
            strides: MaskStrides::contiguous(sizes(b, h)),
        },
    };
    let sinks = random(heads, 5);
    let strided = |values, strides| Strided { values, strides };
    let inputs = AttentionInputs {
        queries: strided(&q, q_strides),
        keys: strided(&k, k_strides),
        values: strided(&v, v_strides),
        mask,
        sinks: with_sinks.then_some(sinks.as_slice()),
    };
    let mut out = vec![T::narrow(f32::NAN); shape.output_sizes().iter().product()];
    attention(shape, inputs, 0.5, &mut out).unwrap();
    let mut worst = 0.0_f64;
    // The roundings of a sum of equal numbers all point one way.
    let alike = if matches!(layout, Layout::OneRow) {
        keys
    } else {
        0
    };
    let bound = bound(shape, inputs, 0.5) + alike as f64 / 16_777_216.0;
    for (i, (got, wanted)) in out.iter().zip(exact(shape, inputs, 0.5)).enumerate() {
        let error = (got.wide() - wanted).abs();
        let allowed = allowed::<T>(bound, wanted);
        let got = got.wide();
        assert!(
            error <= allowed,
            "{shape:?} {kind:?} {layout:?} {i}: {got} {wanted}"
        );
        worst = worst.max(error);
    }
    println!("{kind:?} {queries}x{keys}: {worst:e} of {bound:e}");
}

fn shape(
    heads: (usize, usize),
    queries: usize,
    keys: usize,
    dims: (usize, usize),
) -> AttentionShape {
    AttentionShape {
        batch: 2,
        heads: heads.0,
        kv_heads: heads.1,
        queries,
        keys,
        dim: dims.0,
        value_dim: dims.1,
    }
}

#[rstest]
fn matches_the_formula(
    #[values(
        Kind::None,
        Kind::Causal,
        Kind::Boolean(false, false),
        Kind::Boolean(true, true),
        Kind::Additive(true, false),
        Kind::Additive(false, true)
    )]
    kind: Kind,
    #[values(false, true)] sinks: bool,
    #[values((1, 1), (3, 9), (4, 700), (5, 5), (16, 17), (33, 64), (65, 129), (130, 300))]
    lengths: (usize, usize),
) {
    let shape = shape((4, 2), lengths.0, lengths.1, (64, 64));
    check::<f32>(shape, kind, sinks, Layout::Contiguous);
}

#[rstest]
fn reads_rows_where_they_lie(
    #[values(
        Layout::Contiguous,
        Layout::HeadsInside,
        Layout::Cache,
        Layout::Gaps,
        Layout::OneHead,
        Layout::OneBatch,
        Layout::OneRow
    )]
    layout: Layout,
    #[values((1, 70), (4, 600), (70, 140))] lengths: (usize, usize),
    #[values((64, 64), (5, 3))] dims: (usize, usize),
) {
    let shape = shape((4, 2), lengths.0, lengths.1, dims);
    check::<f32>(shape, Kind::Causal, false, layout);
    check::<f16>(shape, Kind::Additive(true, true), false, layout);
    check::<bf16>(shape, Kind::None, true, layout);
}

#[rstest]
fn half_precision_is_rounded_once(
    #[values(
        Kind::None,
        Kind::Causal,
        Kind::Boolean(true, false),
        Kind::Additive(false, true)
    )]
    kind: Kind,
    #[values((1, 1), (2, 1500), (5, 5), (65, 129))] lengths: (usize, usize),
    #[values((64, 64), (17, 9))] dims: (usize, usize),
) {
    let shape = shape((4, 2), lengths.0, lengths.1, dims);
    check::<f16>(shape, kind, true, Layout::Contiguous);
    check::<bf16>(shape, kind, true, Layout::Contiguous);
}

/// Enough heads that a task has several blocks of queries, of which each sees other keys than the ones before.
#[rstest]
fn blocks_of_queries_share_their_keys(
    #[values(Kind::None, Kind::Causal, Kind::Additive(false, true))] kind: Kind,
    #[values((250, 250), (200, 330), (300, 90))] lengths: (usize, usize),
    #[values((64, 64), (40, 96))] dims: (usize, usize),
) {
    let shape = shape((16, 4), lengths.0, lengths.1, dims);
    check::<bf16>(shape, kind, false, Layout::Contiguous);
}

/// More keys and values than blocks of queries share.
#[rstest]
fn keys_that_are_too_many_are_packed_by_block(#[values(Kind::None, Kind::Causal)] kind: Kind) {
    let shape = shape((1, 1), 70, 300, (1000, 1024));
    check::<bf16>(shape, kind, true, Layout::Contiguous);
}

#[rstest]
fn any_dims_and_groups_work(
    #[values((1, 1), (3, 5), (8, 16), (17, 9), (80, 128))] dims: (usize, usize),
    #[values((1, 1), (6, 6), (6, 2), (5, 1))] heads: (usize, usize),
    #[values(1, 2, 40)] queries: usize,
) {
    let shape = shape(heads, queries, 70, dims);
    check::<f32>(shape, Kind::Causal, true, Layout::Contiguous);
}

#[test]
fn every_number_of_keys_works() {
    for keys in 1..=67 {
        for (queries, kind) in [(9, Kind::None), (2, Kind::None), (9, Kind::Causal)] {
            let shape = shape((2, 1), queries, keys, (16, 8));
            check::<f32>(shape, kind, false, Layout::Contiguous);
        }
    }
}

#[rstest]
fn a_mask_is_repeated_along_any_axis(
    #[values(2, 40)] queries: usize,
    #[values(0, 1, 2, 3)] axis: usize,
    #[values(false, true)] additive: bool,
) {
    let (batch, heads, keys, dim) = (2, 3, 50, 8);
    let shape = AttentionShape {
        batch,
        ..shape((heads, 3), queries, keys, (dim, dim))
    };
    let x: Vec<f32> = random(batch * heads * (queries + 2 * keys) * dim, 1);
    let (q, rest) = x.split_at(batch * heads * queries * dim);
    let (k, v) = rest.split_at(batch * heads * keys * dim);
    let mut sizes = [batch, heads, queries, keys];
    sizes[axis] = 1;
    let numbers = random(sizes.iter().product(), 2);
    let booleans: Vec<bool> = numbers.iter().map(|x| *x > 0.0).collect();
    let strides = MaskStrides::contiguous(sizes);
    let mask = if additive {
        let values = &numbers;
        Mask::Additive { values, strides }
    } else {
        let values = &booleans;
        Mask::Boolean { values, strides }
    };
    let inputs = AttentionInputs {
        mask,
        ..AttentionInputs::contiguous(shape, q, k, v)
    };
    let mut out = vec![f32::NAN; q.len()];
    attention(shape, inputs, 1.0, &mut out).unwrap();
    reference::close(&out, &exact(shape, inputs, 1.0), 1e-5);
}

#[rstest]
#[case(1)]
#[case(20)]
fn large_scores_do_not_overflow(#[case] queries: usize) {
    let shape = AttentionShape {
        batch: 1,
        ..shape((1, 1), queries, 40, (4, 4))
    };
    let (q, k, v) = (vec![1e18; queries * 4], [1e18; 160], [0.25; 160]);
    let inputs = AttentionInputs::contiguous(shape, &q, &k, &v);
    let mut out = vec![0.0_f32; queries * 4];
    attention(shape, inputs, 1.0, &mut out).unwrap();
    assert!(out.iter().all(|x| (x - 0.25).abs() < 1e-6));
}

#[rstest]
#[case(1)]
#[case(20)]
fn what_is_not_a_number_reaches_the_result(#[case] queries: usize) {
    let shape = AttentionShape {
        batch: 1,
        ..shape((1, 1), queries, 40, (4, 4))
    };
    let (q, mut k, v) = (vec![1.0; queries * 4], [1.0; 160], [0.25; 160]);
    k[17] = f32::NAN;
    let inputs = AttentionInputs::contiguous(shape, &q, &k, &v);
    let mut out = vec![0.0_f32; queries * 4];
    attention(shape, inputs, 1.0, &mut out).unwrap();
    assert!(out.iter().all(|x| x.is_nan()));
}

#[test]
fn refuses_shapes_that_do_not_fit() {
    let right = AttentionShape {
        batch: 1,
        ..shape((2, 1), 3, 4, (2, 2))
    };
    let (q, k) = ([0.0; 12], [0.0; 8]);
    let inputs = AttentionInputs::contiguous(right, &q, &k, &k);
    let run = |shape, inputs, size| attention(shape, inputs, 1.0, &mut vec![0.0_f32; size]);
    let refused = |shape, inputs| run(shape, inputs, 12).unwrap_err().to_string();
    run(right, inputs, 12).unwrap();
    assert!(run(right, inputs, 11).is_err());
    for (heads, kv_heads) in [(2, 0), (3, 2)] {
        let shape = AttentionShape {
            heads,
            kv_heads,
            ..right
        };
        assert!(run(shape, inputs, 12).is_err());
    }
    for dim in [0, usize::MAX] {
        assert!(run(AttentionShape { dim, ..right }, inputs, 12).is_err());
    }
    let values = &[true; 11];
    let strides = MaskStrides::contiguous([1, 1, 3, 4]);
    let mask = Mask::Boolean { values, strides };
    assert_eq!(
        refused(right, AttentionInputs { mask, ..inputs }),
        "attention: mask must have at least 12 elements for its strides, got 11"
    );
    let sinks = Some(&[0.0][..]);
    assert_eq!(
        refused(right, AttentionInputs { sinks, ..inputs }),
        "attention: sinks must have 2 elements, got 1"
    );
    run(AttentionShape { keys: 0, ..right }, inputs, 12).unwrap();
    let shape = AttentionShape {
        value_dim: 0,
        ..right
    };
    run(shape, AttentionInputs::contiguous(shape, &q, &k, &[]), 0).unwrap();
}

#[rstest]
#[case(Strides { batch: 0, head: 0, row: 2 }, 4, Some("attention: keys must have at least 8 elements for its strides, got 7"))]
#[case(Strides { batch: 9, head: 9, row: 1 }, 4, None)]
#[case(Strides { batch: 0, head: 0, row: 5 }, 2, None)]
#[case(Strides { batch: 0, head: 0, row: 6 }, 2, Some("attention: keys must have at least 8 elements for its strides, got 7"))]
#[case(Strides { batch: 0, head: 0, row: usize::MAX }, 2, Some("attention: the number of elements must fit in memory"))]
#[case(Strides { batch: 0, head: 0, row: usize::MAX / 2 }, 4, Some("attention: the number of elements must fit in memory"))]
#[case(Strides { batch: 0, head: 0, row: 0 }, usize::MAX, Some("attention: the number of elements must fit in memory"))]
fn strides_never_reach_past_the_slice(
    #[case] strides: Strides,
    #[case] keys: usize,
    #[case] error: Option<&str>,
) {
    let shape = AttentionShape {
        batch: 1,
        ..shape((1, 1), 1, keys, (2, 1))
    };
    let inputs = AttentionInputs {
        queries: Strided {
            values: &[0.0_f32; 2],
            strides,
        },
        keys: Strided {
            values: &[0.0; 7],
            strides,
        },
        values: Strided {
            values: &[0.0],
            strides: Strides {
                batch: 0,
                head: 0,
                row: 0,
            },
        },
        mask: Mask::None,
        sinks: None,
    };
    let result = attention(shape, inputs, 1.0, &mut [0.0]);
    assert_eq!(
        result.err().map(|error| error.to_string()).as_deref(),
        error
    );
}
