//! Attention: fused and composed against the reference, without masks, causal, grouped, with sinks.

mod reference;

use mlx::fast::{self, AttentionMask, AttentionOptions, Backend, FastOp, composed, trace_backends};
use mlx::{Array, Device, Dtype, array};
use mlx_testdata::needs;
use reference::attention::{Attention, Mask, attention, no_mask};
use reference::compare::assert_close_by;
use reference::{Numbers, Tensor};
use rstest::rstest;

/// Sizes of one case.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: i32,
    heads: i32,
    kv_heads: i32,
    queries: i32,
    keys: i32,
    dim: i32,
    value_dim: i32,
}

const SMALL: Sizes = Sizes {
    batch: 2,
    heads: 6,
    kv_heads: 2,
    queries: 5,
    keys: 7,
    dim: 6,
    value_dim: 3,
};

impl Sizes {
    fn inputs(self, size: f64, dtype: Dtype) -> [Tensor; 3] {
        let mut numbers = Numbers::new(21);
        [
            numbers.tensor(
                size,
                &[self.batch, self.heads, self.queries, self.dim],
                dtype,
            ),
            numbers.tensor(
                size,
                &[self.batch, self.kv_heads, self.keys, self.dim],
                dtype,
            ),
            numbers.tensor(
                1.0,
                &[self.batch, self.kv_heads, self.keys, self.value_dim],
                dtype,
            ),
        ]
    }

    fn output(self) -> [i32; 4] {
        [self.batch, self.heads, self.queries, self.value_dim]
    }
}

/// Compares fused and composed with the reference.
#[track_caller]
fn check(
    sizes: Sizes,
    size: f64,
    dtype: Dtype,
    options: &AttentionOptions,
    mask: &Mask<'_>,
    sinks: Option<&Tensor>,
) {
    let [q, k, v] = sizes.inputs(size, dtype);
    let scale = options
        .scale
        .map_or(1.0 / f64::from(sizes.dim).sqrt(), f64::from);
    let softcap = options.softcap.map(f64::from);
    let want = attention(
        &q,
        &k,
        &v,
        &Attention {
            scale,
            mask,
            sinks,
            softcap,
        },
    );
    let (q, k, v) = (q.array(), k.array(), v.array());
    let got = [
        (
            "fused",
            fast::scaled_dot_product_attention_with(&q, &k, &v, options),
        ),
        (
            "composed",
            composed::scaled_dot_product_attention(&q, &k, &v, options),
        ),
    ];
    // A score is rounded to the dtype before it goes through exp: large ones lose as much as they are large.
    let score = size * size * f64::from(sizes.dim) * scale.abs();
    for (what, got) in got {
        let what = format!("{what} {sizes:?}");
        assert_close_by(
            1.0 + score / 8.0,
            &what,
            &got,
            &sizes.output(),
            dtype,
            &want,
        );
    }
}

const FLOATS: [Dtype; 3] = [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16];

#[rstest]
fn attention_is_the_formula_at_every_head_size(
    #[values(1, 3, 5, 33, 64, 80, 96, 128, 256)] dim: i32,
    #[values(1, 2, 7, 8, 9)] queries: i32,
    #[values(false, true)] is_causal: bool,
) {
    let sizes = Sizes {
        queries,
        keys: 9,
        dim,
        value_dim: dim,
        ..SMALL
    };
    let mask = if is_causal {
        AttentionMask::causal()
    } else {
        AttentionMask::none()
    };
    let options = AttentionOptions {
        mask,
        ..Default::default()
    };
    let level = (sizes.keys - queries) as usize;
    let bottom_right = |_, _, i, j| (!is_causal || j <= i + level).then_some(0.0);
    for dtype in FLOATS {
        check(sizes, 1.0, dtype, &options, &bottom_right, None);
    }
}

#[rstest]
#[case(1, 1)]
#[case(3, 1)]
#[case(4, 2)]
#[case(6, 3)]
#[case(8, 8)]
fn neighbouring_heads_share_keys(#[case] heads: i32, #[case] kv_heads: i32) {
    for dtype in FLOATS {
        let sizes = Sizes {
            heads,
            kv_heads,
            ..SMALL
        };
        check(
            sizes,
            1.0,
            dtype,
            &AttentionOptions::default(),
            &no_mask,
            None,
        );
    }
}

