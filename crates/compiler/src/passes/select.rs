//! Choice of kernels: each recognized formula becomes its kernel where the device has one, else its body.

use mlx::compiler_api::OpFlags;
use mlx::fast::{self, Backend};
use mlx::{Array, bind, zeros_with};

use super::{Context, map_subgraphs, undefined_value};
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::{Fused, Graph, GraphRewriter, Operation};
use crate::{Fallback, Result};

pub(super) fn run(graph: &Graph, context: &mut Context<'_>) -> Result<Graph> {
    let mut next = Graph::new(&graph.name);
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    for node in &graph.nodes {
        let Operation::Fused(fused) = &node.operation else {
            let mut node = node.clone();
            node.operation = map_subgraphs(&node.operation, context, run)?;
            rewriter
                .copy_node(&mut next, &node)
                .ok_or_else(|| undefined_value("select"))?;
            continue;
        };
        let refusal = refusal(fused, context.options.fallback);
        if context.options.shapeless && refusal.is_none() {
            // Which form is right for sizes that broadcast is seen when it runs.
            context.report.set_choice(fused, refusal);
            rewriter
                .copy_node(&mut next, node)
                .ok_or_else(|| undefined_value("select"))?;
            continue;
        }
        let chosen = if refusal.is_some() {
            &fused.body
        } else {
            &fused.kernel
        };
        context.report.set_choice(fused, refusal);
        let inputs = rewriter
            .lookup_all(&mut next, &node.inputs)
            .ok_or_else(|| undefined_value("select"))?;
        let mut inner = GraphRewriter::new(chosen);
        let outputs = inner
            .inline(&mut next, &inputs)
            .ok_or_else(|| undefined_value("select"))?;
        for (old, new) in node.outputs.iter().zip(outputs) {
            rewriter.map(*old, new);
        }
    }
    rewriter
        .copy_outputs(&mut next)
        .ok_or_else(|| undefined_value("select"))?;
    Ok(next)
}

/// Why the body runs, if it does.
fn refusal(fused: &Fused, fallback: Fallback) -> Option<Refusal> {
    match fallback {
        Fallback::Always => Some(Refusal::new(RefusalKind::Asked, "Fallback::Always")),
        Fallback::Never => None,
        Fallback::Auto => missing_kernel(&fused.kernel),
    }
}

/// Asks MLX which path the fused operations of a kernel take on this device. Nothing runs.
fn missing_kernel(kernel: &Graph) -> Option<Refusal> {
    mlx::compiler_api::without_recording(|| {
        kernel.nodes.iter().find_map(|node| {
            let op = node.operation.op()?;
            if !op.flags().contains(OpFlags::FUSED) {
                return None;
            };
            let inputs: Vec<Array> = node
                .inputs
                .iter()
                .map(|input| {
                    let array_type = kernel.array_type(*input);
                    zeros_with(array_type.shape.clone(), array_type.dtype)
                })
                .collect();
            let result = bind(op.clone(), &inputs.iter().collect::<Vec<_>>());
            match fast::backend(&result) {
                Ok(Backend::Composed) => {
                    let types: Vec<String> = node
                        .inputs
                        .iter()
                        .map(|v| kernel.array_type(*v).to_string())
                        .collect();
                    let device = mlx::Device::current()
                        .map_or_else(|_| "this device".to_owned(), |d| d.to_string());
                    let reason = format!(
                        "no {} kernel on {device} for {}",
                        op.name(),
                        types.join(", ")
                    );
                    Some(Refusal::new(RefusalKind::NoKernel, reason))
                }
                Ok(_) => None,
                Err(error) => Some(Refusal::new(RefusalKind::NoKernel, error.to_string())),
            }
        })
    })
}
