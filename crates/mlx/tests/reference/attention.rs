//! Attention, one query at a time; a mask is a function of batch row, head, query and key.

use super::numbers::Tensor;

/// What is added to the score of a query and a key; nothing where the key is hidden.
pub type Mask<'a> = dyn Fn(usize, usize, usize, usize) -> Option<f64> + 'a;

/// Everything but queries, keys and values.
pub struct Attention<'a> {
    pub scale: f64,
    pub mask: &'a Mask<'a>,
    pub sinks: Option<&'a Tensor>,
    pub softcap: Option<f64>,
}

/// `softmax(q @ k^T * scale + mask) @ v`; a query that sees no key gives zeros.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, options: &Attention<'_>) -> Vec<f64> {
    let (batch, heads, queries, dim) = (q.dim(0), q.dim(1), q.dim(2), q.dim(3));
    let (kv_heads, keys, value_dim) = (k.dim(1), k.dim(2), v.dim(3));
    let mut out = Vec::new();
    for b in 0..batch {
        for h in 0..heads {
            let kv = b * kv_heads + h / (heads / kv_heads);
            for i in 0..queries {
                let query = &q.values[((b * heads + h) * queries + i) * dim..][..dim];
                let scores: Vec<Option<f64>> = (0..keys)
                    .map(|j| {
                        let key = &k.values[(kv * keys + j) * dim..][..dim];
                        let dot: f64 = query.iter().zip(key).map(|(a, b)| a * b).sum();
                        let score = dot * options.scale;
                        let score = options
                            .softcap
                            .map_or(score, |cap| cap * (score / cap).tanh());
                        (options.mask)(b, h, i, j).map(|bias| score + bias)
                    })
                    .collect();
                let sink = options.sinks.map(|sinks| sinks.values[h]);
                let weights = softmax(&scores, sink);
                for d in 0..value_dim {
                    let value = |j: usize| v.values[(kv * keys + j) * value_dim + d];
                    out.push(weights.iter().enumerate().map(|(j, w)| w * value(j)).sum());
                }
            }
        }
    }
    out
}

fn softmax(scores: &[Option<f64>], sink: Option<f64>) -> Vec<f64> {
    let seen = scores.iter().flatten().copied();
    let most = seen.chain(sink).fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return vec![0.0; scores.len()];
    }
    let weigh = |score: Option<f64>| score.map_or(0.0, |score| (score - most).exp());
    let weights: Vec<f64> = scores.iter().map(|&score| weigh(score)).collect();
    let sum = weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| weigh(Some(sink)));
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// A mask that hides nothing.
pub fn no_mask(_: usize, _: usize, _: usize, _: usize) -> Option<f64> {
    Some(0.0)
}
