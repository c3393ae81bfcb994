//! Normalization of groups of features, and of each feature, over the axes of space.

use mlx::{Array, Error, Integer, Result, Size, fast};

use crate::batch_norm::scaled;
use crate::{Forward, Module, ModuleState};

/// Group normalization, `mlx.nn.GroupNorm`: each sample's features are split into groups, and each group is normalized
/// over itself and all axes of space to mean 0 and variance 1, then scaled and shifted.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let norm = mlx_nn::GroupNorm::new(2, 4);
/// let x = mlx::array!([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]);
/// let y = norm.forward(&x);
/// assert_eq!(y.shape()?, [1, 2, 4]);
/// assert!(y.mean(()).item::<f32>()?.abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct GroupNorm {
    /// `[dims]`.
    pub weight: Option<Array>,
    /// `[dims]`.
    pub bias: Option<Array>,
    /// Number of groups, a divisor of `dims`.
    pub num_groups: i32,
    /// Added to the variance.
    pub eps: f32,
    /// Whether a group is neighbouring features, as in PyTorch, and not every `num_groups`-th one.
    pub pytorch_compatible: bool,
    dims: i32,
    /// What is frozen.
    pub state: ModuleState,
}

impl GroupNorm {
    /// Returns a norm with weight 1, bias 0 and `eps` of 1e-5, whose groups are every `num_groups`-th feature.
    pub fn new(num_groups: impl Integer, dims: impl Integer) -> Self {
        let (num_groups, dims) = (num_groups.to_i32(), dims.to_i32());
        Self {
            weight: Some(mlx::ones([dims])),
            bias: Some(mlx::zeros([dims])),
            num_groups,
            eps: 1e-5,
            pytorch_compatible: false,
            dims,
            state: ModuleState::default(),
        }
    }

    /// Returns the norm with another `eps`.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
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

    /// Returns the norm with groups of neighbouring features, as in PyTorch.
    #[must_use]
    pub fn pytorch_compatible(mut self, compatible: bool) -> Self {
        self.pytorch_compatible = compatible;
        self
    }

    /// Normalizes `[batch, .., dims]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        match self.normalized(x) {
            Ok(y) => scaled(y, self.weight.as_ref(), self.bias.as_ref()),
            Err(error) => Array::failed(error),
        }
    }

    #[track_caller]
    fn normalized(&self, x: &Array) -> Result<Array> {
        let (shape, groups, dims) = (x.sizes()?, self.num_groups, self.dims);
        if groups < 1 || dims % groups != 0 {
            let message = format!("num_groups must divide {dims} features, got {groups}");
            return Err(Error::op("GroupNorm", message));
        }
        if shape.len() < 2 || shape[shape.len() - 1] != dims {
            let message = format!("x must be [batch, .., {dims}], got {shape:?}");
            return Err(Error::op("GroupNorm", message));
        }
        let (batch, space, size) = (&shape[0], &space(&shape), dims / groups);
        // `[batch, groups, space, size]`: what is normalized together comes last.
        let (rows, back) = match self.pytorch_compatible {
            true => {
                let split = x.reshape((batch, space, groups, size));
                (split.transpose([0, 2, 1, 3]), [0, 2, 1, 3])
            }
            false => {
                let split = x.reshape((batch, space, size, groups));
                (split.transpose([0, 3, 1, 2]), [0, 2, 3, 1])
            }
        };
        let rows = rows.reshape((batch, groups, space * size));
        let y = fast::layer_norm(&rows, None, None, self.eps);
        let y = y.reshape((batch, groups, space, size)).transpose(back);
        Ok(y.reshape(shape))
    }
}

/// Returns the number of elements of all axes but the first and the last.
fn space(shape: &[Size]) -> Size {
    let axes = shape.get(1..shape.len().saturating_sub(1));
    let axes = axes.unwrap_or_default().iter();
    axes.fold(Size::from(1), |space, size| space * size)
}

impl Forward for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

/// Instance normalization, `mlx.nn.InstanceNorm`: each feature of each sample is normalized over all axes of space to
/// mean 0 and variance 1, and then scaled and shifted if it is [`affine`](Self::affine).
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::array!([[[1.0, 10.0], [3.0, 30.0]]]);
/// let y = mlx_nn::InstanceNorm::new(2).forward(&x).to_vec::<f32>()?;
/// assert!(y.iter().all(|value| (value.abs() - 1.0).abs() < 1e-3));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct InstanceNorm {
    /// `[dims]`; `None` by default.
    pub weight: Option<Array>,
    /// `[dims]`; `None` by default.
    pub bias: Option<Array>,
    /// Added to the variance.
    pub eps: f32,
    dims: i32,
    /// What is frozen.
    pub state: ModuleState,
}

impl InstanceNorm {
    /// Returns a norm without weight and bias, and with `eps` of 1e-5.
    pub fn new(dims: impl Integer) -> Self {
        let dims = dims.to_i32();
        Self {
            weight: None,
            bias: None,
            eps: 1e-5,
            dims,
            state: ModuleState::default(),
        }
    }

    /// Returns the norm with another `eps`.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Returns the norm with weight 1 and bias 0, or without both.
    #[must_use]
    pub fn affine(mut self, affine: bool) -> Self {
        self.weight = affine.then(|| mlx::ones([self.dims]));
        self.bias = affine.then(|| mlx::zeros([self.dims]));
        self
    }

    /// Normalizes `[batch, .., dims]`, with at least one axis of space.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        match self.normalized(x) {
            Ok(y) => scaled(y, self.weight.as_ref(), self.bias.as_ref()),
            Err(error) => Array::failed(error),
        }
    }

    #[track_caller]
    fn normalized(&self, x: &Array) -> Result<Array> {
        let (shape, dims) = (x.sizes()?, self.dims);
        if shape.len() < 3 || shape[shape.len() - 1] != dims {
            let message =
                format!("x must be [batch, .., {dims}] with 3 axes or more, got {shape:?}");
            return Err(Error::op("InstanceNorm", message));
        }
        let rows = x.reshape((&shape[0], space(&shape), dims)).swapaxes(1, 2);
        let y = fast::layer_norm(&rows, None, None, self.eps);
        Ok(y.swapaxes(1, 2).reshape(shape))
    }
}

impl Forward for InstanceNorm {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}
