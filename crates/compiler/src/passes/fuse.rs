//! Fusions: formulas that are proven to be what a kernel computes become one node that holds both.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use mlx::Array;

use super::{Context, contract, map_subgraphs, undefined_value};
use crate::fusions::{Match, Matcher, Refusal, RefusalKind};
use crate::graph::{
    Fused, Fusion, Graph, GraphRewriter, NodeId, Operation, SourceLocation, Value, ValueOrigin,
    extract_subgraph, nodes_between,
};
use crate::report::{AppliedFusion, RejectedFusion};
use crate::trace::record;
use crate::{Error, Result};

pub(super) fn run(graph: &Graph, context: &mut Context<'_>) -> Result<Graph> {
    if context.options.shapeless {
        // A product that is rewritten may freeze sizes.
        let found = FusionSearch::all(graph, context);
        report_refused(&found, context);
        return rebuild(graph, &found.sites, context);
    }
    let mut rewritten = contract::rewrite(graph, None)?;
    let mut found = FusionSearch::all(&rewritten.graph, context);
    report_refused(&found, context);
    // A product around which no formula was found stays as it was written.
    loop {
        let is_claimed = |range: &std::ops::Range<u32>| {
            range.clone().any(|id| found.claimed.contains(&NodeId(id)))
        };
        let used: BTreeSet<NodeId> = rewritten
            .products
            .iter()
            .filter(|(_, range)| is_claimed(range))
            .map(|(id, _)| *id)
            .collect();
        if used.len() == rewritten.products.len() {
            return rebuild(&rewritten.graph, &found.sites, context);
        }
        rewritten = contract::rewrite(graph, Some(&used))?;
        found = FusionSearch::all(&rewritten.graph, context);
    }
}

/// Adds what was rejected to the report, except nodes that are part of an applied fusion.
fn report_refused(found: &FusionSearch, context: &mut Context<'_>) {
    for (id, refused) in &found.refused {
        if !found.claimed.contains(id) {
            context.report.add_rejected(refused.clone());
        }
    }
}

/// A formula that was matched at a node.
struct FusedSite {
    fusion: Fusion,
    inputs: Vec<Value>,
    output: Value,
    fused: Rc<Fused>,
    site: SourceLocation,
}

#[derive(Default)]
struct FusionSearch {
    /// Formulas by the node that gives their result.
    sites: HashMap<NodeId, FusedSite>,
    /// Nodes that are part of a formula that was found.
    claimed: BTreeSet<NodeId>,
    refused: Vec<(NodeId, RejectedFusion)>,
}

impl FusionSearch {
    /// Tries all fusions that are asked for, in their order.
    fn all(graph: &Graph, context: &Context<'_>) -> Self {
        let mut found = Self::default();
        let matcher = Matcher::new(graph, context.options.shapeless);
        for fusion in Fusion::ALL {
            if context.options.fusions.contains(&fusion) {
                found.search(fusion, &matcher);
            }
        }
        found
    }

    /// Tries one fusion at every node.
    fn search(&mut self, fusion: Fusion, matcher: &Matcher<'_>) {
        for (id, node) in (0..).map(NodeId).zip(matcher.graph.nodes()) {
            if self.claimed.contains(&id) || node.site.device.is_some() {
                continue;
            }
            let Some(&[output]) = node.outputs.first_chunk() else {
                continue;
            };
            let outcome = fusion
                .match_at(matcher, output)
                .map(|found| found.and_then(|found| self.accept(fusion, matcher, found)));
            if let Some(Err(refusal)) = outcome {
                let refused = RejectedFusion {
                    fusion,
                    site: node.site,
                    refusal,
                };
                self.refused.push((id, refused));
            }
        }
    }

