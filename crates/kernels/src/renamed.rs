//! Names that changed, kept until the next version.

use crate::element_type::ElementType;
use crate::elementwise::{
    BinaryOp, ElementwiseProgram, Instruction, StridedInput, TypedSlice, TypedSliceMut, UnaryOp,
};
use crate::rope::RotaryTable;
use crate::rowwise::RowMajorShape;

/// Renamed to [`UnaryOp`].
#[deprecated(note = "renamed to `UnaryOp`")]
pub type Unary = UnaryOp;
/// Renamed to [`UnaryOp`].
#[deprecated(note = "renamed to `UnaryOp`")]
pub type Simple = UnaryOp;
/// Renamed to [`BinaryOp`].
#[deprecated(note = "renamed to `BinaryOp`")]
pub type Binary = BinaryOp;
/// Renamed to [`ElementwiseProgram`].
#[deprecated(note = "renamed to `ElementwiseProgram`")]
pub type Program = ElementwiseProgram;
/// Renamed to [`Instruction`].
#[deprecated(note = "renamed to `Instruction`")]
pub type Step = Instruction;
/// Renamed to [`StridedInput`].
#[deprecated(note = "renamed to `StridedInput`")]
pub type RegionInput<'a> = StridedInput<'a>;
/// Renamed to [`TypedSlice`].
#[deprecated(note = "renamed to `TypedSlice`")]
pub type Values<'a> = TypedSlice<'a>;
/// Renamed to [`TypedSliceMut`].
#[deprecated(note = "renamed to `TypedSliceMut`")]
pub type ValuesMut<'a> = TypedSliceMut<'a>;
/// Renamed to [`RotaryTable`].
#[deprecated(note = "renamed to `RotaryTable`")]
pub type Rotations = RotaryTable;
/// Renamed to [`RowMajorShape`].
#[deprecated(note = "renamed to `RowMajorShape`")]
pub type Rows = RowMajorShape;
/// Merged with [`ElementType`].
#[deprecated(note = "renamed to `ElementType`")]
pub type NumberType = ElementType;
