//! What was refused, or said in the compiler's words, and works: loops under vmap and gradients, sizes that broadcast in
//! shapeless functions, errors at the program's own line. The loop over elements or the eager call says what is right.

use mlx::{Array, Dtype, array, fast, grad, jvp, keepdims, vmap};
use mlx_compiler::{
    CompileOptions, Error, Fallback, ScanOptions, cond, jit, jit_with, scan, while_loop,
};
use mlx_testdata::{needs, slack};
use rstest::rstest;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn values(x: &Array) -> Vec<f32> {
    x.to_vec::<f32>().unwrap()
}

/// More steps than are computed at once: the total of `sin(c + x)` along the sequence, and each step's carry.
fn steps(x: &Array) -> Result<Array, Error> {
    let xs = x.broadcast_to([20]) * 0.1 + mlx::arange_with(0.0, 2.0, 0.1, Dtype::Float32);
    let body = |carry: &Array, x: &Array| ((carry + x).sin(), carry * x);
    let (last, all) = scan(&array!(0.5), &xs, ScanOptions::default(), body)?;
    Ok(last + all.sum(()))
}

/// As many steps for each element: the counter does not depend on it.
fn counted(x: &Array) -> Result<Array, Error> {
    let state = (x.clone(), array!(0));
    let (x, _) = while_loop(
        &state,
        |(_, n): &(Array, Array)| n.less(12),
        |(x, n): &(Array, Array)| ((x * 1.1).sin(), n + 1),
    )?;
    Ok(x)
}

fn branched(x: &Array) -> Result<Array, Error> {
    cond(&x.greater(0.5), x, |x: &Array| x * x, |x: &Array| x * 3.0)
}

type Function = fn(&Array) -> Result<Array, Error>;

#[rstest]
fn control_flow_goes_through_transforms(
    #[values(steps, counted, branched)] f: Function,
    #[values(true, false)] compiled: bool,
) -> Outcome {
    let xs = array!([0.1, 0.7, -0.4]);
    let loop_of = |g: &dyn Fn(&Array) -> mlx::Result<Array>| -> mlx::Result<Vec<f32>> {
        (0..3).map(|i| g(&xs.i(i))?.item::<f32>()).collect()
    };
    let eager = |x: &Array| f(x).map_err(mlx::Error::from);
    let value = loop_of(&eager)?;
    let slope = loop_of(&|x| {
        let h = 1e-3;
        Ok((eager(&(x + h))? - eager(&(x - h))?) / (2.0 * h))
    })?;
    let close = |got: Vec<f32>, want: &[f32], within: f32| {
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() <= within, "{got:?}, not {want:?}");
        }
    };
    let (ones, nearly) = (mlx::ones([3]), 1e-6 * slack!() as f32);
    if compiled {
        let one = jit(f);
        let one = |x: &Array| one.call(x);
        close(values(&vmap(one).call(&xs)?), &value, nearly);
        close(values(&vmap(grad(one)).call(&xs)?), &slope, 2e-3);
        close(loop_of(&|x| grad(one).call(x))?, &slope, 2e-3);
        close(
            loop_of(&|x| Ok(jvp(one, x, &array!(1.0))?.1))?,
            &slope,
            2e-3,
        );
        let summed = |x: &Array| -> mlx::Result<Array> { Ok(vmap(one).call(x)?.sum(())) };
        close(values(&grad(summed).call(&xs)?), &slope, 2e-3);
        close(
            values(&jvp(|x: &Array| vmap(one).call(x), &xs, &ones)?.1),
            &slope,
            2e-3,
        );
    } else {
        close(values(&vmap(f).call(&xs)?), &value, nearly);
        close(
            values(&jit(move |x: &Array| vmap(f).call(x)).call(&xs)?),
            &value,
            nearly,
        );
        close(
            values(&jit(move |x: &Array| vmap(grad(f)).call(x)).call(&xs)?),
            &slope,
            2e-3,
        );
    }
    Ok(())
}

#[test]
fn a_loop_of_different_lengths_says_why_it_is_not_vectorized() {
    let f = |x: &Array| while_loop(x, |x: &Array| x.less(10.0), |x: &Array| x * 2.0);
    let line = line!() - 1;
    let compiled = jit(f);
    let xs = array!([1.0, 3.0]);
    for error in [
        vmap(f).call(&xs).unwrap_err(),
        vmap(|x: &Array| compiled.call(x)).call(&xs).unwrap_err(),
    ] {
        let text = error.to_string();
        let wanted = "while_loop: wanted a condition that is the same for all elements of a vmap";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains(&format!("refusals.rs:{line}:")), "{text}");
    }
}

