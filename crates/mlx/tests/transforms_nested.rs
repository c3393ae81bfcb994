//! Transforms inside transforms whose results are read on the way: reading never changes a gradient.

use mlx::{Array, Result, array, checkpoint, grad, jvp, value_and_grad, vjp, vmap};
use rstest::rstest;

fn cube(x: &Array) -> Array {
    x * x * x
}

type Read = fn(&Array) -> Result<()>;

fn nothing(_: &Array) -> Result<()> {
    Ok(())
}
fn eval(x: &Array) -> Result<()> {
    x.eval()
}
fn to_vec(x: &Array) -> Result<()> {
    x.to_vec::<f32>().map(drop)
}
fn print(x: &Array) -> Result<()> {
    assert!(!format!("{x}").is_empty());
    Ok(())
}
fn start(x: &Array) -> Result<()> {
    // MLX refuses to begin what a transform goes on with; nothing is cut off either way.
    let _refused = mlx::async_eval([x]);
    x.to_vec::<f32>().map(drop)
}

/// The derivative of the sum of `inner` at 2, where each way to take the slope of `x^3` is read by `read`.
#[rstest]
fn reading_a_slope_keeps_what_it_depends_on(
    #[values(nothing, eval, to_vec, print, start)] read: Read,
) -> Result<()> {
    let x = array!(2.0);
    let slopes: [fn(&Array) -> Result<Array>; 5] = [
        |x| grad(cube).call(x),
        |x| Ok(value_and_grad(cube).call(x)?.1),
        |x| Ok(vjp(cube, x, &array!(1.0))?.1),
        |x| Ok(jvp(cube, x, &array!(1.0))?.1),
        |x| grad(checkpoint(cube)).call(x),
    ];
    for (k, slope) in slopes.into_iter().enumerate() {
        let outer = move |x: &Array| -> Result<Array> {
            let g = slope(x)?;
            read(&g)?;
            Ok(g.sum(()))
        };
        // The slope of x^3 is 3 x^2, and its slope 6 x.
        assert_eq!(grad(outer).call(&x)?.item::<f32>()?, 12.0);
        let pushed = jvp(outer, &x, &array!(1.0));
        if k == 4 {
            // MLX has no tangents of a checkpoint's gradient.
            assert!(pushed.is_err());
        } else {
            assert_eq!(pushed?.1.item::<f32>()?, 12.0);
        }
    }
    Ok(())
}

#[rstest]
fn reading_between_keeps_what_a_captured_array_depends_on(
    #[values(nothing, eval, to_vec)] read: Read,
) -> Result<()> {
    // h = x^2, g = d/dy (y h) = h, and the outer function is g h = x^4.
    let outer = move |x: &Array| -> Result<Array> {
        let h = x.square();
        let captured = h.clone();
        let g = grad(move |y: &Array| y * &captured).call(x)?;
        read(&g)?;
        read(&h)?;
        let twice = &h * 2.0;
        read(&twice)?;
        Ok(g * twice * 0.5)
    };
    assert_eq!(grad(outer).call(&array!(2.0))?.item::<f32>()?, 32.0);
    Ok(())
}

#[rstest]
fn reading_inside_an_inner_function_is_no_different(
    #[values(nothing, eval)] read: Read,
) -> Result<()> {
    let inner = move |x: &Array| -> Result<Array> {
        let y = cube(x);
        read(&y)?;
        Ok(y)
    };
    let outer = move |x: &Array| -> Result<Array> {
        let g = grad(inner).call(x)?;
        read(&g)?;
        Ok(g)
    };
    assert_eq!(grad(outer).call(&array!(2.0))?.item::<f32>()?, 12.0);
    let third = move |x: &Array| -> Result<Array> {
        let g = grad(outer).call(x)?;
        read(&g)?;
        Ok(g)
    };
    assert_eq!(grad(third).call(&array!(2.0))?.item::<f32>()?, 6.0);
    Ok(())
}

#[test]
fn a_vectorized_function_between_keeps_gradients() -> Result<()> {
    let outer = |x: &Array| -> Result<Array> {
        let y = vmap(cube).call(x)?;
        y.eval()?;
        let g = grad(|x: &Array| cube(x).sum(())).call(x)?;
        g.eval()?;
        Ok((y + g).sum(()))
    };
    // 3 x^2 + 6 x.
    let got = grad(outer).call(&array!([1.0, 2.0]))?.to_vec::<f32>()?;
    assert_eq!(got, [9.0, 24.0]);
    Ok(())
}

#[test]
fn a_failed_inner_transform_cuts_nothing() -> Result<()> {
    let outer = |x: &Array| -> Result<Array> {
        let h = x.square();
        let y = h.clone();
        let failed = grad(move |z: &Array| (z * &y).expand_dims([0])).call(x);
        assert!(failed.is_err());
        h.eval()?;
        Ok(h)
    };
    assert_eq!(grad(outer).call(&array!(3.0))?.item::<f32>()?, 6.0);
    Ok(())
}
