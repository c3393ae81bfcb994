//! Inputs that each runner makes on its device, all by the same formula.
//!
//! The element at place `i` of an input follows from 32 bits of a hash of `i` and the input's seed:
//!
//! ```text
//! h = (i + seed) * 0x9e3779b1;  h ^= h >> 15;  h *= 0x85ebca77;  h ^= h >> 13;  h *= 0xc2b2ae3d;  h ^= h >> 16
//! ```
//!
//! A number is `((h >> 8) / 2^24 - 0.5) * scale + shift` in `float32`, rounded to the input's type; none of these steps
//! but the last addition rounds in more than one way.

use serde::Serialize;

/// Whether rows have their own sizes, or small ones to be tried on a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// Those of the row's name.
    #[default]
    Whole,
    /// Small ones, whatever the name says: for tests of the runners.
    Tiny,
}

impl Size {
    /// Returns a shape in this size.
    pub fn of(self, shape: &[usize]) -> Vec<usize> {
        shape.iter().map(|size| self.axis(*size)).collect()
    }

    /// Returns the size of an axis.
    pub fn axis(self, size: usize) -> usize {
        match (self, size) {
            (Self::Whole, _) | (Self::Tiny, 0..=3) => size,
            (Self::Tiny, 4..=8) => 2,
            (Self::Tiny, 9..=63) => 4,
            (Self::Tiny, 64..=2048) => 64,
            (Self::Tiny, 2049..=8192) => 128,
            (Self::Tiny, 8193..=16384) => 192,
            (Self::Tiny, 16385..=131_072) => 256,
            (Self::Tiny, _) => 512,
        }
    }
}

/// An input that runners make.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Made {
    /// Its shape.
    pub shape: Vec<usize>,
    /// `numbers`, `whole` (below `below`, as `int32`) or `bits` (the hash itself, as `uint32`).
    pub draw: &'static str,
    /// The width of the range of numbers.
    pub scale: f32,
    /// The middle of it.
    pub shift: f32,
    /// What whole numbers are below.
    pub below: usize,
    /// The element type.
    pub dtype: &'static str,
    /// Added to places before they are hashed.
    pub seed: u32,
}

/// The width of an even range with the deviation 1.
const UNIT: f32 = 3.464_101_6;

impl Made {
    /// Numbers around 0 with this deviation.
    pub fn around_zero(shape: &[usize], dtype: &'static str, deviation: f32, seed: u32) -> Self {
        Self {
            shape: shape.to_vec(),
            draw: "numbers",
            scale: UNIT * deviation,
            shift: 0.0,
            below: 0,
            dtype,
            seed: seed.wrapping_mul(0x0100_0193),
        }
    }

    /// Numbers between 0.5 and 1.5.
    pub fn around_one(shape: &[usize], dtype: &'static str, seed: u32) -> Self {
        Self {
            scale: 1.0,
            shift: 1.0,
            ..Self::around_zero(shape, dtype, 1.0, seed)
        }
    }

    /// Whole numbers below another.
    pub fn whole(shape: &[usize], below: usize, seed: u32) -> Self {
        Self {
            draw: "whole",
            below,
            ..Self::around_zero(shape, "int32", 1.0, seed)
        }
    }

    /// Words of 32 random bits.
    pub fn bits(shape: &[usize], seed: u32) -> Self {
        Self {
            draw: "bits",
            ..Self::around_zero(shape, "uint32", 1.0, seed)
        }
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The bytes of all elements.
    pub fn bytes(&self) -> f64 {
        self.count() as f64 * element(self.dtype)
    }
}

/// The bytes of an element.
pub fn element(dtype: &str) -> f64 {
    match dtype {
        "bfloat16" | "float16" => 2.0,
        _ => 4.0,
    }
}
