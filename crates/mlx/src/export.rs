//! Writing a function to a file that Python's `mx.import_function` reads, for the compiler crate.

use std::path::Path;
use std::rc::Rc;

use crate::ffi::{Handle, exporting};
use crate::transforms::{body, finish};
use crate::{Array, Error, Result};

/// The name that errors give.
const NAME: &str = "export_function";

/// Traces `function`, once for each list of inputs, for their types, and writes what it computes to a file of MLX's, `.mlxfn`.
///
/// The file is written whole or not at all. Kernels of this crate are written as MLX's operations. Arrays that the function captures
/// must be evaluated and in row-major order: MLX writes their memory as it is.
///
/// # Errors
/// When the function fails, has an operation that such a file cannot hold (named), or the file cannot be written.
#[track_caller]
pub fn export_function(
    path: &Path,
    function: impl Fn(&[Array]) -> Result<Vec<Array>> + 'static,
    inputs: &[Vec<&Array>],
    shapeless: bool,
) -> Result<()> {
    let caller = std::panic::Location::caller();
    let failed = |error: std::io::Error| Error::Io {
        op: NAME,
        path: path.to_owned(),
        message: error.to_string(),
    };
    let handle = |input: &&Array| input.handle(NAME).cloned();
    let handles: Vec<Vec<Rc<Handle>>> = inputs
        .iter()
        .map(|inputs| inputs.iter().map(handle).collect::<Result<_>>())
        .collect::<Result<_>>()?;
    let handles: Vec<Vec<&Handle>> = handles
        .iter()
        .map(|inputs| inputs.iter().map(AsRef::as_ref).collect())
        .collect();
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
        let function = Rc::clone(&function);
        let body = body(NAME, move |inputs| function(inputs));
        exporting::export_function(&written, body, &handles, shapeless)
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
