//! A compiled function: calls, caching, errors, nesting.

use std::cell::Cell;
use std::collections::BTreeMap;

use mlx::compiler_api::TracedArray;
use mlx::{Array, Dtype, Tree, array, grad, keepdims, value_and_grad, vmap};
use mlx_compiler::{
    CompileOptions, Error, Fallback, Fusion, ScanOptions, cond, jit, jit_with, scan, while_loop,
};

type Outcome = Result<(), Error>;

fn rms_norm(x: &Array, weight: &Array) -> Array {
    x * (x.square().mean(keepdims(-1)) + 1e-6).rsqrt() * weight
}

fn values(array: &Array) -> Vec<f32> {
    array.to_vec().unwrap()
}

#[test]
fn a_function_is_traced_once_for_each_type() -> Outcome {
    let traces = Cell::new(0);
    let double = jit(|x: &Array| {
        traces.set(traces.get() + 1);
        x * 2.0
    });
    for _ in 0..3 {
        assert_eq!(values(&double.call(&array!([1.0, 2.0]))?), [2.0, 4.0]);
    }
    assert_eq!(values(&double.call(&array!([1.0]))?), [2.0]);
    assert_eq!(traces.get(), 2);
    let stats = double.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (2, 2, 2));
    assert_eq!(stats.retraces, ["input 0 is float32[1], was float32[2]"]);
    Ok(())
}

#[test]
fn the_cache_is_bounded_over_many_shapes() -> Outcome {
    let sum = jit_with(
        |x: &Array| x.sum(()),
        CompileOptions {
            cache_size: 8,
            ..CompileOptions::default()
        },
    );
    for n in 1..200 {
        let x = mlx::ones([n]);
        assert_eq!(sum.call(&x)?.item::<f32>()?, n as f32);
    }
    let stats = sum.stats();
    assert_eq!((stats.entries, stats.evictions), (8, 191));
    Ok(())
}

#[derive(Clone, Tree)]
struct Model {
    weight: Array,
    bias: Option<Array>,
    #[tree(static)]
    scale: i32,
}

#[test]
fn structs_options_and_settings_are_part_of_the_key() -> Outcome {
    let apply = jit(|model: &Model, x: &Array| {
        let y = x * &model.weight * model.scale;
        match &model.bias {
            Some(bias) => y + bias,
            None => y,
        }
    });
    let mut model = Model {
        weight: array!(3.0),
        bias: None,
        scale: 2,
    };
    let x = array!(1.0);
    assert_eq!(apply.call((&model, &x))?.item::<f32>()?, 6.0);
    model.bias = Some(array!(0.5));
    assert_eq!(apply.call((&model, &x))?.item::<f32>()?, 6.5);
    model.scale = 4;
    assert_eq!(apply.call((&model, &x))?.item::<f32>()?, 12.5);
    assert_eq!(apply.stats().misses, 3);
    Ok(())
}

#[test]
fn any_tree_comes_back_as_it_was_returned() -> Outcome {
    let f = jit(|x: &Array| {
        let named = BTreeMap::from([("twice", x * 2.0), ("same", x.clone())]);
        (named, vec![x + 1.0], Some(x - 1.0))
    });
    let (named, list, option) = f.call(&array!([3.0]))?;
    assert_eq!(values(&named["twice"]), [6.0]);
    assert_eq!(values(&named["same"]), [3.0]);
    assert_eq!(values(&list[0]), [4.0]);
    assert_eq!(values(&option.unwrap()), [2.0]);
    Ok(())
}

#[test]
fn an_error_of_the_function_comes_back_as_it_is() {
    let f = jit(|x: &Array| -> anyhow::Result<Array> {
        anyhow::ensure!(x.ndim()? == 2, "wanted a matrix");
        Ok(x.t())
    });
    let error = f.call(&array!([1.0])).unwrap_err();
    assert_eq!(error.to_string(), "wanted a matrix");
    let ok = f.call(&array!([[1.0, 2.0]])).unwrap();
    assert_eq!(ok.shape().unwrap(), [2, 1]);
}

