//! Rotary embedding: pairs by halves and by neighbours, whole and in part, in the layouts in which people hold heads.

use mlx::Dtype::{Bfloat16, Float16, Float32, Float64, Int32};
use mlx::fast::{RopeFrequencies, RopeOptions};
use mlx::{Array, arange_with, concatenate, iota, s, stack};
use mlx_compiler::Fusion;

use crate::check::Type;

/// `[batch, heads, seq, dim]`.
pub const X: &[Type] = &[(&[2, 3, 5, 8], Float32)];
const HALF: &[Type] = &[(&[2, 3, 5, 8], Float16)];
const BRAIN: &[Type] = &[(&[2, 3, 5, 8], Bfloat16)];
/// `[batch, seq, heads, dim]`.
const BSHD: &[Type] = &[(&[2, 5, 3, 8], Float32)];
/// As many positions as pairs, and as heads.
const SQUARE: &[Type] = &[(&[2, 4, 4, 8], Float32)];
const TWO_ARRAYS: &[Type] = &[(&[2, 3, 5, 8], Float32), (&[2, 3, 5, 8], Float32)];

spellings! { Fusion::Rope, "fast.rope";
    by_halves(X),
    by_halves_swapped_terms(X),
    by_slices(X),
    rotate_half(X),
    rotate_half_of_square(SQUARE),
    square_by_halves(SQUARE),
    neighbours_stacked(X),
    neighbours_of_pairs(X),
    neighbours_unstacked(X),
    neighbours_concatenated(X),
    rotate_every_two(X),
    partial_by_halves(X),
    partial_gpt_neox(X),
    partial_of_neighbours(X),
    partial_in_one_list(X),
    seq_before_heads(BSHD),
    seq_before_heads_of_square(&[(&[2, 4, 4, 8], Float32)]),
    one_head(&[(&[2, 5, 8], Float32)]),
    no_batch(&[(&[5, 8], Float32)]),
    two_pairs(&[(&[2, 3, 5, 4], Float32)]),
    one_pair(&[(&[2, 3, 5, 2], Float32)]),
    one_position(&[(&[2, 3, 1, 8], Float32)]),
    one_position_before_heads(&[(&[2, 1, 3, 8], Float32)]),
    tables_in_half_of_half(HALF),
    tables_in_brain_of_brain(BRAIN),
    wide_tables_cast_back(HALF),
    stays_wide(HALF),
    turned_the_other_way(X),
    rest_of_another(TWO_ARRAYS),
    rest_in_front(X),
    composed(X),
    composed_of_neighbours(X),
    composed_in_part(X),
    composed_with_freqs(X),
    composed_from_offset(X),
    composed_in_half(HALF),
    composed_in_part_in_half(HALF),
}

refusals! { Fusion::Rope;
    turned_is_returned(Output, X),
    rotated_is_returned(Output, X),
    rotated_is_reused(Reused, X),
    part_is_reused(Reused, X),
    tables_in_half_of_full(Dtype, X),
    captured_tables_in_half(Dtype, HALF),
    in_double(Dtype, &[(&[2, 3, 5, 8], Float64)]),
    one_position_for_all(Formula, X),
    uneven_positions(Formula, X),
}

others! { Fusion::Rope;
    both_plus(X),
    both_minus(X),
    not_negated(X),
    cos_and_sin_exchanged(X),
    halves_exchanged(X),
    scaled_tables(X),
    of_two_arrays(TWO_ARRAYS),
    halves_of_two_arrays(TWO_ARRAYS),
    overlapping_parts(X),
    quarters(X),
    cos_of_cos(X),
    tables_along_heads_and_positions(X),
    angles_transposed(SQUARE),
    integers(&[(&[2, 3, 5, 8], Int32)]),
}

/// `base^(-2 i / dims)`.
pub fn speeds(dims: i32) -> Array {
    let exponents = arange_with(0.0, f64::from(dims), 2.0, Float32) / dims as f32;
    1.0 / Array::scalar(10_000.0_f32).power(exponents)
}

