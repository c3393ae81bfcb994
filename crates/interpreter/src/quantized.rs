//! Quantized weights: packed as a stream of bits, with a scale and perhaps a bias for each group.

use mlx::{Dtype, Op, QuantizationMode};
use mlx_compiler::Result;

use crate::bits::{from_fp8, to_fp8};
use crate::call::Call;
use crate::number::Number;
use crate::product::{batch_indices, matmul, matrix};
use crate::tensor::Tensor;

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    let coding = |group_size: &i32, bits: &i32, mode: &QuantizationMode| Coding {
        group: usize::try_from(*group_size).unwrap_or(1).max(1),
        bits: usize::try_from(*bits).unwrap_or(4).clamp(1, 32),
        mode: *mode,
    };
    Some(match op {
        Op::Quantize {
            group_size,
            bits,
            mode,
        } => coding(group_size, bits, mode).quantize(call),
        Op::Dequantize {
            group_size,
            bits,
            mode,
            ..
        } => call
            .input(0)
            .and_then(|w| {
                coding(group_size, bits, mode).dequantize(
                    w,
                    call.input(1)?,
                    call.inputs.get(2).copied(),
                )
            })
            .and_then(|w| call.tensor(&w)),
        Op::QuantizedMatmul {
            transpose,
            group_size,
            bits,
            mode,
        } => {
            let coding = coding(group_size, bits, mode);
            call.input(1).and_then(|w| {
                let w = coding.dequantize(w, call.input(2)?, call.inputs.get(3).copied())?;
                let x = call.input(0)?;
                call.tensor(&matmul(
                    &x.astype(Dtype::Float64, crate::Rounding::Exact),
                    &turned(&w, *transpose)?,
                )?)
            })
        }
        Op::GatherQmm {
            biases,
            lhs,
            rhs,
            transpose,
            group_size,
            bits,
            mode,
            ..
        } => gather_qmm(
            call,
            &coding(group_size, bits, mode),
            [*biases, *lhs, *rhs],
            *transpose,
        ),
        _ => return None,
    })
}

/// How numbers are coded.
struct Coding {
    group: usize,
    bits: usize,
    mode: QuantizationMode,
}

impl Coding {
    /// Returns the numbers of packed weights, as `float64`.
    fn dequantize(&self, w: &Tensor, scales: &Tensor, biases: Option<&Tensor>) -> Result<Tensor> {
        let words = w.shape().last().copied().unwrap_or(1).max(1);
        let per_row = words * 32 / self.bits;
        let groups_per_row = per_row / self.group;
        let mut numbers = Vec::new();
        for (row, words) in w.numbers().chunks(words).enumerate() {
            let stream: Vec<u8> = words
                .iter()
                .flat_map(|w| w.to_i64().to_le_bytes().into_iter().take(4))
                .collect();
            for k in 0..per_row {
                let group = row * groups_per_row + k / self.group;
                let (code, scale) = (self.code(&stream, k), scales.at(group));
                let bias = biases.map_or(0.0, |biases| biases.at(group).to_f64());
                numbers.push(Number::Float(self.value(code, scale, bias)));
            }
        }
        let mut shape = w.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = per_row;
        }
        Tensor::rounded(&shape, Dtype::Float64, numbers, crate::Rounding::Exact)
    }

    /// The bits of one number; the first is in the lowest bits of the stream.
    fn code(&self, stream: &[u8], k: usize) -> i64 {
        (0..self.bits).fold(0, |code, bit| {
            let at = k * self.bits + bit;
            let set = stream
                .get(at / 8)
                .is_some_and(|byte| byte >> (at % 8) & 1 == 1);
            code | i64::from(set) << bit
        })
    }

    #[allow(clippy::cast_precision_loss)]
    fn value(&self, code: i64, scale: Number, bias: f64) -> f64 {
        match self.mode {
            QuantizationMode::Affine => code as f64 * scale.to_f64() + bias,
            QuantizationMode::Mxfp4 => from_fp4(code) * exponent(scale),
            QuantizationMode::Mxfp8 => from_fp8(code) * exponent(scale),
            QuantizationMode::Nvfp4 => from_fp4(code) * from_fp8(scale.to_i64()),
        }
    }

    fn quantize(&self, call: &Call<'_>) -> Result<Vec<Tensor>> {
        let x = call.input(0)?;
        let (mut codes, mut scales, mut biases) = (Vec::new(), Vec::new(), Vec::new());
        for group in x.numbers().chunks(self.group) {
            let group: Vec<f64> = group.iter().map(|x| x.to_f64()).collect();
            let (scale, bias) = match self.mode {
                QuantizationMode::Affine => self.affine(call, x.dtype(), &group, &mut codes),
                _ => (self.small_floats(&group, &mut codes), 0.0),
            };
            scales.push(scale);
            biases.push(Number::Float(bias));
        }
        let bits = codes
            .iter()
            .flat_map(|&code| (0..self.bits).map(move |bit| code >> bit & 1));
        let bits: Vec<u64> = bits.collect();
        let words = bits.chunks(32).map(|bits| {
            Number::Unsigned(
                bits.iter()
                    .enumerate()
                    .fold(0, |word, (k, bit)| word | bit << k),
            )
        });
        let mut results = vec![call.result(0, words.collect())?, call.result(1, scales)?];
        if call.types.len() > 2 {
            results.push(call.result(2, biases)?);
        }
        Ok(results)
    }

    /// The number furthest from zero is coded exactly, as is zero.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn affine(
        &self,
        call: &Call<'_>,
        dtype: Dtype,
        group: &[f64],
        codes: &mut Vec<u64>,
    ) -> (Number, f64) {
        let round = |x: f64| {
            call.rounding.round(
                x,
                if dtype == Dtype::Float64 {
                    dtype
                } else {
                    Dtype::Float32
                },
            )
        };
        let n_bins = 2_f64.powi(i32::try_from(self.bits).unwrap_or(4)) - 1.0;
        let max = group.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = group.iter().copied().fold(f64::INFINITY, f64::min);
        let scale = round(round(max - min) / n_bins).max(f64::from(1e-7_f32));
        let below = min.abs() > max.abs();
        let (mut scale, edge) = if below { (scale, min) } else { (-scale, max) };
        let steps = round(edge / scale).round_ties_even();
        let mut bias = 0.0;
        if steps != 0.0 {
            scale = round(edge / steps);
            bias = edge;
        }
        for x in group {
            let code = round(round(x - bias) / scale)
                .round_ties_even()
                .clamp(0.0, n_bins);
            codes.push(code as u64);
        }
        (Number::Float(scale), bias)
    }

    /// The maximum number takes the maximum code.
    #[allow(clippy::cast_possible_truncation)]
    fn small_floats(&self, group: &[f64], codes: &mut Vec<u64>) -> Number {
        let max = group.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
        let limit = if self.bits == 8 { 448.0 } else { 6.0 };
        let (stored, scale) = if self.mode == QuantizationMode::Nvfp4 {
            let byte = to_fp8(max / limit);
            (byte, from_fp8(i64::try_from(byte).unwrap_or(0)))
        } else {
            let exponent = (max / limit).log2().round_ties_even().clamp(-127.0, 127.0) as i32;
            (
                u64::try_from(exponent + 127).unwrap_or(0),
                2_f64.powi(exponent),
            )
        };
        for x in group {
            let part = if scale == 0.0 { 0.0 } else { x / scale };
            codes.push(if self.bits == 8 {
                to_fp8(part)
            } else {
                to_fp4(part)
            });
        }
        Number::Unsigned(stored)
    }
}

