//! The inputs of a row: the same numbers in every run and for every rival, because they follow from the row's name.

use std::path::{Path, PathBuf};

use anyhow::Result;
use mlx_models::SplitMix64;

use super::npy::{self, Values};

/// One input of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its shape.
    pub shape: Vec<usize>,
    /// How its values are drawn.
    pub draw: Draw,
}

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Draw {
    /// About normal around 0, with this standard deviation.
    Normal(f32),
    /// Even between two numbers.
    Even(f32, f32),
    /// Whole numbers from the first up to below the second, as `uint8`.
    Codes(u8, u8),
    /// Whole numbers from the first up to below the second, as `int32`.
    Whole(i32, i32),
}

impl Input {
    /// Returns an input with this shape.
    pub fn new(shape: &[usize], draw: Draw) -> Self {
        let shape = shape.to_vec();
        Self { shape, draw }
    }

    /// Returns its values, which depend on the seed only.
    pub fn values(&self, seed: u64) -> Values {
        let count = self.shape.iter().product();
        let mut random = SplitMix64::new(seed);
        match self.draw {
            Draw::Normal(deviation) => {
                // The sum of four even 16-bit numbers has the variance 4 / 12 of their range's square.
                let scale = deviation * 3.0_f32.sqrt() / 65536.0;
                let middle = 4.0 * 32767.5;
                let one = |bits: u64| {
                    let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
                    (sum as f32 - middle) * scale
                };
                Values::F32((0..count).map(|_| one(random.next_u64())).collect())
            }
            Draw::Even(low, high) => {
                let one = |bits: u64| low + (high - low) * (bits >> 40) as f32 / (1 << 24) as f32;
                Values::F32((0..count).map(|_| one(random.next_u64())).collect())
            }
            Draw::Codes(low, high) => {
                let range = u64::from(high.saturating_sub(low).max(1));
                let one = |bits: u64| low + ((bits >> 32) % range) as u8;
                Values::U8((0..count).map(|_| one(random.next_u64())).collect())
            }
            Draw::Whole(low, high) => {
                let range = u64::from(high.abs_diff(low).max(1));
                let one = |bits: u64| low + ((bits >> 32) % range) as i32;
                Values::I32((0..count).map(|_| one(random.next_u64())).collect())
            }
        }
    }
}

/// Writes the inputs of a row into a folder.
pub fn write_all(folder: &Path, id: &str, inputs: &[Input]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (idx, input) in inputs.iter().enumerate() {
        let path = folder.join(format!("input-{idx}.npy"));
        let seed = hash(id).wrapping_add(idx as u64);
        npy::write(&path, &input.shape, &input.values(seed))?;
        paths.push(path);
    }
    Ok(paths)
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_have_their_deviation_and_repeat() {
        let input = Input::new(&[10_000], Draw::Normal(2.0));
        let Values::F32(values) = input.values(1) else {
            panic!("wanted float32 values");
        };
        let mean = values.iter().sum::<f32>() / 1e4;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 1e4;
        assert!(mean.abs() < 0.1 && (variance.sqrt() - 2.0).abs() < 0.1);
        assert_eq!(input.values(1), input.values(1));
        assert_ne!(input.values(1), input.values(2));
    }

    #[test]
    fn codes_stay_in_their_range() {
        let Values::U8(codes) = Input::new(&[1000], Draw::Codes(4, 12)).values(3) else {
            panic!("wanted uint8 values");
        };
        assert!(codes.iter().all(|code| (4..12).contains(code)));
        assert!(codes.contains(&4) && codes.contains(&11));
    }

    #[test]
    fn whole_numbers_stay_in_their_range() {
        let Values::I32(numbers) = Input::new(&[1000], Draw::Whole(-2, 5)).values(3) else {
            panic!("wanted int32 values");
        };
        assert!(numbers.iter().all(|number| (-2..5).contains(number)));
        assert!(numbers.contains(&-2) && numbers.contains(&4));
    }
}
