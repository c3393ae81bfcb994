//! Which types and layouts kernels take: one case for each condition.

use rstest::rstest;

use super::*;
use crate::ArrayType;
use crate::Dtype::{Bfloat16, Bool, Complex64, Float16, Float32, Float64, Int32, Int64};
use crate::op::FftNorm;
use crate::shape::row_major_strides;

fn array(shape: &[i32], dtype: Dtype) -> ArrayType {
    ArrayType::new(shape.to_vec(), dtype)
}

/// With strides of row-major order.
fn supported(op: &Op, inputs: &[ArrayType], output: &ArrayType) -> bool {
    let strides: Vec<Vec<i64>> = inputs.iter().map(|x| row_major_strides(&x.shape)).collect();
    let inputs = inputs.iter().zip(&strides);
    let inputs: Vec<Layout<'_>> = inputs
        .map(|(x, strides)| Layout::new(x.dtype, &x.shape, strides))
        .collect();
    let strides = row_major_strides(&output.shape);
    supports(
        op,
        &inputs,
        Layout::new(output.dtype, &output.shape, &strides),
    )
}

fn prepared_of(op: &Op, inputs: &[ArrayType]) -> Option<Prepared> {
    let inputs: Vec<Layout<'_>> = inputs
        .iter()
        .map(|x| Layout::new(x.dtype, &x.shape, &[]))
        .collect();
    prepare(op, &inputs)
}

#[rstest]
#[case::exp(Op::Exp, &[32], Float32, true)]
#[case::exp_of_few(Op::Exp, &[31], Float32, false)]
#[case::exp_of_doubles(Op::Exp, &[32], Float64, true)]
#[case::exp_of_complex_numbers(Op::Exp, &[32], Complex64, false)]
#[case::log2(Op::Log2, &[32], Float32, true)]
#[case::integers_have_no_fraction(Op::Floor, &[4096], Int32, false)]
#[case::negative_integers(Op::Negative, &[4096], Int32, true)]
#[case::square(Op::Square, &[4096], Bfloat16, true)]
#[case::square_of_few(Op::Square, &[4095], Float32, false)]
#[case::rsqrt_of_halves(Op::Rsqrt, &[4096], Float16, true)]
#[case::softmax(Op::Softmax { axes: vec![-1], precise: false }, &[2, 3], Float16, true)]
#[case::softmax_of_another_axis(Op::Softmax { axes: vec![0], precise: false }, &[2, 3], Float16, false)]
#[case::logsumexp_of_halves(Op::Logsumexp { axes: vec![-1], keepdims: true }, &[2, 3], Float16, false)]
#[case::sort(Op::Sort { axis: -1 }, &[256], Int64, true)]
#[case::sort_of_few(Op::Sort { axis: -1 }, &[255], Float32, false)]
#[case::sort_of_complex_numbers(Op::Sort { axis: 0 }, &[256], Complex64, false)]
#[case::partition_of_few(Op::Partition { kth: 1, axis: 0 }, &[4095], Float32, false)]
#[case::partition(Op::Partition { kth: -1, axis: 0 }, &[4096], Float16, true)]
#[case::fft(Op::Fftn { n: vec![256], axes: vec![0], norm: FftNorm::Backward }, &[256], Complex64, true)]
#[case::fft_of_no_axis(Op::Fftn { n: vec![], axes: vec![], norm: FftNorm::Backward }, &[256], Complex64, false)]
#[case::inverse(Op::Inv, &[2, 3, 3], Float32, true)]
#[case::inverse_of_doubles(Op::Inv, &[3, 3], Float64, false)]
#[case::inverse_of_a_row(Op::TriInv { upper: true }, &[1, 3], Float32, false)]
#[case::factors_of_a_wide_matrix(Op::Qr, &[2, 3], Float32, true)]
#[case::factors_of_a_vector(Op::LuFactor, &[3], Float32, false)]
#[case::magnitudes_as_complex_numbers(Op::Abs, &[4096], Complex64, true)]
#[case::nothing(Op::Exp, &[0, 32], Float32, false)]
fn of_one_input(#[case] op: Op, #[case] shape: &[i32], #[case] dtype: Dtype, #[case] want: bool) {
    let x = array(shape, dtype);
    assert_eq!(supported(&op, std::slice::from_ref(&x), &x), want);
}

