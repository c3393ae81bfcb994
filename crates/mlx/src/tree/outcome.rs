//! What a function of trees may return: a tree, or a result of one with any error.

use super::Tree;
use crate::Error;

/// Any error, as a function of trees hands it on.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// What a function of trees returns: a tree, or a `Result` of one with any error, also `anyhow::Error`.
///
/// ```
/// use mlx::{Array, tree::Outcome};
/// let fine: Array = mlx::array!([1.0]).outcome().unwrap();
/// let bad: Result<Array, std::fmt::Error> = Err(std::fmt::Error);
/// assert!(bad.outcome().is_err());
/// # let _ = fine;
/// ```
#[diagnostic::on_unimplemented(
    message = "a function of trees must return a tree of arrays or a `Result` of one, got `{Self}`",
    label = "neither a tree nor a `Result` of one",
    note = "an array, tuples, vectors, options and maps of trees are trees; derive `mlx::Tree` for a struct"
)]
pub trait Outcome {
    /// The tree in it.
    type Tree: Tree;

    /// Returns the tree, or the error.
    ///
    /// # Errors
    /// When the function returned one.
    fn outcome(self) -> Result<Self::Tree, BoxedError>;
}

impl<T: Tree> Outcome for T {
    type Tree = T;
    fn outcome(self) -> Result<T, BoxedError> {
        Ok(self)
    }
}

impl<T: Tree, E: Into<BoxedError>> Outcome for Result<T, E> {
    type Tree = T;
    fn outcome(self) -> Result<T, BoxedError> {
        self.map_err(Into::into)
    }
}

impl Error {
    /// Returns an error of this crate as it is, and any other as [`Error::Closure`].
    pub fn from_boxed(error: BoxedError) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::closure(error),
        }
    }
}
