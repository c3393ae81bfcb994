//! Elementwise operations as one host kernel, which replays them one by one where it is of no use.

use mlx::cpu::{ElementwiseInput, elementwise_kernel, supports_elementwise};
use mlx::fast::HostKernel;
use mlx::program::{Elementwise, ElementwiseStep, Operand};
use mlx::{ArrayType, Dtype};

use super::serialized_graph::SerializedGraph;
use crate::graph::{Constant, Graph, Node, Value, ValueOrigin};

/// The name by which `mlx::fast::host_kernel_runs_of` counts these kernels.
const NAME: &str = "elementwise";

/// Makes a host kernel of a group's body, if every operation in it has an elementwise step.
pub(crate) fn kernel(body: &Graph) -> Option<HostKernel> {
    let program = translate(body)?;
    let graph = SerializedGraph::of(body)?;
    let dtypes: Vec<Dtype> = body.output_types().iter().map(|t| t.dtype).collect();
    let output_types = move |inputs: &[ArrayType]| {
        let shape = broadcast(inputs)?;
        let of = |dtype: &Dtype| ArrayType::new(shape.clone(), *dtype);
        Ok(dtypes.iter().map(of).collect())
    };
    let kernel = elementwise_kernel(NAME, output_types, &program)?;
    Some(kernel.composed(move |inputs| graph.replay(inputs)))
}

/// The shape of all inputs together: every operation of a group has it.
fn broadcast(inputs: &[ArrayType]) -> Result<Vec<i32>, String> {
    let ndim = inputs.iter().map(|input| input.shape.len()).max();
    let mut shape = vec![1; ndim.unwrap_or(0)];
    for input in inputs {
        for (size, other) in shape.iter_mut().rev().zip(input.shape.iter().rev()) {
            if *size == 1 {
                *size = *other;
            } else if *other != 1 && *other != *size {
                let texts: Vec<String> = inputs.iter().map(ToString::to_string).collect();
                return Err(format!("wanted shapes that fit, got {}", texts.join(", ")));
            }
        }
    }
    Ok(shape)
}

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
