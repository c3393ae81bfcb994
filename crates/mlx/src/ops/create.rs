//! Arrays made of nothing but numbers.

use crate::bind::{bind_shape, bind_sized};
use crate::op::Op;
use crate::{Array, Dtype, Element, Integer, IntoArray, Operand, Scalar, Shape, Size, bind};

/// Returns `float32` zeros; of another dtype with [`zeros_with`].
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// assert_eq!(mlx::zeros((2, 3)).array_type()?.to_string(), "float32[2, 3]");
/// assert_eq!(mlx::zeros_with(2, mlx::int8).array_type()?.to_string(), "int8[2]");
/// # Ok(())
/// # }
/// ```
#[doc(alias = "empty")]
#[track_caller]
pub fn zeros(shape: impl Into<Shape>) -> Array {
    zeros_with(shape, Dtype::Float32)
}

/// Returns zeros of a dtype.
#[track_caller]
pub fn zeros_with(shape: impl Into<Shape>, dtype: Dtype) -> Array {
    bind_shape(shape, |shape| Op::Zeros { shape, dtype }, &[])
}

/// Returns `float32` ones; of another dtype with [`ones_with`].
#[track_caller]
pub fn ones(shape: impl Into<Shape>) -> Array {
    ones_with(shape, Dtype::Float32)
}

/// Returns ones of a dtype.
#[track_caller]
pub fn ones_with(shape: impl Into<Shape>, dtype: Dtype) -> Array {
    bind_shape(shape, |shape| Op::Ones { shape, dtype }, &[])
}

/// Returns zeros of the shape and dtype of `array`.
#[doc(alias = "empty_like")]
#[track_caller]
pub fn zeros_like(array: &Array) -> Array {
    bind(Op::ZerosLike, &[array])
}

/// Returns zeros of the shape of `array`, of a dtype.
#[track_caller]
pub fn zeros_like_with(array: &Array, dtype: Dtype) -> Array {
    zeros_like(array).astype(dtype)
}

/// Returns ones of the shape and dtype of `array`.
#[track_caller]
pub fn ones_like(array: &Array) -> Array {
    bind(Op::OnesLike, &[array])
}

/// Returns ones of the shape of `array`, of a dtype.
#[track_caller]
pub fn ones_like_with(array: &Array, dtype: Dtype) -> Array {
    ones_like(array).astype(dtype)
}

/// Returns `value`, broadcast to `shape`, in the value's own dtype: `float32` for a real number, `int32` for a whole
/// one.
#[track_caller]
pub fn full(shape: impl Into<Shape>, value: impl Into<Operand>) -> Array {
    let value = value.into().alone();
    match value.dtype() {
        Ok(dtype) => full_with(shape, value, dtype),
        Err(error) => Array::failed(error),
    }
}

/// Returns `value`, broadcast to `shape`, in `dtype`.
#[track_caller]
pub fn full_with(shape: impl Into<Shape>, value: impl Into<Operand>, dtype: Dtype) -> Array {
    let value = value.into().alone();
    bind_shape(shape, |shape| Op::Full { shape, dtype }, &[&value])
}

/// Returns `value` in the shape and dtype of `array`.
#[track_caller]
pub fn full_like(array: &Array, value: impl Into<Operand>) -> Array {
    match array.dtype() {
        Ok(dtype) => bind(
            Op::FullLike { dtype },
            &[array, &value.into().beside(array)],
        ),
        Err(error) => Array::failed(error),
    }
}

/// Returns `value` in the shape of `array`, of a dtype.
#[track_caller]
pub fn full_like_with(array: &Array, value: impl Into<Operand>, dtype: Dtype) -> Array {
    bind(Op::FullLike { dtype }, &[array, &value.into().alone()])
}

impl Size {
    /// Returns the size as an array without axes, of a dtype.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([1.0, 3.0]);
    /// let mean = x.sum(()) / x.axis_size(0)?.to_array(mlx::float32);
    /// assert_eq!(mean.item::<f32>()?, 2.0);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn to_array(&self, dtype: Dtype) -> Array {
        if !self.is_traced() {
            return Array::scalar(self.value()).astype(dtype);
        }
        if dtype == Dtype::Bool {
            return self.to_array(Dtype::Int64).astype(dtype);
        }
        let next = self + 1;
        let op = Op::Arange {
            start: self.real(),
            stop: next.real(),
            step: 1.0,
            dtype,
        };
        bind_sized(op, &[(0, self.clone()), (1, next)], &[]).reshape(())
    }
}

/// The numbers of [`arange`]: `24`, a range `2..10`, `(start, stop)` or `(start, stop, step)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArangeBounds {
    /// The first number; 0 by default.
    pub start: Scalar,
    /// What the numbers stay before.
    pub stop: Scalar,
    /// The distance of neighbours; 1 by default.
    pub step: Scalar,
}

impl<T: Into<Scalar>> From<T> for ArangeBounds {
    fn from(stop: T) -> Self {
        Self::from((0, stop))
    }
}

