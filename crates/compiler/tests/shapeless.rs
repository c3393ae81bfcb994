//! Functions compiled once for all sizes: what they return is what the function itself returns, at every size.

use mlx::{Array, array, fast, keepdims, s};
use mlx_compiler::{CompileOptions, jit_with};
use rstest::rstest;

fn options() -> CompileOptions {
    CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    }
}

fn numbers(shape: &[i32]) -> Array {
    let n = shape.iter().product::<i32>();
    let numbers: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
    Array::from_slice(&numbers, shape).unwrap()
}

type Function = fn(&Vec<Array>) -> Array;

/// Returns the shapes that a text such as `2x3 4` says.
fn shapes(text: &str) -> Vec<Vec<i32>> {
    let shape = |text: &str| text.split('x').map(|size| size.parse().unwrap()).collect();
    text.split(' ').map(shape).collect()
}

/// Calls a shapeless function with inputs of each of these shapes, and compares with the function itself. Returns how
/// often it was traced.
fn traces(function: Function, calls: &[&str]) -> u64 {
    let compiled = jit_with(function, options());
    // The first time node by node, then by a form for these sizes.
    for call in calls.iter().flat_map(|call| [call; 3]) {
        let inputs: Vec<Array> = shapes(call).iter().map(|shape| numbers(shape)).collect();
        let read = |output: Array| Ok((output.shape()?, output.to_vec::<f32>()?));
        let got = compiled
            .call(&inputs)
            .map_err(drop)
            .and_then(|y| read(y).map_err(|_: mlx::Error| ()));
        let want = read(function(&inputs)).map_err(|_: mlx::Error| ());
        match (got, want) {
            (Ok((shape, got)), Ok((wanted, want))) => {
                assert_eq!(shape, wanted, "{call}");
                let is_near = |(got, want): (&f32, &f32)| {
                    (got - want).abs() < 1e-5 || got.is_nan() && want.is_nan()
                };
                let are_near = got.iter().zip(&want).all(is_near);
                assert!(are_near, "{call}: {got:?} is not {want:?}");
            }
            (Err(()), Err(())) => {}
            (got, want) => panic!("{call}: wanted {want:?}, got {got:?}"),
        }
    }
    compiled.stats().misses
}

#[rstest]
#[case::sum(|x: &Vec<Array>| (&x[0] * 2.0).sum(()), &["2", "3", "500"])]
#[case::softmax(|x: &Vec<Array>| (&x[0] - x[0].mean(keepdims(-1))).softmax(0), &["2x3", "7x5", "3x9"])]
#[case::product(|x: &Vec<Array>| x[0].matmul(&x[1]).t() + &x[2], &["2x3 3x4 2", "5x7 7x6 5", "7x5 5x6 7"])]
#[case::norm(|x: &Vec<Array>| fast::rms_norm(&x[0], None, 1e-5).exp().softmax(-1), &["2x64", "9x64", "33x8"])]
#[case::one_and_more(|x: &Vec<Array>| &x[0] * 2.0 + 1.0, &["1", "2", "3", "1"])]
fn one_trace_serves_all_sizes(#[case] function: Function, #[case] calls: &[&str]) {
    assert_eq!(traces(function, calls), 1);
}

/// Sizes that are equal when the function is traced and differ later, and sizes of constants.
#[rstest]
#[case::outer(|x: &Vec<Array>| (&x[0] + &x[1]).exp() * 2.0, &["3 3", "3 4", "4 4", "1 4"])]
#[case::constant(|x: &Vec<Array>| (&x[0] + array!([1.0, 2.0, 3.0])).exp(), &["3", "4", "5x3", "3x3", "3x4"])]
#[case::product(|x: &Vec<Array>| x[0].matmul(&x[1]), &["2x3 3x2", "2x3 500x2"])]
#[case::power(|x: &Vec<Array>| x[0].power(&x[1]), &["3 3", "300 3", "3 300"])]
fn sizes_that_no_longer_fit_are_errors_as_eagerly(
    #[case] function: Function,
    #[case] calls: &[&str],
) {
    traces(function, calls);
}

