//! The virtual machine: registers of one block, and what each operation does to them.

use super::block::BlockOperand;
use super::evaluate::evaluate;
use super::input_layout::BlockInput;
use super::program::{ElementwiseProgram, Operand, Operation};
use super::{TypedSlice, TypedSliceMut};

/// Registers, and copies of inputs that are not contiguous `f32`.
pub(super) struct Vm {
    registers: Vec<RegisterBuffer>,
    pub(super) copies: Vec<RegisterBuffer>,
    pub(super) inputs_of_block: Vec<BlockInput>,
}

/// A buffer that starts at a cache line, and each at another offset in its page: a vector store across two lines takes
/// twice as long, and so does a load whose low address bits equal those of a recent store (4K aliasing).
#[derive(Default)]
pub(super) struct RegisterBuffer {
    values: Vec<f32>,
    start: usize,
}

impl RegisterBuffer {
    /// Elements of a page.
    const PAGE: usize = 1024;
    /// Elements by which the offsets in a page differ: ten cache lines.
    const OFFSET: usize = 160;

    fn new(number: usize, count: usize) -> Self {
        let shift = number * Self::OFFSET % Self::PAGE;
        let values = vec![0.0_f32; Self::PAGE + shift + count];
        let page = values.as_ptr().align_offset(Self::PAGE * size_of::<f32>());
        Self {
            start: page.min(Self::PAGE) + shift,
            values,
        }
    }

    fn slice(&self) -> &[f32] {
        &self.values[self.start..]
    }

    pub(super) fn slice_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..]
    }
}

impl Vm {
    /// `block` elements in a register; `is_copied` tells which inputs need a copy.
    pub(super) fn new(program: &ElementwiseProgram, block: usize, is_copied: &[bool]) -> Self {
        let count = program.n_registers;
        let copy = |(input, is_copied): (usize, &bool)| match is_copied {
            true => RegisterBuffer::new(count + input, block),
            false => RegisterBuffer::default(),
        };
        Self {
            registers: (0..count)
                .map(|number| RegisterBuffer::new(number, block))
                .collect(),
            copies: is_copied.iter().enumerate().map(copy).collect(),
            inputs_of_block: vec![BlockInput::Copied; is_copied.len()],
        }
    }

    /// Runs the program over a block whose inputs have been located; its outputs start at `start`.
    pub(super) fn run(
        &mut self,
        program: &ElementwiseProgram,
        inputs: &[TypedSlice<'_>],
        outputs: &mut [TypedSliceMut<'_>],
        (start, length): (usize, usize),
        stream: bool,
    ) {
        for operation in &program.code {
            match operation {
                Operation::Evaluate {
                    instruction,
                    operands,
                    target,
                    output,
                } => {
                    // Taken out, so that the other registers can be borrowed.
                    let mut register = std::mem::take(&mut self.registers[*target]);
                    let operands = operands.map(|operand| self.operand(operand, inputs, length));
                    let result = &mut register.slice_mut()[..length];
                    match output.map(|output| &mut outputs[output]) {
                        Some(TypedSliceMut::F32(out)) => {
                            evaluate(
                                *instruction,
                                operands,
                                &mut out[start..start + length],
                                stream,
                            );
                        }
                        Some(out) => match (out.rounds_by(*instruction), operands[0]) {
                            // The conversion to the output rounds by itself.
                            (true, BlockOperand::Slice(values)) => out.write(start, values, stream),
                            _ => {
                                evaluate(*instruction, operands, result, false);
                                out.write(start, result, stream);
                            }
                        },
                        None => evaluate(*instruction, operands, result, false),
                    }
                    self.registers[*target] = register;
                }
                Operation::Store { from, output } => match self.operand(*from, inputs, length) {
                    BlockOperand::Slice(values) => outputs[*output].write(start, values, stream),
                    BlockOperand::Scalar(value) => {
                        fill(&mut outputs[*output], start, length, value)
                    }
                },
            }
        }
    }

    fn operand<'a>(
        &'a self,
        operand: Operand,
        inputs: &[TypedSlice<'a>],
        length: usize,
    ) -> BlockOperand<'a> {
        match operand {
            Operand::Constant(value) => BlockOperand::Scalar(value),
            Operand::Register(register) => {
                BlockOperand::Slice(&self.registers[register].slice()[..length])
            }
            Operand::Input(input) => match (self.inputs_of_block[input], inputs[input]) {
                (BlockInput::Scalar(value), _) => BlockOperand::Scalar(value),
                (BlockInput::Direct(start), TypedSlice::F32(values)) => {
                    BlockOperand::Slice(&values[start..start + length])
                }
                _ => BlockOperand::Slice(&self.copies[input].slice()[..length]),
            },
        }
    }
}

fn fill(output: &mut TypedSliceMut<'_>, start: usize, length: usize, value: f32) {
    let values = [value; 64];
    for done in (0..length).step_by(values.len()) {
        let count = values.len().min(length - done);
        output.write(start + done, &values[..count], false);
    }
}
