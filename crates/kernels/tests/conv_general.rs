//! Convolution over one to three axes against its formula in `f64`.

#![allow(clippy::too_many_arguments)]

mod reference;

use half::{bf16, f16};
use mlx_kernels::{Conv, ConvAxis, Element, conv, conv_weight_gradient, conv_with_bias};
use reference::random;
use rstest::rstest;

/// Where element `k` of the window of output `o` is, if it is inside.
fn place(axis: &ConvAxis, o: usize, k: usize) -> Option<usize> {
    let at = (o * axis.stride + k * axis.kernel_dilation).checked_sub(axis.padding)?;
    let index = at / axis.input_dilation;
    (at % axis.input_dilation == 0 && index < axis.input).then_some(index)
}

/// All indices of an array of these sizes.
fn indices(sizes: Vec<usize>) -> impl Iterator<Item = Vec<usize>> {
    let count: usize = sizes.iter().product();
    (0..count).map(move |mut index| {
        let mut indices = vec![0; sizes.len()];
        for (place, size) in indices.iter_mut().zip(&sizes).rev() {
            *place = index % size;
            index /= size;
        }
        indices
    })
}

/// The sum, and the sum of magnitudes, of each output.
fn exact(shape: Conv<'_>, x: &[f64], weight: &[f64]) -> Vec<(f64, f64)> {
    let (width, columns) = (shape.channels / shape.groups, shape.outputs / shape.groups);
    let kernel: Vec<usize> = shape.axes.iter().map(|axis| axis.kernel).collect();
    let outputs: Vec<usize> = shape.axes.iter().map(|axis| axis.output).collect();
    let mut results = Vec::new();
    for batch in 0..shape.batch {
        for o in indices(outputs.clone()) {
            for output in 0..shape.outputs {
                let (mut sum, mut magnitude) = (0.0, 0.0);
                for k in indices(kernel.clone()) {
                    let from = shape
                        .axes
                        .iter()
                        .enumerate()
                        .try_fold(batch, |index, (n, axis)| {
                            Some(index * axis.input + place(axis, o[n], k[n])?)
                        });
                    let to = shape
                        .axes
                        .iter()
                        .enumerate()
                        .fold(output, |index, (n, axis)| {
                            let k = if shape.flip {
                                axis.kernel - 1 - k[n]
                            } else {
                                k[n]
                            };
                            index * axis.kernel + k
                        });
                    let Some(from) = from else { continue };
                    for c in 0..width {
                        let first = output / columns * width;
                        let x = x[from * shape.channels + first + c];
                        let product = x * weight[to * width + c];
                        sum += product;
                        magnitude += product.abs();
                    }
                }
                results.push((sum, magnitude));
            }
        }
    }
    results
}

trait Number: Element {
    const UNIT: f64;
    fn of(x: f32) -> Self;
    fn wide(self) -> f64;
}

macro_rules! number {
    ($type:ty, $unit:expr, $of:expr) => {
        impl Number for $type {
            const UNIT: f64 = $unit;
            fn of(x: f32) -> Self {
                $of(x)
            }
            fn wide(self) -> f64 {
                f64::from(self)
            }
        }
    };
}
number!(f32, 0.0, |x| x);
number!(f16, 1.0 / 2048.0, f16::from_f32);
number!(bf16, 1.0 / 256.0, bf16::from_f32);

fn check<T: Number>(shape: Conv<'_>) {
    let size = |of: fn(&ConvAxis) -> usize| shape.axes.iter().map(of).product::<usize>();
    let numbers = |count: usize, seed: u64| -> Vec<T> {
        random(count, seed).into_iter().map(T::of).collect()
    };
    let depth = size(|axis| axis.kernel) * shape.channels / shape.groups;
    let x = numbers(shape.batch * size(|axis| axis.input) * shape.channels, 1);
    let weight = numbers(shape.outputs * depth, 2);
    let wide = |numbers: &[T]| -> Vec<f64> { numbers.iter().map(|x| x.wide()).collect() };
    let wanted = exact(shape, &wide(&x), &wide(&weight));
    let bound = (2 + depth) as f64 / 16_777_216.0;
    let agree = |out: &[T], bias: &[f64]| {
        let biases = bias.iter().cycle();
        for (i, ((got, (sum, magnitude)), bias)) in out.iter().zip(&wanted).zip(biases).enumerate()
        {
            let (sum, magnitude) = (sum + bias, magnitude + bias.abs());
            let error = (got.wide() - sum).abs();
            // 2^-25: half of the distance of the smallest numbers of f16.
            let allowed = bound * magnitude + T::UNIT * sum.abs() + 1.0 / 33_554_432.0;
            assert!(
                error <= allowed,
                "{shape:?} element {i}: {}, wanted {sum}",
                got.wide()
            );
        }
    };
    let mut out = vec![T::of(7.0); wanted.len()];
    conv(shape, &x, &weight, &mut out).unwrap();
    agree(&out, &[0.0]);
    let bias = numbers(shape.outputs, 3);
    conv_with_bias(shape, &x, &weight, &bias, &mut out).unwrap();
    agree(&out, &wide(&bias));
    check_gradient(shape, &x, &numbers(wanted.len(), 4));
}