/// Sizes that come again run by kernels and programs that were chosen for them, without a new trace.
#[test]
fn sizes_that_come_again_are_compiled_without_a_trace() -> Result<(), mlx_compiler::Error> {
    let traces = std::cell::Cell::new(0);
    let norm = |x: &Array, weight: &Array| {
        traces.set(traces.get() + 1);
        x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * weight
    };
    let compiled = jit_with(norm, options()).max_traces(1);
    let weight = numbers(&[64]);
    for (call, n) in [3, 3, 5, 5, 5, 3, 1, 0].into_iter().enumerate() {
        let y = compiled.call((&numbers(&[n, 64]), &weight))?;
        y.eval()?;
        let made = compiled.report().unwrap_or_default().specialized;
        let wanted: &[&str] = match call {
            0 => &[],
            1 | 2 => &["float32[3, 64], float32[64]"],
            3 | 4 => &["float32[5, 64], float32[64]", "float32[3, 64], float32[64]"],
            _ => &["float32[3, 64], float32[64]", "float32[5, 64], float32[64]"],
        };
        assert_eq!(made, wanted, "call {call}");
    }
    assert_eq!(traces.get(), 1);
    let report = compiled.report().unwrap_or_default().to_string();
    assert!(
        report.contains("one form of the same trace for float32[3, 64], float32[64]"),
        "{report}"
    );
    Ok(())
}

/// No more forms are kept than the cache may have.
#[test]
fn forms_for_sizes_are_dropped_as_others_are() -> Result<(), mlx_compiler::Error> {
    let few = CompileOptions {
        cache_size: 2,
        ..options()
    };
    let compiled = jit_with(|x: &Array| (x * 2.0).exp(), few);
    for n in [1, 1, 2, 2, 3, 3, 1, 1] {
        compiled.call(&numbers(&[n]))?.eval()?;
    }
    let made = compiled.report().unwrap_or_default().specialized;
    assert_eq!(made, ["float32[1]", "float32[3]"]);
    assert_eq!(compiled.stats().misses, 1);
    Ok(())
}

/// A training step over batches of any size: gradients are nodes of the graph, taken at the sizes of each call.
#[test]
fn a_training_step_is_one_trace_for_batches_of_all_sizes() -> Result<(), mlx_compiler::Error> {
    let loss = |w: &Array, b: &Array, x: &Array, y: &Array| {
        let scores = x.matmul(w) + b;
        (scores.logsumexp(-1) - (&scores * y).sum(-1)).mean(())
    };
    let step = |w: &Array, b: &Array, x: &Array, y: &Array| -> mlx::Result<(Array, Array, Array)> {
        let gradient = mlx::value_and_grad(|(w, b): &(Array, Array)| loss(w, b, x, y));
        let (value, (dw, db)) = gradient.call(&(w.clone(), b.clone()))?;
        Ok((value, w - dw * 0.1, b - db * 0.1))
    };
    let compiled = jit_with(step, options()).max_traces(1);
    let (w, b) = (numbers(&[6, 4]), numbers(&[4]));
    for n in [8, 8, 3, 3, 1, 1, 64, 64, 8] {
        let (x, y) = (numbers(&[n, 6]), numbers(&[n, 4]).softmax(-1));
        let (got, want) = (compiled.call((&w, &b, &x, &y))?, step(&w, &b, &x, &y)?);
        for (got, want) in [(got.0, want.0), (got.1, want.1), (got.2, want.2)] {
            assert_eq!(got.shape()?, want.shape()?);
            let off = (got - want).abs().max(()).item::<f32>()?;
            assert!(off < 1e-5, "{n} rows: off by {off}");
        }
    }
    assert_eq!(compiled.stats().misses, 1);
    Ok(())
}

