//! Elementwise fusion: what becomes one kernel, and that nothing changes.

mod kernels;

use mlx::fast::host_kernel_runs_of;
use mlx::index::Slice;
use mlx::{Array, Dtype, arange_with, array, grad, keepdims, where_};
use mlx_compiler::{CompileOptions, Error, Fallback, KernelFusion, jit, jit_with};
use mlx_testdata::needs;
use rstest::rstest;

fn options(kernel_fusion: KernelFusion) -> CompileOptions {
    CompileOptions {
        kernel_fusion,
        ..CompileOptions::without_fusions()
    }
}

#[test]
fn neighbours_of_one_shape_become_one_group() {
    let f = jit_with(
        |x: &Array, y: &Array| (x * y + 1.0).tanh().sum(keepdims(-1)) * x,
        options(KernelFusion::All),
    );
    let x = array!([[1.0, 2.0], [3.0, 4.0]]);
    let text = f.lower((&x, &x)).unwrap().to_string();
    assert_eq!(
        text,
        "\
graph function(x0: float32[2, 2], x1: float32[2, 2]) {
  %0: float32[2, 2] = fused_group x0, x1 {
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
fn values_that_others_need_end_a_group() {
    let f = jit_with(
        |x: &Array| {
            let shared = x.exp() + 1.0;
            (shared.log() * 2.0, shared.sum(()))
        },
        options(KernelFusion::All),
    );
    let graph = f.lower(&array!([1.0, 2.0])).unwrap();
    let counts = graph.graph().op_frequencies();
    assert_eq!(
        counts["exp"] + counts["add"] + counts["log"] + counts["multiply"],
        4
    );
    let groups = graph.to_string().matches("fused_group").count();
    assert_eq!(groups, 2, "{graph}");
}

#[test]
fn results_are_the_same_with_and_without_fusion() {
    let formula = |x: &Array, y: &Array| {
        let a = (x * 2.0).sin() + y.exp();
        let b = (&a - y).abs() / (x.square() + 1.0);
        (b.mean(keepdims(-1)) * &a, a.max(-1))
    };
    let (x, y) = (array!([[0.1, 0.2, 0.3]]), array!([[1.0], [2.0]]));
    let plain = jit_with(formula, options(KernelFusion::Off))
        .call((&x, &y))
        .unwrap();
    let formed = jit_with(formula, options(KernelFusion::All))
        .call((&x, &y))
        .unwrap();
    let values =
        |(a, b): &(Array, Array)| [a.to_vec::<f32>().unwrap(), b.to_vec().unwrap()].concat();
    assert_eq!(values(&plain), values(&formed));
}

fn whole(rows: i32) -> Array {
    arange_with(0.0, f64::from(rows * 128), 1.0, Dtype::Int32).reshape([rows, 128])
}

/// Numbers around 0, `[rows, 128]`.
fn numbers(rows: i32) -> Array {
    let x = whole(rows).astype(Dtype::Float32) * 0.37;
    let x = x.sin() * 3.0;
    x.eval().unwrap();
    x
}

fn runs() -> u64 {
    host_kernel_runs_of("elementwise")
}

fn on_cpu() -> bool {
    let on_cpu = kernels::are_used();
    if !on_cpu {
        eprintln!("skipped: elementwise kernels are on the CPU only");
    }
    on_cpu
}

/// Only ordinary arithmetic: every step is rounded as MLX rounds it.
fn arithmetic(x: &Array, y: &Array) -> Array {
    let a = x * 2.0 + y;
    let b = (&a - 0.25) / (x.square() + 1.0);
    where_(&b.greater(y), b.abs().sqrt(), b.maximum(-0.5)).rsqrt()
}

fn bits(x: &Array) -> Vec<u32> {
    let values = x.astype(Dtype::Float32).to_vec::<f32>().unwrap();
    let one = |x: f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
    values.into_iter().map(one).collect()
}

#[rstest]
fn the_kernel_gives_the_bits_of_eager_arithmetic(
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
    #[values(64, 1)] others: i32,
) {
    needs!(CpuKernels);
    let x = numbers(64).astype(dtype);
    let y = (numbers(others) - 0.1).astype(dtype);
    let f = jit(arithmetic);
    let before = runs();
    let got = f.call((&x, &y)).unwrap();
    assert_eq!(got.dtype().unwrap(), dtype);
    assert_eq!(bits(&got), bits(&arithmetic(&x, &y)));
    if on_cpu() {
        assert!(runs() > before);
        assert_eq!(f.report().unwrap().elementwise_kernels.len(), 1);
    }
}

#[test]
fn functions_of_one_value_stay_close_to_eager() {
    let formula = |x: &Array| (x.exp() + x.tanh()).sigmoid() * x.erf() - x.cos().log1p() * x.sin();
    let x = numbers(64);
    let (got, wanted) = (jit(formula).call(&x).unwrap(), formula(&x));
    let apart = (&got - &wanted).abs().max(()).item::<f32>().unwrap();
    assert!(apart <= 4e-6, "{apart}");
}

#[test]
fn truth_values_and_integers_are_read_as_numbers() {
    let formula = |x: &Array, n: &Array| {
        let inside = x.greater(0.0).logical_and(&x.less(n));
        where_(&inside.logical_not(), x * n, x + 1.0)
    };
    let (x, n) = (numbers(64), whole(64).remainder(3));
    let got = jit(formula).call((&x, &n)).unwrap();
    assert_eq!(bits(&got), bits(&formula(&x, &n)));
}

#[test]
fn the_report_says_how_many_kernels_of_how_many_operations() {
    if !on_cpu() {
        return;
    }
    let f = jit(|x: &Array| (x * 2.0 + 1.0).sum(keepdims(-1)) * x - 3.0);
    let report = f.lower(&numbers(64)).unwrap().report().clone();
    assert_eq!(report.elementwise_kernels.iter().sum::<usize>(), 4);
    assert!(
        report
            .to_string()
            .contains("formed  2 elementwise kernels of 4 operations")
    );
}

#[test]
fn small_arrays_shapeless_functions_and_other_dtypes_stay_plain() {
    let formula = |x: &Array| (x * 2 + 1).abs();
    let kernels = |options: CompileOptions, x: &Array| {
        let f = jit_with(formula, options);
        f.lower(x).unwrap().report().elementwise_kernels.clone()
    };
    let plain = CompileOptions::default();
    let shapeless = CompileOptions {
        shapeless: true,
        ..plain.clone()
    };
    assert!(kernels(plain.clone(), &numbers(1)).is_empty());
    assert!(kernels(shapeless, &numbers(64)).is_empty());
    assert!(kernels(plain.clone(), &whole(64)).is_empty());
    assert_eq!(kernels(plain, &numbers(64)).len(), usize::from(on_cpu()));
}

#[test]
fn recognized_formulas_are_not_swallowed() {
    let f = jit_with(
        |x: &Array| x * x.sigmoid() * 2.0 + 1.0,
        CompileOptions {
            fallback: Fallback::Never,
            ..CompileOptions::default()
        },
    );
    let plain = CompileOptions {
        kernel_fusion: KernelFusion::Off,
        fallback: Fallback::Never,
        ..CompileOptions::default()
    };
    let g = jit_with(|x: &Array| x * x.sigmoid() * 2.0 + 1.0, plain);
    let x = numbers(64);
    let (f, g) = (f.lower(&x).unwrap(), g.lower(&x).unwrap());
    assert!(!f.report().fired.is_empty());
    assert_eq!(f.report().counts(), g.report().counts());
}

#[test]
fn gradients_go_through_elementwise_kernels() {
    let formula = |x: &Array| ((x * 0.5).sin() + x.square()) * 0.25;
    let compiled = jit(formula);
    let x = numbers(64);
    let wanted = grad(move |x: &Array| formula(x).sum(())).call(&x).unwrap();
    let around = grad(|x: &Array| -> Result<Array, Error> { Ok(compiled.call(x)?.sum(())) });
    assert_eq!(bits(&around.call(&x).unwrap()), bits(&wanted));
    let inside = jit(move |x: &Array| grad(move |x: &Array| formula(x).sum(())).call(x));
    assert_eq!(bits(&inside.call(&x).unwrap()), bits(&wanted));
}

#[test]
fn maps_go_through_elementwise_kernels() {
    let formula = |x: &Array| ((x * 0.5).abs() + x.square()) * 0.25;
    let compiled = jit(formula);
    let x = numbers(64).reshape([2, 32, 128]);
    let mapped = mlx::vmap(|x: &Array| compiled.call(x));
    assert_eq!(bits(&mapped.call(&x).unwrap()), bits(&formula(&x)));
}

#[test]
fn a_region_reads_transposed_and_repeated_inputs() {
    let formula = |x: &Array, y: &Array| (x - y).abs() * 2.0;
    let x = numbers(64).transpose(&[1, 0]);
    let y = array!([0.5, -0.25])
        .reshape([2, 1, 1])
        .broadcast_to([2, 64, 64])
        .reshape([128, 64]);
    assert_eq!(
        bits(&jit(formula).call((&x, &y)).unwrap()),
        bits(&formula(&x, &y))
    );
}

/// A view of an array as given arguments may lie, `[64, 128]`.
fn lying(layout: &str, dtype: Dtype) -> Array {
    let x = numbers(256).astype(dtype);
    let view = match layout {
        "rows" => x.i((..64,)),
        "transposed" => x.reshape([128, 256]).t().i((..64,)),
        "columns" => x.reshape([64, 512]).i((.., Slice::from(7..135))),
        "every third" => x.reshape([64, 512]).i((.., Slice::from(1..385).by(3))),
        "rows backwards" => x.i((Slice::from(63..).by(-1),)),
        "columns backwards" => x.i((..64, Slice::from(..).by(-1))),
        "repeated" => x.i((3,)).broadcast_to([64, 128]),
        "heads" => x
            .reshape([8, 16, 8, 32])
            .transpose([1, 0, 3, 2])
            .i((..4,))
            .reshape([64, 128]),
        other => panic!("no layout {other}"),
    };
    view.eval().unwrap();
    view
}

#[rstest]
fn arguments_may_lie_in_any_way(
    #[values(
        "rows",
        "transposed",
        "columns",
        "every third",
        "rows backwards",
        "columns backwards",
        "repeated",
        "heads"
    )]
    layout: &str,
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
) {
    needs!(CpuKernels);
    let (x, y) = (lying(layout, dtype), numbers(64).astype(dtype));
    for (x, y) in [(&x, &y), (&y, &x), (&x, &x)] {
        let got = jit(arithmetic).call((x, y)).unwrap();
        assert_eq!(bits(&got), bits(&arithmetic(x, y)));
    }
}

#[rstest]
fn truth_values_and_integers_may_lie_in_any_way(
    #[values("transposed", "every third", "rows backwards", "repeated")] layout: &str,
) {
    let formula = |c: &Array, n: &Array, x: &Array| where_(c, x * n, x + 1.0) - 0.5;
    let base = lying(layout, Dtype::Float32);
    let (c, n) = (base.greater(0.0), (&base * 10.0).astype(Dtype::Int32));
    // As the view lies, where the operation keeps that; and as one made of a view.
    let (c, n) = (c.t().contiguous().t(), n.t().contiguous().t());
    let x = numbers(64);
    let got = jit(formula).call((&c, &n, &x)).unwrap();
    assert_eq!(bits(&got), bits(&formula(&c, &n, &x)));
}

#[rstest]
fn what_is_exact_is_not_rounded_and_stays_the_same(
    #[values(Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
) {
    let formula = |x: &Array, y: &Array| {
        let z = (-x).maximum(y).minimum(&(y.abs() * 3.0));
        where_(
            &z.greater(x),
            z.floor() + y.ceil(),
            z.round() - y.sign() * x.trunc(),
        )
    };
    // Beyond what half precision holds, and below its normal numbers.
    let x = (numbers(64) * 3e4).astype(dtype);
    let y = (numbers(64) * 1e-6).astype(dtype);
    for (x, y) in [(&x, &y), (&y, &x)] {
        let got = jit(formula).call((x, y)).unwrap();
        assert_eq!(bits(&got), bits(&formula(x, y)));
    }
}

#[test]
#[ignore = "prints times: run it alone, with --ignored --nocapture"]
fn a_chain_of_eight_operations_with_and_without_fusion() {
    let chain = |x: &Array| {
        let y = (x * 0.5 + 1.0).exp() - x;
        (y * 0.25).maximum(x).square() + 3.0
    };
    let x = arange_with(0.0, 4096.0 * 4096.0, 1.0, Dtype::Float32) / 1.7e7;
    let x = x.reshape([4096, 4096]);
    x.eval().unwrap();
    for fusion in [KernelFusion::Auto, KernelFusion::Off] {
        let f = jit_with(chain, options(fusion));
        let once = |_| {
            let start = std::time::Instant::now();
            f.call(&x).unwrap().eval().unwrap();
            start.elapsed()
        };
        let times: Vec<_> = (0..7).map(once).collect();
        eprintln!("{fusion:?}: {:?}", times.iter().min());
    }
}