/// The gradient by the weight: of output `f` and element `k`, the sum over all outputs of `x` times the cotangent.
fn check_gradient<T: Number>(shape: Conv<'_>, x: &[T], cotangent: &[T]) {
    let is_refused = shape.flip || shape.axes.iter().any(|axis| axis.input_dilation > 1);
    let (width, columns) = (shape.channels / shape.groups, shape.outputs / shape.groups);
    let kernel: Vec<usize> = shape.axes.iter().map(|axis| axis.kernel).collect();
    let outputs: Vec<usize> = shape.axes.iter().map(|axis| axis.output).collect();
    let window: usize = kernel.iter().product();
    let mut out = vec![T::of(7.0); shape.outputs * window * width];
    let result = conv_weight_gradient(shape, x, cotangent, &mut out);
    if is_refused {
        assert!(result.is_err());
        return;
    }
    result.unwrap();
    let mut wanted = vec![(0.0, 0.0); out.len()];
    let mut count = 0;
    for batch in 0..shape.batch {
        for o in indices(outputs.clone()) {
            for (element, k) in indices(kernel.clone()).enumerate() {
                let from = shape
                    .axes
                    .iter()
                    .enumerate()
                    .try_fold(batch, |index, (n, axis)| {
                        Some(index * axis.input + place(axis, o[n], k[n])?)
                    });
                let Some(from) = from else { continue };
                for output in 0..shape.outputs {
                    let cotangent = cotangent[count * shape.outputs + output].wide();
                    for c in 0..width {
                        let first = output / columns * width;
                        let product = cotangent * x[from * shape.channels + first + c].wide();
                        let at = (output * window + element) * width + c;
                        wanted[at].0 += product;
                        wanted[at].1 += product.abs();
                    }
                }
            }
            count += 1;
        }
    }
    let bound = (2 + count) as f64 / 16_777_216.0;
    for (i, (got, (sum, magnitude))) in out.iter().zip(wanted).enumerate() {
        let error = (got.wide() - sum).abs();
        let allowed = bound * magnitude + T::UNIT * sum.abs() + 1.0 / 33_554_432.0;
        assert!(
            error <= allowed,
            "{shape:?} gradient {i}: {}, wanted {sum}",
            got.wide()
        );
    }
}

/// Sizes from a small generator.
struct Sizes(u64);

impl Sizes {
    fn of<const N: usize>(&mut self, all: [usize; N]) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        all[(self.0 >> 33) as usize % N]
    }

    fn axis(&mut self) -> ConvAxis {
        let mut axis = ConvAxis {
            input: self.of([1, 2, 5, 9, 12]),
            kernel: self.of([1, 2, 3, 3, 5]),
            output: 0,
            stride: self.of([1, 1, 2, 3]),
            padding: self.of([0, 1, 1, 2, 4]),
            kernel_dilation: self.of([1, 1, 2]),
            input_dilation: self.of([1, 1, 1, 2, 3]),
        };
        let after = self.of([0, 1, 2]);
        let padded = (axis.input - 1) * axis.input_dilation + 1 + axis.padding + after;
        let window = (axis.kernel - 1) * axis.kernel_dilation + 1;
        axis.output = padded
            .checked_sub(window)
            .map_or(1, |rest| rest / axis.stride + 1);
        axis
    }
}

#[rstest]
#[case::one_axis(1)]
#[case::two_axes(2)]
#[case::three_axes(3)]
fn follows_the_formula(#[case] n_axes: usize) {
    let mut sizes = Sizes(n_axes as u64);
    for round in 0..150 {
        let axes: Vec<ConvAxis> = (0..n_axes).map(|_| sizes.axis()).collect();
        let groups = sizes.of([1, 1, 2, 3, 20]);
        let depthwise = groups > 1 && sizes.of([0, 1]) == 1;
        let per_group = |sizes: &mut Sizes| {
            if depthwise {
                1
            } else {
                sizes.of([1, 2, 5, 17, 40])
            }
        };
        let shape = Conv {
            batch: sizes.of([1, 2]),
            axes: &axes,
            channels: groups
                * if groups == 20 {
                    1
                } else {
                    per_group(&mut sizes)
                },
            outputs: groups
                * if groups == 20 {
                    1
                } else {
                    per_group(&mut sizes)
                },
            groups,
            flip: sizes.of([0, 0, 1]) == 1,
        };
        check::<f32>(shape);
        if round % 3 == 0 {
            check::<f16>(shape);
            check::<bf16>(shape);
        }
    }
}

