//! What a program is made of: steps before planning, and buffers, views and instructions after it.

use super::{Elementwise, Update};
use crate::ArrayType;
use crate::op::Op;

/// What a step computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// An operation of the table, with one output.
    Op(Op),
    /// Elementwise operations, whose inputs broadcast to the shape of their outputs.
    Elementwise(Elementwise),
}

/// One step before planning. Values are numbered: first the inputs of the program, then the outputs of each step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it computes.
    pub operation: Operation,
    /// The name in errors.
    pub name: String,
    /// The values that it takes.
    pub inputs: Vec<usize>,
    /// The types of its results.
    pub outputs: Vec<ArrayType>,
}

/// Why no program can be made of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// The executor has no kernel for the step of this number.
    Step(usize),
    /// The intermediate results need more memory than executors keep for them.
    Memory,
    /// Numbers of values or types do not fit together.
    Malformed,
}

/// Where a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An input of the program.
    Input(usize),
    /// An output of the program. It may start as an input of its type, which no instruction reads then: in that input's
    /// memory if that is not needed elsewhere, as a copy otherwise.
    Output {
        /// Which output.
        index: usize,
        /// The input that it starts as.
        donated: Option<usize>,
    },
    /// Scratch memory, from this byte on.
    Scratch(usize),
}

/// Memory for the elements of an array, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Where it is.
    pub place: Place,
    /// The array that fills it.
    pub array_type: ArrayType,
}

/// An array in a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The number of the buffer.
    pub buffer: usize,
    /// Where the first element is, in elements.
    pub offset: usize,
    /// Shape and dtype.
    pub array_type: ArrayType,
    /// The distances between neighbours along each axis, in elements; none is negative.
    pub strides: Vec<i64>,
}

/// What an instruction does.
#[derive(Clone, Debug, PartialEq)]
pub enum InstructionKind {
    /// An operation of the table.
    Op(Op),
    /// Elementwise operations in one pass.
    Elementwise(Elementwise),
    /// The elements of what it reads, in row-major order.
    Copy,
    /// Writes the first array that it reads into part of the output, which keeps its other elements.
    Update(Update),
}

/// One instruction: it reads views and fills others, none of which overlaps what it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// What it does.
    pub kind: InstructionKind,
    /// The name in errors.
    pub name: String,
    /// What it reads.
    pub reads: Vec<View>,
    /// What it writes, in row-major order.
    pub writes: Vec<View>,
}

/// A step of computation, planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub(super) inputs: Vec<ArrayType>,
    pub(super) n_constants: usize,
    pub(super) outputs: Vec<ArrayType>,
    pub(super) donated: Vec<Option<usize>>,
    pub(super) buffers: Vec<Buffer>,
    pub(super) instructions: Vec<Instruction>,
    pub(super) scratch_bytes: usize,
}

impl Program {
    /// Returns the types of the inputs, constants last.
    pub fn inputs(&self) -> &[ArrayType] {
        &self.inputs
    }

    /// Returns how many of the last inputs are the same arrays in all runs.
    pub fn n_constants(&self) -> usize {
        self.n_constants
    }

    /// Returns the types of the outputs.
    pub fn outputs(&self) -> &[ArrayType] {
        &self.outputs
    }

    /// Returns the input that each output starts as.
    pub fn donated(&self) -> &[Option<usize>] {
        &self.donated
    }

    /// Returns the buffers; those of inputs come first.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Returns the instructions, in the order in which they run.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Returns how much scratch memory a run needs.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch_bytes
    }
}