/// Sizes that a function reads as numbers, also inside a transform, are refused with their line.
#[rstest]
#[case::size_in_a_gradient(
    |x: &Array| mlx::grad(|x: &Array| x.square().sum(()) / x.dim(0).unwrap_or(1)).call(x),
    "got dim at"
)]
#[case::vmap(|x: &Array| mlx::vmap(|x: &Array| x.sum(())).call(x), "got vmap at")]
#[case::branch(
    |x: &Array| Ok(if x.dim(0)? > 3 { x * 2.0 } else { x * 3.0 }),
    "got dim at"
)]
#[case::shape_of_a_size(|x: &Array| Ok(x * x.axis_size(0)?.get() as i32), "got size at")]
#[case::update(|x: &Array| Ok(x.at(0).add(1.0)), "got at at")]
#[case::failure(
    |x: &Array| x.split(3, 0).map_or_else(|_| Ok(x * 2.0), |parts| Ok(parts[0].clone())),
    "got an operation that fails at"
)]
fn what_fixes_a_size_is_refused(
    #[case] function: fn(&Array) -> mlx::Result<Array>,
    #[case] text: &str,
) {
    let error = jit_with(function, options()).call(&numbers(&[4, 2]));
    let message = error.unwrap_err().to_string();
    assert!(message.contains(text), "{message}");
}

/// A gradient of a shapeless function, in which MLX's own arguments are what it is called with.
#[test]
fn gradients_go_through_forms_for_sizes() -> Result<(), mlx_compiler::Error> {
    let loss = |x: &Array| (x * 2.0).exp().sum(());
    let compiled = jit_with(loss, options());
    let gradient = mlx::grad(|x: &Array| compiled.call(x));
    for n in [3, 3, 4, 4, 3] {
        let x = numbers(&[n]);
        let (got, want) = (gradient.call(&x)?, mlx::grad(loss).call(&x)?);
        let off = (got - want).abs().max(()).item::<f32>()?;
        assert!(off < 1e-5, "off by {off}");
    }
    assert_eq!(compiled.stats().misses, 1);
    Ok(())
}

#[rstest]
#[case::max(|x: &Vec<Array>| x[0].max(0))]
#[case::softmax(|x: &Vec<Array>| x[0].softmax(0))]
#[case::var(|x: &Vec<Array>| x[0].var(keepdims(-1)))]
#[case::twice(|x: &Vec<Array>| x[0].mean(keepdims(-1)).sum(-1))]
#[case::norm(|x: &Vec<Array>| &x[0] * (x[0].square().mean(keepdims(-1)) + 1e-5).rsqrt())]
#[case::constants(|x: &Vec<Array>| x[0].exp().sum(()) + array!([[1.0, 1.0]]).max(0))]
fn reductions_over_one_element_and_over_none_are_right(#[case] function: Function) {
    traces(function, &["1x2", "33x1", "1x1", "0x1", "3x2"]);
}

