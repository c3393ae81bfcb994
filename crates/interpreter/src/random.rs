//! Random numbers from keys, by Threefry-2x32 with twenty rounds: the same bits as MLX's.

use std::f64::consts::SQRT_2;

use mlx::{Dtype, DtypeKind, Op};
use mlx_compiler::Result;

use crate::call::Call;
use crate::number::{Number, Rounding};
use crate::special::{erf, erfinv};
use crate::tensor::{Tensor, axis, broadcast_indices, count, sizes};
use crate::truncated_normal;

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    Some(match op {
        Op::RandomBits { shape, width } => random_bits(call, shape, *width),
        Op::RandomSplit { .. } => split(call),
        Op::RandomUniform { dtype, .. } => random_uniform(call, *dtype),
        Op::RandomBernoulli { .. } => bernoulli(call),
        Op::RandomRandint { .. } => randint(call),
        Op::RandomNormal {
            dtype, loc, scale, ..
        } => normal(call, *dtype, (*loc).into(), (*scale).into()),
        Op::RandomLaplace {
            dtype, loc, scale, ..
        } => laplace(call, *dtype, (*loc).into(), (*scale).into()),
        Op::RandomGumbel { dtype, .. } => random_gumbel(call, *dtype),
        Op::RandomTruncatedNormal { dtype, .. } => truncated_normal(call, *dtype),
        Op::RandomCategorical { axis, .. } => categorical(call, *axis),
        Op::RandomPermutation { axis } => permutation(call, *axis),
        _ => return None,
    })
}

fn random_bits(call: &Call<'_>, shape: &[i32], width: i32) -> Result<Vec<Tensor>> {
    let key = key(call, 0)?;
    let n = count(&sizes(shape)?)?;
    let width = usize::try_from(width).unwrap_or(0);
    if ![1, 2, 4].contains(&width) {
        return Err(call.error(format!("wanted a width of 1, 2 or 4 bytes, got {width}")));
    }
    let bits = bits(key, n, width).into_iter();
    call.one(bits.map(Number::Unsigned).collect())
}

fn split(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let key = key(call, 0)?;
    let bits = bits(key, count(&call.shape()?)?, 4).into_iter();
    call.one(bits.map(Number::Unsigned).collect())
}

fn random_uniform(call: &Call<'_>, dtype: Dtype) -> Result<Vec<Tensor>> {
    let key = key(call, 2)?;
    let (low, high) = (broadcast_input(call, 0)?, broadcast_input(call, 1)?);
    let drawn = uniform(key, &low, &high, dtype, call.rounding);
    let round = |x: f64| call.rounding.round(x, dtype);
    // What was rounded up to the excluded bound is the other one.
    let below = |(u, (low, high)): (f64, (&f64, &f64))| {
        let (low, high) = (round(*low), round(*high));
        Number::Float(if u >= high && low < high && low != 0.0 {
            low
        } else {
            u
        })
    };
    let bounds = low.iter().zip(&high);
    call.one(drawn.into_iter().zip(bounds).map(below).collect())
}

fn bernoulli(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let key = key(call, 1)?;
    let p = broadcast_input(call, 0)?;
    let u = unit_uniform(key, p.len(), Dtype::Float32, call.rounding);
    call.one(u.iter().zip(&p).map(|(u, p)| Number::Bool(u < p)).collect())
}

fn randint(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let key = key(call, 2)?;
    let (low, high) = (broadcast_input(call, 0)?, broadcast_input(call, 1)?);
    let u = uniform(key, &low, &high, Dtype::Float32, Rounding::PerOp);
    let narrow = u.iter().zip(&low).map(|(u, low)| u.max(*low));
    let wide = wide_integers(call, key)?;
    let is_integer = call.inputs[..2].iter().all(|x| is_integer(x.dtype()));
    let one = |(k, narrow): (usize, f64)| {
        if is_integer && !is_narrow(low[k], high[k]) {
            wide[k]
        } else {
            Number::Float(narrow)
        }
    };
    call.one(narrow.enumerate().map(one).collect())
}

fn normal(call: &Call<'_>, dtype: Dtype, loc: f64, scale: f64) -> Result<Vec<Tensor>> {
    let key = key(call, 0)?;
    let n = count(&call.shape()?)?;
    if dtype == Dtype::Complex64 {
        // Both parts have half of the variance.
        let all = symmetric_uniform(key, 2 * n, Dtype::Float32, call.rounding);
        let part = |u: f64| erfinv(u) * scale;
        let numbers = all
            .chunks(2)
            .map(|pair| Number::Complex(part(pair[0]) + loc, part(pair[1])));
        return call.one(numbers.collect());
    }
    let round = |x: f64| call.rounding.round(x, dtype);
    let one = |u: f64| Number::Float(round(round(erfinv(u)) * SQRT_2 * scale) + loc);
    let drawn = symmetric_uniform(key, n, dtype, call.rounding).into_iter();
    call.one(drawn.map(one).collect())
}

