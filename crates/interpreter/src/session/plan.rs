//! A graph as a list of steps over numbered values, with its types checked: what a session runs.

use std::collections::BTreeMap;

use mlx::compiler_api::OpFlags;
use mlx::cpu::{HostArray, MemoryPool, is_computed};
use mlx::transforms::Transform;
use mlx::{ArrayType, Op};
use mlx_compiler::graph::{Constant, Fused, Graph, Node, Operation, ValueOrigin};

use super::apply::{apply, has_kernel};
use super::types::output_types;
use crate::evaluator::number;
use crate::host::array_of;
use crate::tensor::{Tensor, sizes};
use crate::{REFUSED, n_arrays};

/// Results of more bytes are not computed when a function is opened.
const MAX_FOLDED_BYTES: usize = 1 << 20;

/// All results that are computed then have at most this many.
pub(super) const MAX_FOLDED_IN_ALL: usize = 1 << 28;

/// A function as steps. Formulas and groups are in it as their operations.
pub(super) struct Plan {
    pub(super) n_values: usize,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
    /// Values that are the same in all runs.
    pub(super) constants: BTreeMap<usize, HostArray>,
    pub(super) steps: Vec<Step>,
    input_types: Vec<ArrayType>,
    output_types: Vec<ArrayType>,
}

/// One step.
pub(super) struct Step {
    pub(super) work: Work,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
    /// The types of the outputs.
    pub(super) types: Vec<ArrayType>,
    /// The values that no later step takes, and that are not returned.
    pub(super) last: Vec<usize>,
    input_types: Vec<ArrayType>,
}

/// What a step does.
pub(super) enum Work {
    /// An operation; whether its types were checked, as those that kernels compute are.
    Op(Op, bool),
    /// The first input chooses one of two.
    Cond([Box<Plan>; 2]),
    /// A loop; inputs are its state, then what both functions capture.
    While {
        condition: Box<Plan>,
        body: Box<Plan>,
        n_state: usize,
    },
    /// A loop over the first axis; inputs are what is carried, the sequences, then captures.
    Scan {
        body: Box<Plan>,
        n_carry: usize,
        n_sequences: usize,
        length: usize,
        reverse: bool,
    },
}

/// What a function is made of when it is opened, with those inside it.
pub(super) struct Opening<'a> {
    /// The arrays that graphs captured, in the order of the text.
    pub(super) arrays: &'a mut dyn Iterator<Item = HostArray>,
    /// How many bytes results that are computed now may still have.
    pub(super) budget: usize,
}

impl Plan {
    /// Makes a plan of a verified graph.
    ///
    /// # Errors
    /// When a value has another type than its operation gives, an array another one than the graph says, or an operation
    /// does not run here.
    pub(super) fn of(graph: &Graph, opening: &mut Opening<'_>) -> Result<Self, String> {
        let mut planner = Planner::default();
        let inputs: Vec<usize> = graph.inputs().iter().map(|_| planner.value()).collect();
        let outputs = planner.inline(graph, &inputs, opening)?;
        let mut plan = Self {
            n_values: planner.n_values,
            inputs,
            outputs,
            constants: planner.constants,
            steps: planner.steps,
            input_types: graph.input_types(),
            output_types: graph.output_types(),
        };
        plan.find_last_uses();
        Ok(plan)
    }

    pub(super) fn input_types(&self) -> &[ArrayType] {
        &self.input_types
    }

    pub(super) fn output_types(&self) -> &[ArrayType] {
        &self.output_types
    }

    /// Notes after which step each value is not needed any more.
    fn find_last_uses(&mut self) {
        let mut is_needed = vec![false; self.n_values];
        let mut is_used = vec![false; self.n_values];
        let steps = self.steps.iter().flat_map(|step| &step.inputs);
        for &value in self.outputs.iter().chain(steps) {
            is_used[value] = true;
        }
        // Of what was computed to the end, only the end is.
        self.constants.retain(|value, _| is_used[*value]);
        let kept = self.constants.keys();
        for &value in self.outputs.iter().chain(kept) {
            is_needed[value] = true;
        }
        for step in self.steps.iter_mut().rev() {
            for &value in step.inputs.iter().chain(&step.outputs) {
                if !std::mem::replace(&mut is_needed[value], true) {
                    step.last.push(value);
                }
            }
        }
    }

    /// The operations that no kernel computes, and how many of each.
    pub(super) fn without_kernels(&self) -> Vec<(String, usize)> {
        let mut found: Vec<(String, usize)> = Vec::new();
        let mut add = |name: &str, count: usize| match found.iter_mut().find(|one| one.0 == name) {
            Some((_, before)) => *before += count,
            None => found.push((name.to_owned(), count)),
        };
        for step in &self.steps {
            let inner = match &step.work {
                Work::Op(op, is_checked) => {
                    if !(*is_checked && has_kernel(op, &step.input_types, &step.types)) {
                        add(op.name(), 1);
                    }
                    Vec::new()
                }
                Work::Cond([then, otherwise]) => vec![then, otherwise],
                Work::While {
                    condition, body, ..
                } => vec![condition, body],
                Work::Scan { body, .. } => vec![body],
            };
            for (name, count) in inner.iter().flat_map(|plan| plan.without_kernels()) {
                add(&name, count);
            }
        }
        found
    }
}