/// Layers of networks, smaller: the kernel with its steps, and channels.
#[rstest]
#[case::wide(9, (3, 1, 1, 1), (64, 64, 1))]
#[case::plain(7, (1, 1, 0, 1), (100, 33, 1))]
#[case::first_layer(23, (7, 2, 3, 1), (3, 40, 1))]
#[case::depthwise(13, (3, 1, 1, 1), (40, 40, 40))]
#[case::depthwise_strided(13, (3, 2, 1, 2), (33, 33, 33))]
#[case::grouped(9, (3, 1, 1, 1), (64, 32, 4))]
#[case::pairs_of_channels(30, (3, 1, 1, 1), (24, 24, 12))]
#[case::groups_of_four(16, (3, 1, 2, 1), (48, 48, 12))]
#[case::groups_of_eight(15, (3, 2, 1, 1), (24, 24, 3))]
#[case::groups_of_sixteen(9, (3, 1, 1, 1), (64, 64, 4))]
#[case::groups_of_many(11, (3, 1, 1, 1), (144, 36, 2))]
#[case::several_outputs_of_a_channel(12, (3, 1, 1, 2), (20, 60, 20))]
#[case::one_output_of_several_channels(12, (5, 3, 2, 1), (60, 20, 20))]
#[case::one_channel(28, (3, 1, 1, 1), (1, 32, 1))]
#[case::padded_by_more_than_the_kernel(6, (2, 1, 5, 1), (3, 17, 1))]
#[case::depthwise_padded_by_more_than_the_kernel(6, (2, 1, 5, 1), (17, 17, 17))]
#[case::as_large_as_the_input(21, (19, 1, 1, 1), (5, 12, 1))]
#[case::two_groups_of_many_outputs(33, (3, 1, 1, 1), (6, 10, 2))]
#[case::pixels_of_whole_steps(25, (3, 1, 1, 1), (32, 20, 1))]
#[case::pixels_between_steps(17, (3, 2, 1, 1), (72, 40, 1))]
#[case::pixels_of_less_than_a_step(19, (3, 1, 2, 2), (12, 33, 1))]
#[case::strided_past_pixels(15, (2, 3, 0, 1), (40, 16, 1))]
fn layers(
    #[case] input: usize,
    #[case] (kernel, stride, padding, kernel_dilation): (usize, usize, usize, usize),
    #[case] (channels, outputs, groups): (usize, usize, usize),
) {
    let output = (input + 2 * padding - (kernel - 1) * kernel_dilation - 1) / stride + 1;
    let axis = ConvAxis {
        input,
        kernel,
        output,
        stride,
        padding,
        kernel_dilation,
        input_dilation: 1,
    };
    let shape = Conv {
        batch: 2,
        axes: &[axis; 2],
        channels,
        outputs,
        groups,
        flip: false,
    };
    check::<f32>(shape);
    check::<f16>(shape);
    check::<bf16>(shape);
}

/// Windows whose elements, or which themselves, are further apart than any memory is large.
#[rstest]
#[case::strides(1, 1 << 40, 1)]
#[case::dilations(1 << 40, 1, 1)]
#[case::both(1 << 30, 1 << 40, 1)]
#[case::several_outputs(1, 1000, 3)]
fn distances(
    #[case] kernel_dilation: usize,
    #[case] stride: usize,
    #[case] output: usize,
    #[values((3, 5), (16, 20), (40, 8))] (channels, outputs): (usize, usize),
) {
    let far = ConvAxis {
        input: 3 + (output - 1) * stride,
        kernel: 2,
        output,
        stride,
        padding: if kernel_dilation > 1 {
            kernel_dilation
        } else {
            0
        },
        kernel_dilation,
        input_dilation: 1,
    };
    let near = ConvAxis {
        input: 4,
        kernel: 2,
        output: 3,
        stride: 1,
        padding: 0,
        kernel_dilation: 1,
        input_dilation: 1,
    };
    for axes in [[far, near], [near, far]] {
        let shape = Conv {
            batch: 1,
            axes: &axes,
            channels,
            outputs,
            groups: 1,
            flip: false,
        };
        check::<f32>(shape);
        check::<bf16>(shape);
    }
}

