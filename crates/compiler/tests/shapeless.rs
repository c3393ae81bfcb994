//! Functions compiled once for all sizes: what they return is what the function itself returns, at every size.

use mlx::{Array, array, fast, keepdims};
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
    for call in calls {
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
