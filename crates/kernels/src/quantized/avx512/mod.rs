//! Packed weights of 4 and 8 bits with AVX-512 VNNI.

mod activations;
mod gemv;
mod registers;

pub(super) use gemv::{ActivationType, gemv};
