//! Kernels of ours in the place of MLX's code on the CPU: that they run, and that they are right where arrays are not
//! plain: other dtypes, views, broadcasts, gradients and `vmap`.

mod reference;

use std::collections::HashMap;
use std::process::Command;

use mlx::fast::{self, AttentionMask, AttentionOptions, Backend, cpu_kernel_runs};
use mlx::{Array, Device, Dtype, array, eval, grad, vmap};
use mlx_testdata::{needs, slack};
use reference::Numbers;
use rstest::rstest;

/// Whether this process computes with our kernels at all: not on a GPU.
fn has_kernels() -> bool {
    Device::current().unwrap() == Device::Cpu
        && cfg!(target_os = "linux")
        && mlx::cpu::are_kernels_enabled()
}

fn runs_of(operation: &str) -> u64 {
    let runs: HashMap<_, _> = cpu_kernel_runs().into_iter().collect();
    runs.get(operation).copied().unwrap_or(0)
}

/// Evaluates `result` and checks that the kernel of `operation` ran for it.
fn ran(operation: &str, result: &Array) {
    let before = runs_of(operation);
    result.eval().unwrap();
    if has_kernels() {
        assert!(runs_of(operation) > before, "{operation} did not run");
    }
}

/// Values in `f64`, whatever the dtype and the strides.
fn values(array: &Array) -> Vec<f64> {
    let wide = array.astype(Dtype::Float32).to_vec::<f32>().unwrap();
    wide.into_iter().map(f64::from).collect()
}

#[track_caller]
fn assert_near(what: &str, got: &[f64], want: &[f64], relative: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs();
        let ok = error <= relative * want.abs().max(1e-3) || got.is_nan() && want.is_nan();
        assert!(ok || got == want, "{what}[{i}]: wanted {want}, got {got}");
    }
}

/// Half a unit in the last place, and a little for the kernel itself.
fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float16 => 1e-3,
        Dtype::Bfloat16 => 8e-3,
        _ => 2e-6,
    }
}

/// One array in several shapes of memory, always `[rows, columns]`.
fn views(tensor: &Array, rows: i32, columns: i32) -> Vec<(&'static str, Array)> {
    let plain = tensor.reshape([rows, columns]);
    let turned = plain.reshape([columns, rows]).t();
    let wide = mlx::concatenate([&plain, &plain], 1);
    let part = wide.split(2, 1).unwrap().swap_remove(1);
    let backwards = plain.flip([0]);
    let repeated = plain
        .split(rows, 0)
        .unwrap()
        .swap_remove(0)
        .broadcast_to([rows, columns]);
    vec![
        ("plain", plain),
        ("transposed", turned),
        ("part of rows", part),
        ("backwards", backwards),
        ("repeated", repeated),
    ]
}