/// What an operation records depends on sizes, though the function reads none: first with one size, where nothing is limited or
/// computed, then with another.
#[rstest]
#[case::causal(|x: &Array| fast::scaled_dot_product_attention(x, x, x, 0.125, "causal"), &["1x2x1x8", "1x2x6x8", "2x1x9x8"], 2)]
#[case::window(
    |x: &Array| fast::scaled_dot_product_attention(x, x, x, 0.125, fast::AttentionMask::window(4, 0)),
    &["1x2x4x8", "1x2x64x8", "2x2x33x8"],
    2
)]
#[case::default_scale(
    |x: &Array| fast::scaled_dot_product_attention_with(x, x, x, &fast::AttentionOptions::default()),
    &["1x2x4x8", "1x2x4x64", "1x3x7x8"],
    2
)]
#[case::no_queries(|x: &Array| fast::scaled_dot_product_attention(x, x, x, 0.125, None), &["0x2x4x8", "1x2x4x8"], 2)]
#[case::rms_norm_of_none(|x: &Array| fast::rms_norm(x, None, 1e-5), &["0x64", "8x64", "3x9"], 2)]
#[case::layer_norm_of_none(|x: &Array| fast::layer_norm(x, None, None, 1e-5), &["0x64", "8x64", "3x9"], 2)]
#[case::rope(|x: &Array| fast::rope(x, &fast::RopeOptions::default()), &["1x5x8", "2x9x8", "1x5x4"], 2)]
#[case::range_of_one(|x: &Array| x.i(..1) * 2.0, &["1x4", "5x4", "7x1"], 2)]
#[case::range_from_the_end(|x: &Array| x.i(-8..) * 2.0, &["3x4", "12x4", "20x1"], 2)]
#[case::range_of_a_later_axis(|x: &Array| x.i((.., ..3)) * 2.0, &["2x3", "2x5", "1x3"], 2)]
#[case::all_but_the_last(|x: &Array| x.i(..-1) * 2.0, &["4x3", "9x2", "2x2"], 1)]
#[case::last(|x: &Array| x.i(-1) * 2.0, &["4x3", "9x2", "1x2"], 1)]
#[case::every_other(|x: &Array| x.i(s![..;2]) * 2.0, &["4x3", "9x2", "3x1"], 1)]
#[case::backwards(|x: &Array| x.i(s![..;-1]) * 2.0, &["4x3", "9x2", "3x1"], 1)]
#[case::without_ones(|x: &Array| x.squeeze(()) * 2.0, &["4x3", "9x2", "1x2"], 2)]
#[case::rows(
    |x: &Array| x.unstack(0).map_or_else(Array::failed, |rows| rows.iter().fold(mlx::zeros([3]), |sum, row| sum + row)),
    &["4x3", "2x3", "4x3"],
    2
)]
#[case::rolled(|x: &Array| x.roll(1, ()), &["4x3", "9x2", "1x2"], 1)]
#[case::reshape(|x: &Array| x.reshape([2, -1]).exp(), &["4x3", "8x2", "2x1"], 1)]
#[case::split(|x: &Array| x.split(2, 0).map_or_else(Array::failed, |parts| parts[0].exp()), &["4x3", "8x2", "2x1"], 1)]
#[case::reshape_in_a_gradient(
    |x: &Array| mlx::grad(|x: &Array| x.reshape([2, -1]).square().sum(())).call(x).unwrap_or_else(Array::failed),
    &["4x3", "8x2", "2x1"],
    1
)]
fn what_sizes_decide_is_right(
    #[case] function: fn(&Array) -> Array,
    #[case] calls: &[&str],
    #[case] wanted: u64,
) {
    let apply = move |x: &Vec<Array>| function(&x[0]);
    let compiled = jit_with(apply, options());
    for call in calls.iter().flat_map(|call| [call; 3]) {
        let x = numbers(&shapes(call)[0]);
        let (got, want) = (compiled.call(&vec![x.clone()]), function(&x));
        let got = got.unwrap_or_else(|error| panic!("{call}: {error}"));
        assert_eq!(got.shape().unwrap(), want.shape().unwrap(), "{call}");
        let near = got.allclose(&want).item::<bool>().unwrap();
        assert!(near, "{call}");
    }
    assert_eq!(compiled.stats().misses, wanted);
    // From the other end, at sizes of 0 and 1 too.
    let backwards: Vec<&str> = calls.iter().rev().copied().collect();
    traces_of(function, &backwards);
}

/// Compares at these sizes, and at those where each axis is 0 or 1.
fn traces_of(function: fn(&Array) -> Array, calls: &[&str]) {
    let compiled = jit_with(function, options());
    for call in calls {
        let shape = &shapes(call)[0];
        let mut all = vec![shape.clone()];
        for axis in 0..shape.len() - 1 {
            for size in [1, 0] {
                let mut other = shape.clone();
                other[axis] = size;
                all.push(other);
            }
        }
        for shape in all.iter().flat_map(|shape| [shape; 3]) {
            let x = numbers(shape);
            let read = |y: Array| Ok((y.shape()?, y.to_vec::<f32>()?));
            let want = read(function(&x)).map_err(|_: mlx::Error| ());
            let got = compiled.call(&x).map_err(drop);
            let got = got.and_then(|y| read(y).map_err(|_: mlx::Error| ()));
            match (got, want) {
                (Ok((shape, got)), Ok((wanted, want))) => {
                    assert_eq!(shape, wanted);
                    let mut pairs = got.iter().zip(&want);
                    let near =
                        |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5 || a.is_nan() && b.is_nan();
                    assert!(pairs.all(near), "{shape:?}: {got:?} is not {want:?}");
                }
                (Err(()), Err(())) => {}
                (got, want) => panic!("{shape:?}: wanted {want:?}, got {got:?}"),
            }
        }
    }
}

