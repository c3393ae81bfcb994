//! A function that `mlx-compiler` saved, run without MLX: nothing of it is loaded.

use std::path::{Path, PathBuf};

use mlx_compiler::graph::Graph;
use mlx_compiler::{Error, Result};

use crate::evaluator::Interpreter;
use crate::host::tensor_of;
use crate::saved_file::SavedFile;
use crate::tensor::Tensor;

/// A function of a file of [`save`](mlx_compiler::Lowered::save).
#[derive(Debug)]
pub struct SavedFunction {
    path: PathBuf,
    graph: Graph,
    interpreter: Interpreter,
}

impl SavedFunction {
    /// Opens a file. MLX is neither needed nor loaded.
    ///
    /// # Errors
    /// When the file is missing, damaged, or of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = SavedFile::read(path.as_ref())?;
        let constants = file.constants.iter().map(tensor_of);
        let interpreter = Interpreter {
            constants: constants.collect::<Result<_>>()?,
            ..Interpreter::default()
        };
        Ok(Self {
            path: file.path,
            graph: file.graph,
            interpreter,
        })
    }

    /// Returns the graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Runs the function in `f64`.
    ///
    /// # Errors
    /// As [`Interpreter::run`]; the error names the file.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.interpreter
            .run(&self.graph, inputs)
            .map_err(|error| Error::Unsupported(format!("run: {}: {error}", self.path.display())))
    }
}
