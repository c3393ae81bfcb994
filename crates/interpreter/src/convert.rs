//! Between tensors of the interpreter and arrays of MLX: the only part that touches MLX.

use half::{bf16, f16};
use mlx::{Array, Complex64, Dtype, Element};
use mlx_compiler::graph::{Constant, Graph, ValueOrigin};
use mlx_compiler::{Error, Result};

use crate::bits::to_bytes;
use crate::number::Number;
use crate::tensor::{Tensor, sizes};

impl Tensor {
    /// Returns the elements of an array, which is computed.
    ///
    /// # Errors
    /// When the array cannot be computed.
    pub fn of(array: &Array) -> Result<Self> {
        fn read<T: Element>(array: &Array, number: fn(T) -> Number) -> mlx::Result<Vec<Number>> {
            Ok(array.to_vec::<T>()?.into_iter().map(number).collect())
        }
        let array_type = array.array_type()?;
        let numbers = match array_type.dtype {
            Dtype::Bool => read::<bool>(array, Number::Bool),
            Dtype::Uint8 => read::<u8>(array, |x| Number::Unsigned(x.into())),
            Dtype::Uint16 => read::<u16>(array, |x| Number::Unsigned(x.into())),
            Dtype::Uint32 => read::<u32>(array, |x| Number::Unsigned(x.into())),
            Dtype::Uint64 => read::<u64>(array, Number::Unsigned),
            Dtype::Int8 => read::<i8>(array, |x| Number::Int(x.into())),
            Dtype::Int16 => read::<i16>(array, |x| Number::Int(x.into())),
            Dtype::Int32 => read::<i32>(array, |x| Number::Int(x.into())),
            Dtype::Int64 => read::<i64>(array, Number::Int),
            Dtype::Float16 => read::<f16>(array, |x| Number::Float(x.into())),
            Dtype::Bfloat16 => read::<bf16>(array, |x| Number::Float(x.into())),
            Dtype::Float32 => read::<f32>(array, |x| Number::Float(x.into())),
            Dtype::Float64 => read::<f64>(array, Number::Float),
            Dtype::Complex64 => {
                read::<Complex64>(array, |z| Number::Complex(z.re.into(), z.im.into()))
            }
        }?;
        Tensor::new(&sizes(&array_type.shape)?, array_type.dtype, numbers)
    }

    /// Returns an array of the same elements, rounded to the dtype.
    ///
    /// # Errors
    /// When MLX cannot make one.
    pub fn to_array(&self) -> Result<Array> {
        let dtype = self.dtype();
        let bytes: Vec<Vec<u8>> = self.numbers().iter().map(|&x| to_bytes(x, dtype)).collect();
        let shape = self.array_type().shape;
        macro_rules! make {
            ($t:ty) => {{
                let values: Vec<$t> = bytes
                    .iter()
                    .filter_map(|bytes| {
                        Some(<$t>::from_le_bytes(bytes.as_slice().try_into().ok()?))
                    })
                    .collect();
                Array::from_slice(&values, shape)
            }};
        }
        let array = match dtype {
            Dtype::Bool => {
                let values: Vec<bool> = self.numbers().iter().map(|x| x.is_true()).collect();
                Array::from_slice(&values, shape)
            }
            Dtype::Uint8 => make!(u8),
            Dtype::Uint16 => make!(u16),
            Dtype::Uint32 => make!(u32),
            Dtype::Uint64 => make!(u64),
            Dtype::Int8 => make!(i8),
            Dtype::Int16 => make!(i16),
            Dtype::Int32 => make!(i32),
            Dtype::Int64 => make!(i64),
            Dtype::Float16 => make!(f16),
            Dtype::Bfloat16 => make!(bf16),
            Dtype::Float32 => make!(f32),
            Dtype::Float64 => make!(f64),
            Dtype::Complex64 => {
                #[allow(clippy::cast_possible_truncation)]
                let values: Vec<Complex64> = self
                    .numbers()
                    .iter()
                    .map(|x| x.to_complex())
                    .map(|(re, im)| Complex64::new(re as f32, im as f32))
                    .collect();
                Array::from_slice(&values, shape)
            }
        };
        Ok(array?)
    }
}

/// Returns the arrays that a graph and those inside it captured, in the order of the text.
///
/// # Errors
/// When one has no value, as in a graph read from text.
pub fn array_constants(graph: &Graph) -> Result<Vec<Tensor>> {
    let mut found = Vec::new();
    for (value, source) in graph.values() {
        match source {
            ValueOrigin::Constant(Constant::Array(array)) => found.push(Tensor::of(array)?),
            ValueOrigin::Constant(Constant::Missing) => {
                return Err(Error::Unsupported(format!(
                    "array_constants: wanted a value for each constant, got none for {}",
                    graph.array_type(value)
                )));
            }
            _ => {}
        }
    }
    for node in graph.nodes() {
        for (_, inner) in node.operation.graphs() {
            found.extend(array_constants(inner)?);
        }
    }
    Ok(found)
}