#[rstest]
#[case::sum(Op::Add, Int32, Int32, true)]
#[case::sum_of_truth_values(Op::Add, Bool, Bool, true)]
#[case::quotient_of_truth_values(Op::Divide, Bool, Bool, false)]
#[case::shift(Op::LeftShift, Int64, Int64, true)]
#[case::comparison(Op::Less, Float16, Bool, true)]
#[case::comparison_for_order_of_complex_numbers(Op::Less, Complex64, Bool, false)]
#[case::equality_of_complex_numbers(Op::Equal, Complex64, Bool, true)]
#[case::remainder_of_floats(Op::Remainder, Float32, Float32, true)]
fn of_two_inputs(#[case] op: Op, #[case] dtype: Dtype, #[case] to: Dtype, #[case] want: bool) {
    let x = array(&[64, 64], dtype);
    assert_eq!(supported(&op, &[x.clone(), x], &array(&[64, 64], to)), want);
}

#[rstest]
#[case::last(&[-1], true)]
#[case::neighbours(&[1, 0], true)]
#[case::not_neighbours(&[0, 2], true)]
#[case::no_axis(&[3], false)]
fn sums_are_of_any_axes(#[case] axes: &[i32], #[case] want: bool) {
    let op = Op::Sum {
        axes: axes.to_vec(),
        keepdims: true,
    };
    let x = array(&[8, 16, 8], Float32);
    assert_eq!(supported(&op, &[x], &array(&[1], Float32)), want);
}

/// `[vectors, k] @ transpose([n, k])`, by strides.
#[rstest]
#[case::few(3, Float32, true, true)]
#[case::many_are_for_a_blas(4, Float32, true, false)]
#[case::many_halves(64, Float16, true, true)]
#[case::not_transposed(1, Float32, false, false)]
#[case::halves_in_any_order(1, Bfloat16, false, true)]
#[case::doubles(1, Float64, true, false)]
fn products_read_transposed_matrices(
    #[case] vectors: i32,
    #[case] dtype: Dtype,
    #[case] is_transposed: bool,
    #[case] want: bool,
) {
    let strides: &[i64] = if is_transposed { &[1, 8] } else { &[5, 1] };
    let shape = [vectors, 8];
    let a = Layout::new(dtype, &shape, &[8, 1]);
    let b = Layout::new(dtype, &[8, 5], strides);
    let out = [vectors, 5];
    let out = Layout::new(dtype, &out, &[5, 1]);
    assert_eq!(supports(&Op::Matmul, &[a, b], out), want);
}

#[rstest]
#[case::alike(&[Float16, Float16], Some(Float16))]
#[case::a_wider_weight(&[Float16, Float32], Some(Float32))]
#[case::two_kinds_of_half(&[Bfloat16, Float16], Some(Float32))]
#[case::integers_give_way(&[Int32, Bfloat16], Some(Bfloat16))]
#[case::integers_alone(&[Int32, Int64], None)]
#[case::doubles(&[Float32, Float64], None)]
fn norms_are_of_the_promoted_dtype(#[case] dtypes: &[Dtype], #[case] want: Option<Dtype>) {
    let inputs = [array(&[2, 4], dtypes[0]), array(&[4], dtypes[1])];
    let got = prepared_of(&Op::RmsNorm { eps: 1e-5 }, &inputs);
    assert_eq!(got.as_ref().map(|prepared| prepared.output_dtype), want);
    if let Some(prepared) = got {
        assert_eq!(prepared.dtypes[..2], [prepared.output_dtype; 2]);
        let n_gradients = if want == Some(Float32) { 2 } else { 0 };
        assert_eq!(prepared.n_gradients, n_gradients);
    }
}

/// As in MLX, a bias takes part in the promotion only beside a weight.
#[test]
fn a_bias_alone_widens_nothing() {
    let op = Op::LayerNorm {
        weight: false,
        bias: true,
        eps: 1e-5,
    };
    let inputs = [array(&[2, 4], Float16), array(&[4], Float32)];
    assert_eq!(prepared_of(&op, &inputs).unwrap().output_dtype, Float16);
}

fn attention_op(mask: MaskMode, sinks: bool) -> Op {
    Op::ScaledDotProductAttention {
        scale: 1.0,
        mask,
        sinks,
        force_fused: false,
    }
}