/// Sizes to compute with: in shapes, positions and arrays, and in branches, which are guards.
#[test]
fn sizes_are_computed_with() -> Result<(), mlx_compiler::Error> {
    let halves = |x: &Array| -> mlx::Result<Array> {
        let (rows, half) = (x.axis_size(0)?, x.axis_size(-1)? / 2);
        let positions = mlx::iota(&half) + rows.to_array(mlx::int32);
        let x = x.reshape((&rows * 2, &half)) + positions;
        Ok(if rows > 3 {
            x.sum(()) / (&rows * &half).to_array(mlx::float32)
        } else {
            (x + mlx::ones((rows * 2, half))).sum(())
        })
    };
    let compiled = jit_with(halves, options());
    for shape in [[2, 6], [5, 8], [3, 2], [4, 4], [1, 2], [9, 20]] {
        for _ in 0..3 {
            let x = numbers(&shape);
            let (got, want) = (compiled.call(&x)?, halves(&x)?);
            let off = (got - want).abs().item::<f32>()?;
            assert!(off < 1e-3, "{shape:?}: off by {off}");
        }
    }
    assert_eq!(compiled.stats().misses, 2);
    let why = &compiled.stats().retraces[0];
    assert!(why.contains("a comparison of sizes"), "{why}");
    let strict = jit_with(halves, options()).max_traces(1);
    let _ = strict.call(&numbers(&[2, 6]))?;
    let text = strict.call(&numbers(&[5, 6])).unwrap_err().to_string();
    assert!(text.contains("wanted at most 1 trace"), "{text}");
    Ok(())
}

/// Sizes of an array outside of a gradient, in its function.
#[test]
fn sizes_go_into_the_functions_of_gradients() -> Result<(), mlx_compiler::Error> {
    let step = |w: &Array, x: &Array| -> mlx::Result<Array> {
        let n = x.axis_size(0)?;
        mlx::grad(|w: &Array| -> mlx::Result<Array> {
            let y = x.matmul(w).reshape((1, &n, -1)).square().sum(());
            Ok(if n > 4 {
                y / n.to_array(mlx::float32)
            } else {
                y
            })
        })
        .call(w)
    };
    let compiled = jit_with(step, options());
    let w = numbers(&[3, 2]);
    for n in [2, 2, 2, 6, 6, 9, 9, 3, 3] {
        let x = numbers(&[n, 3]);
        let (got, want) = (compiled.call((&w, &x))?, step(&w, &x)?);
        let off = (got - want).abs().max(()).item::<f32>()?;
        assert!(off < 1e-4, "{n}: off by {off}");
    }
    assert_eq!(compiled.stats().misses, 2);
    Ok(())
}

/// In each of its forms.
#[test]
fn guards_are_in_the_report() -> Result<(), Box<dyn std::error::Error>> {
    let compiled = jit_with(|x: &Array| x.i(..-1) * 2.0, options());
    for n in [3, 5, 5] {
        let _ = compiled.call(&numbers(&[n, 2]))?;
    }
    let report = compiled.report().unwrap_or_default();
    assert!(!report.guards.is_empty());
    let guard = &report.guards[0];
    assert!(guard.contains("x0.dim(0)"), "{guard}");
    assert!(
        report
            .to_string()
            .contains(&format!("holds   where {guard}"))
    );
    let json: serde_json::Value = serde_json::from_str(&report.to_json())?;
    assert_eq!(json["guards"][0], *guard);
    assert_eq!(json["specialized"][0], "float32[5, 2]");
    assert!(report.to_html().contains("float32[5, 2]"));
    Ok(())
}

/// A saved graph does not say which of its numbers are sizes.
#[test]
fn functions_of_files_are_refused() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("norm.safetensors");
    let norm = jit_with(|x: &Array| fast::rms_norm(x, None, 1e-5), options());
    norm.lower(&numbers(&[2, 3]))?.save(&path)?;
    let text = match mlx_compiler::Compiled::open(&path, &options()) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert!(text.contains("got a saved graph"), "{text}");
    mlx_compiler::Compiled::open(&path, &CompileOptions::default())?;
    Ok(())
}

