//! The four formulas once more, in plain `f64` loops that share no code with MLX.

/// `x * rsqrt(mean(x^2) + eps) * weight` over rows of `dim`.
pub fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let row = |row: &[f64]| -> Vec<f64> {
        let mean = row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean + eps).sqrt();
        row.iter().zip(weight).map(|(v, w)| v * scale * w).collect()
    };
    x.chunks_exact(weight.len()).flat_map(row).collect()
}

/// `(x - mean) * rsqrt(var + eps) * weight + bias` over rows of `dim`.
pub fn layer_norm(x: &[f64], weight: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let row = |row: &[f64]| -> Vec<f64> {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        let scale = 1.0 / (variance + eps).sqrt();
        row.iter()
            .zip(weight.iter().zip(bias))
            .map(|(v, (w, b))| (v - mean) * scale * w + b)
            .collect()
    };
    x.chunks_exact(weight.len()).flat_map(row).collect()
}

/// Rotates the pairs `(x[i], x[i + dim / 2])` of each row by `position * base^(-2 i / dim)`; rows of one
/// sequence of length `seq` follow each other.
pub fn rope(x: &[f64], seq: usize, dim: usize, base: f64) -> Vec<f64> {
    let half = dim / 2;
    let mut out = vec![0.0; x.len()];
    for (row, (from, to)) in x
        .chunks_exact(dim)
        .zip(out.chunks_exact_mut(dim))
        .enumerate()
    {
        let position = (row % seq) as f64;
        for i in 0..half {
            let angle = position * base.powf(-2.0 * i as f64 / dim as f64);
            let (sin, cos) = angle.sin_cos();
            to[i] = from[i] * cos - from[i + half] * sin;
            to[i + half] = from[i] * sin + from[i + half] * cos;
        }
    }
    out
}

/// `softmax(q k^T / sqrt(dim)) v` for each head, `[heads, seq, dim]` with batch and heads as one.
pub fn attention(q: &[f64], k: &[f64], v: &[f64], seq: usize, dim: usize) -> Vec<f64> {
    let scale = 1.0 / (dim as f64).sqrt();
    let mut out = Vec::with_capacity(q.len());
    let heads = q
        .chunks_exact(seq * dim)
        .zip(k.chunks_exact(seq * dim))
        .zip(v.chunks_exact(seq * dim));
    for ((q, k), v) in heads {
        for query in q.chunks_exact(dim) {
            let dot = |key: &[f64]| query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() * scale;
            let scores: Vec<f64> = k.chunks_exact(dim).map(dot).collect();
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores
                .iter()
                .map(|score| (score - greatest).exp())
                .collect();
            let total: f64 = weights.iter().sum();
            let mut mixed = vec![0.0; dim];
            for (weight, value) in weights.iter().zip(v.chunks_exact(dim)) {
                mixed
                    .iter_mut()
                    .zip(value)
                    .for_each(|(m, x)| *m += weight / total * x);
            }
            out.extend(mixed);
        }
    }
    out
}