fn laplace(call: &Call<'_>, dtype: Dtype, loc: f64, scale: f64) -> Result<Vec<Tensor>> {
    let key = key(call, 0)?;
    let n = count(&call.shape()?)?;
    let one = |u: f64| Number::Float(u.signum() * (-u.abs()).ln_1p() * scale + loc);
    let drawn = symmetric_uniform(key, n, dtype, call.rounding).into_iter();
    call.one(drawn.map(one).collect())
}

fn random_gumbel(call: &Call<'_>, dtype: Dtype) -> Result<Vec<Tensor>> {
    let key = key(call, 0)?;
    let n = count(&call.shape()?)?;
    let drawn = gumbel(key, n, dtype, call.rounding).into_iter();
    call.one(drawn.map(Number::Float).collect())
}

fn truncated_normal(call: &Call<'_>, dtype: Dtype) -> Result<Vec<Tensor>> {
    let key = key(call, 2)?;
    let (low, high) = (broadcast_input(call, 0)?, broadcast_input(call, 1)?);
    let bounds = low.iter().zip(&high);
    let is_middle = low.iter().chain(&high).all(|x| x.abs() <= 3.0);
    if dtype != Dtype::Float32 || !is_middle {
        let units = unit_uniform(key, low.len(), Dtype::Float32, call.rounding);
        let one = |(u, (low, high)): (&f64, (&f64, &f64))| {
            Number::Float(truncated_normal::quantile(*low, *high, *u))
        };
        return call.one(units.iter().zip(bounds).map(one).collect());
    }
    let round = |x: f64| call.rounding.round(x, dtype);
    let erf_of = |list: &[f64]| -> Vec<f64> {
        let rounded = list.iter().map(|x| round(erf(round(x / SQRT_2))));
        rounded.collect()
    };
    let u = uniform(key, &erf_of(&low), &erf_of(&high), dtype, call.rounding);
    let one = |(u, (low, high)): (&f64, (&f64, &f64))| {
        Number::Float((SQRT_2 * erfinv(*u)).max(*low).min(*high))
    };
    call.one(u.iter().zip(bounds).map(one).collect())
}

fn permutation(call: &Call<'_>, along: i32) -> Result<Vec<Tensor>> {
    let key = key(call, 1)?;
    let x = call.input(0)?;
    let along = axis(along, x.ndim())?;
    let bits = bits(key, x.shape()[along], 4);
    let mut order: Vec<usize> = (0..bits.len()).collect();
    order.sort_by_key(|&k| bits[k]);
    call.tensor(&crate::shape::select(x, along, &order)?)
}

type Key = (u32, u32);

fn is_integer(dtype: Dtype) -> bool {
    matches!(dtype.kind(), DtypeKind::Signed | DtypeKind::Unsigned)
}

/// Ranges of integers that are drawn as `float32`.
fn is_narrow(low: f64, high: f64) -> bool {
    const SINGLE: f64 = 16_777_216.0;
    low.abs() <= SINGLE && high.abs() <= SINGLE && high - low <= 1_048_576.0
}

/// `low + floor(word * (high - low) / 2^64)` of words of 64 random bits.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn wide_integers(call: &Call<'_>, key: Key) -> Result<Vec<Number>> {
    let shape = call.shape()?;
    let dtype = call.dtype()?;
    let (low, high) = (
        call.input(0)?.broadcast_to(&shape)?,
        call.input(1)?.broadcast_to(&shape)?,
    );
    let n = count(&shape)?;
    let words = bits(key, 2 * n, 4);
    let one = |k: usize| {
        let (low, high) = (low.at(k).to_i64() as u64, high.at(k).to_i64() as u64);
        let is_range = is_less(low, high, dtype);
        let word = (words[k] << 32) | words[n + k];
        let offset = ((u128::from(word) * u128::from(high.wrapping_sub(low))) >> 64) as u64;
        let drawn = low.wrapping_add(if is_range { offset } else { 0 });
        if dtype.kind() == DtypeKind::Unsigned {
            Number::Unsigned(drawn)
        } else {
            Number::Int(drawn.cast_signed())
        }
    };
    Ok((0..n).map(one).collect())
}