#[rstest]
#[case::boolean(&[3, 5], Bool, true)]
#[case::of_one_head(&[2, 1, 3, 5], Float32, true)]
#[case::of_another_dtype(&[3, 5], Float16, false)]
#[case::of_other_keys(&[3, 4], Bool, false)]
fn a_mask_broadcasts_to_the_scores(
    #[case] shape: &[i32],
    #[case] dtype: Dtype,
    #[case] fits: bool,
) {
    let inputs = [
        array(&[2, 4, 3, 8], Float32),
        array(&[2, 2, 5, 8], Float32),
        array(&[2, 2, 5, 6], Float32),
        array(shape, dtype),
    ];
    let got = prepared_of(&attention_op(MaskMode::Array, false), &inputs);
    assert_eq!(got.is_some(), fits);
    if let Some(prepared) = got {
        assert_eq!(prepared.broadcast, Some((3, [2, 4, 3, 5])));
        assert_eq!(prepared.output_last, Some(6));
    }
}

#[test]
fn heads_are_shared_evenly() {
    let shapes = |kv: i32| {
        [
            array(&[1, 4, 1, 8], Float32),
            array(&[1, kv, 5, 8], Float32),
            array(&[1, kv, 5, 8], Float32),
        ]
    };
    let op = attention_op(MaskMode::None, false);
    assert!(prepared_of(&op, &shapes(2)).is_some());
    assert!(prepared_of(&op, &shapes(3)).is_none());
}

#[rstest]
#[case::few(8, Float16, true)]
#[case::many(9, Float16, false)]
#[case::single_weights(1, Float32, false)]
fn linear_reads_half_weights_of_few_vectors(
    #[case] vectors: i32,
    #[case] dtype: Dtype,
    #[case] want: bool,
) {
    let inputs = [array(&[vectors, 4], Float32), array(&[3, 4], dtype)];
    let got = prepared_of(&Op::Linear, &inputs);
    assert_eq!(got.is_some(), want);
}

/// A program casts nothing: what eager application would cast is refused there.
#[test]
fn an_instruction_takes_the_dtypes_of_the_kernel() {
    let op = Op::RmsNorm { eps: 1e-5 };
    let x = array(&[2, 4], Float32);
    assert!(supported(&op, &[x.clone(), array(&[4], Float32)], &x));
    assert!(!supported(&op, &[x.clone(), array(&[4], Float16)], &x));
}

#[rstest]
#[case::of_one_axis(&[1], &[1], false, Float32, true)]
#[case::uneven_padding(&[1], &[2], false, Float16, true)]
#[case::flipped(&[1], &[1], true, Bfloat16, true)]
#[case::of_three_axes(&[1, 1, 0], &[1, 1, 0], false, Float32, true)]
#[case::cut(&[-1], &[1], false, Float32, false)]
#[case::doubles(&[1, 1], &[1, 1], false, Float64, false)]
#[case::of_four_axes(&[0; 4], &[0; 4], false, Float32, false)]
fn convolutions(
    #[case] low: &[i32],
    #[case] high: &[i32],
    #[case] flip: bool,
    #[case] dtype: Dtype,
    #[case] want: bool,
) {
    let op = Op::Conv {
        stride: vec![1; low.len()],
        padding_lo: low.to_vec(),
        padding_hi: high.to_vec(),
        kernel_dilation: vec![1; low.len()],
        input_dilation: vec![1; low.len()],
        groups: 1,
        flip,
    };
    let x = array(&vec![4; low.len() + 2], dtype);
    assert_eq!(supported(&op, &[x.clone(), x.clone()], &x), want);
}

/// What MLX computes as fast is left to it, but where there is no MLX.
#[rstest]
#[case::few_elements(Op::Add, &[array(&[2], Float32), array(&[2], Float32)], array(&[2], Float32))]
#[case::copy(Op::Contiguous { allow_col_major: false }, &[array(&[2, 3], Int64)], array(&[2, 3], Int64))]
#[case::sum(Op::Sum { axes: vec![0], keepdims: false }, &[array(&[3], Float32)], array(&[], Float32))]
#[case::sort(Op::Sort { axis: 0 }, &[array(&[3], Float32)], array(&[3], Float32))]
#[case::product(Op::Matmul, &[array(&[16, 16], Float32), array(&[16, 16], Float32)], array(&[16, 16], Float32))]
fn without_mlx_kernels_compute_all_they_can(
    #[case] op: Op,
    #[case] inputs: &[ArrayType],
    #[case] output: ArrayType,
) {
    assert!(!supported(&op, inputs, &output));
    assert!(crate::cpu::is_computed(&op, inputs, &output));
    // But not what they cannot.
    let wrong = inputs.iter().map(|x| array(&x.shape, Complex64));
    let wrong: Vec<ArrayType> = wrong.collect();
    assert!(!crate::cpu::is_computed(&op, &wrong, &output));
}