/// Rematerialization and limits of memory are of the forms.
#[test]
fn what_runs_again_runs_again_in_the_forms() -> Result<(), mlx_compiler::Error> {
    let again = CompileOptions {
        rematerialize: true,
        ..options()
    };
    let f = |x: &Array| (x.i(1..).exp() * x.i(..-1)).sum(());
    let compiled = jit_with(f, again);
    for n in [3, 5, 5, 5, 9, 9, 3] {
        let x = numbers(&[n, 2]);
        let off = (compiled.call(&x)? - f(&x)).abs().item::<f32>()?;
        assert!(off < 1e-5, "{n}: off by {off}");
    }
    assert_eq!(compiled.stats().misses, 1);
    Ok(())
}

/// A rule for gradients is applied at the sizes of each call, and its sizes follow too.
#[test]
fn rules_of_gradients_hold_for_all_sizes() -> Result<(), mlx_compiler::Error> {
    let step = |x: &Array| {
        let double = mlx::custom_vjp(
            |x: &Array| x * 2.0,
            |x: &Array, cotangent: &Array, _: &Array| -> mlx::Result<Array> {
                let n = x.axis_size(0)?;
                Ok(cotangent * x.reshape((&n, -1)) / n.to_array(mlx::float32))
            },
        );
        mlx::grad(|x: &Array| -> mlx::Result<Array> { Ok(double.call(x)?.exp().sum(())) }).call(x)
    };
    let compiled = jit_with(step, options()).max_traces(1);
    for n in [2, 2, 2, 5, 5, 5, 1, 1] {
        let x = numbers(&[n, 3]);
        let (got, want) = (compiled.call(&x)?, step(&x)?);
        let off = (got - want).abs().max(()).item::<f32>()?;
        assert!(off < 1e-4, "{n}: off by {off}");
    }
    Ok(())
}

/// An operation that has no traced inputs may fail through its sizes, after which the function goes on in another way.
#[rstest]
#[case::zeros(|n| mlx::zeros([n - 4]))]
#[case::known(|n| mlx::ones([6]).reshape((n, 2)))]
#[case::iota(|n| mlx::iota(10).reshape((n, -1)))]
fn an_operation_that_fails_by_a_size_has_read_it(#[case] made: fn(mlx::Size) -> Array) {
    let plain = move |x: &Array| -> mlx::Result<Array> {
        let n = x.axis_size(0)?;
        Ok(match made(n).checked() {
            Ok(_) => x * 2.0,
            Err(_) => x * 3.0,
        })
    };
    let inner = move |x: &Array| mlx::grad(move |x: &Array| plain(x).map(|y| y.sum(()))).call(x);
    let errors = [
        jit_with(plain, options()).call(&numbers(&[4])).map(drop),
        jit_with(plain, options()).call(&numbers(&[3])).map(drop),
        jit_with(inner, options()).call(&numbers(&[4])).map(drop),
        jit_with(inner, options()).call(&numbers(&[3])).map(drop),
    ];
    let refused = errors.iter().filter_map(|error| error.as_ref().err());
    let refused: Vec<String> = refused.map(ToString::to_string).collect();
    assert!(!refused.is_empty());
    for error in refused {
        assert!(error.contains("got an operation that fails"), "{error}");
    }
}

#[test]
fn shapes_that_are_compared_are_guards() -> Result<(), mlx_compiler::Error> {
    let f = |x: &Array| -> mlx::Result<Array> {
        let is_three = mlx::Shape::from(x.sizes()?) == mlx::Shape::from([3]);
        Ok(if is_three { x * 2.0 } else { x * 3.0 })
    };
    let compiled = jit_with(f, options());
    for n in [3, 4, 3, 4, 5, 3, 5] {
        let x = numbers(&[n]);
        assert_eq!(compiled.call(&x)?.to_vec::<f32>()?, f(&x)?.to_vec::<f32>()?);
    }
    assert_eq!(compiled.stats().misses, 2);
    let guards = compiled.report().unwrap_or_default().guards;
    assert!(guards[0].contains("tests/shapeless.rs"), "{guards:?}");
    Ok(())
}

