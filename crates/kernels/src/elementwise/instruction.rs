//! What a program can do in one instruction.

use super::{BinaryOp, UnaryOp};

/// One instruction of an [`ElementwiseProgram`](super::ElementwiseProgram): a value made of the values of earlier
/// instructions, given by their indices.
///
/// All values are `f32`. A truth value is 1 or 0; as an operand, everything but 0 is true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Instruction {
    /// The input with this index.
    Input(usize),
    /// The same number for every element.
    Constant(f32),
    /// A function of one value.
    Unary(UnaryOp, usize),
    /// A function of two values.
    Binary(BinaryOp, usize, usize),
    /// One value where a condition is true, another elsewhere.
    Select {
        /// The condition.
        condition: usize,
        /// The value where it is true.
        yes: usize,
        /// The value where it is not.
        no: usize,
    },
}

impl Instruction {
    /// [`Instruction::Unary`] under its former name.
    #[deprecated(note = "renamed to `Instruction::Unary`")]
    #[expect(non_snake_case, reason = "it was a variant")]
    pub const fn Simple(function: UnaryOp, operand: usize) -> Self {
        Self::Unary(function, operand)
    }

    /// The instructions whose values this one takes.
    pub(super) fn operands(self) -> [Option<usize>; 3] {
        match self {
            Self::Input(_) | Self::Constant(_) => [None; 3],
            Self::Unary(_, a) => [Some(a), None, None],
            Self::Binary(_, a, b) => [Some(a), Some(b), None],
            Self::Select { condition, yes, no } => [Some(condition), Some(yes), Some(no)],
        }
    }

    /// A rough cost of one element on one thread.
    pub(super) fn nanoseconds(self) -> f64 {
        match self {
            Self::Unary(function, _) => function.nanoseconds(),
            Self::Binary(function, ..) => function.nanoseconds(),
            Self::Input(_) | Self::Constant(_) | Self::Select { .. } => 0.1,
        }
    }
}
