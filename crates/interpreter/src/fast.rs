//! The fused kernels of transformers, by their formulas.

use mlx::Op;
use mlx::compiler_api::MaskMode;
use mlx_compiler::Result;

use crate::call::Call;
use crate::number::Number;
use crate::product::matmul;
use crate::reduce::{max_and_rest, softmax_of};
use crate::special::erf;
use crate::tensor::{Tensor, coordinates};

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    Some(match op {
        Op::RmsNorm { eps } => rms_norm(call, f64::from(*eps)),
        Op::LayerNorm { weight, bias, eps } => layer_norm(call, *weight, *bias, f64::from(*eps)),
        Op::Rope {
            dims,
            traditional,
            base,
            scale,
            freqs,
        } => rope(
            call,
            &Rope {
                half: usize::try_from(*dims).unwrap_or(0) / 2,
                traditional: *traditional,
                base: base.map(f64::from),
                scale: f64::from(*scale),
                freqs: *freqs,
            },
        ),
        Op::ScaledDotProductAttention {
            scale, mask, sinks, ..
        } => attention(call, f64::from(*scale), *mask, *sinks),
        Op::CrossEntropy => cross_entropy(call),
        Op::Gelu => each(call, |x| x * (1.0 + erf(x / 2_f64.sqrt())) / 2.0),
        Op::GeluApprox => each(call, |x| {
            let cubic = x + 0.044_715 * x * x * x;
            x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * cubic).tanh()) / 2.0
        }),
        Op::Silu => each(call, silu),
        Op::SwiGlu => swiglu(call),
        Op::Linear => linear(call),
        _ => return None,
    })
}

/// `x * rsqrt(mean(x^2) + eps) * weight`.
#[allow(clippy::cast_precision_loss)]
fn rms_norm(call: &Call<'_>, eps: f64) -> Result<Vec<Tensor>> {
    let weight = call.inputs.get(1).map(|w| w.to_f64());
    rows(call, |row| {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        let factor = 1.0 / (mean + eps).sqrt();
        let weight = |k: usize| {
            weight
                .as_ref()
                .map_or(1.0, |w| w.get(k % w.len().max(1)).copied().unwrap_or(1.0))
        };
        row.iter()
            .enumerate()
            .map(|(k, x)| x * factor * weight(k))
            .collect()
    })
}

/// `(x - mean(x)) * rsqrt(var(x) + eps) * weight + bias`.
#[allow(clippy::cast_precision_loss)]
fn layer_norm(call: &Call<'_>, weight: bool, bias: bool, eps: f64) -> Result<Vec<Tensor>> {
    let get = |present: bool, k: usize| -> Result<Option<Vec<f64>>> {
        if present {
            call.input(k).map(|x| Some(x.to_f64()))
        } else {
            Ok(None)
        }
    };
    let (weight, bias) = (get(weight, 1)?, get(bias, 1 + usize::from(weight))?);
    let at = |list: &Option<Vec<f64>>, k: usize, or: f64| {
        list.as_ref()
            .map_or(or, |w| w.get(k % w.len().max(1)).copied().unwrap_or(or))
    };
    rows(call, |row| {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let factor = 1.0 / (variance + eps).sqrt();
        let one =
            |(k, x): (usize, &f64)| (x - mean) * factor * at(&weight, k, 1.0) + at(&bias, k, 0.0);
        row.iter().enumerate().map(one).collect()
    })
}

/// Replaces each row of the last axis.
fn rows(call: &Call<'_>, map: impl Fn(&[f64]) -> Vec<f64>) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let length = x.shape().last().copied().unwrap_or(1).max(1);
    let values = x.to_f64();
    call.one(
        values
            .chunks(length)
            .flat_map(map)
            .map(Number::Float)
            .collect(),
    )
}