#[test]
fn reading_a_value_while_tracing_names_operation_line_and_way_out() {
    let f = jit(|x: &Array| -> mlx::Result<Array> {
        if x.sum(()).item::<f32>()? > 0.0 {
            Ok(x.clone())
        } else {
            Ok(-x)
        }
    });
    let text = f.call(&array!([1.0])).unwrap_err().to_string();
    assert!(text.starts_with("item: "), "{text}");
    assert!(text.contains("cond, while_loop or scan"), "{text}");
    assert!(text.contains("jit.rs:"), "{text}");
}

#[test]
fn an_array_that_escapes_is_an_error_with_its_line() {
    let escaped = std::cell::RefCell::new(None);
    let f = jit(|x: &Array| {
        *escaped.borrow_mut() = Some(x * 2.0);
        x.clone()
    });
    let _ = f.call(&array!([1.0])).unwrap();
    let escaped = escaped.borrow_mut().take().unwrap();
    let text = (escaped + 1.0).shape().unwrap_err().to_string();
    assert!(
        text.contains("escaped") && text.contains("jit.rs:"),
        "{text}"
    );
}

#[test]
fn what_depends_on_constants_only_can_be_read_while_tracing() -> Outcome {
    let f = jit(|x: &Array| -> mlx::Result<Array> {
        let steps = mlx::iota(4).sum(()).item::<i32>()?;
        Ok(x * steps)
    });
    assert_eq!(values(&f.call(&array!([2.0]))?), [12.0]);
    Ok(())
}

#[test]
fn captured_arrays_are_shared_constants() -> Outcome {
    let weight = array!([1.0, 2.0, 3.0]);
    let inner = weight.clone();
    let f = jit(move |x: &Array| x * &inner);
    let graph = f.trace(&array!([1.0, 1.0, 1.0]))?;
    let shared = graph.graph().values().any(|(_, source)| match source {
        mlx_compiler::graph::ValueOrigin::Constant(mlx_compiler::graph::Constant::Array(array)) => {
            array.buffer_id() == weight.buffer_id()
        }
        _ => false,
    });
    assert!(shared, "{graph}");
    assert_eq!(values(&f.call(&array!([1.0, 1.0, 1.0]))?), [1.0, 2.0, 3.0]);
    Ok(())
}

#[test]
fn a_compiled_function_inside_another_becomes_part_of_it() -> Outcome {
    let norm = jit(rms_norm);
    let outer =
        jit(|x: &Array, w: &Array| -> Result<Array, Error> { Ok(norm.call((x, w))? + 1.0) });
    let (x, w) = (array!([[1.0, 2.0]]), array!([1.0, 1.0]));
    let want = values(&(rms_norm(&x, &w) + 1.0));
    let got = values(&outer.call((&x, &w))?);
    assert!(
        got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5),
        "{got:?} {want:?}"
    );
    assert_eq!(outer.report().unwrap().count(Fusion::RmsNorm), 1);
    assert_eq!(norm.stats().misses, 0);
    Ok(())
}

#[test]
fn gradients_work_inside_and_around() -> Outcome {
    let loss = |x: &Array| (x * x * x).sum(());
    let inside = jit(|x: &Array| grad(loss).call(x));
    let x = array!([1.0, 2.0]);
    assert_eq!(values(&inside.call(&x)?), [3.0, 12.0]);
    let compiled = jit(loss);
    let around = grad(|x: &Array| compiled.call(x));
    assert_eq!(values(&around.call(&x)?), [3.0, 12.0]);
    let both = jit(|x: &Array, y: &Array| -> mlx::Result<(Array, Array)> {
        // `y` is a value of the trace around the gradient.
        value_and_grad(|x: &Array| (x * y).square().sum(())).call(x)
    });
    let (value, slope) = both.call((&x, &array!(2.0)))?;
    assert_eq!(value.item::<f32>()?, 20.0);
    assert_eq!(values(&slope), [8.0, 16.0]);
    Ok(())
}

#[test]
fn vmap_works_inside_and_around() -> Outcome {
    let dot = |a: &Array, b: &Array| (a * b).sum(());
    let inside = jit(move |a: &Array, b: &Array| vmap(dot).call((a, b)));
    let (a, b) = (
        array!([[1.0, 2.0], [3.0, 4.0]]),
        array!([[1.0, 1.0], [2.0, 0.5]]),
    );
    assert_eq!(values(&inside.call((&a, &b))?), [3.0, 8.0]);
    let compiled = jit(dot);
    let around = vmap(|a: &Array, b: &Array| compiled.call((a, b)));
    assert_eq!(values(&around.call((&a, &b))?), [3.0, 8.0]);
    Ok(())
}

