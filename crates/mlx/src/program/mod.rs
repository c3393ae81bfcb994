//! The program of a traced step: instructions over planned buffers, as a value that knows no device.
//!
//! A compiler hands over a step as a list of [`Step`]s in single-assignment form, and the planner makes a [`Program`] of it:
//! views of arrays cost nothing, intermediate results get places in one piece of scratch memory that are used again, an
//! output that comes from writing into an input takes over that input's memory (donation), and arrays that are the same in
//! all runs are constants. What an executor can compute, and of which strides, the planner asks of it
//! (`planner::Target`).
//!
//! Executors: `cpu/executor.rs`, one host kernel that runs the instructions in order. A program prints as text; the page
//! ARCHITECTURE.md has an example.

mod display;
mod elementwise;
mod ir;
pub(crate) mod planner;
mod scratch;
mod update;
mod view;

pub use elementwise::{Elementwise, ElementwiseStep, Operand};
pub use ir::{
    Buffer, Instruction, InstructionKind, Operation, Place, PlanError, Program, Step, View,
};
pub use update::Update;
pub(crate) use view::{broadcast as broadcast_view, view as view_of};

#[cfg(test)]
mod tests;