impl<A: Into<Scalar>, B: Into<Scalar>> From<(A, B)> for ArangeBounds {
    fn from((start, stop): (A, B)) -> Self {
        Self::from((start, stop, 1))
    }
}

impl<A: Into<Scalar>, B: Into<Scalar>, C: Into<Scalar>> From<(A, B, C)> for ArangeBounds {
    fn from((start, stop, step): (A, B, C)) -> Self {
        Self {
            start: start.into(),
            stop: stop.into(),
            step: step.into(),
        }
    }
}

impl<T: Into<Scalar>> From<std::ops::Range<T>> for ArangeBounds {
    fn from(range: std::ops::Range<T>) -> Self {
        Self::from((range.start, range.end))
    }
}

/// Returns numbers from `start` up to but not including `stop`, `step` apart: `arange(24)`, `arange(2..10)`,
/// `arange((0, 10, 2))`.
///
/// Whole numbers give `int32` (`int64` where that is too narrow), others `float32`, as in Python MLX; another dtype with [`arange_with`].
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// assert_eq!(mlx::arange(3).to_vec::<i32>()?, [0, 1, 2]);
/// assert_eq!(mlx::arange((5, 0, -2)).to_vec::<i32>()?, [5, 3, 1]);
/// assert_eq!(mlx::arange((0.0, 1.0, 0.5)).to_vec::<f32>()?, [0.0, 0.5]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn arange(bounds: impl Into<ArangeBounds>) -> Array {
    let ArangeBounds { start, stop, step } = bounds.into();
    let numbers = [start, stop, step];
    let dtypes = numbers.map(|number| number.dtype_beside(None));
    let whole = |dtype: &Dtype| !dtype.is_inexact();
    let dtype = match dtypes.iter().all(whole) {
        false => Dtype::Float32,
        true if dtypes.contains(&Dtype::Int64) => Dtype::Int64,
        true => Dtype::Int32,
    };
    let [start, stop, step] = numbers.map(Scalar::as_f64);
    arange_with(start, stop, step, dtype)
}

/// Returns `start`, `start + step`, ... up to but not including `stop`, in `dtype`.
#[track_caller]
pub fn arange_with(start: f64, stop: f64, step: f64, dtype: Dtype) -> Array {
    bind(
        Op::Arange {
            start,
            stop,
            step,
            dtype,
        },
        &[],
    )
}

/// Returns `0, 1, ... n - 1` as `int32`: [`arange`] of one whole number.
#[track_caller]
pub fn iota(n: impl Into<Size>) -> Array {
    iota_with(n, Dtype::Int32)
}

/// Returns [`iota`] in a dtype.
#[track_caller]
pub(crate) fn iota_with(n: impl Into<Size>, dtype: Dtype) -> Array {
    let n = n.into();
    let op = Op::Arange {
        start: 0.0,
        stop: n.real(),
        step: 1.0,
        dtype,
    };
    // The place of the stop.
    let sizes = if n.is_traced() {
        vec![(1, n)]
    } else {
        Vec::new()
    };
    bind_sized(op, &sizes, &[])
}

/// Options of [`linspace_with`]: by default `float32` with the end included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinspaceOptions {
    /// Whether the last number is `stop`; otherwise it is a step before.
    pub endpoint: bool,
    /// The dtype.
    pub dtype: Dtype,
}

impl Default for LinspaceOptions {
    fn default() -> Self {
        Self {
            endpoint: true,
            dtype: Dtype::Float32,
        }
    }
}

impl From<Dtype> for LinspaceOptions {
    fn from(dtype: Dtype) -> Self {
        Self {
            dtype,
            ..Self::default()
        }
    }
}

/// Returns `num` numbers from `start` to `stop`, both included, evenly spaced, as `float32`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// assert_eq!(mlx::linspace(0, 1, 5).to_vec::<f32>()?, [0.0, 0.25, 0.5, 0.75, 1.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn linspace(start: impl Into<Scalar>, stop: impl Into<Scalar>, num: impl Integer) -> Array {
    linspace_with(start, stop, num, LinspaceOptions::default())
}

/// Returns evenly spaced numbers as [`linspace`] does, with options or a dtype.
#[track_caller]
pub fn linspace_with(
    start: impl Into<Scalar>,
    stop: impl Into<Scalar>,
    num: impl Integer,
    options: impl Into<LinspaceOptions>,
) -> Array {
    let LinspaceOptions { endpoint, dtype } = options.into();
    bind(
        Op::Linspace {
            start: start.into().as_f64(),
            stop: stop.into().as_f64(),
            num: num.to_i32(),
            endpoint,
            dtype,
        },
        &[],
    )
}

/// Returns the `float32` `[n, n]` matrix with ones on the diagonal; other forms with [`eye_with`].
#[track_caller]
pub fn eye(n: impl Integer) -> Array {
    eye_with(n, n, 0, Dtype::Float32)
}

