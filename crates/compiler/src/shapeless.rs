//! Which functions can be compiled once for all sizes: those that read no size as a number.
//!
//! A function that reads none applies the same operations with the same attributes whatever the sizes are, but for attributes that
//! are made of [`mlx::Size`]s, which the graph has as terms, and for branches on comparisons of such, which it has as guards.

use mlx::Op;
use mlx::compiler_api::OpFlags;
use mlx::transforms::Transform;

use crate::graph::{Graph, Operation};
use crate::trace::SizeRead;
use crate::{Error, Result};

/// Refuses a traced function that read a size as a number, or whose operations cannot be applied again to other sizes.
pub(crate) fn check(graph: &Graph, size_read: Option<SizeRead>) -> Result<()> {
    if let Some(SizeRead { op, at }) = size_read {
        return Err(Error::Shapeless(format!(
            "wanted a function that asks for no sizes, got {op} at {}:{}, whose answer would be frozen; `flatten` and \
             `unflatten`, or `axis_size` in the place of `dim` and `sizes` in that of `shape`, hold for all",
            at.file(),
            at.line()
        )));
    }
    // Attributes are those of the program, and so is the code of custom kernels, whose types follow from their inputs.
    check_nodes(graph, &|_| false)
}

/// Refuses a graph of which it is not known where its attributes come from, and that has some which may be sizes.
pub(crate) fn check_untraced(graph: &Graph) -> Result<()> {
    check_nodes(graph, &|op| op.flags().contains(OpFlags::FIXED_SIZES))
}

/// Whether a graph holds for other sizes only as it was traced: passes would take its attributes for those of all sizes.
pub(crate) fn is_kept_as_traced(graph: &Graph) -> bool {
    let has_fixed = |operation: &Operation| {
        let op = operation.op();
        op.is_some_and(|op| op.flags().contains(OpFlags::FIXED_SIZES))
    };
    !graph.sizes.is_empty()
        || graph.nodes.iter().any(|node| {
            let inner = node.operation.graphs();
            has_fixed(&node.operation) || inner.iter().any(|(_, graph)| is_kept_as_traced(graph))
        })
}

/// Whether a graph, or one inside, has guards.
pub(crate) fn has_guards(graph: &Graph) -> bool {
    !graph.sizes.guards.is_empty()
        || graph.nodes.iter().any(|node| {
            let inner = node.operation.graphs();
            inner.iter().any(|(_, graph)| has_guards(graph))
        })
}

fn check_nodes(graph: &Graph, is_fixed: &dyn Fn(&Op) -> bool) -> Result<()> {
    for node in &graph.nodes {
        let inner = node.operation.graphs();
        inner
            .iter()
            .try_for_each(|(_, graph)| check_nodes(graph, is_fixed))?;
        let is_frozen = match &node.operation {
            Operation::Op(op) => is_fixed(op),
            Operation::Fused(_) | Operation::FusedGroup(_) => false,
            // Their functions are transformed at the sizes of each call. A rule for `vmap` is not in the graph.
            Operation::Transform { transform, .. } => !matches!(
                transform,
                Transform::ValueAndGrad { .. }
                    | Transform::Vjp { .. }
                    | Transform::Jvp
                    | Transform::Checkpoint
                    | Transform::CustomFunction { vmap: None, .. }
            ),
            _ => true,
        };
        if is_frozen {
            return Err(Error::Shapeless(format!(
                "wanted operations that hold for all sizes, got {} at {}, into which a size is frozen",
                node.operation.name(),
                node.site
            )));
        }
    }
    Ok(())
}
