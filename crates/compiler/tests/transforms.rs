//! Function transforms inside and around compiled functions, each against the same without compiling.

use mlx::transforms::{checkpoint, custom_function, custom_vjp};
use mlx::{Array, array, grad, jvp, value_and_grad, vjp, vmap};
use mlx_compiler::{Error, Graph, ScanOptions, cond, jit, scan, trace, while_loop};

type Outcome = Result<(), Error>;

fn values(array: &Array) -> Vec<f32> {
    array.to_vec().unwrap()
}

fn close(a: &Array, b: &Array) {
    let (a, b) = (values(a), values(b));
    assert_eq!(a.len(), b.len());
    let near = a
        .iter()
        .zip(&b)
        .all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0));
    assert!(near, "{a:?} {b:?}");
}

fn wave(x: &Array) -> Array {
    (x * x.sin()).sum(())
}

#[test]
fn products_with_jacobians_in_a_graph_are_those_of_eager_functions() -> Outcome {
    let f = |x: &Array| x.sin() * x;
    let (x, t) = (array!([0.5, -1.0]), array!([1.0, 2.0]));
    let back = jit(move |x: &Array, t: &Array| vjp(f, x, t));
    let (outputs, slopes) = back.call((&x, &t))?;
    let (wanted, wanted_slopes) = vjp(f, &x, &t)?;
    close(&outputs, &wanted);
    close(&slopes, &wanted_slopes);
    let forth = jit(move |x: &Array, t: &Array| jvp(f, x, t));
    let (outputs, slopes) = forth.call((&x, &t))?;
    let (wanted, wanted_slopes) = jvp(f, &x, &t)?;
    close(&outputs, &wanted);
    close(&slopes, &wanted_slopes);
    Ok(())
}

#[test]
fn second_derivatives_go_through_two_graphs() -> Outcome {
    let second = jit(|x: &Array| {
        grad(|x: &Array| -> mlx::Result<Array> { Ok(grad(wave).call(x)?.sum(())) }).call(x)
    });
    let eager = grad(|x: &Array| -> mlx::Result<Array> { Ok(grad(wave).call(x)?.sum(())) });
    let x = array!([0.3, 2.0]);
    close(&second.call(&x)?, &eager.call(&x)?);
    Ok(())
}

#[test]
fn checkpoints_and_own_gradients_keep_their_meaning() -> Outcome {
    let x = array!([0.3, 2.0]);
    let kept = jit(|x: &Array| grad(checkpoint(wave)).call(x));
    close(&kept.call(&x)?, &grad(wave).call(&x)?);
    let own = jit(|x: &Array| {
        // A gradient that is plainly another one, to see that it is used.
        let twice = custom_vjp(
            |x: &Array| x * 2.0,
            |_: &Array, cotangent: &Array, _: &Array| cotangent * 7.0,
        );
        grad(move |x: &Array| -> mlx::Result<Array> { Ok(twice.call(x)?.sum(())) }).call(x)
    });
    assert_eq!(values(&own.call(&x)?), [7.0, 7.0]);
    Ok(())
}

#[test]
fn a_training_step_compiles_as_a_whole() -> Outcome {
    fn loss(w: &Array, x: &Array, y: &Array) -> Array {
        (x.matmul(w) - y).square().mean(())
    }
    let step = |w: &Array, x: &Array, y: &Array| -> mlx::Result<(Array, Array)> {
        let (value, slope) = value_and_grad(loss).call((w, x, y))?;
        Ok((value, w - slope * 0.1))
    };
    let compiled = jit(step);
    let x = array!([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]);
    let y = x.matmul(&array!([[1.0], [-2.0]]));
    let (mut a, mut b) = (array!([[0.0], [0.0]]), array!([[0.0], [0.0]]));
    for _ in 0..20 {
        let (value, next) = compiled.call((&a, &x, &y))?;
        let (wanted, eager) = step(&b, &x, &y)?;
        close(&value, &wanted);
        (a, b) = (next, eager);
    }
    close(&a, &b);
    assert_eq!(compiled.stats().misses, 1);
    Ok(())
}

#[test]
fn gradients_go_through_control_flow() -> Outcome {
    let f = |x: &Array| -> Result<Array, Error> {
        let picked = cond(
            &x.sum(()).greater(0.0),
            x,
            |x: &Array| x * 3.0,
            |x: &Array| x * x,
        )?;
        let (total, _) = scan(
            &array!(0.0),
            &picked,
            ScanOptions::default(),
            |total: &Array, x: &Array| (total + x * x, total.clone()),
        )?;
        Ok(total)
    };
    let compiled = jit(f);
    let around = grad(|x: &Array| compiled.call(x));
    assert_eq!(values(&around.call(&array!([1.0, 2.0]))?), [18.0, 36.0]);
    assert_eq!(values(&around.call(&array!([-1.0, -2.0]))?), [-4.0, -32.0]);
    Ok(())
}

#[test]
fn vmap_of_a_compiled_gradient_is_the_gradient_of_each() -> Outcome {
    let compiled = jit(|x: &Array| grad(wave).call(x));
    let each = vmap(|x: &Array| compiled.call(x));
    let xs = array!([[0.1, 0.2], [1.0, -1.0]]);
    close(&each.call(&xs)?, &vmap(grad(wave)).call(&xs)?);
    Ok(())
}

