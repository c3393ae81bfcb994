//! Rotary embedding: positions and frequencies, known when the function is compiled or only when it runs.

use mlx::Dtype::{Bfloat16, Float16, Float32, Int8, Int32, Int64};
use mlx::{Array, arange_with, concatenate, iota, where_};
use mlx_compiler::{Fallback, Fusion};
use rstest::rstest;

use crate::check::{self, Formula, Type};
use crate::rope::{X, angles, apply, speeds, turn};

const OFFSET: &[Type] = &[(&[2, 3, 5, 8], Float32), (&[], Int32)];
const OFFSET_OF_ONE: &[Type] = &[(&[2, 3, 5, 8], Float32), (&[1], Int32)];
const LONG_OFFSET: &[Type] = &[(&[2, 3, 5, 8], Float32), (&[], Int64)];
const FLOAT_OFFSET: &[Type] = &[(&[2, 3, 5, 8], Float32), (&[], Float32)];
const OFFSET_IN_HALF: &[Type] = &[(&[2, 3, 5, 8], Float16), (&[], Int32)];
const OFFSET_IN_BRAIN: &[Type] = &[(&[2, 3, 5, 8], Bfloat16), (&[], Int32)];
const X_IN_HALF: &[Type] = &[(&[2, 3, 5, 8], Float16)];
const X_IN_BRAIN: &[Type] = &[(&[2, 3, 5, 8], Bfloat16)];
const POSITIONS_IN_HALF: &[Type] = &[(&[2, 3, 5, 8], Float16), (&[5], Int32)];
const OFFSETS: &[Type] = &[(&[2, 3, 5, 8], Float32), (&[2], Int32)];
const BSHD: &[Type] = &[(&[2, 5, 3, 8], Float32), (&[], Int32)];
const ONE: &[Type] = &[(&[2, 3, 1, 8], Float32), (&[], Int32)];
const POSITIONS: &[Type] = &[(&[2, 3, 5, 8], Float32), (&[5], Int32)];
const POSITIONS_OF_BATCH: &[Type] = &[(&[2, 3, 5, 8], Float32), (&[2, 5], Int32)];
const SQUARE: &[Type] = &[(&[2, 3, 4, 8], Float32), (&[], Int32)];

spellings! { Fusion::Rope, "fast.rope";
    captured_tables(X),
    captured_wide_tables(X),
    slice_of_captured_tables(X),
    later_slice_of_captured_tables(X),
    positions_times_speeds(X),
    positions_over_freqs(X),
    positions_by_matmul(X),
    speeds_by_exp(X),
    linear_scaling(X),
    scaled_speeds(X),
    llama3_speeds(X),
    speeds_all_the_same(X),
    some_do_not_turn(X),
    known_offset(X),
    negative_offset(X),
    far_offset(X),
    traced_offset(OFFSET),
    traced_offset_of_one(OFFSET_OF_ONE),
    traced_long_offset(LONG_OFFSET),
    traced_offset_added_to_floats(OFFSET),
    traced_offset_first(OFFSET),
    traced_offset_by_outer(OFFSET),
    traced_offset_by_matmul(OFFSET),
    traced_offset_hugging_face(OFFSET),
    traced_offset_in_half(OFFSET_IN_HALF),
    traced_offset_in_bfloat16(OFFSET_IN_BRAIN),
    traced_offset_scaled(OFFSET),
    traced_offset_of_one_position(ONE),
    traced_offset_before_heads(BSHD),
    traced_offset_of_square(SQUARE),
    traced_offset_and_start(OFFSET),
    hugging_face(X),
    hugging_face_in_half(X_IN_HALF),
    hugging_face_in_bfloat16(X_IN_BRAIN),
    hugging_face_upcast(X_IN_HALF),
    hugging_face_upcast_from_offset(OFFSET_IN_BRAIN),
}