/// Returns an `[n, m]` matrix with ones on the `k`-th diagonal.
#[track_caller]
pub fn eye_with(n: impl Integer, m: impl Integer, k: i32, dtype: Dtype) -> Array {
    let (n, m) = (n.to_i32(), m.to_i32());
    bind(Op::Eye { n, m, k, dtype }, &[])
}

/// Returns the `float32` `[n, n]` identity matrix.
#[track_caller]
pub fn identity(n: impl Integer) -> Array {
    eye(n)
}

/// Returns the `[n, n]` identity matrix of a dtype.
#[track_caller]
pub fn identity_with(n: impl Integer, dtype: Dtype) -> Array {
    eye_with(n, n, 0, dtype)
}

/// Returns the `float32` `[n, n]` matrix with ones at and below the diagonal; other forms with [`tri_with`].
#[track_caller]
pub fn tri(n: impl Integer) -> Array {
    tri_with(n, n, 0, Dtype::Float32)
}

/// Returns an `[n, m]` matrix with ones at and below the `k`-th diagonal.
#[track_caller]
pub fn tri_with(n: impl Integer, m: impl Integer, k: i32, dtype: Dtype) -> Array {
    let (n, m) = (n.to_i32(), m.to_i32());
    bind(Op::Tri { n, m, k, dtype }, &[])
}

/// Returns the Bartlett (triangular) window of `m` points.
#[track_caller]
pub fn bartlett(m: impl Integer) -> Array {
    bind(Op::Bartlett { m: m.to_i32() }, &[])
}

/// Returns the Blackman window of `m` points.
#[track_caller]
pub fn blackman(m: impl Integer) -> Array {
    bind(Op::Blackman { m: m.to_i32() }, &[])
}

/// Returns the Hamming window of `m` points.
#[track_caller]
pub fn hamming(m: impl Integer) -> Array {
    bind(Op::Hamming { m: m.to_i32() }, &[])
}

/// Returns the Hann window of `m` points.
#[track_caller]
pub fn hanning(m: impl Integer) -> Array {
    bind(Op::Hanning { m: m.to_i32() }, &[])
}

impl Array {
    /// Returns an array of nested lists in `dtype`: Python's `array(nested, dtype)`.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::Array::new_with([0.1], mlx::float64);
    /// assert_eq!(x.item::<f64>()?, 0.1);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn new_with<A: IntoArray>(nested: A, dtype: Dtype) -> Self {
        let mut elements = Vec::new();
        nested.elements(&mut elements);
        let own = Self::from_result(Self::from_slice(&elements, A::sizes()));
        if A::Element::DTYPE == dtype {
            return own;
        }
        bind(Op::Astype { dtype }, &[&own])
    }

    /// Returns a matrix with this vector on its diagonal, or the diagonal of this matrix; others with
    /// [`diag_with`](Self::diag_with).
    #[track_caller]
    pub fn diag(&self) -> Array {
        self.diag_with(0)
    }

    /// Returns a matrix with this vector on its `k`-th diagonal, or the `k`-th diagonal of this matrix.
    #[track_caller]
    pub fn diag_with(&self, k: impl Integer) -> Array {
        bind(Op::Diag { k: k.to_i32() }, &[self])
    }

    /// Returns the main diagonal over the first two axes, as the last axis; others with
    /// [`diagonal_with`](Self::diagonal_with).
    #[track_caller]
    pub fn diagonal(&self) -> Array {
        self.diagonal_with(0, 0, 1)
    }

    /// Returns the diagonal over two axes that is `offset` above the main one, as the last axis.
    #[track_caller]
    pub fn diagonal_with(&self, offset: i32, axis1: i32, axis2: i32) -> Array {
        bind(
            Op::Diagonal {
                offset,
                axis1,
                axis2,
            },
            &[self],
        )
    }

    /// Returns the matrix with zeros above its diagonal; another one with [`tril_with`](Self::tril_with).
    #[track_caller]
    pub fn tril(&self) -> Array {
        self.tril_with(0)
    }

    /// Returns the matrix with zeros above the `k`-th diagonal.
    #[track_caller]
    pub fn tril_with(&self, k: impl Integer) -> Array {
        bind(Op::Tril { k: k.to_i32() }, &[self])
    }

    /// Returns the matrix with zeros below its diagonal; another one with [`triu_with`](Self::triu_with).
    #[track_caller]
    pub fn triu(&self) -> Array {
        self.triu_with(0)
    }

    /// Returns the matrix with zeros below the `k`-th diagonal.
    #[track_caller]
    pub fn triu_with(&self, k: impl Integer) -> Array {
        bind(Op::Triu { k: k.to_i32() }, &[self])
    }
}

/// Returns an array of nested lists, as [`Array::new`]: Python's `mx.array`.
#[track_caller]
pub fn array<A: IntoArray>(nested: A) -> Array {
    Array::new(nested)
}
