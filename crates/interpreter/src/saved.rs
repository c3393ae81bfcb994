//! A function that `mlx-compiler` saved, run without MLX: nothing of it is loaded.

use std::path::{Path, PathBuf};

use mlx_compiler::graph::Graph;
use mlx_compiler::{Error, Result};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype as Stored;

use crate::bits::from_bytes;
use crate::evaluator::Interpreter;
use crate::n_arrays;
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
        let path = path.as_ref();
        let fault =
            |message: String| Error::Unsupported(format!("open: {}: {message}", path.display()));
        let bytes = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
        let unread = |error: safetensors::SafeTensorError| fault(error.to_string());
        let file = SafeTensors::deserialize(&bytes).map_err(unread)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(unread)?;
        let entries = header.metadata().clone().unwrap_or_default();
        let entry = |name: &str| entries.get(name).map_or("nothing", String::as_str);
        if entry("format") != "mlx-compiler graph" || entry("version") != "1" {
            let (format, version) = (entry("format"), entry("version"));
            return Err(fault(format!(
                "wanted mlx-compiler graph, version 1, got {format}, version {version}"
            )));
        }
        let graph = entry("graph").parse::<Graph>();
        let graph = graph.map_err(|error| fault(error.to_string()))?;
        graph.verify().map_err(|error| fault(error.to_string()))?;
        let mut constants = Vec::new();
        for number in 0..n_arrays(&graph) {
            let tensor = file.tensor(&number.to_string()).map_err(unread)?;
            let dtype = dtype_of(tensor.dtype()).ok_or_else(|| {
                fault(format!("wanted a dtype of MLX's, got {:?}", tensor.dtype()))
            })?;
            let elements = tensor.data().chunks_exact(dtype.size());
            let numbers = elements.map(|bytes| from_bytes(bytes, dtype)).collect();
            constants.push(Tensor::new(tensor.shape(), dtype, numbers)?);
        }
        let interpreter = Interpreter {
            constants,
            ..Interpreter::default()
        };
        Ok(Self {
            path: path.to_path_buf(),
            graph,
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

fn dtype_of(stored: Stored) -> Option<mlx::Dtype> {
    use mlx::Dtype;
    Some(match stored {
        Stored::BOOL => Dtype::Bool,
        Stored::U8 => Dtype::Uint8,
        Stored::U16 => Dtype::Uint16,
        Stored::U32 => Dtype::Uint32,
        Stored::U64 => Dtype::Uint64,
        Stored::I8 => Dtype::Int8,
        Stored::I16 => Dtype::Int16,
        Stored::I32 => Dtype::Int32,
        Stored::I64 => Dtype::Int64,
        Stored::F16 => Dtype::Float16,
        Stored::BF16 => Dtype::Bfloat16,
        Stored::F32 => Dtype::Float32,
        Stored::F64 => Dtype::Float64,
        Stored::C64 => Dtype::Complex64,
        _ => return None,
    })
}
