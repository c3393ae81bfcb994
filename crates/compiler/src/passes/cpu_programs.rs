//! Programs: neighbouring operations that the CPU's kernels compute, run one after the other in one host kernel.
//!
//! What a graph of small arrays costs otherwise is not its arithmetic but MLX's work for each operation.

use std::collections::HashSet;
use std::rc::Rc;

use mlx::Device;
use mlx::program::PlanError;

use super::autotune::{self, Site, group_forms};
use super::{Context, undefined_value};
use crate::Result;
use crate::cpu_kernels::{self, program};
use crate::graph::{Constant, Graph, GraphRewriter, NodeId, Operation, Value};
use crate::options::KernelFusion;

/// How many operations must run for a program to be worth its call.
const LEAST_OPERATIONS: usize = 2;

pub(super) fn run(graph: &Graph, context: &mut Context<'_>) -> Result<Graph> {
    let wanted =
        context.options.kernel_fusion() == KernelFusion::Auto && !context.options.shapeless;
    if !wanted
        || !cpu_kernels::are_kernels_enabled()
        || !matches!(Device::current(), Ok(Device::Cpu))
    {
        return Ok(graph.clone());
    }
    let mut plan = Plan::of(graph);
    if context.tuner.is_some() {
        plan.drop_slow(graph, context);
    }
    let mut next = Graph::new(&graph.name);
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    let mut done: HashSet<NodeId> = HashSet::new();
    for id in &plan.order {
        let node = graph.node(*id);
        let Some(group) = plan.group_of(*id) else {
            let mut node = node.clone();
            if !matches!(
                node.operation,
                Operation::Transform { .. } | Operation::Fused(_)
            ) {
                node.operation = super::map_subgraphs(&node.operation, context, run)?;
            }
            rewriter
                .copy_node(&mut next, &node)
                .ok_or_else(|| undefined_value("cpu_programs"))?;
            continue;
        };
        // The group takes the place of its first node: nothing that it needs comes later in this order.
        if done.contains(id) {
            continue;
        }
        done.extend(&group.nodes);
        context.report.add_program(group.operations(graph));
        let inputs: Option<Vec<Value>> = group
            .inputs
            .iter()
            .map(|input| rewriter.lookup(&mut next, *input))
            .collect();
        let inputs = inputs.ok_or_else(|| undefined_value("cpu_programs"))?;
        let types = group.body.output_types();
        let operation = Operation::FusedGroup(Rc::new(group.body.clone()));
        let outputs = next.add_node(operation, inputs, types, node.site);
        for (old, new) in group.outputs.iter().zip(outputs) {
            rewriter.map(*old, new);
        }
        for id in &group.views_outside {
            rewriter
                .copy_node(&mut next, graph.node(*id))
                .ok_or_else(|| undefined_value("cpu_programs"))?;
        }
    }
    rewriter
        .copy_outputs(&mut next)
        .ok_or_else(|| undefined_value("cpu_programs"))?;
    Ok(next)
}

/// Nodes that become one program.
struct Group {
    nodes: Vec<NodeId>,
    /// Those that are taken once more outside, of the inputs and outputs.
    views_outside: Vec<NodeId>,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    body: Graph,
}

impl Group {
    /// Nodes that do something.
    fn operations(&self, graph: &Graph) -> usize {
        let works = |id: &&NodeId| !program::is_view(graph.node(**id));
        self.nodes.iter().filter(works).count()
    }
}

/// The groups, and an order of all nodes in which each group is together.
struct Plan {
    order: Vec<NodeId>,
    groups: Vec<Group>,
    /// The number of the group of each node.
    group_of: Vec<Option<usize>>,
}

impl Plan {
    /// Leaves the operations of those groups as they are that were measured to be faster so.
    fn drop_slow(&mut self, graph: &Graph, context: &mut Context<'_>) {
        let is_program = self.groups.iter().map(|group| {
            let forms = group_forms(graph, &group.inputs, &group.body, "program");
            let (Some(forms), Some(first)) = (forms, group.nodes.first()) else {
                return true;
            };
            let site = Site {
                what: "program".to_owned(),
                at: graph.node(*first).site,
                forms,
                default: 0,
                passes: &[],
            };
            autotune::choose(&site, context) == 0
        });
        let is_program: Vec<bool> = is_program.collect();
        for group in &mut self.group_of {
            *group = group.filter(|number| is_program[*number]);
        }
    }

