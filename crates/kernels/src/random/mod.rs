//! Random numbers: the bits of Threefry, and uniform and normal numbers made of them.

mod draw;
mod threefry;

pub use draw::{random_normal, random_uniform};
pub(crate) use draw::{random_normal_instance, random_uniform_instance};
pub use threefry::random_bits;
