//! Convolutions.

use mlx::{Array, Error, Integer, Op, Shape, bind};

use crate::batch_norm::scaled;
use crate::kernels::Convolution;
use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::{Init, Module, ModuleState};

/// A convolution along one axis: `[batch, length, input]` to `[batch, length', output]`: `mlx.nn.Conv1d`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let conv = mlx_nn::Conv1d::new(4, 8, 3).padding(1).groups(2);
/// assert_eq!(conv.weight.shape()?, [8, 3, 2]);
/// let x = mlx::ones([1, 5, 4]);
/// assert_eq!(conv.forward(&x).shape()?, [1, 5, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct Conv1d {
    /// `[out_channels, kernel_size, in_channels / groups]`.
    pub weight: Array,
    /// `[out_channels]`.
    pub bias: Option<Array>,
    /// Stride of the window.
    pub stride: i32,
    /// Zero padding on both sides of the input.
    pub padding: i32,
    /// Dilation of the kernel.
    pub dilation: i32,
    groups: i32,
    /// What is frozen.
    pub state: ModuleState,
}

impl Conv1d {
    /// Returns a convolution with a bias of 0, stride 1, no padding, and uniform initial weights.
    pub fn new(
        in_channels: impl Integer,
        out_channels: impl Integer,
        kernel_size: impl Integer,
    ) -> Self {
        let (in_channels, out_channels, kernel_size) = (
            in_channels.to_i32(),
            out_channels.to_i32(),
            kernel_size.to_i32(),
        );
        let init = &mut Init::default();
        Self::with_init(in_channels, out_channels, kernel_size, true, init)
    }

    /// Returns a convolution with stride 1, no padding, and initial values from `init`.
    pub fn with_init(
        in_channels: i32,
        out_channels: i32,
        kernel_size: i32,
        bias: bool,
        init: &mut Init,
    ) -> Self {
        let scale = scale(in_channels, &[kernel_size]);
        Self {
            weight: init.uniform(&[out_channels, kernel_size, in_channels], scale),
            bias: bias.then(|| mlx::zeros([out_channels])),
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
            state: ModuleState::default(),
        }
    }

    /// Returns the convolution with another stride.
    #[must_use]
    pub fn stride(mut self, stride: impl Integer) -> Self {
        let stride = stride.to_i32();
        self.stride = stride;
        self
    }

    /// Returns the convolution with zeros on both sides of the input.
    #[must_use]
    pub fn padding(mut self, padding: impl Integer) -> Self {
        let padding = padding.to_i32();
        self.padding = padding;
        self
    }

    /// Returns the convolution with another dilation of the kernel.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Integer) -> Self {
        let dilation = dilation.to_i32();
        self.dilation = dilation;
        self
    }

    /// Returns the convolution with its channels in groups, each with weights of its own. It is set once; a number
    /// that does not divide both numbers of channels gives a weight that carries the error.
    #[must_use]
    #[track_caller]
    pub fn groups(mut self, groups: impl Integer) -> Self {
        let groups = groups.to_i32();
        self.weight = grouped("Conv1d", &self.weight, self.groups, groups);
        self.groups = groups;
        self
    }

    /// Returns the convolution with or without bias.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = biased(&self.weight, self.bias, bias);
        self
    }

    /// Returns the number of channel groups.
    pub fn n_groups(&self) -> i32 {
        self.groups
    }

    /// Applies the convolution to `[batch, length, in_channels]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let op = Op::Conv {
            stride: vec![self.stride],
            padding_lo: vec![self.padding],
            padding_hi: vec![self.padding],
            kernel_dilation: vec![self.dilation],
            input_dilation: vec![1],
            groups: self.groups,
            flip: false,
        };
        let y = scaled(bind(op, &[x, &self.weight]), None, self.bias.as_ref());
        let operands = [x, &self.weight].into_iter().chain(&self.bias);
        in_layer("Conv1d", y, operands, || {
            let axes = [Size::Any("batch"), Size::Any("length")];
            mismatch(x, &axes, &self.weight, self.bias.as_ref(), self.groups)
        })
    }
}

/// A convolution over an image: `[batch, height, width, input]` to `[batch, height', width', output]`: `mlx.nn.Conv2d`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let conv = mlx_nn::Conv2d::new(1, 8, 3).stride(2).padding(1);
/// let x = mlx::ones([1, 28, 28, 1]);
/// assert_eq!(conv.forward(&x).shape()?, [1, 14, 14, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct Conv2d {
    /// `[out_channels, kernel_height, kernel_width, in_channels / groups]`.
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
    groups: i32,
    /// What is frozen.
    pub state: ModuleState,
}

impl Conv2d {
    /// Returns a convolution with a bias of 0, stride 1, no padding, and uniform initial weights. The size of the kernel
    /// is one number, or `[height, width]`.
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

    /// Returns a convolution with stride 1, no padding, and initial values from `init`.
    #[track_caller]
    pub fn with_init(
        in_channels: i32,
        out_channels: i32,
        kernel_size: impl Into<Shape>,
        bias: bool,
        init: &mut Init,
    ) -> Self {
        let channels = [in_channels, out_channels];
        let weight = uniform_weight("Conv2d", 2, channels, kernel_size.into(), init);
        Self {
            weight,
            bias: bias.then(|| mlx::zeros([out_channels])),
            stride: 1.into(),
            padding: 0.into(),
            dilation: 1.into(),
            groups: 1,
            state: ModuleState::default(),
        }
    }

