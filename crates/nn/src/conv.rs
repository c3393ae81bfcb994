//! Convolutions.

use mlx::{Array, ConvOptions, Op, bind};

use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::{Init, Module, ParameterVisitor};

/// A convolution along one axis: `[batch, length, input]` to `[batch, length', output]`.
#[derive(Clone)]
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
    /// Number of channel groups.
    pub groups: i32,
}

impl Conv1d {
    /// Returns a convolution with stride 1, no padding, and uniform initial values; change the fields for others.
    pub fn new(
        in_channels: i32,
        out_channels: i32,
        kernel_size: i32,
        bias: bool,
        init: &mut Init,
    ) -> Self {
        let n_inputs = f64::from(in_channels) * f64::from(kernel_size);
        #[allow(clippy::cast_possible_truncation)]
        let scale = (1.0 / n_inputs.max(1.0)).sqrt() as f32;
        Self {
            weight: init.uniform(&[out_channels, kernel_size, in_channels], scale),
            bias: bias.then(|| mlx::zeros([out_channels], mlx::Dtype::Float32)),
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
        }
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
        let y = with_bias(bind(op, &[x, &self.weight]), self.bias.as_ref());
        let operands = [x, &self.weight].into_iter().chain(&self.bias);
        in_layer("Conv1d", y, operands, || {
            let axes = [Size::Any("batch"), Size::Any("length")];
            mismatch(x, &axes, &self.weight, self.bias.as_ref(), self.groups)
        })
    }
}

#[track_caller]
fn with_bias(y: Array, bias: Option<&Array>) -> Array {
    match bias {
        Some(bias) => y + bias,
        None => y,
    }
}

/// Returns what is wrong with the shapes of a convolution over `axes`.
fn mismatch(
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

impl Module for Conv1d {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.parameter("weight", &mut self.weight);
        visitor.optional("bias", &mut self.bias);
    }
}

/// A convolution over an image: `[batch, height, width, input]` to `[batch, height', width', output]`.
#[derive(Clone)]
pub struct Conv2d {
    /// `[out_channels, kernel_height, kernel_width, in_channels / groups]`.
    pub weight: Array,
    /// `[out_channels]`.
    pub bias: Option<Array>,
    /// Stride, padding, dilation and groups; by default stride 1, no padding, and one group.
    pub options: ConvOptions,
}

impl Conv2d {
    /// Returns a convolution with stride 1, no padding, and uniform initial values; change the options for others.
    pub fn new(
        in_channels: i32,
        out_channels: i32,
        kernel_size: [i32; 2],
        bias: bool,
        init: &mut Init,
    ) -> Self {
        let [height, width] = kernel_size;
        let n_inputs = f64::from(in_channels) * f64::from(height) * f64::from(width);
        #[allow(clippy::cast_possible_truncation)]
        let scale = (1.0 / n_inputs.max(1.0)).sqrt() as f32;
        Self {
            weight: init.uniform(&[out_channels, height, width, in_channels], scale),
            bias: bias.then(|| mlx::zeros([out_channels], mlx::Dtype::Float32)),
            options: ConvOptions::default(),
        }
    }

    /// Applies the convolution to `[batch, height, width, in_channels]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let y = x.conv2d(&self.weight, self.options.clone());
        let y = with_bias(y, self.bias.as_ref());
        let operands = [x, &self.weight].into_iter().chain(&self.bias);
        in_layer("Conv2d", y, operands, || {
            let axes = [Size::Any("batch"), Size::Any("height"), Size::Any("width")];
            let groups = self.options.groups;
            mismatch(x, &axes, &self.weight, self.bias.as_ref(), groups)
        })
    }
}

impl Module for Conv2d {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.parameter("weight", &mut self.weight);
        visitor.optional("bias", &mut self.bias);
    }
}
