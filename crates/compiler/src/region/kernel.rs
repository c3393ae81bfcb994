//! A host kernel that runs a program, and replays the region's body where the program is of no use.

use mlx::compiler_api::AttrValue as Attribute;
use mlx::cpu::elementwise_kernel;
use mlx::fast::HostKernel;
use mlx::{Array, ArrayType, Dtype, Op, bind};

use super::translate::translate;
use crate::graph::{Constant, Graph, Literal, Value, ValueOrigin};

/// The name by which `mlx::fast::host_kernel_runs_of` counts regions that ran.
const NAME: &str = "region";

/// Makes a host kernel of a region's body, if every operation in it has a step.
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

/// The shape of all inputs together: every operation of a region has it.
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

/// A body that any thread can replay.
pub(super) struct SerializedGraph {
    steps: Vec<Invocation>,
    outputs: Vec<Place>,
}

/// One operation, by its name and attributes.
struct Invocation {
    name: String,
    attrs: Vec<(&'static str, Attribute)>,
    operands: Vec<Place>,
}

/// Where an operand comes from.
#[derive(Clone, Copy)]
enum Place {
    Input(usize),
    Number(Literal, Dtype),
    Step(usize),
}

impl SerializedGraph {
    pub(super) fn of(body: &Graph) -> Option<Self> {
        let place = |value: &Value| match body.origin(*value) {
            ValueOrigin::Input(input) => Some(Place::Input(*input)),
            ValueOrigin::Constant(Constant::Number(literal)) => {
                Some(Place::Number(*literal, body.array_type(*value).dtype))
            }
            ValueOrigin::Constant(_) => None,
            ValueOrigin::Node(id, _) => Some(Place::Step(id.index())),
        };
        let steps = body.nodes.iter().map(|node| {
            let op = node.operation.op()?;
            Some(Invocation {
                name: op.name().to_owned(),
                attrs: op.attrs(),
                operands: node.inputs.iter().map(place).collect::<Option<_>>()?,
            })
        });
        Some(Self {
            steps: steps.collect::<Option<_>>()?,
            outputs: body.outputs.iter().map(place).collect::<Option<_>>()?,
        })
    }

    /// Applies MLX's operations one by one; what fails is an error in the results.
    pub(super) fn replay(&self, inputs: &[Array]) -> Vec<Array> {
        let mut values: Vec<Array> = Vec::new();
        for step in &self.steps {
            let operands: Option<Vec<Array>> = step
                .operands
                .iter()
                .map(|place| find(*place, inputs, &values))
                .collect();
            let attr = |wanted: &str| {
                let found = step.attrs.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| value.clone())
            };
            let (Some(operands), Some(op)) = (operands, Op::from_parts(&step.name, attr)) else {
                return Vec::new();
            };
            let operands: Vec<&Array> = operands.iter().collect();
            values.push(bind(op, &operands));
        }
        let outputs = self
            .outputs
            .iter()
            .map(|place| find(*place, inputs, &values));
        outputs.collect::<Option<_>>().unwrap_or_default()
    }
}

fn find(place: Place, inputs: &[Array], values: &[Array]) -> Option<Array> {
    match place {
        Place::Input(input) => inputs.get(input).cloned(),
        Place::Number(literal, dtype) => Some(literal.to_array(dtype)),
        Place::Step(step) => values.get(step).cloned(),
    }
}
