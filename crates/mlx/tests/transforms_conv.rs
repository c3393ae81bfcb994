//! Gradients of convolutions against differences, which are exact because a convolution is linear in each input.

use mlx::{Array, ConvGeneralOptions, ConvTransposeOptions, Result, grad};
use rstest::rstest;

fn numbers(shape: &[i32]) -> Array {
    let n = shape.iter().product::<i32>();
    let numbers: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
    Array::from_slice(&numbers, shape).unwrap()
}

/// The sum of the results, each with a weight of its own.
fn weighted(y: &Array) -> Result<Array> {
    let shape = y.shape()?;
    Ok((y * numbers(&shape)).sum(()))
}

/// Checks the gradients with respect to both inputs.
#[track_caller]
fn check(shapes: [&[i32]; 2], convolve: impl Fn(&Array, &Array) -> Array + Clone + 'static) {
    let inputs = shapes.map(numbers);
    for which in 0..2 {
        let (all, convolve) = (inputs.clone(), convolve.clone());
        let loss = move |moved: &Array| {
            let mut inputs = all.clone();
            inputs[which] = moved.clone();
            weighted(&convolve(&inputs[0], &inputs[1]))
        };
        let values = inputs[which].to_vec::<f32>().unwrap();
        let slope = |i: usize| {
            let at = |step: f32| {
                let mut values = values.clone();
                values[i] += step;
                let moved = Array::from_slice(&values, shapes[which]).unwrap();
                loss(&moved).unwrap().item::<f32>().unwrap()
            };
            at(0.5) - at(-0.5)
        };
        let want: Vec<f32> = (0..values.len()).map(slope).collect();
        let got = grad(loss.clone()).call(&inputs[which]).unwrap();
        assert_eq!(got.shape().unwrap(), shapes[which], "input {which}");
        for (got, want) in got.to_vec::<f32>().unwrap().iter().zip(&want) {
            assert!(
                (got - want).abs() < 1e-3,
                "input {which}: wanted {want}, got {got}"
            );
        }
    }
}

#[rstest]
#[case::none(0, 0, 1, 1, 1)]
#[case::before_only(1, 0, 1, 1, 1)]
#[case::behind_only(0, 2, 2, 1, 1)]
#[case::beyond_the_kernel(3, 3, 1, 1, 1)]
#[case::beyond_the_kernel_and_uneven(4, 1, 2, 1, 1)]
#[case::negative(-1, -1, 2, 1, 1)]
#[case::negative_and_positive(-1, 2, 1, 1, 1)]
#[case::negative_with_dilated_kernel(-2, -1, 1, 2, 1)]
#[case::dilated_input(1, 0, 2, 1, 3)]
#[case::both_dilated_beyond_the_kernel(5, 5, 1, 2, 2)]
#[case::negative_with_dilated_input(-1, 3, 1, 1, 2)]
fn gradients_of_padded_convolutions_have_the_shape_of_their_input(
    #[case] low: i32,
    #[case] high: i32,
    #[case] stride: i32,
    #[case] kernel_dilation: i32,
    #[case] input_dilation: i32,
    #[values(false, true)] flip: bool,
    #[values(1, 2)] groups: i32,
) {
    check([&[1, 9, 2], &[2, 3, 2 / groups]], move |x, w| {
        let options = ConvGeneralOptions {
            stride: stride.into(),
            padding_low: low.into(),
            padding_high: high.into(),
            kernel_dilation: kernel_dilation.into(),
            input_dilation: input_dilation.into(),
            groups,
            flip,
        };
        x.conv_general(w, options)
    });
}

#[test]
fn gradients_of_planes_and_of_transposed_convolutions_are_right() {
    check([&[2, 5, 4, 1], &[2, 3, 2, 1]], |x, w| {
        let options = ConvGeneralOptions {
            stride: [2, 1].into(),
            padding_low: [0, 3].into(),
            padding_high: [-1, 1].into(),
            input_dilation: [1, 2].into(),
            ..ConvGeneralOptions::default()
        };
        x.conv_general(w, options)
    });
    check([&[1, 4, 2], &[3, 3, 2]], |x, w| {
        let options = ConvTransposeOptions {
            stride: 2.into(),
            padding: 1.into(),
            output_padding: 1.into(),
            ..ConvTransposeOptions::default()
        };
        x.conv_transpose1d(w, options)
    });
}
