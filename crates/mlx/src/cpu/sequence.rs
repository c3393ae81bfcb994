//! Operations that run one after the other in one kernel: what a graph of small arrays costs is then its arithmetic.
//!
//! An operation of MLX's costs some microseconds however little it computes. A sequence is one such operation for many:
//! layouts and the places of intermediate results are worked out once, and a run calls the kernels
//! in order. Operations that only look at an array differently cost nothing. An output that an operation makes by
//! writing into an input keeps that input's memory, where nobody else needs it.

use mlx_kernels::Program;

pub use super::region::program_kernel;
use super::{Kernel, region, step};
use crate::fast::{HostKernel, host_kernel};
use crate::ffi::host::{Described, HostInput, HostOutput};
use crate::ffi::slots::{Memory, Slot, Slots, StepSlots, bytes};
use crate::op::Op;
use crate::shape::{is_row_major, row_major_strides};
use crate::{ArrayType, SharedArray};

/// What a step of a sequence does.
pub enum StepKind {
    /// An operation of the table, with one output.
    Op(Op),
    /// An elementwise program, whose inputs broadcast to the shape of its outputs.
    Program(Program),
}

/// One step of a sequence. Values are numbered: first the inputs of the sequence, then the outputs of each step.
pub struct SequenceStep {
    /// What it does.
    pub kind: StepKind,
    /// The name that errors give.
    pub name: String,
    /// The values that it takes.
    pub inputs: Vec<usize>,
    /// The types of what it makes.
    pub outputs: Vec<ArrayType>,
}

/// Why there is no sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSequence {
    /// No kernel computes the step of this number.
    Step(usize),
    /// The intermediate results need more memory than is kept for sequences.
    Memory,
    /// Numbers of values or types do not fit together.
    Malformed,
}

/// Intermediate results of a sequence must fit into so many bytes, which each thread keeps.
const MOST_SCRATCH: usize = 4 << 20;

/// Returns whether an operation only looks at its input differently.
pub fn is_view(op: &Op) -> bool {
    op.is_view()
}

/// Returns whether a view keeps its input's elements in their order, in another shape.
pub fn reshapes(op: &Op) -> bool {
    step::reshapes(op)
}

/// Returns whether there may be a kernel for an operation of inputs of these types; [`sequence`] knows for sure.
pub fn may_be_step(op: &Op, inputs: &[ArrayType], output: &ArrayType) -> bool {
    let contiguous: Vec<Placed> = inputs
        .iter()
        .map(|t| Placed::new(Home::Input(0), t))
        .collect();
    if op.is_view() {
        return true;
    }
    step::is_write(op, &contiguous) || step::kernel(op, &contiguous, output).is_some()
}

/// Makes a kernel of steps; `outputs` are the values that it returns. The last inputs may be `captured`: the kernel is
/// then applied to the others.
///
/// # Errors
/// Why it cannot be made; then nothing is lost, the operations run one by one.
pub fn sequence(
    name: &str,
    inputs: &[ArrayType],
    steps: Vec<SequenceStep>,
    outputs: &[usize],
    captured: Vec<SharedArray>,
) -> Result<HostKernel, NoSequence> {
    let first = inputs.len().checked_sub(captured.len());
    let fits = first.is_some_and(|first| {
        let pairs = captured.iter().zip(&inputs[first..]);
        pairs
            .into_iter()
            .all(|(array, wanted)| array.array_type() == *wanted)
    });
    if !fits {
        return Err(NoSequence::Malformed);
    }
    let n_free = inputs.len() - captured.len();
    let plan = Plan::new(inputs, n_free, steps, outputs)?;
    let types = plan.outputs.clone();
    let origins = plan.origins.clone();
    let kernel = host_kernel(
        name,
        move |_| Ok(types.clone()),
        move |inputs, outputs| plan.run(inputs, outputs),
    );
    let kernel = kernel.map_err(|_| NoSequence::Malformed)?;
    Ok(kernel
        .taking_strides()
        .starting_as(origins)
        .capturing(captured))
}

/// Where the elements of a value live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Input(usize),
    /// Memory that a step fills.
    Made(usize),
}

