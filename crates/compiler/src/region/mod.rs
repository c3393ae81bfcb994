//! Elementwise regions on the CPU: the body of a region as one host kernel.
//!
//! [`translate`] makes a program of `mlx_kernels` from a body, if every operation in it has a step and every dtype a form;
//! [`kernel`] makes an operation of MLX of both: the program runs on the CPU, the body is replayed for gradients, `vmap`
//! and other devices.

mod kernel;
pub(crate) mod sequence;
mod translate;

use mlx::SharedArray;
use mlx::fast::HostKernel;

use crate::graph::{Constant, Graph, Value};

pub(crate) use mlx::cpu::are_kernels_enabled;
pub(crate) use translate::supports;

/// A kernel, and how many of its region's inputs it is applied to: the others, at the end, it has.
pub(crate) struct RegionKernel {
    pub(crate) kernel: HostKernel,
    pub(crate) n_inputs: usize,
}

/// Makes a host kernel of a region's body: one program where all is elementwise, steps one after the other otherwise.
///
/// The node's `inputs` are asked for at the end for arrays that are the same in all runs.
pub(crate) fn kernel(graph: &Graph, inputs: &[Value], body: &Graph) -> Option<RegionKernel> {
    // A program has one shape throughout.
    let mut shapes = body
        .nodes
        .iter()
        .flat_map(|node| &node.outputs)
        .map(|output| &body.array_type(*output).shape);
    let is_uniform = shapes
        .next()
        .is_some_and(|first| shapes.all(|shape| shape == first));
    if let Some(kernel) = is_uniform.then(|| kernel::kernel(body)).flatten() {
        return Some(RegionKernel {
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
    let kernel = sequence::kernel(body, captured).ok()?;
    Some(RegionKernel { kernel, n_inputs })
}

#[cfg(test)]
mod tests;
