//! Arrays with their names, as they are given to be saved.

use crate::Array;

/// An array and its name: `("weight", &array)`, `("weight", array)`, or a reference to the latter; items of maps are
/// such pairs too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an array with its name",
    label = "wanted pairs such as `(\"weight\", &array)`, or a map of them"
)]
pub trait NamedArray {
    /// Returns the name.
    fn name(&self) -> &str;

    /// Returns the array.
    fn array(&self) -> &Array;
}

impl<N: AsRef<str>> NamedArray for (N, &Array) {
    fn name(&self) -> &str {
        self.0.as_ref()
    }
    fn array(&self) -> &Array {
        self.1
    }
}

impl<N: AsRef<str>> NamedArray for (N, Array) {
    fn name(&self) -> &str {
        self.0.as_ref()
    }
    fn array(&self) -> &Array {
        &self.1
    }
}

impl<N: AsRef<str>> NamedArray for &(N, Array) {
    fn name(&self) -> &str {
        self.0.as_ref()
    }
    fn array(&self) -> &Array {
        &self.1
    }
}
