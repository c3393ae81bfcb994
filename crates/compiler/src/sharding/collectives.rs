//! The communications of a rank's graph, read from it.

use mlx::Op;
use mlx::transforms::Transform;

use super::Mesh;
use super::dimensions::mapped;
use super::report::{Collective, CollectiveKind};
use crate::graph::{Graph, Node, Operation};
use crate::{Error, Result};

/// Returns the communications along the axes of a mesh, in running order, those of gradients included.
pub(super) fn collectives(graph: &Graph, mesh: &Mesh) -> Vec<Collective> {
    let mut found = Vec::new();
    let outside = Inside {
        is_gradient: false,
        times: 1,
        in_loop: false,
    };
    collect(graph, mesh, outside, &mut found);
    found
}

/// Refuses a function that communicates along an axis of the mesh already: its ranks do not have one value to split.
pub(super) fn check_groups(graph: &Graph, mesh: &Mesh) -> Result<()> {
    for node in &graph.nodes {
        let group = node.operation.op().and_then(group_of);
        let mut axes = mesh.axes().iter().filter(|axis| axis.size > 1);
        if let Some(axis) = axes.find(|axis| Some(&axis.group) == group.as_ref()) {
            return Err(Error::Unsupported(format!(
                "shard: wanted a function that does not communicate along {:?}, got {} in its group at {}",
                axis.name,
                node.operation.name(),
                node.site
            )));
        }
        for (_, inner) in node.operation.graphs() {
            check_groups(inner, mesh)?;
        }
    }
    Ok(())
}

/// Where a graph is in the one that is read.
#[derive(Clone, Copy)]
struct Inside {
    is_gradient: bool,
    times: u64,
    in_loop: bool,
}

fn collect(graph: &Graph, mesh: &Mesh, inside: Inside, found: &mut Vec<Collective>) {
    for node in &graph.nodes {
        if let Some((kind, group)) = node.operation.op().and_then(kind_of) {
            let axis = mesh.axes().iter().find(|axis| axis.group == group);
            let whole = match kind {
                CollectiveKind::AllGather => node.outputs[0],
                _ => node.inputs[0],
            };
            found.extend(axis.map(|axis| Collective {
                kind,
                axis: axis.name.clone(),
                ranks: axis.size,
                array_type: graph.array_type(whole).clone(),
                site: node.site,
                is_gradient: inside.is_gradient,
                times: inside.times,
                in_loop: inside.in_loop,
            }));
        }
        inner(graph, node, mesh, inside, found);
    }
}

/// Collects what graphs in a node communicate.
fn inner(graph: &Graph, node: &Node, mesh: &Mesh, inside: Inside, found: &mut Vec<Collective>) {
    let mut next = inside;
    match &node.operation {
        Operation::While { .. } => next.in_loop = true,
        Operation::Scan { length, .. } => next.times *= *length as u64,
        // The value and its tangent.
        Operation::Transform {
            transform: Transform::Jvp,
            ..
        } => next.times *= 2,
        _ => {
            let axis = mapped(node).first().copied();
            let size = axis.and_then(|(value, axis)| graph.array_type(value).shape.get(axis));
            next.times *= size.and_then(|size| u64::try_from(*size).ok()).unwrap_or(1);
        }
    }
    // The first function of a rule is what it computes, the others are its gradient.
    let has_rules = matches!(
        &node.operation,
        Operation::Transform {
            transform: Transform::CustomFunction { .. },
            ..
        }
    );
    let mut branches: Vec<Vec<Collective>> = Vec::new();
    for (place, (_, graph)) in node.operation.graphs().into_iter().enumerate() {
        next.is_gradient = inside.is_gradient || has_rules && place > 0;
        let mut all = Vec::new();
        collect(graph, mesh, next, &mut all);
        branches.push(all);
    }
    if let (Operation::Cond { .. }, [a, b]) = (&node.operation, &mut branches[..]) {
        // One of them runs: what the one sends that sends more is counted.
        let bytes = |all: &[Collective]| all.iter().map(Collective::wire_bytes).sum::<u64>();
        let less = if bytes(a) < bytes(b) { a } else { b };
        less.iter_mut().for_each(|one| one.times = 0);
    }
    found.extend(branches.into_iter().flatten());
}

/// Returns the group in which an operation communicates.
fn group_of(op: &Op) -> Option<String> {
    match op {
        Op::Send { group, .. } | Op::Recv { group, .. } => Some(group.to_string()),
        op => kind_of(op).map(|(_, group)| group),
    }
}

/// Returns which communication an operation is, and in which group.
fn kind_of(op: &Op) -> Option<(CollectiveKind, String)> {
    let (kind, group) = match op {
        Op::AllSum { group } => (CollectiveKind::AllSum, group),
        Op::AllMax { group } => (CollectiveKind::AllMax, group),
        Op::AllMin { group } => (CollectiveKind::AllMin, group),
        Op::AllGather { group } => (CollectiveKind::AllGather, group),
        Op::SumScatter { group } => (CollectiveKind::SumScatter, group),
        _ => return None,
    };
    Some((kind, group.to_string()))
}
