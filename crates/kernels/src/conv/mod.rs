//! Convolutions: over one axis of `f32`, and over any axes by a blocked product or directly.

mod conv1d;
mod direct;
mod general;
mod in_place;
mod phases;
mod shape;
mod strip;
mod sums;
mod windows;

pub use conv1d::{Conv1d, conv1d};
pub use general::conv;
pub(crate) use general::conv_instance;
pub use shape::{Conv, ConvAxis};
