//! Batch normalization.

use mlx::{Array, Error, Integer, Result};

use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::{Buffer, Forward, Module, ModuleState};

/// Batch normalization, `mlx.nn.BatchNorm`: `(x - mean) * rsqrt(var + eps) * weight + bias` for each feature.
///
/// In training mode mean and variance are those of the batch, and the running ones move towards them by `momentum`; in
/// evaluation mode they are the running ones.
///
/// ```
/// use mlx_nn::{BatchNorm, Module};
///
/// # fn main() -> mlx::Result<()> {
/// let mut norm = BatchNorm::new(2);
/// let x = mlx::array!([[1.0, 10.0], [3.0, 30.0]]);
/// let y = norm.forward(&x).to_vec::<f32>()?;
/// assert!((y[0] + 1.0).abs() < 1e-3 && (y[2] - 1.0).abs() < 1e-3);
/// let mean = norm.buffers()["running_mean"].to_vec::<f32>()?;
/// assert!((mean[1] - 2.0).abs() < 1e-5);
/// norm.eval();
/// assert!(norm.forward(&x).to_vec::<f32>()?[3] > 5.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct BatchNorm {
    /// `[num_features]`.
    pub weight: Option<Array>,
    /// `[num_features]`.
    pub bias: Option<Array>,
    /// The running mean, `[num_features]`; `None` for a norm that always takes the batch's.
    pub running_mean: Option<Buffer>,
    /// The running variance, `[num_features]`.
    pub running_var: Option<Buffer>,
    /// Added to the variance.
    pub eps: f32,
    /// The share of a batch in the running statistics.
    pub momentum: f32,
    /// The mode, and what is frozen.
    pub state: ModuleState,
}

impl BatchNorm {
    /// Returns a norm with weight 1, bias 0, running statistics, `eps` of 1e-5 and a momentum of 0.1.
    pub fn new(num_features: impl Integer) -> Self {
        let num_features = num_features.to_i32();
        let zeros = || mlx::zeros([num_features]);
        let ones = || mlx::ones([num_features]);
        Self {
            weight: Some(ones()),
            bias: Some(zeros()),
            running_mean: Some(Buffer::new(zeros())),
            running_var: Some(Buffer::new(ones())),
            eps: 1e-5,
            momentum: 0.1,
            state: ModuleState::default(),
        }
    }

    /// Returns the norm with another `eps`.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Returns the norm with another momentum.
    #[must_use]
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.momentum = momentum;
        self
    }

    /// Returns the norm with or without weight and bias.
    #[must_use]
    pub fn affine(mut self, affine: bool) -> Self {
        if !affine {
            (self.weight, self.bias) = (None, None);
        }
        self
    }

    /// Returns the norm with or without running statistics.
    #[must_use]
    pub fn track_running_stats(mut self, track: bool) -> Self {
        if !track {
            (self.running_mean, self.running_var) = (None, None);
        }
        self
    }

    /// Normalizes `[batch, features]`, `[batch, length, features]` or `[batch, height, width, features]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let y = match self.statistics(x) {
            Ok((mean, var)) => (x - mean) * (var + self.eps).rsqrt(),
            Err(error) => return Array::failed(error),
        };
        let y = scaled(y, self.weight.as_ref(), self.bias.as_ref());
        let vectors = || self.weight.iter().chain(&self.bias);
        in_layer("BatchNorm", y, vectors().chain([x]), || {
            let dims = axis_size(vectors().next()?, 0);
            first_mismatch(&[Wanted {
                name: "x",
                array: x,
                shape: &[Size::Leading, Size::Exactly(dims)],
            }])
        })
    }

    /// Returns the mean and variance that the input is normalized by, and moves the running ones.
    #[track_caller]
    fn statistics(&self, x: &Array) -> Result<(Array, Array)> {
        let ndim = x.ndim()?;
        if !(2..=4).contains(&ndim) {
            let message = format!("x must have 2, 3 or 4 axes, got {:?}", x.shape()?);
            return Err(Error::op("BatchNorm", message));
        }
        let running = self.running_mean.as_ref().zip(self.running_var.as_ref());
        if let (Some((mean, var)), false) = (running, self.state.training()) {
            return Ok((mean.get(), var.get()));
        }
        let axes: Vec<i32> = (0..).take(ndim - 1).collect();
        if self.state.training() {
            let shape = x.shape()?;
            if shape[..ndim - 1].iter().all(|&size| size == 1) {
                let message =
                    format!("training needs more than one value of each feature, got {shape:?}");
                return Err(Error::op("BatchNorm", message));
            }
        }
        let mean = x.mean(axes.as_slice());
        if let Some((running_mean, running_var)) = running {
            let moved = |old: Array, new: Array| old * (1.0 - self.momentum) + new * self.momentum;
            let mean = mean.stop_gradient();
            running_mean.set(moved(running_mean.get(), mean));
            let var = x
                .var(mlx::Reduction::from(axes.as_slice()).ddof(1))
                .stop_gradient();
            running_var.set(moved(running_var.get(), var));
        }
        Ok((mean, x.var(axes.as_slice())))
    }
}

impl Forward for BatchNorm {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

/// Returns `y * weight + bias`, where there are both.
#[track_caller]
pub(crate) fn scaled(y: Array, weight: Option<&Array>, bias: Option<&Array>) -> Array {
    match (weight, bias) {
        (Some(weight), Some(bias)) => y * weight + bias,
        (Some(weight), None) => y * weight,
        (None, Some(bias)) => y + bias,
        (None, None) => y,
    }
}
