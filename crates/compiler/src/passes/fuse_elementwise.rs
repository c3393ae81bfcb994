//! Elementwise fusion: neighbouring operations on one shape become one node, which a device can run as one kernel.
//!
//! On a GPU, `mx::compile` makes a kernel of each; on the CPU, MLX would call a C++ compiler for every one of them, and
//! a host kernel interprets them instead: see `cpu_kernels/`.

use std::collections::BTreeSet;
use std::rc::Rc;

use mlx::{ArrayType, Device, Op};

use super::autotune::{self, Site, group_forms};
use super::{AFTER_FUSE_ELEMENTWISE, Context, undefined_value};
use crate::Result;
use crate::cpu_kernels;
use crate::graph::{Graph, GraphRewriter, Node, NodeId, Operation, Value};
use crate::options::KernelFusion;

/// More inputs than this a kernel does not take: Metal has 31 buffers, and MLX stops at 24.
const MOST_INPUTS: usize = 16;

pub(super) fn run(graph: &Graph, context: &mut Context<'_>) -> Result<Graph> {
    let Some(choice) = Choice::of(context) else {
        return Ok(graph.clone());
    };
    let mut groups = groups(graph, choice);
    if choice == Choice::Kernels && context.tuner.is_some() {
        groups.retain(|group| is_kernel(graph, group, context));
    }
    for group in &groups {
        context.report.add_elementwise_kernel(group.nodes.len());
    }
    let mut group_of: Vec<Option<&Group>> = vec![None; graph.nodes.len()];
    for group in &groups {
        for id in &group.nodes {
            group_of[id.index()] = Some(group);
        }
    }
    let mut next = Graph::new(&graph.name);
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    for (id, node) in (0..).map(NodeId).zip(&graph.nodes) {
        match group_of[id.index()] {
            None => {
                let mut node = node.clone();
                if choice == Choice::All || !matches!(node.operation, Operation::Transform { .. }) {
                    node.operation = super::map_subgraphs(&node.operation, context, run)?;
                }
                rewriter
                    .copy_node(&mut next, &node)
                    .ok_or_else(|| undefined_value("fuse_elementwise"))?;
            }
            // The group takes the place of its last node, where all its inputs are defined.
            Some(group) if group.nodes.last() == Some(&id) => {
                let body = crate::graph::extract_subgraph(graph, &group.inputs, &group.outputs)
                    .ok_or_else(|| undefined_value("fuse_elementwise"))?;
                let inputs: Option<Vec<Value>> = group
                    .inputs
                    .iter()
                    .map(|input| rewriter.lookup(&mut next, *input))
                    .collect();
                let types = body.output_types();
                let inputs = inputs.ok_or_else(|| undefined_value("fuse_elementwise"))?;
                let operation = Operation::FusedGroup(Rc::new(body));
                let outputs = next.add_node(operation, inputs, types, node.site);
                for (old, new) in group.outputs.iter().zip(outputs) {
                    rewriter.map(*old, new);
                }
            }
            Some(_) => {}
        }
    }
    rewriter
        .copy_outputs(&mut next)
        .ok_or_else(|| undefined_value("fuse_elementwise"))?;
    Ok(next)
}

/// What is fused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// Everything elementwise.
    All,
    /// What the CPU's kernel can do, where it pays. Not in functions that a transform works on: gradients go through the
    /// operations one by one, and would compute them twice.
    Kernels,
}

impl Choice {
    fn of(context: &Context<'_>) -> Option<Self> {
        match context.options.kernel_fusion() {
            KernelFusion::Off => None,
            KernelFusion::All => Some(Self::All),
            KernelFusion::Auto => {
                let kernels = cpu_kernels::are_kernels_enabled() && !context.options.shapeless;
                (kernels && matches!(Device::current(), Ok(Device::Cpu))).then_some(Self::Kernels)
            }
        }
    }

