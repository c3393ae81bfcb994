//! How a lowered graph runs: node by node, or as one function compiled by MLX.

use mlx::Array;

use crate::CompileOptions;
use crate::Result;
use crate::graph::Graph;
use crate::run::Plan;

/// A graph that is ready to be called.
pub(crate) struct Executable {
    plan: Plan,
}

impl Executable {
    pub(crate) fn new(graph: Graph, _options: &CompileOptions) -> Result<Self> {
        Ok(Self {
            plan: Plan::new(graph)?,
        })
    }

    pub(crate) fn call(&self, inputs: &[&Array]) -> mlx::Result<Vec<Array>> {
        mlx::trace::without_recording(|| self.plan.run(inputs))
    }
}
