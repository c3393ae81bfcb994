//! What can go wrong, and how it is said: operation, what was wanted, what came, and the caller's line.

use std::fmt;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;

use crate::dtype::Dtype;
use crate::shape::ArrayType;

/// The result of anything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate.
///
/// Building a graph never fails loudly: an operation that rejects its inputs gives an
/// [`Array`](crate::Array) that carries one of these, and the next call that reads a value or a
/// shape returns it. Cloning is cheap.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The native libraries are missing, do not match, or could not be loaded.
    #[error("{0}")]
    Library(Arc<str>),
    /// An operation rejected its inputs when the graph was built, or failed when it ran.
    #[error("{0}")]
    Op(Arc<OpError>),
    /// Values were read as another type than the array holds.
    #[error("{op}: elements are {got}, asked for {wanted}; convert with astype first")]
    Dtype {
        /// The reading operation.
        op: &'static str,
        /// The dtype of the Rust type asked for.
        wanted: Dtype,
        /// The dtype of the array.
        got: Dtype,
    },
    /// Values of a traced array were asked for: a compiled function has no values while it is traced.
    #[error("{op}: this array has no value, it is part of a function being traced{hint}; at {at}")]
    Traced {
        /// The reading operation.
        op: &'static str,
        /// What to do instead, beginning with `: ` or empty.
        hint: &'static str,
        /// The caller's line.
        at: &'static Location<'static>,
    },
    /// A file could not be read or written.
    #[error("{op}: {path}: {message}")]
    Io {
        /// The operation, such as `load_safetensors`.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        message: String,
    },
    /// A thread that runs MLX work has exited.
    #[error("worker: {0}")]
    Worker(Arc<str>),
    /// A closure given to this crate returned an error of its own.
    #[error("{0}")]
    Closure(Arc<dyn std::error::Error + Send + Sync>),
}

/// An operation that failed: see [`Error::Op`].
#[derive(Clone)]
pub struct OpError {
    /// The operation's name in Python MLX: `add`, `fast.rms_norm`.
    pub op: String,
    /// What was wanted and what came.
    pub message: String,
    /// Types of the inputs, as far as they are known.
    pub inputs: Vec<ArrayType>,
    /// The caller's line.
    pub at: &'static Location<'static>,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.op, self.message)?;
        if !self.inputs.is_empty() {
            let types: Vec<String> = self.inputs.iter().map(ToString::to_string).collect();
            write!(f, "; inputs {}", types.join(", "))?;
        }
        write!(f, "; at {}", self.at)
    }
}

// `fn main() -> mlx::Result<()>` and `unwrap` show `Debug`: it is the text for people.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Returns the error of operation `op` with this message, at the caller's line.
    #[track_caller]
    pub fn op(op: impl Into<String>, message: impl Into<String>) -> Self {
        Self::op_with(op, message, Vec::new())
    }

    /// Returns the error of operation `op` on inputs of these types, at the caller's line.
    #[track_caller]
    pub fn op_with(
        op: impl Into<String>,
        message: impl Into<String>,
        inputs: Vec<ArrayType>,
    ) -> Self {
        Error::Op(Arc::new(OpError {
            op: op.into(),
            message: message.into(),
            inputs,
            at: Location::caller(),
        }))
    }

    /// Returns the error of `op` for what the native library said.
    #[track_caller]
    pub(crate) fn from_native(op: &'static str, error: NativeError) -> Self {
        Self::native_at(op, &error, Vec::new(), Location::caller())
    }

    /// Returns the error of `op` on inputs of these types, at this line, for what the native library said.
    pub(crate) fn native_at(
        op: &str,
        error: &NativeError,
        inputs: Vec<ArrayType>,
        at: &'static Location<'static>,
    ) -> Self {
        match mlx_sys::api() {
            Ok(_) => Error::Op(Arc::new(OpError {
                op: op.to_owned(),
                message: plain_message(&error.0),
                inputs,
                at,
            })),
            Err(missing) => Error::Library(missing.to_string().into()),
        }
    }

    /// Returns the error as found at another line: that of the program, for which a library made the call.
    #[must_use]
    pub fn at(self, at: &'static Location<'static>) -> Self {
        match self {
            Error::Op(error) => Error::Op(Arc::new(OpError {
                at,
                ..error.as_ref().clone()
            })),
            Error::Traced { op, hint, .. } => Error::Traced { op, hint, at },
            other => other,
        }
    }

    /// Returns a closure's own error in this crate's type; [`Error::Closure`] gives it back.
    pub fn closure(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::Closure(Arc::from(error.into()))
    }
}

/// What the native library said of a failed call, or what keeps a call from being made.
#[derive(Clone, Debug)]
pub(crate) struct NativeError(pub(crate) String);

impl From<&str> for NativeError {
    fn from(text: &str) -> Self {
        NativeError(text.to_owned())
    }
}

/// Says which operation a native call belongs to. A method, because a closure would not pass the caller's line on.
pub(crate) trait WithOp<T> {
    /// Returns the value, or the error of operation `op` at the caller's line.
    fn with_op(self, op: &'static str) -> Result<T>;
}

impl<T> WithOp<T> for std::result::Result<T, NativeError> {
    #[track_caller]
    fn with_op(self, op: &'static str) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(Error::from_native(op, error)),
        }
    }
}

/// Returns MLX's text without the bracketed name of the inner function and the C++ line.
pub(crate) fn plain_message(text: &str) -> String {
    let text = text.trim();
    let text = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) if !name.contains(' ') && !rest.trim().is_empty() => rest.trim(),
        _ => text,
    };
    let mut chars = text.trim_end_matches('.').chars();
    match (chars.next(), chars.clone().next()) {
        // Lower the first letter of a sentence, but not of an abbreviation such as NYI.
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        (Some(first), _) => std::iter::once(first).chain(chars).collect(),
        (None, _) => String::from("failed without a message"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "[reshape] Cannot reshape array of size 6.",
        "cannot reshape array of size 6"
    )]
    #[case("NYI on this device", "NYI on this device")]
    #[case("", "failed without a message")]
    fn speaks_plainly(#[case] text: &str, #[case] want: &str) {
        assert_eq!(plain_message(text), want);
    }

    #[test]
    fn debug_is_the_text_for_people() {
        let error = Error::op("add", "wanted two, got one");
        assert_eq!(format!("{error:?}"), error.to_string());
        let Error::Op(inner) = &error else {
            panic!("{error}")
        };
        assert_eq!(format!("{inner:#?}"), error.to_string());
    }

    #[test]
    fn says_operation_wanted_got_and_line() {
        let text = Error::op("fast.rms_norm", "weight must be [64], got [32]").to_string();
        assert!(
            text.starts_with("fast.rms_norm: weight must be [64], got [32]; at "),
            "{text}"
        );
        assert!(text.contains("error.rs:"), "{text}");
    }
}
