//! Constants of a graph: numbers written in it, and arrays that its function captured.

use std::fmt;

use half::{bf16, f16};
use mlx::compiler_api::TracedArray;
use mlx::{Array, Complex64, Dtype, DtypeKind, Op, bind};

/// A constant of a [`Graph`](super::Graph).
#[derive(Clone)]
pub enum Constant {
    /// A number, written in the text of the graph.
    Number(Literal),
    /// An array that the function captured, such as weights. It is shared, never copied.
    Array(Array),
    /// An array that a text only names; [`Graph::with_constants`](super::Graph::with_constants) fills it in.
    Missing,
}

impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Constant::Number(literal) => write!(f, "{literal:?}"),
            Constant::Array(_) => f.write_str("array"),
            Constant::Missing => f.write_str("missing"),
        }
    }
}

/// A number of some dtype.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Literal {
    /// `bool`.
    Bool(bool),
    /// Any signed integer dtype.
    Int(i64),
    /// Any unsigned integer dtype.
    Unsigned(u64),
    /// Any real floating dtype.
    Float(f64),
    /// `complex64`.
    Complex(f32, f32),
}

impl Literal {
    /// Returns the number in an array of no dimensions that holds its value.
    pub(crate) fn read(array: &Array) -> mlx::Result<Option<Self>> {
        if array.ndim()? != 0 {
            return Ok(None);
        }
        let dtype = array.dtype()?;
        Ok(Some(match dtype {
            Dtype::Bool => Literal::Bool(array.item()?),
            Dtype::Uint8 => Literal::Unsigned(array.item::<u8>()?.into()),
            Dtype::Uint16 => Literal::Unsigned(array.item::<u16>()?.into()),
            Dtype::Uint32 => Literal::Unsigned(array.item::<u32>()?.into()),
            Dtype::Uint64 => Literal::Unsigned(array.item()?),
            Dtype::Int8 => Literal::Int(array.item::<i8>()?.into()),
            Dtype::Int16 => Literal::Int(array.item::<i16>()?.into()),
            Dtype::Int32 => Literal::Int(array.item::<i32>()?.into()),
            Dtype::Int64 => Literal::Int(array.item()?),
            Dtype::Float16 => Literal::Float(array.item::<f16>()?.into()),
            Dtype::Bfloat16 => Literal::Float(array.item::<bf16>()?.into()),
            Dtype::Float32 => Literal::Float(array.item::<f32>()?.into()),
            Dtype::Float64 => Literal::Float(array.item()?),
            Dtype::Complex64 => {
                let value: Complex64 = array.item()?;
                Literal::Complex(value.re, value.im)
            }
        }))
    }

