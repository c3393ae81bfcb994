//! Work that is done twice where the compiler cannot join it: in a gradient and beside it, in two gradients or loops.

use std::collections::HashMap;

use mlx::compiler_api::TracedArray;
use mlx::transforms::Transform;

use crate::analysis::lint::cost::graph_weight;
use crate::analysis::lint::scope::{Found, Scope};
use crate::graph::{Constant, Graph, Node, Operation, Value, ValueOrigin};

/// A number for each value; values with the same number are equal.
type Numbers = HashMap<(String, Vec<usize>), usize>;

/// Functions whose value is computed beside their gradient, and equal gradients and loops.
pub(super) fn repeated_work(scope: &Scope<'_>) -> Vec<Found> {
    let is_repeatable = |node: &&Node| !node.operation.graphs().is_empty();
    let has_any = scope.nodes().iter().filter(is_repeatable);
    if has_any
        .clone()
        .all(|node| matches!(node.operation, Operation::Fused(_)))
    {
        return Vec::new();
    }
    let mut numbers = Numbers::new();
    let mut ids = vec![0; scope.graph.values().count()];
    let mut made: HashMap<usize, &Node> = HashMap::new();
    number_sources(scope.graph, &mut numbers, &mut ids);
    let mut found = Vec::new();
    for node in scope.nodes() {
        let key = (text_of(&node.operation), numbers_of(&ids, &node.inputs));
        let number = number(&mut numbers, &key);
        let before = made.get(&number).copied();
        number_outputs(&mut numbers, &mut ids, node, number);
        match before {
            Some(first) if !node.operation.communicates() => {
                let (name, site) = (node.operation.name(), first.site);
                let what = format!("{name} computes what the {name} at {site} has computed");
                found.push(Found::new(node.site, scope.weight(node), what));
            }
            _ => _ = made.insert(number, node),
        }
    }
    let outer: HashMap<usize, &Node> = scope
        .nodes()
        .iter()
        .flat_map(|node| node.outputs.iter().map(move |value| (*value, node)))
        .map(|(value, node)| (ids[value.index()], node))
        .collect();
    let mut functions: HashMap<usize, &Node> = HashMap::new();
    for node in scope.nodes() {
        let Some(function) = differentiated(node) else {
            continue;
        };
        let inputs = numbers_of(&ids, &arguments(node));
        let Some(value) = value_of(function, &inputs, &mut numbers) else {
            continue;
        };
        let beside = outer.get(&value).or_else(|| functions.get(&value));
        if let Some(beside) = beside.filter(|beside| beside.site != node.site) {
            let what = format!(
                "{} computes again the value that {} at {} gives",
                node.operation.name(),
                beside.operation.name(),
                beside.site
            );
            found.push(Found::new(node.site, graph_weight(function), what));
        }
        functions.entry(value).or_insert(node);
    }
    found
}

/// The function of a gradient.
fn differentiated(node: &Node) -> Option<&Graph> {
    match &node.operation {
        Operation::Transform {
            transform: Transform::ValueAndGrad { .. } | Transform::Vjp { .. },
            functions,
            ..
        } => functions.first().map(AsRef::as_ref),
        _ => None,
    }
}

/// What the function of a gradient is called with: of a `vjp`, no cotangents.
fn arguments(node: &Node) -> Vec<Value> {
    match &node.operation {
        Operation::Transform {
            transform: Transform::Vjp { n_primals },
            n_captures,
            ..
        } => {
            let captures = node.inputs.len().saturating_sub(*n_captures);
            let primals = node.inputs.iter().take(*n_primals);
            primals.chain(&node.inputs[captures..]).copied().collect()
        }
        _ => node.inputs.clone(),
    }
}

/// Returns the number of the first output of a function that is called with values of these numbers, when it computes it.
fn value_of(function: &Graph, inputs: &[usize], numbers: &mut Numbers) -> Option<usize> {
    let mut ids = vec![0; function.values().count()];
    number_sources(function, numbers, &mut ids);
    if inputs.len() != function.inputs().len() {
        return None;
    }
    for (place, input) in function.inputs().iter().enumerate() {
        ids[input.index()] = inputs[place];
    }
    for node in function.nodes() {
        let key = (text_of(&node.operation), numbers_of(&ids, &node.inputs));
        let number = number(numbers, &key);
        number_outputs(numbers, &mut ids, node, number);
    }
    let output = *function.outputs().first()?;
    function.producer(output)?;
    Some(ids[output.index()])
}

fn number(numbers: &mut Numbers, key: &(String, Vec<usize>)) -> usize {
    let next = numbers.len() + 1;
    *numbers.entry(key.clone()).or_insert(next)
}

fn numbers_of(ids: &[usize], values: &[Value]) -> Vec<usize> {
    values.iter().map(|value| ids[value.index()]).collect()
}

fn number_outputs(numbers: &mut Numbers, ids: &mut [usize], node: &Node, of: usize) {
    for (place, output) in node.outputs.iter().enumerate() {
        ids[output.index()] = number(numbers, &("output".to_owned(), vec![of, place]));
    }
}

/// Gives inputs a number each, and equal constants the same.
fn number_sources(graph: &Graph, numbers: &mut Numbers, ids: &mut [usize]) {
    for (value, origin) in graph.values() {
        let text = match origin {
            ValueOrigin::Input(place) => format!("input {place}"),
            ValueOrigin::Constant(constant) => constant_text(graph, value, constant),
            ValueOrigin::Node(..) => continue,
        };
        ids[value.index()] = number(numbers, &(text, Vec::new()));
    }
}

fn constant_text(graph: &Graph, value: Value, constant: &Constant) -> String {
    let array_type = graph.array_type(value);
    match constant {
        Constant::Number(literal) => format!("{literal:?} {array_type}"),
        Constant::Array(array) => match array.buffer_id() {
            Some(identity) => format!("array {identity}"),
            None => format!("unknown {:p}", std::ptr::from_ref(constant)),
        },
        Constant::Missing => format!("unknown {:p}", std::ptr::from_ref(constant)),
    }
}

/// The operation with all its settings and the graphs inside.
fn text_of(operation: &Operation) -> String {
    match operation {
        // A kernel of the user's may count its calls; what other processes give differs from call to call.
        Operation::Op(mlx::Op::Custom(_)) => format!("custom {:p}", std::ptr::from_ref(operation)),
        Operation::Op(op) => op.to_string(),
        operation => {
            let mut text = operation.name().to_owned();
            if let Operation::Transform { transform, .. } = operation {
                text += &format!("{transform:?}");
            }
            for (_, graph) in operation.graphs() {
                text += &graph.to_string();
                for (value, origin) in graph.values() {
                    if let ValueOrigin::Constant(constant) = origin {
                        text += &constant_text(graph, value, constant);
                    }
                }
            }
            text
        }
    }
}