fn is_less(low: u64, high: u64, dtype: Dtype) -> bool {
    if dtype.kind() == DtypeKind::Unsigned {
        low < high
    } else {
        low.cast_signed() < high.cast_signed()
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn key(call: &Call<'_>, k: usize) -> Result<Key> {
    let key = call.input(k)?;
    Ok((key.at(0).to_i64() as u32, key.at(1).to_i64() as u32))
}

/// An input broadcast to the shape of the result.
fn broadcast_input(call: &Call<'_>, k: usize) -> Result<Vec<f64>> {
    Ok(call.input(k)?.broadcast_to(&call.shape()?)?.to_f64())
}

fn threefry(key: Key, count: (u32, u32)) -> (u32, u32) {
    let keys = [key.0, key.1, key.0 ^ key.1 ^ 0x1BD1_1BDA];
    let rotations = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let (mut a, mut b) = (count.0.wrapping_add(keys[0]), count.1.wrapping_add(keys[1]));
    for round in 0..5_u32 {
        let at = round as usize;
        for rotation in rotations[at % 2] {
            a = a.wrapping_add(b);
            b = b.rotate_left(rotation) ^ a;
        }
        a = a.wrapping_add(keys[(at + 1) % 3]);
        b = b.wrapping_add(keys[(at + 2) % 3]).wrapping_add(round + 1);
    }
    (a, b)
}

/// Numbers of `width` bytes: words come in pairs, one of the first half and one of the second.
#[allow(clippy::cast_possible_truncation)]
fn bits(key: Key, n: usize, width: usize) -> Vec<u64> {
    let n_bytes = n * width;
    let n_words = n_bytes.div_ceil(4);
    let (half, odd) = (n_words / 2, n_words % 2);
    let mut words = vec![0_u32; n_words];
    for k in 0..half {
        let other = k + half + odd;
        (words[k], words[other]) = threefry(key, (k as u32, other as u32));
    }
    if odd == 1 {
        words[half] = threefry(key, (half as u32, 0)).0;
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes
        .chunks(width.max(1))
        .take(n)
        .map(|bytes| {
            bytes
                .iter()
                .rev()
                .fold(0, |word, &byte| word << 8 | u64::from(byte))
        })
        .collect()
}

/// The maximum number below 1.
fn below_one(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float16 => 1.0 - 2_f64.powi(-11),
        Dtype::Bfloat16 => 1.0 - 2_f64.powi(-8),
        _ => 1.0 - 2_f64.powi(-24),
    }
}

/// Numbers from 0 to below 1; always drawn from 32 bits, as MLX does.
#[allow(clippy::cast_precision_loss)]
fn unit_uniform(key: Key, n: usize, dtype: Dtype, rounding: Rounding) -> Vec<f64> {
    let of = |word: u64| {
        let word = rounding.round(word as f64, Dtype::Float32);
        let u = rounding.round(word / 4_294_967_296.0, Dtype::Float32);
        rounding
            .round(u.min(below_one(dtype)), dtype)
            .min(below_one(dtype))
    };
    bits(key, n, 4).into_iter().map(of).collect()
}

fn uniform(key: Key, low: &[f64], high: &[f64], dtype: Dtype, rounding: Rounding) -> Vec<f64> {
    let round = |x: f64| rounding.round(x, dtype);
    let units = unit_uniform(key, low.len(), dtype, rounding);
    let bounds = low.iter().zip(high);
    units
        .iter()
        .zip(bounds)
        .map(|(u, (low, high))| round(round(round(high - low) * u) + round(*low)))
        .collect()
}

/// Numbers between -1 and 1, both exclusive.
fn symmetric_uniform(key: Key, n: usize, dtype: Dtype, rounding: Rounding) -> Vec<f64> {
    uniform(
        key,
        &vec![-below_one(dtype); n],
        &vec![1.0; n],
        dtype,
        rounding,
    )
}

fn gumbel(key: Key, n: usize, dtype: Dtype, rounding: Rounding) -> Vec<f64> {
    let round = |x: f64| rounding.round(x, dtype);
    unit_uniform(key, n, dtype, rounding)
        .into_iter()
        .map(|u| -round(-round(u.ln())).ln())
        .collect()
}

/// The index of the maximum of logits plus Gumbel noise; of one row, by inverting the cumulative distribution.
fn categorical(call: &Call<'_>, along: i32) -> Result<Vec<Tensor>> {
    let (logits, key) = (call.input(0)?, key(call, 1)?);
    let along = axis(along, logits.ndim())?;
    if logits.ndim() == 1 && !call.shape()?.is_empty() {
        let parts = crate::reduce::softmax_of(&logits.to_f64());
        let n = count(&call.shape()?)?;
        let of = |u: f64| {
            let mut sum = 0.0;
            let below = parts.iter().take_while(|part| {
                sum += **part;
                sum <= u
            });
            Number::Unsigned(below.count().min(parts.len().saturating_sub(1)) as u64)
        };
        return call.one(
            unit_uniform(key, n, Dtype::Float32, call.rounding)
                .into_iter()
                .map(of)
                .collect(),
        );
    }
    let from_end = logits.ndim() - along;
    let mut shape = call.shape()?;
    let sample_axis = (shape.len() + 1)
        .checked_sub(from_end)
        .ok_or_else(|| call.error("wanted as many axes as logits have"))?;
    shape.insert(sample_axis, logits.shape()[along]);
    let noise = gumbel(key, count(&shape)?, Dtype::Float32, call.rounding);
    let flat_indices = broadcast_indices(logits.shape(), &shape)?;
    let scores: Vec<f64> = noise
        .iter()
        .zip(&flat_indices)
        .map(|(g, &k)| g + logits.at(k).to_f64())
        .collect();
    let best = |line: Vec<usize>| {
        let best = line.iter().enumerate().fold(
            (0, f64::NEG_INFINITY),
            |(best, best_score), (k, &flat_index)| {
                if scores[flat_index] > best_score {
                    (k, scores[flat_index])
                } else {
                    (best, best_score)
                }
            },
        );
        Number::Unsigned(best.0 as u64)
    };
    call.one(
        crate::tensor::lines(&shape, sample_axis)
            .into_iter()
            .map(best)
            .collect(),
    )
}
