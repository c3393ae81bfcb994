//! Plain codes as MLX's packed weights.

use anyhow::{Context, Result};
use mlx::{Array, Dtype, Quantization, Quantized};

/// Packs codes of 4 bits, `[out, in]`, with `w = scale * (code - zero)`.
///
/// MLX keeps eight codes to a `uint32`, the first in the lowest bits, and means `scale * code + bias`.
pub fn pack(codes: &Array, scales: &Array, zeros: &Array, group_size: i32) -> Result<Quantized> {
    const CODES: usize = 8;
    let shape = codes.shape()?.to_vec();
    let (rows, columns) = match shape[..] {
        [rows, columns] => (rows, columns),
        _ => anyhow::bail!("pack: wanted [out, in], got {shape:?}"),
    };
    let codes = codes.to_vec::<u8>()?;
    let (words, rest) = codes.as_chunks::<CODES>();
    anyhow::ensure!(rest.is_empty(), "pack: wanted whole words of {CODES} codes");
    let word = |codes: &[u8; CODES]| {
        let pairs = codes.iter().enumerate();
        pairs.fold(0_u32, |word, (idx, code)| {
            word | u32::from(*code) << (4 * idx)
        })
    };
    let words: Vec<u32> = words.iter().map(word).collect();
    let per_row = columns / i32::try_from(CODES).context("codes")?;
    let biases = -(scales * zeros.astype(Dtype::Float32));
    mlx_bench::ready([&biases])?;
    Ok(Quantized {
        weight: Array::from_slice(&words, [rows, per_row])?,
        scales: scales.clone(),
        biases: Some(biases),
        quantization: Quantization {
            group_size,
            bits: 4,
            ..Quantization::default()
        },
    })
}