    /// Returns the convolution with another stride, one number or `[height, width]`.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Shape>) -> Self {
        self.stride = stride.into();
        self
    }

    /// Returns the convolution with zeros around the input, one number or `[height, width]`.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Shape>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Returns the convolution with another dilation of the kernel, one number or `[height, width]`.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Shape>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Returns the convolution with its channels in groups, each with weights of its own. It is set once; a number
    /// that does not divide both numbers of channels gives a weight that carries the error.
    #[must_use]
    #[track_caller]
    pub fn groups(mut self, groups: impl Integer) -> Self {
        let groups = groups.to_i32();
        self.weight = grouped("Conv2d", &self.weight, self.groups, groups);
        self.groups = groups;
        self
    }

    /// Returns the convolution with or without bias.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = biased(&self.weight, self.bias, bias);
        self
    }

    /// Returns the number of channel groups.
    pub fn n_groups(&self) -> i32 {
        self.groups
    }

    /// Applies the convolution to `[batch, height, width, in_channels]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let settings = [&self.stride, &self.padding, &self.dilation];
        let settings = Convolution::new(2, settings, None, self.groups);
        let inputs = (x, &self.weight, self.bias.as_ref());
        let y = settings.forward(inputs, |settings, x, weight| {
            x.conv2d(weight, settings.options())
        });
        let operands = [x, &self.weight].into_iter().chain(&self.bias);
        in_layer("Conv2d", y, operands, || {
            let axes = [Size::Any("batch"), Size::Any("height"), Size::Any("width")];
            mismatch(x, &axes, &self.weight, self.bias.as_ref(), self.groups)
        })
    }
}

/// Returns a uniform initial weight `[out_channels, kernel.., in_channels]` over as many axes of space; the size of the
/// kernel is one number or one for each of them.
#[track_caller]
pub(crate) fn uniform_weight(
    layer: &'static str,
    n_axes: usize,
    [in_channels, out_channels]: [i32; 2],
    kernel_size: Shape,
    init: &mut Init,
) -> Array {
    let kernel = match kernel_size.numbers() {
        &[side] => vec![side; n_axes],
        sides => sides.to_vec(),
    };
    if kernel.len() != n_axes {
        let message = format!("kernel_size must be one number or {n_axes}, got {kernel:?}");
        return Array::failed(Error::op(layer, message));
    }
    let scale = scale(in_channels, &kernel);
    let mut shape = vec![out_channels];
    shape.extend(kernel);
    shape.push(in_channels);
    init.uniform(&shape, scale)
}

/// Returns the limit of uniform initial weights: `1 / sqrt(inputs of one output)`, whatever the groups, as in Python.
#[allow(clippy::cast_possible_truncation)]
fn scale(in_channels: i32, kernel: &[i32]) -> f32 {
    let window: f64 = kernel.iter().map(|&size| f64::from(size)).product();
    let n_inputs = f64::from(in_channels) * window;
    (1.0 / n_inputs.max(1.0)).sqrt() as f32
}

/// Returns the weight of a convolution with groups: each output keeps the weights of as many inputs as its group has.
#[track_caller]
fn grouped(layer: &'static str, weight: &Array, before: i32, groups: i32) -> Array {
    let shape = match weight.shape() {
        Ok(shape) if !shape.is_empty() => shape,
        _ => return weight.clone(),
    };
    let (outputs, inputs) = (shape[0], shape[shape.len() - 1]);
    let wrong = |message| Array::failed(Error::op(layer, message));
    if before != 1 {
        return wrong(format!("groups can be set once, is {before}"));
    }
    let is_divisor = |channels: i32| groups > 0 && channels % groups == 0;
    if !is_divisor(outputs) || !is_divisor(inputs) {
        return wrong(format!(
            "groups must divide {inputs} input and {outputs} output channels, got {groups}"
        ));
    }
    let mut stop = shape.clone();
    if let Some(last) = stop.last_mut() {
        *last = inputs / groups;
    }
    let op = Op::Slice {
        start: vec![0; shape.len()],
        stop,
        strides: vec![1; shape.len()],
    };
    bind(op, &[weight])
}

/// Returns the bias, a new one of zeros, or none.
pub(crate) fn biased(weight: &Array, old: Option<Array>, wanted: bool) -> Option<Array> {
    let new = || mlx::zeros([axis_size(weight, 0)]);
    wanted.then(|| old.unwrap_or_else(new))
}

/// Returns what is wrong with settings that must be one number or one for each axis of space.
pub(crate) fn settings_mismatch(n_axes: usize, settings: &[(&str, &Shape)]) -> Option<String> {
    let is_wrong = |sizes: &Shape| sizes.numbers().len() != 1 && sizes.numbers().len() != n_axes;
    let (name, sizes) = settings.iter().find(|(_, sizes)| is_wrong(sizes))?;
    let got = sizes.numbers();
    Some(format!(
        "{name} must be one number or {n_axes}, got {got:?}"
    ))
}

/// Returns what is wrong with the shapes of a convolution over `axes`.
pub(crate) fn mismatch(
    x: &Array,
    axes: &[Size],
    weight: &Array,
    bias: Option<&Array>,
    groups: i32,
) -> Option<String> {
    let out_channels = axis_size(weight, 0);
    if out_channels.checked_rem(groups) != Some(0) {
        return Some(format!(
            "groups must divide {out_channels} output channels, got {groups}"
        ));
    }
    let mut shape = axes.to_vec();
    shape.push(Size::Exactly(axis_size(weight, -1).saturating_mul(groups)));
    let outputs = [Size::Exactly(out_channels)];
    let wanted = |name, array, shape| Wanted { name, array, shape };
    first_mismatch(&[wanted("x", x, &shape)])
        .or_else(|| first_mismatch(&[wanted("bias", bias?, &outputs)]))
}
