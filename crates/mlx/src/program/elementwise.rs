//! Elementwise operations in one pass: each element of a result is made of the elements in its place.

use crate::Dtype;
use crate::op::Op;

/// Where an operand comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operand {
    /// An input.
    Input(usize),
    /// A number of a dtype.
    Number(f64, Dtype),
    /// The result of an earlier step.
    Step(usize),
}

/// One elementwise operation.
#[derive(Clone, Debug, PartialEq)]
pub struct ElementwiseStep {
    /// What it computes.
    pub op: Op,
    /// Of what.
    pub operands: Vec<Operand>,
    /// The dtype of the result.
    pub dtype: Dtype,
}

/// Elementwise operations of inputs that broadcast to one shape, which all results have.
#[derive(Clone, Debug, PartialEq)]
pub struct Elementwise {
    /// The dtypes of the inputs.
    pub inputs: Vec<Dtype>,
    /// The operations, in order.
    pub steps: Vec<ElementwiseStep>,
    /// The results.
    pub outputs: Vec<Operand>,
}

impl Elementwise {
    /// Returns the dtype of an operand; `None` if there is no such operand.
    pub fn dtype(&self, operand: Operand) -> Option<Dtype> {
        match operand {
            Operand::Input(input) => self.inputs.get(input).copied(),
            Operand::Number(_, dtype) => Some(dtype),
            Operand::Step(step) => self.steps.get(step).map(|step| step.dtype),
        }
    }
}
