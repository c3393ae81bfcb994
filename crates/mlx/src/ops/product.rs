//! Products of matrices and tensors.

use crate::op::{Op, OpString};
use crate::{Array, Dtype, bind};

/// Which matrices of both sides [`gather_mm`](Array::gather_mm) and [`gather_qmm`](Array::gather_qmm) multiply.
///
/// Indices count matrices over all leading axes and broadcast against each other; one out of range is an error.
#[derive(Clone, Default)]
pub struct GatherOptions<'a> {
    /// Numbers of the left matrices; all of them in order by default.
    pub lhs_indices: Option<&'a Array>,
    /// Numbers of the right matrices; all of them in order by default.
    pub rhs_indices: Option<&'a Array>,
    /// A promise that the given indices ascend, which lets a GPU go faster.
    pub sorted_indices: bool,
}

/// Which blocks of a product [`block_masked_mm`](Array::block_masked_mm) computes.
///
/// Masks have an element for each block, `bool` or a factor in the dtype of the product.
#[derive(Clone)]
pub struct BlockMasks<'a> {
    /// Rows and columns of a block: 32 or 64. 64 by default.
    pub block_size: i32,
    /// Mask of the result's blocks.
    pub out: Option<&'a Array>,
    /// Mask of the left side's blocks.
    pub lhs: Option<&'a Array>,
    /// Mask of the right side's blocks.
    pub rhs: Option<&'a Array>,
}

impl Default for BlockMasks<'_> {
    fn default() -> Self {
        Self {
            block_size: 64,
            out: None,
            lhs: None,
            rhs: None,
        }
    }
}

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

    /// Returns products of chosen matrices of both sides: `lhs[lhs_indices] @ rhs[rhs_indices]` without the copies.
    #[track_caller]
    pub fn gather_mm(&self, other: &Array, options: GatherOptions<'_>) -> Array {
        let op = Op::GatherMm {
            lhs: options.lhs_indices.is_some(),
            rhs: options.rhs_indices.is_some(),
            sorted_indices: options.sorted_indices,
        };
        let mut inputs = vec![self, other];
        inputs.extend(options.lhs_indices);
        inputs.extend(options.rhs_indices);
        bind(op, &inputs)
    }

    /// Returns the matrix product with blocks of the sides or of the result taken as zero, or scaled.
    #[track_caller]
    pub fn block_masked_mm(&self, other: &Array, masks: BlockMasks<'_>) -> Array {
        let op = Op::BlockMaskedMm {
            block_size: masks.block_size,
            mask_out: masks.out.is_some(),
            mask_lhs: masks.lhs.is_some(),
            mask_rhs: masks.rhs.is_some(),
        };
        let mut inputs = vec![self, other];
        inputs.extend(masks.out);
        inputs.extend(masks.lhs);
        inputs.extend(masks.rhs);
        bind(op, &inputs)
    }

    /// Returns products of parts of the contracted axis: for each `[start, end]` of `segments`, `[..., 2]`, the
    /// product of those columns of this matrix with those rows of `other`. An end before its start gives zeros.
    #[track_caller]
    pub fn segmented_mm(&self, other: &Array, segments: &Array) -> Array {
        bind(Op::SegmentedMm, &[self, other, segments])
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
            subscripts: OpString::new(subscripts),
        },
        &operands,
    )
}
