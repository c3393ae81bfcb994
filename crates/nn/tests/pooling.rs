//! Pooling by kernels against MLX's own maximum and mean of windows, as Python MLX writes them, gradients with ties among
//! them.

use mlx::{Array, CloseOptions, Dtype, PadMode, Result, custom_vjp, grad, vjp, vmap};
use mlx_nn::{AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d};
use mlx_testdata::needs;
use rstest::rstest;

/// `mlx.nn`'s pooling: a view of windows of the padded array, and its maximum.
fn of_windows(x: &Array, kernel: i32, stride: i32, padding: i32) -> Result<Array> {
    let (elements, axes) = windows(x, kernel, stride, padding, f32::NEG_INFINITY)?;
    Ok(elements.max(axes))
}

/// The same with the mean.
fn mean_of_windows(x: &Array, kernel: i32, stride: i32, padding: i32) -> Result<Array> {
    let (elements, axes) = windows(x, kernel, stride, padding, 0.0)?;
    Ok(elements.mean(axes))
}

/// A view of windows of the padded array, and the axes of their elements.
fn windows(
    x: &Array,
    kernel: i32,
    stride: i32,
    padding: i32,
    outside: f32,
) -> Result<(Array, Vec<i32>)> {
    let ndim = x.ndim()?;
    let mut widths = vec![(padding, padding); ndim];
    (widths[0], widths[ndim - 1]) = ((0, 0), (0, 0));
    let padded = x.pad_with(widths, PadMode::Constant, outside);
    let shape = padded.shape()?;
    let mut steps = vec![1_i64; ndim];
    for axis in (1..ndim).rev() {
        steps[axis - 1] = steps[axis] * i64::from(shape[axis]);
    }
    let space = 1..ndim - 1;
    let (mut sizes, mut strides) = (vec![shape[0]], vec![steps[0]]);
    for axis in space.clone() {
        sizes.push((shape[axis] - kernel) / stride + 1);
        strides.push(steps[axis] * i64::from(stride));
    }
    for axis in space {
        sizes.push(kernel);
        strides.push(steps[axis]);
    }
    sizes.push(shape[ndim - 1]);
    strides.push(1);
    let n_axes = i32::try_from(ndim - 2).expect("few axes");
    let axes: Vec<i32> = (1 + n_axes..1 + 2 * n_axes).collect();
    Ok((padded.as_strided(sizes, strides, 0), axes))
}

fn pool(x: &Array, kernel: i32, stride: i32, padding: i32) -> Array {
    match x.ndim() {
        Ok(3) => MaxPool1d::new(kernel)
            .stride(stride)
            .padding(padding)
            .forward(x),
        Ok(4) => MaxPool2d::new(kernel)
            .stride(stride)
            .padding(padding)
            .forward(x),
        _ => MaxPool3d::new(kernel)
            .stride(stride)
            .padding(padding)
            .forward(x),
    }
}

fn mean(x: &Array, kernel: i32, stride: i32, padding: i32) -> Array {
    match x.ndim() {
        Ok(3) => AvgPool1d::new(kernel)
            .stride(stride)
            .padding(padding)
            .forward(x),
        Ok(4) => AvgPool2d::new(kernel)
            .stride(stride)
            .padding(padding)
            .forward(x),
        _ => AvgPool3d::new(kernel)
            .stride(stride)
            .padding(padding)
            .forward(x),
    }
}

/// Whole numbers of few values, so that there are ties.
fn ties(shape: &[i32], seed: u64) -> Result<Array> {
    mlx::random::seed(seed);
    Ok(mlx::random::randint(0, 5, shape.to_vec()).astype(Dtype::Float32))
}

fn assert_near(got: &Array, want: &Array, tolerance: f64) -> Result<()> {
    assert_eq!(got.shape()?, want.shape()?);
    assert_eq!(got.dtype()?, want.dtype()?);
    let (got, want) = (got.astype(Dtype::Float32), want.astype(Dtype::Float32));
    let is_near = got.allclose_with(
        &want,
        CloseOptions {
            rtol: tolerance,
            atol: tolerance,
            equal_nan: true,
        },
    );
    assert!(is_near.item::<bool>()?, "{got} {want}");
    Ok(())
}

