//! Functions of two arrays, equal or repeated, at every length and precision, as programs of one instruction.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{
    BinaryOp, ElementwiseProgram, Instruction, StridedInput, TypedSlice, TypedSliceMut,
};
use reference::random;
use rstest::rstest;

/// One side of a function of two arrays.
#[derive(Clone, Copy)]
enum Operand<'a> {
    /// One element for each of the output.
    Array(TypedSlice<'a>),
    /// The last axis of the output, repeated.
    Row(TypedSlice<'a>),
    /// One number, repeated.
    Scalar(f32),
}

fn array(values: &[f32]) -> Operand<'_> {
    Operand::Array(TypedSlice::F32(values))
}

/// Writes `function(a, b)` to `out`, which is `[rows, dim]`.
fn binary(
    function: BinaryOp,
    [rows, dim]: [usize; 2],
    a: Operand<'_>,
    b: Operand<'_>,
    out: TypedSliceMut<'_>,
) {
    let (array_strides, row_strides) = ([dim, 1], [0, 1]);
    let mut inputs = Vec::new();
    let mut instruction = |operand| match operand {
        Operand::Scalar(value) => Instruction::Constant(value),
        Operand::Array(values) | Operand::Row(values) => {
            let strides = match operand {
                Operand::Row(_) => &row_strides,
                _ => &array_strides,
            };
            inputs.push(StridedInput { values, strides });
            Instruction::Input(inputs.len() - 1)
        }
    };
    let instructions = [
        instruction(a),
        instruction(b),
        Instruction::Binary(function, 0, 1),
    ];
    let program = ElementwiseProgram::new(inputs.len(), &instructions, &[2]).unwrap();
    program.run(&[rows, dim], &inputs, &mut [out]).unwrap();
}

fn wanted(function: BinaryOp, a: f32, b: f32) -> f32 {
    match function {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide => a / b,
        BinaryOp::Maximum | BinaryOp::Minimum if a.is_nan() || b.is_nan() => f32::NAN,
        BinaryOp::Maximum => a.max(b),
        _ => a.min(b),
    }
}

#[rstest]
fn equal_shapes_rows_and_scalars_give_the_same_numbers(
    #[values(
        BinaryOp::Add,
        BinaryOp::Subtract,
        BinaryOp::Multiply,
        BinaryOp::Divide,
        BinaryOp::Maximum,
        BinaryOp::Minimum
    )]
    function: BinaryOp,
    #[values((1, 1), (5, 3), (7, 511), (9, 513), (3, 4099), (1, 70_001), (2000, 1))] (rows, dim): (
        usize,
        usize,
    ),
) {
    let x = random(rows * dim, 1);
    let y = random(dim, 2);
    let spread: Vec<f32> = (0..rows * dim).map(|i| y[i % dim]).collect();
    let mut out = vec![7.0; rows * dim];
    let mut check = |a: Operand<'_>, b: Operand<'_>, of: &dyn Fn(usize) -> f32| {
        binary(function, [rows, dim], a, b, TypedSliceMut::F32(&mut out));
        for (i, out) in out.iter().enumerate() {
            assert_eq!(*out, of(i), "element {i}");
        }
    };
    let of = |a: f32, b: f32| wanted(function, a, b);
    let (whole, row) = (array(&x), Operand::Row(TypedSlice::F32(&y)));
    check(whole, array(&spread), &|i| of(x[i], spread[i]));
    check(whole, row, &|i| of(x[i], spread[i]));
    check(row, whole, &|i| of(spread[i], x[i]));
    check(row, row, &|i| of(spread[i], spread[i]));
    check(whole, Operand::Scalar(0.3), &|i| of(x[i], 0.3));
    check(Operand::Scalar(0.3), whole, &|i| of(0.3, x[i]));
    check(Operand::Scalar(0.3), Operand::Scalar(0.2), &|_| {
        of(0.3, 0.2)
    });
}

#[test]
fn outputs_written_with_streaming_stores_are_whole() {
    let count = 6_500_003;
    let x = random(count, 1);
    let mut out = vec![7.0; count + 3];
    for start in 0..3 {
        let out = &mut out[start..start + count];
        let target = TypedSliceMut::F32(&mut *out);
        binary(BinaryOp::Add, [1, count], array(&x), array(&x), target);
        assert!(out.iter().zip(&x).all(|(out, x)| *out == x + x));
    }
    assert_eq!(out[count + 2], 7.0);
}

#[test]
fn half_precision_is_rounded_once() {
    let (x, y) = (random(3000, 1), random(1000, 2));
    let to = |values: &[f32]| -> Vec<f16> { values.iter().map(|x| f16::from_f32(*x)).collect() };
    let (a, b, mut out) = (to(&x), to(&y), vec![f16::ZERO; 3000]);
    let (left, right) = (
        Operand::Array(TypedSlice::F16(&a)),
        Operand::Row(TypedSlice::F16(&b)),
    );
    let target = TypedSliceMut::F16(&mut out);
    binary(BinaryOp::Divide, [3, 1000], left, right, target);
    for (i, out) in out.iter().enumerate() {
        assert_eq!(*out, f16::from_f32(a[i].to_f32() / b[i % 1000].to_f32()));
    }
    let to = |values: &[f32]| -> Vec<bf16> { values.iter().map(|x| bf16::from_f32(*x)).collect() };
    let (a, b, mut out) = (to(&x), to(&y), vec![bf16::ZERO; 3000]);
    let (left, right) = (
        Operand::Array(TypedSlice::Bf16(&a)),
        Operand::Row(TypedSlice::Bf16(&b)),
    );
    let target = TypedSliceMut::Bf16(&mut out);
    binary(BinaryOp::Divide, [3, 1000], left, right, target);
    for (i, out) in out.iter().enumerate() {
        assert_eq!(*out, bf16::from_f32(a[i].to_f32() / b[i % 1000].to_f32()));
    }
}

#[test]
fn nan_is_kept_by_maximum_and_minimum() {
    let mut out = [0.0; 2];
    for function in [BinaryOp::Maximum, BinaryOp::Minimum] {
        let (a, b) = ([f32::NAN, 1.0], [1.0, f32::NAN]);
        let target = TypedSliceMut::F32(&mut out);
        binary(function, [1, 2], array(&a), array(&b), target);
        assert!(out.iter().all(|x| x.is_nan()));
    }
}
