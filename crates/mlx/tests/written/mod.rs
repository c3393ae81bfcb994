//! Arrays as text, `float32[2,2] 1 2.5 nan -0`, and how close two of them are.
//!
//! Shared by the tests that compare with Python MLX: golden files hold such texts.
#![allow(dead_code)] // Each test uses a part of it.

use std::str::FromStr;

use half::{bf16, f16};
use mlx::{Array, ArrayType, Complex64, Dtype, DtypeKind, Element};

/// One element in the widest form of its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i128),
    Real(f64),
    Complex(f64, f64),
}

/// Returns the array that a text describes.
///
/// `~7` in place of elements makes element `k` out of `(7 * k) % 23`: see `golden/make_oracle.py`.
pub fn read(text: &str) -> Array {
    let (head, words) = text.split_once(' ').unwrap_or((text, ""));
    let ArrayType { shape, dtype } = array_type(head);
    let n = shape.iter().map(|&size| size as usize).product();
    let words: Vec<String> = match words.strip_prefix('~') {
        None => words.split_whitespace().map(str::to_owned).collect(),
        Some(factor) => (0..n)
            .map(|k| generated(k, factor.parse().unwrap(), dtype))
            .collect(),
    };
    macro_rules! make {
        ($t:ty, $parse:expr) => {{
            let values: Vec<$t> = words.iter().map(|word| $parse(word)).collect();
            Array::from_slice(&values, shape).unwrap_or_else(|error| panic!("{text:?}: {error}"))
        }};
    }
    match dtype {
        Dtype::Bool => make!(bool, parsed),
        Dtype::Uint8 => make!(u8, parsed),
        Dtype::Uint16 => make!(u16, parsed),
        Dtype::Uint32 => make!(u32, parsed),
        Dtype::Uint64 => make!(u64, parsed),
        Dtype::Int8 => make!(i8, parsed),
        Dtype::Int16 => make!(i16, parsed),
        Dtype::Int32 => make!(i32, parsed),
        Dtype::Int64 => make!(i64, parsed),
        Dtype::Float16 => make!(f16, |word: &str| f16::from_f32(parsed(word))),
        Dtype::Float32 => make!(f32, parsed),
        Dtype::Float64 => make!(f64, parsed),
        Dtype::Bfloat16 => make!(bf16, |word: &str| bf16::from_f32(parsed(word))),
        Dtype::Complex64 => make!(Complex64, |word: &str| {
            let (re, im) = word.split_once('_').unwrap_or((word, "0"));
            Complex64::new(parsed(re), parsed(im))
        }),
    }
}

/// What a result should be: a type, and some or all elements.
pub struct Wanted {
    array_type: ArrayType,
    /// Every how manieth element is told.
    step: usize,
    values: Vec<Value>,
}

impl Wanted {
    /// Returns what a text wants: `dtype[shape] values`, or `dtype[shape] @step values`.
    pub fn read(text: &str) -> Self {
        let mut words = text.split_whitespace().peekable();
        let array_type = array_type(words.next().unwrap_or(""));
        let step = words
            .next_if(|word| word.starts_with('@'))
            .map_or(1, |word| parsed(&word[1..]));
        let value = |word: &str| match array_type.dtype.kind() {
            DtypeKind::Bool => Value::Bool(parsed(word)),
            DtypeKind::Unsigned | DtypeKind::Signed => Value::Int(parsed(word)),
            DtypeKind::Floating => Value::Real(parsed(word)),
            DtypeKind::Complex => {
                let (re, im) = word.split_once('_').unwrap_or((word, "0"));
                Value::Complex(parsed(re), parsed(im))
            }
        };
        let values = words.map(value).collect();
        Self {
            array_type,
            step,
            values,
        }
    }

    /// Returns the dtype.
    pub fn dtype(&self) -> Dtype {
        self.array_type.dtype
    }

    /// Says how an array differs from this, if it does: in dtype, shape, or an element further than `tolerance`.
    /// With `signless`, elements may have the other sign.
    pub fn difference(&self, got: &Array, tolerance: f64, signless: bool) -> Option<String> {
        let got_type = match got.array_type() {
            Ok(got) => got,
            Err(error) => return Some(error.to_string()),
        };
        if got_type != self.array_type {
            return Some(format!("got {got_type}, want {}", self.array_type));
        }
        let got = match values(got) {
            Ok(got) => got,
            Err(error) => return Some(error.to_string()),
        };
        let got: Vec<Value> = got.into_iter().step_by(self.step).collect();
        if got.len() != self.values.len() {
            return Some(format!(
                "got {} elements, want {}",
                got.len(),
                self.values.len()
            ));
        }
        let side = |value: Value| if signless { value.absolute() } else { value };
        let differs = |(got, want): (&Value, &Value)| !close(side(*got), side(*want), tolerance);
        let k = got.iter().zip(&self.values).position(differs)?;
        Some(format!(
            "at element {k}: got {:?}, want {:?}; got {got:?}",
            got[k], self.values[k]
        ))
    }
}

impl Value {
    fn absolute(self) -> Self {
        match self {
            Value::Real(x) => Value::Real(x.abs()),
            Value::Complex(re, im) => Value::Complex(re.abs(), im.abs()),
            other => other,
        }
    }
}

fn array_type(head: &str) -> ArrayType {
    let (dtype, shape) = head
        .split_once('[')
        .unwrap_or_else(|| panic!("no shape in {head:?}"));
    let dtype = Dtype::from_name(dtype).unwrap_or_else(|| panic!("no dtype in {head:?}"));
    let sizes = shape
        .trim_end_matches(']')
        .split(',')
        .filter(|size| !size.is_empty());
    ArrayType::new(sizes.map(parsed::<i32>).collect::<Vec<i32>>(), dtype)
}

fn generated(k: usize, factor: usize, dtype: Dtype) -> String {
    let raw = i32::try_from(k * factor % 23).unwrap();
    match dtype.kind() {
        DtypeKind::Bool => (raw % 2 == 1).to_string(),
        DtypeKind::Unsigned => raw.to_string(),
        DtypeKind::Signed => (raw - 11).to_string(),
        DtypeKind::Floating | DtypeKind::Complex => (f64::from(raw - 11) / 8.0).to_string(),
    }
}

fn parsed<T: FromStr>(word: &str) -> T {
    word.parse()
        .unwrap_or_else(|_| panic!("{word:?} is no number of this kind"))
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
