//! Convolutions with their bias by a kernel against MLX's own, with their gradients, groups and odd sizes among them.

#![allow(clippy::too_many_arguments)]

use mlx::{
    Array, CloseOptions, ConvOptions, ConvTransposeOptions, Dtype, Result, Shape, grad, vjp, vmap,
};
use mlx_nn::{Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d};
use rstest::rstest;

fn assert_near(got: &Array, want: &Array, tolerance: f64) -> Result<()> {
    assert_eq!(got.shape()?, want.shape()?);
    assert_eq!(got.dtype()?, want.dtype()?);
    let (got, want) = (got.astype(Dtype::Float32), want.astype(Dtype::Float32));
    let options = CloseOptions {
        rtol: tolerance,
        atol: tolerance,
        equal_nan: false,
    };
    assert!(
        got.allclose_with(&want, options).item::<bool>()?,
        "{got} {want}"
    );
    Ok(())
}

fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float32 => 1e-4,
        Dtype::Float16 => 2e-2,
        _ => 1e-1,
    }
}

/// Values, and gradients by the input, the weight and the bias, of two functions of the three.
fn compare(
    inputs: [&Array; 3],
    ours: impl Fn(&Array, &Array, &Array) -> Array + Copy,
    theirs: impl Fn(&Array, &Array, &Array) -> Array + Copy,
) -> Result<()> {
    let [x, weight, bias] = inputs;
    let tolerance = tolerance(x.dtype()?);
    let want = theirs(x, weight, bias);
    assert_near(&ours(x, weight, bias), &want, tolerance)?;
    let cotangent = mlx::random::normal(want.shape()?).astype(x.dtype()?);
    let (_, got) = vjp(ours, (x, weight, bias), &cotangent)?;
    let (_, want) = vjp(theirs, (x, weight, bias), &cotangent)?;
    assert_near(&got.0, &want.0, tolerance)?;
    assert_near(&got.1, &want.1, 4.0 * tolerance)?;
    assert_near(&got.2, &want.2, 4.0 * tolerance)
}

fn normal(shape: &[i32], dtype: Dtype) -> Array {
    (mlx::random::normal(shape.to_vec()) * 0.5).astype(dtype)
}

#[rstest]
#[case::dense(&[2, 7, 9, 5], 6, 3, 1, 1, 1, 1)]
#[case::strided(&[2, 11, 8, 16], 33, 3, 2, 1, 1, 1)]
#[case::point(&[2, 6, 5, 8], 24, 1, 1, 0, 1, 1)]
#[case::grouped(&[2, 9, 7, 12], 18, 3, 2, 2, 1, 3)]
#[case::dilated(&[1, 12, 11, 8], 8, 3, 1, 2, 2, 4)]
#[case::depthwise(&[2, 13, 10, 20], 20, 3, 1, 1, 1, 20)]
#[case::depthwise_strided(&[1, 14, 9, 32], 32, 5, 2, 2, 2, 32)]
#[case::multiplied(&[1, 8, 8, 4], 12, 3, 1, 1, 1, 4)]
fn over_two_axes(
    #[case] shape: &[i32],
    #[case] outputs: i32,
    #[case] kernel: i32,
    #[case] stride: i32,
    #[case] padding: i32,
    #[case] dilation: i32,
    #[case] groups: i32,
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
) -> Result<()> {
    mlx::random::seed(1);
    let x = normal(shape, dtype);
    let weight = normal(&[outputs, kernel, kernel, shape[3] / groups], dtype);
    let bias = normal(&[outputs], dtype);
    let layer = Conv2d::new(shape[3], outputs, kernel)
        .stride(stride)
        .padding(padding)
        .dilation(dilation);
    let layer = if groups > 1 {
        layer.groups(groups)
    } else {
        layer
    };
    let options = || ConvOptions {
        stride: stride.into(),
        padding: padding.into(),
        dilation: dilation.into(),
        groups,
    };
    let ours = |x: &Array, weight: &Array, bias: &Array| {
        let mut layer = layer.clone();
        (layer.weight, layer.bias) = (weight.clone(), Some(bias.clone()));
        layer.forward(x)
    };
    let theirs = |x: &Array, weight: &Array, bias: &Array| x.conv2d(weight, options()) + bias;
    compare([&x, &weight, &bias], ours, theirs)
}

#[rstest]
#[case(3, 1, 1, 1)]
#[case(2, 2, 0, 1)]
#[case(3, 2, 2, 2)]
fn over_three_axes(
    #[case] kernel: i32,
    #[case] stride: i32,
    #[case] padding: i32,
    #[case] dilation: i32,
) -> Result<()> {
    mlx::random::seed(2);
    let x = normal(&[2, 5, 7, 6, 3], Dtype::Float32);
    let weight = normal(&[4, kernel, kernel, kernel, 3], Dtype::Float32);
    let bias = normal(&[4], Dtype::Float32);
    let layer = Conv3d::new(3, 4, kernel)
        .stride(stride)
        .padding(padding)
        .dilation(dilation);
    let ours = |x: &Array, weight: &Array, bias: &Array| {
        let mut layer = layer.clone();
        (layer.weight, layer.bias) = (weight.clone(), Some(bias.clone()));
        layer.forward(x)
    };
    let options = || ConvOptions {
        stride: stride.into(),
        padding: padding.into(),
        dilation: dilation.into(),
        groups: 1,
    };
    let theirs = |x: &Array, weight: &Array, bias: &Array| x.conv3d(weight, options()) + bias;
    compare([&x, &weight, &bias], ours, theirs)
}

