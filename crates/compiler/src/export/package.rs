//! A graph with its arrays in one file, which is opened without tracing.
//!
//! The file is one of safetensors: its arrays are the graph's constants by number, its metadata the graph's text. Formulas are in it
//! with both of their forms, so that kernels are chosen for the device that opens it.

use std::collections::BTreeMap;
use std::path::Path;

use mlx::{Array, ArrayType, Dtype, Tree, io};

use super::check::check_types;
use crate::execute::Executor;
use crate::graph::{Graph, Operation};
use crate::stages::recognized;
use crate::trace::record;
use crate::{CompileOptions, Compiled, Error, Lowered, Result};

/// What the metadata says that the file is.
const FORMAT: &str = "mlx-compiler graph";
/// The version that is written, and the only one that is read.
const VERSION: &str = "1";

impl<Output: Tree> Lowered<Output> {
    /// Writes the function to a file that [`Compiled::open`] reads: its graph and the arrays that it captured.
    ///
    /// # Errors
    /// When the function has an operation that no text can hold (a host kernel without a composed form: it is named), or the file cannot
    /// be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let expanded = match not_text(self.optimized()) {
            Some(_) => Some(self.expanded()?),
            None => None,
        };
        // A shapeless function may keep its graph as it was traced until sizes are known: those of the trace are the file's.
        let recognized = match expanded.is_none() && self.is_kept_as_traced() {
            true => Some(recognized(self.traced(), self.options())?),
            false => None,
        };
        let graph = expanded.as_ref().or(recognized.as_ref());
        let graph = graph.unwrap_or(self.optimized());
        if let Some(name) = not_text(graph) {
            return Err(Error::Unsupported(format!(
                "save: wanted operations that a text can hold, got {name}"
            )));
        }
        let mut captured = Vec::new();
        graph.collect_captured(&mut captured);
        let named = captured.iter().enumerate();
        let named: Vec<(String, &Array)> =
            named.map(|(n, array)| (n.to_string(), *array)).collect();
        let metadata = BTreeMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("version".to_owned(), VERSION.to_owned()),
            ("keys".to_owned(), self.n_keys().to_string()),
            ("graph".to_owned(), graph.to_string()),
        ]);
        io::save_safetensors_with(path.as_ref(), named, &metadata)?;
        Ok(())
    }

    /// The graph with layers of this workspace, each one operation, as the operations of which they are made.
    fn expanded(&self) -> Result<Graph> {
        let executor = Executor::expanding(self.traced().clone())?;
        let types = self.traced().input_types();
        let recorded = record("function", &types, |inputs| {
            let outputs = executor.run(&inputs.iter().collect::<Vec<_>>())?;
            Ok((outputs, ()))
        })?;
        recognized(&recorded.graph, self.options())
    }
}

impl<Output: Tree> Compiled<Output> {
    /// Writes the function to a file: see [`Lowered::save`].
    ///
    /// # Errors
    /// As [`Lowered::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.lowered().save(path)
    }
}

impl Compiled<Vec<Array>> {
    /// Opens a function that [`save`](Compiled::save) wrote. Nothing is traced; kernels are chosen for this thread's device.
    ///
    /// # Errors
    /// When the file is missing, damaged, or of another version, or its graph is not one whose operations take their inputs.
    ///
    /// ```
    /// use mlx::{Array, array};
    /// use mlx_compiler::{CompileOptions, Compiled, jit};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("double.safetensors");
    /// let weight = array!([2.0, 3.0]);
    /// jit(move |x: &Array| x * &weight).lower(&array!([1.0, 2.0]))?.save(&path)?;
    /// let double = Compiled::open(&path, &CompileOptions::default())?;
    /// assert_eq!(double.call_flat(&[&array!([3.0, 4.0])])?[0].to_vec::<f32>()?, [6.0, 12.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: impl AsRef<Path>, options: &CompileOptions) -> Result<Self> {
        let path = path.as_ref();
        let fault = |message: String| {
            Error::from(mlx::Error::Io {
                op: "open",
                path: path.to_owned(),
                message,
            })
        };
        let file = io::load_safetensors(path)?;
        let entry = |name: &str| file.metadata.get(name).map_or("nothing", String::as_str);
        if entry("format") != FORMAT || entry("version") != VERSION {
            let (format, version) = (entry("format"), entry("version"));
            return Err(fault(format!(
                "wanted {FORMAT}, version {VERSION}, got {format}, version {version}"
            )));
        }
        let graph: Graph = entry("graph")
            .parse::<Graph>()
            .map_err(|error| fault(error.to_string()))?;
        let n_keys = entry("keys").parse().ok();
        // They are the last inputs, which the thread's keys are given to.
        let types = graph.input_types();
        let is_key = |input: &ArrayType| input.dtype == Dtype::Uint32 && *input.shape == [2];
        let are_keys = |n: &usize| match types.len().checked_sub(*n) {
            Some(first) => types[first..].iter().all(is_key),
            None => false,
        };
        let n_keys = n_keys.filter(are_keys);
        let n_keys = n_keys
            .ok_or_else(|| fault(format!("wanted a number of keys, got {}", entry("keys"))))?;
        if let Some(name) = not_text(&graph) {
            return Err(fault(format!("wanted a graph as it is saved, got {name}")));
        }
        let numbers = 0..file.arrays.len();
        let arrays = numbers.map(|n| file.arrays.get(&n.to_string()).cloned());
        let arrays: Option<Vec<Array>> = arrays.collect();
        let arrays = arrays.ok_or_else(|| fault("wanted arrays that are numbered".to_owned()))?;
        mlx::eval(&arrays)?;
        let graph = graph.with_constants(arrays);
        let graph = graph.map_err(|error| fault(error.to_string()))?;
        check_types(&fault, &graph)?;
        Lowered::of_optimized(graph, n_keys, options)?.compile()
    }
}

/// The name of an operation that a file does not hold: functions of the program, and what is made for one device.
fn not_text(graph: &Graph) -> Option<&str> {
    graph.nodes.iter().find_map(|node| match &node.operation {
        Operation::Op(mlx::Op::Custom(_)) | Operation::FusedGroup(_) => Some(node.operation.name()),
        operation => {
            let inner = operation.graphs().into_iter();
            inner.filter_map(|(_, graph)| not_text(graph)).next()
        }
    })
}
