//! Transforms of many operations, compared with one another: vmap with a loop, products from one side with those from
//! the other.

use mlx::{Array, Dtype, Result, array, fast, iota, jvp, keepdims, vjp, vmap};

type One = fn(&Array) -> Array;

/// Operations on a `float32[3, 4]` of values between 0.1 and 0.9.
const OPERATIONS: &[(&str, One)] = &[
    ("abs", |x| x.abs()),
    ("arccos", |x| x.arccos()),
    ("arctan", |x| x.arctan()),
    ("ceil", |x| x.ceil()),
    ("cos", |x| x.cos()),
    ("cosh", |x| x.cosh()),
    ("erf", |x| x.erf()),
    ("exp", |x| x.exp()),
    ("expm1", |x| x.expm1()),
    ("log", |x| x.log()),
    ("log1p", |x| x.log1p()),
    ("negative", |x| -x),
    ("reciprocal", |x| x.reciprocal()),
    ("rsqrt", |x| x.rsqrt()),
    ("sigmoid", |x| x.sigmoid()),
    ("sin", |x| x.sin()),
    ("sqrt", |x| x.sqrt()),
    ("square", |x| x.square()),
    ("tan", |x| x.tan()),
    ("tanh", |x| x.tanh()),
    ("add", |x| x + x.square()),
    ("divide", |x| x / (x + 1.0)),
    ("maximum", |x| x.maximum(0.5)),
    ("minimum", |x| x.minimum(x.square() * 2.0)),
    ("multiply", |x| x * x),
    ("power", |x| x.power(x)),
    ("subtract", |x| 1.0 - x),
    ("logaddexp", |x| x.logaddexp(x.square())),
    ("sum", |x| x.sum(-1)),
    ("sum of all", |x| x.sum(())),
    ("mean", |x| x.mean(keepdims(0))),
    ("max", |x| x.max(-1)),
    ("min", |x| x.min(0)),
    ("prod", |x| x.prod(-1)),
    ("logsumexp", |x| x.logsumexp(-1)),
    ("softmax", |x| x.softmax(-1)),
    ("var", |x| x.var(-1)),
    ("cumsum", |x| x.cumsum(-1)),
    ("sort", |x| x.sort(-1)),
    ("reshape", |x| x.reshape([2, 6])),
    ("transpose", |x| x.transpose(())),
    ("flatten", |x| x.flatten(0, -1)),
    ("expand_dims", |x| x.expand_dims(1)),
    ("broadcast_to", |x| x.broadcast_to([2, 3, 4])),
    ("slice", |x| x.i((1.., ..2))),
    ("update", |x| x.at(1).set(x.i(0))),
    ("scatter", |x| x.at(&array!([0, 2])).add(1.5)),
    ("take", |x| x.take(&array!([2, 0]), 1)),
    ("concatenate", |x| mlx::concatenate([x, &x.square()], 1)),
    ("stack", |x| mlx::stack([x, &x.exp()], 0)),
    ("addmm to a matrix", |x| {
        mlx::addmm(x, mlx::ones([3, 2]), mlx::ones([2, 4]))
    }),
    ("addmm to a row", |x| {
        mlx::addmm(x.i(0), mlx::ones([3, 2]), mlx::ones([2, 4]))
    }),
    ("addmm of a matrix", |x| {
        mlx::addmm(mlx::ones([2]), x, mlx::ones([4, 2]))
    }),
    ("where", |x| mlx::where_(&x.greater(0.5), x, x.square())),
    ("matmul", |x| x.matmul(&x.transpose(()))),
    ("rms_norm", |x| fast::rms_norm(x, None, 1e-3)),
    ("layer_norm", |x| fast::layer_norm(x, None, None, 1e-3)),
    ("take rows", |x| x.take(&array!([2, 0]), 0)),
    ("take after take", |x| {
        x.take(&array!([2, 0]), 1).take(&array!([1, 0, 1]), 0)
    }),
    ("take_along_axis", |x| {
        x.take_along_axis(&array!([[2, 0, 1, 1]]), 0)
    }),
    ("scatter after take", |x| {
        x.take(&array!([2, 0, 1]), 1)
            .at(&array!([0, 2]))
            .add(x.i((..2, ..3)))
    }),
    ("scatter of a transpose", |x| {
        x.transpose(()).at((.., &array!([0, 2]))).add(2.0)
    }),
    ("tril", |x| x.tril()),
    ("roll", |x| x.roll(1, 1)),
    ("astype", |x| {
        x.astype(Dtype::Float16).astype(Dtype::Float32)
    }),
    ("stop_gradient", |x| x * x.stop_gradient()),
];

