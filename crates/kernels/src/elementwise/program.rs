//! A program: instructions that are checked, without those that no output needs, with a register for each value.

use super::{Instruction, UnaryOp};
use crate::error::{Error, Result};

/// The name of the operation in errors.
pub(super) const OP: &str = "elementwise";

/// Outputs of a program, at most.
pub(super) const MAX_OUTPUTS: usize = 16;
/// Inputs of a program, at most.
const MAX_INPUTS: usize = 64;

/// A list of instructions that is ready to run, any number of times and from any thread.
///
/// ```
/// use mlx_kernels::{BinaryOp, ElementwiseProgram, Instruction, StridedInput, TypedSlice, TypedSliceMut, UnaryOp};
///
/// // tanh(x + 1)
/// let instructions = [
///     Instruction::Input(0),
///     Instruction::Constant(1.0),
///     Instruction::Binary(BinaryOp::Add, 0, 1),
///     Instruction::Unary(UnaryOp::Tanh, 2),
/// ];
/// let program = ElementwiseProgram::new(1, &instructions, &[3])?;
/// let x = StridedInput { values: TypedSlice::F32(&[-1.0, 40.0]), strides: &[1] };
/// let mut out = [0.0; 2];
/// program.run(&[2], &[x], &mut [TypedSliceMut::F32(&mut out)])?;
/// assert_eq!(out, [0.0, 1.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ElementwiseProgram {
    pub(super) n_inputs: usize,
    pub(super) n_outputs: usize,
    pub(super) n_registers: usize,
    pub(super) code: Vec<Operation>,
    /// A rough cost of one element on one thread.
    pub(super) nanoseconds: f64,
}

/// Where an operand is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    Register(usize),
    Input(usize),
    Constant(f32),
}

/// What the virtual machine does over a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// Evaluates an instruction; the target is none of its operands.
    Evaluate {
        instruction: Instruction,
        operands: [Operand; 3],
        target: usize,
        /// The output, if nothing else takes the value: it is written there and not to the target.
        output: Option<usize>,
    },
    /// Writes an output.
    Store { from: Operand, output: usize },
}

impl ElementwiseProgram {
    /// Checks instructions and gives them registers.
    ///
    /// `outputs` are the indices of the instructions whose values are written.
    ///
    /// # Errors
    /// When an instruction is of integers only, or takes the value of itself or of a later one, an input or output does not exist, or there are
    /// more than 64 inputs or 16 outputs.
    pub fn new(inputs: usize, instructions: &[Instruction], outputs: &[usize]) -> Result<Self> {
        check(inputs, instructions, outputs)?;
        let mut allocation = Allocation {
            last_uses: last_uses(instructions, outputs),
            locations: vec![Operand::Constant(0.0); instructions.len()],
            registers: Registers::default(),
            code: Vec::new(),
        };
        let mut nanoseconds = 0.1;
        for (index, instruction) in instructions.iter().enumerate() {
            let Some(last_use) = allocation.last_uses[index] else {
                continue;
            };
            nanoseconds += instruction.nanoseconds();
            let location = allocation.evaluate(index, *instruction);
            allocation.locations[index] = location;
            allocation.store(index, last_use, outputs);
            if last_use == index {
                allocation.registers.release(location);
            }
        }
        Ok(Self {
            n_inputs: inputs,
            n_outputs: outputs.len(),
            n_registers: allocation.registers.count,
            code: allocation.code,
            nanoseconds,
        })
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.n_inputs
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.n_outputs
    }

    /// The number of registers: of values that are live at the same time.
    pub fn registers(&self) -> usize {
        self.n_registers
    }
}

