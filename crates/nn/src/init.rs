//! First values of parameters: random from a seed, or zeros that a file's weights replace.

use mlx::{Array, Dtype, Op, bind};

/// Where the first values of parameters come from.
///
/// Lazy: values that weights replace before they are used are never computed.
#[derive(Clone)]
pub struct Init {
    key: Option<Array>,
}

impl Init {
    /// Returns zeros for everything, to be replaced by [`Module::load`](crate::Module::load).
    pub fn zeros() -> Self {
        Self { key: None }
    }

    /// Returns random values that depend on `seed` only.
    pub fn seed(seed: u64) -> Self {
        Self {
            key: Some(mlx::random::key(seed)),
        }
    }

    /// Returns values drawn evenly from `-scale` to `scale`.
    pub fn uniform(&mut self, shape: &[i32], scale: f32) -> Array {
        let op = Op::RandomUniform {
            shape: shape.to_vec(),
            dtype: Dtype::Float32,
        };
        match self.next_key() {
            Some(key) => bind(op, &[&Array::scalar(-scale), &Array::scalar(scale), &key]),
            None => mlx::zeros(shape, Dtype::Float32),
        }
    }

    /// Returns normally distributed values with mean 0 and this standard deviation.
    pub fn normal(&mut self, shape: &[i32], scale: f32) -> Array {
        let op = Op::RandomNormal {
            shape: shape.to_vec(),
            dtype: Dtype::Float32,
            loc: 0.0,
            scale,
        };
        match self.next_key() {
            Some(key) => bind(op, &[&key]),
            None => mlx::zeros(shape, Dtype::Float32),
        }
    }

    /// Splits the key: one half for the parameter at hand, one for those after it.
    fn next_key(&mut self) -> Option<Array> {
        let key = self.key.take()?;
        match bind(Op::RandomSplit { num: 2 }, &[&key]).unstack(0) {
            Ok(halves) => {
                let mut halves = halves.into_iter();
                self.key = halves.next();
                halves.next()
            }
            Err(error) => Some(Array::failed(error)),
        }
    }
}
