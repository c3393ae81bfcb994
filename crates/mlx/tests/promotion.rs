//! Which dtype comes out of two: as in Python MLX, for every pair and for arrays beside plain numbers.

mod written;

use mlx::{Array, Complex64, Dtype, Operand, Scalar, array, concatenate, where_};
use mlx_testdata::needs;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/promotion.json")).unwrap()
}

fn pair(op: &str, a: &Array, b: &Array) -> Array {
    let first = |both: mlx::Result<(Array, Array)>| Array::from_result(both.map(|both| both.0));
    match op {
        "add" => a.add(b),
        "subtract" => a.subtract(b),
        "multiply" => a.multiply(b),
        "divide" => a.divide(b),
        "floor_divide" => a.floor_divide(b),
        "remainder" => a.remainder(b),
        "divmod" => first(a.divmod(b)),
        "power" => a.power(b),
        "maximum" => a.maximum(b),
        "minimum" => a.minimum(b),
        "logaddexp" => a.logaddexp(b),
        "arctan2" => a.arctan2(b),
        "equal" => a.equal(b),
        "less" => a.less(b),
        "logical_and" => a.logical_and(b),
        "logical_xor" => a.logical_xor(b),
        "bitwise_and" => a.bitwise_and(b),
        "left_shift" => a.left_shift(b),
        "right_shift" => a.right_shift(b),
        "matmul" => a.matmul(b),
        "inner" => a.inner(b),
        "outer" => a.outer(b),
        "kron" => a.kron(b),
        "isclose" => a.isclose_with(b, mlx::CloseOptions::new(1e-5, 1e-8)),
        "array_equal" => a.array_equal(b),
        "where" => where_(&array!([[true, false], [false, true]]), a, b),
        "concatenate" => concatenate([a, b], 0),
        "searchsorted" => a.flatten(0, -1).searchsorted(b),
        "tensordot" => a.tensordot(b, ([-1], [0])),
        "addmm" => mlx::addmm(a, b, b),
        "solve" => mlx::linalg::solve(a, b),
        "clip" => a.clip::<&Array, &Array>(b, None),
        _ => panic!("no operation {op}"),
    }
}

/// The dtype of a sum.
fn sum(golden: &Value, left: &str, right: Dtype) -> String {
    let row = golden["pairs"]["add"][left].as_str().unwrap();
    let at = Dtype::ALL.iter().position(|dtype| *dtype == right).unwrap();
    row.split(' ').nth(at).unwrap().to_owned()
}