/// `2^(byte - 127)`.
fn exponent(scale: Number) -> f64 {
    2_f64.powi(i32::try_from(scale.to_i64()).unwrap_or(127) - 127)
}

const FP4: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// Returns the number of FP4 (E2M1) that these four bits are.
fn from_fp4(code: i64) -> f64 {
    let size = usize::try_from(code & 7)
        .ok()
        .and_then(|k| FP4.get(k))
        .copied()
        .unwrap_or(0.0);
    if code & 8 == 0 { size } else { -size }
}

/// Returns the nearest number of FP4, the lesser of two.
fn to_fp4(x: f64) -> u64 {
    let sign = if x < 0.0 { 8 } else { 0 };
    let mut best = 0;
    for (k, value) in FP4.iter().enumerate() {
        let (a, b) = ((FP4[best] - x.abs()).abs(), (value - x.abs()).abs());
        if b < a {
            best = k;
        }
    }
    sign | best as u64
}

fn turned(w: &Tensor, transpose: bool) -> Result<Tensor> {
    if !transpose || w.ndim() < 2 {
        return Ok(w.clone());
    }
    let mut order: Vec<usize> = (0..w.ndim()).collect();
    order.swap(w.ndim() - 1, w.ndim() - 2);
    w.transposed(&order)
}

fn gather_qmm(
    call: &Call<'_>,
    coding: &Coding,
    [biases, lhs, rhs]: [bool; 3],
    transpose: bool,
) -> Result<Vec<Tensor>> {
    let mut next = 3;
    let mut optional = |present: bool| -> Result<Option<&Tensor>> {
        let found = if present {
            Some(call.input(next)?)
        } else {
            None
        };
        next += usize::from(present);
        Ok(found)
    };
    let (biases, lhs, rhs) = (optional(biases)?, optional(lhs)?, optional(rhs)?);
    let x = call
        .input(0)?
        .astype(Dtype::Float64, crate::Rounding::Exact);
    let w = turned(
        &coding.dequantize(call.input(1)?, call.input(2)?, biases)?,
        transpose,
    )?;
    let shape = call.shape()?;
    let lead = shape
        .get(..shape.len().saturating_sub(2))
        .unwrap_or_default();
    let mut numbers = Vec::new();
    let batches = batch_indices(call, &x, lhs, lead)?
        .into_iter()
        .zip(batch_indices(call, &w, rhs, lead)?);
    for (i, j) in batches {
        numbers.extend_from_slice(matmul(&matrix(&x, i)?, &matrix(&w, j)?)?.numbers());
    }
    call.one(numbers)
}
