//! The interpreter runs graphs inside graphs: control flow, fused nodes, and transforms, whose gradients it measures.

use mlx::transforms::{jvp, vjp};
use mlx::{Array, array, grad, keepdims, value_and_grad, vmap};
use mlx_compiler::{CompileOptions, Error, Graph, ScanOptions, cond, scan, trace, while_loop};
use mlx_interpreter::{
    HostArray, InferenceSession, Interpreter, SessionOptions, Tensor, array_constants,
};

type Outcome = Result<(), Error>;

/// What a graph gives in the interpreter.
fn interpreted(graph: &Graph, inputs: &[&Array]) -> Result<Vec<Vec<f64>>, Error> {
    let tensors = inputs
        .iter()
        .map(|x| Tensor::of(x))
        .collect::<Result<Vec<_>, _>>()?;
    let constants = array_constants(graph)?;
    let run = |kernels| {
        let interpreter = Interpreter {
            kernels,
            constants: constants.clone(),
            ..Interpreter::default()
        };
        interpreter.run(graph, &tensors)
    };
    let (bodies, kernels) = (run(false)?, run(true)?);
    for (a, b) in bodies.iter().zip(&kernels) {
        close(&a.to_f64(), &b.to_f64(), 1e-6);
    }
    by_kernels(graph, &constants, &tensors, &bodies)?;
    Ok(bodies.iter().map(Tensor::to_f64).collect())
}

/// Compares what a session gives, or sees that it refuses what it does not run.
fn by_kernels(
    graph: &Graph,
    constants: &[Tensor],
    inputs: &[Tensor],
    wanted: &[Tensor],
) -> Result<(), Error> {
    let arrays = |tensors: &[Tensor]| -> Result<Vec<HostArray>, Error> {
        tensors.iter().map(Tensor::to_host_array).collect()
    };
    let session = InferenceSession::new(graph, arrays(constants)?, &SessionOptions::default());
    let session = match session {
        Ok(session) => session,
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains("wanted operations that run without MLX"),
                "{text}"
            );
            return Ok(());
        }
    };
    let got = session.run(arrays(inputs)?)?;
    for (got, wanted) in got.iter().zip(wanted) {
        close(
            &Tensor::of_host_array(got)?.to_f64(),
            &wanted.to_f64(),
            1e-5,
        );
    }
    assert_eq!(got.len(), wanted.len());
    Ok(())
}

fn close(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (a, b) in got.iter().zip(want) {
        assert!(
            (a - b).abs() <= tolerance * b.abs().max(1.0),
            "got {got:?}, want {want:?}"
        );
    }
}

/// Traces, lowers, and compares graph and call.
macro_rules! check {
    ($function:expr, $args:expr, [$($input:expr),*], $tolerance:expr) => {{
        let compiled = trace($function, $args)?.lower(&CompileOptions::default())?.compile()?;
        let inputs = [$($input),*];
        let want = compiled.call_flat(&inputs)?;
        for graph in [compiled.lowered().traced(), compiled.lowered().optimized(), compiled.graph()] {
            let got = interpreted(graph, &inputs)?;
            for (got, want) in got.iter().zip(&want) {
                close(got, &Tensor::of(want)?.to_f64(), $tolerance);
            }
            assert_eq!(got.len(), want.len());
        }
    }};
}

#[test]
fn runs_one_branch_of_cond() -> Outcome {
    for x in [array!(12.0), array!(2.0)] {
        let halve_or_triple = |x: &Array| {
            cond(
                &x.greater(10.0),
                x,
                |x: &Array| x / 2.0,
                |x: &Array| x * 3.0,
            )
        };
        check!(halve_or_triple, &x, [&x], 1e-6);
    }
    Ok(())
}

#[test]
fn repeats_the_body_of_while_loop() -> Outcome {
    let (x, limit) = (array!(1.5), array!(20.0));
    let double_until =
        |x: &Array, limit: &Array| while_loop(x, |x: &Array| x.less(limit), |x: &Array| x * 2.0);
    check!(double_until, (&x, &limit), [&x, &limit], 1e-6);
    Ok(())
}

#[test]
fn carries_a_state_through_scan() -> Outcome {
    let (start, xs) = (
        array!([0.5, -1.0]),
        array!([[1.0, 2.0], [3.0, 4.0], [-5.0, 6.0]]),
    );
    for reverse in [false, true] {
        let decay = |start: &Array, xs: &Array| {
            scan(
                start,
                xs,
                ScanOptions { reverse },
                |carry: &Array, x: &Array| {
                    let next = carry * 0.5 + x;
                    (next.clone(), next.tanh())
                },
            )
        };
        check!(decay, (&start, &xs), [&start, &xs], 1e-5);
    }
    Ok(())
}

fn norm_loss(x: &Array, weight: &Array) -> Array {
    let normed = x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * weight;
    (normed.sigmoid() * normed).sum(())
}

#[test]
fn measures_gradients_through_a_fused_formula() -> Outcome {
    let (x, weight) = (
        array!([[0.5, -1.0, 2.0], [0.1, 0.7, -0.3]]),
        array!([1.0, -0.5, 2.0]),
    );
    let slopes = |x: &Array, weight: &Array| -> mlx::Result<(Array, Array)> {
        value_and_grad(norm_loss).call((x, weight))
    };
    check!(slopes, (&x, &weight), [&x, &weight], 1e-4);
    Ok(())
}

#[test]
fn measures_second_derivatives() -> Outcome {
    let x = array!(0.7);
    let curve = |x: &Array| -> mlx::Result<Array> { grad(grad(|x: &Array| x.sin() * x)).call(x) };
    check!(curve, &x, [&x], 1e-4);
    Ok(())
}

#[test]
fn measures_products_with_jacobians() -> Outcome {
    let (x, t) = (array!([0.3, -0.8]), array!([1.0, 0.5]));
    let forward = |x: &Array, t: &Array| -> mlx::Result<(Array, Array)> {
        jvp(|x: &Array| x.exp() * x, x, t)
    };
    check!(forward, (&x, &t), [&x, &t], 1e-5);
    let backward = |x: &Array, t: &Array| -> mlx::Result<(Array, Array)> {
        vjp(|x: &Array| x.exp() * x, x, t)
    };
    check!(backward, (&x, &t), [&x, &t], 1e-5);
    Ok(())
}

#[test]
fn maps_a_function_over_an_axis() -> Outcome {
    let x = array!([[0.3, -0.8, 1.0], [2.0, 0.5, 0.1]]);
    let rows = |x: &Array| -> mlx::Result<Array> { vmap(|x: &Array| x.softmax(-1)).call(x) };
    check!(rows, &x, [&x], 1e-5);
    Ok(())
}

#[test]
fn refuses_a_gradient_that_differences_do_not_see() -> Outcome {
    let x = array!(0.7);
    let stopped =
        |x: &Array| -> mlx::Result<Array> { grad(|x: &Array| x * x.stop_gradient()).call(x) };
    let error = interpreted(trace(stopped, &x)?.graph(), &[&x]).unwrap_err();
    assert!(
        error.to_string().contains("got one with stop_gradient"),
        "{error}"
    );
    Ok(())
}
