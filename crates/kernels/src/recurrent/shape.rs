//! The sizes of a recurrent layer, and the arrays that it reads and writes.

use crate::element::Element;
use crate::error::{Error, Result, length, product};

/// What a step of a recurrent layer computes, from the sums `s` of each gate.
///
/// `s` is the projected input plus the product of the hidden state with the gate's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecurrentCell {
    /// `h = tanh(s)`.
    Tanh,
    /// `h = max(s, 0)`.
    Relu,
    /// A gated recurrent unit with the gates `r`, `z` and `n`: `n = tanh(x_n + sigmoid(s_r) * (product_n + bias))`,
    /// `h = n + sigmoid(s_z) * (h - n)`.
    Gru,
    /// A long short-term memory with the gates `i`, `f`, `g` and `o`: `c = sigmoid(s_f) * c + sigmoid(s_i) * tanh(s_g)`,
    /// `h = sigmoid(s_o) * tanh(c)`.
    Lstm,
}

impl RecurrentCell {
    /// How many rows of weights there are for each element of the hidden state.
    pub fn gates(self) -> usize {
        match self {
            Self::Tanh | Self::Relu => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    /// How many numbers the gradient needs of each step, for each element of the hidden state: values of the gates.
    pub fn saved(self) -> usize {
        match self {
            Self::Tanh | Self::Relu => 0,
            Self::Gru | Self::Lstm => 4,
        }
    }
}

/// The sizes of a recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrentShape {
    /// What a step computes.
    pub cell: RecurrentCell,
    /// The number of sequences.
    pub batch: usize,
    /// Steps of a sequence.
    pub steps: usize,
    /// Elements of the hidden state.
    pub size: usize,
}

/// What a recurrent layer reads.
#[derive(Clone, Copy)]
pub struct RecurrentInputs<'a, T> {
    /// The products of the inputs with their weights and the bias, `[batch, steps, gates * size]`.
    pub projected: &'a [T],
    /// The weights of the hidden state, `[gates * size, size]`.
    pub weight: &'a [T],
    /// What a gated recurrent unit adds to the product of `n`, `[size]`.
    pub bias: Option<&'a [T]>,
    /// The hidden state before the first step, `[batch, size]`; 0 by default.
    pub hidden: Option<&'a [T]>,
    /// The cell of a long short-term memory before the first step, `[batch, size]`; 0 by default.
    pub cell: Option<&'a [T]>,
}

impl<'a, T: Element> RecurrentInputs<'a, T> {
    /// The inputs as they are, if they are `f32`.
    pub(super) fn as_f32(&self) -> RecurrentInputs<'a, f32> {
        RecurrentInputs {
            projected: as_f32(self.projected),
            weight: as_f32(self.weight),
            bias: self.bias.map(as_f32),
            hidden: self.hidden.map(as_f32),
            cell: self.cell.map(as_f32),
        }
    }
}

impl<'a, T: Element> RecurrentStates<'a, T> {
    /// The states as they are, if they are `f32`.
    pub(super) fn as_f32(&self) -> RecurrentStates<'a, f32> {
        RecurrentStates {
            hidden: as_f32(self.hidden),
            cells: as_f32(self.cells),
        }
    }
}

fn as_f32<T: Element>(numbers: &[T]) -> &[f32] {
    T::read(numbers, &mut [])
}

/// What a recurrent layer writes.
pub struct RecurrentOutputs<'a, T> {
    /// The hidden state after each step, `[batch, steps, size]`.
    pub hidden: &'a mut [T],
    /// The cell of a long short-term memory after each step; empty for other layers.
    pub cells: &'a mut [T],
    /// What the gradient needs, `[batch, steps, saved * size]`; empty if there will be none.
    pub saved: &'a mut [f32],
}

/// The states of a recurrent layer after each step, or their cotangents.
#[derive(Clone, Copy)]
pub struct RecurrentStates<'a, T> {
    /// Of the hidden state, `[batch, steps, size]`.
    pub hidden: &'a [T],
    /// Of the cell of a long short-term memory; empty for other layers.
    pub cells: &'a [T],
}

/// Where the gradients of a recurrent layer go, each of the shape of its input; empty for an input that is not given.
pub struct RecurrentGradient<'a, T> {
    /// By the projected inputs.
    pub projected: &'a mut [T],
    /// By the weights of the hidden state.
    pub weight: &'a mut [T],
    /// By the bias of `n`.
    pub bias: &'a mut [T],
    /// By the hidden state before the first step.
    pub hidden: &'a mut [T],
    /// By the cell before the first step.
    pub cell: &'a mut [T],
}

impl RecurrentShape {
    /// Elements of all gates.
    pub(super) fn columns(&self) -> usize {
        self.cell.gates() * self.size
    }

    pub(super) fn is_lstm(&self) -> bool {
        self.cell == RecurrentCell::Lstm
    }

    /// The elements of the hidden states of all steps.
    pub(super) fn outputs(&self, op: &'static str) -> Result<usize> {
        product(op, &[self.batch, self.steps, self.size])
    }

    /// The elements of the cells of all steps.
    pub(super) fn cells(&self, op: &'static str) -> Result<usize> {
        let outputs = self.outputs(op)?;
        Ok(if self.is_lstm() { outputs } else { 0 })
    }

    /// The numbers that the gradient needs.
    pub(super) fn saved(&self, op: &'static str) -> Result<usize> {
        product(op, &[self.outputs(op)?, self.cell.saved()])
    }

    /// Refuses inputs of other lengths, and such that the cell does not have.
    pub(super) fn check<T>(&self, op: &'static str, inputs: &RecurrentInputs<'_, T>) -> Result<()> {
        // Room for the padding of rows in scratch memory.
        let states = product(op, &[self.batch, self.size])?;
        let columns = product(op, &[self.cell.gates().max(4), self.size, 4])?;
        product(
            op,
            &[columns.saturating_add(64), self.batch.saturating_add(64), 4],
        )?;
        let columns = self.columns();
        let projected = product(op, &[self.batch, self.steps, columns])?;
        length(op, "projected", projected, inputs.projected.len())?;
        let weights = product(op, &[columns, self.size])?;
        length(op, "weight", weights, inputs.weight.len())?;
        let unused = |what, given: Option<&[T]>| match given {
            Some(given) => Err(Error::Parameter {
                op,
                what,
                wanted: "left out for this cell",
                got: given.len(),
            }),
            None => Ok(()),
        };
        match inputs.bias {
            Some(bias) if self.cell == RecurrentCell::Gru => {
                length(op, "bias", self.size, bias.len())?;
            }
            other => unused("bias", other)?,
        }
        if let Some(hidden) = inputs.hidden {
            length(op, "hidden", states, hidden.len())?;
        }
        match inputs.cell {
            Some(cell) if self.is_lstm() => length(op, "cell", states, cell.len()),
            other => unused("cell", other),
        }
    }
}
