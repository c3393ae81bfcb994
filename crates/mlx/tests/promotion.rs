//! Dtypes of results: those of Python MLX, for every pair of dtypes and for numbers beside every dtype.
//!
//! The table is `golden/promotion.json`, made by `golden/make_promotion.py`.

use mlx::{Array, Complex64, Dtype, Operand, Scalar, concatenate, ones, where_};
use serde_json::Value;

fn table() -> Value {
    serde_json::from_str(include_str!("golden/promotion.json")).unwrap()
}

fn one(dtype: Dtype) -> Array {
    ones([1], dtype)
}

/// Applies an operation of the table to two operands of which at least one is an array.
fn apply(op: &str, a: &Operand, b: &Operand) -> Array {
    let numbers_first = matches!(a, Operand::Scalar(_));
    if op == "where" {
        return where_(&Array::new([true]), a.clone(), b.clone());
    }
    match (a, b) {
        (Operand::Array(a), b) => {
            let b = b.clone();
            match op {
                "add" => a + b,
                "subtract" => a - b,
                "multiply" => a * b,
                "divide" => a / b,
                "maximum" => a.maximum(b),
                "power" => a.power(b),
                "less" => a.less(b),
                other => panic!("{other} is not in the table"),
            }
        }
        (Operand::Scalar(a), Operand::Array(b)) if numbers_first => match (op, *a) {
            // Symmetric operations have no other spelling with a number on the left.
            ("maximum", a) => b.maximum(Operand::Scalar(a)),
            ("less", a) => b.greater(Operand::Scalar(a)),
            ("add", Scalar::Bool(a)) => a + b,
            ("add", Scalar::Int(a)) => i32::try_from(a).unwrap() + b,
            ("add", Scalar::Float(a)) => a as f32 + b,
            ("add", Scalar::Complex(a)) => a + b,
            ("multiply", Scalar::Bool(a)) => a * b,
            ("multiply", Scalar::Int(a)) => i32::try_from(a).unwrap() * b,
            ("multiply", Scalar::Float(a)) => a as f32 * b,
            ("multiply", Scalar::Complex(a)) => a * b,
            ("divide", Scalar::Bool(a)) => a / b,
            ("divide", Scalar::Int(a)) => i32::try_from(a).unwrap() / b,
            ("divide", Scalar::Float(a)) => a as f32 / b,
            ("divide", Scalar::Complex(a)) => a / b,
            (other, _) => panic!("{other} is not in the table"),
        },
        _ => panic!("wanted an array beside a number"),
    }
}

#[test]
fn two_arrays_promote_as_in_python_mlx() {
    let table = table();
    let mut checked = 0;
    for (op, rows) in table["arrays"].as_object().unwrap() {
        for (a, row) in Dtype::ALL.into_iter().zip(rows.as_array().unwrap()) {
            for (b, want) in Dtype::ALL.into_iter().zip(row.as_array().unwrap()) {
                let result = match op.as_str() {
                    "concatenate" => concatenate([&one(a), &one(b)], 0),
                    "matmul" => ones([2, 2], a).matmul(&ones([2, 2], b)),
                    op => apply(op, &Operand::Array(one(a)), &Operand::Array(one(b))),
                };
                let got = result.dtype().ok().map(Dtype::name);
                assert_eq!(got, want.as_str(), "{op} of {a} and {b}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 10 * 14 * 14);
}

#[test]
fn numbers_are_weak_as_in_python_mlx() {
    let numbers = [
        ("true", Scalar::Bool(true)),
        ("3", Scalar::Int(3)),
        ("1.5", Scalar::Float(1.5)),
        ("2j", Scalar::Complex(Complex64::new(0.0, 2.0))),
    ];
    let table = table();
    let mut checked = 0;
    for (op, columns) in table["numbers"].as_object().unwrap() {
        for (text, number) in numbers {
            for (dtype, want) in Dtype::ALL
                .into_iter()
                .zip(columns[text].as_array().unwrap())
            {
                let (array, number) = (Operand::Array(one(dtype)), Operand::Scalar(number));
                let result = match op.strip_suffix(" reversed") {
                    Some(op) => apply(op, &number, &array),
                    None => apply(op, &array, &number),
                };
                let got = result.dtype().ok().map(Dtype::name);
                assert_eq!(got, want.as_str(), "{op} of {dtype} and {text}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 12 * 4 * 14);
}

#[test]
fn a_whole_number_that_does_not_fit_is_an_error() {
    for (dtype, number) in [
        (Dtype::Uint8, 256),
        (Dtype::Uint8, -1),
        (Dtype::Int8, 128),
        (Dtype::Int16, -32769),
    ] {
        let text = (one(dtype) + number).dtype().unwrap_err().to_string();
        assert!(
            text.contains(&number.to_string()) && text.contains(dtype.name()),
            "{text}"
        );
    }
    assert_eq!((one(Dtype::Int8) + 127).to_vec::<i8>().unwrap(), [-128]);
}
