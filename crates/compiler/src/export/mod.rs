//! Functions in files: MLX's own `.mlxfn`, and graphs with their arrays, which are opened without tracing.

mod bytes;
mod check;
mod import;
mod mlxfn;
mod package;
mod primitives;

use std::path::Path;
use std::rc::Rc;

use mlx::compiler_api::export_function;
use mlx::{Array, Op, Tree, bind, zeros_with};

use crate::execute::Executor;
use crate::graph::{Graph, Operation};
use crate::{Compiled, Error, Lowered, Result};

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
        write(self.graph(), path.as_ref())
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

fn write(graph: &Graph, path: &Path) -> Result<()> {
    if let Some(name) = not_of_mlx(graph) {
        return Err(Error::Unsupported(format!(
            "export_function: wanted operations that a file of MLX's can hold, got {name}"
        )));
    }
    // MLX writes the memory of a constant as it is, whatever its strides.
    let graph = graph.map_captured(&mut |array| {
        let allow_col_major = false;
        let rows = bind(Op::Contiguous { allow_col_major }, &[array]);
        rows.eval()?;
        Ok(rows)
    })?;
    let inputs: Vec<Array> = graph
        .input_types()
        .into_iter()
        .map(|input| zeros_with(input.shape, input.dtype))
        .collect();
    let executor = Rc::new(Executor::without_kernels(graph)?);
    let function = move |inputs: &[Array]| executor.run(&inputs.iter().collect::<Vec<_>>());
    export_function(path, function, &inputs.iter().collect::<Vec<_>>(), false)?;
    Ok(())
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
