//! Functions of files of MLX's: Python's `mx.import_function`.

use std::path::Path;
use std::rc::Rc;

use mlx::{Array, ArrayType};

use super::check::check_types;
use super::mlxfn::{self, Functions};
use crate::execute::Executor;
use crate::graph::Graph;
use crate::{Error, Result};

/// The name that errors give.
const NAME: &str = "import_function";

/// A function that was read from a file: see [`import_function`].
#[derive(Clone)]
pub struct ImportedFunction {
    functions: Functions,
    executors: Rc<[Executor]>,
    is_shapeless: bool,
}

/// Reads a function that [`export`](crate::Lowered::export) or Python's `mx.export_function` wrote.
///
/// The file is a description only: its operations are checked here as all are, so that a damaged or hostile file is an error and
/// never a crash.
///
/// # Errors
/// When the file is missing, damaged, or has a primitive that is no operation of this library, which is named.
///
/// ```
/// use mlx::{Array, array};
/// use mlx_compiler::{import_function, jit};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("double.mlxfn");
/// jit(|x: &Array| x * 2.0).lower(&array!([1.0, 2.0]))?.export(&path)?;
/// let double = import_function(&path)?;
/// assert_eq!(double.call(&[&array!([3.0, 4.0])])?[0].to_vec::<f32>()?, [6.0, 8.0]);
/// # Ok(())
/// # }
/// ```
pub fn import_function(path: impl AsRef<Path>) -> Result<ImportedFunction> {
    let path = path.as_ref();
    let fault = |message: String| {
        Error::from(mlx::Error::Io {
            op: NAME,
            path: path.to_owned(),
            message,
        })
    };
    let bytes = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    let stored = mlxfn::read(&bytes).map_err(fault)?;
    let mut executors = Vec::new();
    for function in &stored.functions {
        check_types(&fault, &function.graph)?;
        executors.push(Executor::new(function.graph.clone())?);
    }
    Ok(ImportedFunction {
        functions: stored.functions.into(),
        executors: executors.into(),
        is_shapeless: stored.is_shapeless,
    })
}

impl ImportedFunction {
    /// Calls the function with arrays in its order. Nothing is computed until it is needed.
    ///
    /// # Errors
    /// When the file has no function of inputs of these types, or an operation fails.
    #[track_caller]
    pub fn call(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
        self.call_with(inputs, &[])
    }

    /// Calls the function with arrays in its order and others by their names, as Python's keyword arguments.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    #[track_caller]
    pub fn call_with(&self, inputs: &[&Array], named: &[(&str, &Array)]) -> Result<Vec<Array>> {
        let mut named = named.to_vec();
        named.sort_by_key(|(name, _)| *name);
        let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        let all = inputs
            .iter()
            .copied()
            .chain(named.iter().map(|(_, array)| *array));
        let all: Vec<&Array> = all.collect();
        let types = all.iter().map(|array| mlx::compiler_api::type_of(array));
        let types: Vec<ArrayType> = types.collect::<mlx::Result<_>>()?;
        let found = self.functions.iter().position(|function| {
            let wanted = function.graph.input_types();
            function.keywords == names
                && wanted.len() == types.len()
                && wanted
                    .iter()
                    .zip(&types)
                    .all(|(wanted, got)| self.fits(wanted, got))
        });
        let Some(found) = found else {
            return Err(mlx::Error::op(NAME, self.no_function(&names, &types)).into());
        };
        Ok(mlx::compiler_api::without_recording(|| {
            self.executors[found].run(&all)
        })?)
    }

    fn fits(&self, wanted: &ArrayType, got: &ArrayType) -> bool {
        match self.is_shapeless {
            true => wanted.dtype == got.dtype && wanted.shape.len() == got.shape.len(),
            false => wanted == got,
        }
    }

    fn no_function(&self, names: &[&str], types: &[ArrayType]) -> String {
        let text = |types: &[ArrayType]| {
            let types: Vec<String> = types.iter().map(ToString::to_string).collect();
            types.join(", ")
        };
        let known = self.functions.iter().map(|function| {
            let names = match function.keywords.as_slice() {
                [] => String::new(),
                names => format!(", the last named {}", names.join(", ")),
            };
            format!("({}{names})", text(&function.graph.input_types()))
        });
        let known: Vec<String> = known.collect();
        format!(
            "wanted {}, got ({}) named {names:?}",
            known.join(" or "),
            text(types)
        )
    }

    /// Returns the graphs of the file, one for each combination of input types.
    pub fn graphs(&self) -> impl Iterator<Item = &Graph> {
        self.functions.iter().map(|function| &function.graph)
    }
}

impl std::fmt::Debug for ImportedFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImportedFunction of {} graphs", self.functions.len())
    }
}
