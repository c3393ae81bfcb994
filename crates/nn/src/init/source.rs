//! Initial values of parameters: random, random from a seed, or zeros that loaded weights replace.

use mlx::{Array, Dtype, Error, Op, bind};

/// The source of initial values of parameters: by default this thread's random numbers.
///
/// Values are lazy: those that weights replace before they are used are never computed. No two parameters are given the
/// same numbers.
#[derive(Clone, Default)]
pub struct Init(Source);

#[derive(Clone, Default)]
enum Source {
    /// The numbers of this thread.
    #[default]
    Thread,
    /// Numbers from this key.
    Key(Array),
    Zeros,
}

/// Makes the initial values of layers that are created on this thread from now on depend on `seed` only.
///
/// Without it they are others in each run. For values that do not depend on which layers are created before, use
/// [`Init::seed`].
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let first = || {
///     mlx_nn::seed(7);
///     mlx_nn::Linear::new(2, 2).weight.to_vec::<f32>()
/// };
/// assert_eq!(first()?, first()?);
/// # Ok(())
/// # }
/// ```
pub fn seed(seed: u64) {
    mlx::random::seed(seed);
}

/// Returns the next key of this thread.
#[track_caller]
pub(crate) fn thread_key() -> Array {
    mlx::random::next_key()
}

impl Init {
    /// Returns zeros for every parameter, to be replaced by [`Module::load`](crate::Module::load).
    pub fn zeros() -> Self {
        Self(Source::Zeros)
    }

    /// Returns random values that depend on `seed` only.
    pub fn seed(seed: u64) -> Self {
        Self::key(&mlx::random::key(seed))
    }

    /// Returns random values that depend on `key` only.
    pub fn key(key: &Array) -> Self {
        Self(Source::Key(key.clone()))
    }

    /// Returns values uniformly distributed from `-scale` to `scale`.
    pub fn uniform(&mut self, shape: &[i32], scale: f32) -> Array {
        self.uniform_between(shape, -scale, scale)
    }

    /// Returns values uniformly distributed from `low` to `high`.
    pub fn uniform_between(&mut self, shape: &[i32], low: f32, high: f32) -> Array {
        let op = Op::RandomUniform {
            shape: shape.to_vec(),
            dtype: Dtype::Float32,
        };
        match self.next_key() {
            Some(key) => bind(op, &[&Array::scalar(low), &Array::scalar(high), &key]),
            None => mlx::zeros(shape),
        }
    }

    /// Returns normally distributed values with mean 0 and this standard deviation.
    pub fn normal(&mut self, shape: &[i32], scale: f32) -> Array {
        self.normal_around(shape, 0.0, scale)
    }

    /// Returns normally distributed values with this mean and standard deviation.
    pub fn normal_around(&mut self, shape: &[i32], mean: f32, std: f32) -> Array {
        let op = Op::RandomNormal {
            shape: shape.to_vec(),
            dtype: Dtype::Float32,
            loc: mean,
            scale: std,
        };
        match self.next_key() {
            Some(key) => bind(op, &[&key]),
            None => mlx::zeros(shape),
        }
    }

    /// Returns the same value everywhere, whatever the seed.
    pub fn constant(&mut self, shape: &[i32], value: f32) -> Array {
        mlx::full(shape, value)
    }

    /// Returns values uniformly distributed in `[-limit, limit]`, with `limit = gain * sqrt(6 / (fan_in + fan_out))`.
    ///
    /// The last axis is that of inputs, the first that of outputs, the axes between them are the kernel window.
    pub fn glorot_uniform(&mut self, shape: &[i32], gain: f32) -> Array {
        match fans(shape) {
            Ok((fan_in, fan_out)) => self.uniform(shape, gain * (6.0 / (fan_in + fan_out)).sqrt()),
            Err(error) => Array::failed(error),
        }
    }

    /// Returns normally distributed values with standard deviation `gain * sqrt(2 / (fan_in + fan_out))`.
    pub fn glorot_normal(&mut self, shape: &[i32], gain: f32) -> Array {
        match fans(shape) {
            Ok((fan_in, fan_out)) => self.normal(shape, gain * (2.0 / (fan_in + fan_out)).sqrt()),
            Err(error) => Array::failed(error),
        }
    }

    /// Returns values uniformly distributed in `[-limit, limit]`, with `limit = gain * sqrt(3 / fan)`.
    pub fn he_uniform(&mut self, shape: &[i32], fan: Fan, gain: f32) -> Array {
        match fans(shape) {
            Ok(fans) => self.uniform(shape, gain * (3.0 / fan.of(fans)).sqrt()),
            Err(error) => Array::failed(error),
        }
    }

    /// Returns normally distributed values with standard deviation `gain / sqrt(fan)`.
    pub fn he_normal(&mut self, shape: &[i32], fan: Fan, gain: f32) -> Array {
        match fans(shape) {
            Ok(fans) => self.normal(shape, gain / fan.of(fans).sqrt()),
            Err(error) => Array::failed(error),
        }
    }

    /// Returns the identity matrix, whatever the seed; the shape is `[n, n]`.
    pub fn identity(&mut self, shape: &[i32]) -> Array {
        match *shape {
            [rows, columns] if rows == columns => mlx::eye_with(rows, columns, 0, Dtype::Float32),
            _ => {
                let message = format!("identity: wanted a shape [n, n], got {shape:?}");
                Array::failed(Error::op("init", message))
            }
        }
    }

    /// Returns a matrix with orthonormal rows or columns, whichever are fewer, times `gain`: the orthogonal factor of a
    /// matrix of normally distributed values. The shape is `[rows, columns]`.
    pub fn orthogonal(&mut self, shape: &[i32], gain: f32) -> Array {
        let [rows, columns] = *shape else {
            return two_axes("orthogonal", shape);
        };
        if matches!(self.0, Source::Zeros) {
            return mlx::zeros(shape);
        }
        let n = rows.max(columns);
        match mlx::linalg::qr(&self.normal(&[n, n], 1.0)) {
            Ok((q, r)) => {
                // Signs by the diagonal of the other factor make the distribution uniform.
                let q = q * r.diag().sign();
                q.i((..rows, ..columns)) * gain
            }
            Err(error) => Array::failed(error),
        }
    }

    /// Returns normally distributed values, of which `ceil(sparsity * columns)` in each row, at random places, are 0.
    ///
    /// The shape is `[rows, columns]`, `sparsity` from 0 to 1.
    pub fn sparse(&mut self, shape: &[i32], sparsity: f32, mean: f32, std: f32) -> Array {
        let [_, columns] = *shape else {
            return two_axes("sparse", shape);
        };
        if !(0.0..=1.0).contains(&sparsity) {
            let message = format!("sparse: sparsity must be from 0 to 1, got {sparsity}");
            return Array::failed(Error::op("init", message));
        }
        #[allow(clippy::cast_possible_truncation)]
        let zeros = (f64::from(sparsity) * f64::from(columns)).ceil() as i32;
        // The place of each element in the order of its row.
        let order = self.uniform_between(shape, 0.0, 1.0).argsort(1).argsort(1);
        let values = self.normal_around(shape, mean, std);
        mlx::where_(&order.less(zeros), 0.0, values)
    }

    /// Splits the key: one half for this parameter, one for those after it.
    fn next_key(&mut self) -> Option<Array> {
        let key = match &self.0 {
            Source::Thread => return Some(thread_key()),
            Source::Key(key) => key.clone(),
            Source::Zeros => return None,
        };
        match bind(Op::RandomSplit { num: 2 }, &[&key]).unstack(0) {
            Ok(halves) => {
                let mut halves = halves.into_iter();
                if let Some(first) = halves.next() {
                    self.0 = Source::Key(first);
                }
                halves.next()
            }
            Err(error) => Some(Array::failed(error)),
        }
    }
}

/// The fan that initial values are scaled by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fan {
    /// The inputs of one output: preserves the variance of activations.
    #[default]
    In,
    /// The outputs of one input: preserves the variance of gradients.
    Out,
}

impl Fan {
    fn of(self, (fan_in, fan_out): (f32, f32)) -> f32 {
        match self {
            Fan::In => fan_in,
            Fan::Out => fan_out,
        }
    }
}

fn two_axes(initializer: &str, shape: &[i32]) -> Array {
    let message = format!("{initializer}: wanted a shape of 2 axes, got {shape:?}");
    Array::failed(Error::op("init", message))
}

/// Returns fan-in and fan-out of a weight.
#[allow(clippy::cast_precision_loss)]
fn fans(shape: &[i32]) -> mlx::Result<(f32, f32)> {
    let [outputs, window @ .., inputs] = shape else {
        let message = format!("wanted at least 2 axes, got {shape:?}");
        return Err(Error::op("init", message));
    };
    let window: f32 = window.iter().map(|&size| size as f32).product();
    Ok((*inputs as f32 * window, *outputs as f32 * window))
}
