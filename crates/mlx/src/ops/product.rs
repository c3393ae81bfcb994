//! Products of matrices and tensors.

use crate::op::{Op, Text};
use crate::{Array, Dtype, bind};

impl Array {
    /// Returns the matrix product over the last two axes, the others broadcasting. One-dimensional sides are rows
    /// or columns, as in NumPy.
    #[track_caller]
    pub fn matmul(&self, other: &Array) -> Array {
        bind(Op::Matmul, &[self, other])
    }

    /// Returns the sum of products over the last axes of both.
    #[track_caller]
    pub fn inner(&self, other: &Array) -> Array {
        bind(Op::Inner, &[self, other])
    }

    /// Returns the products of all elements of one with all elements of the other, `[self.size, other.size]`.
    #[track_caller]
    pub fn outer(&self, other: &Array) -> Array {
        bind(Op::Outer, &[self, other])
    }

    /// Returns the Kronecker product.
    #[track_caller]
    pub fn kron(&self, other: &Array) -> Array {
        bind(Op::Kron, &[self, other])
    }

    /// Returns the sum of products over pairs of axes, one list for each side.
    #[track_caller]
    pub fn tensordot(
        &self,
        other: &Array,
        axes_a: impl Into<Vec<i32>>,
        axes_b: impl Into<Vec<i32>>,
    ) -> Array {
        bind(
            Op::Tensordot {
                axes_a: axes_a.into(),
                axes_b: axes_b.into(),
            },
            &[self, other],
        )
    }

    /// Returns the dot products of vectors along `axis`, the first conjugated.
    #[track_caller]
    pub fn vecdot(&self, other: &Array, axis: i32) -> Array {
        bind(Op::Vecdot { axis }, &[self, other])
    }

    /// Returns the sum of a diagonal over two axes, in `dtype`.
    #[track_caller]
    pub fn trace(&self, offset: i32, axis1: i32, axis2: i32, dtype: Dtype) -> Array {
        bind(
            Op::Trace {
                offset,
                axis1,
                axis2,
                dtype,
            },
            &[self],
        )
    }

    /// Returns the Walsh-Hadamard transform of the last axis, scaled by `1 / sqrt(n)` unless given.
    #[track_caller]
    pub fn hadamard_transform(&self, scale: impl Into<Option<f32>>) -> Array {
        bind(
            Op::HadamardTransform {
                scale: scale.into(),
            },
            &[self],
        )
    }
}

/// Returns `beta * c + alpha * (a @ b)` in one operation.
#[track_caller]
pub fn addmm(c: &Array, a: &Array, b: &Array, alpha: f32, beta: f32) -> Array {
    bind(Op::Addmm { alpha, beta }, &[c, a, b])
}

/// Returns the sum of products written in Einstein's notation: `einsum("ij,jk->ik", [&a, &b])`.
#[track_caller]
pub fn einsum<'a>(subscripts: &str, operands: impl IntoIterator<Item = &'a Array>) -> Array {
    let operands: Vec<&Array> = operands.into_iter().collect();
    bind(
        Op::Einsum {
            subscripts: Text::new(subscripts),
        },
        &operands,
    )
}