#[rstest]
#[case(Sizes { batch: 0, ..SMALL })]
#[case(Sizes { queries: 0, ..SMALL })]
#[case(Sizes { keys: 0, ..SMALL })]
#[case(Sizes { heads: 0, ..SMALL })]
#[case(Sizes { heads: 0, kv_heads: 0, ..SMALL })]
#[case(Sizes { dim: 0, ..SMALL })]
#[case(Sizes { value_dim: 0, ..SMALL })]
#[case(Sizes { batch: 1, queries: 1, keys: 1, ..SMALL })]
fn empty_and_single_sizes_are_defined(#[case] sizes: Sizes) {
    let causal = AttentionOptions {
        mask: AttentionMask::causal(),
        ..Default::default()
    };
    for options in [AttentionOptions::default(), causal] {
        let [q, k, v] = sizes.inputs(1.0, Dtype::Float32).map(|x| x.array());
        let got = [
            fast::scaled_dot_product_attention_with(&q, &k, &v, &options),
            composed::scaled_dot_product_attention(&q, &k, &v, &options),
        ];
        for got in got {
            assert_eq!(got.shape().unwrap(), sizes.output());
            let values = got.to_vec::<f32>().unwrap();
            assert!(values.iter().all(|x| x.is_finite()));
            if sizes.keys == 0 {
                assert!(values.iter().all(|&x| x == 0.0));
            }
        }
    }
}

#[test]
fn the_scale_may_be_any_number() {
    for scale in [1.0, 0.0, -0.5, 3.0] {
        let options = AttentionOptions {
            scale: Some(scale),
            ..Default::default()
        };
        check(SMALL, 1.0, Dtype::Float32, &options, &no_mask, None);
    }
}

#[test]
fn huge_scores_do_not_overflow() {
    let options = AttentionOptions {
        scale: Some(1.0),
        ..Default::default()
    };
    let sizes = Sizes {
        batch: 1,
        heads: 1,
        kv_heads: 1,
        queries: 2,
        keys: 3,
        dim: 1,
        value_dim: 1,
    };
    let q = Tensor::new([1e4, -1e4], &[1, 1, 2, 1], Dtype::Float32);
    let k = Tensor::new([1e4, -1e4, 5.0], &[1, 1, 3, 1], Dtype::Float32);
    let v = Tensor::new([1.0, 2.0, 3.0], &[1, 1, 3, 1], Dtype::Float32);
    let want = [1.0, 2.0];
    let (q, k, v) = (q.array(), k.array(), v.array());
    for got in [
        fast::scaled_dot_product_attention_with(&q, &k, &v, &options),
        composed::scaled_dot_product_attention(&q, &k, &v, &options),
    ] {
        assert_close_by(1.0, "huge", &got, &sizes.output(), Dtype::Float32, &want);
    }
}

#[rstest]
fn sinks_take_part_without_a_value(
    #[values(&[0.0; 6], &[-2.0, 1.0, 5.0, 0.5, -1.0, 3.0], &[90.0, -90.0, 0.0, 1.0, 2.0, -3.0])]
    sinks: &[f64],
    #[values(2, 6)] kv_heads: i32,
    #[values(false, true)] is_causal: bool,
) {
    for dtype in FLOATS {
        let sinks = Tensor::new(sinks.iter().copied(), &[6], dtype);
        let mask = if is_causal {
            AttentionMask::causal()
        } else {
            AttentionMask::none()
        };
        let options = AttentionOptions {
            mask,
            sinks: Some(sinks.array()),
            ..Default::default()
        };
        let level = |_, _, i, j| (!is_causal || j <= i + 2).then_some(0.0);
        check(
            Sizes { kv_heads, ..SMALL },
            1.0,
            dtype,
            &options,
            &level,
            Some(&sinks),
        );
    }
}

#[test]
fn a_sink_of_minus_infinity_is_no_sink() {
    let sinks = Tensor::filled(f64::NEG_INFINITY, &[6], Dtype::Float32);
    let options = AttentionOptions {
        sinks: Some(sinks.array()),
        ..Default::default()
    };
    check(SMALL, 1.0, Dtype::Float32, &options, &no_mask, None);
}

#[rstest]
fn softcap_limits_scores(#[values(0.5, 2.0, 50.0)] softcap: f32, #[values(2, 6)] kv_heads: i32) {
    let options = AttentionOptions {
        softcap: Some(softcap),
        ..Default::default()
    };
    let sizes = Sizes { kv_heads, ..SMALL };
    check(sizes, 3.0, Dtype::Float32, &options, &no_mask, None);
}

