//! Batch normalization.

use std::fmt;
use std::ops::Deref;

use mlx::tree::{Structure, TreePath};
use mlx::{Array, Error, Integer, Result, Tree};

use crate::kernels;
use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::{Buffer, Forward, Module, ModuleState, ParameterVisitor};

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
    /// The running mean, `[num_features]`; absent in a norm that always takes the batch's.
    pub running_mean: RunningStatistic,
    /// The running variance, `[num_features]`.
    pub running_var: RunningStatistic,
    /// Added to the variance.
    pub eps: f32,
    /// The share of a batch in the running statistics.
    pub momentum: f32,
    /// The mode, and what is frozen.
    pub state: ModuleState,
}

/// A running statistic of a norm, which is read as its array: `norm.running_mean.to_vec::<f32>()?`.
///
/// A norm without running statistics has absent ones, which are read as an array that carries an error.
#[derive(Clone)]
pub struct RunningStatistic {
    buffer: Option<Buffer>,
    /// What is read where there is no buffer.
    absence: Array,
}

impl RunningStatistic {
    /// Returns none.
    #[track_caller]
    pub fn absent() -> Self {
        None.into()
    }

    /// Returns the buffer, if there is one.
    pub fn buffer(&self) -> Option<&Buffer> {
        self.buffer.as_ref()
    }
}

impl<B: Into<Option<Buffer>>> From<B> for RunningStatistic {
    #[track_caller]
    fn from(buffer: B) -> Self {
        let message = "wanted a running statistic, got a norm without";
        Self {
            buffer: buffer.into(),
            absence: Array::failed(Error::op("BatchNorm", message)),
        }
    }
}

impl Deref for RunningStatistic {
    type Target = Array;

    fn deref(&self) -> &Array {
        self.buffer.as_deref().unwrap_or(&self.absence)
    }
}

impl fmt::Debug for RunningStatistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.buffer.fmt(f)
    }
}

impl fmt::Display for RunningStatistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl Module for RunningStatistic {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        self.buffer.visit_parameters(visitor);
    }

    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        self.buffer.visit_buffers(visit);
    }

    fn type_label() -> Option<&'static str> {
        None
    }
}

impl Tree for RunningStatistic {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        self.buffer.visit(visit);
    }
    fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self {
        Tree::map(&self.buffer, map).into()
    }
    fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
        self.buffer.visit_paths(path, visit);
    }
    fn structure(&self, structure: &mut Structure) {
        self.buffer.structure(structure);
    }
    fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
        self.buffer.visit_trainable(visit);
    }
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
            running_mean: Buffer::new(zeros()).into(),
            running_var: Buffer::new(ones()).into(),
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
            let absent = RunningStatistic::absent;
            (self.running_mean, self.running_var) = (absent(), absent());
        }
        self
    }

    /// Normalizes `[batch, features]`, `[batch, length, features]` or `[batch, height, width, features]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let y = match self.normalized(x) {
            Ok(y) => y,
            Err(error) => return Array::failed(error),
        };
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

    /// Returns the normalized input, and moves the running statistics in training mode.
    #[track_caller]
    fn normalized(&self, x: &Array) -> Result<Array> {
        let ndim = x.ndim()?;
        if !(2..=4).contains(&ndim) {
            let message = format!("x must have 2, 3 or 4 axes, got {:?}", x.shape()?);
            return Err(Error::op("BatchNorm", message));
        }
        let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
        let running = self.running_mean.buffer().zip(self.running_var.buffer());
        if let (Some((mean, var)), false) = (running, self.state.training()) {
            let y = (x - mean.get()) * (var.get() + self.eps).rsqrt();
            return Ok(scaled(y, weight, bias));
        }
        let shape = x.shape()?;
        let n_rows: i64 = shape[..ndim - 1]
            .iter()
            .map(|&size| i64::from(size))
            .product();
        if self.state.training() && n_rows == 1 {
            let message =
                format!("training needs more than one value of each feature, got {shape:?}");
            return Err(Error::op("BatchNorm", message));
        }
        if let Some(normalized) = kernels::batch_norm(x, weight, bias, self.eps) {
            // The running variance is over one row less.
            #[allow(clippy::cast_precision_loss)]
            let scale = n_rows as f64 / (n_rows - 1) as f64;
            let of_dtype = |array: Array| x.dtype().map(|dtype| array.astype(dtype));
            let var = of_dtype(normalized.variance * scale)?;
            self.move_statistics(of_dtype(normalized.mean)?, || var);
            return Ok(normalized.y);
        }
        let axes: Vec<i32> = (0..).take(ndim - 1).collect();
        let mean = x.mean(axes.as_slice());
        self.move_statistics(mean.clone(), || {
            x.var(mlx::Reduction::from(axes.as_slice()).ddof(1))
        });
        let y = (x - mean) * (x.var(axes.as_slice()) + self.eps).rsqrt();
        Ok(scaled(y, weight, bias))
    }

    /// Moves the running statistics, if there are any, towards those of a batch.
    #[track_caller]
    fn move_statistics(&self, mean: Array, var: impl FnOnce() -> Array) {
        if let Some((running_mean, running_var)) =
            self.running_mean.buffer().zip(self.running_var.buffer())
        {
            let moved = |old: Array, new: Array| old * (1.0 - self.momentum) + new * self.momentum;
            running_mean.set(moved(running_mean.get(), mean.stop_gradient()));
            running_var.set(moved(running_var.get(), var().stop_gradient()));
        }
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
