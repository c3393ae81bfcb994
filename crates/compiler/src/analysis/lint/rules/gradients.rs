//! Gradients that are always zero.

use mlx::Op;
use mlx::transforms::Transform;

use crate::analysis::lint::cost::graph_weight;
use crate::analysis::lint::scope::{Found, Scope};
use crate::graph::{Graph, Node, Operation, Value};

/// Arguments whose gradient is asked for and stopped on every path.
pub(super) fn stopped_gradient(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for node in scope.nodes() {
        let Operation::Transform {
            transform,
            functions,
            ..
        } = &node.operation
        else {
            continue;
        };
        let (arguments, first_only): (Vec<usize>, bool) = match transform {
            Transform::ValueAndGrad { argnums } => (argnums.clone(), true),
            Transform::Vjp { n_primals } => ((0..*n_primals).collect(), false),
            _ => continue,
        };
        let Some(function) = functions.first() else {
            continue;
        };
        for argument in arguments {
            let Some(stop) = stopped_at(function, argument, first_only) else {
                continue;
            };
            let input = function.array_type(function.inputs()[argument]);
            let what = format!(
                "the gradient of argument {argument} of the {} at {}, {input}, is always zero: {} stops it",
                transform.name(),
                node.site,
                stop.operation.name()
            );
            found.push(Found::new(stop.site, graph_weight(function), what));
        }
    }
    found
}

/// Returns the first node that stops the gradient of an input, when no path to the outputs is left.
fn stopped_at(function: &Graph, argument: usize, first_only: bool) -> Option<&Node> {
    let input = *function.inputs().get(argument)?;
    let n_values = function.values().count();
    let mut depends = vec![false; n_values];
    let mut passes = vec![false; n_values];
    depends[input.index()] = true;
    passes[input.index()] = function.array_type(input).dtype.is_floating();
    if !passes[input.index()] {
        return None;
    }
    let mut stop = None;
    for node in function.nodes() {
        let any = |flags: &[bool]| node.inputs.iter().any(|value| flags[value.index()]);
        let (reaches, carries) = (any(&depends), any(&passes));
        for output in &node.outputs {
            let dtype = function.array_type(*output).dtype;
            let is_smooth = dtype.is_floating() || dtype == mlx::Dtype::Complex64;
            depends[output.index()] = reaches;
            passes[output.index()] = carries && is_smooth && !stops(&node.operation);
        }
        if carries && !node.outputs.iter().any(|output| passes[output.index()]) {
            stop.get_or_insert(node);
        }
    }
    let outputs: &[Value] = match first_only {
        true => function.outputs().get(..1)?,
        false => function.outputs(),
    };
    let any = |flags: &[bool]| outputs.iter().any(|value| flags[value.index()]);
    (any(&depends) && !any(&passes)).then_some(stop).flatten()
}

/// Whether the slope of an operation is zero wherever it has one, or taken for zero.
fn stops(operation: &Operation) -> bool {
    matches!(
        operation.op(),
        Some(
            Op::StopGradient
                | Op::Floor
                | Op::Ceil
                | Op::Round { .. }
                | Op::Trunc
                | Op::Sign
                | Op::FloorDivide
                | Op::ZerosLike
                | Op::OnesLike
        )
    )
}
