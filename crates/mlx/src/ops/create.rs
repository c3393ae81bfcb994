//! Arrays made of nothing but numbers.

use crate::op::Op;
use crate::{Array, Dtype, Operand, Shape, bind};

/// Returns zeros.
#[track_caller]
pub fn zeros(shape: impl Into<Shape>, dtype: Dtype) -> Array {
    bind(
        Op::Zeros {
            shape: shape.into().0,
            dtype,
        },
        &[],
    )
}

/// Returns ones.
#[track_caller]
pub fn ones(shape: impl Into<Shape>, dtype: Dtype) -> Array {
    bind(
        Op::Ones {
            shape: shape.into().0,
            dtype,
        },
        &[],
    )
}

/// Returns zeros of the shape and dtype of `array`.
#[track_caller]
pub fn zeros_like(array: &Array) -> Array {
    bind(Op::ZerosLike, &[array])
}

/// Returns ones of the shape and dtype of `array`.
#[track_caller]
pub fn ones_like(array: &Array) -> Array {
    bind(Op::OnesLike, &[array])
}

/// Returns `value`, broadcast to `shape`, in the value's own dtype.
#[track_caller]
pub fn full(shape: impl Into<Shape>, value: impl Into<Operand>) -> Array {
    let value = value.into().alone();
    match value.dtype() {
        Ok(dtype) => bind(
            Op::Full {
                shape: shape.into().0,
                dtype,
            },
            &[&value],
        ),
        Err(error) => Array::failed(error),
    }
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

/// Returns `start`, `start + step`, ... up to but not including `stop`.
#[track_caller]
pub fn arange(start: f64, stop: f64, step: f64, dtype: Dtype) -> Array {
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

/// Returns `0, 1, ... n - 1` as `int32`.
#[track_caller]
pub fn iota(n: i32) -> Array {
    arange(0.0, f64::from(n), 1.0, Dtype::Int32)
}

/// Returns `num` numbers from `start` to `stop`, both included, evenly spaced.
#[track_caller]
pub fn linspace(start: f64, stop: f64, num: i32, dtype: Dtype) -> Array {
    bind(
        Op::Linspace {
            start,
            stop,
            num,
            endpoint: true,
            dtype,
        },
        &[],
    )
}

/// Returns an `[n, m]` matrix with ones on the `k`-th diagonal.
#[track_caller]
pub fn eye(n: i32, m: i32, k: i32, dtype: Dtype) -> Array {
    bind(Op::Eye { n, m, k, dtype }, &[])
}

/// Returns the `[n, n]` identity matrix.
#[track_caller]
pub fn identity(n: i32, dtype: Dtype) -> Array {
    eye(n, n, 0, dtype)
}

/// Returns an `[n, m]` matrix with ones at and below the `k`-th diagonal.
#[track_caller]
pub fn tri(n: i32, m: i32, k: i32, dtype: Dtype) -> Array {
    bind(Op::Tri { n, m, k, dtype }, &[])
}

/// Returns the Bartlett (triangular) window of `m` points.
#[track_caller]
pub fn bartlett(m: i32) -> Array {
    bind(Op::Bartlett { m }, &[])
}

/// Returns the Blackman window of `m` points.
#[track_caller]
pub fn blackman(m: i32) -> Array {
    bind(Op::Blackman { m }, &[])
}

/// Returns the Hamming window of `m` points.
#[track_caller]
pub fn hamming(m: i32) -> Array {
    bind(Op::Hamming { m }, &[])
}

/// Returns the Hann window of `m` points.
#[track_caller]
pub fn hanning(m: i32) -> Array {
    bind(Op::Hanning { m }, &[])
}

impl Array {
    /// Returns a matrix with this vector on its `k`-th diagonal, or the `k`-th diagonal of this matrix.
    #[track_caller]
    pub fn diag(&self, k: i32) -> Array {
        bind(Op::Diag { k }, &[self])
    }

    /// Returns the diagonal over two axes, as the last axis.
    #[track_caller]
    pub fn diagonal(&self, offset: i32, axis1: i32, axis2: i32) -> Array {
        bind(
            Op::Diagonal {
                offset,
                axis1,
                axis2,
            },
            &[self],
        )
    }

    /// Returns the matrix with zeros above the `k`-th diagonal.
    #[track_caller]
    pub fn tril(&self, k: i32) -> Array {
        bind(Op::Tril { k }, &[self])
    }

    /// Returns the matrix with zeros below the `k`-th diagonal.
    #[track_caller]
    pub fn triu(&self, k: i32) -> Array {
        bind(Op::Triu { k }, &[self])
    }
}