/// A graph of one rank has the sizes of its parts, and no terms of them.
#[test]
fn functions_of_one_rank_are_refused() -> Result<(), mlx_compiler::Error> {
    use mlx_compiler::sharding::{Mesh, Rules};
    let x = numbers(&[4]);
    let traced = mlx_compiler::trace(|x: &Array| x.i(..-1), &x)?;
    let (of_rank, _) = traced.shard(&Mesh::new(&[("ranks", 1)])?, &Rules::default(), 0)?;
    let error = of_rank
        .lower(&options())
        .err()
        .map(|error| error.to_string());
    assert!(error.unwrap_or_default().contains("got that of one rank"));
    Ok(())
}

/// Terms are bounded: what takes more steps counts as read, and ordinary functions go on.
#[test]
fn a_size_of_many_steps_counts_as_read() -> Result<(), mlx_compiler::Error> {
    let doubled = |x: &Array| -> mlx::Result<Array> {
        let mut n = x.axis_size(0)?;
        for _ in 0..100_000 {
            n = (&n + &n) % 1000;
        }
        Ok(x + n.to_array(mlx::float32))
    };
    let x = numbers(&[3]);
    let got = mlx_compiler::jit(doubled).call(&x)?.to_vec::<f32>()?;
    assert_eq!(got, doubled(&x)?.to_vec::<f32>()?);
    let error = jit_with(doubled, options())
        .call(&x)
        .unwrap_err()
        .to_string();
    assert!(error.contains("got a size of many steps"), "{error}");

    let counted = |x: &Array| -> mlx::Result<Array> {
        let mut n = x.axis_size(0)?;
        for _ in 0..100_000 {
            n = n + 1;
        }
        Ok(if n > 100_004 { x * 2.0 } else { x * 3.0 })
    };
    let compiled = jit_with(counted, options());
    for n in [3, 5, 4, 6] {
        let x = numbers(&[n]);
        let wanted = counted(&x)?.to_vec::<f32>()?;
        assert_eq!(compiled.call(&x)?.to_vec::<f32>()?, wanted, "{n}");
    }
    assert_eq!(compiled.stats().misses, 2);
    Ok(())
}

#[test]
fn sizes_are_numbers_beyond_those_of_shapes() -> Result<(), mlx_compiler::Error> {
    let f = |x: &Array| -> mlx::Result<Array> {
        let n = x.axis_size(0)? * 65536 * 65536;
        Ok(n.to_array(mlx::float32) + n.to_array(mlx::bool_).astype(mlx::float32) * x.sum(()))
    };
    let (compiled, ordinary) = (jit_with(f, options()), mlx_compiler::jit(f));
    for n in [1, 2, 2, 0, 0, 1] {
        let x = mlx::zeros([n]);
        let wanted = n as f32 * 4_294_967_296.0;
        for got in [f(&x)?, compiled.call(&x)?, ordinary.call(&x)?] {
            assert_eq!(got.item::<f32>()?, wanted, "{n}");
        }
    }
    Ok(())
}

/// A file has the sizes of the trace, so that formulas are recognized for it.
#[test]
fn a_saved_function_has_its_formulas() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("norm.safetensors");
    let f = |x: &Array| {
        let x = x.reshape([-1, 4]);
        &x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt()
    };
    let x = numbers(&[2, 8]);
    let lowered = jit_with(f, options()).lower(&x)?;
    lowered.save(&path)?;
    let opened = mlx_compiler::Compiled::open(&path, &CompileOptions::default())?;
    assert_eq!(opened.report().count(mlx_compiler::Fusion::RmsNorm), 1);
    let off = (&opened.call_flat(&[&x])?[0] - f(&x))
        .abs()
        .max(())
        .item::<f32>()?;
    assert!(off < 1e-5, "off by {off}");
    Ok(())
}
