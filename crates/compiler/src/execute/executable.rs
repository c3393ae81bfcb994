//! How a lowered graph runs: as one function that MLX replays, or node by node where control flow reads values.

use std::rc::Rc;

use mlx::{Array, CompiledClosure};

use super::Plan;
use crate::graph::{Graph, Operation};
use crate::{CompileOptions, Result};

/// A graph that is ready to be called.
pub(crate) enum Executable {
    /// MLX keeps the list of its primitives and makes new arrays from it for each call.
    Replayed(CompiledClosure),
    /// Each node is bound anew: values are read in between, or sizes differ from call to call.
    Bound(Rc<Plan>),
}

impl Executable {
    pub(crate) fn new(graph: Graph, options: &CompileOptions) -> Result<Self> {
        let bound = options.shapeless || reads_values(&graph);
        let plan = if options.shapeless {
            Plan::for_all_sizes(graph)?
        } else {
            Plan::new(graph)?
        };
        let plan = Rc::new(plan);
        if bound {
            return Ok(Executable::Bound(plan));
        }
        let function = move |inputs: &[Array]| plan.run(&inputs.iter().collect::<Vec<_>>());
        Ok(Executable::Replayed(CompiledClosure::new(function, false)?))
    }

    #[track_caller]
    pub(crate) fn call(&self, inputs: &[&Array]) -> mlx::Result<Vec<Array>> {
        match self {
            Executable::Replayed(function) => function.call(inputs),
            Executable::Bound(plan) => mlx::trace::without_recording(|| plan.run(inputs)),
        }
    }
}

/// Whether running the graph reads values of arrays.
fn reads_values(graph: &Graph) -> bool {
    graph.nodes.iter().any(|node| match &node.operation {
        Operation::Cond { .. } | Operation::While { .. } | Operation::Scan { .. } => true,
        operation => operation
            .graphs()
            .iter()
            .any(|(_, graph)| reads_values(graph)),
    })
}