refusals! { Fusion::Rope;
    positions_are_an_input(Formula, POSITIONS),
    positions_of_batch_are_an_input(Formula, POSITIONS_OF_BATCH),
    offset_for_each_row(Formula, OFFSETS),
    offset_is_no_whole_number(Formula, FLOAT_OFFSET),
    uneven_steps(Formula, OFFSET),
    steps_of_two(Formula, OFFSET),
    descending_steps(Formula, OFFSET),
    speeds_depend_on_offset(Formula, OFFSET),
    angles_in_half(Dtype, OFFSET_IN_HALF),
    positions_in_half(Dtype, OFFSET),
    positions_in_bytes(Dtype, OFFSET),
    tables_rounded(Dtype, OFFSET),
    tables_are_inputs(Formula, &[(&[2, 3, 5, 8], Float32), (&[5, 4], Float32), (&[5, 4], Float32)]),
    tables_taken(Formula, POSITIONS),
    tables_taken_by_batch(Formula, POSITIONS_OF_BATCH),
    tables_taken_in_half(Formula, POSITIONS_IN_HALF),
    tables_cut(Formula, OFFSET_OF_ONE),
    yarn(Formula, X),
    yarn_from_offset(Formula, OFFSET),
}

others! { Fusion::Rope;
    shifted_angles(X),
    half_a_step(X),
    squared_positions(X),
    different_angles(OFFSET),
    turned_angles_of_square(SQUARE),
    no_positions(&[(&[2, 3, 0, 8], Float32), (&[], Int32)]),
}

/// What the kernel is told of frequencies and of the offset.
#[rstest]
#[case::base(positions_times_speeds, X, "base=10000.0")]
#[case::traced_base(traced_offset, OFFSET, "base=10000.0")]
#[case::freqs(llama3_speeds, X, "freqs")]
#[case::scaled(linear_scaling, X, "freqs")]
#[case::start(known_offset, X, ", 7 dims=8")]
#[case::negative(negative_offset, X, ", -3 dims=8")]
fn kernel_is_told(#[case] formula: Formula, #[case] types: &[Type], #[case] wanted: &str) {
    let inputs = check::inputs(types);
    let (_, text) = check::lower(|a| vec![formula(a)], &inputs, Fallback::Never);
    assert!(text.contains(wanted), "{text}");
}

/// Computed once, outside of the function, as a model does when it is made.
fn outside(make: impl FnOnce() -> [Array; 2]) -> [Array; 2] {
    mlx::compiler_api::without_recording(|| {
        let tables = make();
        mlx::eval([&tables[0], &tables[1]]).unwrap();
        tables
    })
}

fn captured_tables(a: &[Array]) -> Array {
    let [cos, sin] = outside(|| [angles(5, 8).cos(), angles(5, 8).sin()]);
    turn(&a[0], &cos, &sin)
}

fn captured_wide_tables(a: &[Array]) -> Array {
    let [cos, sin] = outside(|| {
        let angles = concatenate([&angles(5, 8), &angles(5, 8)], -1);
        [angles.cos(), angles.sin()]
    });
    apply(
        &a[0],
        &cos.reshape([1, 1, 5, 8]),
        &sin.reshape([1, 1, 5, 8]),
    )
}

fn slice_of_captured_tables(a: &[Array]) -> Array {
    let [cos, sin] = outside(|| [angles(64, 8).cos(), angles(64, 8).sin()]);
    turn(&a[0], &cos.i(..5), &sin.i(..5))
}

fn later_slice_of_captured_tables(a: &[Array]) -> Array {
    let [cos, sin] = outside(|| [angles(64, 8).cos(), angles(64, 8).sin()]);
    turn(&a[0], &cos.i(40..45), &sin.i(40..45))
}

fn turn_by(a: &[Array], angles: &Array) -> Array {
    turn(&a[0], &angles.cos(), &angles.sin())
}

fn positions_times_speeds(a: &[Array]) -> Array {
    turn_by(a, &(iota(5).astype(Float32).expand_dims(-1) * speeds(8)))
}

fn positions_over_freqs(a: &[Array]) -> Array {
    let freqs = Array::scalar(10_000.0_f32).power(arange_with(0.0, 1.0, 0.25, Float32));
    turn_by(
        a,
        &(arange_with(0.0, 5.0, 1.0, Float32).reshape([5, 1]) / freqs),
    )
}

fn positions_by_matmul(a: &[Array]) -> Array {
    let positions = iota(5).astype(Float32).reshape([5, 1]);
    turn_by(a, &positions.matmul(&speeds(8).reshape([1, 4])))
}