#[rstest]
#[case(4, 2, 1, 1, 0)]
#[case(3, 2, 1, 1, 1)]
#[case(3, 3, 0, 2, 2)]
#[case(2, 4, 0, 1, 0)]
#[case(1, 2, 0, 1, 0)]
#[case::padding_beyond_the_kernel(2, 3, 2, 1, 1)]
fn transposed(
    #[case] kernel: i32,
    #[case] stride: i32,
    #[case] padding: i32,
    #[case] dilation: i32,
    #[case] output_padding: i32,
    #[values(2, 3)] n_axes: usize,
) -> Result<()> {
    mlx::random::seed(3);
    let (mut shape, mut of_weight) = (vec![2], vec![6]);
    shape.extend(&[5, 4, 3][..n_axes]);
    of_weight.extend(vec![kernel; n_axes]);
    shape.push(7);
    of_weight.push(7);
    let (x, weight) = (
        normal(&shape, Dtype::Float32),
        normal(&of_weight, Dtype::Float32),
    );
    let bias = normal(&[6], Dtype::Float32);
    let options = || ConvTransposeOptions {
        stride: stride.into(),
        padding: padding.into(),
        dilation: dilation.into(),
        output_padding: output_padding.into(),
        groups: 1,
    };
    macro_rules! layer {
        ($layer:ident) => {{
            let layer = $layer::new(7, 6, Shape::from(vec![kernel; n_axes]))
                .stride(stride)
                .padding(padding)
                .dilation(dilation)
                .output_padding(output_padding);
            move |x: &Array, weight: &Array, bias: &Array| {
                let mut layer = layer.clone();
                (layer.weight, layer.bias) = (weight.clone(), Some(bias.clone()));
                layer.forward(x)
            }
        }};
    }
    let inputs = [&x, &weight, &bias];
    if n_axes == 2 {
        let ours = layer!(ConvTranspose2d);
        compare(inputs, &ours, |x, w, b| {
            x.conv_transpose2d(w, options()) + b
        })
    } else {
        let ours = layer!(ConvTranspose3d);
        compare(inputs, &ours, |x, w, b| {
            x.conv_transpose3d(w, options()) + b
        })
    }
}

#[test]
fn batched_by_vmap_differentiated_twice_and_compiled() -> Result<()> {
    mlx::random::seed(4);
    let layer = Conv2d::new(4, 8, 3).padding(1).groups(4).bias(true);
    let x = mlx::random::normal([3, 2, 6, 5, 4]);
    let want: Vec<Array> = (0..3).map(|at| layer.forward(&x.index(at))).collect();
    let forward = layer.clone();
    let got = vmap(move |x: &Array| forward.forward(x)).call(&x)?;
    assert_near(&got, &mlx::stack(&want, 0), 1e-5)?;

    let x = x.index(0);
    let own = x.clone();
    // The squared gradient by the weight of a sum of squares, by the weight.
    let length = move |weight: &Array, by: fn(&Conv2d, &Array, &Array) -> Array| {
        let (layer, x) = (layer.clone(), own.clone());
        let inner = move |weight: &Array| by(&layer, &x, weight).square().sum(());
        grad(inner)
            .call(weight)
            .map(|gradient| gradient.square().sum(()))
    };
    fn ours(layer: &Conv2d, x: &Array, weight: &Array) -> Array {
        let mut layer = layer.clone();
        layer.weight = weight.clone();
        layer.forward(x)
    }
    fn theirs(layer: &Conv2d, x: &Array, weight: &Array) -> Array {
        let options = ConvOptions {
            padding: 1.into(),
            groups: 4,
            ..Default::default()
        };
        let y = x.conv2d(weight, options);
        layer.bias.as_ref().map_or(y.clone(), |bias| y + bias)
    }
    let weight = mlx::random::normal([8, 3, 3, 1]) * 0.3;
    let (a, b) = (length.clone(), length.clone());
    let got = grad(move |weight: &Array| a(weight, ours)).call(&weight)?;
    let want = grad(move |weight: &Array| b(weight, theirs)).call(&weight)?;
    let scale = want.abs().max(()).item::<f32>()?;
    assert_near(&(got / scale), &(want / scale), 1e-4)?;
    let compiled = mlx_compiler::jit(move |weight: &Array| length(weight, ours));
    assert!(compiled.call(&weight)?.item::<f32>()?.is_finite());
    Ok(())
}