/// A value: elements of a home, seen in some way.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) home: Home,
    /// In elements.
    pub(super) offset: usize,
    pub(super) array_type: ArrayType,
    pub(super) strides: Vec<i64>,
}

impl Placed {
    pub(super) fn new(home: Home, array_type: &ArrayType) -> Self {
        Self {
            home,
            offset: 0,
            strides: row_major_strides(&array_type.shape),
            array_type: array_type.clone(),
        }
    }

    pub(super) fn is_row_contiguous(&self) -> bool {
        is_row_major(&self.array_type.shape, &self.strides)
    }
}

/// What runs.
enum Work {
    Kernel(Kernel),
    /// The elements in row-major order.
    Copy,
    /// An update, and perhaps where it starts, into the output.
    Write(step::Write),
    Program(Program),
}

impl Work {
    /// Whether inputs may lie otherwise than was planned.
    fn takes_strides(&self) -> bool {
        match self {
            // These read weights where they lie, and were chosen for where that is.
            Work::Kernel(Kernel::Matmul | Kernel::Addmm { .. }) => false,
            Work::Kernel(_) | Work::Copy | Work::Write(_) | Work::Program(_) => true,
        }
    }
}

/// A step with the values that it reads and the memory that it fills.
struct Planned {
    work: Work,
    name: String,
    reads: Vec<Placed>,
    writes: Vec<Placed>,
}

/// Memory that a step fills.
struct Made {
    array_type: ArrayType,
    /// The steps that use it first and last.
    uses: (usize, usize),
    output: Option<usize>,
    origin: Option<usize>,
}

/// A sequence, ready to run.
struct Plan {
    works: Vec<(Work, String)>,
    slots: Slots,
    outputs: Vec<ArrayType>,
    origins: Vec<Option<usize>>,
}

impl Plan {
    fn new(
        inputs: &[ArrayType],
        n_free: usize,
        steps: Vec<SequenceStep>,
        outputs: &[usize],
    ) -> Result<Self, NoSequence> {
        let mut made = Vec::new();
        let builder = Builder::new(inputs, n_free, &steps, outputs);
        let (mut planned, values) = builder.plan(steps, &mut made)?;
        let mut output_types = Vec::new();
        for (index, output) in outputs.iter().enumerate() {
            let value = values.get(*output).ok_or(NoSequence::Malformed)?;
            output_types.push(value.array_type.clone());
            if let Home::Made(home) = value.home
                && made[home].output.is_none()
                && made[home].array_type == value.array_type
                && value.offset == 0
                && value.is_row_contiguous()
            {
                made[home].output = Some(index);
                continue;
            }
            let home = new_home(&mut made, &value.array_type);
            made[home].output = Some(index);
            planned.push(Planned {
                work: Work::Copy,
                name: "copy".to_owned(),
                reads: vec![value.clone()],
                writes: vec![Placed::new(Home::Made(home), &value.array_type)],
            });
        }
        // Memory that keeps an input's elements must be an output.
        if made
            .iter()
            .any(|made| made.origin.is_some() && made.output.is_none())
        {
            return Err(NoSequence::Malformed);
        }
        let mut origins = vec![None; outputs.len()];
        for made in &made {
            if let Some(output) = made.output {
                origins[output] = made.origin;
            }
        }
        let (places, scratch) = places(&planned, &mut made)?;
        let slot = |placed: &Placed| {
            let (memory, offset) = match placed.home {
                Home::Input(index) => (Memory::Input(index), 0),
                Home::Made(home) => match made[home].output {
                    Some(output) => (Memory::Output(output), 0),
                    None => (Memory::Scratch, places[home]),
                },
            };
            Slot {
                memory,
                offset: offset + placed.offset * placed.array_type.dtype.size(),
                array_type: placed.array_type.clone(),
                strides: placed.strides.clone(),
            }
        };
        let steps = planned.iter().map(|step| StepSlots {
            inputs: step.reads.iter().map(slot).collect(),
            outputs: step.writes.iter().map(slot).collect(),
            takes_strides: step.work.takes_strides(),
        });
        let slots = Slots::new(
            inputs.to_vec(),
            output_types.clone(),
            origins.clone(),
            scratch,
            steps.collect(),
        );
        Ok(Self {
            slots: slots.ok_or(NoSequence::Malformed)?,
            works: planned
                .into_iter()
                .map(|step| (step.work, step.name))
                .collect(),
            outputs: output_types,
            origins,
        })
    }

