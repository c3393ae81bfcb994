//! What a compiled function that is traced once for all sizes does for those of a call.

use std::rc::Rc;

use mlx::{Array, ArrayType, Tree};

use super::{Compiled, Traced, with_keys};
use crate::execute::Executable;
use crate::graph::Graph;
use crate::sharding::TracedNames;
use crate::sizes::retyped;
use crate::{Autotune, Report, Result};

/// What was compiled of a shapeless function for some sizes.
pub(super) struct Specialized {
    pub(super) executable: Executable,
    pub(super) report: Report,
}

impl<Output: Tree> Compiled<Output> {
    pub(super) fn is_kept_as_traced(&self) -> bool {
        self.lowered.is_kept_as_traced()
    }

    /// Returns whether comparisons of sizes come out as in the trace for these inputs, of the right rank and dtype.
    pub(crate) fn holds(&self, inputs: &[&Array]) -> Result<bool> {
        match (&self.sizes, self.is_guarded) {
            (Some(sizes), true) => {
                let keys = self.keys_for_types();
                sizes.holds(&self.lowered.traced, &with_keys(inputs, &keys))
            }
            _ => Ok(true),
        }
    }

    /// Compiles the graph for inputs of these types, without a trace; `None` where an operation refuses the sizes.
    pub(super) fn specialize(
        &self,
        types: &[ArrayType],
        graph: Option<Graph>,
    ) -> Result<Option<Specialized>> {
        let graph = match graph.map_or_else(|| retyped(&self.lowered.traced, types), Ok) {
            Ok(graph) => graph,
            Err(_) => return Ok(None),
        };
        let traced = Traced {
            graph: Rc::new(graph),
            template: Vec::<Array>::new(),
            size_read: None,
            captures_transforming: false,
            n_keys: self.lowered.n_keys,
            names: TracedNames::default(),
            is_sharded: false,
        };
        let mut options = self.lowered.options.clone();
        options.shapeless = false;
        // Nothing is timed in the middle of calls.
        options.autotune = Autotune::Off;
        let compiled = traced.lower(&options)?.compile()?;
        Ok(Some(Specialized {
            report: compiled.lowered.report,
            executable: compiled.executable,
        }))
    }

    /// Returns arrays of the type of keys for the inputs that are keys.
    fn keys_for_types(&self) -> Vec<Array> {
        let key = || mlx::zeros_with([2], mlx::Dtype::Uint32);
        (0..self.lowered.n_keys).map(|_| key()).collect()
    }
}
