//! From steps to a program: views, buffers, donation.

use super::scratch;
use super::update::Update;
use super::view::{broadcast, view};
use super::{
    Buffer, Elementwise, Instruction, InstructionKind, Operation, Place, PlanError, Program, Step,
    View,
};
use crate::ArrayType;
use crate::ffi::host::Layout;
use crate::op::Op;
use crate::shape::{is_row_major, row_major_strides};

/// What an executor can compute.
pub(crate) trait Target {
    /// Returns which input of an operation it wants broadcast, and to what shape.
    fn broadcast_input(
        &self,
        op: &Op,
        inputs: &[Layout<'_>],
        output: &[i32],
    ) -> Option<(usize, Vec<i32>)>;
    /// Returns whether it computes an operation of inputs with this layout.
    fn supports(&self, op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool;
    /// Returns whether it computes these elementwise operations.
    fn supports_elementwise(&self, elementwise: &Elementwise) -> bool;
    /// Returns how much scratch memory it has.
    fn max_scratch_bytes(&self) -> usize;
}

/// What goes into a program and what comes out.
#[derive(Clone, Copy)]
pub(crate) struct Signature<'a> {
    pub(crate) inputs: &'a [ArrayType],
    /// How many of the last inputs are the same arrays in all runs.
    pub(crate) n_constants: usize,
    /// The values that are returned.
    pub(crate) outputs: &'a [usize],
}

/// A buffer that may yet become an output.
pub(super) struct Draft {
    pub(super) array_type: ArrayType,
    pub(super) place: Place,
    /// The input whose elements it starts with.
    donated: Option<usize>,
}

impl View {
    /// All of a buffer.
    pub(crate) fn whole(buffer: usize, array_type: &ArrayType) -> Self {
        Self {
            buffer,
            offset: 0,
            strides: row_major_strides(&array_type.shape),
            array_type: array_type.clone(),
        }
    }

    pub(crate) fn layout(&self) -> Layout<'_> {
        Layout::new(self.array_type.dtype, &self.array_type.shape, &self.strides)
    }

    fn is_row_contiguous(&self) -> bool {
        is_row_major(&self.array_type.shape, &self.strides)
    }

    fn is_whole(&self, array_type: &ArrayType) -> bool {
        self.offset == 0 && self.array_type == *array_type && self.is_row_contiguous()
    }
}

/// Returns what the kernel of an operation reads; `None` if there is none for such inputs.
pub(crate) fn reads(
    target: &dyn Target,
    op: &Op,
    inputs: &[View],
    output: &ArrayType,
) -> Option<Vec<View>> {
    let mut reads = inputs.to_vec();
    let layouts: Vec<Layout<'_>> = reads.iter().map(View::layout).collect();
    if let Some((input, shape)) = target.broadcast_input(op, &layouts, &output.shape) {
        reads[input] = broadcast(reads.get(input)?, &shape)?;
    }
    let layouts: Vec<Layout<'_>> = reads.iter().map(View::layout).collect();
    let strides = row_major_strides(&output.shape);
    let output = Layout::new(output.dtype, &output.shape, &strides);
    target.supports(op, &layouts, output).then_some(reads)
}

/// Returns whether an operation of contiguous inputs may be a step; [`plan`] knows for sure.
pub(crate) fn may_be_step(
    target: &dyn Target,
    op: &Op,
    inputs: &[ArrayType],
    output: &ArrayType,
) -> bool {
    if op.is_view() {
        return true;
    }
    let inputs: Vec<View> = inputs.iter().map(|input| View::whole(0, input)).collect();
    Update::of(op, &inputs).is_some() || reads(target, op, &inputs, output).is_some()
}

/// Makes a program of steps.
///
/// # Errors
/// Why it cannot be made; the operations can still run one by one.
pub(crate) fn plan(
    target: &dyn Target,
    signature: Signature<'_>,
    steps: Vec<Step>,
) -> Result<Program, PlanError> {
    let mut planner = Planner::new(target, signature, &steps)?;
    for (number, step) in steps.into_iter().enumerate() {
        planner.step(step)?.ok_or(PlanError::Step(number))?;
    }
    planner.finish(signature)
}

/// What is known of all steps while they are planned one by one.
struct Planner<'a> {
    target: &'a dyn Target,
    values: Vec<View>,
    /// Inputs whose memory may be donated: those that are given for each run.
    n_free: usize,
    /// How many steps and outputs take each value.
    users: Vec<usize>,
    is_output: Vec<bool>,
    /// Inputs first.
    drafts: Vec<Draft>,
    instructions: Vec<Instruction>,
}

impl<'a> Planner<'a> {
    fn new(
        target: &'a dyn Target,
        signature: Signature<'_>,
        steps: &[Step],
    ) -> Result<Self, PlanError> {
        let inputs = signature.inputs;
        let n_free = inputs.len().checked_sub(signature.n_constants);
        let n_made: usize = steps.iter().map(|step| step.outputs.len()).sum();
        let mut users = vec![0; inputs.len() + n_made];
        let mut is_output = vec![false; users.len()];
        let taken = steps.iter().flat_map(|step| &step.inputs);
        for &value in taken.chain(signature.outputs) {
            *users.get_mut(value).ok_or(PlanError::Malformed)? += 1;
        }
        for &output in signature.outputs {
            is_output[output] = true;
        }
        let draft = |(index, array_type): (usize, &ArrayType)| Draft {
            array_type: array_type.clone(),
            place: Place::Input(index),
            donated: None,
        };
        let value = |(buffer, array_type): (usize, &ArrayType)| View::whole(buffer, array_type);
        Ok(Self {
            target,
            values: inputs.iter().enumerate().map(value).collect(),
            n_free: n_free.ok_or(PlanError::Malformed)?,
            users,
            is_output,
            drafts: inputs.iter().enumerate().map(draft).collect(),
            instructions: Vec::new(),
        })
    }

