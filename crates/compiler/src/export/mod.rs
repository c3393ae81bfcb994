//! Functions in files: MLX's own `.mlxfn`, and graphs with their arrays, which are opened without tracing.

mod bytes;
mod check;
mod import;
mod mlxfn;
mod package;
mod primitives;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use mlx::compiler_api::{self, ExportedCall, TracedArray};
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
        write(
            &[Signature::without_names(self.shared_graph())],
            path.as_ref(),
        )
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

/// A function for some types, and the order in which a file takes its inputs.
#[derive(Debug)]
struct Signature {
    graph: Rc<Graph>,
    /// The graph's inputs in the order of the file: those with names are the last, in the order of these.
    order: Vec<usize>,
    names: Vec<String>,
}

impl Signature {
    fn without_names(graph: Rc<Graph>) -> Self {
        Self {
            order: (0..graph.inputs.len()).collect(),
            graph,
            names: Vec::new(),
        }
    }

    /// The last inputs but `n_keys` get names; keys come in front of them.
    fn with_names(graph: Rc<Graph>, n_keys: usize, names: &[&str]) -> Result<Self> {
        let n_arguments = graph.inputs.len() - n_keys;
        let mut named: Vec<(&str, usize)> = names
            .iter()
            .zip((0..n_arguments).skip(n_arguments.saturating_sub(names.len())))
            .map(|(name, input)| (*name, input))
            .collect();
        named.sort_unstable();
        let is_name = |name: &str| {
            let mut letters = name.chars();
            let begins = |letter: char| letter.is_alphabetic() || letter == '_';
            letters.next().is_some_and(begins)
                && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
        };
        let are_distinct = named.is_sorted_by(|one, next| one.0 < next.0);
        if named.len() != names.len() || !are_distinct || !names.iter().all(|name| is_name(name)) {
            let message = format!(
                "wanted different names of keyword arguments, not more than {n_arguments} arrays, got {names:?}"
            );
            return Err(mlx::Error::op("exporter", message).into());
        }
        let first = n_arguments - named.len();
        let keys = n_arguments..graph.inputs.len();
        let last = named.iter().map(|(_, input)| *input);
        Ok(Self {
            order: (0..first).chain(keys).chain(last).collect(),
            names: named.iter().map(|(name, _)| (*name).to_owned()).collect(),
            graph,
        })
    }

    /// The types of the inputs in the order of the file.
    fn types(&self) -> Vec<ArrayType> {
        let types = self.graph.input_types();
        self.order.iter().map(|&at| types[at].clone()).collect()
    }
}

fn write(signatures: &[Signature], path: &Path) -> Result<()> {
    let mut executors = Vec::new();
    // Each captured array is written once; while it is held, no other has its number.
    let mut copies: Vec<(Option<usize>, Array, Array)> = Vec::new();
    let mut inputs: Vec<Vec<Array>> = Vec::new();
    for signature in signatures {
        if let Some(name) = not_of_mlx(&signature.graph) {
            return Err(Error::Unsupported(format!(
                "export_function: wanted operations that a file of MLX's can hold, got {name}"
            )));
        }
        // MLX writes the memory of a constant as it is, whatever its strides.
        let graph = signature.graph.map_captured(&mut |array| {
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
        let types = signature.types().into_iter();
        let zeros = types.map(|input| zeros_with(input.shape, input.dtype));
        inputs.push(zeros.collect());
        executors.push((signature.order.clone(), Executor::without_kernels(graph)?));
    }
    let function = move |call: usize, inputs: &[Array]| {
        let (order, executor) = &executors[call];
        let mut of_graph: Vec<&Array> = inputs.iter().collect();
        for (&at, input) in order.iter().zip(inputs) {
            of_graph[at] = input;
        }
        executor.run(&of_graph)
    };
    let calls: Vec<ExportedCall<'_>> = inputs
        .iter()
        .zip(signatures)
        .map(|(inputs, signature)| ExportedCall {
            inputs: inputs.iter().collect(),
            names: signature.names.clone(),
        })
        .collect();
    compiler_api::export_function(path, function, &calls, false)?;
    Ok(())
}

/// Functions of several combinations of types that are written to one file of MLX's: Python's `mx.exporter`.
///
/// An array that several of them have captured is written once.
#[derive(Debug)]
pub struct FunctionExporter {
    path: PathBuf,
    signatures: Vec<Result<Signature>>,
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
        signatures: Vec::new(),
    }
}

impl FunctionExporter {
    /// Adds a function for its types.
    #[must_use]
    pub fn with<Output: Tree>(mut self, function: &Lowered<Output>) -> Self {
        let signature = Signature::without_names(function.shared_graph());
        self.signatures.push(Ok(signature));
        self
    }

    /// Adds a function for its types, whose last arrays are keyword arguments with these names.
    ///
    /// Arrays are in the order of the arguments, those of a structure in the order of its fields. A function that draws random
    /// numbers takes its keys in front of the keyword arguments. A name that is empty, no identifier or there twice is an error of
    /// [`close`](Self::close).
    ///
    /// ```
    /// use mlx::{Array, array};
    /// use mlx_compiler::{exporter, import_function, jit};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("linear.mlxfn");
    /// let linear = jit(|x: &Array, weight: &Array, bias: &Array| x.matmul(weight) + bias);
    /// let (x, weight, bias) = (array!([[1.0, 2.0]]), array!([[3.0], [4.0]]), array!([5.0]));
    /// let lowered = linear.lower((&x, &weight, &bias))?;
    /// exporter(&path).with_keywords(&lowered, &["weight", "bias"]).close()?;
    /// let linear = import_function(&path)?;
    /// let y = linear.call_with(&[&x], &[("bias", &bias), ("weight", &weight)])?;
    /// assert_eq!(y[0].item::<f32>()?, 16.0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_keywords<Output: Tree>(
        mut self,
        function: &Lowered<Output>,
        names: &[&str],
    ) -> Self {
        let graph = function.shared_graph();
        let signature = Signature::with_names(graph, function.n_keys(), names);
        self.signatures.push(signature);
        self
    }

    /// Writes the file.
    ///
    /// # Errors
    /// As [`Lowered::export`], when names of keyword arguments are wrong, when two of the functions have the same types and names,
    /// or there is none.
    pub fn close(self) -> Result<()> {
        let signatures: Vec<Signature> = self.signatures.into_iter().collect::<Result<_>>()?;
        let types: Vec<(Vec<ArrayType>, &[String])> = signatures
            .iter()
            .map(|signature| (signature.types(), signature.names.as_slice()))
            .collect();
        let is_twice = |at: usize| types[..at].contains(&types[at]);
        if types.is_empty() || (0..types.len()).any(is_twice) {
            let message = format!("wanted functions of different types, got {}", types.len());
            return Err(mlx::Error::op("exporter", message).into());
        }
        write(&signatures, &self.path)
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
