//! Rotary embedding, one pair of features at a time.

use super::numbers::Tensor;

/// How to rotate; `inverse[i]` is the angle of pair `i` for each position.
pub struct Rope {
    pub dims: usize,
    pub traditional: bool,
    pub inverse: Vec<f64>,
    pub scale: f64,
    /// One for all, or one for each batch row.
    pub offsets: Vec<i64>,
}

/// The angles of a base: `base^(-2i / dims)`.
pub fn inverse_of_base(base: f64, dims: usize) -> Vec<f64> {
    (0..dims / 2)
        .map(|i| 1.0 / base.powf(2.0 * i as f64 / dims as f64))
        .collect()
}

/// Rotates `x`, which is `[batch, .., seq, dim]`.
pub fn rope(x: &Tensor, rope: &Rope) -> Vec<f64> {
    let ndim = x.shape.len();
    let (batch, seq, dim) = (x.dim(0), x.dim(ndim - 2), x.dim(ndim - 1));
    let between: usize = (1..ndim - 2).map(|axis| x.dim(axis)).product();
    let mut out = x.values.clone();
    for b in 0..batch {
        let offset = rope.offsets[if rope.offsets.len() == 1 { 0 } else { b }];
        for n in 0..between {
            for t in 0..seq {
                let row = ((b * between + n) * seq + t) * dim;
                let position = (t as i64 + offset) as f64 * rope.scale;
                for i in 0..rope.dims / 2 {
                    let (first, second) = if rope.traditional {
                        (2 * i, 2 * i + 1)
                    } else {
                        (i, i + rope.dims / 2)
                    };
                    let (sin, cos) = (position * rope.inverse[i]).sin_cos();
                    let (x1, x2) = (x.values[row + first], x.values[row + second]);
                    out[row + first] = x1 * cos - x2 * sin;
                    out[row + second] = x1 * sin + x2 * cos;
                }
            }
        }
    }
    out
}
