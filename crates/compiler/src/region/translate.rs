//! From the body of an elementwise region to the operations of a program.

use mlx::cpu::{ElementwiseInput, supports_elementwise};
use mlx::program::{Elementwise, ElementwiseStep, Operand};

use crate::graph::{Constant, Graph, Node, Value, ValueOrigin};

/// Whether a node can be a step of an elementwise program on the CPU.
pub(crate) fn supports(graph: &Graph, node: &Node) -> bool {
    let ([output], Some(op)) = (node.outputs.as_slice(), node.operation.op()) else {
        return false;
    };
    let input = |value: &Value| ElementwiseInput {
        dtype: graph.array_type(*value).dtype,
        is_computed: matches!(graph.origin(*value), ValueOrigin::Node(..)),
    };
    let inputs: Vec<ElementwiseInput> = node.inputs.iter().map(input).collect();
    supports_elementwise(op, &inputs, graph.array_type(*output).dtype)
}

/// Returns the operations of a body, or `None` if it has others, or constants that are not real numbers.
pub(super) fn translate(body: &Graph) -> Option<Elementwise> {
    let operand = |value: &Value| match body.origin(*value) {
        ValueOrigin::Input(input) => Some(Operand::Input(*input)),
        ValueOrigin::Constant(Constant::Number(literal)) => Some(Operand::Number(
            literal.as_f64()?,
            body.array_type(*value).dtype,
        )),
        ValueOrigin::Constant(_) => None,
        ValueOrigin::Node(id, _) => Some(Operand::Step(id.index())),
    };
    let steps = body.nodes.iter().map(|node| {
        let [output] = node.outputs.as_slice() else {
            return None;
        };
        Some(ElementwiseStep {
            op: node.operation.op()?.clone(),
            operands: node.inputs.iter().map(operand).collect::<Option<_>>()?,
            dtype: body.array_type(*output).dtype,
        })
    });
    Some(Elementwise {
        inputs: body.input_types().iter().map(|input| input.dtype).collect(),
        steps: steps.collect::<Option<_>>()?,
        outputs: body.outputs.iter().map(operand).collect::<Option<_>>()?,
    })
}
