//! The kernel that rounds vectors to 8 bits, called directly, as MLX has no such operation.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use mlx::Array;
use mlx_bench::harness::npy::{self, Values};
use mlx_bench::harness::protocol::Load;
use mlx_kernels::{MatrixShape, Quantized, quantized_matmul_int8};

use crate::kernels::packed;
use crate::work::Work;

/// The product of vectors and a packed matrix, in slices.
pub struct Int8 {
    vectors: usize,
    shape: MatrixShape,
    bits: usize,
    group_size: usize,
    x: Vec<f32>,
    weights: Vec<u32>,
    scales: Vec<f32>,
    biases: Vec<f32>,
    out: Vec<f32>,
}

impl Int8 {
    pub fn new(load: &Load, inputs: &[Array]) -> Result<Self> {
        let (x, matrix) = packed(load, inputs)?;
        let size = |array: &Array, axis: usize| -> Result<usize> {
            let shape = array.shape()?;
            let size = shape.get(axis).context("int8: wanted two axes")?;
            Ok(usize::try_from(*size)?)
        };
        let (vectors, columns) = (size(&x, 0)?, size(&x, 1)?);
        let rows = size(&matrix.weight, 0)?;
        let biases = matrix.biases.as_ref().context("int8: wanted biases")?;
        Ok(Self {
            vectors,
            shape: MatrixShape { rows, columns },
            bits: usize::try_from(matrix.quantization.bits)?,
            group_size: usize::try_from(matrix.quantization.group_size)?,
            x: x.to_vec()?,
            weights: matrix.weight.to_vec()?,
            scales: matrix.scales.to_vec()?,
            biases: biases.to_vec()?,
            out: vec![0.0; vectors * rows],
        })
    }

    fn multiply(&mut self) -> Result<()> {
        let matrix = Quantized {
            shape: self.shape,
            bits: self.bits,
            group_size: self.group_size,
            weights: &self.weights,
            scales: &self.scales,
            biases: &self.biases,
        };
        quantized_matmul_int8(matrix, self.vectors, &self.x, &mut self.out)?;
        Ok(())
    }
}

impl Work for Int8 {
    fn first(&mut self, output: &Path) -> Result<Option<String>> {
        self.multiply()?;
        let values = Values::F32(self.out.clone());
        npy::write(output, &[self.vectors, self.shape.rows], &values)?;
        Ok(None)
    }

    fn run(&mut self) -> Result<f64> {
        let start = Instant::now();
        self.multiply()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}
