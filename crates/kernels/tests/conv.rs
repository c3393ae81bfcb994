//! Convolution against its formula in `f64`, over strides, paddings, dilations and groups.

mod reference;

use mlx_kernels::{Conv1d, conv1d};
use reference::random;
use rstest::rstest;

/// The sum, and the sum of magnitudes, of each output.
fn exact(shape: Conv1d, x: &[f32], weight: &[f32]) -> Vec<(f64, f64)> {
    let out_length = shape.out_length().unwrap();
    let (c, o) = (shape.channels / shape.groups, shape.outputs / shape.groups);
    let mut out = Vec::new();
    for n in 0..shape.batch {
        for t in 0..out_length {
            for output in 0..shape.outputs {
                let (mut sum, mut magnitude) = (0.0, 0.0);
                for k in 0..shape.kernel_size {
                    let place = (t * shape.stride + k * shape.dilation) as isize;
                    let place = place - shape.padding as isize;
                    if place < 0 || place >= shape.length as isize {
                        continue;
                    }
                    for channel in 0..c {
                        let at = (n * shape.length + place as usize) * shape.channels;
                        let x = f64::from(x[at + output / o * c + channel]);
                        let weight =
                            f64::from(weight[(output * shape.kernel_size + k) * c + channel]);
                        sum += x * weight;
                        magnitude += (x * weight).abs();
                    }
                }
                out.push((sum, magnitude));
            }
        }
    }
    out
}

#[rstest]
fn follows_the_formula(
    #[values((1, 1, 1, 1), (1, 30, 8, 40), (2, 67, 12, 6), (3, 9, 4, 100))]
    (batch, length, channels, outputs): (usize, usize, usize, usize),
    #[values((1, 0), (3, 2), (4, 5))] (kernel_size, padding): (usize, usize),
    #[values(1, 2, 5)] stride: usize,
    #[values(1, 2)] dilation: usize,
    #[values(1, 2)] groups: usize,
) {
    let shape = Conv1d {
        batch,
        length,
        channels,
        outputs,
        kernel_size,
        stride,
        padding,
        dilation,
        groups: if channels == 1 { 1 } else { groups },
    };
    let x = random(batch * length * channels, 1);
    let weight = random(outputs * kernel_size * channels / shape.groups, 2);
    let wanted = exact(shape, &x, &weight);
    let mut out = vec![7.0; wanted.len()];
    conv1d(shape, &x, &weight, &mut out).unwrap();
    let bound = (kernel_size * channels) as f64 / 16_777_216.0;
    for (i, (got, (sum, magnitude))) in out.iter().zip(wanted).enumerate() {
        let error = (f64::from(*got) - sum).abs();
        assert!(
            error <= bound * magnitude,
            "element {i}: {got}, wanted {sum}"
        );
    }
}

const SHAPE: Conv1d = Conv1d {
    batch: 1,
    length: 4,
    channels: 4,
    outputs: 6,
    kernel_size: 3,
    stride: 1,
    padding: 0,
    dilation: 1,
    groups: 1,
};

#[rstest]
#[case(Conv1d { stride: 0, ..SHAPE }, "conv1d: stride must be at least 1, got 0")]
#[case(Conv1d { groups: 4, ..SHAPE }, "conv1d: groups must be a divisor of both numbers of channels, got 4")]
#[case(Conv1d { dilation: 2, ..SHAPE }, "conv1d: the padded length must be at least that of a window, got 4")]
#[case(Conv1d { padding: usize::MAX, ..SHAPE }, "conv1d: the number of elements must fit in memory")]
#[case(Conv1d { padding: 1 << 62, ..SHAPE }, "conv1d: the number of elements must fit in memory")]
#[case(SHAPE, "conv1d: x must have 16 elements, got 3")]
fn refuses_sizes_that_do_not_fit(#[case] shape: Conv1d, #[case] text: &str) {
    let x = if shape.padding > 0 {
        vec![0.0; 16]
    } else {
        vec![0.0; 3]
    };
    let error = conv1d(shape, &x, &[0.0; 72], &mut []).unwrap_err();
    assert_eq!(error.to_string(), text);
}

#[test]
fn no_channels_give_zeros() {
    let shape = Conv1d {
        channels: 0,
        ..SHAPE
    };
    let mut out = [7.0; 12];
    conv1d(shape, &[], &[], &mut out).unwrap();
    assert_eq!(out, [0.0; 12]);
}