/// `[length, dims / 2]`.
pub fn angles(length: i32, dims: i32) -> Array {
    arange_with(0.0, f64::from(length), 1.0, Float32).outer(&speeds(dims))
}

pub fn angles_of(x: &Array) -> Array {
    angles(x.dim(-2).unwrap(), x.dim(-1).unwrap())
}

/// The halves turned by tables of half the width.
#[track_caller]
pub fn turn(x: &Array, cos: &Array, sin: &Array) -> Array {
    let parts = x.split(2, -1).unwrap();
    let (a, b) = (&parts[0], &parts[1]);
    concatenate([&(a * cos - b * sin), &(b * cos + a * sin)], -1)
}

/// `rotate_half` of Hugging Face.
pub fn rotated_half(x: &Array) -> Array {
    let half = x.dim(-1).unwrap() / 2;
    let (a, b) = (x.i(s![.., .., .., ..half]), x.i(s![.., .., .., half..]));
    concatenate([&(-b), &a], -1)
}

/// `x * cos + rotate_half(x) * sin`, of tables of the whole width.
#[track_caller]
pub fn apply(x: &Array, cos: &Array, sin: &Array) -> Array {
    x * cos + rotated_half(x) * sin
}

fn by_halves(a: &[Array]) -> Array {
    let angles = angles_of(&a[0]);
    turn(&a[0], &angles.cos(), &angles.sin())
}

fn by_halves_swapped_terms(a: &[Array]) -> Array {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = a[0].split(2, -1).unwrap();
    let (first, second) = (&parts[0], &parts[1]);
    concatenate(
        [
            &(&cos * first - second * &sin),
            &(first * &sin + &cos * second),
        ],
        -1,
    )
}

fn by_slices(a: &[Array]) -> Array {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let (first, second) = (a[0].i(s![..., ..4]), a[0].i(s![..., 4..]));
    concatenate(
        [
            &(&first * &cos - &second * &sin),
            &(&first * &sin + &second * &cos),
        ],
        -1,
    )
}

fn rotate_half(a: &[Array]) -> Array {
    let angles = angles_of(&a[0]);
    let angles = concatenate([&angles, &angles], -1);
    apply(&a[0], &angles.cos(), &angles.sin())
}

fn rotate_half_of_square(a: &[Array]) -> Array {
    rotate_half(a)
}

fn square_by_halves(a: &[Array]) -> Array {
    by_halves(a)
}

pub fn turned_neighbours(x: &Array, angles: &Array) -> [Array; 2] {
    let (a, b) = (x.i(s![..., ..;2]), x.i(s![..., 1..;2]));
    let (cos, sin) = (angles.cos(), angles.sin());
    [&a * &cos - &b * &sin, &a * &sin + &b * &cos]
}

fn neighbours_stacked(a: &[Array]) -> Array {
    let turned = turned_neighbours(&a[0], &angles_of(&a[0]));
    stack(&turned, -1).flatten(-2, -1)
}

fn neighbours_of_pairs(a: &[Array]) -> Array {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let pairs = a[0].reshape([2, 3, 5, 4, 2]);
    let (first, second) = (pairs.i(s![..., 0]), pairs.i(s![..., 1]));
    let turned = [
        &first * &cos - &second * &sin,
        &first * &sin + &second * &cos,
    ];
    stack(&turned, -1).reshape([2, 3, 5, 8])
}

fn neighbours_unstacked(a: &[Array]) -> Array {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = a[0].reshape([2, 3, 5, 4, 2]).unstack(-1).unwrap();
    let turned = [
        &parts[0] * &cos - &parts[1] * &sin,
        &parts[1] * &cos + &parts[0] * &sin,
    ];
    stack(&turned, 4).reshape([2, 3, 5, 8])
}

pub fn neighbours_concatenated(a: &[Array]) -> Array {
    let turned = turned_neighbours(&a[0], &angles_of(&a[0]));
    let wide = turned.map(|part| part.expand_dims(-1));
    concatenate(&wide, -1).reshape([2, 3, 5, 8])
}

