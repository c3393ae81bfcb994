//! Functions of two arrays, equal or repeated, at every length and precision.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{Binary, Element, Operand, binary};
use reference::random;
use rstest::rstest;

fn wanted(function: Binary, a: f32, b: f32) -> f32 {
    match function {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        Binary::Maximum | Binary::Minimum if a.is_nan() || b.is_nan() => f32::NAN,
        Binary::Maximum => a.max(b),
        _ => a.min(b),
    }
}

#[rstest]
fn equal_shapes_rows_and_scalars_give_the_same_numbers(
    #[values(
        Binary::Add,
        Binary::Subtract,
        Binary::Multiply,
        Binary::Divide,
        Binary::Maximum,
        Binary::Minimum
    )]
    function: Binary,
    #[values((1, 1), (5, 3), (7, 511), (9, 513), (3, 4099), (1, 70_001), (2000, 1))] (rows, dim): (
        usize,
        usize,
    ),
) {
    let x = random(rows * dim, 1);
    let y = random(dim, 2);
    let spread: Vec<f32> = (0..rows * dim).map(|i| y[i % dim]).collect();
    let mut out = vec![7.0; rows * dim];
    let mut check = |a: Operand<'_, f32>, b: Operand<'_, f32>, of: &dyn Fn(usize) -> f32| {
        binary(function, a, b, &mut out).unwrap();
        for (i, out) in out.iter().enumerate() {
            assert_eq!(*out, of(i), "element {i}");
        }
    };
    let of = |a: f32, b: f32| wanted(function, a, b);
    let (array, row) = (Operand::Array(&x[..]), Operand::Row(&y[..]));
    check(array, Operand::Array(&spread), &|i| of(x[i], spread[i]));
    check(array, row, &|i| of(x[i], spread[i]));
    check(row, array, &|i| of(spread[i], x[i]));
    check(row, row, &|i| of(spread[i], spread[i]));
    check(array, Operand::Scalar(0.3), &|i| of(x[i], 0.3));
    check(Operand::Scalar(0.3), array, &|i| of(0.3, x[i]));
    check(Operand::Scalar(0.3), Operand::Scalar(0.2), &|_| {
        of(0.3, 0.2)
    });
}

#[test]
fn outputs_past_the_cache_are_whole() {
    let count = 6_500_003;
    let x = random(count, 1);
    let mut out = vec![7.0; count + 3];
    for start in 0..3 {
        let out = &mut out[start..start + count];
        binary(
            Binary::Add,
            Operand::Array(&x[..]),
            Operand::Array(&x[..]),
            out,
        )
        .unwrap();
        assert!(out.iter().zip(&x).all(|(out, x)| *out == x + x));
    }
    assert_eq!(out[count + 2], 7.0);
}

fn rounds_once<T: Element + PartialEq + std::fmt::Debug>(to: fn(f32) -> T, from: fn(T) -> f32) {
    let x: Vec<T> = random(3000, 1).iter().map(|x| to(*x)).collect();
    let y: Vec<T> = random(1000, 2).iter().map(|x| to(*x)).collect();
    let mut out = vec![T::default(); 3000];
    binary(
        Binary::Divide,
        Operand::Array(&x),
        Operand::Row(&y),
        &mut out,
    )
    .unwrap();
    for (i, out) in out.iter().enumerate() {
        assert_eq!(*out, to(from(x[i]) / from(y[i % 1000])));
    }
}

#[test]
fn half_precision_is_rounded_once() {
    rounds_once(f16::from_f32, f16::to_f32);
    rounds_once(bf16::from_f32, bf16::to_f32);
}

#[test]
fn what_is_not_a_number_stays_that() {
    let mut out = [0.0; 2];
    for function in [Binary::Maximum, Binary::Minimum] {
        let (a, b) = ([f32::NAN, 1.0], [1.0, f32::NAN]);
        binary(function, Operand::Array(&a), Operand::Array(&b), &mut out).unwrap();
        assert!(out.iter().all(|x| x.is_nan()));
    }
}

#[rstest]
#[case(Operand::Array(&[1.0, 2.0]), "add: b must have 4 elements, got 2")]
#[case(Operand::Row(&[1.0, 2.0, 3.0]), "add: the length of a row must be a divisor of the length of out, got 3")]
#[case(Operand::Row(&[]), "add: the length of a row must be a divisor of the length of out, got 0")]
fn refuses_lengths_that_do_not_fit(#[case] b: Operand<'_, f32>, #[case] text: &str) {
    let mut out = [7.0; 4];
    let error = binary(Binary::Add, Operand::Scalar(1.0), b, &mut out).unwrap_err();
    assert_eq!(error.to_string(), text);
    assert_eq!(out, [7.0; 4]);
}
