//! What dtypes can hold, which dtype several give together, and which shape several broadcast to.

use crate::op::Op;
use crate::{Array, Dtype, Error, Result, Shape, bind};

/// What has a dtype: a [`Dtype`], or an array.
pub trait DtypeLike {
    /// Returns the dtype.
    ///
    /// # Errors
    /// When the array could not be built.
    fn dtype_of(&self) -> Result<Dtype>;
}

impl DtypeLike for Dtype {
    fn dtype_of(&self) -> Result<Dtype> {
        Ok(*self)
    }
}

impl DtypeLike for Array {
    fn dtype_of(&self) -> Result<Dtype> {
        self.dtype()
    }
}

impl<T: DtypeLike> DtypeLike for &T {
    fn dtype_of(&self) -> Result<Dtype> {
        T::dtype_of(self)
    }
}

/// Returns the dtype that an operation gives for inputs of these two, by MLX's promotion.
///
/// # Errors
/// When an array could not be built.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// assert_eq!(mlx::result_type(mlx::int32, mlx::float16)?, mlx::float16);
/// assert_eq!(mlx::result_type(mlx::array!([1_u8]), mlx::int8)?, mlx::int16);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn result_type(a: impl DtypeLike, b: impl DtypeLike) -> Result<Dtype> {
    let zeros = |dtype| {
        let shape = Vec::new();
        bind(Op::Zeros { shape, dtype }, &[])
    };
    // The array is never computed: MLX says what it would be.
    bind(Op::Add, &[&zeros(a.dtype_of()?), &zeros(b.dtype_of()?)]).dtype()
}

/// Returns whether promotion of `from` and `to` gives `to`.
///
/// # Errors
/// When an array could not be built.
#[track_caller]
pub fn can_cast(from: impl DtypeLike, to: Dtype) -> Result<bool> {
    Ok(result_type(from, to)? == to)
}

/// What a floating-point dtype can hold: see [`finfo`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatInfo {
    /// The dtype, the real one where a complex one was asked for.
    pub dtype: Dtype,
    /// The number of bits.
    pub bits: u32,
    /// The difference of 1 and the next larger number.
    pub eps: f64,
    /// The largest finite number.
    pub max: f64,
    /// The smallest finite number, `-max`.
    pub min: f64,
    /// The smallest positive number with all its digits.
    pub smallest_normal: f64,
}

/// Returns the limits of a floating-point dtype.
///
/// # Errors
/// When the dtype is not floating or complex.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// assert_eq!(mlx::finfo(mlx::float16)?.min, -65504.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn finfo(dtype: Dtype) -> Result<FloatInfo> {
    // Binary digits of the fraction, and the largest and smallest exponents.
    let (dtype, bits, digits, max_exp, min_exp) = match dtype {
        Dtype::Float16 => (dtype, 16, 10, 15, -14),
        Dtype::Bfloat16 => (dtype, 16, 7, 127, -126),
        Dtype::Float32 | Dtype::Complex64 => (Dtype::Float32, 32, 23, 127, -126),
        Dtype::Float64 => (dtype, 64, 52, 1023, -1022),
        _ => {
            let text = format!("wanted a floating or complex dtype, got {dtype}");
            return Err(Error::op("finfo", text));
        }
    };
    let eps = 2_f64.powi(-digits);
    let max = (2.0 - eps) * 2_f64.powi(max_exp);
    Ok(FloatInfo {
        dtype,
        bits,
        eps,
        max,
        min: -max,
        smallest_normal: 2_f64.powi(min_exp),
    })
}

/// What an integer dtype can hold: see [`iinfo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntegerInfo {
    /// The dtype.
    pub dtype: Dtype,
    /// The number of bits.
    pub bits: u32,
    /// The largest number.
    pub max: i128,
    /// The smallest number.
    pub min: i128,
}

/// Returns the limits of an integer dtype.
///
/// # Errors
/// When the dtype is not of integers.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// assert_eq!(mlx::iinfo(mlx::int8)?.max, 127);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn iinfo(dtype: Dtype) -> Result<IntegerInfo> {
    if !dtype.is_integer() {
        let text = format!("wanted an integer dtype, got {dtype}");
        return Err(Error::op("iinfo", text));
    }
    let bits = 8 * u32::try_from(dtype.size()).unwrap_or(8);
    let (min, max) = match dtype.kind() {
        crate::DtypeKind::Signed => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
        _ => (0, (1_i128 << bits) - 1),
    };
    Ok(IntegerInfo {
        dtype,
        bits,
        max,
        min,
    })
}

/// Returns the shape that arrays of these shapes broadcast to.
///
/// # Errors
/// When they do not broadcast.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// assert_eq!(mlx::broadcast_shapes([vec![3, 1], vec![4]])?, [3, 4]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn broadcast_shapes<S: Into<Shape>>(shapes: impl IntoIterator<Item = S>) -> Result<Vec<i32>> {
    let shapes: Vec<Vec<i32>> = shapes
        .into_iter()
        .map(|shape| shape.into().into_numbers())
        .collect();
    let ndim = shapes.iter().map(Vec::len).max().unwrap_or(0);
    let mut result = vec![1; ndim];
    for shape in &shapes {
        let places = result.iter_mut().rev().zip(shape.iter().rev());
        for (place, &size) in places {
            if size < 0 || (*place != size && *place != 1 && size != 1) {
                let text = format!("wanted shapes that broadcast, got {shapes:?}");
                return Err(Error::op("broadcast_shapes", text));
            }
            if *place == 1 {
                *place = size;
            }
        }
    }
    Ok(result)
}