#[test]
fn gradients_through_a_fused_node_equal_those_through_its_body() -> Outcome {
    let options = |fallback| CompileOptions {
        fallback,
        ..CompileOptions::default()
    };
    let fused = jit_with(rms_norm, options(Fallback::Never));
    let body = jit_with(rms_norm, options(Fallback::Always));
    let (x, w) = (array!([[1.0, -2.0, 0.5]]), array!([1.0, 0.5, 2.0]));
    let a = grad(|x: &Array| -> Result<Array, Error> { Ok(fused.call((x, &w))?.sum(())) });
    let b = grad(|x: &Array| -> Result<Array, Error> { Ok(body.call((x, &w))?.sum(())) });
    let (a, b) = (values(&a.call(&x)?), values(&b.call(&x)?));
    assert!(
        a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5),
        "{a:?} {b:?}"
    );
    assert!(fused.lower((&x, &w))?.to_string().contains("fast.rms_norm"));
    assert!(!body.lower((&x, &w))?.to_string().contains("fast.rms_norm"));
    Ok(())
}

#[test]
fn only_one_branch_of_cond_runs() -> Outcome {
    let f = jit(|x: &Array, limit: &Array| {
        cond(
            &x.sum(()).greater(limit),
            x,
            |x: &Array| x * 2.0,
            |x: &Array| x - limit,
        )
    });
    let x = array!([1.0, 2.0]);
    assert_eq!(values(&f.call((&x, &array!(0.0)))?), [2.0, 4.0]);
    assert_eq!(values(&f.call((&x, &array!(10.0)))?), [-9.0, -8.0]);
    assert_eq!(f.stats().misses, 1);
    Ok(())
}

#[test]
fn branches_of_different_types_are_refused() {
    let f = jit(|x: &Array| {
        cond(
            &x.sum(()).greater(0.0),
            x,
            |x: &Array| x.clone(),
            |x: &Array| x.sum(()),
        )
    });
    let text = f.call(&array!([1.0])).unwrap_err().to_string();
    assert!(
        text.contains("both branches must give the same types"),
        "{text}"
    );
}

#[test]
fn while_loop_and_scan_run_in_a_graph() -> Outcome {
    let powers = jit(|x: &Array| -> Result<(Array, Array), Error> {
        let count = array!(0);
        while_loop(
            &(x.clone(), count),
            |(x, _): &(Array, Array)| x.less(100.0),
            |(x, n): &(Array, Array)| (x * 2.0, n + 1),
        )
    });
    let (x, n) = powers.call(&array!(3.0))?;
    assert_eq!((x.item::<f32>()?, n.item::<i32>()?), (192.0, 6));
    let sums = jit(|start: &Array, xs: &Array| {
        let options = ScanOptions { reverse: true };
        scan(start, xs, options, |sum: &Array, x: &Array| {
            (sum + x, sum * start)
        })
    });
    let (last, all) = sums.call((&array!(2.0), &array!([1.0, 2.0, 3.0])))?;
    assert_eq!(last.item::<f32>()?, 8.0);
    assert_eq!(values(&all), [14.0, 10.0, 4.0]);
    Ok(())
}

#[test]
fn shapeless_serves_all_sizes_or_says_why_not() -> Outcome {
    let options = CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    };
    let norm = jit_with(rms_norm, options.clone());
    for n in [2, 3, 5] {
        let x = mlx::ones([n, 4]);
        let y = norm.call((&x, &mlx::ones([4])))?;
        assert_eq!(y.shape()?, [n, 4]);
    }
    assert_eq!(norm.stats().misses, 1);
    let reshaped = jit_with(|x: &Array| x.reshape([-1, 2]), options.clone());
    for n in [1, 3] {
        let rows = reshaped.call(&mlx::ones([2 * n]))?;
        assert_eq!(rows.shape()?, [n, 2]);
    }
    assert_eq!(reshaped.stats().misses, 1);
    let sized = jit_with(
        |x: &Array| -> mlx::Result<Array> { Ok(x / x.dim(0)?) },
        options,
    );
    let text = sized.call(&array!([1.0, 2.0])).unwrap_err().to_string();
    assert!(text.contains("got dim at"), "{text}");
    let options = CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    };
    let typed = jit_with(
        |x: &Array| -> mlx::Result<Array> { Ok(x / x.array_type()?.shape[0]) },
        options,
    );
    let text = typed.call(&array!([1.0, 2.0])).unwrap_err().to_string();
    assert!(text.contains("got array_type at"), "{text}");
    Ok(())
}