fn check(inputs: usize, instructions: &[Instruction], outputs: &[usize]) -> Result<()> {
    let refuse = |what, wanted, got| {
        Err(Error::Parameter {
            op: OP,
            what,
            wanted,
            got,
        })
    };
    if inputs > MAX_INPUTS {
        return refuse("the number of inputs", "at most 64", inputs);
    }
    if outputs.len() > MAX_OUTPUTS {
        return refuse("the number of outputs", "at most 16", outputs.len());
    }
    for (index, instruction) in instructions.iter().enumerate() {
        if matches!(instruction, Instruction::Binary(function, ..) if function.is_of_integers())
            || matches!(instruction, Instruction::Unary(UnaryOp::BitwiseInvert, _))
        {
            return refuse("an instruction", "of floating numbers", index);
        }
        if let Instruction::Input(input) = instruction
            && *input >= inputs
        {
            return refuse("an input", "less than the number of inputs", *input);
        }
        for operand in instruction.operands().into_iter().flatten() {
            if operand >= index {
                return refuse("an operand", "an earlier instruction", operand);
            }
        }
    }
    match outputs.iter().find(|output| **output >= instructions.len()) {
        Some(output) => refuse("an output", "an instruction", *output),
        None => Ok(()),
    }
}

/// The last instruction that takes each instruction's value, itself if it is only written; `None` if no output needs it.
fn last_uses(instructions: &[Instruction], outputs: &[usize]) -> Vec<Option<usize>> {
    let mut last = vec![None; instructions.len()];
    for output in outputs {
        last[*output] = Some(*output);
    }
    for (index, instruction) in instructions.iter().enumerate().rev() {
        if last[index].is_some() {
            for operand in instruction.operands().into_iter().flatten() {
                // Going backwards, the first use found is the last one.
                if last[operand].is_none_or(|last| last == operand) {
                    last[operand] = Some(index);
                }
            }
        }
    }
    last
}

/// The registers and the code of a program that is being made.
struct Allocation {
    last_uses: Vec<Option<usize>>,
    /// Where the value of each instruction is.
    locations: Vec<Operand>,
    registers: Registers,
    code: Vec<Operation>,
}

impl Allocation {
    /// Adds an instruction to the code, releases the registers that it is the last to use, and returns where its value is.
    fn evaluate(&mut self, index: usize, instruction: Instruction) -> Operand {
        match instruction {
            Instruction::Input(input) => return Operand::Input(input),
            Instruction::Constant(value) => return Operand::Constant(value),
            _ => {}
        }
        let operands = instruction.operands();
        // The target is taken before the operands are released: it is never one of them.
        let target = self.registers.take();
        self.code.push(Operation::Evaluate {
            instruction,
            operands: operands.map(|operand| {
                operand.map_or(Operand::Constant(0.0), |operand| self.locations[operand])
            }),
            target,
            output: None,
        });
        for (k, operand) in operands.iter().flatten().enumerate() {
            let is_first = !operands[..k].contains(&Some(*operand));
            if is_first && self.last_uses[*operand] == Some(index) {
                self.registers.release(self.locations[*operand]);
            }
        }
        Operand::Register(target)
    }

    /// Writes an instruction's value to the outputs that want it: directly if it is one and nothing else takes the value.
    fn store(&mut self, index: usize, last_use: usize, outputs: &[usize]) {
        let from = self.locations[index];
        let written: Vec<usize> = (0..outputs.len())
            .filter(|output| outputs[*output] == index)
            .collect();
        match (self.code.last_mut(), written.as_slice(), from) {
            (Some(Operation::Evaluate { output, .. }), [one], Operand::Register(_))
                if last_use == index =>
            {
                *output = Some(*one);
            }
            _ => self.code.extend(
                written
                    .into_iter()
                    .map(|output| Operation::Store { from, output }),
            ),
        }
    }
}

/// Free registers, and how many there are in all.
#[derive(Default)]
struct Registers {
    free: Vec<usize>,
    count: usize,
}

impl Registers {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }

    fn release(&mut self, location: Operand) {
        if let Operand::Register(register) = location {
            self.free.push(register);
        }
    }
}