/// Replaces each element.
fn each(call: &Call<'_>, map: impl Fn(f64) -> f64) -> Result<Vec<Tensor>> {
    let values = call.input(0)?.to_f64();
    call.one(values.into_iter().map(map).map(Number::Float).collect())
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// `silu(gate) * x`.
fn swiglu(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let (gate, x) = (call.input(0)?.to_f64(), call.input(1)?.to_f64());
    let both = gate.into_iter().zip(x);
    call.one(
        both.map(|(gate, x)| Number::Float(silu(gate) * x))
            .collect(),
    )
}

/// `x @ transpose(weight)`.
fn linear(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let (x, weight) = (call.input(0)?, call.input(1)?);
    let (Some(&width), [rows, columns]) = (x.shape().last(), weight.shape()) else {
        return Err(call.error("wanted [.., in] and [out, in]"));
    };
    if width != *columns {
        return Err(call.error(format!("wanted {columns} numbers in a row, got {width}")));
    }
    if width == 0 {
        return call.one(vec![
            Number::Float(0.0);
            x.shape().iter().rev().skip(1).product::<usize>() * rows
        ]);
    }
    let (x, weight) = (x.to_f64(), weight.to_f64());
    let products = x.chunks(width).flat_map(|x| {
        weight.chunks(width).map(|weight| {
            let terms = x.iter().zip(weight).map(|(x, weight)| x * weight);
            Number::Float(terms.sum())
        })
    });
    call.one(products.collect())
}

struct Rope {
    half: usize,
    traditional: bool,
    base: Option<f64>,
    scale: f64,
    freqs: bool,
}

/// Turns pairs of features by `position * scale * base^(-2k / dims)`, or by `position * scale / freqs[k]`.
#[allow(clippy::cast_precision_loss)]
fn rope(call: &Call<'_>, rope: &Rope) -> Result<Vec<Tensor>> {
    let (x, offset) = (call.input(0)?, call.input(1)?);
    let freqs = if rope.freqs {
        Some(call.input(2)?.to_f64())
    } else {
        None
    };
    let [.., length, width] = x.shape() else {
        return Err(call.error(format!("wanted at least 2 axes, got {:?}", x.shape())));
    };
    let batch = x.shape().first().copied().unwrap_or(1).max(1);
    let per_batch = (x.size() / batch).max(1);
    let half = rope.half;
    if 2 * half > *width {
        return Err(call.error(format!("wanted at most {width} dims, got {}", 2 * half)));
    }
    let angle = |k: usize, pair: usize| {
        let start = if offset.size() > 1 {
            offset.at(k / per_batch)
        } else {
            offset.at(0)
        };
        let position = (start.to_f64() + (k / width % length) as f64) * rope.scale;
        match (&freqs, rope.base) {
            (Some(freqs), _) => position / freqs.get(pair).copied().unwrap_or(1.0),
            (None, base) => position * base.unwrap_or(10_000.0).powf(-(pair as f64) / half as f64),
        }
    };
    let of = |k: usize| {
        let d = k % width;
        if d >= 2 * half {
            return x.at(k);
        }
        let (pair, is_second, other) = if rope.traditional {
            (d / 2, d % 2 == 1, if d % 2 == 1 { k - 1 } else { k + 1 })
        } else {
            (
                d % half,
                d >= half,
                if d >= half { k - half } else { k + half },
            )
        };
        let (sin, cos) = angle(k, pair).sin_cos();
        let (own, other) = (x.at(k).to_f64(), x.at(other).to_f64());
        Number::Float(if is_second {
            own * cos + other * sin
        } else {
            own * cos - other * sin
        })
    };
    call.one((0..x.size()).map(of).collect())
}

/// `softmax(q @ k.T * scale + mask) @ v`; several heads of queries may share one of keys.
fn attention(call: &Call<'_>, scale: f64, mode: MaskMode, sinks: bool) -> Result<Vec<Tensor>> {
    let (q, k, v) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let ([batch, heads, queries, _], [_, kv_heads, keys, _]) = (q.shape(), k.shape()) else {
        return Err(call.error("wanted [batch, heads, length, dim]"));
    };
    if v.ndim() != 4 {
        return Err(call.error("wanted [batch, heads, length, dim]"));
    }
    let per_kv = (heads / (*kv_heads).max(1)).max(1);
    let has_mask = mode == MaskMode::Array;
    let shape = [*batch, *heads, *queries, *keys];
    let mask = if has_mask {
        Some(call.input(3)?.broadcast_to(&shape)?)
    } else {
        None
    };
    let sinks = if sinks {
        Some(call.input(3 + usize::from(has_mask))?)
    } else {
        None
    };
    let spread = |x: &Tensor| {
        crate::shape::select(x, 1, &(0..*heads).map(|h| h / per_kv).collect::<Vec<_>>())
    };
    let (k, v) = (spread(k)?, spread(v)?);
    let scores = matmul(q, &k.transposed(&[0, 1, 3, 2])?)?;
    let score = |flat_index: usize| {
        let at = coordinates(flat_index, &shape);
        let value = scores.at(flat_index).to_f64() * scale;
        match (&mask, mode) {
            (Some(mask), _) => match mask.at(flat_index) {
                Number::Bool(true) => value,
                Number::Bool(false) => f64::NEG_INFINITY,
                bias => value + bias.to_f64(),
            },
            // The last query is aligned with the last key.
            (None, MaskMode::Causal) if at[3] + queries > at[2] + keys => f64::NEG_INFINITY,
            _ => value,
        }
    };
    let scores: Vec<f64> = (0..scores.size()).map(score).collect();
    let weights = scores
        .chunks((*keys).max(1))
        .enumerate()
        .flat_map(|(row, scores)| {
            let mut scores = scores.to_vec();
            scores.extend(
                sinks.map(|sinks| sinks.at(row / (*queries).max(1) % (*heads).max(1)).to_f64()),
            );
            let mut weights = softmax_of(&scores);
            weights.truncate(*keys);
            weights
        });
    let weights = Tensor::rounded(
        &shape,
        mlx::Dtype::Float64,
        weights.map(Number::Float).collect(),
        crate::Rounding::Exact,
    )?;
    let v = v.astype(mlx::Dtype::Float64, crate::Rounding::Exact);
    call.tensor(&matmul(&weights, &v)?)
}

/// `logsumexp(logits) - logits[target]` for each row.
fn cross_entropy(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let (logits, targets) = (call.input(0)?, call.input(1)?);
    let classes = logits.shape().last().copied().unwrap_or(1).max(1);
    let of = |(row, logits): (usize, &[Number])| {
        let target = targets.at(row).to_i64();
        let chosen = usize::try_from(target)
            .ok()
            .and_then(|k| logits.get(k))
            .ok_or_else(|| {
                call.error(format!(
                    "index {target} is out of range, wanted 0 to {}",
                    classes - 1
                ))
            })?;
        let (most, rest) = max_and_rest(logits);
        Ok(Number::Float((most - chosen.to_f64()) + rest))
    };
    call.one(
        logits
            .numbers()
            .chunks(classes)
            .enumerate()
            .map(of)
            .collect::<Result<_>>()?,
    )
}
