//! The machine: registers of one block, and what each instruction does to them.

use super::compute::{Source, compute};
use super::layout::Place;
use super::program::{Instruction, Operand, Program};
use super::values::{Values, ValuesMut};

/// Registers, and copies of inputs whose elements do not lie together.
pub(super) struct Machine {
    registers: Vec<Vec<f32>>,
    pub(super) loads: Vec<Vec<f32>>,
    pub(super) places: Vec<Place>,
}

impl Machine {
    /// `block` elements a register; `loaded` tells which inputs need a copy.
    pub(super) fn new(program: &Program, block: usize, loaded: &[bool]) -> Self {
        let copy = |loaded: &bool| vec![0.0; if *loaded { block } else { 0 }];
        Self {
            registers: vec![vec![0.0; block]; program.n_registers],
            loads: loaded.iter().map(copy).collect(),
            places: vec![Place::Loaded; loaded.len()],
        }
    }

    /// Runs the program over a block whose inputs are placed; its outputs begin at `start`.
    pub(super) fn run(
        &mut self,
        program: &Program,
        inputs: &[Values<'_>],
        outputs: &mut [ValuesMut<'_>],
        (start, length): (usize, usize),
        past: bool,
    ) {
        for instruction in &program.code {
            match instruction {
                Instruction::Compute {
                    step,
                    operands,
                    target,
                    output,
                } => {
                    // Taken out, so that the others can be read meanwhile.
                    let mut register = std::mem::take(&mut self.registers[*target]);
                    let operands = operands.map(|operand| self.source(operand, inputs, length));
                    match output.map(|output| &mut outputs[output]) {
                        Some(ValuesMut::F32(out)) => {
                            compute(*step, operands, &mut out[start..start + length], past);
                        }
                        Some(out) => {
                            compute(*step, operands, &mut register[..length], false);
                            out.write(start, &register[..length], past);
                        }
                        None => compute(*step, operands, &mut register[..length], false),
                    }
                    self.registers[*target] = register;
                }
                Instruction::Store { from, output } => match self.source(*from, inputs, length) {
                    Source::Slice(values) => outputs[*output].write(start, values, past),
                    Source::Scalar(value) => fill(&mut outputs[*output], start, length, value),
                },
            }
        }
    }

    fn source<'a>(&'a self, operand: Operand, inputs: &[Values<'a>], length: usize) -> Source<'a> {
        match operand {
            Operand::Constant(value) => Source::Scalar(value),
            Operand::Register(register) => Source::Slice(&self.registers[register][..length]),
            Operand::Input(input) => match (self.places[input], inputs[input]) {
                (Place::Scalar(value), _) => Source::Scalar(value),
                (Place::Direct(start), Values::F32(values)) => {
                    Source::Slice(&values[start..start + length])
                }
                _ => Source::Slice(&self.loads[input][..length]),
            },
        }
    }
}

fn fill(output: &mut ValuesMut<'_>, start: usize, length: usize, value: f32) {
    let run = [value; 64];
    for done in (0..length).step_by(run.len()) {
        let count = run.len().min(length - done);
        output.write(start + done, &run[..count], false);
    }
}
