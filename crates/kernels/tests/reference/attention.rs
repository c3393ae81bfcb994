//! The formula of attention in `f64`, score by score, and inputs in every layout that strides can say.

use half::{bf16, f16};
use mlx_kernels::{AttentionInputs, AttentionShape, Mask, Strided, Strides};

use super::random;

/// A storage type, its conversions, and how far a number may be from it.
pub trait Number: Copy {
    const ROUNDING: f64;
    const TINY: f64;
    fn wide(self) -> f64;
    fn narrow(x: f32) -> Self;
}

impl Number for f32 {
    const ROUNDING: f64 = 0.0;
    const TINY: f64 = 0.0;
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn narrow(x: f32) -> Self {
        x
    }
}

impl Number for f16 {
    const ROUNDING: f64 = 1.0 / 2048.0;
    const TINY: f64 = 3e-8;
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn narrow(x: f32) -> Self {
        Self::from_f32(x)
    }
}

impl Number for bf16 {
    const ROUNDING: f64 = 1.0 / 256.0;
    const TINY: f64 = 0.0;
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn narrow(x: f32) -> Self {
        Self::from_f32(x)
    }
}

/// How an array `[batch, heads, rows, dim]` is stored.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    Contiguous,
    /// `[batch, rows, heads, dim]`.
    HeadsInside,
    /// Each head has room for seven rows more.
    Cache,
    /// Each row is followed by three numbers that are not read.
    Gaps,
    /// One head, batch or row for all.
    OneHead,
    OneBatch,
    OneRow,
}

/// Numbers in this layout, and its strides; what is not read is NaN.
pub fn laid_out<T: Number>(
    layout: Layout,
    [batch, heads, rows, dim]: [usize; 4],
    size: f32,
    seed: u64,
) -> (Vec<T>, Strides) {
    let strides = match layout {
        Layout::Contiguous => Strides::contiguous(heads, rows, dim),
        Layout::HeadsInside => Strides::heads_inside(heads, rows, dim),
        Layout::Cache => Strides::contiguous(heads, rows + 7, dim),
        Layout::Gaps => Strides::contiguous(heads, rows, dim + 3),
        Layout::OneHead => Strides {
            head: 0,
            ..Strides::contiguous(1, rows, dim)
        },
        Layout::OneBatch => Strides {
            batch: 0,
            ..Strides::contiguous(heads, rows, dim)
        },
        Layout::OneRow => Strides {
            row: 0,
            ..Strides::contiguous(heads, 1, dim)
        },
    };
    let count = (batch - 1) * strides.batch + (heads - 1) * strides.head + (rows - 1) * strides.row;
    let mut values = vec![T::narrow(f32::NAN); count + dim];
    let numbers = random(values.len(), seed);
    for row in 0..batch * heads * rows {
        let first = row / rows / heads * strides.batch
            + row / rows % heads * strides.head
            + row % rows * strides.row;
        for i in first..first + dim {
            values[i] = T::narrow(numbers[i] * size);
        }
    }
    (values, strides)
}

