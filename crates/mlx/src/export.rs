//! Writing a function to a file that Python's `mx.import_function` reads, for the compiler crate.

use std::cell::Cell;
use std::ffi::CString;
use std::path::Path;
use std::rc::Rc;

use crate::ffi::{Handle, exporting};
use crate::transforms::{body, finish};
use crate::{Array, Error, Result};

/// The name that errors give.
const NAME: &str = "export_function";

/// What a function is written for: its inputs, of which the last have names.
#[derive(Debug)]
pub struct ExportedCall<'a> {
    /// All inputs.
    pub inputs: Vec<&'a Array>,
    /// The names of the last inputs, in ascending order, not more than inputs.
    pub names: Vec<String>,
}

/// Traces `function`, once for each call, for the types of its inputs, and writes what it computes to a file of MLX's, `.mlxfn`.
///
/// The function is given the number of the call and its inputs.
///
/// The file is written whole or not at all. Kernels of this crate are written as MLX's operations. Arrays that the function captures
/// must be evaluated and in row-major order: MLX writes their memory as it is.
///
/// # Errors
/// When the function fails, has an operation that such a file cannot hold (named), or the file cannot be written.
#[track_caller]
pub fn export_function(
    path: &Path,
    function: impl Fn(usize, &[Array]) -> Result<Vec<Array>> + 'static,
    calls: &[ExportedCall<'_>],
    shapeless: bool,
) -> Result<()> {
    let caller = std::panic::Location::caller();
    let failed = |error: std::io::Error| Error::Io {
        op: NAME,
        path: path.to_owned(),
        message: error.to_string(),
    };
    let handle = |input: &&Array| input.handle(NAME).cloned();
    let handles = calls
        .iter()
        .map(|call| call.inputs.iter().map(handle).collect());
    let handles: Vec<Vec<Rc<Handle>>> = handles.collect::<Result<_>>()?;
    let traced: Vec<exporting::Call<'_>> = handles
        .iter()
        .zip(calls)
        .map(|(handles, call)| {
            Ok(exporting::Call {
                inputs: handles.iter().map(AsRef::as_ref).collect(),
                names: names(call)?,
            })
        })
        .collect::<Result<_>>()?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let scratch = tempfile::Builder::new()
        .prefix(".mlx-")
        .tempdir_in(folder)
        .map_err(failed)?;
    let written = scratch.path().join("function");
    let function = Rc::new(function);
    let call = || {
        let (function, at) = (Rc::clone(&function), Cell::new(0));
        // MLX calls the function once for each call, in their order.
        let body = body(NAME, move |inputs| {
            function(at.replace(at.get() + 1), inputs)
        });
        exporting::export_function(&written, body, &traced, shapeless)
    };
    finish(call, |fault| {
        let text = fault.0.as_str();
        let unknown = text.split("Unable to serialize primitive ").nth(1);
        match unknown {
            Some(name) => {
                let name = name.split_whitespace().next().unwrap_or(name);
                let message =
                    format!("wanted operations that a file of MLX's can hold, got {name}");
                Error::op(NAME, message)
            }
            None => Error::native_at(NAME, &fault, Vec::new(), caller),
        }
    })?;
    std::fs::File::open(&written)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    std::fs::rename(&written, path).map_err(failed)
}

/// The names of a call for C.
fn names(call: &ExportedCall<'_>) -> Result<Vec<CString>> {
    let ExportedCall { inputs, names } = call;
    let is_ascending = names.is_sorted_by(|one, next| one < next);
    if !is_ascending || names.len() > inputs.len() {
        let message = format!(
            "wanted names in ascending order, not more than {} inputs, got {names:?}",
            inputs.len()
        );
        return Err(Error::op(NAME, message));
    }
    let text = |name: &String| {
        let wrong = |_| {
            Error::op(
                NAME,
                format!("wanted a name without a zero byte, got {name:?}"),
            )
        };
        CString::new(name.as_str()).map_err(wrong)
    };
    names.iter().map(text).collect()
}
