//! Convolutions over one, two or three axes, and their transposes.
//!
//! Input is `[batch, spatial.., channels]`, weight `[out, spatial.., channels / groups]`, as in Python MLX: channels
//! come last. The weight is not flipped (cross-correlation), as in every neural network library.

use crate::op::Op;
use crate::{Array, Error, Integer, Result, Shape, bind};

/// How a convolution moves over its input. One number stands for all spatial axes.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::{ConvOptions, ones};
/// let (x, weight) = (ones([1, 4, 4, 1]), ones([1, 3, 3, 1]));
/// let same = ConvOptions { padding: 1.into(), ..ConvOptions::default() };
/// assert_eq!(x.conv2d(&weight, same).shape()?, [1, 4, 4, 1]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    /// Step between neighbouring results. 1 by default.
    pub stride: Shape,
    /// Zeros put on both sides. 0 by default.
    pub padding: Shape,
    /// Distance between neighbouring weights. 1 by default.
    pub dilation: Shape,
    /// Number of parts that the channels are split into, each with its own weights. 1 by default.
    pub groups: i32,
}

impl Default for ConvOptions {
    fn default() -> Self {
        Self {
            stride: 1.into(),
            padding: 0.into(),
            dilation: 1.into(),
            groups: 1,
        }
    }
}

/// `()` is the default: stride 1 and no padding.
impl From<()> for ConvOptions {
    fn from((): ()) -> Self {
        Self::default()
    }
}

/// The stride alone: `x.conv2d(&w, 2)`.
impl<S: Integer> From<S> for ConvOptions {
    fn from(stride: S) -> Self {
        Self {
            stride: stride.into(),
            ..Self::default()
        }
    }
}

/// Stride and padding, in the order of Python's arguments: `x.conv2d(&w, (1, 1))`.
impl<S: Into<Shape>, P: Into<Shape>> From<(S, P)> for ConvOptions {
    fn from((stride, padding): (S, P)) -> Self {
        Self {
            stride: stride.into(),
            padding: padding.into(),
            ..Self::default()
        }
    }
}

impl From<()> for ConvTransposeOptions {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl<S: Into<Shape>, P: Into<Shape>> From<(S, P)> for ConvTransposeOptions {
    fn from((stride, padding): (S, P)) -> Self {
        Self {
            stride: stride.into(),
            padding: padding.into(),
            ..Self::default()
        }
    }
}

/// How a transposed convolution moves over its output. One number stands for all spatial axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTransposeOptions {
    /// Distance between the places of neighbouring inputs. 1 by default.
    pub stride: Shape,
    /// What is cut off on both sides of the result. 0 by default.
    pub padding: Shape,
    /// Distance between neighbouring weights. 1 by default.
    pub dilation: Shape,
    /// What the result gets longer on the far side. 0 by default.
    pub output_padding: Shape,
    /// Number of parts that the channels are split into. 1 by default.
    pub groups: i32,
}

impl Default for ConvTransposeOptions {
    fn default() -> Self {
        Self {
            stride: 1.into(),
            padding: 0.into(),
            dilation: 1.into(),
            output_padding: 0.into(),
            groups: 1,
        }
    }
}

/// All options of MLX's general convolution. One number stands for all spatial axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvGeneralOptions {
    /// Step between neighbouring results. 1 by default.
    pub stride: Shape,
    /// Zeros put on the near side; negative ones cut the input. 0 by default.
    pub padding_low: Shape,
    /// Zeros put on the far side; negative ones cut the input. 0 by default.
    pub padding_high: Shape,
    /// Distance between neighbouring weights. 1 by default.
    pub kernel_dilation: Shape,
    /// Distance between neighbouring inputs, with zeros between them. 1 by default.
    pub input_dilation: Shape,
    /// Number of parts that the channels are split into. 1 by default.
    pub groups: i32,
    /// Whether the weight is flipped, which makes it a convolution as mathematics has it.
    pub flip: bool,
}

impl Default for ConvGeneralOptions {
    fn default() -> Self {
        Self {
            stride: 1.into(),
            padding_low: 0.into(),
            padding_high: 0.into(),
            kernel_dilation: 1.into(),
            input_dilation: 1.into(),
            groups: 1,
            flip: false,
        }
    }
}