#[test]
fn a_report_verifies_both_forms() -> Outcome {
    let f = jit(|x: &Array, w: &Array| rms_norm(&rms_norm(x, w), w));
    let (x, w) = (array!([[1.0, 2.0, 3.0]]), array!([1.0, 0.5, 2.0]));
    let _ = f.call((&x, &w))?;
    let report = f.report().unwrap();
    let differences = report.verify([&x, &w])?;
    assert_eq!(differences.len(), 2);
    assert!(
        differences
            .iter()
            .all(|d| d.max_error < 1e-5 && d.scale > 0.1),
        "{differences:?}"
    );
    let error = report.expect([Fusion::LayerNorm]).unwrap_err().to_string();
    assert_eq!(error, "expect: wanted layer_norm x 1, got rms_norm x 2");
    Ok(())
}

#[test]
fn every_stage_prints_and_the_text_reads_back() -> Outcome {
    let f = jit(|x: &Array, flag: &Array| -> Result<Array, Error> {
        let y = cond(
            flag,
            x,
            |x: &Array| x.exp(),
            |x: &Array| rms_norm(x, &array!([1.0, 2.0])),
        )?;
        Ok(grad(|y: &Array| (y * 2.0).sum(())).call(&y)?)
    });
    let lowered = f.lower((&array!([[1.0, 2.0]]), &array!(true)))?;
    for graph in [lowered.traced(), lowered.optimized(), lowered.graph()] {
        let text = graph.to_string();
        let back: mlx_compiler::Graph = text.parse()?;
        back.verify().unwrap();
        assert_eq!(back.to_string(), text);
        assert!(graph.to_dot().starts_with("digraph"));
        assert!(graph.to_mermaid().starts_with("flowchart"));
    }
    Ok(())
}

#[test]
fn constants_of_a_text_are_filled_in_everywhere() -> Outcome {
    let text = "\
graph f(x0: bool[], x1: float32[2]) {
  const c0: float32[2]
  %0: float32[2] = cond x0, x1 {
    graph then(x0: float32[2]) {
      const c0: float32[2]
      %0: float32[2] = add x0, c0
      return %0
    }
    graph else(x0: float32[2]) {
      return x0
    }
  }
  %1: float32[2] = multiply %0, c0
  return %1
}";
    let graph: mlx_compiler::Graph = text.parse()?;
    let filled = graph
        .clone()
        .with_constants([array!([2.0, 3.0]), array!([10.0, 20.0])])?;
    assert_eq!(filled.to_string(), text);
    let inputs = [
        mlx_interpreter::Tensor::of(&array!(true))?,
        mlx_interpreter::Tensor::of(&array!([1.0, 1.0]))?,
    ];
    let run = mlx_interpreter::Interpreter {
        constants: mlx_interpreter::array_constants(&filled)?,
        ..Default::default()
    };
    let result = run.run(&filled, &inputs)?.remove(0).to_array()?;
    assert_eq!(values(&result), [22.0, 63.0]);
    let text = graph
        .clone()
        .with_constants([array!([2.0, 3.0])])
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("wanted another array, float32[2], got no more"),
        "{text}"
    );
    let text = graph
        .with_constants([array!([2.0])])
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("wanted an array float32[2], got float32[1]"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_compiled_form_refuses_arrays_of_other_types() -> Outcome {
    // The size is frozen into the graph and the cast that does nothing is dropped: other types would run and be wrong.
    let mean = |x: &Array| -> mlx::Result<Array> { Ok(x.astype(Dtype::Float32) / x.dim(0)?) };
    let traced = mlx_compiler::trace(mean, &array!([1.0, 2.0]))?;
    let form = traced.lower(&CompileOptions::default())?.compile()?;
    let text = |got: Result<Vec<Array>, Error>| got.unwrap_err().to_string();
    let longer = text(form.call_flat(&[&array!([4.0, 8.0, 12.0])]));
    assert!(longer.starts_with("call: wanted float32[2] as input 0, got float32[3]; at "));
    let whole = text(form.call_flat(&[&array!([4, 8])]));
    assert!(whole.starts_with("call: wanted float32[2] as input 0, got int32[2]; at "));
    let none = text(form.call_flat(&[]));
    assert!(none.starts_with("call: wanted 1 arrays, got 0; at "));
    assert!(form.call_arrays(&[&array!(1.0)]).is_err());
    assert!(form.verify(&[&array!(1.0)]).is_err());
    Ok(())
}

#[test]
fn a_shapeless_form_takes_other_sizes_only() -> Outcome {
    let options = CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    };
    let traced = mlx_compiler::trace(|x: &Array| x * 2.0, &array!([1.0, 2.0]))?;
    let form = traced.lower(&options)?.compile()?;
    assert_eq!(values(&form.call_flat(&[&array!([4.0])])?[0]), [8.0]);
    let error = form.call_flat(&[&array!([[4.0]])]).unwrap_err();
    let wanted = "call: wanted float32 of 1 dimensions as input 0, got float32[1, 1]";
    assert!(error.to_string().starts_with(wanted), "{error}");
    Ok(())
}