/// What is known while a graph is planned.
#[derive(Default)]
struct Planner {
    n_values: usize,
    constants: BTreeMap<usize, HostArray>,
    steps: Vec<Step>,
}

impl Planner {
    fn value(&mut self) -> usize {
        self.n_values += 1;
        self.n_values - 1
    }

    /// Plans a graph of these inputs, and returns its outputs.
    fn inline(
        &mut self,
        graph: &Graph,
        inputs: &[usize],
        opening: &mut Opening<'_>,
    ) -> Result<Vec<usize>, String> {
        let mut numbers = Vec::new();
        for (value, origin) in graph.values() {
            let array_type = graph.array_type(value);
            numbers.push(match origin {
                ValueOrigin::Input(index) => *inputs
                    .get(*index)
                    .ok_or_else(|| format!("wanted an input {index}, got none"))?,
                ValueOrigin::Constant(constant) => {
                    let number = self.value();
                    let array = constant_array(constant, array_type, opening)?;
                    self.constants.insert(number, array);
                    number
                }
                ValueOrigin::Node(..) => self.value(),
            });
        }
        for node in graph.nodes() {
            let of = |value: &mlx_compiler::graph::Value| numbers[value.index()];
            let inputs: Vec<usize> = node.inputs.iter().map(of).collect();
            let outputs: Vec<usize> = node.outputs.iter().map(of).collect();
            if let Some(results) = self.inner(graph, node, &inputs, opening)? {
                for (value, result) in node.outputs.iter().zip(results) {
                    numbers[value.index()] = result;
                }
                continue;
            }
            let types = |values: &[mlx_compiler::graph::Value]| -> Vec<ArrayType> {
                let of = |value: &mlx_compiler::graph::Value| graph.array_type(*value).clone();
                values.iter().map(of).collect()
            };
            let (input_types, types) = (types(&node.inputs), types(&node.outputs));
            let step = Step {
                work: work(node, &input_types, &types, opening)?,
                inputs,
                outputs,
                types,
                last: Vec::new(),
                input_types,
            };
            match self.folded(&step, opening.budget) {
                Some(results) => {
                    let bytes = step.types.iter().filter_map(ArrayType::nbytes);
                    opening.budget -= bytes.sum::<usize>().min(opening.budget);
                    self.constants.extend(step.outputs.into_iter().zip(results));
                }
                None => self.steps.push(step),
            }
        }
        let outputs = graph.outputs().iter();
        Ok(outputs.map(|value| numbers[value.index()]).collect())
    }

    /// What a step gives that depends on no input, unless it is large: weights stay as they are stored.
    fn folded(&self, step: &Step, budget: usize) -> Option<Vec<HostArray>> {
        let bytes = step.types.iter().map(ArrayType::nbytes);
        let bytes = bytes.sum::<Option<usize>>()?;
        (bytes <= MAX_FOLDED_BYTES.min(budget)).then_some(())?;
        let inputs = step.inputs.iter();
        let inputs = inputs.map(|value| self.constants.get(value).cloned());
        let inputs: Vec<HostArray> = inputs.collect::<Option<_>>()?;
        let pool = MemoryPool::new(MAX_FOLDED_IN_ALL);
        match &step.work {
            // An error is that of each run.
            Work::Op(op, is_checked) => {
                let results = apply(op, *is_checked, inputs, &step.types, &pool).ok()?;
                let types = results.iter().map(HostArray::array_type);
                types.eq(&step.types).then_some(results)
            }
            _ => None,
        }
    }

    /// Plans the graph inside a node that runs once, in the node's place.
    fn inner(
        &mut self,
        graph: &Graph,
        node: &Node,
        inputs: &[usize],
        opening: &mut Opening<'_>,
    ) -> Result<Option<Vec<usize>>, String> {
        let results = match &node.operation {
            Operation::Fused(fused) if has_kernels(fused) => {
                skip(&fused.body, opening);
                self.inline(&fused.kernel, inputs, opening)?
            }
            Operation::Fused(fused) => {
                let results = self.inline(&fused.body, inputs, opening)?;
                skip(&fused.kernel, opening);
                results
            }
            Operation::FusedGroup(body) => self.inline(body, inputs, opening)?,
            // These compute what their function does.
            Operation::Transform {
                transform: Transform::Checkpoint | Transform::CustomFunction { .. },
                functions,
                ..
            } => {
                let (first, others) = functions
                    .split_first()
                    .ok_or("wanted a function to run, got none")?;
                let given = node.inputs.iter().map(|value| graph.array_type(*value));
                let fits = given.eq(first.input_types().iter())
                    && first.output_types().len() >= node.outputs.len();
                if !fits {
                    return Err("wanted a function of the inputs, got another".to_owned());
                }
                let results = self.inline(first, inputs, opening)?;
                others.iter().for_each(|other| skip(other, opening));
                let of = |value| graph.array_type(value);
                let wanted = node.outputs.iter().map(|value| of(*value));
                if !wanted.eq(first.output_types().iter().take(node.outputs.len())) {
                    return Err("wanted a function of the outputs, got another".to_owned());
                }
                results
            }
            _ => return Ok(None),
        };
        Ok(Some(results))
    }
}