    /// Plans one step; `None` if the target has no kernel for it.
    fn step(&mut self, step: Step) -> Result<Option<()>, PlanError> {
        let inputs = step.inputs.iter();
        let inputs: Option<Vec<View>> = inputs
            .map(|&value| self.values.get(value).cloned())
            .collect();
        let inputs = inputs.ok_or(PlanError::Malformed)?;
        match step.operation {
            Operation::Op(op) => {
                let [output] = step.outputs.as_slice() else {
                    return Ok(None);
                };
                let source = step.inputs.first().copied();
                let result = self.op(op, step.name, (source, inputs), output);
                let is_planned = result.is_some();
                self.values.extend(result);
                Ok(is_planned.then_some(()))
            }
            Operation::Elementwise(elementwise) => {
                if !self.target.supports_elementwise(&elementwise) {
                    return Ok(None);
                }
                let writes: Vec<View> = step.outputs.iter().map(|to| self.buffer(to)).collect();
                self.values.extend(writes.iter().cloned());
                self.instructions.push(Instruction {
                    kind: InstructionKind::Elementwise(elementwise),
                    name: step.name,
                    reads: inputs,
                    writes,
                });
                Ok(Some(()))
            }
        }
    }

    /// Plans one operation and returns its result; `None` if there is no kernel for it.
    fn op(
        &mut self,
        op: Op,
        name: String,
        (source, inputs): (Option<usize>, Vec<View>),
        output: &ArrayType,
    ) -> Option<View> {
        if op.is_view() {
            let input = inputs.into_iter().next()?;
            return view(&op, &input, output).or_else(|| {
                let copy = self.copy(&input);
                view(&op, &copy, output)
            });
        }
        if let Some((update, reads)) = Update::of(&op, &inputs) {
            let result = self.updated(source?, &inputs[0], output);
            self.instructions.push(Instruction {
                kind: InstructionKind::Update(update),
                name,
                reads,
                writes: vec![result.clone()],
            });
            return Some(result);
        }
        let reads = reads(self.target, &op, &inputs, output)?;
        let result = self.buffer(output);
        self.instructions.push(Instruction {
            kind: InstructionKind::Op(op),
            name,
            reads,
            writes: vec![result.clone()],
        });
        Some(result)
    }

    /// A new buffer, in scratch memory unless it becomes an output.
    fn buffer(&mut self, array_type: &ArrayType) -> View {
        self.drafts.push(Draft {
            array_type: array_type.clone(),
            place: Place::Scratch(0),
            donated: None,
        });
        View::whole(self.drafts.len() - 1, array_type)
    }

    fn copy(&mut self, value: &View) -> View {
        let copy = self.buffer(&value.array_type);
        self.instructions.push(Instruction {
            kind: InstructionKind::Copy,
            name: "copy".to_owned(),
            reads: vec![value.clone()],
            writes: vec![copy.clone()],
        });
        copy
    }

    /// Where an update of a value goes: into the memory of an input, which becomes that of an output, or into a copy.
    fn updated(&mut self, source: usize, target: &View, output: &ArrayType) -> View {
        let next = self.values.len();
        let is_own = self.users.get(source) == Some(&1)
            && self.is_output.get(next) == Some(&true)
            && !self.is_output[source]
            && target.is_whole(output);
        let index = target.buffer;
        let is_taken = self.drafts.iter().any(|draft| draft.donated == Some(index));
        if is_own && index < self.n_free && !is_taken && self.is_alone(source) {
            let result = self.buffer(output);
            self.drafts[result.buffer].donated = Some(index);
            return result;
        }
        self.copy(target)
    }

    /// Whether no view of this value has been made before.
    fn is_alone(&self, value: usize) -> bool {
        let buffer = self.values[value].buffer;
        let mut others = self.values.iter().enumerate();
        !others.any(|(index, other)| index != value && other.buffer == buffer)
    }

    fn finish(mut self, signature: Signature<'_>) -> Result<Program, PlanError> {
        let mut outputs = Vec::new();
        for (index, output) in signature.outputs.iter().enumerate() {
            let value = self
                .values
                .get(*output)
                .ok_or(PlanError::Malformed)?
                .clone();
            outputs.push(value.array_type.clone());
            let draft = &self.drafts[value.buffer];
            let is_free = matches!(draft.place, Place::Scratch(_));
            let buffer = if is_free && value.is_whole(&draft.array_type) {
                value.buffer
            } else {
                self.copy(&value).buffer
            };
            let donated = self.drafts[buffer].donated;
            self.drafts[buffer].place = Place::Output { index, donated };
        }
        // Memory that keeps an input's elements must be an output.
        let is_lost =
            |draft: &Draft| draft.donated.is_some() && !matches!(draft.place, Place::Output { .. });
        if self.drafts.iter().any(is_lost) {
            return Err(PlanError::Malformed);
        }
        let mut donated = vec![None; outputs.len()];
        for draft in &self.drafts {
            if let Place::Output { index, .. } = draft.place {
                donated[index] = draft.donated;
            }
        }
        let max_bytes = self.target.max_scratch_bytes();
        let scratch_bytes = scratch::place(&self.instructions, &mut self.drafts, max_bytes)?;
        let buffers = self.drafts.into_iter().map(|draft| Buffer {
            place: draft.place,
            array_type: draft.array_type,
        });
        Ok(Program {
            inputs: signature.inputs.to_vec(),
            n_constants: signature.n_constants,
            outputs,
            donated,
            buffers: buffers.collect(),
            instructions: self.instructions,
            scratch_bytes,
        })
    }
}
