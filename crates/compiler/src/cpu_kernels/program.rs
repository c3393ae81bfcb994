//! A program: operations that run one after the other in one host kernel on the CPU.

use mlx::compiler_api::OpFlags;
use mlx::cpu::{may_be_step, program_kernel};
use mlx::fast::HostKernel;
use mlx::program::{Operation as Computed, PlanError, Program, Step};
use mlx::{ArrayType, Op, SharedArray};

use super::elementwise::{supports, translate};
use super::serialized_graph::SerializedGraph;
use crate::graph::{Constant, Graph, GraphRewriter, Node, Operation, Value, ValueOrigin};

/// The name by which `mlx::fast::host_kernel_runs_of` counts programs that ran.
const NAME: &str = "program";

/// Whether a node can perhaps be a step of a program; [`kernel`] knows for sure.
pub(crate) fn is_candidate(graph: &Graph, node: &Node) -> bool {
    let ([output], None) = (node.outputs.as_slice(), node.site.device) else {
        return matches!(node.operation, Operation::FusedGroup(_)) && node.site.device.is_none();
    };
    let is_array = |value: &Value| !matches!(graph.constant(*value), Some(Constant::Number(_)));
    match &node.operation {
        Operation::FusedGroup(_) => true,
        Operation::Op(op) => {
            let types: Vec<ArrayType> = types(graph, &node.inputs);
            let is_step = node.inputs.iter().all(is_array)
                && may_be_step(op, &types, graph.array_type(*output));
            is_step || supports(graph, node)
        }
        _ => false,
    }
}

/// Whether a node is a view of its input, which costs nothing in a program.
pub(crate) fn is_view(node: &Node) -> bool {
    node.operation.op().is_some_and(Op::is_view)
}

/// Whether a view keeps the order of elements, so that it needs them in row-major order, and is in that order then.
pub(crate) fn is_reshape(node: &Node) -> bool {
    node.operation
        .op()
        .is_some_and(|op| op.flags().contains(OpFlags::KEEPS_ORDER))
}

fn types(graph: &Graph, values: &[Value]) -> Vec<ArrayType> {
    let of = |value: &Value| graph.array_type(*value).clone();
    values.iter().map(of).collect()
}

/// Makes a program of nodes that all may be steps; the last `n_constants` inputs are the same arrays in all runs.
///
/// # Errors
/// Why there is none. The number of a step is that of the body's node.
pub(crate) fn program(body: &Graph, n_constants: usize) -> Result<Program, PlanError> {
    let mut numbers = vec![None; body.values.len()];
    for (number, input) in body.inputs.iter().enumerate() {
        numbers[input.index()] = Some(number);
    }
    let mut next = body.inputs.len();
    let mut steps = Vec::with_capacity(body.nodes.len());
    for (number, node) in body.nodes.iter().enumerate() {
        let refused = PlanError::Step(number);
        steps.push(step(body, node, &numbers).ok_or(refused)?);
        for output in &node.outputs {
            numbers[output.index()] = Some(next);
            next += 1;
        }
    }
    let outputs = body.outputs.iter().map(|output| numbers[output.index()]);
    let outputs: Option<Vec<usize>> = outputs.collect();
    let outputs = outputs.ok_or(PlanError::Malformed)?;
    mlx::cpu::program(&body.input_types(), n_constants, steps, &outputs)
}

/// Makes a host kernel of nodes that all may be steps. The last inputs may be `captured`.
///
/// # Errors
/// As [`program`].
pub(crate) fn kernel(body: &Graph, captured: Vec<SharedArray>) -> Result<HostKernel, PlanError> {
    let program = program(body, captured.len())?;
    let graph = flat(body).as_ref().and_then(SerializedGraph::of);
    let graph = graph.ok_or(PlanError::Malformed)?;
    let kernel = program_kernel(NAME, &program, captured)?;
    Ok(kernel.composed(move |inputs| graph.replay(inputs)))
}

fn step(body: &Graph, node: &Node, numbers: &[Option<usize>]) -> Option<Step> {
    let outputs = types(body, &node.outputs);
    let arrays = |values: &[Value]| -> Option<Vec<usize>> {
        values.iter().map(|value| numbers[value.index()]).collect()
    };
    let with = |operation, inputs| Step {
        operation,
        name: node.operation.name().to_owned(),
        inputs,
        outputs: outputs.clone(),
    };
    let part = match &node.operation {
        Operation::FusedGroup(group) => {
            let program = translate(group)?;
            return Some(with(Computed::Elementwise(program), arrays(&node.inputs)?));
        }
        Operation::Op(op) => {
            let [output] = outputs.as_slice() else {
                return None;
            };
            if let Some(inputs) = arrays(&node.inputs)
                && may_be_step(op, &types(body, &node.inputs), output)
            {
                return Some(with(Computed::Op(op.clone()), inputs));
            }
            node
        }
        _ => return None,
    };
    // One elementwise operation: numbers are in its program, arrays are its inputs.
    let mut inputs: Vec<Value> = Vec::new();
    for input in &part.inputs {
        if numbers[input.index()].is_some() && !inputs.contains(input) {
            inputs.push(*input);
        }
    }
    let program = translate(&crate::graph::extract_subgraph(
        body,
        &inputs,
        &part.outputs,
    )?)?;
    Some(with(Computed::Elementwise(program), arrays(&inputs)?))
}

/// The same graph with what is in its groups in their place.
fn flat(body: &Graph) -> Option<Graph> {
    let mut next = Graph::new(body.name());
    let mut rewriter = GraphRewriter::new(body);
    rewriter.copy_inputs(&mut next);
    for node in &body.nodes {
        let Operation::FusedGroup(group) = &node.operation else {
            rewriter.copy_node(&mut next, node)?;
            continue;
        };
        let arguments: Option<Vec<Value>> = node
            .inputs
            .iter()
            .map(|input| rewriter.lookup(&mut next, *input))
            .collect();
        let outputs = GraphRewriter::new(group).inline(&mut next, &arguments?)?;
        for (old, new) in node.outputs.iter().zip(outputs) {
            rewriter.map(*old, new);
        }
    }
    rewriter.copy_outputs(&mut next)?;
    Some(next)
}

/// Whether a value comes from a node.
pub(crate) fn producer(graph: &Graph, value: Value) -> Option<crate::graph::NodeId> {
    match graph.origin(value) {
        ValueOrigin::Node(id, _) => Some(*id),
        _ => None,
    }
}