    /// Returns an array of no dimensions that holds the number, exactly.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn to_array(self, dtype: Dtype) -> Array {
        let exact = match self {
            Literal::Bool(value) => Array::scalar(value),
            Literal::Int(value) => Array::scalar(value),
            Literal::Unsigned(value) => Array::scalar(value),
            Literal::Float(value) => match dtype {
                Dtype::Float16 => Array::scalar(f16::from_f64(value)),
                Dtype::Bfloat16 => Array::scalar(bf16::from_f64(value)),
                Dtype::Float64 => Array::from_result(Array::from_slice(&[value], ())),
                _ => Array::scalar(value as f32),
            },
            Literal::Complex(re, im) => Array::scalar(Complex64::new(re, im)),
        };
        match exact.dtype() {
            Ok(got) if got != dtype => bind(Op::Astype { dtype }, &[&exact]),
            _ => exact,
        }
    }

    /// Returns the number as a real one, if it is.
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Literal::Bool(value) => Some(f64::from(u8::from(value))),
            Literal::Int(value) => Some(value as f64),
            Literal::Unsigned(value) => Some(value as f64),
            Literal::Float(value) => Some(value),
            Literal::Complex(..) => None,
        }
    }

    /// Returns the dtype that a number takes which is written without one.
    pub(crate) fn default_dtype(self) -> Dtype {
        match self {
            Literal::Bool(_) => Dtype::Bool,
            Literal::Int(_) | Literal::Unsigned(_) => Dtype::Int32,
            Literal::Float(_) => Dtype::Float32,
            Literal::Complex(..) => Dtype::Complex64,
        }
    }

    /// Returns the number as one of this dtype, unless that has no such number.
    pub(crate) fn cast_exact(self, dtype: Dtype) -> Option<Self> {
        let is_in_range = match (dtype, self) {
            (Dtype::Int8, Literal::Int(value)) => i8::try_from(value).is_ok(),
            (Dtype::Int16, Literal::Int(value)) => i16::try_from(value).is_ok(),
            (Dtype::Int32, Literal::Int(value)) => i32::try_from(value).is_ok(),
            (Dtype::Uint8, Literal::Int(value)) => u8::try_from(value).is_ok(),
            (Dtype::Uint16, Literal::Int(value)) => u16::try_from(value).is_ok(),
            (Dtype::Uint32, Literal::Int(value)) => u32::try_from(value).is_ok(),
            (Dtype::Uint8, Literal::Unsigned(value)) => u8::try_from(value).is_ok(),
            (Dtype::Uint16, Literal::Unsigned(value)) => u16::try_from(value).is_ok(),
            (Dtype::Uint32, Literal::Unsigned(value)) => u32::try_from(value).is_ok(),
            _ => true,
        };
        match (dtype.kind(), self) {
            _ if !is_in_range => None,
            (DtypeKind::Bool, Literal::Bool(_))
            | (DtypeKind::Signed, Literal::Int(_))
            | (DtypeKind::Unsigned, Literal::Unsigned(_))
            | (DtypeKind::Floating, Literal::Float(_))
            | (DtypeKind::Complex, Literal::Complex(..)) => Some(self),
            (DtypeKind::Unsigned, Literal::Int(value)) => {
                u64::try_from(value).ok().map(Literal::Unsigned)
            }
            #[allow(clippy::cast_precision_loss)]
            (DtypeKind::Floating, Literal::Int(value)) => Some(Literal::Float(value as f64)),
            _ => None,
        }
    }

    /// Writes the number so that it reads back exactly, with its dtype where that is not the plain one.
    pub(crate) fn to_text(self, dtype: Dtype) -> String {
        let number = match self {
            Literal::Bool(value) => value.to_string(),
            Literal::Int(value) => value.to_string(),
            Literal::Unsigned(value) => value.to_string(),
            #[allow(clippy::cast_possible_truncation)]
            Literal::Float(value) if dtype != Dtype::Float64 => format!("{:?}", value as f32),
            Literal::Float(value) => format!("{value:?}"),
            Literal::Complex(re, im) => format!("({re:?}, {im:?})"),
        };
        if dtype == self.default_dtype() {
            number
        } else {
            format!("{number}:{dtype}")
        }
    }
}

impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Constant::Number(a), Constant::Number(b)) => same_bits(*a, *b),
            (Constant::Array(a), Constant::Array(b)) => {
                a.buffer_id().is_some() && a.buffer_id() == b.buffer_id()
            }
            _ => false,
        }
    }
}

/// Whether two numbers are one, NaN being itself and -0 not being 0.
fn same_bits(a: Literal, b: Literal) -> bool {
    match (a, b) {
        (Literal::Float(a), Literal::Float(b)) => a.to_bits() == b.to_bits(),
        (Literal::Complex(a, c), Literal::Complex(b, d)) => {
            a.to_bits() == b.to_bits() && c.to_bits() == d.to_bits()
        }
        (a, b) => a == b,
    }
}

/// Returns the elements of an array as `f64`; `None` for complex numbers.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn values_as_f64(array: &Array) -> Option<Vec<f64>> {
    match array.dtype().ok()? {
        Dtype::Bool => {
            let values = array.to_vec::<bool>().ok()?;
            Some(values.into_iter().map(|v| f64::from(u8::from(v))).collect())
        }
        Dtype::Int64 => Some(
            array
                .to_vec::<i64>()
                .ok()?
                .into_iter()
                .map(|v| v as f64)
                .collect(),
        ),
        Dtype::Uint64 => Some(
            array
                .to_vec::<u64>()
                .ok()?
                .into_iter()
                .map(|v| v as f64)
                .collect(),
        ),
        Dtype::Float64 => array.to_vec::<f64>().ok(),
        Dtype::Float32 => Some(
            array
                .to_vec::<f32>()
                .ok()?
                .into_iter()
                .map(f64::from)
                .collect(),
        ),
        Dtype::Complex64 => None,
        dtype => {
            let wide = if dtype.is_floating() {
                Dtype::Float32
            } else {
                Dtype::Int64
            };
            values_as_f64(&array.astype(wide))
        }
    }
}
