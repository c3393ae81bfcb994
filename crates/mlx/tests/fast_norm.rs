//! RMS normalization, layer normalization and cross entropy: fused and composed against the reference.

mod reference;

use mlx::fast::{self, composed};
use mlx::{Array, Dtype, array};
use mlx_testdata::needs;
use reference::compare::assert_close_by;
use reference::{Numbers, Tensor, assert_close, norm};
use rstest::rstest;

const FLOATS: [Dtype; 3] = [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16];

/// Fused and composed, with what they are called in messages.
fn rms_norms(x: &Array, weight: Option<&Array>, eps: f32) -> [(&'static str, Array); 2] {
    [
        ("fused", fast::rms_norm(x, weight, eps)),
        ("composed", composed::rms_norm(x, weight, eps)),
    ]
}

fn layer_norms(
    x: &Array,
    weight: Option<&Array>,
    bias: Option<&Array>,
    eps: f32,
) -> [(&'static str, Array); 2] {
    [
        ("fused", fast::layer_norm(x, weight, bias, eps)),
        ("composed", composed::layer_norm(x, weight, bias, eps)),
    ]
}

#[rstest]
fn rms_norm_is_the_formula(
    #[values(&[64], &[2, 8, 64], &[3, 1], &[1, 5, 7], &[2, 0], &[0, 4], &[2, 1, 3, 257])]
    shape: &[i32],
    #[values(true, false)] has_weight: bool,
    #[values(1.0, 1000.0, 1e-3)] size: f64,
) {
    for dtype in FLOATS {
        let mut numbers = Numbers::new(1);
        let x = numbers.tensor(size, shape, dtype);
        let weight = numbers.tensor(2.0, &shape[shape.len() - 1..], dtype);
        let weight = has_weight.then_some(&weight);
        let want = norm::rms_norm(&x, weight, 1e-5);
        let weight = weight.map(Tensor::array);
        for (what, got) in rms_norms(&x.array(), weight.as_ref(), 1e-5) {
            assert_close(what, &got, shape, dtype, &want);
        }
    }
}

#[rstest]
fn layer_norm_is_the_formula(
    #[values(&[64], &[2, 8, 64], &[3, 1], &[1, 5, 7], &[2, 0], &[0, 4], &[2, 1, 3, 257])]
    shape: &[i32],
    #[values(true, false)] has_weight: bool,
    #[values(true, false)] has_bias: bool,
) {
    for dtype in FLOATS {
        let mut numbers = Numbers::new(2);
        let x = numbers.tensor(3.0, shape, dtype);
        let weight = numbers.tensor(2.0, &shape[shape.len() - 1..], dtype);
        let bias = numbers.tensor(1.0, &shape[shape.len() - 1..], dtype);
        let (weight, bias) = (has_weight.then_some(&weight), has_bias.then_some(&bias));
        let want = norm::layer_norm(&x, weight, bias, 1e-5);
        let (weight, bias) = (weight.map(Tensor::array), bias.map(Tensor::array));
        for (what, got) in layer_norms(&x.array(), weight.as_ref(), bias.as_ref(), 1e-5) {
            assert_close(what, &got, shape, dtype, &want);
        }
    }
}

#[rstest]
fn a_row_of_zeros_stays_finite_through_eps(#[values(0.0, 7.0)] value: f64) {
    let x = Tensor::filled(value, &[2, 8], Dtype::Float32);
    for (what, got) in rms_norms(&x.array(), None, 1e-6) {
        assert_close(
            what,
            &got,
            &x.shape,
            x.dtype,
            &norm::rms_norm(&x, None, 1e-6),
        );
    }
    for (what, got) in layer_norms(&x.array(), None, None, 1e-6) {
        assert_close(what, &got, &x.shape, x.dtype, &[0.0; 16]);
    }
}

#[test]
fn values_far_larger_than_their_spread_keep_their_layer_norm() {
    let spread = [-3.0, -1.0, 1.0, 3.0].map(|x| 4096.0 + x);
    let x = Tensor::new(spread, &[1, 4], Dtype::Float32);
    let want = norm::layer_norm(&x, None, None, 1e-5);
    for (what, got) in layer_norms(&x.array(), None, None, 1e-5) {
        assert_close(what, &got, &x.shape, x.dtype, &want);
    }
}

#[test]
fn squares_beyond_float16_do_not_overflow() {
    let x = Tensor::new([60000.0, -30000.0, 0.0, 1.0], &[1, 4], Dtype::Float16);
    let want = norm::rms_norm(&x, None, 1e-5);
    for (what, got) in rms_norms(&x.array(), None, 1e-5) {
        assert_close(what, &got, &x.shape, x.dtype, &want);
    }
}

#[rstest]
#[case(Dtype::Float16, Some(Dtype::Float32), Dtype::Float32)]
#[case(Dtype::Float16, Some(Dtype::Bfloat16), Dtype::Float32)]
#[case(Dtype::Float32, Some(Dtype::Float16), Dtype::Float32)]
#[case(Dtype::Bfloat16, Some(Dtype::Bfloat16), Dtype::Bfloat16)]
#[case(Dtype::Float64, None, Dtype::Float64)]
#[case(Dtype::Int32, Some(Dtype::Float16), Dtype::Float16)]
fn rms_norm_has_the_dtype_of_both(
    #[case] x: Dtype,
    #[case] weight: Option<Dtype>,
    #[case] want: Dtype,
) {
    needs!(Float64 if want);
    let x = array!([[1.0, 2.0, 4.0]]).astype(x);
    let weight = weight.map(|dtype| mlx::ones_with([3], dtype));
    for (what, got) in rms_norms(&x, weight.as_ref(), 0.0) {
        let want_values = [1.0, 2.0, 4.0].map(|x: f64| x / 7_f64.sqrt());
        assert_close(what, &got, &[1, 3], want, &want_values);
    }
}

#[rstest]
#[case(Dtype::Float16, None, Some(Dtype::Float32), Dtype::Float16)]
#[case(
    Dtype::Float16,
    Some(Dtype::Float16),
    Some(Dtype::Float32),
    Dtype::Float32
)]
#[case(Dtype::Float16, Some(Dtype::Float32), None, Dtype::Float32)]
#[case(Dtype::Float64, None, None, Dtype::Float64)]
fn a_bias_takes_part_in_promotion_only_beside_a_weight(
    #[case] x: Dtype,
    #[case] weight: Option<Dtype>,
    #[case] bias: Option<Dtype>,
    #[case] want: Dtype,
) {
    needs!(Float64 if want);
    let x = array!([[1.0, 3.0]]).astype(x);
    let weight = weight.map(|dtype| mlx::ones_with([2], dtype));
    let bias = bias.map(|dtype| mlx::ones_with([2], dtype));
    for (what, got) in layer_norms(&x, weight.as_ref(), bias.as_ref(), 0.0) {
        let shift = if bias.is_some() { 1.0 } else { 0.0 };
        assert_close(what, &got, &[1, 2], want, &[shift - 1.0, shift + 1.0]);
    }
}

