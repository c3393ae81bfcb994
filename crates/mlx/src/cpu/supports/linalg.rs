//! Factorizations: of matrices of `float32`; those of doubles, and decompositions, are LAPACK's.

use crate::Dtype;
use crate::ffi::host::Layout;
use crate::op::Op;

/// Whether an operation is one of these.
pub(super) fn is_of(op: &Op) -> bool {
    matches!(op, Op::Inv | Op::TriInv { .. } | Op::LuFactor | Op::Qr)
}

/// Whether a kernel computes one of these; nothing is empty.
pub(super) fn supports(op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    let &[x] = inputs else {
        return false;
    };
    let is_square = matches!(x.shape(), [.., rows, columns] if rows == columns);
    x.shape().len() >= 2
        && [x.dtype(), output.dtype()] == [Dtype::Float32; 2]
        && (is_square || matches!(op, Op::LuFactor | Op::Qr))
}
