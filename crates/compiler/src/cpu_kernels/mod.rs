//! Groups of operations as host kernels on the CPU: elementwise ones in one pass, others as a program.
//!
//! [`kernel`] makes an operation of MLX of a group's body: the kernel runs on the CPU, the body is replayed for gradients,
//! `vmap` and other devices.

mod elementwise;
pub(crate) mod program;
mod serialized_graph;

use mlx::SharedArray;
use mlx::fast::HostKernel;

use crate::graph::{Constant, Graph, Value};

pub(crate) use elementwise::supports;
pub(crate) use mlx::cpu::are_kernels_enabled;

/// A kernel, and how many of its group's inputs it is applied to: the others, at the end, it has.
pub(crate) struct GroupKernel {
    pub(crate) kernel: HostKernel,
    pub(crate) n_inputs: usize,
}

/// Makes a host kernel of a group's body: one elementwise kernel where it can be, a program otherwise.
///
/// The node's `inputs` are asked for at the end for arrays that are the same in all runs.
pub(crate) fn kernel(graph: &Graph, inputs: &[Value], body: &Graph) -> Option<GroupKernel> {
    // An elementwise kernel has one shape throughout.
    let mut shapes = body
        .nodes
        .iter()
        .flat_map(|node| &node.outputs)
        .map(|output| &body.array_type(*output).shape);
    let is_uniform = shapes
        .next()
        .is_some_and(|first| shapes.all(|shape| shape == first));
    if let Some(kernel) = is_uniform.then(|| elementwise::kernel(body)).flatten() {
        return Some(GroupKernel {
            kernel,
            n_inputs: inputs.len(),
        });
    }
    let constants = inputs
        .iter()
        .rev()
        .map_while(|input| match graph.constant(*input) {
            Some(Constant::Array(array)) => array.share().ok(),
            _ => None,
        });
    let mut captured: Vec<SharedArray> = constants.collect();
    captured.reverse();
    let n_inputs = inputs.len() - captured.len();
    let kernel = program::kernel(body, captured).ok()?;
    Some(GroupKernel { kernel, n_inputs })
}

#[cfg(test)]
mod tests;