/// Values between 0.1 and 0.9 that differ from one another.
fn values(shape: &[i32], seed: f32) -> Array {
    let size = shape.iter().product::<i32>();
    ((iota(size) * 0.618 + seed).sin() * 0.4 + 0.5).reshape(shape)
}

#[track_caller]
fn close(name: &str, got: &Array, want: &Array) {
    assert_eq!(got.shape().unwrap(), want.shape().unwrap(), "{name}");
    let worst = (got - want).abs().max(()).item::<f32>().unwrap();
    let tolerance = 1e-5 * mlx_testdata::slack!();
    assert!(f64::from(worst) < tolerance, "{name}: {worst}");
}

#[test]
fn vmap_is_a_loop_along_any_axis() -> Result<()> {
    let x = values(&[2, 3, 4], 0.3);
    let mut refused = Vec::new();
    for (name, function) in OPERATIONS {
        let each: Vec<Array> = (0..2).map(|k| function(&x.i(k))).collect();
        let want = mlx::stack(&each, 0);
        for axis in [0, 1, -1] {
            let moved = x.moveaxis(0, axis);
            let kept = vmap(mlx::checkpoint(*function)).in_axes([Some(axis)]);
            close(name, &kept.call(&moved)?, &want);
            match vmap(function).in_axes([Some(axis)]).call(&moved) {
                Ok(got) => close(name, &got, &want),
                Err(error) => refused.push(format!("{name} {axis}: {error}")),
            }
        }
        let last = vmap(function).out_axes(-1).call(&x);
        if let Ok(got) = last {
            close(name, &got.moveaxis(-1, 0), &want);
        }
    }
    assert_eq!(refused, Vec::<String>::new());
    Ok(())
}

#[test]
fn products_with_the_jacobian_agree_from_both_sides() -> Result<()> {
    let (x, tangent) = (values(&[3, 4], 0.3), values(&[3, 4], 1.7));
    let mut refused = Vec::new();
    for (name, function) in OPERATIONS {
        let shape = function(&x).shape()?;
        let cotangent = values(&shape, 2.9);
        let forward = jvp(function, &x, &tangent);
        let backward = vjp(function, &x, &cotangent);
        match (forward, backward) {
            (Ok((_, forward)), Ok((_, backward))) => {
                let (a, b) = (
                    (forward * &cotangent).sum(()),
                    (backward * &tangent).sum(()),
                );
                let (a, b) = (a.item::<f32>()?, b.item::<f32>()?);
                assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{name}: {a} {b}");
            }
            (forward, backward) => {
                let error = forward.err().or(backward.err());
                let text = error.unwrap().to_string();
                assert!(text.contains("JVP not yet implemented"), "{name}: {text}");
                refused.push(*name);
            }
        }
    }
    // What MLX has no forward mode for.
    let scatters = ["scatter", "scatter after take", "scatter of a transpose"];
    assert_eq!(refused, scatters);
    Ok(())
}

#[test]
fn gradients_of_a_vmap_are_those_of_a_loop() -> Result<()> {
    let x = values(&[2, 3, 4], 0.3);
    for (name, function) in OPERATIONS {
        let loss = |y: Array| (y.square() * 0.5).sum(());
        let whole = |x: &Array| vmap(function).call(x).map(loss);
        let each = |x: &Array| loss(function(&x.i(0))) + loss(function(&x.i(1)));
        let (got, want) = (mlx::grad(whole).call(&x)?, mlx::grad(each).call(&x)?);
        close(name, &got, &want);
    }
    Ok(())
}

#[test]
fn a_vmap_of_gradients_is_a_loop() -> Result<()> {
    let x = values(&[2, 3, 4], 0.3);
    for (name, function) in OPERATIONS {
        let loss = |x: &Array| (function(x).square() * 0.5).sum(());
        let each = mlx::grad(loss);
        let want = mlx::stack(&[each.call(&x.i(0))?, each.call(&x.i(1))?], 0);
        for axis in [0, 1, -1] {
            let got = vmap(mlx::grad(loss))
                .in_axes([Some(axis)])
                .call(&x.moveaxis(0, axis))?;
            close(name, &got, &want);
        }
    }
    Ok(())
}
