//! Errors of tracing, compiling and calling a function.

use std::sync::Arc;

use mlx::tree::BoxedError;

use crate::graph::{ParseError, VerifyError};

/// The result of anything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate. Cloning is cheap.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation failed, while tracing or when it ran.
    #[error(transparent)]
    Mlx(#[from] mlx::Error),
    /// The traced function returned an error of its own.
    #[error("{0}")]
    Function(Arc<dyn std::error::Error + Send + Sync>),
    /// A fusion that was [expected](crate::Report::expect) did not fire.
    #[error("expect: wanted {wanted}, got {got}")]
    Expectation {
        /// The fusions and how often.
        wanted: String,
        /// What fired, and the reasons of what did not.
        got: String,
    },
    /// A function that is compiled strictly does not run as it was asked to, or was traced too often.
    #[error("strict: {}\n{report}", reasons.join("; "))]
    Strict {
        /// What does not hold.
        reasons: Vec<String>,
        /// The text of the [report](crate::Report).
        report: String,
    },
    /// A function cannot be compiled without regard to sizes.
    #[error("shapeless: {0}")]
    Shapeless(String),
    /// A text is not a graph.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A pass broke the graph: a bug of this crate.
    #[error("pass {pass}: {error}")]
    Verify {
        /// The pass.
        pass: &'static str,
        /// What does not hold.
        error: VerifyError,
    },
    /// A function would need more memory than its options allow.
    #[error(
        "memory_limit: wanted at most {limit} bytes, got {peak}, of which inputs and constants {held}; the largest values: {largest}"
    )]
    Memory {
        /// What is allowed.
        limit: usize,
        /// What would be needed.
        peak: usize,
        /// What inputs and constants need.
        held: usize,
        /// The largest values with their lines.
        largest: String,
    },
    /// A graph cannot be run as it was asked to; names the operation.
    #[error("{0}")]
    Unsupported(String),
}

// `fn main() -> Result<()>` and `unwrap` show `Debug`: it is the text of `Display`.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Returns an error that a traced function returned: one of MLX's as it is, any other as [`Error::Function`].
    pub(crate) fn from_function(error: BoxedError) -> Self {
        match error.downcast::<mlx::Error>() {
            Ok(error) => Error::Mlx(*error),
            Err(error) => match error.downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => Error::Function(Arc::from(error)),
            },
        }
    }

    /// Returns the same as an error of MLX's, as a closure given to it must return.
    pub(crate) fn into_mlx(self) -> mlx::Error {
        self.into()
    }
}

impl From<Error> for mlx::Error {
    /// Returns an error of MLX's as it is, and any other as [`mlx::Error::Closure`].
    fn from(error: Error) -> Self {
        match error {
            Error::Mlx(error) => error,
            other => mlx::Error::closure(other),
        }
    }
}
