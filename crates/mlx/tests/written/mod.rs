//! Arrays as text, `float32[2,2] 1 2.5 nan -0`, and how close two of them are.
//!
//! Shared by the tests that compare with Python MLX: golden files hold such texts.
#![allow(dead_code)] // Each test uses a part of it.

use half::{bf16, f16};
use mlx::{Array, Complex64, Dtype, Element};

/// One element in the widest form of its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i128),
    Real(f64),
    Complex(f64, f64),
}

/// Returns the array that a text describes.
pub fn read(text: &str) -> Array {
    let (kind, values) = text.split_once(' ').unwrap_or((text, ""));
    let (dtype, shape) = kind
        .split_once('[')
        .unwrap_or_else(|| panic!("no shape in {text:?}"));
    let dtype = Dtype::from_name(dtype).unwrap_or_else(|| panic!("no dtype in {text:?}"));
    let shape: Vec<i32> = shape
        .trim_end_matches(']')
        .split(',')
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().unwrap())
        .collect();
    let words: Vec<&str> = values.split_whitespace().collect();
    macro_rules! make {
        ($t:ty, $parse:expr) => {{
            let values: Vec<$t> = words.iter().map(|word| $parse(word)).collect();
            Array::from_slice(&values, shape).unwrap_or_else(|error| panic!("{text:?}: {error}"))
        }};
    }
    let single = |word: &str| {
        word.parse::<f32>()
            .unwrap_or_else(|_| panic!("{word:?} in {text:?}"))
    };
    match dtype {
        Dtype::Bool => make!(bool, |word: &str| word.parse().unwrap()),
        Dtype::Uint8 => make!(u8, |word: &str| word.parse().unwrap()),
        Dtype::Uint16 => make!(u16, |word: &str| word.parse().unwrap()),
        Dtype::Uint32 => make!(u32, |word: &str| word.parse().unwrap()),
        Dtype::Uint64 => make!(u64, |word: &str| word.parse().unwrap()),
        Dtype::Int8 => make!(i8, |word: &str| word.parse().unwrap()),
        Dtype::Int16 => make!(i16, |word: &str| word.parse().unwrap()),
        Dtype::Int32 => make!(i32, |word: &str| word.parse().unwrap()),
        Dtype::Int64 => make!(i64, |word: &str| word.parse().unwrap()),
        Dtype::Float16 => make!(f16, |word: &str| f16::from_f32(single(word))),
        Dtype::Float32 => make!(f32, single),
        Dtype::Float64 => make!(f64, |word: &str| word.parse().unwrap()),
        Dtype::Bfloat16 => make!(bf16, |word: &str| bf16::from_f32(single(word))),
        Dtype::Complex64 => make!(Complex64, |word: &str| {
            let (re, im) = word.split_once('_').unwrap_or((word, "0"));
            Complex64::new(single(re), single(im))
        }),
    }
}

/// Returns the elements of an array.
pub fn values(array: &Array) -> mlx::Result<Vec<Value>> {
    fn each<T: Element>(array: &Array, value: fn(T) -> Value) -> mlx::Result<Vec<Value>> {
        Ok(array.to_vec::<T>()?.into_iter().map(value).collect())
    }
    match array.dtype()? {
        Dtype::Bool => each::<bool>(array, Value::Bool),
        Dtype::Uint8 => each::<u8>(array, |x| Value::Int(x.into())),
        Dtype::Uint16 => each::<u16>(array, |x| Value::Int(x.into())),
        Dtype::Uint32 => each::<u32>(array, |x| Value::Int(x.into())),
        Dtype::Uint64 => each::<u64>(array, |x| Value::Int(x.into())),
        Dtype::Int8 => each::<i8>(array, |x| Value::Int(x.into())),
        Dtype::Int16 => each::<i16>(array, |x| Value::Int(x.into())),
        Dtype::Int32 => each::<i32>(array, |x| Value::Int(x.into())),
        Dtype::Int64 => each::<i64>(array, |x| Value::Int(x.into())),
        Dtype::Float16 => each::<f16>(array, |x| Value::Real(x.into())),
        Dtype::Float32 => each::<f32>(array, |x| Value::Real(x.into())),
        Dtype::Float64 => each::<f64>(array, Value::Real),
        Dtype::Bfloat16 => each::<bf16>(array, |x| Value::Real(x.into())),
        Dtype::Complex64 => each::<Complex64>(array, |z| Value::Complex(z.re.into(), z.im.into())),
    }
}

/// How far a result may be from the wanted one, relative to the greater of it and 1: twenty roundings of the dtype.
pub fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float16 => 1e-2,
        Dtype::Bfloat16 => 8e-2,
        Dtype::Float32 | Dtype::Complex64 => 2e-6,
        Dtype::Float64 => 4e-15,
        _ => 0.0,
    }
}

/// Whether two elements are equal: integers exactly, NaN to NaN, others within `tolerance`.
pub fn close(got: Value, want: Value, tolerance: f64) -> bool {
    let real = |got: f64, want: f64| {
        if want.is_nan() || got.is_nan() {
            return want.is_nan() && got.is_nan();
        }
        got == want || (got - want).abs() <= tolerance * want.abs().max(1.0)
    };
    match (got, want) {
        (Value::Real(got), Value::Real(want)) => real(got, want),
        (Value::Complex(a, b), Value::Complex(c, d)) => real(a, c) && real(b, d),
        (got, want) => got == want,
    }
}

/// Says how two arrays differ, if they do: in dtype, shape, or an element further than `tolerance`.
pub fn difference(got: &Array, want: &Array, tolerance: f64) -> Option<String> {
    let (got_type, want_type) = match (got.array_type(), want.array_type()) {
        (Ok(got), Ok(want)) => (got, want),
        (Err(error), _) | (_, Err(error)) => return Some(error.to_string()),
    };
    if got_type != want_type {
        return Some(format!("got {got_type}, want {want_type}"));
    }
    let (got, want) = match (values(got), values(want)) {
        (Ok(got), Ok(want)) => (got, want),
        (Err(error), _) | (_, Err(error)) => return Some(error.to_string()),
    };
    let differs = |(got, want): (&Value, &Value)| !close(*got, *want, tolerance);
    let k = got.iter().zip(&want).position(differs)?;
    Some(format!(
        "at element {k}: got {:?}, want {:?}; got {got:?}",
        got[k], want[k]
    ))
}
