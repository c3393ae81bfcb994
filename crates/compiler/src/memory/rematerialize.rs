//! Rematerialization: cheap operations that run again where their results are needed late, so that the peak is lower.

use std::collections::{HashMap, HashSet};

use mlx::Op;

use super::{Analysis, Mode};
use crate::Result;
use crate::graph::{
    Graph, GraphRewriter, Node, NodeId, Operation, Value, ValueOrigin, element_count,
};

/// How often a graph is changed at most.
const ROUNDS: usize = 64;
/// How many values are tried in a round at most.
const TRIED: usize = 8;
/// How many operations in a row run again at most.
const LONGEST: usize = 8;

/// What rematerialization did, and what it costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rematerialization {
    /// The peak without it.
    pub peak_before: usize,
    /// The peak with it.
    pub peak_after: usize,
    /// How many operations run again.
    pub operations: usize,
    /// How many bytes they write again.
    pub bytes: usize,
}

/// Runs cheap operations again where that lowers the peak, until it is at most `limit`.
///
/// Returns the graph as it came when nothing helps.
pub(crate) fn rematerialize(
    graph: Graph,
    limit: usize,
    is_shapeless: bool,
) -> Result<(Graph, Rematerialization)> {
    let mut current = graph;
    let mode = match is_shapeless {
        true => Mode::ForAllSizes,
        false => Mode::Interpreted,
    };
    let before = match is_shapeless {
        true => mode,
        false => Mode::Replayed,
    };
    let peak_before = Level::of(&Analysis::of(&current, before)?).peak;
    let mut level = Level::of(&Analysis::of(&current, mode)?);
    let mut done = Rematerialization {
        peak_before,
        peak_after: peak_before,
        operations: 0,
        bytes: 0,
    };
    let mut kept = (current.clone(), done.clone());
    if peak_before <= limit {
        return Ok(kept);
    }
    for _ in 0..ROUNDS {
        if level.peak <= limit {
            break;
        }
        let mut better = None;
        for change in candidates(&Analysis::of(&current, mode)?) {
            let Some(next) = change.apply(&current) else {
                continue;
            };
            let reached = Level::of(&Analysis::of(&next, mode)?);
            if reached < level {
                better = Some((next, reached, change));
                break;
            }
        }
        let Some((next, reached, change)) = better else {
            break;
        };
        done.peak_after = reached.peak;
        done.operations += change.operations(&current);
        done.bytes += change.bytes(&current);
        current = next;
        if reached.peak < level.peak && reached.peak < peak_before {
            kept = (current.clone(), done.clone());
        }
        level = reached;
    }
    Ok(kept)
}

/// How much memory a graph needs: at its worst moment, and how many moments are as bad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Level {
    peak: usize,
    moments: usize,
}

impl Level {
    fn of(analysis: &Analysis<'_>) -> Self {
        let worst = analysis.seen.peak;
        let moments = analysis.seen.moments.iter();
        Self {
            peak: analysis.held + worst,
            moments: moments.filter(|moment| moment.bytes == worst).count(),
        }
    }
}

/// Nodes that run a second time, for those that need them late.
struct Change {
    again: Vec<NodeId>,
    late: HashSet<NodeId>,
}

/// Changes that may lower the peak, those of large values first.
fn candidates(analysis: &Analysis<'_>) -> Vec<Change> {
    let graph = analysis.graph;
    let mut positions: HashMap<usize, usize> = HashMap::new();
    for (position, moment) in analysis.seen.moments.iter().enumerate() {
        if let Some(node) = moment.node {
            positions.entry(node).or_insert(position);
        }
    }
    let worst = analysis.seen.worst;
    let is_late = |id: &NodeId| positions.get(&id.index()).is_some_and(|at| *at > worst);
    let users = graph.consumers();
    let live: HashSet<usize> = analysis
        .seen
        .at_peak
        .iter()
        .filter_map(|live| live.node)
        .collect();
    let mut values: Vec<_> = analysis.seen.at_peak.iter().collect();
    values.sort_by_key(|live| std::cmp::Reverse(live.bytes));
    let mut changes = Vec::new();
    for node in values.into_iter().filter_map(|live| live.node) {
        let id = NodeId(u32::try_from(node).unwrap_or(u32::MAX));
        if !is_cheap(graph.node(id)) {
            continue;
        }
        if let Some(change) = change(graph, &users, id, &live, &is_late) {
            changes.push(change);
        }
        if changes.len() == TRIED {
            break;
        }
    }
    changes
}