type Function = (&'static str, fn(&Array) -> Array, fn(f64) -> f64);

const FUNCTIONS: &[Function] = &[
    ("exp", Array::exp, f64::exp),
    ("sin", Array::sin, f64::sin),
    ("cos", Array::cos, f64::cos),
    ("tanh", Array::tanh, f64::tanh),
    ("sigmoid", Array::sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
    ("square", Array::square, |x| x * x),
    ("negative", |x| -x, |x| -x),
    ("abs", Array::abs, f64::abs),
    ("log", |x| x.abs().log(), |x| x.abs().ln()),
    ("sqrt", |x| x.abs().sqrt(), |x| x.abs().sqrt()),
    ("rsqrt", |x| x.abs().rsqrt(), |x| 1.0 / x.abs().sqrt()),
    ("fast.silu", fast::silu, |x| x / (1.0 + (-x).exp())),
];

#[rstest]
fn functions_of_one_element_are_right_in_every_view(
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
) {
    needs!(CpuKernels);
    let (rows, columns) = (33, 257);
    let tensor = Numbers::new(3).tensor(2.0, &[rows * columns], dtype);
    for (view, x) in views(&tensor.array(), rows, columns) {
        let plain = values(&x);
        for (name, function, exact) in FUNCTIONS {
            let y = function(&x);
            // What is an instruction MLX's own loops compute backwards, for the one row that is repeated, and where it rounds twice.
            let in_half = dtype != Dtype::Float32 && *name == "rsqrt";
            if !["backwards", "repeated"].contains(&view) && !in_half {
                ran(name, &y);
            }
            let want: Vec<f64> = plain.iter().map(|&x| exact(x)).collect();
            // A kernel rounds once; MLX's composed SiLU rounds the sigmoid too.
            let roundings = if has_kernels() || *name != "fast.silu" {
                1.0
            } else {
                2.0
            };
            assert_near(
                &format!("{name} {dtype} {view}"),
                &values(&y),
                &want,
                roundings * tolerance(dtype),
            );
        }
    }
}

#[rstest]
fn functions_of_two_elements_are_right_in_every_pair_of_views(
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
) {
    type Two = (
        &'static str,
        fn(&Array, &Array) -> Array,
        fn(f64, f64) -> f64,
    );
    let functions: [Two; 6] = [
        ("add", |a, b| a + b, |a, b| a + b),
        ("subtract", |a, b| a - b, |a, b| a - b),
        ("multiply", |a, b| a * b, |a, b| a * b),
        ("divide", |a, b| a / b, |a, b| a / b),
        ("maximum", |a, b| a.maximum(b), f64::max),
        ("minimum", |a, b| a.minimum(b), f64::min),
    ];
    let (rows, columns) = (33, 257);
    let mut numbers = Numbers::new(4);
    let a = numbers.tensor(2.0, &[rows * columns], dtype).array();
    let b = numbers.tensor(2.0, &[rows * columns], dtype).array();
    for (left, a) in views(&a, rows, columns) {
        for (right, b) in views(&b, rows, columns) {
            let (x, y) = (values(&a), values(&b));
            for (name, function, exact) in &functions {
                let z = function(&a, &b);
                // Of two repeated rows only one is computed, which is too small for a kernel.
                let is_one_row = left == "repeated" && right == "repeated";
                if left != "backwards" && right != "backwards" && !is_one_row {
                    ran(name, &z);
                }
                let want: Vec<f64> = x.iter().zip(&y).map(|(&x, &y)| exact(x, y)).collect();
                let what = format!("{name} {dtype} {left} {right}");
                assert_near(&what, &values(&z), &want, tolerance(dtype));
            }
        }
    }
}

#[test]
fn maximum_and_minimum_keep_what_is_not_a_number() {
    let x = mlx::full([5000], f32::NAN);
    let y = mlx::ones([5000]);
    for z in [x.maximum(&y), y.maximum(&x), x.minimum(&y), y.minimum(&x)] {
        assert!(values(&z).iter().all(|z| z.is_nan()));
    }
}

#[rstest]
fn reductions_are_right_over_any_axes(
    #[values(&[0], &[1], &[2], &[0, 1], &[1, 2], &[0, 1, 2], &[0, 2])] axes: &[i32],
    #[values(true, false)] is_turned: bool,
) {
    let shape = [12, 17, 31];
    let tensor = Numbers::new(5).tensor(2.0, &shape, Dtype::Float32);
    let mut x = tensor.array();
    let mut sizes = shape.map(|size| size as usize);
    if is_turned {
        x = x.transpose([2, 0, 1]);
        sizes = [31, 12, 17];
    }
    let numbers = values(&x);
    let kept = |axis: usize| !axes.contains(&(axis as i32));
    let count: usize = (0..3)
        .filter(|&axis| kept(axis))
        .map(|axis| sizes[axis])
        .product();
    let mut sums = vec![0.0; count];
    let mut greatest = vec![f64::NEG_INFINITY; count];
    for (i, value) in numbers.iter().enumerate() {
        let at = [
            i / (sizes[1] * sizes[2]),
            i / sizes[2] % sizes[1],
            i % sizes[2],
        ];
        let place = (0..3)
            .filter(|&axis| kept(axis))
            .fold(0, |place, axis| place * sizes[axis] + at[axis]);
        sums[place] += value;
        greatest[place] = greatest[place].max(*value);
    }
    let near = |what: &str, got: &Array, want: &[f64]| {
        let got = values(got);
        for (got, want) in got.iter().zip(want) {
            assert!(
                (got - want).abs() < 1e-4 * want.abs().max(1.0),
                "{what} {axes:?}: wanted {want}, got {got}"
            );
        }
    };
    near("sum", &x.sum(axes.to_vec()), &sums);
    near("max", &x.max(axes.to_vec()), &greatest);
    if has_kernels() {
        assert!(runs_of("sum") + runs_of("max") > 0);
    }
}

#[rstest]
#[case(1, 1)]
#[case(3, 1)]
#[case(1, 2)]
fn a_few_rows_times_a_transposed_matrix_are_the_product(#[case] rows: i32, #[case] batch: i32) {
    let (columns, outputs) = (257, 67);
    for dtype in [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16] {
        let mut numbers = Numbers::new(6);
        let x = numbers.tensor(1.0, &[batch, rows, columns], dtype).array();
        let w = numbers.tensor(1.0, &[outputs, columns], dtype).array();
        let bias = numbers.tensor(1.0, &[outputs], dtype).array();
        let (a, b, c) = (values(&x), values(&w), values(&bias));
        let mut want = Vec::new();
        for row in a.chunks(columns as usize) {
            for (weights, bias) in b.chunks(columns as usize).zip(&c) {
                want.push((
                    row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>(),
                    *bias,
                ));
            }
        }
        let check = |what: &str, got: &Array, want: Vec<f64>| {
            for (got, want) in values(got).iter().zip(want) {
                let allowed = (1e-5 + tolerance(dtype)) * 20.0;
                assert!(
                    (got - want).abs() < allowed,
                    "{what} {dtype}: wanted {want}, got {got}"
                );
            }
        };
        let product = x.matmul(&w.t());
        let sum = mlx::addmm_with(&bias, &x, &w.t(), 0.5, 2.0);
        if rows * batch <= 3 || dtype != Dtype::Float32 {
            ran("matmul", &product);
            ran("addmm", &sum);
        }
        check(
            "matmul",
            &product,
            want.iter().map(|(product, _)| *product).collect(),
        );
        check(
            "addmm",
            &sum,
            want.iter()
                .map(|(product, bias)| 0.5 * product + 2.0 * bias)
                .collect(),
        );
        let wide = x.astype(Dtype::Float32);
        let linear = fast::linear(&wide, &w);
        if dtype != Dtype::Float32 {
            ran("fast.linear", &linear);
        }
        check(
            "linear",
            &linear,
            want.iter().map(|(product, _)| *product).collect(),
        );
    }
}

type Formula = dyn Fn(&[Array]) -> Array;

/// A function and its composed form, with arguments.
fn gradients(
    operation: &str,
    fused: impl Fn(&[Array]) -> Array + 'static,
    composed: impl Fn(&[Array]) -> Array + 'static,
    arguments: &[Array],
    argnums: &[usize],
) {
    // A weight on each result, so that no gradient is lost in a sum.
    let weighed = |result: Array| {
        let n = result.size().unwrap();
        let weights: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
        (result.reshape([-1]) * Array::from_slice(&weights, [n as i32]).unwrap()).sum(())
    };
    let argnums: Vec<usize> = argnums.to_vec();
    let all = arguments.to_vec();
    let of = |function: Box<Formula>| {
        let loss = move |arguments: &Vec<Array>| weighed(function(arguments));
        grad(loss).call(&all).unwrap()
    };
    let before = runs_of(operation);
    let got = of(Box::new(fused));
    eval(&got).unwrap();
    if has_kernels() {
        assert!(runs_of(operation) > before, "{operation} did not run");
    }
    let want = of(Box::new(composed));
    for &i in &argnums {
        let (got, want) = (values(&got[i]), values(&want[i]));
        let largest = want.iter().fold(1e-3_f64, |most, x| most.max(x.abs()));
        for (got, want) in got.iter().zip(&want) {
            assert!(
                (got - want).abs() < 2e-5 * largest,
                "{operation} {i}: wanted {want}, got {got}"
            );
        }
    }
}

#[test]
fn gradients_of_norms_are_those_of_their_formulas() {
    let mut numbers = Numbers::new(7);
    let mut of = |shape: &[i32]| numbers.tensor(1.0, shape, Dtype::Float32).array();
    let (x, weight, bias) = (of(&[5, 7, 65]), of(&[65]), of(&[65]));
    gradients(
        "fast.rms_norm gradient",
        |a| fast::rms_norm(&a[0], &a[1], 1e-5),
        |a| fast::composed::rms_norm(&a[0], &a[1], 1e-5),
        &[x.clone(), weight.clone()],
        &[0, 1],
    );
    gradients(
        "fast.rms_norm gradient",
        |a| fast::rms_norm(&a[0], None, 1e-5),
        |a| fast::composed::rms_norm(&a[0], None, 1e-5),
        std::slice::from_ref(&x),
        &[0],
    );
    gradients(
        "fast.layer_norm gradient",
        |a| fast::layer_norm(&a[0], &a[1], &a[2], 1e-5),
        |a| fast::composed::layer_norm(&a[0], &a[1], &a[2], 1e-5),
        &[x, weight, bias],
        &[0, 1, 2],
    );
}

#[rstest]
#[case(AttentionMask::none())]
#[case(AttentionMask::causal())]
#[case(AttentionMask::causal().and_window(2, None))]
fn gradients_of_attention_are_those_of_its_formula(#[case] mask: AttentionMask) {
    let mut numbers = Numbers::new(8);
    let mut of = |shape: &[i32]| numbers.tensor(1.0, shape, Dtype::Float32).array();
    let arguments = [of(&[2, 4, 9, 8]), of(&[2, 2, 11, 8]), of(&[2, 2, 11, 6])];
    let options = AttentionOptions {
        mask,
        ..Default::default()
    };
    let same = options.clone();
    gradients(
        "fast.scaled_dot_product_attention gradient",
        move |a| fast::scaled_dot_product_attention_with(&a[0], &a[1], &a[2], &options),
        move |a| fast::composed::scaled_dot_product_attention(&a[0], &a[1], &a[2], &same),
        &arguments,
        &[0, 1, 2],
    );
}

#[test]
fn the_gradient_of_the_cross_entropy_is_that_of_its_formula() {
    let logits = Numbers::new(9)
        .tensor(3.0, &[6, 33], Dtype::Float32)
        .array();
    let targets = array!([0, 5, 32, 7, 7, 1]);
    let same = targets.clone();
    gradients(
        "fast.cross_entropy gradient",
        move |a| fast::cross_entropy(&a[0], &targets),
        move |a| fast::composed::cross_entropy(&a[0], &same),
        &[logits],
        &[0],
    );
}

#[test]
fn gradients_of_activations_are_those_of_their_formulas() {
    let mut numbers = Numbers::new(12);
    let mut of = |shape: &[i32]| numbers.tensor(2.0, shape, Dtype::Float32).array();
    let (x, other) = (of(&[3, 7, 65]), of(&[65, 21]).t().reshape([3, 7, 65]));
    gradients(
        "fast.gelu gradient",
        |a| fast::gelu(&a[0]),
        |a| fast::composed::gelu(&a[0]),
        std::slice::from_ref(&x),
        &[0],
    );
    gradients(
        "fast.gelu_approx gradient",
        |a| fast::gelu_approx(&a[0].swapaxes(0, 1)),
        |a| fast::composed::gelu_approx(&a[0].swapaxes(0, 1)),
        std::slice::from_ref(&x),
        &[0],
    );
    gradients(
        "fast.silu gradient",
        |a| fast::silu(&a[0]),
        |a| fast::composed::silu(&a[0]),
        std::slice::from_ref(&x),
        &[0],
    );
    gradients(
        "fast.swiglu gradient",
        |a| fast::swiglu(&a[0], &a[1]),
        |a| fast::composed::swiglu(&a[0], &a[1]),
        &[x, other],
        &[0, 1],
    );
}

#[test]
fn second_derivatives_go_through_the_composed_forms() {
    let x = Numbers::new(10)
        .tensor(1.0, &[3, 8], Dtype::Float32)
        .array();
    let twice = |norm: fn(&Array) -> Array| {
        let slope = move |x: &Array| {
            let loss = move |x: &Array| norm(x).square().sum(()) + norm(x).power(3.0).sum(());
            grad(loss).call(x).unwrap().sin().sum(())
        };
        values(&grad(slope).call(&x).unwrap())
    };
    let got = twice(|x| fast::gelu(&fast::rms_norm(x, None, 1e-5)));
    let want = twice(|x| fast::composed::gelu(&fast::composed::rms_norm(x, None, 1e-5)));
    for (got, want) in got.iter().zip(&want) {
        assert!(
            (got - want).abs() < 1e-3 * want.abs().max(1.0),
            "wanted {want}, got {got}"
        );
    }
}

#[rstest]
#[case("fast.rms_norm", |x: &Array| fast::rms_norm(x, None, 1e-5))]
#[case("fast.layer_norm", |x: &Array| fast::layer_norm(x, None, None, 1e-5))]
#[case("fast.gelu", |x: &Array| fast::gelu(x))]
#[case("softmax", |x: &Array| x.softmax(-1))]
fn vmap_uses_the_kernel_over_any_axis(
    #[case] operation: &str,
    #[case] function: fn(&Array) -> Array,
) {
    let x = Numbers::new(11)
        .tensor(1.0, &[4, 5, 64], Dtype::Float32)
        .array();
    for axis in [0, 1] {
        let mapped = vmap(move |x: &Array| function(x)).in_axes(vec![Some(axis)]);
        let got = mapped.call(&x).unwrap();
        ran(operation, &got);
        let want = function(&x.moveaxis(axis, 0));
        assert_near(operation, &values(&got), &values(&want), 1e-6 * slack!());
    }
}

#[test]
fn attention_reads_heads_and_caches_where_they_lie() {
    let mut numbers = Numbers::new(13);
    let mut of = |shape: &[i32]| numbers.tensor(1.0, shape, Dtype::Float32).array();
    // As a linear layer leaves them, [batch, length, heads, dim], and a part of a cache with room for more.
    let q = of(&[2, 3, 4, 16]).transpose([0, 2, 1, 3]);
    let k = of(&[2, 2, 32, 16]).split(2, 2).unwrap().swap_remove(0);
    let v = of(&[2, 2, 32, 16]).split(2, 2).unwrap().swap_remove(1);
    let options = AttentionOptions::default();
    let got = fast::scaled_dot_product_attention_with(&q, &k, &v, &options);
    ran("fast.scaled_dot_product_attention", &got);
    let want = fast::composed::scaled_dot_product_attention(&q, &k, &v, &options);
    for (got, want) in values(&got).iter().zip(values(&want)) {
        assert!((got - want).abs() < 1e-5, "wanted {want}, got {got}");
    }
}

#[rstest]
fn kernels_can_be_switched_off_for_a_process(#[values("0", "off")] switch: &str) {
    needs!(CpuKernels);
    const CHILD: &str = "MLX_TEST_SWITCHED_OFF";
    if std::env::var_os(CHILD).is_some() {
        let x = mlx::ones([64, 64]);
        assert_eq!(
            fast::backend(&fast::rms_norm(&x, None, 1e-5)).unwrap(),
            Backend::Composed
        );
        x.exp().softmax(-1).eval().unwrap();
        assert!(cpu_kernel_runs().is_empty(), "{:?}", cpu_kernel_runs());
        return;
    }
    let test = std::env::current_exe().unwrap();
    let output = Command::new(test)
        .arg("kernels_can_be_switched_off_for_a_process")
        .envs([("MLX_HOST_KERNELS", switch), (CHILD, "1")])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