/// GPT-J: tables that repeat each angle for both of a pair.
fn rotate_every_two(a: &[Array]) -> Array {
    let angles = angles_of(&a[0]).repeat(2, -1);
    let (first, second) = (a[0].i(s![..., ..;2]), a[0].i(s![..., 1..;2]));
    let rotated = stack([&(-second), &first], -1).flatten(-2, -1);
    &a[0] * angles.cos() + rotated * angles.sin()
}

fn partial_by_halves(a: &[Array]) -> Array {
    let (front, rest) = (a[0].i(s![..., ..4]), a[0].i(s![..., 4..]));
    let angles = angles(5, 4);
    concatenate([&turn(&front, &angles.cos(), &angles.sin()), &rest], -1)
}

fn partial_gpt_neox(a: &[Array]) -> Array {
    let parts = a[0].split_at([6], -1).unwrap();
    let angles = angles(5, 6);
    let angles = concatenate([&angles, &angles], -1);
    let front = apply(&parts[0], &angles.cos(), &angles.sin());
    concatenate([&front, &parts[1]], -1)
}

fn partial_of_neighbours(a: &[Array]) -> Array {
    let (front, rest) = (a[0].i(s![..., ..4]), a[0].i(s![..., 4..]));
    let turned = turned_neighbours(&front, &angles(5, 4));
    let front = stack(&turned, -1).reshape([2, 3, 5, 4]);
    concatenate([&front, &rest], -1)
}

fn partial_in_one_list(a: &[Array]) -> Array {
    let angles = angles(5, 4);
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = a[0].split_at([2, 4], -1).unwrap();
    let (first, second) = (&parts[0], &parts[1]);
    let turned = [first * &cos - second * &sin, second * &cos + first * &sin];
    concatenate([&turned[0], &turned[1], &parts[2]], -1)
}

fn seq_before_heads(a: &[Array]) -> Array {
    let angles = angles(a[0].dim(1).unwrap(), 8).expand_dims(1);
    turn(&a[0], &angles.cos(), &angles.sin())
}

fn seq_before_heads_of_square(a: &[Array]) -> Array {
    seq_before_heads(a)
}

fn one_head(a: &[Array]) -> Array {
    by_halves(a)
}

fn no_batch(a: &[Array]) -> Array {
    by_halves(a)
}

fn two_pairs(a: &[Array]) -> Array {
    by_halves(a)
}

fn one_pair(a: &[Array]) -> Array {
    by_halves(a)
}

/// Only the part turns; what stands beside it is something else.
fn rest_of_another(a: &[Array]) -> Array {
    let angles = angles(5, 4);
    let front = turn(&a[0].i(s![..., ..4]), &angles.cos(), &angles.sin());
    concatenate([&front, &a[1].i(s![..., 4..])], -1)
}

fn rest_in_front(a: &[Array]) -> Array {
    let angles = angles(5, 4);
    let front = turn(&a[0].i(s![..., ..4]), &angles.cos(), &angles.sin());
    concatenate([&a[0].i(s![..., 4..]), &front], -1)
}

/// A position other than 0, or nothing would turn.
fn one_position(a: &[Array]) -> Array {
    let angles = Array::scalar(7.0_f32).reshape([1, 1]) * speeds(8);
    turn(&a[0], &angles.cos(), &angles.sin())
}

fn one_position_before_heads(a: &[Array]) -> Array {
    let angles = (Array::scalar(7.0_f32) * speeds(8)).reshape([1, 1, 4]);
    turn(&a[0], &angles.cos(), &angles.sin())
}

/// Tables computed in `float32` and then rounded, as Hugging Face does.
fn tables_in_half_of_half(a: &[Array]) -> Array {
    let dtype = a[0].dtype().unwrap();
    let angles = angles_of(&a[0]);
    let angles = concatenate([&angles, &angles], -1);
    apply(
        &a[0],
        &angles.cos().astype(dtype),
        &angles.sin().astype(dtype),
    )
}