fn rms_norm(a: &[Array]) -> Array {
    &a[0] * (a[0].square().mean(keepdims(-1)) + 1e-5).rsqrt() * &a[1]
}

fn layer_norm(a: &[Array]) -> Array {
    let x = &a[0];
    (x - x.mean(keepdims(-1))) * (x.var(keepdims(-1)) + 1e-5).rsqrt() * &a[1]
}

fn attention(a: &[Array]) -> Array {
    let scores = a[0].matmul(&a[1].swapaxes(-1, -2)) * 0.25;
    scores.softmax(-1).matmul(&a[2])
}

fn linear(a: &[Array]) -> Array {
    a[0].matmul(&a[1]) + &a[2]
}

fn swiglu(a: &[Array]) -> Array {
    &a[0] * a[0].sigmoid() * &a[1]
}

/// Traced with the first shapes, called with the second, where one broadcasts that did not, or no longer does.
#[rstest]
#[case::one_weight(rms_norm, vec![vec![3, 8], vec![8]], vec![vec![3, 8], vec![1]])]
#[case::one_column(rms_norm, vec![vec![3, 8], vec![8]], vec![vec![3, 1], vec![8]])]
#[case::no_more(rms_norm, vec![vec![3, 1], vec![1]], vec![vec![3, 8], vec![1]])]
#[case::one_row(rms_norm, vec![vec![3, 8], vec![3, 8]], vec![vec![1, 8], vec![3, 8]])]
#[case::layer_norm(layer_norm, vec![vec![3, 8], vec![8]], vec![vec![3, 1], vec![8]])]
#[case::keys_for_all(attention, vec![vec![2, 4, 5, 8]; 3], vec![vec![2, 4, 5, 8], vec![1, 4, 5, 8], vec![1, 4, 5, 8]])]
#[case::one_head(attention, vec![vec![2, 4, 5, 8]; 3], vec![vec![2, 4, 5, 8], vec![2, 1, 5, 8], vec![2, 1, 5, 8]])]
#[case::one_query(attention, vec![vec![2, 4, 5, 8]; 3], vec![vec![1, 4, 5, 8], vec![2, 4, 5, 8], vec![2, 4, 5, 8]])]
#[case::one_bias(linear, vec![vec![3, 4], vec![4, 8], vec![8]], vec![vec![3, 4], vec![4, 8], vec![1]])]
#[case::wide_bias(linear, vec![vec![3, 4], vec![4, 1], vec![1]], vec![vec![3, 4], vec![4, 1], vec![8]])]
#[case::one_gate(swiglu, vec![vec![3, 8], vec![3, 8]], vec![vec![1, 8], vec![3, 8]])]
#[case::one_input(swiglu, vec![vec![3, 8], vec![3, 8]], vec![vec![3, 8], vec![3, 1]])]
fn shapeless_functions_broadcast_as_eager_ones(
    #[case] f: fn(&[Array]) -> Array,
    #[case] traced: Vec<Vec<i32>>,
    #[case] called: Vec<Vec<i32>>,
) -> Outcome {
    let options = CompileOptions {
        shapeless: true,
        fallback: Fallback::Never,
        ..CompileOptions::default()
    };
    let compiled = jit_with(|a: &Vec<Array>| f(a), options);
    for shapes in [&traced, &called, &traced] {
        let inputs: Vec<Array> = shapes
            .iter()
            .enumerate()
            .map(|(k, shape)| {
                let n: i32 = shape.iter().product();
                let x = mlx::arange_with(0.0, f64::from(n), 1.0, Dtype::Float32);
                (x * (0.7 + k as f32)).sin().reshape(shape.to_vec())
            })
            .collect();
        let (got, want) = (compiled.call(&inputs)?, f(&inputs));
        assert_eq!(got.shape()?, want.shape()?);
        let off = (got - want).abs().max(()).item::<f32>()?;
        assert!(off < 1e-5, "off by {off}");
    }
    Ok(())
}