#[test]
fn every_pair_of_dtypes_gives_the_dtype_python_gives() {
    needs!(Float64);
    let golden = golden();
    let mut wrong = Vec::new();
    for (op, rows) in golden["pairs"].as_object().unwrap() {
        for (left, row) in rows.as_object().unwrap() {
            for (right, want) in Dtype::ALL.iter().zip(row.as_str().unwrap().split(' ')) {
                let base = array!([[2, 1], [1, 1]]);
                let (a, b) = (
                    base.astype(Dtype::from_name(left).unwrap()),
                    base.astype(*right),
                );
                let result = pair(op, &a, &b);
                let got = result.eval().and_then(|()| result.dtype());
                let got = got.map_or_else(|_| String::from("-"), |dtype| dtype.to_string());
                // Python refuses sides of two dtypes; NumPy promotes them, as for a sum.
                let promoted = op == "solve" && want == "-" && got == sum(&golden, left, *right);
                if got != want && !promoted {
                    wrong.push(format!(
                        "{op} of {left} and {right}: got {got}, want {want}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn number(text: &str) -> Operand {
    match text {
        "True" => true.into(),
        "(1+2j)" => Complex64::new(1.0, 2.0).into(),
        text => match text.parse::<i64>() {
            Ok(whole) => whole.into(),
            Err(_) => text.parse::<f64>().unwrap().into(),
        },
    }
}

fn beside(op: &str, a: &Array, number: Operand) -> Option<Array> {
    // On the left, the operators take one type of each kind; larger numbers do not fit.
    macro_rules! left {
        ($operator:tt) => {
            match number {
                Operand::Scalar(Scalar::Bool(number)) => number $operator a,
                Operand::Scalar(Scalar::Int(number)) => i32::try_from(number).ok()? $operator a,
                #[allow(clippy::cast_possible_truncation)]
                Operand::Scalar(Scalar::Float(number)) if number.abs() < 1e30 => number as f32 $operator a,
                Operand::Scalar(Scalar::Complex(number)) => number $operator a,
                _ => return None,
            }
        };
    }
    Some(match op {
        "add" => a.add(number),
        "radd" => left!(+),
        "rsubtract" => left!(-),
        "multiply" => a.multiply(number),
        "divide" => a.divide(number),
        "rdivide" => left!(/),
        "maximum" => a.maximum(number),
        "power" => a.power(number),
        "equal" => a.equal(number),
        "where" => where_(&a.astype(Dtype::Bool), a, number),
        _ => panic!("no operation {op}"),
    })
}

#[test]
fn numbers_beside_arrays_take_the_dtype_and_value_they_take_in_python() {
    needs!(Float64);
    let golden = golden();
    let mut wrong = Vec::new();
    for (op, rows) in golden["numbers"].as_object().unwrap() {
        for (text, row) in rows.as_object().unwrap() {
            for (dtype, want) in Dtype::ALL.iter().zip(row.as_array().unwrap()) {
                let is_big = text
                    .parse::<i64>()
                    .is_ok_and(|number| i32::try_from(number).is_err());
                if is_big && *dtype == Dtype::Bool {
                    // Python cuts it to 32 bits; here it keeps its value, in int64.
                    continue;
                }
                let want = want.as_str().unwrap();
                let base = array!([0, 1, 3]).astype(*dtype);
                let Some(result) = beside(op, &base, number(text)) else {
                    continue;
                };
                let got = written(&result);
                if !same(&got, want) {
                    wrong.push(format!(
                        "{op} of {dtype} and {text}: got {got}, want {want}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_number_too_large_for_int32_beside_bool_is_int64() {
    let sum = array!([true, false]) + (1_i64 << 40);
    assert_eq!(sum.to_vec::<i64>().unwrap(), [(1 << 40) + 1, 1 << 40]);
}

/// Returns `dtype:values`, or `-` for an error.
fn written(array: &Array) -> String {
    let Ok(values) = array.eval().and_then(|()| written::values(array)) else {
        return String::from("-");
    };
    let values: Vec<String> = values
        .iter()
        .map(|value| match value {
            written::Value::Bool(value) => value.to_string(),
            written::Value::Int(value) => value.to_string(),
            written::Value::Real(value) => value.to_string(),
            written::Value::Complex(re, im) => format!("{re}_{im}"),
        })
        .collect();
    format!("{}:{}", array.dtype().unwrap(), values.join(","))
}

/// Compares two such texts, numbers by value.
fn same(got: &str, want: &str) -> bool {
    let (Some((got_dtype, got)), Some((want_dtype, want))) =
        (got.split_once(':'), want.split_once(':'))
    else {
        return got == want;
    };
    let tolerance = Dtype::from_name(want_dtype).map_or(0.0, written::tolerance);
    let parts = |text: &str| -> Vec<f64> {
        let number = |word: &str| word.parse().unwrap_or(f64::from(u8::from(word == "true")));
        text.split('_').map(number).collect()
    };
    let close = |(got, want): (&str, &str)| {
        let (got, want) = (parts(got), parts(want));
        got.len() == want.len()
            && got.iter().zip(want).all(|(got, want)| {
                written::close(
                    written::Value::Real(*got),
                    written::Value::Real(want),
                    tolerance,
                )
            })
    };
    got_dtype == want_dtype
        && got.split(',').count() == want.split(',').count()
        && got.split(',').zip(want.split(',')).all(close)
}
