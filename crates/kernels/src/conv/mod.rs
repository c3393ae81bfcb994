//! Convolutions: over one axis of `f32`, and over any axes by a blocked product or directly.

mod conv1d;
mod direct;
mod general;
mod in_place;
mod phases;
mod shape;
mod strip;
mod sums;
mod weight_gradient;
mod windows;

pub use conv1d::{Conv1d, conv1d};
pub(crate) use general::conv_instance;
pub use general::{conv, conv_with_bias};
pub use shape::{Conv, ConvAxis};
pub use weight_gradient::conv_weight_gradient;
pub(crate) use weight_gradient::conv_weight_gradient_instance;
