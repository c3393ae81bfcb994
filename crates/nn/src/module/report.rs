//! The report of loading: what was replaced, and what did not match.

use std::fmt;

/// The result of [`Module::load`](super::Module::load).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Number of parameters replaced.
    pub loaded: usize,
    /// Parameters for which there was no weight.
    pub missing: Vec<String>,
    /// Weights without a parameter of that name.
    pub unused: Vec<String>,
    /// Weights of the wrong shape: name, wanted, got.
    pub shape_mismatches: Vec<(String, Vec<i32>, Vec<i32>)>,
}

/// The error of weights that do not match a model's parameters, with their names.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("load: {0}")]
pub struct LoadError(LoadReport);

// `fn main() -> Result<()>` and `unwrap` show `Debug`: it is the text for people.
impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl LoadReport {
    /// Returns the weights of the wrong shape: name, wanted, got.
    #[deprecated(note = "renamed to the field `shape_mismatches`")]
    pub fn misshapen(&self) -> &[(String, Vec<i32>, Vec<i32>)] {
        &self.shape_mismatches
    }

    /// Returns whether every parameter was loaded and no weight was unused.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.shape_mismatches.is_empty()
    }

    /// Returns an error unless every parameter was loaded; unused weights are allowed.
    ///
    /// # Errors
    /// When a weight is missing or has the wrong shape.
    pub fn require_all(self) -> Result<Self, LoadError> {
        if self.missing.is_empty() && self.shape_mismatches.is_empty() {
            Ok(self)
        } else {
            Err(LoadError(self))
        }
    }

    /// Returns an error unless weights and parameters match exactly.
    ///
    /// # Errors
    /// When a weight is missing, unused or has the wrong shape.
    pub fn require_exact(self) -> Result<Self, LoadError> {
        if self.is_complete() {
            Ok(self)
        } else {
            Err(LoadError(self))
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} weights loaded", self.loaded)?;
        list(f, "missing", &self.missing)?;
        list(f, "unused", &self.unused)?;
        for (name, wanted, got) in &self.shape_mismatches {
            write!(f, "; {name} must be {wanted:?}, got {got:?}")?;
        }
        Ok(())
    }
}

/// Writes the first names of a list and the number of the others.
fn list(f: &mut fmt::Formatter<'_>, what: &str, names: &[String]) -> fmt::Result {
    const SHOWN: usize = 8;
    if names.is_empty() {
        return Ok(());
    }
    write!(
        f,
        "; {what}: {}",
        names[..names.len().min(SHOWN)].join(", ")
    )?;
    if names.len() > SHOWN {
        write!(f, " and {} more", names.len() - SHOWN)?;
    }
    Ok(())
}