/// How much of a one-dimensional convolution [`convolve`](Array::convolve) keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvolveMode {
    /// Every place where both overlap.
    Full,
    /// As many as the longer side has elements.
    Same,
    /// Only positions where the shorter side is inside the longer one.
    Valid,
}

impl Array {
    /// Returns the convolution of `[batch, length, channels]` with `[out, width, channels / groups]`.
    #[track_caller]
    pub fn conv1d(&self, weight: &Array, options: impl Into<ConvOptions>) -> Array {
        self.conv("conv1d", 1, weight, options.into())
    }

    /// Returns the convolution of `[batch, height, width, channels]` with `[out, height, width, channels / groups]`.
    #[track_caller]
    pub fn conv2d(&self, weight: &Array, options: impl Into<ConvOptions>) -> Array {
        self.conv("conv2d", 2, weight, options.into())
    }

    /// Returns the convolution of `[batch, depth, height, width, channels]` with
    /// `[out, depth, height, width, channels]`. MLX has no groups here.
    #[track_caller]
    pub fn conv3d(&self, weight: &Array, options: impl Into<ConvOptions>) -> Array {
        self.conv("conv3d", 3, weight, options.into())
    }

    /// Returns the transposed convolution of `[batch, length, channels]` with `[out, width, channels / groups]`.
    #[track_caller]
    pub fn conv_transpose1d(
        &self,
        weight: &Array,
        options: impl Into<ConvTransposeOptions>,
    ) -> Array {
        self.conv_transpose("conv_transpose1d", 1, weight, &options.into())
    }

    /// Returns the transposed convolution of `[batch, height, width, channels]` with
    /// `[out, height, width, channels / groups]`.
    #[track_caller]
    pub fn conv_transpose2d(
        &self,
        weight: &Array,
        options: impl Into<ConvTransposeOptions>,
    ) -> Array {
        self.conv_transpose("conv_transpose2d", 2, weight, &options.into())
    }

    /// Returns the transposed convolution of `[batch, depth, height, width, channels]` with
    /// `[out, depth, height, width, channels]`.
    #[track_caller]
    pub fn conv_transpose3d(
        &self,
        weight: &Array,
        options: impl Into<ConvTransposeOptions>,
    ) -> Array {
        self.conv_transpose("conv_transpose3d", 3, weight, &options.into())
    }

    /// Returns the convolution over one to three spatial axes, with everything that MLX can be told.
    #[track_caller]
    pub fn conv_general(&self, weight: &Array, options: ConvGeneralOptions) -> Array {
        let spatial = match self.ndim() {
            Ok(ndim @ 3..=5) => ndim - 2,
            Ok(_) => return self.wrong_rank("conv_general", "3 to 5"),
            Err(error) => return Array::failed(error),
        };
        Array::from_result(general(spatial, options).map(|op| bind(op, &[self, weight])))
    }

    /// Returns the whole convolution of two one-dimensional arrays, with the weight flipped, as NumPy's `convolve`; parts
    /// of it with [`convolve_with`](Self::convolve_with).
    #[track_caller]
    pub fn convolve(&self, other: impl AsRef<Array>) -> Array {
        self.convolve_with(other, ConvolveMode::Full)
    }

    /// Returns what [`convolve`](Self::convolve) does, as much of it as `mode` says.
    #[track_caller]
    pub fn convolve_with(&self, other: impl AsRef<Array>, mode: ConvolveMode) -> Array {
        let other = other.as_ref();
        let (n, m) = match (self.dims::<1>(), other.dims::<1>()) {
            (Ok([n]), Ok([m])) if n > 0 && m > 0 => (n, m),
            (Ok([n]), Ok([m])) => {
                let text = format!("wanted at least one element each, got {n} and {m}");
                return Array::failed(Error::op("convolve", text));
            }
            (Err(error), _) | (_, Err(error)) => return Array::failed(error),
        };
        let (long, short, width) = if n < m {
            (other, self, n)
        } else {
            (self, other, m)
        };
        let (low, high) = match mode {
            ConvolveMode::Full => (width - 1, width - 1),
            ConvolveMode::Same => (width / 2, (width - 1) / 2),
            ConvolveMode::Valid => (0, 0),
        };
        let options = ConvGeneralOptions {
            padding_low: low.into(),
            padding_high: high.into(),
            flip: true,
            ..ConvGeneralOptions::default()
        };
        long.reshape([1, -1, 1])
            .conv_general(&short.reshape([1, -1, 1]), options)
            .reshape(-1)
    }

