//! Functions of elements: of one array, and programs of many functions in one pass over memory.
//!
//! An [`ElementwiseProgram`] is a list of [`Instruction`]s, checked and given registers once;
//! [`ElementwiseProgram::run`] interprets it, block by block.
//! Formula: each instruction is the function of its name, rounded to `f32` on its own, never contracted, so that a
//! program gives the same bits as its instructions one by one.
//! Blocking: tasks of 64 KiB; a register is a block of 1 to 16 KiB, such that all registers of the program fit in the
//! L1 or L2 cache; each instruction runs over a whole block with vector instructions. Registers are reused once
//! their value is not needed any more. Outputs of 24 MiB and more are written with streaming stores.
//! Limit: memory bandwidth for programs of cheap instructions, otherwise the instructions; powers and the functions of
//! the standard library in [`UnaryOp`] are computed one element at a time.
//! Error: none beyond that of the functions; see [`UnaryOp`], the others are rounded correctly.

mod activation_gradient;
mod binary_op;
mod block;
mod cast;
mod compare;
mod complex;
mod double;
mod evaluate;
mod evaluate_binary;
mod evaluate_unary;
mod input_layout;
mod instruction;
mod integer;
mod loops;
mod number;
mod program;
mod run;
mod strided_blocks;
mod strided_layout;
mod typed;
mod typed_slice;
mod unary;
mod unary_op;
mod vm;

pub use activation_gradient::{activation_gradient, swiglu_gradient};
pub use binary_op::BinaryOp;
pub use cast::{Bits, cast};
pub(crate) use cast::{cast_from_u8, cast_from_u16, cast_from_u32, cast_from_u64};
pub use instruction::Instruction;
pub use number::Number;
pub use program::ElementwiseProgram;
pub use run::StridedInput;
pub use strided_layout::Strided as StridedSlice;
pub use typed::{
    compare, has_binary, has_comparison, has_unary, map, map_in_place, select, select_in_place,
    zip, zip_in_place,
};
pub(crate) use typed::{
    compare_instance, map_in_place_instance, map_instance, select_in_place_instance,
    select_instance, zip_in_place_instance, zip_instance,
};
pub use typed_slice::{TypedSlice, TypedSliceMut};
pub use unary::{swiglu, unary};
pub(crate) use unary::{swiglu_instance, unary_instance};
pub use unary_op::UnaryOp;
