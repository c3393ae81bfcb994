//! Inputs by the formula that all runners have: see the harness's `rows/gpu/made.rs`.

use anyhow::{Context, Result, bail};
use mlx::{Array, Dtype};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Made {
    shape: Vec<i32>,
    draw: String,
    scale: f32,
    shift: f32,
    below: u32,
    dtype: String,
    seed: u32,
}

/// Makes the inputs of a row on the device.
pub fn all(params: &Value) -> Result<Vec<Array>> {
    let specs: Vec<Made> =
        serde_json::from_value(params["arrays"].clone()).context("arrays are missing")?;
    let mut arrays = Vec::new();
    for spec in &specs {
        let array = spec.make()?;
        // One after the other: what they are made from is larger than they are.
        mlx::eval([&array])?;
        arrays.push(array);
    }
    mlx::synchronize()?;
    mlx::memory::clear_cache()?;
    Ok(arrays)
}

pub fn dtype(name: &str) -> Result<Dtype> {
    Ok(match name {
        "float32" => Dtype::Float32,
        "bfloat16" => Dtype::Bfloat16,
        "float16" => Dtype::Float16,
        other => bail!("dtype: wanted float32, bfloat16 or float16, got {other:?}"),
    })
}

/// Returns even numbers around 0 with a deviation, as the formula makes them.
pub fn around_zero(shape: &[i32], deviation: f32, seed: u32, dtype: Dtype) -> Array {
    numbers(shape, 3.464_101_6 * deviation, 0.0, seed).astype(dtype)
}

/// Returns 32 bits for each element.
fn bits(count: i32, seed: u32) -> Array {
    let word = |word: u32| Array::scalar(word);
    let places = mlx::arange_with(0.0, f64::from(count), 1.0, Dtype::Uint32);
    let h = (places + word(seed)) * word(0x9e37_79b1);
    let h = h.bitwise_xor(h.right_shift(word(15))) * word(0x85eb_ca77);
    let h = h.bitwise_xor(h.right_shift(word(13))) * word(0xc2b2_ae3d);
    h.bitwise_xor(h.right_shift(word(16)))
}

fn numbers(shape: &[i32], scale: f32, shift: f32, seed: u32) -> Array {
    let bits = bits(shape.iter().product(), seed);
    let even = bits
        .right_shift(Array::scalar(8_u32))
        .astype(Dtype::Float32);
    let numbers = (even * 2.0_f32.powi(-24) - 0.5) * scale;
    let numbers = if shift == 0.0 {
        numbers
    } else {
        numbers + shift
    };
    numbers.reshape(shape.to_vec())
}

impl Made {
    fn make(&self) -> Result<Array> {
        let count: i32 = self.shape.iter().product();
        Ok(match self.draw.as_str() {
            "numbers" => {
                numbers(&self.shape, self.scale, self.shift, self.seed).astype(dtype(&self.dtype)?)
            }
            "whole" => {
                let below = Array::scalar(self.below.max(1));
                let whole = bits(count, self.seed).remainder(below);
                whole.astype(Dtype::Int32).reshape(self.shape.clone())
            }
            "bits" => bits(count, self.seed).reshape(self.shape.clone()),
            other => bail!("draw: wanted numbers, whole or bits, got {other:?}"),
        })
    }
}