#[rstest]
#[case(&[2, 33, 5], 3, 2, 1)]
#[case(&[2, 33, 64], 2, 2, 0)]
#[case(&[2, 9, 10, 3], 3, 2, 1)]
#[case(&[2, 9, 10, 17], 3, 1, 1)]
#[case(&[1, 11, 8, 16], 2, 3, 1)]
#[case(&[2, 5, 6, 7, 3], 3, 2, 1)]
#[case(&[1, 4, 4, 5, 33], 2, 2, 0)]
#[case(&[1, 12, 12, 2], 10, 1, 5)]
fn values_and_gradients_are_mlx_s(
    #[case] shape: &[i32],
    #[case] kernel: i32,
    #[case] stride: i32,
    #[case] padding: i32,
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
) -> Result<()> {
    let x = ties(shape, 1)?.astype(dtype);
    let want = of_windows(&x, kernel, stride, padding)?;
    assert_near(&pool(&x, kernel, stride, padding), &want, 0.0)?;
    let cotangent = ties(&want.shape()?, 2)?;
    // MLX adds gradients of half precision in half precision: the reference is in `float32`.
    let wide = x.astype(Dtype::Float32);
    let (_, want) = vjp(
        |x: &Array| of_windows(x, kernel, stride, padding),
        &wide,
        &cotangent,
    )?;
    let (_, got) = vjp(
        |x: &Array| pool(x, kernel, stride, padding),
        &x,
        &cotangent.astype(dtype),
    )?;
    let tolerance = match dtype {
        Dtype::Float32 => 1e-6,
        Dtype::Float16 => 2e-3,
        _ => 2e-2,
    };
    assert_near(&got, &want.astype(dtype), tolerance)?;
    let (means, want) = vjp(
        |x: &Array| mean_of_windows(x, kernel, stride, padding),
        &wide,
        &cotangent,
    )?;
    let (got_means, got) = vjp(
        |x: &Array| mean(x, kernel, stride, padding),
        &x,
        &cotangent.astype(dtype),
    )?;
    assert_near(
        &mean(&x, kernel, stride, padding),
        &means.astype(dtype),
        tolerance,
    )?;
    assert_near(&got_means, &means.astype(dtype), tolerance)?;
    assert_near(&got, &want.astype(dtype), tolerance)
}

#[test]
fn views_integers_and_double_are_pooled_too() -> Result<()> {
    let x = ties(&[2, 6, 9, 8], 3)?;
    let view = x.transpose([0, 2, 1, 3]);
    assert_near(&pool(&view, 3, 2, 1), &of_windows(&view, 3, 2, 1)?, 0.0)?;
    for dtype in [Dtype::Int32, Dtype::Float64] {
        needs!(Float64 if dtype, Ok(()));
        let x = x.astype(dtype);
        assert_near(&pool(&x, 2, 2, 0), &of_windows(&x, 2, 2, 0)?, 0.0)?;
    }
    Ok(())
}

#[test]
fn batched_by_vmap_and_differentiated_twice() -> Result<()> {
    let x = ties(&[3, 2, 7, 6, 4], 4)?;
    let want: Vec<Array> = (0..3)
        .map(|at| of_windows(&x.index(at), 3, 2, 1))
        .collect::<Result<_>>()?;
    let got = vmap(|x: &Array| pool(x, 3, 2, 1)).call(&x)?;
    assert_near(&got, &mlx::stack(&want, 0), 0.0)?;

    // The gradient of the squared length of the gradient of a sum of squares.
    fn length(x: &Array, pool: fn(&Array) -> Result<Array>) -> Result<Array> {
        let gradient = grad(move |x: &Array| pool(x).map(|y| (&y * &y).sum(()))).call(x)?;
        Ok((&gradient * &gradient).sum(()))
    }
    let want: Vec<Array> = (0..3)
        .map(|at| mean_of_windows(&x.index(at), 3, 2, 1))
        .collect::<Result<_>>()?;
    let got = vmap(|x: &Array| mean(x, 3, 2, 1)).call(&x)?;
    assert_near(&got, &mlx::stack(&want, 0), 1e-6)?;
    let x = ties(&[2, 7, 6, 4], 5)?;
    let ours = grad(|x: &Array| length(x, |x| Ok(mean(x, 3, 2, 1)))).call(&x)?;
    let theirs = grad(|x: &Array| length(x, |x| mean_of_windows(x, 3, 2, 1))).call(&x)?;
    assert_near(&ours, &theirs, 1e-5)?;
    let ours = grad(|x: &Array| length(x, |x| Ok(pool(x, 3, 2, 1)))).call(&x)?;
    let theirs = grad(|x: &Array| length(x, |x| of_windows(x, 3, 2, 1))).call(&x)?;
    assert_near(&ours, &theirs, 1e-5)
}

#[test]
fn gradients_inside_of_a_rule_and_of_a_compiled_function() -> Result<()> {
    let x = ties(&[2, 8, 8, 4], 6)?;
    let want = grad(|x: &Array| of_windows(x, 3, 2, 1).map(|y| (&y * &y).sum(()))).call(&x)?;
    let loss = |x: &Array| {
        let y = pool(x, 3, 2, 1);
        (&y * &y).sum(())
    };
    let compiled = mlx_compiler::jit(move |x: &Array| grad(loss).call(x));
    assert_near(&compiled.call(&x)?, &want, 1e-6)?;
    let doubled = custom_vjp(
        move |x: &Array| loss(x),
        move |x: &Array, cotangent: &Array, _: &Array| {
            grad(loss)
                .call(x)
                .map(|gradient| gradient * cotangent * 2.0)
        },
    );
    let got = grad(move |x: &Array| doubled.call(x)).call(&x)?;
    assert_near(&got, &(want * 2.0), 1e-6)
}
