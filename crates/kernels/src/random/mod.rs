//! Random numbers: the bits of Threefry, and uniform and normal numbers made of them.

mod draw;
mod threefry;

pub use draw::{random_normal, random_uniform};
pub use threefry::random_bits;
