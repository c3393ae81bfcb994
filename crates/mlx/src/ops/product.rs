//! Products of matrices and tensors.

use crate::op::{Op, OpString};
use crate::{Array, ArrayList, Dtype, Integer, Shape, bind};

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
    pub fn matmul(&self, other: impl AsRef<Array>) -> Array {
        bind(Op::Matmul, &[self, other.as_ref()])
    }

    /// Returns the sum of products over the last axes of both.
    #[track_caller]
    pub fn inner(&self, other: impl AsRef<Array>) -> Array {
        bind(Op::Inner, &[self, other.as_ref()])
    }

    /// Returns the products of all elements of one with all elements of the other, `[self.size, other.size]`.
    #[track_caller]
    pub fn outer(&self, other: impl AsRef<Array>) -> Array {
        bind(Op::Outer, &[self, other.as_ref()])
    }

    /// Returns the Kronecker product.
    #[track_caller]
    pub fn kron(&self, other: impl AsRef<Array>) -> Array {
        bind(Op::Kron, &[self, other.as_ref()])
    }

    /// Returns the sum of products over pairs of axes: the last `n` of this array with the first `n` of the other, or one
    /// list of axes for each side.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let (a, b) = (mlx::ones((2, 3)), mlx::ones((3, 4)));
    /// assert_eq!(a.tensordot(&b, 1).shape()?, [2, 4]);
    /// assert_eq!(a.tensordot(&b, ([1], [0])).shape()?, [2, 4]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn tensordot(&self, other: impl AsRef<Array>, axes: impl Into<TensordotAxes>) -> Array {
        let other = other.as_ref();
        let (axes_a, axes_b) = match axes.into() {
            TensordotAxes::Lists(a, b) => (a, b),
            TensordotAxes::Count(n) => ((-n..0).collect(), (0..n).collect()),
        };
        bind(Op::Tensordot { axes_a, axes_b }, &[self, other])
    }

    /// Returns the dot products of vectors along the last axis, the first conjugated; along another with
    /// [`vecdot_with`](Self::vecdot_with).
    #[track_caller]
    pub fn vecdot(&self, other: impl AsRef<Array>) -> Array {
        self.vecdot_with(other, -1)
    }

    /// Returns the dot products of vectors along `axis`, the first conjugated.
    #[track_caller]
    pub fn vecdot_with(&self, other: impl AsRef<Array>, axis: impl Integer) -> Array {
        let axis = axis.to_i32();
        bind(Op::Vecdot { axis }, &[self, other.as_ref()])
    }

    /// Returns the sum of the main diagonal over the first two axes, in the array's dtype (`int32` for `bool` and smaller
    /// integers, as in Python MLX); others with [`trace_with`](Self::trace_with).
    #[track_caller]
    pub fn trace(&self) -> Array {
        match self.dtype() {
            Ok(Dtype::Bool | Dtype::Int8 | Dtype::Int16) => self.trace_with(0, 0, 1, Dtype::Int32),
            Ok(Dtype::Uint8 | Dtype::Uint16) => self.trace_with(0, 0, 1, Dtype::Uint32),
            Ok(dtype) => self.trace_with(0, 0, 1, dtype),
            Err(error) => Array::failed(error),
        }
    }

    /// Returns the sum of a diagonal over two axes, in `dtype`.
    #[track_caller]
    pub fn trace_with(
        &self,
        offset: i32,
        axis1: impl Integer,
        axis2: impl Integer,
        dtype: Dtype,
    ) -> Array {
        bind(
            Op::Trace {
                offset,
                axis1: axis1.to_i32(),
                axis2: axis2.to_i32(),
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

/// The axes of [`tensordot`](Array::tensordot): how many, or a list for each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TensordotAxes {
    /// The last `n` axes of the left side with the first `n` of the right.
    Count(i32),
    /// These of the left side with those of the right.
    Lists(Vec<i32>, Vec<i32>),
}

impl<T: Integer> From<T> for TensordotAxes {
    fn from(count: T) -> Self {
        TensordotAxes::Count(count.to_i32())
    }
}

impl<A: Into<Shape>, B: Into<Shape>> From<(A, B)> for TensordotAxes {
    fn from((a, b): (A, B)) -> Self {
        TensordotAxes::Lists(a.into().into_numbers(), b.into().into_numbers())
    }
}

/// Returns `c + a @ b` in one operation.
#[track_caller]
pub fn addmm(c: impl AsRef<Array>, a: impl AsRef<Array>, b: impl AsRef<Array>) -> Array {
    addmm_with(c, a, b, 1.0, 1.0)
}

/// Returns `beta * c + alpha * (a @ b)` in one operation.
#[track_caller]
pub fn addmm_with(
    c: impl AsRef<Array>,
    a: impl AsRef<Array>,
    b: impl AsRef<Array>,
    alpha: f32,
    beta: f32,
) -> Array {
    let inputs = [c.as_ref(), a.as_ref(), b.as_ref()];
    bind(Op::Addmm { alpha, beta }, &inputs)
}

/// Returns the sum of products written in Einstein's notation: `einsum("ij,jk->ik", [&a, &b])`.
#[track_caller]
pub fn einsum(subscripts: &str, operands: impl ArrayList) -> Array {
    let operands = operands.into_arrays();
    let subscripts = OpString::new(subscripts);
    let operands: Vec<&Array> = operands.iter().collect();
    bind(Op::Einsum { subscripts }, &operands)
}
