//! Matrix products with a bias, with weights as they are or transposed.

use mlx::Array;
use mlx::Dtype::{Bfloat16, Float16, Float32};
use mlx_compiler::Fusion;

use crate::check::Type;

const XWB: &[Type] = &[(&[3, 4], Float32), (&[4, 5], Float32), (&[5], Float32)];
const XTB: &[Type] = &[(&[3, 4], Float32), (&[5, 4], Float32), (&[5], Float32)];
const SQUARE: &[Type] = &[(&[4, 4], Float32), (&[4, 4], Float32), (&[4], Float32)];

spellings! { Fusion::Linear, "= addmm";
    textbook(XWB),
    bias_first(XWB),
    transposed(XTB),
    swapped_axes(XTB),
    three_axes(&[(&[2, 3, 4], Float32), (&[4, 5], Float32), (&[5], Float32)]),
    one_row(&[(&[1, 4], Float32), (&[4, 5], Float32), (&[5], Float32)]),
    bias_with_axes(&[(&[3, 4], Float32), (&[4, 5], Float32), (&[1, 5], Float32)]),
    square_of_sides(SQUARE),
    bias_by_broadcast_to(XWB),
    bias_broadcast_twice(XWB),
    in_half(&[(&[3, 4], Float16), (&[4, 5], Float16), (&[5], Float16)]),
    in_bfloat16(&[(&[3, 4], Bfloat16), (&[4, 5], Bfloat16), (&[5], Bfloat16)]),
    weight_twice(SQUARE),
    no_rows(&[(&[0, 4], Float32), (&[4, 5], Float32), (&[5], Float32)]),
    no_features(&[(&[3, 0], Float32), (&[0, 5], Float32), (&[5], Float32)]),
}

refusals! { Fusion::Linear;
    product_is_returned(Output, XWB),
    product_is_reused(Reused, XWB),
    bias_for_each_row(Shape, &[(&[3, 4], Float32), (&[4, 5], Float32), (&[3, 1], Float32)]),
    bias_of_part_of_the_batch(Shape, &[(&[2, 3, 4], Float32), (&[4, 5], Float32), (&[3, 5], Float32)]),
    bias_widens(Shape, &[(&[1, 4], Float32), (&[4, 5], Float32), (&[3, 5], Float32)]),
    bias_in_half(Dtype, &[(&[3, 4], Float32), (&[4, 5], Float32), (&[5], Float16)]),
    weight_in_half(Dtype, &[(&[3, 4], Float32), (&[4, 5], Float16), (&[5], Float32)]),
}

others! { Fusion::Linear;
    residual(&[(&[3, 4], Float32), (&[4, 5], Float32), (&[3, 5], Float32)]),
    number(XWB),
    difference(XWB),
    vector(&[(&[4], Float32), (&[4, 5], Float32), (&[5], Float32)]),
    batch_of_weights(&[(&[2, 3, 4], Float32), (&[2, 4, 5], Float32), (&[5], Float32)]),
}

fn textbook(a: &[Array]) -> Array {
    a[0].matmul(&a[1]) + &a[2]
}

fn bias_first(a: &[Array]) -> Array {
    &a[2] + a[0].matmul(&a[1])
}

fn bias_by_broadcast_to(a: &[Array]) -> Array {
    a[0].matmul(&a[1]) + a[2].broadcast_to([3, 5])
}

fn bias_broadcast_twice(a: &[Array]) -> Array {
    a[0].matmul(&a[1]) + a[2].broadcast_to([1, 5]).broadcast_to([3, 5])
}

fn transposed(a: &[Array]) -> Array {
    a[0].matmul(&a[1].t()) + &a[2]
}

fn swapped_axes(a: &[Array]) -> Array {
    a[0].matmul(&a[1].swapaxes(-1, -2)) + &a[2]
}

fn three_axes(a: &[Array]) -> Array {
    textbook(a)
}

fn one_row(a: &[Array]) -> Array {
    textbook(a)
}

fn bias_with_axes(a: &[Array]) -> Array {
    textbook(a)
}

fn square_of_sides(a: &[Array]) -> Array {
    textbook(a)
}

fn in_half(a: &[Array]) -> Array {
    textbook(a)
}

fn in_bfloat16(a: &[Array]) -> Array {
    textbook(a)
}

fn no_rows(a: &[Array]) -> Array {
    textbook(a)
}

fn no_features(a: &[Array]) -> Array {
    textbook(a)
}

fn weight_twice(a: &[Array]) -> Array {
    a[1].matmul(&a[1]) + &a[2]
}

fn product_is_returned(a: &[Array]) -> Vec<Array> {
    let product = a[0].matmul(&a[1]);
    vec![&product + &a[2], product]
}

fn product_is_reused(a: &[Array]) -> Vec<Array> {
    let product = a[0].matmul(&a[1]);
    vec![(&product + &a[2]) * product]
}

fn bias_for_each_row(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn bias_of_part_of_the_batch(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn bias_widens(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn bias_in_half(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn weight_in_half(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn residual(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn number(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&a[1]) + 1.0]
}

fn difference(a: &[Array]) -> Vec<Array> {
    vec![a[0].matmul(&a[1]) - &a[2]]
}

fn vector(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}

fn batch_of_weights(a: &[Array]) -> Vec<Array> {
    vec![textbook(a)]
}