/// Leaves out the arrays of a graph that does not run.
fn skip(graph: &Graph, opening: &mut Opening<'_>) {
    for _ in 0..n_arrays(graph) {
        opening.arrays.next();
    }
}

/// Whether kernels compute the fused operations of a formula.
fn has_kernels(fused: &Fused) -> bool {
    let graph = &fused.kernel;
    graph.nodes().iter().all(|node| {
        let (Some(op), [output]) = (node.operation.op(), node.outputs.as_slice()) else {
            return false;
        };
        let is_kernel = op.flags().contains(OpFlags::FUSED)
            || matches!(op, Op::QuantizedMatmul { .. } | Op::GatherQmm { .. });
        let inputs = node.inputs.iter();
        let types: Vec<ArrayType> = inputs
            .map(|value| graph.array_type(*value).clone())
            .collect();
        !is_kernel || is_computed(op, &types, graph.array_type(*output))
    })
}

/// What a node does that is a step by itself.
fn work(
    node: &Node,
    inputs: &[ArrayType],
    outputs: &[ArrayType],
    opening: &mut Opening<'_>,
) -> Result<Work, String> {
    let name = node.operation.name();
    let refused = || format!("wanted operations that run without MLX, got {name}");
    Ok(match &node.operation {
        Operation::Op(op) => {
            let communicates = op.flags().contains(OpFlags::COMMUNICATES);
            if communicates || REFUSED.contains(&name) || matches!(op, Op::Custom(_)) {
                return Err(refused());
            }
            let given = output_types(op, inputs);
            let is_checked = given.is_some();
            let given = given
                .transpose()
                .map_err(|text| format!("{name}: {text}"))?;
            if let Some(given) = given
                && given != outputs
            {
                let list = |types: &[ArrayType]| {
                    let texts: Vec<String> = types.iter().map(ToString::to_string).collect();
                    texts.join(", ")
                };
                return Err(format!(
                    "wanted the types that operations give, got {} for {name}, which gives {}",
                    list(outputs),
                    list(&given)
                ));
            }
            Work::Op(op.clone(), is_checked)
        }
        Operation::Cond { then, otherwise } => {
            check_condition("cond", inputs)?;
            let then = Box::new(Plan::of(then, opening)?);
            Work::Cond([then, Box::new(Plan::of(otherwise, opening)?)])
        }
        Operation::While {
            condition,
            body,
            n_state,
        } => {
            check_condition("while_loop", &condition.output_types())?;
            Work::While {
                condition: Box::new(Plan::of(condition, opening)?),
                body: Box::new(Plan::of(body, opening)?),
                n_state: *n_state,
            }
        }
        Operation::Scan {
            body,
            n_carry,
            n_sequences,
            length,
            reverse,
        } => {
            let body = Box::new(Plan::of(body, opening)?);
            let made = body.output_types.iter().zip(outputs).skip(*n_carry);
            let is_stack = |(row, stack): (&ArrayType, &ArrayType)| {
                let (first, rest) = stack.shape.split_first()?;
                let fits = usize::try_from(*first) == Ok(*length) && rest == row.shape;
                (fits && row.dtype == stack.dtype).then_some(())
            };
            if !made.map(is_stack).all(|fits| fits.is_some()) {
                return Err("scan: wanted results of all steps, got other types".to_owned());
            }
            Work::Scan {
                body,
                n_carry: *n_carry,
                n_sequences: *n_sequences,
                length: *length,
                reverse: *reverse,
            }
        }
        _ => return Err(refused()),
    })
}

/// Refuses a condition, the first of these, that is not one truth value.
fn check_condition(name: &str, types: &[ArrayType]) -> Result<(), String> {
    let is_one = |x: &&ArrayType| x.dtype == mlx::Dtype::Bool && x.nbytes() == Some(1);
    match types.first() {
        Some(got) if !is_one(&got) => Err(format!("{name}: wanted a bool as condition, got {got}")),
        Some(_) => Ok(()),
        None => Err(format!("{name}: wanted a bool as condition, got nothing")),
    }
}

/// The array of a constant.
fn constant_array(
    constant: &Constant,
    array_type: &ArrayType,
    opening: &mut Opening<'_>,
) -> Result<HostArray, String> {
    let array = match constant {
        Constant::Number(literal) => {
            let shape = sizes(&array_type.shape).map_err(|error| error.to_string())?;
            let numbers = vec![number(*literal)];
            let tensor = Tensor::new(&shape, array_type.dtype, numbers);
            let array = tensor.and_then(|tensor| array_of(&tensor));
            array.map_err(|error| error.to_string())?
        }
        Constant::Array(_) | Constant::Missing => opening
            .arrays
            .next()
            .ok_or("wanted another array, got no more")?,
    };
    if array.array_type() != array_type {
        let got = array.array_type();
        return Err(format!("wanted an array {array_type}, got {got}"));
    }
    Ok(array)
}