#[test]
fn norms_take_transposed_inputs() {
    let x = Numbers::new(3).tensor(1.0, &[4, 6], Dtype::Float32);
    let turned: Vec<f64> = (0..24).map(|i| x.values[(i % 4) * 6 + i / 4]).collect();
    let turned = Tensor::new(turned, &[6, 4], Dtype::Float32);
    let (rms, layer) = (
        norm::rms_norm(&turned, None, 1e-5),
        norm::layer_norm(&turned, None, None, 1e-5),
    );
    for (what, got) in rms_norms(&x.array().t(), None, 1e-5) {
        assert_close(what, &got, &[6, 4], x.dtype, &rms);
    }
    for (what, got) in layer_norms(&x.array().t(), None, None, 1e-5) {
        assert_close(what, &got, &[6, 4], x.dtype, &layer);
    }
}

#[test]
fn norms_say_what_was_wanted_and_what_came() {
    let (x, short) = (mlx::zeros([2, 8, 64]), mlx::zeros([32]));
    let (line, bad) = (line!(), fast::rms_norm(&x, &short, 1e-5));
    let text = bad.shape().unwrap_err().to_string();
    let want = "fast.rms_norm: weight must be [64] to match x [2, 8, 64], got [32]; inputs float32[2, 8, 64], \
                float32[32]; at ";
    assert!(text.starts_with(want), "{text}");
    assert!(text.contains(&format!("fast_norm.rs:{line}:")), "{text}");

    let error = |array: Array| array.shape().unwrap_err().to_string();
    for (_, got) in rms_norms(&array!([1, 2]), None, 1e-5) {
        assert!(error(got).starts_with("fast.rms_norm: wanted a floating dtype, got int32;"));
    }
    for (_, got) in rms_norms(&array!(1.0), None, 1e-5) {
        assert!(error(got).contains("x must have at least 1 axis, got a scalar"));
    }
    for (_, got) in layer_norms(&x, None, Some(&short), 1e-5) {
        let text = error(got);
        assert!(
            text.starts_with("fast.layer_norm: bias must be [64] to match"),
            "{text}"
        );
    }
    let first = array!([1.0, 2.0]) + array!([1.0, 2.0, 3.0]);
    assert!(error(fast::layer_norm(&first, None, None, 1e-5)).starts_with("add: "));
}

