//! Elementwise regions: what becomes one, and that nothing changes.

use mlx::{Array, array, keepdims};
use mlx_compiler::{CompileOptions, Regions, jit_with};

fn options(regions: Regions) -> CompileOptions {
    CompileOptions {
        regions,
        ..CompileOptions::without_fusions()
    }
}

#[test]
fn neighbours_of_one_shape_become_one_region() {
    let f = jit_with(
        |x: &Array, y: &Array| (x * y + 1.0).tanh().sum(keepdims(-1)) * x,
        options(Regions::Form),
    );
    let x = array!([[1.0, 2.0], [3.0, 4.0]]);
    let text = f.lower((&x, &x)).unwrap().to_string();
    assert_eq!(
        text,
        "\
graph function(x0: float32[2, 2], x1: float32[2, 2]) {
  %0: float32[2, 2] = region x0, x1 {
    graph function(x0: float32[2, 2], x1: float32[2, 2]) {
      %0: float32[2, 2] = multiply x0, x1
      %1: float32[2, 2] = add %0, 1.0
      %2: float32[2, 2] = tanh %1
      return %2
    }
  }
  %1: float32[2, 1] = sum %0 axes=[1] keepdims
  %2: float32[2, 2] = multiply %1, x0
  return %2
}"
    );
}

#[test]
fn values_that_others_need_end_a_region() {
    let f = jit_with(
        |x: &Array| {
            let shared = x.exp() + 1.0;
            (shared.log() * 2.0, shared.sum(()))
        },
        options(Regions::Form),
    );
    let graph = f.lower(&array!([1.0, 2.0])).unwrap();
    let counts = graph.graph().op_frequencies();
    assert_eq!(
        counts["exp"] + counts["add"] + counts["log"] + counts["multiply"],
        4
    );
    let regions = graph.to_string().matches("region").count();
    assert_eq!(regions, 2, "{graph}");
}

#[test]
fn results_are_the_same_with_and_without_regions() {
    let formula = |x: &Array, y: &Array| {
        let a = (x * 2.0).sin() + y.exp();
        let b = (&a - y).abs() / (x.square() + 1.0);
        (b.mean(keepdims(-1)) * &a, a.max(-1))
    };
    let (x, y) = (array!([[0.1, 0.2, 0.3]]), array!([[1.0], [2.0]]));
    let plain = jit_with(formula, options(Regions::Plain))
        .call((&x, &y))
        .unwrap();
    let formed = jit_with(formula, options(Regions::Form))
        .call((&x, &y))
        .unwrap();
    let values =
        |(a, b): &(Array, Array)| [a.to_vec::<f32>().unwrap(), b.to_vec().unwrap()].concat();
    assert_eq!(values(&plain), values(&formed));
}
