//! Convolutions over volumes.

use mlx::{Array, Integer, Shape};

use crate::conv::{biased, mismatch, settings_mismatch, uniform_weight};
use crate::kernels::Convolution;
use crate::layer_error::{Size, in_layer};
use crate::{Forward, Init, Module, ModuleState};

/// A convolution over a volume: `[batch, depth, height, width, input]` to `[batch, depth', height', width', output]`:
/// `mlx.nn.Conv3d`.
///
/// `y[n, p, o] = bias[o] + sum over k, c of x[n, p * stride - padding + k * dilation, c] * weight[o, k, c]`, for
/// positions `p` and `k` of three axes each. MLX has no groups over three axes.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let conv = mlx_nn::Conv3d::new(2, 8, 3).stride(2).padding(1);
/// let x = mlx::ones([1, 8, 16, 16, 2]);
/// assert_eq!(conv.forward(&x).shape()?, [1, 4, 8, 8, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct Conv3d {
    /// `[out_channels, kernel_depth, kernel_height, kernel_width, in_channels]`.
    pub weight: Array,
    /// `[out_channels]`.
    pub bias: Option<Array>,
    /// Stride of the window, one number or one for each axis.
    #[module(static)]
    pub stride: Shape,
    /// Zero padding on both sides of each axis of the input.
    #[module(static)]
    pub padding: Shape,
    /// Dilation of the kernel.
    #[module(static)]
    pub dilation: Shape,
    /// What is frozen.
    pub state: ModuleState,
}

impl Conv3d {
    /// Returns a convolution with a bias of 0, stride 1, no padding, and uniform initial weights. The size of the kernel
    /// is one number, or `[depth, height, width]`.
    #[track_caller]
    pub fn new(
        in_channels: impl Integer,
        out_channels: impl Integer,
        kernel_size: impl Into<Shape>,
    ) -> Self {
        let (in_channels, out_channels) = (in_channels.to_i32(), out_channels.to_i32());
        let init = &mut Init::default();
        Self::with_init(in_channels, out_channels, kernel_size, true, init)
    }

    /// Returns a convolution with stride 1, no padding, and initial values from `init`: uniform, up to
    /// `1 / sqrt(in_channels * window)`.
    #[track_caller]
    pub fn with_init(
        in_channels: i32,
        out_channels: i32,
        kernel_size: impl Into<Shape>,
        bias: bool,
        init: &mut Init,
    ) -> Self {
        let channels = [in_channels, out_channels];
        Self {
            weight: uniform_weight("Conv3d", 3, channels, kernel_size.into(), init),
            bias: bias.then(|| mlx::zeros([out_channels])),
            stride: 1.into(),
            padding: 0.into(),
            dilation: 1.into(),
            state: ModuleState::default(),
        }
    }

    /// Returns the convolution with another stride, one number or `[depth, height, width]`.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Shape>) -> Self {
        self.stride = stride.into();
        self
    }

    /// Returns the convolution with zeros around the input, one number or `[depth, height, width]`.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Shape>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Returns the convolution with another dilation of the kernel, one number or `[depth, height, width]`.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Shape>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Returns the convolution with or without bias.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = biased(&self.weight, self.bias, bias);
        self
    }

    /// Applies the convolution to `[batch, depth, height, width, in_channels]`.
    ///
    /// An input of another shape, a setting that is neither one number nor three, and a kernel that does not fit into the
    /// padded input give an array that carries the error.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let settings = [&self.stride, &self.padding, &self.dilation];
        let settings = Convolution::new(3, settings, None, 1);
        let inputs = (x, &self.weight, self.bias.as_ref());
        let y = settings.forward(inputs, |settings, x, weight| {
            x.conv3d(weight, settings.options())
        });
        let operands = [x, &self.weight].into_iter().chain(&self.bias);
        in_layer("Conv3d", y, operands, || {
            let axes = ["batch", "depth", "height", "width"].map(Size::Any);
            let settings = [
                ("stride", &self.stride),
                ("padding", &self.padding),
                ("dilation", &self.dilation),
            ];
            settings_mismatch(3, &settings)
                .or_else(|| mismatch(x, &axes, &self.weight, self.bias.as_ref(), 1))
        })
    }
}

impl Forward for Conv3d {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}