fn tables_in_brain_of_brain(a: &[Array]) -> Array {
    tables_in_half_of_half(a)
}

fn wide_tables_cast_back(a: &[Array]) -> Array {
    by_halves(a).astype(Float16)
}

fn stays_wide(a: &[Array]) -> Array {
    by_halves(a)
}

/// Negative frequencies.
fn turned_the_other_way(a: &[Array]) -> Array {
    let angles = angles_of(&a[0]) * -0.5;
    turn(&a[0], &angles.cos(), &angles.sin())
}

fn composed(a: &[Array]) -> Array {
    mlx::fast::composed::rope(&a[0], &RopeOptions::default())
}

pub fn composed_of_neighbours(a: &[Array]) -> Array {
    let options = RopeOptions {
        traditional: true,
        ..RopeOptions::default()
    };
    mlx::fast::composed::rope(&a[0], &options)
}

fn composed_in_part(a: &[Array]) -> Array {
    let options = RopeOptions {
        dims: Some(4),
        ..RopeOptions::default()
    };
    mlx::fast::composed::rope(&a[0], &options)
}

fn composed_with_freqs(a: &[Array]) -> Array {
    let options = RopeOptions {
        frequencies: RopeFrequencies::Freqs(mlx::array!([1.0, 3.0, 50.0, 700.0])),
        ..RopeOptions::default()
    };
    mlx::fast::composed::rope(&a[0], &options)
}

fn composed_from_offset(a: &[Array]) -> Array {
    let options = RopeOptions {
        offset: 11.into(),
        scale: 0.5,
        ..RopeOptions::default()
    };
    mlx::fast::composed::rope(&a[0], &options)
}

fn composed_in_half(a: &[Array]) -> Array {
    composed(a)
}

fn composed_in_part_in_half(a: &[Array]) -> Array {
    composed_in_part(a)
}

fn turned_is_returned(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = a[0].split(2, -1).unwrap();
    let first = &parts[0] * &cos - &parts[1] * &sin;
    let second = &parts[1] * &cos + &parts[0] * &sin;
    vec![concatenate([&first, &second], -1), first]
}

fn rotated_is_returned(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let angles = concatenate([&angles, &angles], -1);
    let rotated = rotated_half(&a[0]);
    vec![&a[0] * angles.cos() + &rotated * angles.sin(), rotated]
}

fn rotated_is_reused(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let angles = concatenate([&angles, &angles], -1);
    let rotated = rotated_half(&a[0]);
    vec![&a[0] * angles.cos() + &rotated * angles.sin() + rotated.abs()]
}

fn part_is_reused(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = a[0].split(2, -1).unwrap();
    let first = &parts[0] * &cos - &parts[1] * &sin;
    let second = &parts[1] * &cos + &parts[0] * &sin;
    vec![concatenate([&first, &second], -1), parts[0].square()]
}

fn tables_in_half_of_full(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    vec![turn(
        &a[0],
        &angles.cos().astype(Float16),
        &angles.sin().astype(Float16),
    )]
}

fn captured_tables_in_half(a: &[Array]) -> Vec<Array> {
    let (cos, sin) = mlx::compiler_api::without_recording(|| {
        let angles = angles(5, 8);
        let tables = (angles.cos().astype(Float16), angles.sin().astype(Float16));
        mlx::eval([&tables.0, &tables.1]).unwrap();
        tables
    });
    vec![turn(&a[0], &cos, &sin)]
}

fn in_double(a: &[Array]) -> Vec<Array> {
    mlx::with_device(mlx::Device::Cpu, || vec![by_halves(a)]).unwrap()
}

fn one_position_for_all(a: &[Array]) -> Vec<Array> {
    let angles = Array::scalar(7.0_f32).reshape([1, 1]) * speeds(8);
    vec![turn(&a[0], &angles.cos(), &angles.sin())]
}