    fn run(&self, inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> Result<(), String> {
        self.slots.run(inputs, outputs, |number, inputs, outputs| {
            let (work, name) = &self.works[number];
            let done = match work {
                Work::Kernel(kernel) => super::run(kernel, inputs, outputs),
                Work::Copy => step::copy(inputs, outputs),
                Work::Write(write) => write.run(inputs, outputs),
                Work::Program(program) => region::run(program, inputs, outputs),
            };
            done.map_err(|text| format!("{name}: {text}"))
        })
    }
}

fn new_home(made: &mut Vec<Made>, array_type: &ArrayType) -> usize {
    made.push(Made {
        array_type: array_type.clone(),
        uses: (0, 0),
        output: None,
        origin: None,
    });
    made.len() - 1
}

/// What is known of all steps while they are planned one by one.
struct Builder {
    values: Vec<Placed>,
    /// Inputs that are given for each run.
    n_free: usize,
    /// How many steps and outputs take each value.
    users: Vec<usize>,
    is_output: Vec<bool>,
}

impl Builder {
    fn new(inputs: &[ArrayType], n_free: usize, steps: &[SequenceStep], outputs: &[usize]) -> Self {
        let n_made: usize = steps.iter().map(|step| step.outputs.len()).sum();
        let mut users = vec![0; inputs.len() + n_made];
        let mut is_output = vec![false; users.len()];
        for &value in steps.iter().flat_map(|step| &step.inputs).chain(outputs) {
            if let Some(users) = users.get_mut(value) {
                *users += 1;
            }
        }
        for &output in outputs {
            if let Some(is_output) = is_output.get_mut(output) {
                *is_output = true;
            }
        }
        let place = |(index, array_type)| Placed::new(Home::Input(index), array_type);
        Self {
            values: inputs.iter().enumerate().map(place).collect(),
            n_free,
            users,
            is_output,
        }
    }

    fn plan(
        mut self,
        steps: Vec<SequenceStep>,
        made: &mut Vec<Made>,
    ) -> Result<(Vec<Planned>, Vec<Placed>), NoSequence> {
        let mut planned = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let inputs: Option<Vec<Placed>> = step
                .inputs
                .iter()
                .map(|&value| self.values.get(value).cloned())
                .collect();
            let inputs = inputs.ok_or(NoSequence::Malformed)?;
            match step.kind {
                StepKind::Op(op) => {
                    let [output] = step.outputs.as_slice() else {
                        return Err(NoSequence::Step(number));
                    };
                    let source = step.inputs.first().copied();
                    let one = self.op(op, step.name, (source, inputs), output, made, &mut planned);
                    self.values.push(one.ok_or(NoSequence::Step(number))?);
                }
                StepKind::Program(program) => {
                    let writes: Vec<Placed> = step
                        .outputs
                        .iter()
                        .map(|output| Placed::new(Home::Made(new_home(made, output)), output))
                        .collect();
                    self.values.extend(writes.iter().cloned());
                    planned.push(Planned {
                        work: Work::Program(program),
                        name: step.name,
                        reads: inputs,
                        writes,
                    });
                }
            }
        }
        Ok((planned, self.values))
    }

