//! Interpolation by a kernel: gradients against its matrices, `vmap`, second derivatives and compiled functions.

use mlx::{Array, CloseOptions, Dtype, Result, grad, vjp, vmap};
use mlx_nn::{Upsample, UpsampleMode};
use rstest::rstest;

fn assert_near(got: &Array, want: &Array, tolerance: f64) -> Result<()> {
    assert_eq!(got.shape()?, want.shape()?);
    let is_near = got.allclose_with(
        want,
        CloseOptions {
            rtol: tolerance,
            atol: tolerance,
            equal_nan: false,
        },
    );
    assert!(is_near.item::<bool>()?, "{got} {want}");
    Ok(())
}

/// The matrix `[places, elements]` of an interpolation along one axis.
fn matrix(layer: &Upsample, size: i32) -> Result<Array> {
    let unit = mlx::eye(size).reshape([size, size, 1]);
    Ok(layer.forward(&unit).squeeze(-1).t())
}

#[rstest]
#[case(UpsampleMode::Linear, 2.0, false, false)]
#[case(UpsampleMode::Linear, 2.5, true, false)]
#[case(UpsampleMode::Linear, 0.4, false, true)]
#[case(UpsampleMode::Cubic, 1.7, false, false)]
#[case(UpsampleMode::Cubic, 3.0, true, false)]
#[case(UpsampleMode::Cubic, 0.5, false, true)]
fn axes_are_matrices_and_gradients_their_transposes(
    #[case] mode: UpsampleMode,
    #[case] factor: f64,
    #[case] align_corners: bool,
    #[case] antialias: bool,
) -> Result<()> {
    mlx::random::seed(1);
    let layer = Upsample::new(factor)
        .mode(mode)
        .align_corners(align_corners)
        .antialias(antialias);
    let x = mlx::random::normal([2, 6, 9, 5]);
    let (rows, columns) = (matrix(&layer, 6)?, matrix(&layer, 9)?);
    let want = mlx::einsum("hi,wj,nijc->nhwc", &[&rows, &columns, &x]);
    assert_near(&layer.forward(&x), &want, 1e-5)?;
    let cotangent = mlx::random::normal(want.shape()?);
    let (_, got) = vjp(|x: &Array| layer.forward(x), &x, &cotangent)?;
    let want = mlx::einsum("hi,wj,nhwc->nijc", &[&rows, &columns, &cotangent]);
    assert_near(&got, &want, 1e-5)
}

#[test]
fn three_axes_half_precision_and_views() -> Result<()> {
    mlx::random::seed(2);
    let layer = Upsample::new([2.0, 1.5, 3.0]).mode(UpsampleMode::Linear);
    let x = mlx::random::normal([2, 3, 4, 5, 7]);
    let along = |factor: f64, size| matrix(&Upsample::new(factor).mode(UpsampleMode::Linear), size);
    let (a, b, c) = (along(2.0, 3)?, along(1.5, 4)?, along(3.0, 5)?);
    let want = mlx::einsum("ai,bj,ck,nijkm->nabcm", &[&a, &b, &c, &x]);
    assert_near(&layer.forward(&x), &want, 1e-5)?;
    let half = x.astype(Dtype::Bfloat16);
    let got = layer.forward(&half);
    assert_eq!(got.dtype()?, Dtype::Float32);
    assert_near(&got, &layer.forward(&half.astype(Dtype::Float32)), 0.0)?;
    let view = x.transpose([0, 3, 1, 2, 4]);
    let copy = view.contiguous();
    assert_near(&layer.forward(&view), &layer.forward(&copy), 0.0)
}

#[test]
fn batched_by_vmap_differentiated_twice_and_compiled() -> Result<()> {
    mlx::random::seed(3);
    let x = mlx::random::normal([3, 2, 4, 5, 2]);
    let forward = |x: &Array| Upsample::new(2).mode(UpsampleMode::Cubic).forward(x);
    let want: Vec<Array> = (0..3).map(|at| forward(&x.index(at))).collect();
    assert_near(&vmap(forward).call(&x)?, &mlx::stack(&want, 0), 1e-6)?;

    // d/dx of |J^T y|^2 with y = J x, beside J = the layer itself, which is linear: 2 J^T J J^T J x.
    let x = x.index(0);
    let pulled = move |y: &Array| vjp(forward, &mlx::zeros([2, 4, 5, 2]), y).map(|(_, x)| x);
    let length = move |x: &Array| {
        let gradient = grad(move |x: &Array| {
            let y = forward(x);
            (&y * &y).sum(()) * 0.5
        })
        .call(x)?;
        Result::Ok((&gradient * &gradient).sum(()))
    };
    let got = grad(length).call(&x)?;
    let normal = |x: &Array| pulled(&forward(x));
    let want = normal(&normal(&x)?)? * 2.0;
    assert_near(&got, &want, 1e-4)?;

    let squares = move |x: &Array| {
        let y = forward(x);
        (&y * &y).sum(())
    };
    let compiled = mlx_compiler::jit(move |x: &Array| grad(squares).call(x));
    assert_near(&compiled.call(&x)?, &grad(squares).call(&x)?, 1e-5)
}
