//! RMS and layer normalization and cross entropy, row by row.

use super::numbers::Tensor;

/// `x * rsqrt(mean(x^2) + eps) * weight` over the last axis.
pub fn rms_norm(x: &Tensor, weight: Option<&Tensor>, eps: f64) -> Vec<f64> {
    rows(x, |row, out| {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        for (i, x) in row.iter().enumerate() {
            out.push(x / (mean + eps).sqrt() * weight.map_or(1.0, |weight| weight.values[i]));
        }
    })
}

/// `(x - mean) * rsqrt(var + eps) * weight + bias` over the last axis.
pub fn layer_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Vec<f64> {
    rows(x, |row, out| {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        for (i, x) in row.iter().enumerate() {
            let weight = weight.map_or(1.0, |weight| weight.values[i]);
            let bias = bias.map_or(0.0, |bias| bias.values[i]);
            out.push((x - mean) / (variance + eps).sqrt() * weight + bias);
        }
    })
}

/// `log(sum(exp(logits))) - logits[target]` over the last axis.
pub fn cross_entropy(logits: &Tensor, targets: &[usize]) -> Vec<f64> {
    let mut targets = targets.iter();
    rows(logits, |row, out| {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - most).exp()).sum();
        out.push(most + sum.ln() - row[*targets.next().unwrap()]);
    })
}

fn rows(x: &Tensor, mut each: impl FnMut(&[f64], &mut Vec<f64>)) -> Vec<f64> {
    let dim = x.dim(x.shape.len() - 1);
    let mut out = Vec::new();
    if dim > 0 {
        x.values.chunks(dim).for_each(|row| each(row, &mut out));
    }
    out
}
