//! Choice of kernels: each recognized formula becomes its kernel where the device has one, else its body.

use mlx::compiler_api::OpFlags;
use mlx::fast::{self, Backend};
use mlx::{Array, Device, Op, bind, zeros_with};

use super::autotune::{self, Site, site_graph};
use super::{AFTER_SELECT, Context, map_subgraphs, undefined_value};
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::{Fused, Graph, GraphRewriter, Node, Operation};
use crate::{Fallback, Fusion, Result};

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
        let refusal = refusal(fused, context.options.fallback).or_else(|| {
            let is_auto = context.options.fallback == Fallback::Auto;
            is_auto.then(|| joined(graph, node, fused)).flatten()
        });
        if context.options.shapeless && refusal.is_none() {
            // Which form is right for sizes that broadcast is seen when it runs.
            context.report.set_choice(fused, refusal);
            rewriter
                .copy_node(&mut next, node)
                .ok_or_else(|| undefined_value("select"))?;
            continue;
        }
        let refusal = tuned((graph, node), fused, refusal, context);
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

/// Why the body runs, if it does: where forms are timed, because it is faster.
fn tuned(
    (graph, node): (&Graph, &Node),
    fused: &Fused,
    refusal: Option<Refusal>,
    context: &mut Context<'_>,
) -> Option<Refusal> {
    // What a GPU joins with operations beside it cannot be timed by itself.
    let is_joined = |refusal: &Refusal| refusal.kind == RefusalKind::Joined;
    // As it was written, constant packed weights would be unpacked by `fold`, and all of them kept.
    let is_packed = fused.fusion == Fusion::QuantizedLinear;
    let is_asked = context.options.fallback != Fallback::Auto || is_packed;
    if context.tuner.is_none() || is_asked || refusal.as_ref().is_some_and(is_joined) {
        return refusal;
    }
    let form = |form: &Graph| {
        site_graph(graph, &node.inputs, |site, inputs| {
            GraphRewriter::new(form).inline(site, inputs)
        })
    };
    let (Some(kernel), Some(composed)) = (form(&fused.kernel), form(&fused.body)) else {
        return refusal;
    };
    let site = Site {
        what: fused.fusion.name().to_owned(),
        at: node.site,
        forms: vec![("kernel", kernel), ("composed", composed)],
        default: usize::from(refusal.is_some()),
        passes: AFTER_SELECT,
    };
    match (autotune::choose(&site, context), refusal) {
        (0, _) => None,
        (_, Some(refusal)) => Some(refusal),
        (_, None) => {
            let reason = "it is faster as it was written, as was measured";
            Some(Refusal::new(RefusalKind::Autotuned, reason))
        }
    }
}

/// Why the body runs, if it does.
fn refusal(fused: &Fused, fallback: Fallback) -> Option<Refusal> {
    match fallback {
        Fallback::Always => Some(Refusal::new(RefusalKind::Asked, "Fallback::Always")),
        Fallback::Never => None,
        Fallback::Auto => missing_kernel(&fused.kernel),
    }
}

/// Why an activation is left to MLX on a GPU: MLX computes elementwise operations that stand beside each other in one kernel, which
/// a kernel of its own would cut in two.
fn joined(graph: &Graph, node: &Node, fused: &Fused) -> Option<Refusal> {
    let is_activation = |node: &Node| {
        let op = node.operation.op();
        op.is_some_and(|op| matches!(op, Op::Gelu | Op::GeluApprox | Op::Silu | Op::SwiGlu))
    };
    let is_elementwise = |node: &Node| {
        let op = node.operation.op();
        op.is_some_and(|op| op.flags().contains(OpFlags::ELEMENTWISE))
    };
    let is_gpu = Device::current().is_ok_and(|device| device == Device::Gpu);
    if !is_gpu || !fused.kernel.nodes.iter().all(is_activation) {
        return None;
    }
    let mut makers = node
        .inputs
        .iter()
        .filter_map(|value| graph.producer(*value));
    let mut readers = graph.nodes.iter().filter(|reader| {
        reader
            .inputs
            .iter()
            .any(|value| node.outputs.contains(value))
    });
    let neighbor = makers
        .find(|node| is_elementwise(node))
        .or_else(|| readers.find(|node| is_elementwise(node)))?;
    let name = neighbor.operation.op().map_or("an operation", Op::name);
    let reason = format!("MLX computes it together with {name} beside it");
    Some(Refusal::new(RefusalKind::Joined, reason))
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
                    let device = Device::current()
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