    fn of(graph: &Graph) -> Self {
        let mut refused: HashSet<NodeId> = HashSet::new();
        let users = graph.consumers();
        loop {
            let stages = stages(graph, &refused);
            let mut order: Vec<NodeId> = ids(graph).collect();
            order.sort_by_key(|id| stages[id.index()]);
            let before = refused.len();
            let mut groups = Vec::new();
            let mut rest = order.as_slice();
            while let Some(first) = rest.first() {
                let stage = stages[first.index()];
                let together = rest.iter().take_while(|id| stages[id.index()] == stage);
                let (nodes, later) = rest.split_at(together.count());
                rest = later;
                // Even stages are MLX's.
                if stage % 2 == 1 {
                    groups.extend(group(graph, &users, nodes, &mut refused));
                }
            }
            if refused.len() == before {
                let mut group_of = vec![None; graph.nodes.len()];
                for (number, group) in groups.iter().enumerate() {
                    for id in &group.nodes {
                        group_of[id.index()] = Some(number);
                    }
                }
                return Self {
                    order,
                    groups,
                    group_of,
                };
            }
        }
    }

    fn group_of(&self, id: NodeId) -> Option<&Group> {
        self.groups.get((*self.group_of.get(id.index())?)?)
    }
}

fn ids(graph: &Graph) -> impl Iterator<Item = NodeId> {
    (0..).map(NodeId).take(graph.nodes.len())
}

/// Numbers nodes so that those of a program have the same odd number, and no number is above that of a user.
///
/// So nothing outside a program both needs it and is needed by it.
fn stages(graph: &Graph, refused: &HashSet<NodeId>) -> Vec<usize> {
    let mut stages: Vec<usize> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in ids(graph).zip(&graph.nodes) {
        let is_step = !refused.contains(&id) && program::is_candidate(graph, node);
        let own = usize::from(is_step);
        let after = node.inputs.iter().filter_map(|input| {
            let stage = stages[program::producer(graph, *input)?.index()];
            Some(if stage % 2 == own { stage } else { stage + 1 })
        });
        stages.push(after.fold(own, usize::max));
    }
    delay_views(graph, refused, &mut stages);
    stages
}

/// Puts views of inputs and constants, weights that are transposed for one, into the program that uses them first: it reads
/// what is in order, and would copy a view that is taken outside at each call.
fn delay_views(graph: &Graph, refused: &HashSet<NodeId>, stages: &mut [usize]) {
    let mut is_delayed = vec![false; stages.len()];
    for (id, node) in ids(graph).zip(&graph.nodes) {
        let mut sources = node
            .inputs
            .iter()
            .map(|input| program::producer(graph, *input));
        is_delayed[id.index()] = stages[id.index()] % 2 == 1
            && !refused.contains(&id)
            && program::is_view(node)
            && sources.all(|source| source.is_none_or(|source| is_delayed[source.index()]));
    }
    let mut first_use = vec![usize::MAX; stages.len()];
    for (id, node) in ids(graph)
        .zip(&graph.nodes)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        // Not to where MLX uses it: there it is MLX's from the start.
        let first = first_use[id.index()];
        if is_delayed[id.index()] && first != usize::MAX && first % 2 == 1 {
            stages[id.index()] = first;
        }
        for input in &node.inputs {
            if let Some(source) = program::producer(graph, *input) {
                let first = &mut first_use[source.index()];
                *first = stages[id.index()].min(*first);
            }
        }
    }
}