#[test]
fn a_captured_argument_of_a_transform_keeps_its_gradient() -> Outcome {
    // Made inside of the differentiated function, it captures what the gradient is taken of, once as it is and once in
    // something that would otherwise be folded, or read as a number.
    let f = |w: &Array| -> Result<Array, Error> {
        let (inner, number) = (w.clone(), w.sum(()));
        let scaled = jit(move |x: &Array| x * (&inner * 3.0) * &number);
        Ok(scaled.call(&array!([1.0, 10.0]))?.sum(()))
    };
    let wanted = |w: &Array| (array!([1.0, 10.0]) * (w * 3.0) * w.sum(())).sum(());
    let w = array!([2.0, 5.0]);
    close(&grad(f).call(&w)?, &grad(wanted).call(&w)?);
    close(
        &grad(f).call(&(&w + 1.0))?,
        &grad(wanted).call(&(&w + 1.0))?,
    );
    Ok(())
}

#[test]
fn a_compiled_function_made_outside_may_capture_constants_under_a_gradient() -> Outcome {
    let weight = array!([2.0, 3.0]);
    let scaled = jit(move |x: &Array| (x * &weight).sum(()));
    let slope = grad(|x: &Array| scaled.call(x));
    assert_eq!(values(&slope.call(&array!([1.0, 1.0]))?), [2.0, 3.0]);
    assert_eq!(scaled.stats().misses, 1);
    Ok(())
}

#[test]
fn a_gradient_of_a_loop_does_not_run_the_loop_while_it_is_traced() -> Outcome {
    // Of the zeros that stand for the input while tracing, the doubles never reach 10.
    let double = |x: &Array| while_loop(x, |x: &Array| x.less(10.0), |x: &Array| x * 2.0);
    let slope = jit(move |x: &Array| grad(double).call(x));
    assert_eq!(slope.call(&array!(3.0))?.item::<f32>()?, 4.0);
    assert_eq!(slope.call(&array!(1.0))?.item::<f32>()?, 16.0);
    Ok(())
}

#[test]
fn a_gradient_is_traced_without_computing_values_that_mean_nothing() -> Outcome {
    let ones = mlx::ones([16]);
    let slope = jit(move |x: &Array, n: &Array| {
        let steps = |x: &Array| {
            let step = |c: &Array, y: &Array| (c * y * array!(4).floor_divide(n), y.clone());
            let (x, _) = scan(x, &ones, ScanOptions::default(), step)?;
            let holds = array!(9).floor_divide(n).greater(1);
            cond(&holds, &x, |x: &Array| x * 3.0, Array::clone)
        };
        grad(steps).call(x)
    });
    let four = array!(4);
    assert_eq!(slope.call((&array!(2.0), &four))?.item::<f32>()?, 3.0);
    Ok(())
}

#[test]
fn transforms_take_a_compiled_function_as_it_is() -> Outcome {
    let x = array!([0.3, 2.0]);
    close(&grad(jit(wave)).call(&x)?, &grad(wave).call(&x)?);
    let xs = array!([[0.3, 2.0], [1.0, -1.0]]);
    close(&vmap(jit(wave)).call(&xs)?, &vmap(wave).call(&xs)?);
    close(&jit(jit(wave)).call(&x)?, &wave(&x));
    Ok(())
}

#[test]
fn own_rules_keep_their_meaning_in_and_around_compiled_functions() -> Outcome {
    // Each rule gives plainly something else than the function's own derivative, to see that it is used.
    let f = || {
        custom_function(|x: &Array| x * x)
            .vjp(|x: &Array, cotangent: &Array, _: &Array| cotangent * x * 10.0)
            .jvp(|x: &Array, tangent: &Array| tangent * x * 100.0)
    };
    let along = move || f().vmap(|x: &Array, axes: &[Option<i32>]| (x * 7.0, [axes[0]]));
    let x = array!([1.0, 2.0]);
    let total = move |x: &Array| f().call(x).map(|y| y.sum(()));
    assert_eq!(
        values(&jit(move |x: &Array| grad(total).call(x)).call(&x)?),
        [10.0, 20.0]
    );
    let tangents = jit(move |x: &Array| jvp(f(), x, x).map(|(_, tangent)| tangent));
    assert_eq!(values(&tangents.call(&x)?), [100.0, 400.0]);
    assert_eq!(
        values(&jit(move |x: &Array| vmap(along()).call(x)).call(&x)?),
        [7.0, 14.0]
    );
    let inner = std::rc::Rc::new(jit(along()));
    assert_eq!(values(&inner.call(&x)?), [1.0, 4.0]);
    let (a, b, c) = (inner.clone(), inner.clone(), inner.clone());
    assert_eq!(
        values(&vmap(move |x: &Array| a.call(x)).call(&x)?),
        [7.0, 14.0]
    );
    let slope = grad(move |x: &Array| b.call(x).map(|y| y.sum(())));
    assert_eq!(values(&slope.call(&x)?), [10.0, 20.0]);
    assert_eq!(
        values(&jvp(move |x: &Array| c.call(x), &x, &x)?.1),
        [100.0, 400.0]
    );
    // Nested: a gradient of a vectorized function, and a second derivative.
    let nested =
        jit(move |x: &Array| grad(move |x: &Array| vmap(f()).call(x).map(|y| y.sum(()))).call(x));
    assert_eq!(values(&nested.call(&x)?), [10.0, 20.0]);
    let second =
        jit(move |x: &Array| grad(move |x: &Array| grad(total).call(x).map(|y| y.sum(()))).call(x));
    assert_eq!(values(&second.call(&x)?), [10.0, 10.0]);
    Ok(())
}

#[test]
fn own_rules_are_printed_and_read_again() -> Outcome {
    let ruled = custom_function(|x: &Array| x * x).jvp(|x: &Array, t: &Array| t * x * 100.0);
    let traced = trace(move |x: &Array| ruled.call(x), &array!([1.0]))?;
    let text = traced.graph().to_string();
    assert!(
        text.contains("= custom_function x0 jvp n_captures=0 {"),
        "{text}"
    );
    assert_eq!(text.parse::<Graph>().unwrap().to_string(), text);
    Ok(())
}
