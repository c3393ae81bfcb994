//! Unreasonable sizes are errors of the arrays, never a panic in the constructor of a layer.

use mlx::Array;
use mlx_nn::{
    Conv1d, Conv2d, Embedding, Fan, Init, LayerNorm, Linear, MultiHeadAttention, RmsNorm,
};
use rstest::rstest;

/// Asks for all that can be known without computing: a shape, or an error.
fn look(arrays: &[&Array]) {
    for array in arrays {
        let _ = array.shape();
        let _ = array.dtype();
    }
}

#[rstest]
fn layers_of_extreme_sizes(
    #[values(i32::MAX, i32::MIN, -1, 0, 46_341)] a: i32,
    #[values(i32::MAX, i32::MIN, 1)] b: i32,
    #[values(false, true)] is_random: bool,
) {
    let mut init = if is_random {
        Init::seed(0)
    } else {
        Init::zeros()
    };
    let x = mlx::ones([1, 2, 3, 4]);
    let conv = Conv1d::with_init(a, b, a, true, &mut init);
    look(&[&conv.weight, &conv.forward(&x.flatten(0, 1))]);
    let conv = Conv2d::with_init(a, b, [a, b], true, &mut init);
    look(&[&conv.weight, &conv.forward(&x)]);
    let linear = Linear::with_init(a, b, true, &mut init);
    look(&[&linear.weight, &linear.forward(&x)]);
    let table = Embedding::with_init(a, b, &mut init);
    look(&[&table.weight, &table.as_linear(&x)]);
    look(&[&LayerNorm::new(a).eps(1e-5).forward(&x)]);
    look(&[&RmsNorm::new(a).eps(1e-5).forward(&x)]);
    let attention = MultiHeadAttention::with_init(a, b, true, &mut init);
    look(&[&attention.forward(&x, &x, &x, &mlx::fast::AttentionMask::none())]);
    look(&[
        &init.glorot_uniform(&[a, b, a], 1.0),
        &init.glorot_normal(&[a, b], f32::NAN),
        &init.he_uniform(&[b, a], Fan::In, 1.0),
        &init.he_normal(&[a, a, b], Fan::Out, 1.0),
        &init.glorot_normal(&[a], 1.0),
    ]);
}

#[test]
fn a_convolution_of_many_channels_draws_by_their_number() {
    // 46341 * 46341 is more than an i32 holds: the scale is 1 / 46341, not 1.
    let conv = Conv1d::with_init(46_341, 1, 46_341, false, &mut Init::zeros());
    assert_eq!(conv.weight.shape().unwrap(), [1, 46_341, 46_341]);
    // 1 / sqrt(4096 * 4096 / 4) = 1 / 2048 bounds values of 1024 channels and 4096 steps.
    let conv = Conv1d::with_init(1024, 1, 4096, false, &mut Init::seed(3));
    let most = conv.weight.abs().max(()).item::<f32>().unwrap();
    assert!(most <= 1.0 / 2048.0 && most > 0.9 / 2048.0, "{most}");
}
