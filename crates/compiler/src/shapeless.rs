//! Which functions can be compiled once for all sizes: those whose graph contains no size.

use mlx::compiler_api::OpFlags;
use mlx::transforms::Transform;

use crate::graph::{Graph, Operation};
use crate::trace::SizeRead;
use crate::{Error, Result};

/// Refuses a graph that holds only for the sizes it was traced with.
pub(crate) fn check(graph: &Graph, size_read: Option<SizeRead>) -> Result<()> {
    if let Some(SizeRead { op, at }) = size_read {
        return Err(Error::Shapeless(format!(
            "wanted a function that asks for no sizes, got {op} at {}:{}, whose answer would be frozen",
            at.file(),
            at.line()
        )));
    }
    for node in &graph.nodes {
        let frozen = match &node.operation {
            Operation::Op(op) => op.flags().contains(OpFlags::FIXED_SIZES),
            Operation::Fused(fused) => {
                check(&fused.body, None)?;
                check(&fused.kernel, None)?;
                false
            }
            Operation::FusedGroup(body) => {
                check(body, None)?;
                false
            }
            // Their functions are differentiated at the sizes of each call. A rule for `vmap` is not in the graph.
            Operation::Transform {
                transform:
                    Transform::ValueAndGrad { .. }
                    | Transform::Vjp { .. }
                    | Transform::Jvp
                    | Transform::Checkpoint,
                functions,
                ..
            } => {
                for function in functions {
                    check(function, None)?;
                }
                false
            }
            _ => true,
        };
        if frozen {
            return Err(Error::Shapeless(format!(
                "wanted operations that hold for all sizes, got {} at {}, into which a size is frozen",
                node.operation.name(),
                node.site
            )));
        }
    }
    Ok(())
}