/// Lines that are cut into pieces, and windows that see a few lines each.
#[rstest]
#[case::depthwise(700, (3, 1, 1), (20, 20, 20))]
#[case::depthwise_strided(601, (4, 3, 2), (17, 17, 17))]
#[case::groups(500, (3, 2, 1), (12, 12, 3))]
#[case::few_channels(700, (5, 1, 2), (3, 33, 1))]
#[case::few_channels_strided(900, (7, 2, 3), (2, 32, 1))]
#[case::many_channels(300, (3, 1, 1), (40, 12, 1))]
#[case::many_channels_strided(301, (3, 2, 2), (32, 17, 1))]
fn long_lines(
    #[case] input: usize,
    #[case] (kernel, stride, padding): (usize, usize, usize),
    #[case] (channels, outputs, groups): (usize, usize, usize),
) {
    let axis = |input: usize, kernel: usize, padding: usize| ConvAxis {
        input,
        kernel,
        output: (input + 2 * padding - kernel) / stride + 1,
        stride,
        padding,
        kernel_dilation: 1,
        input_dilation: 1,
    };
    let long = axis(input, kernel, padding);
    for axes in [
        &[long][..],
        &[axis(5, 2, 1), long],
        &[axis(2, 2, 1), axis(3, 3, 1), long],
    ] {
        let shape = Conv {
            batch: 2,
            axes,
            channels,
            outputs,
            groups,
            flip: false,
        };
        check::<f32>(shape);
        check::<bf16>(shape);
    }
}

/// As a transposed convolution is one of the gradient with zeros between its elements.
#[rstest]
#[case::twice_as_large(7, (4, 2, 2), (20, 40, 1))]
#[case::smaller_kernel(6, (2, 3, 1), (5, 9, 1))]
#[case::larger_kernel(5, (5, 3, 4), (33, 16, 1))]
#[case::with_groups(6, (3, 2, 1), (34, 34, 2))]
#[case::depthwise(6, (3, 2, 1), (18, 18, 18))]
#[case::cut(6, (3, 2, 0), (4, 4, 1))]
fn transposed(
    #[case] input: usize,
    #[case] (kernel, input_dilation, padding): (usize, usize, usize),
    #[case] (channels, outputs, groups): (usize, usize, usize),
) {
    for (stride, kernel_dilation) in [(1, 1), (1, 2), (2, 1), (3, 2)] {
        let reach = (input - 1) * input_dilation + 2 * padding;
        let axis = ConvAxis {
            input,
            kernel,
            output: (reach - (kernel - 1) * kernel_dilation) / stride + 2,
            stride,
            padding,
            kernel_dilation,
            input_dilation,
        };
        let shape = Conv {
            batch: 2,
            axes: &[axis; 2],
            channels,
            outputs,
            groups,
            flip: true,
        };
        check::<f32>(shape);
        check::<bf16>(shape);
    }
}

#[test]
fn no_batch_is_no_output() {
    let axis = ConvAxis {
        input: 4,
        kernel: 3,
        output: 2,
        stride: 1,
        padding: 0,
        kernel_dilation: 1,
        input_dilation: 1,
    };
    for groups in [1, 2] {
        let shape = Conv {
            batch: 0,
            axes: &[axis; 2],
            channels: 2,
            outputs: 2,
            groups,
            flip: false,
        };
        check::<f32>(shape);
    }
}

#[rstest]
#[case(
    0,
    1,
    8,
    "conv: groups must be a divisor of both numbers of channels, got 0"
)]
#[case(1, 0, 8, "conv: stride must be at least 1, got 0")]
#[case(1, usize::MAX, 8, "conv: the number of elements must fit in memory")]
#[case(1, 1, 7, "conv: x must have 8 elements, got 7")]
fn refuses_sizes_that_do_not_fit(
    #[case] groups: usize,
    #[case] stride: usize,
    #[case] len: usize,
    #[case] text: &str,
) {
    let axis = ConvAxis {
        input: 4,
        kernel: 1,
        output: 4,
        stride,
        padding: 0,
        kernel_dilation: 1,
        input_dilation: 1,
    };
    let shape = Conv {
        batch: 1,
        axes: &[axis],
        channels: 2,
        outputs: 2,
        groups,
        flip: false,
    };
    let mut out = [0.0; 8];
    let error = conv(shape, &vec![0.0; len], &[0.0; 4], &mut out).unwrap_err();
    assert_eq!(error.to_string(), text);
}