/// As in the nanoGPT family and in x-transformers.
fn speeds_by_exp(a: &[Array]) -> Array {
    let speeds = (arange_with(0.0, 4.0, 1.0, Float32) * (-(10_000_f32.ln()) / 4.0)).exp();
    turn_by(a, &arange_with(0.0, 5.0, 1.0, Float32).outer(&speeds))
}

fn linear_scaling(a: &[Array]) -> Array {
    let positions = arange_with(0.0, 5.0, 1.0, Float32) / 4.0;
    turn_by(a, &positions.outer(&speeds(8)))
}

fn scaled_speeds(a: &[Array]) -> Array {
    turn_by(
        a,
        &arange_with(0.0, 5.0, 1.0, Float32).outer(&(speeds(8) * 0.25)),
    )
}

/// The frequencies of Llama 3.1: slow ones slower, with a smooth way between.
fn llama3_speeds(a: &[Array]) -> Array {
    let speeds = speeds(8);
    let wavelength = std::f32::consts::TAU / &speeds;
    let smooth = ((8192.0 / &wavelength - 1.0) / 3.0).clip(0.0, 1.0);
    let between = (1.0 - &smooth) * &speeds / 8.0 + &smooth * &speeds;
    let scaled = where_(&wavelength.greater(8192.0), &speeds / 8.0, between);
    turn_by(a, &arange_with(0.0, 5.0, 1.0, Float32).outer(&scaled))
}

fn speeds_all_the_same(a: &[Array]) -> Array {
    turn_by(
        a,
        &arange_with(0.0, 5.0, 1.0, Float32).outer(&mlx::array!([0.1, 0.1, 0.1, 0.1])),
    )
}

fn some_do_not_turn(a: &[Array]) -> Array {
    turn_by(
        a,
        &arange_with(0.0, 5.0, 1.0, Float32).outer(&mlx::array!([1.0, 0.01, 0.0, 0.0])),
    )
}

fn known_offset(a: &[Array]) -> Array {
    turn_by(a, &arange_with(7.0, 12.0, 1.0, Float32).outer(&speeds(8)))
}

fn negative_offset(a: &[Array]) -> Array {
    turn_by(a, &arange_with(-3.0, 2.0, 1.0, Float32).outer(&speeds(8)))
}

fn far_offset(a: &[Array]) -> Array {
    turn_by(
        a,
        &arange_with(100.0, 105.0, 1.0, Float32).outer(&speeds(8)),
    )
}

/// `t + offset` as whole numbers.
fn positions(a: &[Array]) -> Array {
    iota(a[0].dim(-2).unwrap()) + &a[1]
}

fn traced_offset(a: &[Array]) -> Array {
    turn_by(
        a,
        &(positions(a).astype(Float32).expand_dims(-1) * speeds(8)),
    )
}

fn traced_offset_of_one(a: &[Array]) -> Array {
    traced_offset(a)
}

fn traced_long_offset(a: &[Array]) -> Array {
    traced_offset(a)
}

fn traced_offset_added_to_floats(a: &[Array]) -> Array {
    let positions = arange_with(0.0, 5.0, 1.0, Float32) + a[1].astype(Float32);
    turn_by(a, &(positions.reshape([5, 1]) * speeds(8)))
}

fn traced_offset_first(a: &[Array]) -> Array {
    let positions = &a[1] + arange_with(0.0, 5.0, 1.0, Int32);
    turn_by(a, &(speeds(8) * positions.astype(Float32).expand_dims(1)))
}

fn traced_offset_by_outer(a: &[Array]) -> Array {
    turn_by(a, &positions(a).astype(Float32).outer(&speeds(8)))
}

fn traced_offset_by_matmul(a: &[Array]) -> Array {
    let positions = positions(a).astype(Float32).reshape([5, 1]);
    turn_by(a, &positions.matmul(&speeds(8).reshape([1, 4])))
}

/// `LlamaRotaryEmbedding`: `(inv_freq @ positions).transpose(1, 2)`, twice in a row, unsqueezed for heads.
fn traced_offset_hugging_face(a: &[Array]) -> Array {
    let inv_freq = speeds(8).reshape([1, 4, 1]);
    let positions = positions(a).reshape([1, 1, 5]).astype(Float32);
    let freqs = inv_freq.matmul(&positions).swapaxes(1, 2);
    let emb = concatenate([&freqs, &freqs], -1);
    let dtype = a[0].dtype().unwrap();
    let (cos, sin) = (emb.cos().astype(dtype), emb.sin().astype(dtype));
    apply(&a[0], &cos.expand_dims(1), &sin.expand_dims(1))
}