#[test]
fn an_escaped_array_that_another_function_returns_is_named_so() -> Outcome {
    let kept = std::cell::RefCell::new(array!(0.0));
    let keeps = jit(|x: &Array| {
        let y = x * 2.0;
        *kept.borrow_mut() = y.clone();
        y
    });
    assert_eq!(keeps.call(&array!(1.0))?.item::<f32>()?, 2.0);
    let error = jit(|_: &Array| kept.borrow().clone()).call(&array!(1.0));
    let wanted = "trace: wanted arrays of this function, got one that escaped another";
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with(wanted), "{text}");
    Ok(())
}

#[test]
fn zeros_keep_their_signs() -> Outcome {
    let bounds = |x: &Array| {
        let (zero, minus) = (array!(0.0), array!(-0.0));
        let slopes = [
            zero.maximum(x),
            minus.maximum(x),
            zero.minimum(x),
            minus.minimum(x),
        ];
        slopes.map(|bound| 1.0 / bound)
    };
    let x = array!([0.0, -0.0]);
    for (compiled, eager) in jit(bounds).call(&x)?.iter().zip(&bounds(&x)) {
        assert_eq!(values(compiled), values(eager));
    }
    Ok(())
}

fn count_down(x: &Array) -> Result<Array, Error> {
    let next = |x: &Array| count_down(&(x - 1.0));
    cond(&x.greater(0.0), x, next, |x: &Array| {
        Ok::<_, Error>(x * 1.0)
    })
}

#[test]
fn a_function_that_calls_itself_in_a_branch_is_an_error_when_traced() -> Outcome {
    assert_eq!(count_down(&array!(3.0))?.item::<f32>()?, 0.0);
    let error = jit(count_down).call(&array!(3.0)).unwrap_err();
    let wanted = "trace: wanted at most 62 functions inside one another, got more";
    assert!(error.to_string().starts_with(wanted), "{error}");
    Ok(())
}

#[test]
fn the_deepest_nest_reads_back() -> Outcome {
    fn nest(x: &Array, depth: usize) -> Result<Array, Error> {
        match depth {
            0 => Ok(x + 1.0),
            depth => {
                let inner = |x: &Array| nest(&(x * 1.5), depth - 1);
                cond(&x.greater(0.0), x, inner, |x: &Array| {
                    Ok::<_, Error>(x * 3.0)
                })
            }
        }
    }
    let traced = mlx_compiler::trace(|x: &Array| nest(x, 61), &array!(1.0))?;
    let back: mlx_compiler::Graph = traced.to_string().parse()?;
    assert_eq!(back.to_string(), traced.to_string());
    Ok(())
}

#[test]
fn a_squeeze_of_whatever_is_one_is_traced_for_each_way() -> Outcome {
    let options = CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    };
    let squeezed = jit_with(|x: &Array| x.squeeze(()), options);
    for shape in [[1, 3], [1, 5], [2, 3], [4, 4], [1, 1]] {
        let y = squeezed.call(&mlx::ones(shape))?;
        let wanted: Vec<i32> = shape.into_iter().filter(|&size| size != 1).collect();
        assert_eq!(y.shape()?, wanted);
    }
    assert_eq!(squeezed.stats().misses, 3);
    Ok(())
}
