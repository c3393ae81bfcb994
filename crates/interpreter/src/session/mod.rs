//! Saved functions on the CPU's kernels, without MLX: what serves a model where there is no MLX, Python or GPU.

mod apply;
mod plan;
mod products;
mod reductions;
mod run;
mod types;
mod updates;

use std::path::{Path, PathBuf};

use mlx::ArrayType;
use mlx::cpu::{HostArray, MemoryPool};
use mlx_compiler::graph::Graph;
use mlx_compiler::{Error, Result};

use crate::n_arrays;
use crate::saved_file::SavedFile;
use plan::{MAX_FOLDED_IN_ALL, Opening, Plan};

/// A saved function that runs on the kernels of the CPU, in its own dtypes. MLX is neither needed nor loaded.
///
/// Operations that no kernel computes run by the formulas of the interpreter, slowly. Loops and branches are followed;
/// gradients and communication are refused when a file is opened. A session belongs to its thread; its kernels use all
/// processors.
pub struct InferenceSession {
    path: Option<PathBuf>,
    plan: Plan,
    pool: MemoryPool,
}

/// How a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// The maximum number of bytes of the arrays that a run makes, without those of the file and the inputs. An array that the
    /// interpreter's formula makes, and one that a kernel may copy, is at most of this size too.
    pub memory_limit: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            memory_limit: 4 << 30,
        }
    }
}

impl InferenceSession {
    /// Opens a file of [`save`](mlx_compiler::Lowered::save).
    ///
    /// # Errors
    /// When the file is missing, damaged, or of another version, a value has another type than its operation gives, or an
    /// operation does not run without MLX.
    ///
    /// ```
    /// use mlx::{Array, array};
    /// use mlx_compiler::jit;
    /// use mlx_interpreter::{HostArray, InferenceSession};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("double.safetensors");
    /// jit(|x: &Array| x * 2.0).lower(&array!([1.0, 2.0]))?.save(&path)?;
    ///
    /// let double = InferenceSession::open(&path)?;
    /// let outputs = double.run(vec![HostArray::new([2], &[3.0_f32, 4.0])?])?;
    /// assert_eq!(outputs[0].to_vec::<f32>()?, [6.0, 8.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &SessionOptions::default())
    }

    /// Opens a file with these options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: &SessionOptions) -> Result<Self> {
        let SavedFile {
            path,
            graph,
            constants,
        } = SavedFile::read(path.as_ref())?;
        let session = Self::planned(&graph, constants, options)
            .map_err(|error| Error::Unsupported(format!("open: {}: {error}", path.display())))?;
        Ok(Self {
            path: Some(path),
            ..session
        })
    }

    /// Returns a session of a graph and the arrays that it and those inside it captured, in the order of the text.
    ///
    /// # Errors
    /// When the graph or the arrays are not as a file of it would have to be.
    pub fn new(graph: &Graph, constants: Vec<HostArray>, options: &SessionOptions) -> Result<Self> {
        let failed = |error: String| Error::Unsupported(format!("session: {error}"));
        graph.verify().map_err(|error| failed(error.to_string()))?;
        Self::planned(graph, constants, options).map_err(failed)
    }

    fn planned(
        graph: &Graph,
        constants: Vec<HostArray>,
        options: &SessionOptions,
    ) -> std::result::Result<Self, String> {
        let wanted = n_arrays(graph);
        if constants.len() != wanted {
            let got = constants.len();
            return Err(format!("wanted {wanted} arrays, got {got}"));
        }
        let mut opening = Opening {
            arrays: &mut constants.into_iter(),
            budget: MAX_FOLDED_IN_ALL.min(options.memory_limit),
        };
        Ok(Self {
            path: None,
            plan: Plan::of(graph, &mut opening)?,
            pool: MemoryPool::new(options.memory_limit),
        })
    }

    /// Returns the types of the inputs.
    pub fn input_types(&self) -> &[ArrayType] {
        self.plan.input_types()
    }

    /// Returns the types of the outputs.
    pub fn output_types(&self) -> &[ArrayType] {
        self.plan.output_types()
    }

    /// Runs the function.
    ///
    /// An input that nothing else has is written in place where the function updates it, as a cache of keys and values.
    ///
    /// # Errors
    /// When inputs have other types, a kernel refuses what it is given, such as an index that is out of range, or a run needs
    /// more memory than it may.
    pub fn run(&self, inputs: Vec<HostArray>) -> Result<Vec<HostArray>> {
        let ran = self.plan.run(inputs, &self.pool).inspect(|outputs| {
            for output in outputs {
                self.pool.give_away(output);
            }
        });
        ran.map_err(|error| match &self.path {
            Some(path) => Error::Unsupported(format!("run: {}: {error}", path.display())),
            None => Error::Unsupported(format!("run: {error}")),
        })
    }

    /// Returns the operations that no kernel computes, each with how often it is in the function.
    ///
    /// Whether one has a kernel may depend on strides; it is told for elements in row-major order.
    pub fn without_kernels(&self) -> Vec<(String, usize)> {
        self.plan.without_kernels()
    }
}

impl std::fmt::Debug for InferenceSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.as_deref().unwrap_or(Path::new("a graph"));
        write!(f, "InferenceSession({})", path.display())
    }
}
