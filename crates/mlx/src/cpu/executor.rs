//! Programs on the CPU: one host kernel that runs the instructions of a program in order.

use mlx_kernels::ElementwiseProgram;

use super::custom::{HostKernel, host_kernel};
use super::layout::{input, output};
use super::{broadcast_input, elementwise_program, is_instruction, lower, run, supports, update};
use crate::ffi::host::{HostInput, HostOutput, Layout};
use crate::ffi::memory_plan::{BufferView, InstructionViews, Memory, MemoryPlan};
use crate::ffi::table_op::TableOp;
use crate::op::Op;
use crate::program::planner::{self, Signature, Target};
use crate::program::{Elementwise, InstructionKind, Place, PlanError, Program, Step, Update, View};
use crate::{ArrayType, SharedArray};

/// Intermediate results of a program must fit into this many bytes, which each thread keeps.
const MAX_SCRATCH_BYTES: usize = 4 << 20;

/// What the CPU answers to the planner.
struct CpuTarget;

/// Returns whether an operation of contiguous inputs may be a step of a program; [`program`] knows for sure.
pub fn may_be_step(op: &Op, inputs: &[ArrayType], output: &ArrayType) -> bool {
    planner::may_be_step(&CpuTarget, op, inputs, output)
}

impl Target for CpuTarget {
    fn broadcast_input(
        &self,
        op: &Op,
        inputs: &[Layout<'_>],
        output: &[i32],
    ) -> Option<(usize, Vec<i32>)> {
        broadcast_input(op, inputs, output)
    }

    fn supports(&self, op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
        if let Some(kernel) = HostKernel::of_instruction(op) {
            let array_type = |layout: &Layout<'_>| ArrayType {
                shape: layout.shape().to_vec(),
                dtype: layout.dtype(),
            };
            let types: Vec<ArrayType> = inputs.iter().map(array_type).collect();
            return output.size() > 0 && kernel.gives(&types, &array_type(&output));
        }
        is_instruction(op) && supports(op, inputs, output)
    }

    fn supports_elementwise(&self, elementwise: &Elementwise) -> bool {
        lower::lower(elementwise).is_some()
    }

    fn max_scratch_bytes(&self) -> usize {
        MAX_SCRATCH_BYTES
    }
}

/// Makes a program for the CPU of steps; `outputs` are the values that it returns, and the last `n_constants` inputs are
/// the same arrays in all runs.
///
/// # Errors
/// Why it cannot be made; the operations can still run one by one.
pub fn program(
    inputs: &[ArrayType],
    n_constants: usize,
    steps: Vec<Step>,
    outputs: &[usize],
) -> Result<Program, PlanError> {
    let signature = Signature {
        inputs,
        n_constants,
        outputs,
    };
    planner::plan(&CpuTarget, signature, steps)
}

/// Makes a host kernel that runs a program on the CPU, with these constants.
///
/// # Errors
/// When the constants are of other types, or the program is not for the CPU.
pub fn program_kernel(
    name: &str,
    program: &Program,
    constants: Vec<SharedArray>,
) -> Result<HostKernel, PlanError> {
    let wanted = &program.inputs()[program.inputs().len() - program.n_constants()..];
    let given = constants.iter().map(SharedArray::array_type);
    if !given.eq(wanted.iter().cloned()) {
        return Err(PlanError::Malformed);
    }
    let executor = Executor::new(program)?;
    let (types, donated) = (program.outputs().to_vec(), program.donated().to_vec());
    let kernel = host_kernel(
        name,
        move |_| Ok(types.clone()),
        move |inputs, outputs| executor.run(inputs, outputs),
    );
    let kernel = kernel.map_err(|_| PlanError::Malformed)?;
    Ok(kernel
        .taking_strides()
        .starting_as(donated)
        .capturing(constants))
}

/// What an instruction runs.
enum Kernel {
    Op(TableOp),
    Host(HostKernel),
    Elementwise(ElementwiseProgram),
    Copy,
    Update(Update),
}

impl Kernel {
    fn of(kind: &InstructionKind) -> Option<Self> {
        Some(match kind {
            InstructionKind::Op(op) => match HostKernel::of_instruction(op) {
                Some(kernel) => Self::Host(kernel),
                None => Self::Op(TableOp::new(op.clone())?),
            },
            InstructionKind::Elementwise(elementwise) => {
                Self::Elementwise(lower::lower(elementwise)?)
            }
            InstructionKind::Copy => Self::Copy,
            InstructionKind::Update(update) => Self::Update(update.clone()),
        })
    }

    /// Whether inputs may have other strides than was planned.
    fn takes_strides(&self) -> bool {
        // These read weights in place, and were chosen for their strides.
        !matches!(self, Self::Op(op) if matches!(op.get(), Op::Matmul | Op::Addmm { .. }))
    }

    fn run(&self, inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> Result<(), String> {
        match self {
            Self::Op(op) => run::run(op.get(), inputs, outputs),
            Self::Host(kernel) => kernel.run(inputs, outputs),
            Self::Elementwise(program) => elementwise_program::run(program, inputs, outputs),
            Self::Copy => input(inputs, 0)?.copy_contiguous(output(outputs, 0)?.as_mut_bytes()),
            Self::Update(part) => update::run(part, inputs, outputs),
        }
    }
}

/// A program with its kernels.
struct Executor {
    kernels: Vec<(Kernel, String)>,
    memory: MemoryPlan,
}

impl Executor {
    fn new(program: &Program) -> Result<Self, PlanError> {
        let mut kernels = Vec::new();
        let mut views = Vec::new();
        for (number, instruction) in program.instructions().iter().enumerate() {
            let kernel = Kernel::of(&instruction.kind).ok_or(PlanError::Step(number))?;
            let view = |view: &View| buffer_view(program, view);
            views.push(InstructionViews {
                inputs: instruction.reads.iter().map(view).collect(),
                outputs: instruction.writes.iter().map(view).collect(),
                takes_strides: kernel.takes_strides(),
            });
            kernels.push((kernel, instruction.name.clone()));
        }
        let memory = MemoryPlan::new(
            program.inputs().to_vec(),
            program.outputs().to_vec(),
            program.donated().to_vec(),
            program.scratch_bytes(),
            views,
        );
        Ok(Self {
            kernels,
            memory: memory.ok_or(PlanError::Malformed)?,
        })
    }

    fn run(&self, inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> Result<(), String> {
        self.memory.run(inputs, outputs, |number, inputs, outputs| {
            let (kernel, name) = &self.kernels[number];
            kernel
                .run(inputs, outputs)
                .map_err(|text| format!("{name}: {text}"))
        })
    }
}

fn buffer_view(program: &Program, view: &View) -> BufferView {
    let (memory, offset) = match program.buffers()[view.buffer].place {
        Place::Input(index) => (Memory::Input(index), 0),
        Place::Output { index, .. } => (Memory::Output(index), 0),
        Place::Scratch(offset) => (Memory::Scratch, offset),
    };
    BufferView {
        memory,
        offset: offset + view.offset * view.array_type.dtype.size(),
        array_type: view.array_type.clone(),
        strides: view.strides.clone(),
    }
}
