//! What can go wrong when a kernel is called: a slice of the wrong length, a parameter out of range.

/// The result of a kernel.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a kernel refused its arguments; nothing was written then, but of a singular matrix.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice does not have the length that the shape requires.
    #[error("{op}: {what} must have {wanted} elements, got {got}")]
    Length {
        /// The kernel.
        op: &'static str,
        /// The argument.
        what: &'static str,
        /// The length that the shape requires.
        wanted: usize,
        /// The actual length.
        got: usize,
    },
    /// A slice ends before the last element that its strides reach.
    #[error("{op}: {what} must have at least {wanted} elements for its strides, got {got}")]
    Reach {
        /// The kernel.
        op: &'static str,
        /// The argument.
        what: &'static str,
        /// The minimum length for the strides.
        wanted: usize,
        /// The actual length.
        got: usize,
    },
    /// A parameter is outside of the domain of the kernel.
    #[error("{op}: {what} must be {wanted}, got {got}")]
    Parameter {
        /// The kernel.
        op: &'static str,
        /// The parameter.
        what: &'static str,
        /// What is allowed, in words.
        wanted: &'static str,
        /// The actual value.
        got: usize,
    },
    /// A matrix has no inverse: a pivot is zero. The results are unspecified.
    #[error("{op}: the matrix is singular")]
    Singular {
        /// The kernel.
        op: &'static str,
    },
    /// The product of a shape's sizes does not fit in memory.
    #[error("{op}: the number of elements must fit in memory")]
    TooLarge {
        /// The kernel.
        op: &'static str,
    },
}

// `fn main() -> Result<()>` and `unwrap` show `Debug`: it is the text for people.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Refuses a slice whose length is not `wanted`.
pub(crate) fn length(
    op: &'static str,
    what: &'static str,
    wanted: usize,
    got: usize,
) -> Result<()> {
    if wanted == got {
        Ok(())
    } else {
        Err(Error::Length {
            op,
            what,
            wanted,
            got,
        })
    }
}

/// Multiplies sizes, and refuses a product that overflows.
pub(crate) fn product(op: &'static str, sizes: &[usize]) -> Result<usize> {
    sizes
        .iter()
        .try_fold(1_usize, |product, size| product.checked_mul(*size))
        .ok_or(Error::TooLarge { op })
}
