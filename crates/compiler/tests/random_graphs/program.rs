//! A program as data: inputs, constants and steps, which a closure applies one after the other.

use mlx::{Array, ArrayType, Dtype, Op, bind, bind_all};
use mlx_interpreter::{Number, Tensor};

use super::random::Random;

/// What a step is applied to.
#[derive(Clone, Debug)]
pub enum Operand {
    /// The value of this number: inputs, then constants, then results of steps.
    Value(usize),
    /// A number, as a literal in a formula.
    Number(f64, Dtype),
}

#[derive(Clone, Debug)]
pub struct Step {
    pub op: Op,
    pub operands: Vec<Operand>,
}

/// A value and what is known of it.
#[derive(Clone)]
pub enum Source {
    /// Given when the program is called.
    Input(Tensor),
    /// Captured by the closure.
    Constant(Tensor),
    Step(Step),
}

#[derive(Clone, Default)]
pub struct Program {
    pub values: Vec<Source>,
    pub outputs: Vec<usize>,
}

impl Program {
    /// The values of the inputs.
    pub fn inputs(&self) -> Vec<Array> {
        let input = |source: &Source| match source {
            Source::Input(tensor) => Some(tensor.to_array().unwrap()),
            _ => None,
        };
        self.values.iter().filter_map(input).collect()
    }

    /// The arrays that the closure captures, by value.
    pub fn constants(&self) -> Vec<Option<Array>> {
        let constant = |source: &Source| match source {
            Source::Constant(tensor) => Some(tensor.to_array().unwrap()),
            _ => None,
        };
        self.values.iter().map(constant).collect()
    }

    /// Applies all steps.
    pub fn run(&self, constants: &[Option<Array>], inputs: &[Array]) -> mlx::Result<Vec<Array>> {
        let mut inputs = inputs.iter();
        let mut values: Vec<Array> = Vec::new();
        for (source, constant) in self.values.iter().zip(constants) {
            let value = match (source, constant) {
                (_, Some(constant)) => constant.clone(),
                (Source::Step(step), _) => step.apply(&values)?,
                _ => inputs.next().expect("an input").clone(),
            };
            values.push(value);
        }
        Ok(self.outputs.iter().map(|&k| values[k].clone()).collect())
    }

    /// The same without what no output needs; inputs stay.
    pub fn pruned(&self) -> Self {
        let mut needed = vec![false; self.values.len()];
        for &output in &self.outputs {
            needed[output] = true;
        }
        for k in (0..self.values.len()).rev() {
            if let (true, Source::Step(step)) = (needed[k], &self.values[k]) {
                for operand in &step.operands {
                    if let Operand::Value(used) = operand {
                        needed[*used] = true;
                    }
                }
            }
        }
        let mut place = vec![0; self.values.len()];
        let mut pruned = Program::default();
        for (k, source) in self.values.iter().enumerate().filter(|(k, _)| needed[*k]) {
            place[k] = pruned.values.len();
            let mut source = source.clone();
            if let Source::Step(step) = &mut source {
                for operand in &mut step.operands {
                    if let Operand::Value(used) = operand {
                        *used = place[*used];
                    }
                }
            }
            pruned.values.push(source);
        }
        pruned.outputs = self.outputs.iter().map(|&k| place[k]).collect();
        pruned
    }

    /// The same with another number in one of the formulas, if there is one that matters.
    pub fn with_a_number_changed(&self) -> Option<Self> {
        let mut program = self.clone();
        for source in program.values.iter_mut().rev() {
            if let Source::Step(step) = source {
                for operand in &mut step.operands {
                    if let Operand::Number(number, Dtype::Float32) = operand {
                        *number = *number * 1.01 + 0.001;
                        return Some(program);
                    }
                }
            }
        }
        None
    }

    /// The program as a graph, with its inputs and constants.
    pub fn describe(&self) -> String {
        let (constants, inputs) = (self.constants(), self.inputs());
        let traced =
            mlx_compiler::trace(|inputs: &Vec<Array>| self.run(&constants, inputs), &inputs);
        let mut text = match traced {
            Ok(traced) => traced.to_string(),
            Err(error) => format!("does not trace: {error}"),
        };
        let mut n_inputs = 0;
        for source in &self.values {
            let (name, tensor) = match source {
                Source::Input(tensor) => ("input", tensor),
                Source::Constant(tensor) => ("constant", tensor),
                Source::Step(_) => continue,
            };
            text += &format!(
                "\n{name} {n_inputs}: {} {:?}",
                tensor.array_type(),
                tensor.to_f64()
            );
            n_inputs += 1;
        }
        text
    }
}

impl Step {
    pub fn apply(&self, values: &[Array]) -> mlx::Result<Array> {
        let operands: Vec<Array> = self
            .operands
            .iter()
            .map(|operand| match operand {
                Operand::Value(k) => values[*k].clone(),
                Operand::Number(number, dtype) => {
                    let number = Array::scalar(*number as f32);
                    // Made at once, so that it is a literal and no step of the graph.
                    mlx::compiler_api::without_recording(|| {
                        let number = bind(Op::Astype { dtype: *dtype }, &[&number]);
                        number.eval().map(|()| number)
                    })
                    .unwrap_or_else(Array::failed)
                }
            })
            .collect();
        let mut outputs = bind_all(self.op.clone(), &operands.iter().collect::<Vec<_>>())?;
        if outputs.is_empty() {
            return Err(mlx::Error::op("step", "gave nothing"));
        }
        Ok(outputs.remove(0))
    }
}

/// Random elements: reals between -2 and 2, integers between -3 and 5, from 0 for unsigned ones.
pub fn random_tensor(random: &mut Random, array_type: &ArrayType) -> Tensor {
    let shape: Vec<usize> = array_type.shape.iter().map(|&n| n as usize).collect();
    let n = shape.iter().product();
    let mut number = || match array_type.dtype {
        dtype if dtype.is_inexact() => Number::Float((random.real() * 64.0).round() / 64.0),
        Dtype::Bool => Number::Bool(random.percent(50)),
        Dtype::Uint8 | Dtype::Uint16 | Dtype::Uint32 | Dtype::Uint64 => {
            Number::Unsigned(random.below(6) as u64)
        }
        _ => Number::Int(random.below(9) as i64 - 3),
    };
    let numbers = (0..n).map(|_| number()).collect();
    Tensor::new(&shape, array_type.dtype, numbers).unwrap()
}