#[test]
fn what_eager_attention_refuses_a_shapeless_one_does_too() -> Outcome {
    let options = CompileOptions {
        shapeless: true,
        fallback: Fallback::Never,
        ..CompileOptions::default()
    };
    let compiled = jit_with(|a: &Vec<Array>| attention(a), options);
    let ones = |heads: i32| mlx::ones([2, heads, 5, 8]);
    compiled.call(&vec![ones(4), ones(4), ones(4)])?.eval()?;
    // The kernel would take two heads of keys for four of queries; the product of the formula does not.
    let grouped = vec![ones(4), ones(2), ones(2)];
    assert!(attention(&grouped).eval().is_err());
    let error = compiled.call(&grouped).and_then(|x| Ok(x.eval()?));
    let text = error.unwrap_err().to_string();
    assert!(
        text.starts_with("matmul: ") && text.contains("refusals.rs:"),
        "{text}"
    );
    Ok(())
}

/// What fails, and the operation that the error must begin with. Each is called from this file.
#[rstest]
#[case::operation(|x: &Array| Ok(x.matmul(&mlx::ones([7, 2]))), "matmul: ")]
#[case::fused(|x: &Array| Ok(fast::rms_norm(x, Some(&mlx::ones([9])), 1e-5)), "fast.rms_norm: ")]
#[case::eval(|x: &Array| { x.exp().eval()?; Ok(x.clone()) }, "eval: ")]
#[case::item(|x: &Array| { let _ = x.sum(()).item::<f32>()?; Ok(x.clone()) }, "item: ")]
#[case::gradient(|x: &Array| Ok(grad(|x: &Array| x * 2.0).call(x)?), "value_and_grad: ")]
#[case::inner_gradient(|x: &Array| Ok(grad(|x: &Array| Ok::<_, Error>(grad(|x: &Array| x * 2.0).call(x)?.sum(()))).call(x)?), "value_and_grad: ")]
#[case::gradient_of_a_gradient(|x: &Array| Ok(vmap(grad(|x: &Array| x * 2.0)).call(x)?), "value_and_grad: ")]
#[case::vmap_axis(|x: &Array| Ok(vmap(|x: &Array| x * 2.0).in_axes([Some(5)]).call(x)?), "vmap: ")]
#[case::branch(|x: &Array| cond(&x.sum(()).greater(0.0), x, |x: &Array| x.sum(()), |x: &Array| x.clone()), "cond: ")]
#[case::predicate(|x: &Array| cond(x, x, |x: &Array| x.clone(), |x: &Array| x.clone()), "cond: ")]
#[case::state(|x: &Array| while_loop(x, |x: &Array| x.sum(()).less(1.0), |x: &Array| x.sum(())), "while_loop: ")]
#[case::condition(|x: &Array| while_loop(x, |x: &Array| x.sum(()), |x: &Array| x.clone()), "while_loop: ")]
#[case::carry(|x: &Array| Ok(scan(&array!(0.0), x, ScanOptions::default(), |_: &Array, x: &Array| (x.clone(), x.clone()))?.0), "scan: ")]
#[case::sequence(|x: &Array| Ok(scan(&array!(0.0), &array!(1.0), ScanOptions::default(), |c: &Array, _: &Array| (c.clone(), x.clone()))?.0), "scan: ")]
fn errors_name_the_programs_operation_and_line(
    #[case] f: Function,
    #[case] wanted: &str,
    #[values(true, false)] compiled: bool,
) -> Outcome {
    let x = mlx::ones([2, 3]);
    let result = if compiled { jit(f).call(&x) } else { f(&x) };
    let text = match result.and_then(|x| Ok(x.eval()?)) {
        Ok(()) => {
            // Eager functions may read values, and run one branch only.
            assert!(!compiled, "wanted an error");
            return Ok(());
        }
        Err(error) => error.to_string(),
    };
    assert!(text.starts_with(wanted), "{text}");
    assert!(text.contains("refusals.rs:"), "{text}");
    Ok(())
}

/// What fails when it runs, and not when it is traced.
#[test]
fn errors_of_a_run_name_the_programs_line() -> Outcome {
    needs!(ErrorsOfValues, Ok(()));
    let f = |x: &Array, n: &Array| -> Result<Array, Error> {
        let body = |c: &Array, _: &Array| (c + array!([7, 8]).take(n, 0), c.clone());
        Ok(scan(&array!(1), x, ScanOptions::default(), body)?.0)
    };
    let error = jit(f).call((&mlx::ones([9]), &array!(5)));
    let text = error.and_then(|x| Ok(x.eval()?)).unwrap_err().to_string();
    assert!(text.contains("refusals.rs:"), "{text}");
    assert!(!text.contains("crates/compiler/src"), "{text}");
    Ok(())
}
