//! Attention against the formula in `f64`, for every mask, grouped heads, caches with room, sinks and lengths.

mod reference;

use mlx_kernels::{AttentionInputs, AttentionShape, Mask, attention};
use reference::random;
use rstest::rstest;

/// `2^-24 * (32 + size)`, where `size` is the largest `scale * sum(|q| * |k|)`; values are below 1 here.
fn bound(q: &[f32], k: &[f32], dim: usize, scale: f64) -> f64 {
    let norm = |rows: &[f32]| {
        let squares = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        rows.chunks(dim).map(squares).fold(0.0, f64::max).sqrt()
    };
    (32.0 + scale * norm(q) * norm(k)) / (1 << 24) as f64
}

/// The formula, score by score; a query that sees nothing gets zeros.
fn exact(shape: AttentionShape, inputs: AttentionInputs, scale: f32) -> Vec<f64> {
    let AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        capacity,
        dim,
        value_dim,
    } = shape;
    let mut out = Vec::new();
    for row in 0..batch * heads * queries {
        let (b, h, i) = (row / queries / heads, row / queries % heads, row % queries);
        let kv = (b * kv_heads + h / (heads / kv_heads)) * capacity;
        let at = |per_batch: bool, per_head: bool, j: usize| {
            let n_heads = if per_head { heads } else { 1 };
            let head = if per_head { h } else { 0 };
            (((if per_batch { b } else { 0 }) * n_heads + head) * queries + i) * keys + j
        };
        let score = |j: usize| -> f64 {
            let q = &inputs.queries[row * dim..][..dim];
            let k = &inputs.keys[(kv + j) * dim..][..dim];
            let dot: f64 = q
                .iter()
                .zip(k)
                .map(|(q, k)| f64::from(*q) * f64::from(*k))
                .sum();
            let score = dot * f64::from(scale);
            match inputs.mask {
                Mask::Causal if j + queries > i + keys => f64::NEG_INFINITY,
                Mask::Boolean {
                    values,
                    per_batch,
                    per_head,
                } if !values[at(per_batch, per_head, j)] => f64::NEG_INFINITY,
                Mask::Additive {
                    values,
                    per_batch,
                    per_head,
                } => score + f64::from(values[at(per_batch, per_head, j)]),
                _ => score,
            }
        };
        let scores: Vec<f64> = (0..keys).map(score).collect();
        let sink = inputs
            .sinks
            .map_or(f64::NEG_INFINITY, |sinks| f64::from(sinks[h]));
        let largest = scores.iter().copied().fold(sink, f64::max);
        let power = |score: f64| {
            if score == f64::NEG_INFINITY {
                0.0
            } else {
                (score - largest).exp()
            }
        };
        let sum: f64 = scores.iter().map(|score| power(*score)).sum::<f64>() + power(sink);
        for d in 0..value_dim {
            let value = |j: usize| f64::from(inputs.values[(kv + j) * value_dim + d]);
            let total: f64 = (0..keys).map(|j| power(scores[j]) * value(j)).sum();
            out.push(if sum == 0.0 { 0.0 } else { total / sum });
        }
    }
    out
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    None,
    Causal,
    Boolean(bool, bool),
    Additive(bool, bool),
}

fn check(shape: AttentionShape, kind: Kind, with_sinks: bool) {
    let AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        capacity,
        dim,
        value_dim,
    } = shape;
    let q: Vec<f32> = random(batch * heads * queries * dim, 1)
        .iter()
        .map(|x| 3.0 * x)
        .collect();
    let k: Vec<f32> = random(batch * kv_heads * capacity * dim, 2)
        .iter()
        .map(|x| 3.0 * x)
        .collect();
    let v = random(batch * kv_heads * capacity * value_dim, 3);
    let count = |per_batch: bool, per_head: bool| {
        (if per_batch { batch } else { 1 }) * (if per_head { heads } else { 1 }) * queries * keys
    };
    let (booleans, numbers): (Vec<bool>, Vec<f32>) = match kind {
        Kind::Boolean(b, h) => {
            // Query 2 sees nothing.
            let hidden = |i: usize, x: f32| x > -0.2 && i / keys % queries != 2;
            (
                random(count(b, h), 4)
                    .iter()
                    .enumerate()
                    .map(|(i, x)| hidden(i, *x))
                    .collect(),
                vec![],
            )
        }
        Kind::Additive(b, h) => {
            let number = |x: &f32| if *x > 0.8 { f32::NEG_INFINITY } else { 5.0 * x };
            (vec![], random(count(b, h), 4).iter().map(number).collect())
        }
        _ => (vec![], vec![]),
    };
    let mask = match kind {
        Kind::None => Mask::None,
        Kind::Causal => Mask::Causal,
        Kind::Boolean(per_batch, per_head) => Mask::Boolean {
            values: &booleans,
            per_batch,
            per_head,
        },
        Kind::Additive(per_batch, per_head) => Mask::Additive {
            values: &numbers,
            per_batch,
            per_head,
        },
    };
    let sinks = random(heads, 5);
    let sinks = with_sinks.then_some(sinks.as_slice());
    let inputs = AttentionInputs {
        queries: &q,
        keys: &k,
        values: &v,
        mask,
        sinks,
    };
    let mut out = vec![f32::NAN; batch * heads * queries * value_dim];
    attention(shape, inputs, 0.5, &mut out).unwrap();
    let mut worst = 0.0_f64;
    let bound = bound(&q, &k, dim, 0.5);
    for (i, (got, wanted)) in out.iter().zip(exact(shape, inputs, 0.5)).enumerate() {
        let error = (f64::from(*got) - wanted).abs();
        assert!(error <= bound, "{shape:?} {kind:?} {i}: {got} {wanted}");
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
        capacity: keys,
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
    check(shape((4, 2), lengths.0, lengths.1, (64, 64)), kind, sinks);
}

