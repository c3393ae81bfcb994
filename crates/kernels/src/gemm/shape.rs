//! The sizes of a matrix of weights.

/// The sizes of a matrix of weights, `[rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixShape {
    /// The length of the result.
    pub rows: usize,
    /// The length of the vector.
    pub columns: usize,
}