fn row<T: Number>(from: Strided<T>, [b, h, i]: [usize; 3], dim: usize) -> Vec<f64> {
    let Strides { batch, head, row } = from.strides;
    let first = b * batch + h * head + i * row;
    from.values[first..first + dim]
        .iter()
        .map(|x| x.wide())
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `2^-24 * (32 + size)`, where `size` is the largest `scale * |q| * |k|`; values are below 1 here.
pub fn bound<T: Number>(shape: AttentionShape, inputs: AttentionInputs<T>, scale: f64) -> f64 {
    let norm = |from: Strided<T>, heads: usize, rows: usize| {
        let places = (0..shape.batch * heads * rows)
            .map(|at| [at / rows / heads, at / rows % heads, at % rows]);
        let norms = places.map(|at| {
            let row = row(from, at, shape.dim);
            dot(&row, &row).sqrt()
        });
        norms.fold(0.0, f64::max)
    };
    let size = norm(inputs.queries, shape.heads, shape.queries)
        * norm(inputs.keys, shape.kv_heads, shape.keys);
    (32.0 + scale * size) / (1 << 24) as f64
}

/// The weights of the keys for one query: the softmax of its scores, with the sink's share left out.
pub fn weights<T: Number>(
    shape: AttentionShape,
    inputs: AttentionInputs<T>,
    scale: f32,
    [b, h, i]: [usize; 3],
) -> Vec<f64> {
    let AttentionShape {
        heads,
        kv_heads,
        queries,
        keys,
        dim,
        ..
    } = shape;
    let kv = h / (heads / kv_heads);
    let q = row(inputs.queries, [b, h, i], dim);
    let score = |j: usize| -> f64 {
        let score = dot(&q, &row(inputs.keys, [b, kv, j], dim)) * f64::from(scale);
        let at = |s: mlx_kernels::MaskStrides| b * s.batch + h * s.head + i * s.query + j * s.key;
        match inputs.mask {
            Mask::Causal if j + queries > i + keys => f64::NEG_INFINITY,
            Mask::Boolean { values, strides } if !values[at(strides)] => f64::NEG_INFINITY,
            Mask::Additive { values, strides } => score + values[at(strides)].wide(),
            _ => score,
        }
    };
    let scores: Vec<f64> = (0..keys).map(score).collect();
    let sink = inputs
        .sinks
        .map_or(f64::NEG_INFINITY, |sinks| f64::from(sinks[h]));
    let largest = scores.iter().copied().fold(sink, f64::max);
    let power = |score: f64| {
        if score == f64::NEG_INFINITY {
            0.0
        } else {
            (score - largest).exp()
        }
    };
    let sum: f64 = scores.iter().map(|score| power(*score)).sum::<f64>() + power(sink);
    let inverse = if sum == 0.0 { 0.0 } else { 1.0 / sum };
    scores.iter().map(|score| power(*score) * inverse).collect()
}

/// The formula, score by score; a query that sees nothing gets zeros.
pub fn exact<T: Number>(shape: AttentionShape, inputs: AttentionInputs<T>, scale: f32) -> Vec<f64> {
    let AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        value_dim,
        ..
    } = shape;
    let mut out = Vec::new();
    for at in 0..batch * heads * queries {
        let [b, h, i] = [at / queries / heads, at / queries % heads, at % queries];
        let weights = weights(shape, inputs, scale, [b, h, i]);
        let mut total = vec![0.0; value_dim];
        for (j, weight) in weights.iter().enumerate().take(keys) {
            let value = row(inputs.values, [b, h / (heads / kv_heads), j], value_dim);
            for (total, value) in total.iter_mut().zip(value) {
                *total += weight * value;
            }
        }
        out.extend(total);
    }
    out
}

/// A number of a gradient and the sum that its error is a share of.
#[derive(Clone, Copy, Default)]
pub struct Term {
    pub exact: f64,
    pub size: f64,
}

/// The gradients of queries, keys and values by the formula, arrays without gaps.
pub fn gradient<T: Number>(
    shape: AttentionShape,
    inputs: AttentionInputs<T>,
    scale: f32,
    cotangent: Strided<T>,
) -> [Vec<Term>; 3] {
    let [batch, heads, queries, keys] = shape.score_sizes();
    let (kv_heads, dim, value_dim) = (shape.kv_heads, shape.dim, shape.value_dim);
    let zeros = |heads, rows, dim| vec![Term::default(); batch * heads * rows * dim];
    let mut dq = zeros(heads, queries, dim);
    let mut dk = zeros(kv_heads, keys, dim);
    let mut dv = zeros(kv_heads, keys, value_dim);
    let scale_wide = f64::from(scale);
    let add = |term: &mut Term, exact: f64, size: f64| {
        term.exact += exact;
        term.size += size;
    };
    for at in 0..batch * heads * queries {
        let [b, h, i] = [at / queries / heads, at / queries % heads, at % queries];
        let kv = h / (heads / kv_heads);
        let p = weights(shape, inputs, scale, [b, h, i]);
        let (q, g) = (
            row(inputs.queries, [b, h, i], dim),
            row(cotangent, [b, h, i], value_dim),
        );
        let t: Vec<f64> = (0..keys)
            .map(|j| dot(&g, &row(inputs.values, [b, kv, j], value_dim)))
            .collect();
        let delta = dot(&p, &t);
        // A product of values and the gradient of the output is rounded by a share of the sizes of its terms.
        let largest = (0..keys)
            .map(|j| {
                let value = row(inputs.values, [b, kv, j], value_dim);
                g.iter()
                    .zip(&value)
                    .map(|(g, v)| (g * v).abs())
                    .sum::<f64>()
            })
            .fold(0.0, f64::max);
        for j in 0..keys {
            let k = row(inputs.keys, [b, kv, j], dim);
            let key = (b * kv_heads + kv) * keys + j;
            let ds = p[j] * (t[j] - delta) * scale_wide;
            let size = 4.0 * p[j] * largest * scale_wide;
            for d in 0..dim {
                add(&mut dq[at * dim + d], ds * k[d], size * k[d].abs());
                add(&mut dk[key * dim + d], ds * q[d], size * q[d].abs());
            }
            for d in 0..value_dim {
                add(&mut dv[key * value_dim + d], p[j] * g[d], p[j] * g[d].abs());
            }
        }
    }
    [dq, dk, dv]
}