fn traced_offset_in_half(a: &[Array]) -> Array {
    traced_offset_hugging_face(a)
}

fn traced_offset_in_bfloat16(a: &[Array]) -> Array {
    traced_offset(a).astype(Bfloat16)
}

fn traced_offset_scaled(a: &[Array]) -> Array {
    let positions = positions(a).astype(Float32) * 0.25;
    turn_by(a, &(positions.expand_dims(-1) * speeds(8)))
}

fn traced_offset_of_one_position(a: &[Array]) -> Array {
    let positions = a[1].astype(Float32).reshape([1, 1]);
    turn_by(a, &(positions * speeds(8)))
}

fn traced_offset_before_heads(a: &[Array]) -> Array {
    let positions = (iota(5) + &a[1]).astype(Float32);
    turn_by(a, &(positions.reshape([5, 1, 1]) * speeds(8)))
}

fn traced_offset_of_square(a: &[Array]) -> Array {
    traced_offset(a)
}

fn traced_offset_and_start(a: &[Array]) -> Array {
    let positions = (arange_with(2.0, 7.0, 1.0, Int32) + &a[1]).astype(Float32);
    turn_by(a, &(positions.expand_dims(-1) * speeds(8)))
}

fn positions_are_an_input(a: &[Array]) -> Vec<Array> {
    vec![turn_by(
        a,
        &(a[1].astype(Float32).expand_dims(-1) * speeds(8)),
    )]
}

fn positions_of_batch_are_an_input(a: &[Array]) -> Vec<Array> {
    let positions = a[1].astype(Float32).reshape([2, 1, 5, 1]);
    vec![turn_by(a, &(positions * speeds(8)))]
}

fn offset_for_each_row(a: &[Array]) -> Vec<Array> {
    let positions = iota(5) + a[1].reshape([2, 1]);
    vec![turn_by(
        a,
        &(positions.astype(Float32).reshape([2, 1, 5, 1]) * speeds(8)),
    )]
}

fn offset_is_no_whole_number(a: &[Array]) -> Vec<Array> {
    let positions = arange_with(0.0, 5.0, 1.0, Float32) + &a[1];
    vec![turn_by(a, &(positions.expand_dims(-1) * speeds(8)))]
}

fn by_steps(a: &[Array], steps: Array) -> Vec<Array> {
    let positions = (steps + &a[1]).astype(Float32);
    vec![turn_by(a, &(positions.expand_dims(-1) * speeds(8)))]
}

fn uneven_steps(a: &[Array]) -> Vec<Array> {
    by_steps(a, mlx::array!([0, 1, 2, 4, 5]))
}

fn steps_of_two(a: &[Array]) -> Vec<Array> {
    by_steps(a, arange_with(0.0, 10.0, 2.0, Int32))
}

fn descending_steps(a: &[Array]) -> Vec<Array> {
    by_steps(a, arange_with(5.0, 0.0, -1.0, Int32))
}

/// Dynamic scaling: frequencies change with the length.
fn speeds_depend_on_offset(a: &[Array]) -> Vec<Array> {
    let positions = positions(a).astype(Float32).expand_dims(-1);
    let speeds = speeds(8) / (1.0 + a[1].astype(Float32));
    vec![turn_by(a, &(positions * speeds))]
}

fn angles_in_half(a: &[Array]) -> Vec<Array> {
    let positions = positions(a).astype(Float16).expand_dims(-1);
    vec![turn_by(a, &(positions * speeds(8).astype(Float16)))]
}

fn positions_in_half(a: &[Array]) -> Vec<Array> {
    let positions = positions(a).astype(Float16).astype(Float32);
    vec![turn_by(a, &(positions.expand_dims(-1) * speeds(8)))]
}

/// They wrap around.
fn positions_in_bytes(a: &[Array]) -> Vec<Array> {
    let positions = (positions(a) + 126).astype(Int8).astype(Float32);
    vec![turn_by(a, &(positions.expand_dims(-1) * speeds(8)))]
}

