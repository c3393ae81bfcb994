//! The body of a kernel in a form that any thread can replay: for gradients, `vmap` and other devices.

use mlx::compiler_api::AttrValue as Attribute;
use mlx::fast::HostKernel;
use mlx::{Array, Dtype, Op, bind};

use crate::graph::{Constant, Graph, Literal, Value, ValueOrigin};

/// A body that any thread can replay.
pub(super) struct SerializedGraph {
    steps: Vec<Invocation>,
    outputs: Vec<Place>,
}

/// One operation.
struct Invocation {
    call: Call,
    operands: Vec<Place>,
}

/// What an operation does.
enum Call {
    /// One of the table, by its name and attributes.
    Op {
        name: String,
        attrs: Vec<(&'static str, Attribute)>,
    },
    Kernel(HostKernel),
}

impl Call {
    fn of(op: &Op) -> Self {
        match HostKernel::of_instruction(op) {
            Some(kernel) => Self::Kernel(kernel),
            None => Self::Op {
                name: op.name().to_owned(),
                attrs: op.attrs(),
            },
        }
    }

    /// `None` when there is no such operation.
    fn apply(&self, operands: &[&Array]) -> Option<Array> {
        match self {
            Self::Kernel(kernel) => Some(kernel.apply_one(operands)),
            Self::Op { name, attrs } => {
                let attr = |wanted: &str| {
                    let found = attrs.iter().find(|(name, _)| *name == wanted);
                    found.map(|(_, value)| value.clone())
                };
                Some(bind(Op::from_parts(name, attr)?, operands))
            }
        }
    }
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
            Some(Invocation {
                call: Call::of(node.operation.op()?),
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
            let value = operands.and_then(|operands| {
                let operands: Vec<&Array> = operands.iter().collect();
                step.call.apply(&operands)
            });
            let Some(value) = value else {
                return Vec::new();
            };
            values.push(value);
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
