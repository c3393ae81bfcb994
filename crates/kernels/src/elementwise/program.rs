//! A program: its steps checked, those that no output needs left out, registers given to the rest.

use super::Step;
use crate::error::{Error, Result};

const OP: &str = "region";

/// Outputs of one program.
pub(super) const MOST_OUTPUTS: usize = 16;
/// Inputs of one program.
const MOST_INPUTS: usize = 64;

/// A list of steps that is ready to run, any number of times and from any thread.
///
/// ```
/// use mlx_kernels::{Binary, Program, RegionInput, Step, Unary, Values, ValuesMut};
///
/// // tanh(x + 1)
/// let steps = [Step::Input(0), Step::Constant(1.0), Step::Binary(Binary::Add, 0, 1), Step::Unary(Unary::Tanh, 2)];
/// let program = Program::new(1, &steps, &[3])?;
/// let x = RegionInput { values: Values::F32(&[-1.0, 40.0]), strides: &[1] };
/// let mut out = [0.0; 2];
/// program.run(&[2], &[x], &mut [ValuesMut::F32(&mut out)])?;
/// assert_eq!(out, [0.0, 1.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) n_inputs: usize,
    pub(super) n_outputs: usize,
    pub(super) n_registers: usize,
    pub(super) code: Vec<Instruction>,
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

/// What the machine does over a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instruction {
    /// Computes a step from operands; the target is none of them.
    Compute {
        step: Step,
        operands: [Operand; 3],
        target: usize,
        /// The output, if nothing else takes the value: it is written there and not to the target.
        output: Option<usize>,
    },
    /// Writes an output.
    Store { from: Operand, output: usize },
}

impl Program {
    /// Checks steps and gives them registers.
    ///
    /// `outputs` are the numbers of the steps whose values are written.
    ///
    /// # Errors
    /// When a step takes the value of itself or of a later one, an input or output does not exist, or there are more
    /// than 64 inputs or 16 outputs.
    pub fn new(inputs: usize, steps: &[Step], outputs: &[usize]) -> Result<Self> {
        check(inputs, steps, outputs)?;
        let last_uses = last_uses(steps, outputs);
        let mut registers = Registers::default();
        let mut places = vec![Operand::Constant(0.0); steps.len()];
        let mut code = Vec::new();
        let mut nanoseconds = 0.1;
        for (number, step) in steps.iter().enumerate() {
            let Some(last_use) = last_uses[number] else {
                continue;
            };
            nanoseconds += step.nanoseconds();
            places[number] = match step {
                Step::Input(input) => Operand::Input(*input),
                Step::Constant(value) => Operand::Constant(*value),
                _ => {
                    let operands = step.operands();
                    // The target is taken before the operands are given back: it is never one of them.
                    let target = registers.take();
                    code.push(Instruction::Compute {
                        step: *step,
                        operands: operands.map(|operand| {
                            operand.map_or(Operand::Constant(0.0), |operand| places[operand])
                        }),
                        target,
                        output: None,
                    });
                    for (k, operand) in operands.iter().flatten().enumerate() {
                        let first = !operands[..k].contains(&Some(*operand));
                        if first && last_uses[*operand] == Some(number) {
                            registers.give_back(places[*operand]);
                        }
                    }
                    Operand::Register(target)
                }
            };
            let from = places[number];
            let written = outputs.iter().enumerate();
            let written: Vec<usize> = written
                .filter(|(_, step)| **step == number)
                .map(|(output, _)| output)
                .collect();
            match (code.last_mut(), written.as_slice(), from) {
                (Some(Instruction::Compute { output, .. }), [one], Operand::Register(_))
                    if last_use == number =>
                {
                    *output = Some(*one);
                }
                _ => code.extend(
                    written
                        .into_iter()
                        .map(|output| Instruction::Store { from, output }),
                ),
            }
            if last_use == number {
                registers.give_back(from);
            }
        }
        Ok(Self {
            n_inputs: inputs,
            n_outputs: outputs.len(),
            n_registers: registers.count,
            code,
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

    /// The number of registers: of values that are needed at one time.
    pub fn registers(&self) -> usize {
        self.n_registers
    }
}

fn check(inputs: usize, steps: &[Step], outputs: &[usize]) -> Result<()> {
    let refuse = |what, wanted, got| {
        Err(Error::Parameter {
            op: OP,
            what,
            wanted,
            got,
        })
    };
    if inputs > MOST_INPUTS {
        return refuse("the number of inputs", "at most 64", inputs);
    }
    if outputs.len() > MOST_OUTPUTS {
        return refuse("the number of outputs", "at most 16", outputs.len());
    }
    for (number, step) in steps.iter().enumerate() {
        if let Step::Input(input) = step
            && *input >= inputs
        {
            return refuse("an input", "less than the number of inputs", *input);
        }
        for operand in step.operands().into_iter().flatten() {
            if operand >= number {
                return refuse("an operand", "an earlier step", operand);
            }
        }
    }
    match outputs.iter().find(|output| **output >= steps.len()) {
        Some(output) => refuse("an output", "a step", *output),
        None => Ok(()),
    }
}

/// The last step that takes each step's value, itself if it is only written; `None` if no output needs it.
fn last_uses(steps: &[Step], outputs: &[usize]) -> Vec<Option<usize>> {
    let mut last = vec![None; steps.len()];
    for output in outputs {
        last[*output] = Some(*output);
    }
    for (number, step) in steps.iter().enumerate().rev() {
        if last[number].is_some() {
            for operand in step.operands().into_iter().flatten() {
                // Going backwards, the first use met is the last one.
                if last[operand].is_none_or(|last| last == operand) {
                    last[operand] = Some(number);
                }
            }
        }
    }
    last
}

/// Registers that are free, and how many there are.
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

    fn give_back(&mut self, place: Operand) {
        if let Operand::Register(register) = place {
            self.free.push(register);
        }
    }
}
