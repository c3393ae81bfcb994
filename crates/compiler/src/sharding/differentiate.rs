//! Gradients on ranks: where a replicated value is used by parts, its cotangents are sums over ranks.
//!
//! MLX's rules take the cotangent of a collective's result as the same on all ranks. So what holds of values holds of
//! their cotangents: those of replicated values are replicated, those of sharded ones sharded, and each rank has the whole
//! cotangent of an unreduced sum. Only the cotangent that comes from a use by parts is a rank's share; this sums it.

use std::rc::Rc;

use mlx::Op;
use mlx::compiler_api::OpString;
use mlx::transforms::Transform;

use crate::graph::{Graph, Operation, SourceLocation, Value};

/// Returns the group over which a node that [`sum_gradients`] made sums: along another axis of the mesh.
pub(super) fn group_of(operation: &Operation) -> Option<String> {
    let Operation::Transform {
        transform:
            Transform::CustomFunction {
                vjp: true,
                jvp: false,
                vmap: None,
            },
        functions,
        n_captures: 0,
    } = operation
    else {
        return None;
    };
    let [identity, rule] = &functions[..] else {
        return None;
    };
    let [sum] = &rule.nodes[..] else {
        return None;
    };
    let is_identity = identity.nodes.is_empty() && identity.outputs == identity.inputs;
    let is_of_cotangent = rule.inputs.get(1) == sum.inputs.first() && rule.outputs == sum.outputs;
    match sum.operation.op() {
        Some(Op::AllSum { group }) if is_identity && is_of_cotangent => Some(group.to_string()),
        _ => None,
    }
}

/// Appends a node that gives `value`, and whose gradient is summed over the ranks of a group.
pub(super) fn sum_gradients(
    into: &mut Graph,
    value: Value,
    group: &str,
    site: SourceLocation,
) -> Value {
    let array_type = into.array_type(value).clone();
    let mut identity = Graph::new("identity");
    let x = identity.add_input(array_type.clone());
    identity.outputs.push(x);
    let mut rule = Graph::new("sum_gradients");
    let _primal = rule.add_input(array_type.clone());
    let cotangent = rule.add_input(array_type.clone());
    let _output = rule.add_input(array_type.clone());
    let sum = Operation::Op(Op::AllSum {
        group: OpString::new(group),
    });
    let outputs = rule.add_node(sum, vec![cotangent], vec![array_type.clone()], site);
    rule.outputs.extend(outputs);
    let operation = Operation::Transform {
        transform: Transform::CustomFunction {
            vjp: true,
            jvp: false,
            vmap: None,
        },
        functions: vec![Rc::new(identity), Rc::new(rule)],
        n_captures: 0,
    };
    into.add_node(operation, vec![value], vec![array_type], site)[0]
}
