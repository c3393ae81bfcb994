//! How a lowered graph runs: as one function that MLX replays, or node by node where control flow reads values.

use std::rc::Rc;

use mlx::Array;
use mlx::compiler_api::CompiledClosure;

use super::Executor;
use crate::graph::{Graph, Operation};
use crate::{CompileOptions, Result};

/// A graph that is ready to be called.
pub(crate) enum Executable {
    /// MLX keeps the list of its primitives and makes new arrays from it for each call.
    Replayed(CompiledClosure),
    /// The graph is interpreted node by node: values are read in between, or sizes differ from call to call.
    Interpreted(Rc<Executor>),
}

impl Executable {
    pub(crate) fn new(graph: Graph, options: &CompileOptions, is_replayed: bool) -> Result<Self> {
        let is_interpreted = !is_replayed || options.shapeless || reads_values(&graph);
        let executor = if options.shapeless {
            Executor::for_all_sizes(graph)?
        } else {
            Executor::new(graph)?
        };
        let executor = Rc::new(executor);
        if is_interpreted {
            return Ok(Executable::Interpreted(executor));
        }
        let function = move |inputs: &[Array]| executor.run(&inputs.iter().collect::<Vec<_>>());
        Ok(Executable::Replayed(CompiledClosure::new(function)?))
    }

    /// What runs on CUDA, in words, where that is not MLX's replay.
    pub(crate) fn program_report(&self) -> Option<String> {
        match self {
            Executable::Replayed(function) => function.program_report().ok().flatten(),
            Executable::Interpreted(_) => None,
        }
    }

    #[track_caller]
    pub(crate) fn call(&self, inputs: &[&Array]) -> mlx::Result<Vec<Array>> {
        match self {
            Executable::Replayed(function) => function.call(inputs),
            Executable::Interpreted(executor) => {
                mlx::compiler_api::without_recording(|| executor.run(inputs))
            }
        }
    }
}

/// Whether running the graph reads values of arrays.
pub(crate) fn reads_values(graph: &Graph) -> bool {
    graph.nodes.iter().any(|node| match &node.operation {
        Operation::Cond { .. } | Operation::While { .. } | Operation::Scan { .. } => true,
        operation => operation
            .graphs()
            .iter()
            .any(|(_, graph)| reads_values(graph)),
    })
}
