//! Transposed convolutions over one, two and three axes.

use mlx::{Array, Integer, Shape};

use crate::conv::{biased, mismatch, settings_mismatch, uniform_weight};
use crate::kernels::Convolution;
use crate::layer_error::{Size, in_layer};
use crate::{Forward, Init, Module, ModuleState};

macro_rules! layers {
    ($($name:ident $n:literal $operation:ident $axes:tt $input:literal $weight:literal $sides:literal $padding:literal
        $example:literal $x:tt $y:tt;)*) => {$(
        #[doc = concat!("A transposed convolution, ", $input, ": `mlx.nn.", stringify!($name), "`.")]
        ///
        /// The gradient of a convolution with the same stride, padding and dilation, by its input: each element of
        /// the input adds its multiple of the kernel to the output, `stride` apart. An axis of size `n` becomes one of
        /// `(n - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1`.
        ///
        /// ```
        /// # fn main() -> mlx::Result<()> {
        #[doc = concat!("let conv = mlx_nn::", stringify!($name), "::new(", $example, ").stride(2).padding(", $padding, ").output_padding(1);")]
        #[doc = concat!("let x = mlx::ones(", stringify!($x), ");")]
        #[doc = concat!("assert_eq!(conv.forward(&x).shape()?, ", stringify!($y), ");")]
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Module)]
        pub struct $name {
            #[doc = concat!("`", $weight, "`.")]
            pub weight: Array,
            /// `[out_channels]`.
            pub bias: Option<Array>,
            /// Distance between the places of neighbouring inputs in the output, one number or one for each axis.
            #[module(static)]
            pub stride: Shape,
            /// What is cut off on both sides of each axis of the output.
            #[module(static)]
            pub padding: Shape,
            /// Dilation of the kernel.
            #[module(static)]
            pub dilation: Shape,
            /// What is added to the far side of each axis of the output.
            #[module(static)]
            pub output_padding: Shape,
            /// What is frozen.
            pub state: ModuleState,
        }

        impl $name {
            #[doc = concat!("Returns a transposed convolution with a bias of 0, stride 1, no padding, and uniform initial weights. The size of the kernel is ", $sides, ".")]
            #[track_caller]
            pub fn new(in_channels: impl Integer, out_channels: impl Integer, kernel_size: impl Into<Shape>) -> Self {
                let (in_channels, out_channels) = (in_channels.to_i32(), out_channels.to_i32());
                let init = &mut Init::default();
                Self::with_init(in_channels, out_channels, kernel_size, true, init)
            }

            /// Returns a transposed convolution with stride 1, no padding, and initial values from `init`: uniform, up to
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
                    weight: uniform_weight(stringify!($name), $n, channels, kernel_size.into(), init),
                    bias: bias.then(|| mlx::zeros([out_channels])),
                    stride: 1.into(),
                    padding: 0.into(),
                    dilation: 1.into(),
                    output_padding: 0.into(),
                    state: ModuleState::default(),
                }
            }

            #[doc = concat!("Returns the layer with another stride, ", $sides, ".")]
            #[must_use]
            pub fn stride(mut self, stride: impl Into<Shape>) -> Self {
                self.stride = stride.into();
                self
            }

            #[doc = concat!("Returns the layer with the output cut on both sides, ", $sides, ".")]
            #[must_use]
            pub fn padding(mut self, padding: impl Into<Shape>) -> Self {
                self.padding = padding.into();
                self
            }

            #[doc = concat!("Returns the layer with another dilation of the kernel, ", $sides, ".")]
            #[must_use]
            pub fn dilation(mut self, dilation: impl Into<Shape>) -> Self {
                self.dilation = dilation.into();
                self
            }

            #[doc = concat!("Returns the layer with a larger output on the far side, ", $sides, ".")]
            #[must_use]
            pub fn output_padding(mut self, output_padding: impl Into<Shape>) -> Self {
                self.output_padding = output_padding.into();
                self
            }

            /// Returns the layer with or without bias.
            #[must_use]
            pub fn bias(mut self, bias: bool) -> Self {
                self.bias = biased(&self.weight, self.bias, bias);
                self
            }

            #[doc = concat!("Computes ", $input, ".")]
            ///
            /// An input of another shape, and a setting with another number of sizes than the axes of space, give an
            /// array that carries the error.
            #[track_caller]
            pub fn forward(&self, x: &Array) -> Array {
                let settings = [&self.stride, &self.padding, &self.dilation];
                let settings = Convolution::new($n, settings, Some(&self.output_padding), 1);
                let inputs = (x, &self.weight, self.bias.as_ref());
                let y = settings.forward(inputs, |settings, x, weight| {
                    x.$operation(weight, settings.transposed_options())
                });
                let operands = [x, &self.weight].into_iter().chain(&self.bias);
                in_layer(stringify!($name), y, operands, || {
                    let axes = $axes.map(Size::Any);
                    let settings = [
                        ("stride", &self.stride),
                        ("padding", &self.padding),
                        ("dilation", &self.dilation),
                        ("output_padding", &self.output_padding),
                    ];
                    settings_mismatch($n, &settings)
                        .or_else(|| mismatch(x, &axes, &self.weight, self.bias.as_ref(), 1))
                })
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Array) -> Array {
                Self::forward(self, x)
            }
        }
    )*};
}

layers! {
    ConvTranspose1d 1 conv_transpose1d ["batch", "length"]
        "`[batch, length, in_channels]` to `[batch, length', out_channels]`"
        "[out_channels, kernel_size, in_channels]" "one number" "1" "4, 8, 3" [1, 5, 4] [1, 10, 8];
    ConvTranspose2d 2 conv_transpose2d ["batch", "height", "width"]
        "`[batch, height, width, in_channels]` to `[batch, height', width', out_channels]`"
        "[out_channels, kernel_height, kernel_width, in_channels]" "one number, or `[height, width]`" "1"
        "4, 8, 3" [1, 5, 6, 4] [1, 10, 12, 8];
    ConvTranspose3d 3 conv_transpose3d ["batch", "depth", "height", "width"]
        "`[batch, depth, height, width, in_channels]` to `[batch, depth', height', width', out_channels]`"
        "[out_channels, kernel_depth, kernel_height, kernel_width, in_channels]"
        "one number, or `[depth, height, width]`" "1" "2, 3, 3" [1, 2, 3, 4, 2] [1, 4, 6, 8, 3];
}
