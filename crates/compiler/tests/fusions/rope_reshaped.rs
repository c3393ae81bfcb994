//! Rotary embedding of neighbouring pairs, reshaped before or afterwards: reshapes in a row are one in canonical form.

use mlx::Dtype::{Float32, Float64};
use mlx::{Array, s, stack};
use mlx_compiler::Fusion;

use crate::check::Type;
use crate::rope::{
    X, angles, angles_of, composed_of_neighbours, neighbours_concatenated, turned_neighbours,
};

/// `[batch, seq, heads * dim]`.
const PACKED: &[Type] = &[(&[2, 5, 24], Float32)];

spellings! { Fusion::Rope, "fast.rope";
    neighbours_merged_with_heads(X),
    neighbours_in_groups(X),
    neighbours_concatenated_and_flat(X),
    neighbours_of_reshaped(PACKED),
    neighbours_between_reshapes(PACKED),
    rotate_every_two_of_reshaped(PACKED),
    composed_of_neighbours_in_groups(X),
}

refusals! { Fusion::Rope;
    neighbours_reshaped_twice(Reused, X),
    neighbours_in_groups_in_double(Dtype, &[(&[2, 3, 5, 8], Float64)]),
}

others! { Fusion::Rope;
    neighbours_stacked_in_front(X),
    neighbours_of_other_pairs(PACKED),
}

/// The pairs of neighbours, before they become one axis again.
fn neighbours(a: &[Array]) -> Array {
    stack(&turned_neighbours(&a[0], &angles_of(&a[0])), -1)
}

fn neighbours_merged_with_heads(a: &[Array]) -> Array {
    neighbours(a).reshape([2, 3, 40])
}

fn neighbours_in_groups(a: &[Array]) -> Array {
    neighbours(a).flatten(-2, -1).reshape([2, 1, 3, 5, 8])
}

fn neighbours_concatenated_and_flat(a: &[Array]) -> Array {
    neighbours_concatenated(a).reshape([-1])
}

/// The pairs of three heads that are stored side by side, `[batch, seq, heads, dim / 2, 2]`.
fn neighbours_of_packed(a: &[Array]) -> Array {
    let angles = angles(5, 8).expand_dims(1);
    let (cos, sin) = (angles.cos(), angles.sin());
    let pairs = a[0].reshape([2, 5, 3, 8]).reshape([2, 5, 3, 4, 2]);
    let (first, second) = (pairs.i(s![..., 0]), pairs.i(s![..., 1]));
    let turned = [
        &first * &cos - &second * &sin,
        &first * &sin + &second * &cos,
    ];
    stack(&turned, -1)
}

fn neighbours_of_reshaped(a: &[Array]) -> Array {
    neighbours_of_packed(a).reshape([2, 5, 3, 8])
}

fn neighbours_between_reshapes(a: &[Array]) -> Array {
    neighbours_of_packed(a).reshape([2, 5, 24])
}

fn rotate_every_two_of_reshaped(a: &[Array]) -> Array {
    let x = a[0].reshape([2, 5, 3, 8]);
    let angles = angles(5, 8).repeat(2, -1).expand_dims(1);
    let (first, second) = (x.i(s![..., ..;2]), x.i(s![..., 1..;2]));
    let rotated = stack([&(-second), &first], -1).flatten(-2, -1);
    (&x * angles.cos() + rotated * angles.sin()).reshape([2, 5, 24])
}

fn neighbours_reshaped_twice(a: &[Array]) -> Vec<Array> {
    let turned = neighbours(a);
    vec![turned.reshape([2, 3, 5, 8]), turned.reshape([2, 15, 8])]
}

fn neighbours_in_groups_in_double(a: &[Array]) -> Vec<Array> {
    vec![neighbours_in_groups(a)]
}

fn neighbours_stacked_in_front(a: &[Array]) -> Vec<Array> {
    let turned = turned_neighbours(&a[0], &angles_of(&a[0]));
    vec![stack(&turned, 0).reshape([2, 3, 5, 8])]
}

/// The first of a pair of one head, the second of another.
fn neighbours_of_other_pairs(a: &[Array]) -> Vec<Array> {
    let angles = angles(5, 8);
    let (cos, sin) = (angles.cos().expand_dims(1), angles.sin().expand_dims(1));
    let first = a[0].reshape([2, 5, 3, 4, 2]).i(s![..., 0]);
    let second = a[0].reshape([2, 5, 12, 2]).i(s![..., 1]);
    let second = second.reshape([2, 5, 4, 3]).swapaxes(-1, -2);
    let turned = [
        &first * &cos - &second * &sin,
        &first * &sin + &second * &cos,
    ];
    vec![stack(&turned, -1).reshape([2, 5, 24])]
}

fn composed_of_neighbours_in_groups(a: &[Array]) -> Array {
    composed_of_neighbours(a).reshape([2, 1, 3, 5, 8])
}