fn tables_rounded(a: &[Array]) -> Vec<Array> {
    let angles = positions(a).astype(Float32).expand_dims(-1) * speeds(8);
    let round = |table: Array| table.astype(Bfloat16).astype(Float32);
    vec![turn(&a[0], &round(angles.cos()), &round(angles.sin()))]
}

fn shifted_angles(a: &[Array]) -> Vec<Array> {
    vec![turn_by(a, &(angles(5, 8) + 0.3))]
}

fn half_a_step(a: &[Array]) -> Vec<Array> {
    vec![turn_by(
        a,
        &arange_with(0.5, 5.5, 1.0, Float32).outer(&speeds(8)),
    )]
}

fn squared_positions(a: &[Array]) -> Vec<Array> {
    vec![turn_by(
        a,
        &arange_with(0.0, 5.0, 1.0, Float32)
            .square()
            .outer(&speeds(8)),
    )]
}

fn different_angles(a: &[Array]) -> Vec<Array> {
    let angles = positions(a).astype(Float32).expand_dims(-1) * speeds(8);
    vec![turn(&a[0], &angles.cos(), &(angles * 2.0).sin())]
}

/// Positions along the features, speeds along the sequence.
fn turned_angles_of_square(a: &[Array]) -> Vec<Array> {
    let angles = positions(a).astype(Float32) * speeds(8).expand_dims(-1);
    vec![turn_by(a, &angles)]
}

fn no_positions(a: &[Array]) -> Vec<Array> {
    vec![traced_offset(a)]
}

fn whole_table(of: fn(&Array) -> Array) -> Array {
    let [table, _] = outside(|| {
        let angles = concatenate([&angles(64, 8), &angles(64, 8)], -1);
        [of(&angles), of(&angles)]
    });
    table
}

/// `cos[position_ids]`, as of the older Llama of Hugging Face.
fn tables_taken(a: &[Array]) -> Vec<Array> {
    let dtype = a[0].dtype().unwrap();
    let row = |of| whole_table(of).take(&a[1], 0).astype(dtype);
    vec![apply(&a[0], &row(Array::cos), &row(Array::sin))]
}

fn tables_taken_in_half(a: &[Array]) -> Vec<Array> {
    tables_taken(a)
}

fn tables_taken_by_batch(a: &[Array]) -> Vec<Array> {
    let row = |of| whole_table(of).take(&a[1], 0).expand_dims(1);
    vec![apply(&a[0], &row(Array::cos), &row(Array::sin))]
}

fn tables_cut(a: &[Array]) -> Vec<Array> {
    let row = |of| whole_table(of).slice_at(&a[1], 0, [5, 8]);
    vec![apply(&a[0], &row(Array::cos), &row(Array::sin))]
}

/// Attention is scaled by way of the tables.
fn yarn(a: &[Array]) -> Vec<Array> {
    let angles = concatenate([&angles(5, 8), &angles(5, 8)], -1);
    vec![apply(
        &a[0],
        &(angles.cos() * 1.138),
        &(angles.sin() * 1.138),
    )]
}

fn yarn_from_offset(a: &[Array]) -> Vec<Array> {
    let angles = positions(a).astype(Float32).expand_dims(-1) * speeds(8);
    let angles = concatenate([&angles, &angles], -1);
    vec![apply(
        &a[0],
        &(angles.cos() * 1.138),
        &(angles.sin() * 1.138),
    )]
}

/// `LlamaRotaryEmbedding` with the positions that a model makes itself.
fn hugging_face(a: &[Array]) -> Array {
    let offset = mlx::zeros_with((), Int32);
    traced_offset_hugging_face(&[a[0].clone(), offset])
}

fn hugging_face_in_half(a: &[Array]) -> Array {
    hugging_face(a)
}

fn hugging_face_in_bfloat16(a: &[Array]) -> Array {
    hugging_face(a)
}

/// What is turned is `float32` while it is.
fn hugging_face_upcast(a: &[Array]) -> Array {
    hugging_face(&[a[0].astype(Float32)]).astype(a[0].dtype().unwrap())
}

fn hugging_face_upcast_from_offset(a: &[Array]) -> Array {
    let wide = [a[0].astype(Float32), a[1].clone()];
    traced_offset_hugging_face(&wide).astype(a[0].dtype().unwrap())
}

fn tables_are_inputs(a: &[Array]) -> Vec<Array> {
    vec![turn(&a[0], &a[1], &a[2])]
}
