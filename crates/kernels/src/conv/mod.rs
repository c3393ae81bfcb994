//! Convolutions: over one axis of `f32`, and over any axes by a blocked product or channel by channel.

mod conv1d;
mod depthwise;
mod general;
mod shape;
mod windows;

pub use conv1d::{Conv1d, conv1d};
pub use general::conv;
pub use shape::{Conv, ConvAxis};
