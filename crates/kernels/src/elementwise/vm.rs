//! The machine: registers of one block, and what each instruction does to them.

use super::evaluate::{Source, compute};
use super::input_layout::Place;
use super::program::{Instruction, Operand, Program};
use super::values::{Values, ValuesMut};

/// Registers, and copies of inputs whose elements do not lie together.
pub(super) struct Machine {
    registers: Vec<Aligned>,
    pub(super) loads: Vec<Aligned>,
    pub(super) places: Vec<Place>,
}

/// Numbers that begin at a cache line, and each at another place of a page: a vector register that is stored across two
/// lines takes twice as long, and so does reading what looks, by the low bits of its address, as if it had just been
/// written elsewhere.
#[derive(Default)]
pub(super) struct Aligned {
    values: Vec<f32>,
    start: usize,
}

impl Aligned {
    /// Elements of a page.
    const PAGE: usize = 1024;
    /// Elements by which places in the page differ: ten cache lines.
    const APART: usize = 160;

    fn new(number: usize, count: usize) -> Self {
        let shift = number * Self::APART % Self::PAGE;
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

impl Machine {
    /// `block` elements a register; `loaded` tells which inputs need a copy.
    pub(super) fn new(program: &Program, block: usize, loaded: &[bool]) -> Self {
        let count = program.n_registers;
        let copy = |(input, loaded): (usize, &bool)| match loaded {
            true => Aligned::new(count + input, block),
            false => Aligned::default(),
        };
        Self {
            registers: (0..count)
                .map(|number| Aligned::new(number, block))
                .collect(),
            loads: loaded.iter().enumerate().map(copy).collect(),
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
        stream: bool,
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
                    let place = &mut register.slice_mut()[..length];
                    match output.map(|output| &mut outputs[output]) {
                        Some(ValuesMut::F32(out)) => {
                            compute(*step, operands, &mut out[start..start + length], stream);
                        }
                        Some(out) => match (out.rounds_by(*step), operands[0]) {
                            // Writing rounds by itself.
                            (true, Source::Slice(values)) => out.write(start, values, stream),
                            _ => {
                                compute(*step, operands, place, false);
                                out.write(start, place, stream);
                            }
                        },
                        None => compute(*step, operands, place, false),
                    }
                    self.registers[*target] = register;
                }
                Instruction::Store { from, output } => match self.source(*from, inputs, length) {
                    Source::Slice(values) => outputs[*output].write(start, values, stream),
                    Source::Scalar(value) => fill(&mut outputs[*output], start, length, value),
                },
            }
        }
    }

    fn source<'a>(&'a self, operand: Operand, inputs: &[Values<'a>], length: usize) -> Source<'a> {
        match operand {
            Operand::Constant(value) => Source::Scalar(value),
            Operand::Register(register) => {
                Source::Slice(&self.registers[register].slice()[..length])
            }
            Operand::Input(input) => match (self.places[input], inputs[input]) {
                (Place::Scalar(value), _) => Source::Scalar(value),
                (Place::Direct(start), Values::F32(values)) => {
                    Source::Slice(&values[start..start + length])
                }
                _ => Source::Slice(&self.loads[input].slice()[..length]),
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