    /// Accepts a match unless something outside of it uses an intermediate value.
    fn accept(
        &mut self,
        fusion: Fusion,
        matcher: &Matcher<'_>,
        found: Match,
    ) -> std::result::Result<(), Refusal> {
        let graph = matcher.graph;
        let nodes = nodes_between(graph, &found.inputs, &[found.output]);
        // Nodes that only prepare what depends on no data (tables of angles, masks) are shared freely.
        let inner: BTreeSet<NodeId> = nodes
            .iter()
            .copied()
            .filter(|id| {
                let outputs = &graph.node(*id).outputs;
                outputs
                    .iter()
                    .any(|v| !matcher.is_constant(*v) && !found.shared.contains(v))
            })
            .collect();
        if inner.iter().any(|id| self.claimed.contains(id)) {
            // Part of it is something else already.
            return Ok(());
        }
        if nodes.iter().any(|id| graph.node(*id).site.device.is_some()) {
            // The program asked for another device somewhere in between.
            return Ok(());
        }
        check_private(matcher, &inner, found.output)?;
        let ValueOrigin::Node(root, _) = graph.origin(found.output) else {
            return Ok(());
        };
        let Some(body) = extract_subgraph(graph, &found.inputs, &[found.output]) else {
            return Ok(());
        };
        let kernel = kernel(graph, &found, &body)
            .map_err(|error| Refusal::new(RefusalKind::Shape, error.to_string()))?;
        self.claimed.extend(inner);
        let fused = Fused {
            fusion,
            body,
            kernel,
        };
        self.sites.insert(
            *root,
            FusedSite {
                fusion,
                site: graph.node(*root).site,
                inputs: found.inputs,
                output: found.output,
                fused: Rc::new(fused),
            },
        );
        Ok(())
    }
}

/// Refuses a formula of which an intermediate value is used or returned elsewhere.
fn check_private(
    matcher: &Matcher<'_>,
    inner: &BTreeSet<NodeId>,
    output: Value,
) -> std::result::Result<(), Refusal> {
    for id in inner {
        let node = matcher.graph.node(*id);
        for value in &node.outputs {
            if *value == output || matcher.is_constant(*value) {
                continue;
            }
            let name = node.operation.name();
            if matcher.is_output(*value) {
                let reason = format!("the result of {name} at {} is also returned", node.site);
                return Err(Refusal::new(RefusalKind::Output, reason));
            }
            if let Some(user) = matcher
                .consumers(*value)
                .iter()
                .find(|user| !inner.contains(user))
            {
                let user = matcher.graph.node(*user);
                let reason = format!(
                    "the result of {name} at {} is also used by {} at {}",
                    node.site,
                    user.operation.name(),
                    user.site
                );
                return Err(Refusal::new(RefusalKind::Reused, reason));
            }
        }
    }
    Ok(())
}

/// Traces the fused form on the types of the formula's inputs.
fn kernel(graph: &Graph, found: &Match, body: &Graph) -> Result<Graph> {
    let types: Vec<_> = found
        .inputs
        .iter()
        .map(|v| graph.array_type(*v).clone())
        .collect();
    let wanted = graph.array_type(found.output).clone();
    let recorded = record("kernel", &types, |inputs| {
        let result: Array = (found.kernel)(inputs).checked()?;
        let got = mlx::compiler_api::type_of(&result)?;
        if got.shape != wanted.shape {
            return Err(Error::Unsupported(format!(
                "the kernel would give {got} for {wanted}"
            )));
        }
        Ok((vec![result.astype(wanted.dtype)], ()))
    })?;
    debug_assert_eq!(recorded.graph.input_types(), body.input_types());
    let mut kernel = recorded.graph;
    kernel.name = "kernel".to_owned();
    Ok(super::canonicalized(&kernel))
}

fn rebuild(
    graph: &Graph,
    sites: &HashMap<NodeId, FusedSite>,
    context: &mut Context<'_>,
) -> Result<Graph> {
    let mut next = Graph::new(&graph.name);
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    for (id, node) in (0..).map(NodeId).zip(&graph.nodes) {
        let Some(found) = sites.get(&id) else {
            let mut node = node.clone();
            node.operation = map_subgraphs(&node.operation, context, run)?;
            rewriter
                .copy_node(&mut next, &node)
                .ok_or_else(|| undefined_value("fuse"))?;
            continue;
        };
        let inputs = rewriter.lookup_all(&mut next, &found.inputs);
        let types = vec![graph.array_type(found.output).clone()];
        let operation = Operation::Fused(Rc::clone(&found.fused));
        let inputs = inputs.ok_or_else(|| undefined_value("fuse"))?;
        let output = next.add_node(operation, inputs, types, found.site);
        rewriter.map(found.output, output[0]);
        context
            .report
            .add_applied(AppliedFusion::new(found.fusion, found.site, &found.fused));
    }
    rewriter
        .copy_outputs(&mut next)
        .ok_or_else(|| undefined_value("fuse"))?;
    Ok(next)
}