    #[track_caller]
    fn conv(&self, name: &'static str, spatial: usize, weight: &Array, o: ConvOptions) -> Array {
        if self.ndim().is_ok_and(|ndim| ndim != spatial + 2) {
            return self.wrong_rank(name, &(spatial + 2).to_string());
        }
        let options = ConvGeneralOptions {
            stride: o.stride,
            padding_low: o.padding.clone(),
            padding_high: o.padding,
            kernel_dilation: o.dilation,
            groups: o.groups,
            ..ConvGeneralOptions::default()
        };
        Array::from_result(general(spatial, options).map(|op| bind(op, &[self, weight])))
    }

    /// A transposed convolution is a convolution with the weight flipped and the stride put between the inputs.
    #[track_caller]
    fn conv_transpose(
        &self,
        name: &'static str,
        spatial: usize,
        weight: &Array,
        o: &ConvTransposeOptions,
    ) -> Array {
        if self.ndim().is_ok_and(|ndim| ndim != spatial + 2) {
            return self.wrong_rank(name, &(spatial + 2).to_string());
        }
        let options = match transposed(name, spatial, weight, o) {
            Ok(options) => options,
            Err(error) => return Array::failed(error),
        };
        Array::from_result(general(spatial, options).map(|op| bind(op, &[self, weight])))
    }

    #[track_caller]
    fn wrong_rank(&self, name: &'static str, wanted: &str) -> Array {
        let text = format!("the input must have {wanted} axes");
        Array::failed(Error::op_with(
            name,
            text,
            self.array_type().into_iter().collect(),
        ))
    }
}

/// Returns the options of the convolution that the transposed one is.
#[track_caller]
fn transposed(
    name: &'static str,
    spatial: usize,
    weight: &Array,
    o: &ConvTransposeOptions,
) -> Result<ConvGeneralOptions> {
    let widths = weight.shape()?;
    let padding = spread("padding", spatial, &o.padding)?;
    let dilation = spread("dilation", spatial, &o.dilation)?;
    let output_padding = spread("output_padding", spatial, &o.output_padding)?;
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for axis in 0..spatial {
        let width = widths.get(axis + 1).copied().unwrap_or(1);
        let reach = i64::from(dilation[axis]) * (i64::from(width) - 1);
        let near = reach - i64::from(padding[axis]);
        let far = near + i64::from(output_padding[axis]);
        let small = |size: i64| {
            i32::try_from(size).map_err(|_| {
                Error::op(
                    name,
                    format!("padding must fit 32 bits, got {size} at axis {axis}"),
                )
            })
        };
        low.push(small(near)?);
        high.push(small(far)?);
    }
    Ok(ConvGeneralOptions {
        padding_low: low.into(),
        padding_high: high.into(),
        kernel_dilation: dilation.into(),
        input_dilation: o.stride.clone(),
        groups: o.groups,
        flip: true,
        ..ConvGeneralOptions::default()
    })
}

/// Returns the operation with every option spelled out for each spatial axis.
#[track_caller]
fn general(spatial: usize, o: ConvGeneralOptions) -> Result<Op> {
    Ok(Op::Conv {
        stride: spread("stride", spatial, &o.stride)?,
        padding_lo: spread("padding", spatial, &o.padding_low)?,
        padding_hi: spread("padding", spatial, &o.padding_high)?,
        kernel_dilation: spread("dilation", spatial, &o.kernel_dilation)?,
        input_dilation: spread("input_dilation", spatial, &o.input_dilation)?,
        groups: o.groups,
        flip: o.flip,
    })
}

#[track_caller]
fn spread(name: &str, spatial: usize, value: &Shape) -> Result<Vec<i32>> {
    match value.numbers() {
        [one] => Ok(vec![*one; spatial]),
        all if all.len() == spatial => Ok(all.to_vec()),
        other => Err(Error::op(
            "conv_general",
            format!("{name} must be one number or one for each of {spatial} axes, got {other:?}"),
        )),
    }
}