/// Makes a group of nodes if a kernel can be made of them; otherwise refuses the nodes that are in the way.
fn group(
    graph: &Graph,
    users: &[Vec<NodeId>],
    nodes: &[NodeId],
    refused: &mut HashSet<NodeId>,
) -> Option<Group> {
    let set: HashSet<NodeId> = nodes.iter().copied().collect();
    let leaves = |value: &Value| {
        graph.outputs.contains(value) || users[value.index()].iter().any(|user| !set.contains(user))
    };
    // A view that is used outside only stays MLX's: it would be copied here.
    let looking: Vec<NodeId> = nodes
        .iter()
        .copied()
        .filter(|id| {
            let node = graph.node(*id);
            program::is_view(node)
                && node
                    .outputs
                    .iter()
                    .all(|output| users[output.index()].iter().all(|user| !set.contains(user)))
        })
        .collect();
    let works = nodes
        .iter()
        .filter(|id| !program::is_view(graph.node(**id)));
    if works.count() < LEAST_OPERATIONS {
        refused.extend(nodes);
        return None;
    }
    if !looking.is_empty() {
        refused.extend(looking);
        return None;
    }
    let mut inputs = Vec::new();
    let mut leaving = Leaving::new(graph, &set);
    let mut seen = HashSet::new();
    for id in nodes {
        let node = graph.node(*id);
        for input in &node.inputs {
            let inside = program::producer(graph, *input).is_some_and(|from| set.contains(&from));
            let number = matches!(graph.constant(*input), Some(Constant::Number(_)));
            if !inside && !number && seen.insert(*input) {
                inputs.push(*input);
            }
        }
        for output in node.outputs.iter().filter(|output| leaves(output)) {
            leaving.add(*output);
        }
    }
    let Leaving { outputs, views, .. } = leaving;
    let is_outside = |id: &NodeId| views.contains(id);
    let views_outside = nodes.iter().copied().filter(is_outside).collect();
    // Arrays that are the same in all runs come last: the kernel keeps them.
    let is_kept = |input: &Value| graph.constant(*input).is_some();
    inputs.sort_by_key(is_kept);
    let body = part(graph, nodes, &inputs, &outputs)?;
    match program::program(&body, 0) {
        Ok(_) => Some(Group {
            nodes: nodes.to_vec(),
            views_outside,
            inputs,
            outputs,
            body,
        }),
        Err(PlanError::Step(number)) => {
            refused.insert(*nodes.get(number)?);
            None
        }
        Err(_) => {
            refused.extend(nodes);
            None
        }
    }
}

/// What a group of nodes gives to others.
struct Leaving<'a> {
    graph: &'a Graph,
    group: &'a HashSet<NodeId>,
    outputs: Vec<Value>,
    views: HashSet<NodeId>,
}

impl<'a> Leaving<'a> {
    fn new(graph: &'a Graph, group: &'a HashSet<NodeId>) -> Self {
        Self {
            graph,
            group,
            outputs: Vec::new(),
            views: HashSet::new(),
        }
    }

    /// Lets a value leave. Views are copied when they leave a kernel, and cost nothing when they are taken outside: so it
    /// is the array that leaves at which they look, or nothing if that came from outside.
    fn add(&mut self, mut value: Value) {
        while let Some((id, source)) = self.view(value) {
            self.views.insert(id);
            value = source;
        }
        let is_own = self.producer(value).is_some();
        if is_own && !self.outputs.contains(&value) {
            self.outputs.push(value);
        }
    }

    fn producer(&self, value: Value) -> Option<NodeId> {
        program::producer(self.graph, value).filter(|id| self.group.contains(id))
    }

    /// The node of a view that is not copied where it is taken, and what it is a view of.
    fn view(&self, value: Value) -> Option<(NodeId, Value)> {
        let id = self.producer(value)?;
        let node = self.graph.node(id);
        let source = *node.inputs.first().filter(|_| program::is_view(node))?;
        let is_reshape = program::is_reshape(node);
        (!is_reshape || self.is_whole(source)).then_some((id, source))
    }

    /// Whether an array is known to be in row-major order: another shape of it is a view.
    fn is_whole(&self, value: Value) -> bool {
        let Some(id) = self.producer(value) else {
            return true;
        };
        let node = self.graph.node(id);
        !program::is_view(node)
            || program::is_reshape(node)
                && node
                    .inputs
                    .first()
                    .is_some_and(|source| self.is_whole(*source))
    }
}

/// These nodes, in this order, as a graph of their own.
fn part(graph: &Graph, nodes: &[NodeId], inputs: &[Value], outputs: &[Value]) -> Option<Graph> {
    let mut part = Graph::new(&graph.name);
    let mut rewriter = GraphRewriter::new(graph);
    for input in inputs {
        let new = part.add_input(graph.array_type(*input).clone());
        rewriter.map(*input, new);
    }
    for id in nodes {
        rewriter.copy_node(&mut part, graph.node(*id))?;
    }
    for output in outputs {
        let new = rewriter.lookup(&mut part, *output)?;
        part.outputs.push(new);
    }
    Some(part)
}
