//! Functions in files: MLX's own `.mlxfn`, and graphs with their arrays, which are opened without tracing.

mod bytes;
mod check;
mod import;
mod mlxfn;
mod package;
mod primitives;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use mlx::compiler_api::{self, TracedArray};
use mlx::tree::{Arguments, Function};
use mlx::{Array, ArrayType, Op, Tree, bind, zeros_with};

use crate::execute::Executor;
use crate::graph::{Graph, Operation};
use crate::{CompileOptions, Compiled, Error, Lowered, Result, trace};

pub use import::{ImportedFunction, import_function};

impl<Output: Tree> Lowered<Output> {
    /// Writes the function to a file of MLX's, `.mlxfn`, that Python's `mx.import_function` and [`import_function`] read.
    ///
    /// What this library computes by kernels of its own is written as MLX's operations. A function that draws random numbers takes
    /// its keys as its last inputs.
    ///
    /// # Errors
    /// When the function has an operation that such a file cannot hold (a loop, a branch, a host kernel without a composed form,
    /// communication: it is named), or the file cannot be written.
    pub fn export(&self, path: impl AsRef<Path>) -> Result<()> {
        write(&[self.graph()], path.as_ref())
    }
}

impl<Output: Tree> Compiled<Output> {
    /// Writes the function to a file of MLX's: see [`Lowered::export`].
    ///
    /// # Errors
    /// As [`Lowered::export`].
    pub fn export(&self, path: impl AsRef<Path>) -> Result<()> {
        self.lowered().export(path)
    }
}

fn write(graphs: &[&Graph], path: &Path) -> Result<()> {
    let mut executors = Vec::new();
    // Each captured array is written once; while it is held, no other has its number.
    let mut copies: Vec<(Option<usize>, Array, Array)> = Vec::new();
    let mut inputs: Vec<Vec<Array>> = Vec::new();
    for graph in graphs {
        if let Some(name) = not_of_mlx(graph) {
            return Err(Error::Unsupported(format!(
                "export_function: wanted operations that a file of MLX's can hold, got {name}"
            )));
        }
        // MLX writes the memory of a constant as it is, whatever its strides.
        let graph = graph.map_captured(&mut |array| {
            let number = array.buffer_id();
            if let Some((_, _, rows)) = copies.iter().find(|(one, _, _)| *one == number) {
                return Ok(Array::clone(rows));
            }
            let allow_col_major = false;
            let rows = bind(Op::Contiguous { allow_col_major }, &[array]);
            rows.eval()?;
            copies.push((number, array.clone(), rows.clone()));
            Ok(rows)
        })?;
        let types = graph.input_types();
        let zeros = types
            .iter()
            .map(|input| zeros_with(input.shape.clone(), input.dtype));
        inputs.push(zeros.collect());
        executors.push((types, Executor::without_kernels(graph)?));
    }
    let function = move |inputs: &[Array]| {
        let fits = |types: &[ArrayType]| {
            let mut pairs = types.iter().zip(inputs);
            types.len() == inputs.len() && pairs.all(|(wanted, input)| input.matches_type(wanted))
        };
        let found = executors.iter().find(|(types, _)| fits(types));
        let (_, executor) = found.ok_or_else(|| {
            mlx::Error::op(
                "export_function",
                "wanted inputs of known types, got others",
            )
        })?;
        executor.run(&inputs.iter().collect::<Vec<_>>())
    };
    let inputs: Vec<Vec<&Array>> = inputs
        .iter()
        .map(|inputs| inputs.iter().collect())
        .collect();
    compiler_api::export_function(path, function, &inputs, false)?;
    Ok(())
}

/// Functions of several combinations of types that are written to one file of MLX's: Python's `mx.exporter`.
///
/// An array that several of them have captured is written once.
#[derive(Debug)]
pub struct FunctionExporter {
    path: PathBuf,
    graphs: Vec<Rc<Graph>>,
}

/// Returns an exporter that writes to this file when it is [closed](FunctionExporter::close).
///
/// ```
/// use mlx::{Array, Dtype};
/// use mlx_compiler::{exporter, import_function, jit};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("double.mlxfn");
/// let double = jit(|x: &Array| x + x);
/// let (one, two) = (mlx::ones([1]), mlx::ones([2]));
/// exporter(&path).with(&double.lower(&one)?).with(&double.lower(&two)?).close()?;
/// let double = import_function(&path)?;
/// assert_eq!(double.call(&[&two])?[0].to_vec::<f32>()?, [2.0, 2.0]);
/// assert!(double.call(&[&mlx::ones([3])]).is_err());
/// # Ok(())
/// # }
/// ```
pub fn exporter(path: impl Into<PathBuf>) -> FunctionExporter {
    FunctionExporter {
        path: path.into(),
        graphs: Vec::new(),
    }
}

impl FunctionExporter {
    /// Adds a function for its types.
    #[must_use]
    pub fn with<Output: Tree>(mut self, function: &Lowered<Output>) -> Self {
        self.graphs.push(function.shared_graph());
        self
    }

    /// Writes the file.
    ///
    /// # Errors
    /// As [`Lowered::export`], or when two of the functions have the same types, or there is none.
    pub fn close(self) -> Result<()> {
        let graphs: Vec<&Graph> = self.graphs.iter().map(AsRef::as_ref).collect();
        let types: Vec<Vec<ArrayType>> = graphs.iter().map(|graph| graph.input_types()).collect();
        let is_twice = |at: usize| types[..at].contains(&types[at]);
        if types.is_empty() || (0..types.len()).any(is_twice) {
            let message = format!("wanted functions of different types, got {}", types.len());
            return Err(mlx::Error::op("exporter", message).into());
        }
        write(&graphs, &self.path)
    }
}

/// The name of an operation that a file of MLX's cannot hold.
fn not_of_mlx(graph: &Graph) -> Option<&str> {
    graph.nodes.iter().find_map(|node| match &node.operation {
        Operation::Cond { .. } | Operation::While { .. } | Operation::Scan { .. } => {
            Some(node.operation.name())
        }
        operation if operation.communicates() => Some(operation.name()),
        operation => {
            let inner = operation.graphs().into_iter();
            inner.filter_map(|(_, graph)| not_of_mlx(graph)).next()
        }
    })
}

/// Traces and compiles a function for arguments of these types and writes it to a file of MLX's: Python's `mx.export_function`.
///
/// # Errors
/// When the function cannot be traced; else as [`Lowered::export`].
///
/// ```
/// use mlx::{Array, array};
/// use mlx_compiler::{export_function, import_function};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("sum.mlxfn");
/// let (x, y) = (array!([1.0]), array!([2.0]));
/// export_function(&path, |x: &Array, y: &Array| x + y, (&x, &y))?;
/// assert_eq!(import_function(&path)?.call(&[&x, &y])?[0].item::<f32>()?, 3.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn export_function<Args, F>(
    path: impl AsRef<Path>,
    function: F,
    args: Args::Refs<'_>,
) -> Result<()>
where
    Args: Arguments,
    F: Function<Args>,
    F::Output: Tree,
{
    let traced = trace(function, args)?;
    traced.lower(&CompileOptions::default())?.export(path)
}
