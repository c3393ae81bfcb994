//! Pooling: the maximum or mean of windows.

use mlx::{Array, Dtype, Error, Op, PadMode, Result, Shape, bind};

use crate::kernels::{PoolWindows, Pooling, pool};
use crate::{Forward, Module};

macro_rules! pools {
    ($($name:ident $n:literal $pooling:ident $what:literal $padding:literal $shape:literal;)*) => {$(
        #[doc = concat!("The ", $what, " of windows over ", $shape, ": `mlx.nn.", stringify!($name), "`.")]
        #[derive(Clone, Debug, PartialEq, Eq, Module)]
        pub struct $name {
            /// The size of the window, one number or one for each axis of space.
            #[module(static)]
            pub kernel_size: Shape,
            /// The step between windows; by default the size of the window.
            #[module(static)]
            pub stride: Shape,
            #[doc = concat!("How many ", $padding, " are put on both sides of each axis; 0 by default.")]
            #[module(static)]
            pub padding: Shape,
        }

        impl $name {
            /// Returns pooling of windows that do not overlap, without padding.
            pub fn new(kernel_size: impl Into<Shape>) -> Self {
                let kernel_size = kernel_size.into();
                Self {
                    stride: kernel_size.clone(),
                    kernel_size,
                    padding: 0.into(),
                }
            }

            /// Returns pooling with another step between windows.
            #[must_use]
            pub fn stride(mut self, stride: impl Into<Shape>) -> Self {
                self.stride = stride.into();
                self
            }

            /// Returns pooling with padding on both sides of each axis.
            #[must_use]
            pub fn padding(mut self, padding: impl Into<Shape>) -> Self {
                self.padding = padding.into();
                self
            }

            #[doc = concat!("Pools ", $shape, " along its axes of space.")]
            #[track_caller]
            pub fn forward(&self, x: &Array) -> Array {
                let windows = Windows {
                    name: stringify!($name),
                    kernel: &self.kernel_size,
                    stride: &self.stride,
                    padding: &self.padding,
                };
                Array::from_result(windows.pool::<$n>(x, Pooling::$pooling))
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

pools! {
    MaxPool1d 1 Max "maximum" "negative infinities" "`[batch, length, channels]`";
    MaxPool2d 2 Max "maximum" "negative infinities" "`[batch, height, width, channels]`";
    MaxPool3d 3 Max "maximum" "negative infinities" "`[batch, depth, height, width, channels]`";
    AvgPool1d 1 Mean "mean" "zeros, which count," "`[batch, length, channels]`";
    AvgPool2d 2 Mean "mean" "zeros, which count," "`[batch, height, width, channels]`";
    AvgPool3d 3 Mean "mean" "zeros, which count," "`[batch, depth, height, width, channels]`";
}

/// The windows of a layer.
struct Windows<'a> {
    name: &'static str,
    kernel: &'a Shape,
    stride: &'a Shape,
    padding: &'a Shape,
}

impl Windows<'_> {
    #[track_caller]
    fn pool<const N: usize>(&self, x: &Array, pooling: Pooling) -> Result<Array> {
        let kernel: [i32; N] = self.sizes("kernel_size", self.kernel, 1)?;
        let stride: [i32; N] = self.sizes("stride", self.stride, 1)?;
        let padding: [i32; N] = self.sizes("padding", self.padding, 0)?;
        let shape = x.sizes()?;
        if shape.len() != N + 2 {
            let (wanted, name) = (N + 2, self.name);
            return Err(Error::op(
                name,
                format!("x must have {wanted} axes, got {shape:?}"),
            ));
        }
        for axis in 0..N {
            let size = &shape[axis + 1] + padding[axis].saturating_mul(2);
            let kernel = kernel[axis];
            if size < kernel {
                let message = format!(
                    "a window of {kernel} must fit into axis {} of size {size} with its padding",
                    axis + 1
                );
                return Err(Error::op(self.name, message));
            }
        }
        let windows = PoolWindows {
            kernel: kernel.into(),
            stride: stride.into(),
            padding: padding.into(),
        };
        let composed = match pooling {
            Pooling::Max => max,
            Pooling::Mean => mean,
        };
        match pool(&windows, pooling, x, composed) {
            Some(y) => Ok(y),
            None => composed(&windows, x),
        }
    }

    /// Returns one number for each axis of space.
    #[track_caller]
    fn sizes<const N: usize>(&self, what: &str, given: &Shape, least: i32) -> Result<[i32; N]> {
        let sizes: Option<[i32; N]> = match given.numbers() {
            &[one] => Some([one; N]),
            sizes => sizes.try_into().ok(),
        };
        match sizes {
            Some(sizes) if sizes.iter().all(|&size| size >= least) => Ok(sizes),
            _ => {
                let given = given.numbers();
                let message = format!(
                    "{what} must be one number or {N}, each at least {least}, got {given:?}"
                );
                Err(Error::op(self.name, message))
            }
        }
    }
}

/// Returns the maximum of windows, which fit, in MLX's operations.
#[track_caller]
fn max(windows: &PoolWindows, x: &Array) -> Result<Array> {
    let (elements, axes) = elements(windows, &padded(x, &windows.padding, f32::NEG_INFINITY))?;
    Ok(elements.max(axes))
}

/// Returns the mean of windows, which fit, in MLX's operations.
#[track_caller]
fn mean(windows: &PoolWindows, x: &Array) -> Result<Array> {
    let padded = padded(x, &windows.padding, 0.0);
    if windows.kernel.iter().all(|&size| size <= MAX_SLICES) {
        let counts = counts(windows, &padded.shape()?);
        return mean_by_axis(&padded, (&windows.kernel, &windows.stride, &counts));
    }
    let (elements, axes) = elements(windows, &padded)?;
    Ok(elements.mean(axes))
}

/// Returns the number of windows along each axis of a padded array.
fn counts(windows: &PoolWindows, shape: &[i32]) -> Vec<i32> {
    let steps = windows.kernel.iter().zip(&windows.stride);
    let axes = shape[1..].iter().zip(steps);
    axes.map(|(size, (kernel, stride))| (size - kernel) / stride + 1)
        .collect()
}

/// Returns the elements of the windows of a padded array, and the axes of a window.
#[track_caller]
fn elements(windows: &PoolWindows, padded: &Array) -> Result<(Array, Vec<i32>)> {
    let shape = padded.shape()?;
    let PoolWindows { kernel, stride, .. } = windows;
    let counts = counts(windows, &shape);
    let is_tiled = kernel == stride
        && shape[1..]
            .iter()
            .zip(kernel)
            .all(|(size, kernel)| size % kernel == 0);
    Ok(match is_tiled {
        true => tiles(padded, &shape, kernel),
        false => overlapping(padded, &shape, (kernel, stride, &counts)),
    })
}

#[track_caller]
fn padded(x: &Array, padding: &[i32], value: f32) -> Array {
    if padding.iter().all(|&width| width == 0) {
        return x.clone();
    }
    let mut widths = vec![(0, 0)];
    widths.extend(padding.iter().map(|&width| (width, width)));
    widths.push((0, 0));
    x.pad_with(widths, PadMode::Constant, value)
}

/// Returns the mean of windows: sums along one axis after the other, each of slices with the window's step. Half
/// precision and integers are added in `f32`.
#[track_caller]
fn mean_by_axis(x: &Array, (kernel, stride, counts): (&[i32], &[i32], &[i32])) -> Result<Array> {
    let dtype = x.dtype()?;
    let is_half = matches!(dtype, Dtype::Float16 | Dtype::Bfloat16);
    let mut sum = match dtype {
        Dtype::Float32 | Dtype::Float64 | Dtype::Complex64 => x.clone(),
        _ => x.astype(Dtype::Float32),
    };
    for (at, (&kernel, (&stride, &count))) in
        kernel.iter().zip(stride.iter().zip(counts)).enumerate()
    {
        let shape = sum.shape()?;
        let slice = |offset: i32| {
            let (mut start, mut stop) = (vec![0; shape.len()], shape.clone());
            let mut strides = vec![1; shape.len()];
            (start[at + 1], strides[at + 1]) = (offset, stride);
            stop[at + 1] = offset + (count - 1) * stride + 1;
            let op = Op::Slice {
                start,
                stop,
                strides,
            };
            bind(op, &[&sum])
        };
        sum = (1..kernel).fold(slice(0), |all, offset| all + slice(offset));
    }
    let size: f64 = kernel.iter().map(|&size| f64::from(size)).product();
    let mean = sum / size;
    Ok(match is_half {
        true => mean.astype(dtype),
        false => mean,
    })
}

/// Splits each axis into windows that neither overlap nor leave anything out; returns them with the axes to reduce.
#[track_caller]
fn tiles(x: &Array, shape: &[i32], kernel: &[i32]) -> (Array, Vec<i32>) {
    let mut split = vec![shape[0]];
    let mut axes = Vec::new();
    for (&size, &kernel) in shape[1..].iter().zip(kernel) {
        split.extend([size / kernel, kernel]);
        axes.push(axis(split.len() - 1));
    }
    split.push(shape[shape.len() - 1]);
    (x.reshape(split), axes)
}

/// Windows of at most this number of elements are added or joined from slices, whose gradients are slices; larger ones are views
/// with strides of their own, whose gradients are scatters.
const MAX_SLICES: i32 = 64;

/// Puts the elements of each window along new axes behind those of space; returns it with those axes.
#[track_caller]
fn overlapping(
    x: &Array,
    shape: &[i32],
    (kernel, stride, counts): (&[i32], &[i32], &[i32]),
) -> (Array, Vec<i32>) {
    let n_axes = kernel.len();
    let n_elements = kernel
        .iter()
        .fold(1_i32, |all, &one| all.saturating_mul(one));
    if n_elements > MAX_SLICES {
        let axes = (n_axes + 1..2 * n_axes + 1).map(axis).collect();
        return (strided(x, shape, (kernel, stride, counts)), axes);
    }
    let mut parts = Vec::new();
    for element in 0..n_elements {
        let mut rest = element;
        let mut offsets = vec![0; n_axes];
        for axis in (0..n_axes).rev() {
            offsets[axis] = rest % kernel[axis];
            rest /= kernel[axis];
        }
        let (mut start, mut stop, mut strides) = (vec![0], vec![shape[0]], vec![1]);
        for axis in 0..n_axes {
            start.push(offsets[axis]);
            stop.push(offsets[axis] + (counts[axis] - 1) * stride[axis] + 1);
            strides.push(stride[axis]);
        }
        start.push(0);
        stop.push(shape[shape.len() - 1]);
        strides.push(1);
        let op = Op::Slice {
            start,
            stop,
            strides,
        };
        parts.push(bind(op, &[x]));
    }
    let new_axis = axis(n_axes + 1);
    (mlx::stack(&parts, new_axis), vec![new_axis])
}

/// Returns a view `[batch, windows.., elements.., channels]` of windows.
#[track_caller]
fn strided(x: &Array, shape: &[i32], (kernel, stride, counts): (&[i32], &[i32], &[i32])) -> Array {
    let mut steps = vec![1_i64; shape.len()];
    for axis in (1..shape.len()).rev() {
        steps[axis - 1] = steps[axis] * i64::from(shape[axis]);
    }
    let space = &steps[1..=kernel.len()];
    let mut sizes = vec![shape[0]];
    sizes.extend(counts.iter().chain(kernel));
    sizes.push(shape[shape.len() - 1]);
    let mut strides = vec![steps[0]];
    strides.extend(
        space
            .iter()
            .zip(stride)
            .map(|(step, &by)| step * i64::from(by)),
    );
    strides.extend(space);
    strides.push(1);
    x.as_strided(sizes, strides, 0)
}

fn axis(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