    fn takes(self, graph: &Graph, node: &Node, output: &ArrayType) -> bool {
        match self {
            Self::All => node.operation.op().is_some_and(Op::is_elementwise),
            Self::Kernels => {
                elements(output) >= LEAST_ELEMENTS && cpu_kernels::supports(graph, node)
            }
        }
    }
}

/// Whether a group becomes one kernel: unless its operations by themselves were measured to be faster.
fn is_kernel(graph: &Graph, group: &Group, context: &mut Context<'_>) -> bool {
    let body = crate::graph::extract_subgraph(graph, &group.inputs, &group.outputs);
    let forms = body.and_then(|body| group_forms(graph, &group.inputs, &body, "kernel"));
    let (Some(forms), Some(last)) = (forms, group.nodes.last()) else {
        return true;
    };
    let site = Site {
        what: "elementwise kernel".to_owned(),
        at: graph.node(*last).site,
        forms,
        default: 0,
        passes: AFTER_FUSE_ELEMENTWISE,
    };
    autotune::choose(&site, context) == 0
}

/// Arrays with fewer elements are so soon done that one call more or less is all that counts.
const LEAST_ELEMENTS: usize = 4096;

fn elements(array_type: &ArrayType) -> usize {
    let sizes = array_type.shape.iter();
    sizes.fold(1, |product, size| {
        product.saturating_mul(usize::try_from(*size).unwrap_or(0))
    })
}

/// Nodes that become one kernel.
struct Group {
    nodes: BTreeSet<NodeId>,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
}

/// Grows groups from the end of the graph towards its inputs.
///
/// A node joins the group of its users when all of them are in it, so a group never waits for something that waits for
/// it.
fn groups(graph: &Graph, choice: Choice) -> Vec<Group> {
    let users = graph.consumers();
    let mut group_of: Vec<Option<usize>> = vec![None; graph.nodes.len()];
    let mut members: Vec<BTreeSet<NodeId>> = Vec::new();
    for (id, node) in (0..)
        .map(NodeId)
        .zip(&graph.nodes)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let [output] = node.outputs.as_slice() else {
            continue;
        };
        let fits = choice.takes(graph, node, graph.array_type(*output));
        if !fits || node.site.device.is_some() {
            continue;
        }
        let is_output = graph.outputs.contains(output);
        let mut joined: BTreeSet<Option<usize>> = users[output.index()]
            .iter()
            .map(|user| group_of[user.index()])
            .collect();
        let shared = (joined.len() == 1 && !is_output)
            .then(|| joined.pop_first().flatten())
            .flatten();
        // All in a group have one shape, so any of them tells it.
        let same_shape = |number: usize| {
            members[number].first().is_none_or(|other| {
                graph.array_type(graph.node(*other).outputs[0]).shape
                    == graph.array_type(*output).shape
            })
        };
        let number = match shared.filter(|number| same_shape(*number)) {
            Some(number) => number,
            None => {
                members.push(BTreeSet::new());
                members.len() - 1
            }
        };
        members[number].insert(id);
        group_of[id.index()] = Some(number);
    }
    members
        .into_iter()
        .filter(|nodes| nodes.len() > 1)
        .filter_map(|nodes| group(graph, &users, nodes))
        .collect()
}

fn group(graph: &Graph, users: &[Vec<NodeId>], nodes: BTreeSet<NodeId>) -> Option<Group> {
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for id in &nodes {
        let node = graph.node(*id);
        for input in &node.inputs {
            let inside = matches!(graph.origin(*input), crate::graph::ValueOrigin::Node(from, _) if nodes.contains(from));
            let number = matches!(
                graph.constant(*input),
                Some(crate::graph::Constant::Number(_))
            );
            if !inside && !number && !inputs.contains(input) {
                inputs.push(*input);
            }
        }
        for output in &node.outputs {
            let leaves = users[output.index()]
                .iter()
                .any(|user| !nodes.contains(user));
            if leaves || graph.outputs.contains(output) {
                outputs.push(*output);
            }
        }
    }
    (inputs.len() <= MOST_INPUTS).then_some(Group {
        nodes,
        inputs,
        outputs,
    })
}
