//! Products with weights that are unpacked on the spot.

use mlx::Dtype::{Bfloat16, Float16, Float32, Uint32};
use mlx::{Array, Dtype, Quantization, QuantizationMode, Quantized};
use mlx_compiler::Fusion;

use crate::check::Type;

/// Of `[8, 64]` in groups of 32 and 4 bits: `[out, in]`. As the weights themselves are, bits are whatever they are.
const PACKED: &[Type] = &[
    (&[3, 64], Float32),
    (&[8, 8], Uint32),
    (&[8, 2], Float32),
    (&[8, 2], Float32),
];
/// The same, `[in, out]`.
const STRAIGHT: &[Type] = &[
    (&[3, 8], Float32),
    (&[8, 8], Uint32),
    (&[8, 2], Float32),
    (&[8, 2], Float32),
];
const TOKENS: &[Type] = &[
    (&[2, 3, 64], Float32),
    (&[8, 8], Uint32),
    (&[8, 2], Float32),
    (&[8, 2], Float32),
];
const HALF: &[Type] = &[
    (&[3, 64], Float16),
    (&[8, 8], Uint32),
    (&[8, 2], Float16),
    (&[8, 2], Float16),
];
const MIXED: &[Type] = &[
    (&[3, 64], Float32),
    (&[8, 8], Uint32),
    (&[8, 2], Float16),
    (&[8, 2], Float16),
];
const BATCH: &[Type] = &[
    (&[2, 3, 64], Float32),
    (&[2, 8, 8], Uint32),
    (&[2, 8, 2], Float32),
    (&[2, 8, 2], Float32),
];
const VECTOR: &[Type] = &[
    (&[64], Float32),
    (&[8, 8], Uint32),
    (&[8, 2], Float32),
    (&[8, 2], Float32),
];

spellings! { Fusion::QuantizedLinear, "= quantized_matmul";
    transposed(PACKED),
    swapped_axes(PACKED),
    straight(STRAIGHT),
    of_tokens(TOKENS),
    in_half(HALF),
    with_bias(PACKED),
    captured_weights(&[(&[3, 64], Float32)]),
    eight_bits(&[(&[3, 64], Float32), (&[8, 16], Uint32), (&[8, 2], Float32), (&[8, 2], Float32)]),
}

refusals! { Fusion::QuantizedLinear;
    scales_in_half(Dtype, MIXED),
    cast_of_weights(Dtype, MIXED),
    rounded_weights(Dtype, PACKED),
    weights_are_returned(Output, PACKED),
    weights_are_reused(Reused, PACKED),
    batch_of_weights(Shape, BATCH),
    one_vector(Shape, VECTOR),
}

others! { Fusion::QuantizedLinear;
    scaled_weights(PACKED),
    weights_on_the_left(&[(&[64, 3], Float32), (&[8, 8], Uint32), (&[8, 2], Float32), (&[8, 2], Float32)]),
    weights_on_both_sides(PACKED),
    rows_of_weights(PACKED),
    cast_to_integers(PACKED),
}

fn packed(a: &[Array]) -> Quantized {
    Quantized {
        // Bits of every kind.
        weight: &a[1] * 305_419_897_u32 + 2_596_069_104_u32,
        scales: a[2].clone(),
        biases: Some(a[3].clone()),
        quantization: Quantization {
            group_size: 32,
            bits: 4,
            mode: QuantizationMode::Affine,
        },
    }
}

fn dense(a: &[Array]) -> Array {
    packed(a).dequantize(None)
}

fn transposed(a: &[Array]) -> Array {
    a[0].matmul(&dense(a).t())
}

fn swapped_axes(a: &[Array]) -> Array {
    a[0].matmul(&dense(a).swapaxes(-1, -2))
}

fn straight(a: &[Array]) -> Array {
    a[0].matmul(&dense(a))
}

fn of_tokens(a: &[Array]) -> Array {
    transposed(a)
}

fn in_half(a: &[Array]) -> Array {
    transposed(a)
}

fn with_bias(a: &[Array]) -> Array {
    transposed(a) + mlx::arange_with(0.0, 8.0, 1.0, Float32)
}

fn captured_weights(a: &[Array]) -> Array {
    let dense = crate::check::inputs(&[(&[8, 64], Float32)]).remove(0);
    let packed = dense.quantize(Quantization {
        group_size: 32,
        ..Quantization::default()
    });
    a[0].matmul(&packed.unwrap().dequantize(None).t())
}

fn eight_bits(a: &[Array]) -> Array {
    let mut packed = packed(a);
    packed.quantization.bits = 8;
    a[0].matmul(&packed.dequantize(None).t())
}

fn scales_in_half(a: &[Array]) -> Vec<Array> {
    vec![transposed(a)]
}

fn cast_of_weights(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&dense(a).astype(Float32).t())]
}

fn rounded_weights(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&dense(a).astype(Bfloat16).astype(Float32).t())]
}

fn weights_are_returned(a: &[Array]) -> Vec<Array> {
    let dense = dense(a);
    vec![a[0].matmul(&dense.t()), dense]
}

fn weights_are_reused(a: &[Array]) -> Vec<Array> {
    let dense = dense(a);
    vec![a[0].matmul(&dense.t()) * dense.sum(-1)]
}

fn batch_of_weights(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&dense(a).swapaxes(-1, -2))]
}

fn one_vector(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&dense(a).t())]
}

fn scaled_weights(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&(dense(a) * 2.0).t())]
}

fn weights_on_the_left(a: &[Array]) -> Vec<Array> {
    vec![dense(a).matmul(&a[0])]
}

fn weights_on_both_sides(a: &[Array]) -> Vec<Array> {
    vec![(&a[0] + dense(a).sum(0)).matmul(&a[0].t())]
}

fn rows_of_weights(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&dense(a).i(..4).t())]
}

fn cast_to_integers(a: &[Array]) -> Vec<Array> {
    let whole = dense(a).astype(Dtype::Int32).astype(Float32);
    vec![a[0].matmul(&whole.t())]
}