fn uneven_positions(a: &[Array]) -> Vec<Array> {
    let angles = mlx::array!([0.0, 1.0, 2.0, 4.0, 5.0]).outer(&speeds(8));
    vec![turn(&a[0], &angles.cos(), &angles.sin())]
}

fn both_plus(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = a[0].split(2, -1).unwrap();
    let first = &parts[0] * &cos + &parts[1] * &sin;
    let second = &parts[1] * &cos + &parts[0] * &sin;
    vec![concatenate([&first, &second], -1)]
}

fn both_minus(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = a[0].split(2, -1).unwrap();
    let first = &parts[0] * &cos - &parts[1] * &sin;
    let second = &parts[1] * &cos - &parts[0] * &sin;
    vec![concatenate([&first, &second], -1)]
}

fn not_negated(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let angles = concatenate([&angles, &angles], -1);
    let parts = a[0].split(2, -1).unwrap();
    let swapped = concatenate([&parts[1], &parts[0]], -1);
    vec![&a[0] * angles.cos() + swapped * angles.sin()]
}

fn cos_and_sin_exchanged(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]) + 0.3;
    vec![turn(&a[0], &angles.sin(), &angles.cos())]
}

fn halves_exchanged(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = a[0].split(2, -1).unwrap();
    let first = &parts[0] * &cos - &parts[1] * &sin;
    let second = &parts[1] * &cos + &parts[0] * &sin;
    vec![concatenate([&second, &first], -1)]
}

/// The `mscale` of YaRN: tables are not on the circle.
fn scaled_tables(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    vec![turn(&a[0], &(angles.cos() * 1.1), &(angles.sin() * 1.1))]
}

fn of_two_arrays(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let angles = concatenate([&angles, &angles], -1);
    vec![&a[0] * angles.cos() + rotated_half(&a[1]) * angles.sin()]
}

fn halves_of_two_arrays(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let (first, second) = (a[0].i(s![..., ..4]), a[1].i(s![..., 4..]));
    vec![concatenate(
        [
            &(&first * &cos - &second * &sin),
            &(&first * &sin + &second * &cos),
        ],
        -1,
    )]
}

fn overlapping_parts(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    let (cos, sin) = (angles.cos(), angles.sin());
    let (first, second) = (a[0].i(s![..., ..4]), a[0].i(s![..., 3..7]));
    vec![concatenate(
        [
            &(&first * &cos - &second * &sin),
            &(&first * &sin + &second * &cos),
        ],
        -1,
    )]
}

/// The first and the third quarter of the features.
fn quarters(a: &[Array]) -> Vec<Array> {
    let angles = angles(5, 4);
    let (cos, sin) = (angles.cos(), angles.sin());
    let parts = a[0].split(4, -1).unwrap();
    let (first, second) = (&parts[0], &parts[2]);
    let turned = [first * &cos - second * &sin, second * &cos + first * &sin];
    vec![concatenate(
        [&turned[0], &turned[1], &parts[1], &parts[3]],
        -1,
    )]
}

fn cos_of_cos(a: &[Array]) -> Vec<Array> {
    let angles = angles_of(&a[0]);
    vec![turn(&a[0], &angles.cos().cos(), &angles.sin().sin())]
}

/// Every head has its own positions.
fn tables_along_heads_and_positions(a: &[Array]) -> Vec<Array> {
    let positions = arange_with(0.0, 15.0, 1.0, Float32).reshape([3, 5, 1]);
    let angles = positions * speeds(8);
    vec![turn(&a[0], &angles.cos(), &angles.sin())]
}

/// Positions along the features, speeds along the sequence.
fn angles_transposed(a: &[Array]) -> Vec<Array> {
    let angles = angles(4, 8).t();
    vec![turn(&a[0], &angles.cos(), &angles.sin())]
}

fn integers(a: &[Array]) -> Vec<Array> {
    let angles = iota(5).expand_dims(-1) * mlx::array!([1, 2, 3, 4]);
    vec![turn(&a[0], &angles.cos(), &angles.sin())]
}
