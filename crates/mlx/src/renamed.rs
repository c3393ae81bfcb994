//! Old public names, until the next version.

#[doc(hidden)]
#[deprecated(note = "renamed to `mlx::SearchSide`")]
pub type Side = crate::SearchSide;
#[doc(hidden)]
#[deprecated(note = "renamed to `mlx::compiler_api::AttrValue`")]
pub type Value = crate::compiler_api::AttrValue;
#[doc(hidden)]
#[deprecated(note = "renamed to `mlx::compiler_api::OpString`")]
pub type Text = crate::compiler_api::OpString;
#[doc(hidden)]
#[deprecated(note = "renamed to `mlx::compiler_api::CustomOp`")]
pub type Custom = crate::compiler_api::CustomOp;
#[doc(hidden)]
#[deprecated(note = "renamed to `mlx::compiler_api::OpCall`")]
pub type Call<'a> = crate::compiler_api::OpCall<'a>;
#[doc(hidden)]
#[deprecated(note = "moved to `mlx::compiler_api::MaskMode`")]
pub type MaskMode = crate::compiler_api::MaskMode;
#[doc(hidden)]
#[deprecated(note = "moved to `mlx::compiler_api::CompiledClosure`")]
pub type CompiledClosure = crate::compiler_api::CompiledClosure;
#[doc(hidden)]
#[deprecated(note = "renamed to `mlx::DtypeKind`")]
pub type Kind = crate::DtypeKind;
#[doc(hidden)]
#[deprecated(note = "renamed to `mlx::CumulativeOptions`")]
pub type Running = crate::CumulativeOptions;
#[doc(hidden)]
#[deprecated(note = "renamed to `mlx::RowIter`")]
pub type Rows = crate::RowIter;

#[doc(hidden)]
pub use crate::compiler_api::{OpAttr as Attr, Recorder, bind_all_at};