#[test]
fn the_result_has_the_dtype_of_all_three() {
    needs!(Float64);
    let x = |dtype| mlx::ones_with([1, 1, 2, 4], dtype);
    let cases = [
        (
            [Dtype::Float16, Dtype::Float16, Dtype::Float32],
            Dtype::Float32,
        ),
        (
            [Dtype::Float16, Dtype::Bfloat16, Dtype::Float16],
            Dtype::Float32,
        ),
        (
            [Dtype::Bfloat16, Dtype::Int32, Dtype::Bfloat16],
            Dtype::Bfloat16,
        ),
        (
            [Dtype::Float64, Dtype::Float32, Dtype::Float16],
            Dtype::Float64,
        ),
    ];
    let options = AttentionOptions::default();
    for ([q, k, v], want) in cases {
        let (q, k, v) = (x(q), x(k), x(v));
        for got in [
            fast::scaled_dot_product_attention_with(&q, &k, &v, &options),
            composed::scaled_dot_product_attention(&q, &k, &v, &options),
        ] {
            assert_close_by(1.0, "ones", &got, &[1, 1, 2, 4], want, &[1.0; 8]);
        }
    }
}

#[test]
fn a_forced_kernel_that_is_not_there_is_an_error_with_a_reason() {
    let x = mlx::ones([1, 1, 2, 64]);
    let options = AttentionOptions {
        force_fused: true,
        ..Default::default()
    };
    let (result, calls) =
        trace_backends(|| fast::scaled_dot_product_attention_with(&x, &x, &x, &options));
    match Device::current().unwrap() {
        // Kernels of ours, where they are, are as good.
        Device::Cpu if result.shape().is_ok() => {
            assert_eq!(fast::backend(&result).unwrap(), Backend::Host);
            result.eval().unwrap();
        }
        Device::Cpu => {
            let text = result.shape().unwrap_err().to_string();
            assert!(
                text.contains("no fused kernel is available in CPU backend"),
                "{text}"
            );
        }
        Device::Gpu => assert_eq!(calls, [(FastOp::ScaledDotProductAttention, Backend::Fused)]),
    }
    let softcap = AttentionOptions {
        softcap: Some(1.0),
        ..options
    };
    let text = fast::scaled_dot_product_attention_with(&x, &x, &x, &softcap)
        .shape()
        .unwrap_err()
        .to_string();
    assert!(text.contains("no kernel has softcap"), "{text}");
}

fn zeros(shape: [i32; 4]) -> Array {
    mlx::zeros(shape)
}

#[rstest]
#[case(array!([[[1.0]]]), zeros([1, 1, 1, 1]), zeros([1, 1, 1, 1]), "q must be [batch, heads, seq, dim], got [1, 1, 1]")]
#[case(zeros([1, 2, 3, 4]), zeros([1, 2, 5, 3]), zeros([1, 2, 5, 4]), "k must be [1, 2, 5, 4] to match q [1, 2, 3, 4] and v [1, 2, 5, 4], got [1, 2, 5, 3]")]
#[case(zeros([1, 2, 3, 4]), zeros([1, 2, 5, 4]), zeros([1, 2, 6, 4]), "k must be [1, 2, 6, 4] to match")]
#[case(zeros([2, 2, 3, 4]), zeros([2, 2, 5, 4]), zeros([1, 2, 5, 4]), "v must have batch 2 as q, got [1, 2, 5, 4]")]
#[case(zeros([1, 3, 3, 4]), zeros([1, 2, 5, 4]), zeros([1, 2, 5, 4]), "heads of q must be a multiple of those of k and v, got 3 and 2")]
#[case(zeros([1, 3, 3, 4]), zeros([1, 0, 5, 4]), zeros([1, 0, 5, 4]), "heads of q must be a multiple of those of k and v, got 3 and 0")]
#[case(zeros([1, 1, 1, 1]).astype(Dtype::Int32), zeros([1, 1, 1, 1]).astype(Dtype::Int32), zeros([1, 1, 1, 1]).astype(Dtype::Int32), "wanted a floating dtype, got int32 with int32 with int32")]
fn attention_says_what_was_wanted(
    #[case] q: Array,
    #[case] k: Array,
    #[case] v: Array,
    #[case] want: &str,
) {
    let options = AttentionOptions::default();
    for (what, got) in [
        (
            "fused",
            fast::scaled_dot_product_attention_with(&q, &k, &v, &options),
        ),
        (
            "composed",
            composed::scaled_dot_product_attention(&q, &k, &v, &options),
        ),
    ] {
        let text = got.shape().unwrap_err().to_string();
        let want = format!("fast.scaled_dot_product_attention: {want}");
        assert!(text.starts_with(&want), "{what}: {text}");
        assert!(text.contains("fast_attention.rs:"), "{text}");
    }
}

#[test]
fn keys_without_heads_never_reach_a_division() {
    let (q, k) = (zeros([1, 2, 3, 4]), zeros([1, 0, 3, 4]));
    let op = mlx::Op::ScaledDotProductAttention {
        scale: 1.0,
        mask: mlx::compiler_api::MaskMode::None,
        sinks: false,
        force_fused: false,
    };
    let text = mlx::bind(op, &[&q, &k, &k])
        .shape()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("keys must have at least 1 head, got 0"),
        "{text}"
    );
}