fn cross_entropies(logits: &Array, targets: &Array) -> [(&'static str, Array); 2] {
    [
        ("fused", fast::cross_entropy(logits, targets)),
        ("composed", composed::cross_entropy(logits, targets)),
    ]
}

#[rstest]
fn cross_entropy_is_the_formula(
    #[values(&[5, 11], &[2, 3, 7], &[1, 1], &[0, 4], &[13], &[2, 1000])] shape: &[i32],
    #[values(Dtype::Int32, Dtype::Uint8, Dtype::Int64, Dtype::Int8, Dtype::Uint32)] index: Dtype,
) {
    for dtype in FLOATS {
        let mut numbers = Numbers::new(4);
        let logits = numbers.tensor(5.0, shape, dtype);
        let (rows, classes) = shape.split_at(shape.len() - 1);
        let n: i32 = rows.iter().product();
        let targets: Vec<i32> = (0..n)
            .map(|_| numbers.below(classes[0].min(100) as u64) as i32)
            .collect();
        let picked: Vec<usize> = targets.iter().map(|&target| target as usize).collect();
        let want = norm::cross_entropy(&logits, &picked);
        let targets = Array::from_slice(&targets, rows).unwrap().astype(index);
        // The result is float32, but MLX's own composition on the CPU rounds to the dtype of the logits before.
        let slack =
            reference::compare::tolerance(dtype) / reference::compare::tolerance(Dtype::Float32);
        for (what, got) in cross_entropies(&logits.array(), &targets) {
            let slack = if what == "composed" { 1.0 } else { slack };
            assert_close_by(slack, what, &got, rows, Dtype::Float32, &want);
        }
    }
}

#[test]
fn huge_logits_do_not_overflow() {
    let logits = Tensor::new([3e4, -3e4, 3e4, 1e38, 0.0, -1e38], &[2, 3], Dtype::Float32);
    let want = norm::cross_entropy(&logits, &[0, 1]);
    // The difference of two numbers around 3e4 is exact to half a unit in their last place, 0.001.
    let slack = 0.001 / reference::compare::tolerance(Dtype::Float32);
    for (what, got) in cross_entropies(&logits.array(), &array!([0, 1])) {
        assert_close_by(slack, what, &got, &[2], Dtype::Float32, &want);
    }
}

#[rstest]
#[case(3)]
#[case(-1)]
#[case(i32::MIN)]
#[case(i32::MAX)]
fn a_target_out_of_range_is_an_error(#[case] target: i32) {
    needs!(ErrorsOfValues);
    let logits = array!([[1.0, 2.0, 3.0]]);
    for (what, got) in cross_entropies(&logits, &array!([target])) {
        let text = got.to_vec::<f32>().unwrap_err().to_string();
        assert!(text.contains("out of range"), "{what}: {text}");
    }
    // A target that is not yet computed is looked at when it is.
    let lazy = array!([target]) * 1;
    for (what, got) in cross_entropies(&logits, &lazy) {
        let text = got.to_vec::<f32>().unwrap_err().to_string();
        assert!(text.contains("out of range"), "{what}: {text}");
    }
}

#[rstest]
#[case(array!([[1.0, 2.0]]), array!([0, 1]), "targets must be [1] to match logits [1, 2], got [2]")]
#[case(array!([[1.0, 2.0]]), array!([0.0]), "targets must be integers, got float32")]
#[case(array!([[1.0, 2.0]]), array!([true]), "targets must be integers, got bool")]
#[case(array!([[1, 2]]), array!([0]), "wanted a floating dtype, got int32")]
#[case(array!(1.0), array!(0), "logits must have at least 1 axis, got a scalar")]
#[case(mlx::zeros([1, 0]), array!([0]), "logits must have at least 1 class, got 0")]
fn cross_entropy_says_what_was_wanted(
    #[case] logits: Array,
    #[case] targets: Array,
    #[case] want: &str,
) {
    for (what, got) in cross_entropies(&logits, &targets) {
        let text = got.shape().unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("fast.cross_entropy: {want}")),
            "{what}: {text}"
        );
    }
}