    /// Plans one operation and returns its result; `None` if there is no kernel for it.
    fn op(
        &self,
        op: Op,
        name: String,
        (source, inputs): (Option<usize>, Vec<Placed>),
        output: &ArrayType,
        made: &mut Vec<Made>,
        planned: &mut Vec<Planned>,
    ) -> Option<Placed> {
        if op.is_view() {
            let input = inputs.into_iter().next()?;
            return match step::view(&op, &input, output) {
                Some(view) => Some(view),
                None => {
                    let copied = copied(&input, made, planned);
                    step::view(&op, &copied, output)
                }
            };
        }
        if step::is_write(&op, &inputs) {
            let (write, rest) = step::Write::new(&op, &inputs)?;
            let target = &inputs[0];
            let source = source?;
            let next = self.values.len();
            let is_own = self.users.get(source) == Some(&1)
                && self.is_output.get(next) == Some(&true)
                && !self.is_output[source]
                && target.offset == 0
                && target.is_row_contiguous()
                && target.array_type == *output;
            let result = match target.home {
                // The memory of an input goes on as that of an output.
                Home::Input(index)
                    if is_own
                        && index < self.n_free
                        && !has_origin(made, index)
                        && self.is_alone(source) =>
                {
                    let home = new_home(made, output);
                    made[home].origin = Some(index);
                    Placed::new(Home::Made(home), output)
                }
                _ => copied(target, made, planned),
            };
            planned.push(Planned {
                work: Work::Write(write),
                name,
                reads: rest,
                writes: vec![result.clone()],
            });
            return Some(result);
        }
        let (kernel, reads) = step::kernel(&op, &inputs, output)?;
        let result = Placed::new(Home::Made(new_home(made, output)), output);
        planned.push(Planned {
            work: Work::Kernel(kernel),
            name,
            reads,
            writes: vec![result.clone()],
        });
        Some(result)
    }

    /// Whether no view of this value has been made before.
    fn is_alone(&self, value: usize) -> bool {
        let home = self.values[value].home;
        let others = self.values.iter().enumerate();
        !others
            .into_iter()
            .any(|(index, other)| index != value && other.home == home)
    }
}

fn has_origin(made: &[Made], index: usize) -> bool {
    made.iter().any(|made| made.origin == Some(index))
}

fn copied(value: &Placed, made: &mut Vec<Made>, planned: &mut Vec<Planned>) -> Placed {
    let copy = Placed::new(
        Home::Made(new_home(made, &value.array_type)),
        &value.array_type,
    );
    planned.push(Planned {
        work: Work::Copy,
        name: "copy".to_owned(),
        reads: vec![value.clone()],
        writes: vec![copy.clone()],
    });
    copy
}

/// The bytes between neighbouring places.
const ALIGNMENT: usize = 64;

/// Gives each memory that is no output a place, and says how many bytes that takes. Places are used again.
fn places(planned: &[Planned], made: &mut [Made]) -> Result<(Vec<usize>, usize), NoSequence> {
    let mut seen = vec![false; made.len()];
    for (number, step) in planned.iter().enumerate() {
        for placed in step.reads.iter().chain(&step.writes) {
            if let Home::Made(home) = placed.home {
                if !seen[home] {
                    (seen[home], made[home].uses.0) = (true, number);
                }
                made[home].uses.1 = number;
            }
        }
    }
    let mut places = vec![0; made.len()];
    let mut taken: Vec<(usize, usize, usize)> = Vec::new();
    let mut most = 0_usize;
    let mut order: Vec<usize> = (0..made.len()).filter(|&home| seen[home]).collect();
    order.sort_by_key(|&home| made[home].uses.0);
    for home in order {
        let Made {
            array_type,
            uses: (first, last),
            output: None,
            ..
        } = &made[home]
        else {
            continue;
        };
        let size = bytes(array_type).ok_or(NoSequence::Memory)?;
        let size = size.next_multiple_of(ALIGNMENT);
        // A step's results lie beside what it reads.
        taken.retain(|&(.., until)| until >= *first);
        taken.sort_unstable();
        let mut place = 0;
        for &(start, end, _) in &taken {
            if place + size <= start {
                break;
            }
            place = place.max(end);
        }
        taken.push((place, place + size, *last));
        places[home] = place;
        most = most.max(place + size);
        if most > MOST_SCRATCH {
            return Err(NoSequence::Memory);
        }
    }
    Ok((places, most))
}

/// Asks whether the kernel takes values that lie like this.
pub(super) fn accepts(kernel: &Kernel, inputs: &[Placed], output: &ArrayType) -> bool {
    let strides = row_major_strides(&output.shape);
    let inputs: Option<Vec<_>> = inputs
        .iter()
        .map(|input| Described::new(&input.array_type, &input.strides))
        .collect();
    let (Some(inputs), Some(output)) = (inputs, Described::new(output, &strides)) else {
        return false;
    };
    let inputs: Vec<_> = inputs.iter().map(Described::layout).collect();
    super::accepts(kernel, &inputs, &[output.layout()])
}