#[rstest]
fn any_dims_and_groups_work(
    #[values((1, 1), (3, 5), (8, 16), (17, 9), (80, 128))] dims: (usize, usize),
    #[values((1, 1), (6, 6), (6, 2), (5, 1))] heads: (usize, usize),
    #[values(1, 2, 40)] queries: usize,
) {
    check(shape(heads, queries, 70, dims), Kind::Causal, true);
}

#[test]
fn every_number_of_keys_works() {
    for keys in 1..=67 {
        check(shape((2, 1), 9, keys, (16, 8)), Kind::None, false);
        check(shape((2, 1), 2, keys, (16, 8)), Kind::None, false);
        check(shape((2, 1), 9, keys, (16, 8)), Kind::Causal, false);
    }
}

#[rstest]
#[case(1)]
#[case(20)]
fn reads_a_cache_with_room(#[case] queries: usize) {
    let shape = AttentionShape {
        capacity: 256,
        ..shape((4, 2), queries, 90, (32, 32))
    };
    check(shape, Kind::Causal, false);
}

#[rstest]
#[case(1)]
#[case(20)]
fn large_scores_do_not_overflow(#[case] queries: usize) {
    let shape = AttentionShape {
        batch: 1,
        ..shape((1, 1), queries, 40, (4, 4))
    };
    let q = vec![1e18; queries * 4];
    let k = vec![1e18; 40 * 4];
    let v = vec![0.25; 40 * 4];
    let inputs = AttentionInputs {
        queries: &q,
        keys: &k,
        values: &v,
        mask: Mask::None,
        sinks: None,
    };
    let mut out = vec![0.0; queries * 4];
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
    let q = vec![1.0; queries * 4];
    let mut k = vec![1.0; 40 * 4];
    k[17] = f32::NAN;
    let v = vec![0.25; 40 * 4];
    let inputs = AttentionInputs {
        queries: &q,
        keys: &k,
        values: &v,
        mask: Mask::None,
        sinks: None,
    };
    let mut out = vec![0.0; queries * 4];
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
    let inputs = AttentionInputs {
        queries: &q,
        keys: &k,
        values: &k,
        mask: Mask::None,
        sinks: None,
    };
    let run = |shape, inputs, size| attention(shape, inputs, 1.0, &mut vec![0.0; size]);
    run(right, inputs, 12).unwrap();
    assert!(run(right, inputs, 11).is_err());
    assert!(
        run(
            AttentionShape {
                kv_heads: 0,
                ..right
            },
            inputs,
            12
        )
        .is_err()
    );
    assert!(
        run(
            AttentionShape {
                heads: 3,
                kv_heads: 2,
                ..right
            },
            inputs,
            12
        )
        .is_err()
    );
    assert!(
        run(
            AttentionShape {
                capacity: 3,
                ..right
            },
            inputs,
            12
        )
        .is_err()
    );
    assert!(
        run(
            AttentionShape {
                dim: usize::MAX,
                ..right
            },
            inputs,
            12
        )
        .is_err()
    );
    let mask = Mask::Boolean {
        values: &[true; 11],
        per_batch: false,
        per_head: false,
    };
    let error = run(right, AttentionInputs { mask, ..inputs }, 12).unwrap_err();
    assert_eq!(
        error.to_string(),
        "attention: mask must have 12 elements, got 11"
    );
    let error = run(
        right,
        AttentionInputs {
            sinks: Some(&[0.0]),
            ..inputs
        },
        12,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "attention: sinks must have 2 elements, got 1"
    );
    run(AttentionShape { keys: 0, ..right }, inputs, 12).unwrap();
    run(
        AttentionShape {
            value_dim: 0,
            ..right
        },
        AttentionInputs {
            values: &[],
            ..inputs
        },
        0,
    )
    .unwrap();
}