/// The change that lets a node run again for its late users: with the views of it that they read, and with what it needs that is
/// cheap and not in memory anyway.
fn change(
    graph: &Graph,
    users: &[Vec<NodeId>],
    id: NodeId,
    live: &HashSet<usize>,
    is_late: &dyn Fn(&NodeId) -> bool,
) -> Option<Change> {
    let (mut again, mut late) = (vec![id], HashSet::new());
    let mut open: Vec<Value> = graph.node(id).outputs.clone();
    let mut is_used_before = false;
    while let Some(value) = open.pop() {
        if graph.outputs.contains(&value) {
            return None;
        }
        for user in &users[value.index()] {
            let node = graph.node(*user);
            let is_view = node.operation.op().is_some_and(Op::is_view);
            if is_view && !again.contains(user) {
                again.push(*user);
                open.extend(&node.outputs);
            } else if is_late(user) {
                late.insert(*user);
            } else if !is_view {
                is_used_before = true;
            }
        }
    }
    if late.is_empty() || !is_used_before {
        return None;
    }
    let mut needed: Vec<Value> = graph.node(id).inputs.clone();
    while let Some(value) = needed.pop() {
        if let ValueOrigin::Node(from, _) = graph.origin(value)
            && again.len() < LONGEST
            && !live.contains(&from.index())
            && !again.contains(from)
            && is_cheap(graph.node(*from))
        {
            again.push(*from);
            needed.extend(&graph.node(*from).inputs);
        }
    }
    again.sort_unstable();
    Some(Change { again, late })
}

/// Whether a node costs about as much as reading its inputs.
fn is_cheap(node: &Node) -> bool {
    let is_cheap_op = |op: &Op| {
        op.is_elementwise()
            || op.is_view()
            || matches!(
                op,
                Op::BroadcastTo { .. }
                    | Op::Astype { .. }
                    | Op::RmsNorm { .. }
                    | Op::LayerNorm { .. }
                    | Op::Silu
                    | Op::Gelu
                    | Op::GeluApprox
                    | Op::SwiGlu
            )
    };
    match &node.operation {
        Operation::Op(op) => is_cheap_op(op),
        Operation::FusedGroup(body) => {
            let ops = body.nodes.iter().map(|node| node.operation.op());
            ops.into_iter().all(|op| op.is_some_and(is_cheap_op))
        }
        _ => false,
    }
}

impl Change {
    /// The graph with the nodes once more, before the first late user.
    fn apply(&self, graph: &Graph) -> Option<Graph> {
        let mut next = Graph::new(graph.name());
        let mut rewriter = GraphRewriter::new(graph);
        rewriter.copy_inputs(&mut next);
        let mut copies: HashMap<Value, Value> = HashMap::new();
        for (number, node) in graph.nodes.iter().enumerate() {
            let id = NodeId(u32::try_from(number).ok()?);
            if !self.late.contains(&id) {
                rewriter.copy_node(&mut next, node)?;
                continue;
            }
            if copies.is_empty() {
                copies = self.copies(graph, &mut rewriter, &mut next)?;
            }
            let mut originals = Vec::new();
            for input in node
                .inputs
                .iter()
                .filter(|input| copies.contains_key(input))
            {
                originals.push((*input, rewriter.lookup(&mut next, *input)?));
                rewriter.map(*input, copies[input]);
            }
            rewriter.copy_node(&mut next, node)?;
            for (old, new) in originals {
                rewriter.map(old, new);
            }
        }
        rewriter.copy_outputs(&mut next)?;
        Some(next)
    }

    /// Copies the nodes and returns what their results became.
    fn copies(
        &self,
        graph: &Graph,
        rewriter: &mut GraphRewriter<'_>,
        next: &mut Graph,
    ) -> Option<HashMap<Value, Value>> {
        let mut copies = HashMap::new();
        let mut originals = Vec::new();
        for id in &self.again {
            let node = graph.node(*id);
            for output in &node.outputs {
                originals.push((*output, rewriter.lookup(next, *output)));
            }
            rewriter.copy_node(next, node)?;
            for output in &node.outputs {
                copies.insert(*output, rewriter.lookup(next, *output)?);
            }
        }
        for (old, new) in originals {
            if let Some(new) = new {
                rewriter.map(old, new);
            }
        }
        Some(copies)
    }

    fn operations(&self, graph: &Graph) -> usize {
        let works = |id: &&NodeId| !graph.node(**id).operation.op().is_some_and(Op::is_view);
        self.again.iter().filter(works).count()
    }

    fn bytes(&self, graph: &Graph) -> usize {
        let nodes = self.again.iter().map(|id| graph.node(*id));
        let written = nodes.filter(|node| !node.operation.op().is_some_and(Op::is_view));
        let outputs = written.flat_map(|node| &node.outputs).map(|output| {
            let array_type = graph.array_type(*output);
            element_count(&array_type.shape) * array_type.dtype.size()
        });
        outputs.sum()
    }
}
