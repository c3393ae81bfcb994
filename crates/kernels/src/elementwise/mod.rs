//! Elementwise regions: many operations on each element in one pass over memory.
//!
//! A [`Program`] is a list of [`Step`]s, checked and given registers once; [`Program::run`] interprets it.
//! Formula: each step is the function of its name, rounded to `f32` on its own, never contracted, so that a program
//! gives the same bits as its steps one by one.
//! Blocking: pieces of 64 KiB go to threads; a register is a block of 1 to 16 KiB, so long that all registers of the
//! program fit in the first or second cache; each step runs over a whole block with vector instructions. Registers are
//! used again when their value is not needed any more. Outputs of 24 MiB and more are written past the cache.
//! Limit: memory bandwidth for programs of cheap steps, otherwise the steps; power and the functions of the standard
//! library in [`Simple`] are computed one element at a time.
//! Error: none beyond the steps' own; see [`Unary`](crate::Unary), the others are rounded correctly.

mod binary;
mod evaluate;
mod input_layout;
mod instruction;
mod program;
mod run;
mod unary;
mod values;
mod vm;

pub use binary::{Operand, binary};
pub use instruction::{Binary, Simple, Step};
pub use program::Program;
pub use run::RegionInput;
pub use unary::{
    Unary, cos, erf, exp, gelu, gelu_tanh, log, sigmoid, silu, sin, swiglu, tanh, unary,
    unary_in_place,
};
pub use values::{Values, ValuesMut};

use evaluate::{Source, compute_binary};
