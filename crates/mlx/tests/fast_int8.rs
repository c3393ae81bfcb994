//! Products with quantized weights whose vectors are rounded to 8 bits: the error bound, gradients, refusals.

use mlx::fast::{host_kernel_runs_of, quantized_matmul_int8};
use mlx::{Array, Dtype, Quantization, QuantizationMode, Quantized, grad, random};
use mlx_testdata::needs;
use rstest::rstest;

const NAME: &str = "fast.quantized_matmul_int8";

fn affine(group_size: i32, bits: i32) -> Quantization {
    Quantization {
        group_size,
        bits,
        mode: QuantizationMode::Affine,
    }
}

fn normal(seed: u64, shape: [i32; 2]) -> Array {
    random::normal_with(shape, &random::key(seed))
}

fn packed(shape: [i32; 2], quantization: Quantization, dtype: Dtype) -> Quantized {
    let packed = normal(1, shape).quantize(quantization).unwrap();
    Quantized {
        scales: packed.scales.astype(dtype),
        biases: packed.biases.map(|biases| biases.astype(dtype)),
        ..packed
    }
}

fn groups(x: &Array, size: i32) -> Array {
    x.astype(Dtype::Float32).unflatten(-1, [-1, size])
}

/// `sum over groups of max|x| / 254 * sum(|scale * (number - middle)|)`, `[rows, out]`.
fn bound(x: &Array, weights: &Quantized) -> Array {
    let Quantization {
        group_size, bits, ..
    } = weights.quantization;
    let largest = groups(x, group_size).abs().max(-1);
    let middle = 2.0_f32.powi(bits - 1);
    let scales = weights.scales.astype(Dtype::Float32);
    let biases = weights.biases.as_ref().unwrap().astype(Dtype::Float32);
    let offsets = (scales * middle + biases).expand_dims(-1);
    let spread = (groups(&weights.dequantize(Dtype::Float32), group_size) - offsets).abs();
    (largest / 254.0).matmul(&spread.sum(-1).t())
}

#[rstest]
fn the_error_is_within_the_bound(
    #[values(4, 8)] bits: i32,
    #[values(32, 64, 128)] group_size: i32,
    #[values(1, 3, 15)] rows: i32,
    #[values((Dtype::Float32, 1e-5), (Dtype::Float16, 2e-3), (Dtype::Bfloat16, 1e-2))] precision: (
        Dtype,
        f32,
    ),
) {
    needs!(CpuKernels);
    let (dtype, eps) = precision;
    let weights = packed([40, 256], affine(group_size, bits), dtype);
    let x = normal(2, [rows, 256]).astype(dtype);
    let exact = x
        .astype(Dtype::Float32)
        .matmul(&weights.dequantize(Dtype::Float32).t());
    let got = quantized_matmul_int8(&x, &weights);
    assert_eq!(got.dtype().unwrap(), dtype);
    assert_eq!(got.shape().unwrap(), [rows, 40]);
    let off = (got.astype(Dtype::Float32) - &exact).abs();
    let size = exact.abs().max(()).item::<f32>().unwrap();
    let beyond = (&off - bound(&x, &weights)).max(()).item::<f32>().unwrap();
    assert!(beyond < eps * size, "{beyond} beyond the bound");
    assert!(
        off.max(()).item::<f32>().unwrap() > 0.0,
        "nothing is rounded"
    );
}

#[test]
fn from_16_vectors_on_nothing_is_rounded() {
    needs!(CpuKernels);
    let weights = packed([8, 64], affine(32, 4), Dtype::Float32);
    let x = normal(2, [16, 64]);
    let before = host_kernel_runs_of(NAME);
    let got = quantized_matmul_int8(&x, &weights).to_vec::<f32>().unwrap();
    assert!(host_kernel_runs_of(NAME) > before);
    let exact = x.quantized_matmul(&weights, true).to_vec::<f32>().unwrap();
    for (got, exact) in got.iter().zip(&exact) {
        assert!((got - exact).abs() < 1e-4, "{got} {exact}");
    }
}

#[test]
fn any_strides_and_any_leading_axes() {
    needs!(CpuKernels);
    let weights = packed([8, 64], affine(64, 8), Dtype::Float32);
    let turned = normal(3, [64, 3]).t();
    let rows = quantized_matmul_int8(&turned.contiguous(), &weights);
    let got = quantized_matmul_int8(&turned, &weights);
    assert_eq!(got.to_vec::<f32>().unwrap(), rows.to_vec::<f32>().unwrap());
    let deep = quantized_matmul_int8(&turned.reshape([3, 1, 64]), &weights);
    assert_eq!(deep.shape().unwrap(), [3, 1, 8]);
    let none = quantized_matmul_int8(&turned.reshape([3, 64]).i(0..0), &weights);
    assert_eq!(none.shape().unwrap(), [0, 8]);
}

#[test]
fn gradients_are_those_of_the_exact_product() {
    needs!(CpuKernels);
    let weights = packed([8, 64], affine(32, 4), Dtype::Float32);
    let x = normal(4, [2, 64]);
    let of_rounded = |x: &Array| quantized_matmul_int8(x, &weights).sum(());
    let of_exact = |x: &Array| x.quantized_matmul(&weights, true).sum(());
    let got = grad(of_rounded).call(&x).unwrap().to_vec::<f32>().unwrap();
    let wanted = grad(of_exact).call(&x).unwrap().to_vec::<f32>().unwrap();
    for (got, wanted) in got.iter().zip(&wanted) {
        assert!((got - wanted).abs() < 1e-4, "{got} {wanted}");
    }
}

#[rstest]
#[case::six_bits(
    64,
    Dtype::Float32,
    affine(32, 6),
    "wanted affine weights of 4 or 8 bits"
)]
#[case::mxfp4(
    64,
    Dtype::Float32,
    Quantization::of(QuantizationMode::Mxfp4),
    "got Mxfp4 with 4 bits"
)]
#[case::other_dtype(64, Dtype::Float16, affine(32, 4), "x, scales and biases must be")]
#[case::other_size(32, Dtype::Float32, affine(32, 4), "packed rows of 32 numbers")]
fn says_what_does_not_fit(
    #[case] dim: i32,
    #[case] dtype: Dtype,
    #[case] quantization: Quantization,
    #[case] says: &str,
) {
    needs!(CpuKernels);
    let weights = normal(1, [8, 64]).quantize(quantization).unwrap();
    let x = normal(2, [1, dim]).astype(dtype);
    let text = quantized_matmul_int8(&x, &weights).eval().unwrap_err();
    let text = text.to_string();
    assert!(text.starts_with(NAME) && text.contains(says), "{text}");
}
