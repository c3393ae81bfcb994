//! Random numbers without a key in compiled functions: new ones in each call, and those that the function draws eagerly.

use mlx::{Array, array, grad, random, value_and_grad, vmap};
use mlx_compiler::{ScanOptions, cond, jit, scan, while_loop};

fn noisy(x: &Array) -> Array {
    x + random::normal([4]) * random::uniform(0, 1, [4])
}

fn values(x: &Array) -> Vec<f32> {
    x.to_vec::<f32>().unwrap()
}

#[test]
fn each_call_draws_what_the_function_draws_eagerly() {
    let x = mlx::zeros(4);
    random::seed(5);
    let wanted: Vec<_> = (0..3).map(|_| values(&noisy(&x))).collect();
    let compiled = jit(noisy);
    random::seed(5);
    let got: Vec<_> = (0..3)
        .map(|_| values(&compiled.call(&x).unwrap()))
        .collect();
    assert_ne!(got[0], got[1]);
    for (got, want) in got.iter().flatten().zip(wanted.iter().flatten()) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
    assert_eq!(compiled.stats().misses, 1);
}

#[test]
fn what_is_drawn_around_a_call_goes_on_from_it() {
    let compiled = jit(noisy);
    random::seed(2);
    let _ = compiled.call(&mlx::zeros(4)).unwrap();
    let after = values(&random::normal([2]));
    random::seed(2);
    let _ = noisy(&mlx::zeros(4));
    assert_eq!(values(&random::normal([2])), after);
}

#[test]
fn gradients_inside_draw_what_they_draw_eagerly() {
    let loss = |w: &Array, x: &Array| {
        let kept = random::bernoulli(0.5, [16]);
        (w * x * kept).sum(())
    };
    let (w, x) = (mlx::ones(16), mlx::arange(16).astype(mlx::float32));
    let step = jit(value_and_grad(loss));
    random::seed(8);
    let (_, wanted) = value_and_grad(loss).call((&w, &x)).unwrap();
    random::seed(8);
    let (_, got) = step.call((&w, &x)).unwrap();
    assert_eq!(values(&got), values(&wanted));
    let (_, other) = step.call((&w, &x)).unwrap();
    assert_ne!(values(&other), values(&wanted));
}

#[test]
fn transforms_of_a_compiled_function_draw_anew() {
    let compiled = jit(|x: &Array| (x * random::normal([4])).sum(()));
    let slope = grad(move |x: &Array| compiled.call(x).map_err(mlx::Error::from));
    random::seed(4);
    let wanted = values(&random::normal([4]));
    random::seed(4);
    let first = values(&slope.call(&mlx::ones(4)).unwrap());
    for (got, want) in first.iter().zip(&wanted) {
        assert!((got - want).abs() < 1e-6);
    }
    assert_ne!(values(&slope.call(&mlx::ones(4)).unwrap()), first);
    let rows = vmap(jit(noisy)).call(&mlx::zeros((2, 4))).unwrap();
    let rows = values(&rows);
    assert_eq!(rows[..4], rows[4..]);
    let again = values(&random::normal([4]));
    assert!(again.iter().all(|value| value.is_finite()));
}

#[test]
fn functions_inside_one_another_share_the_keys() {
    let inner = jit(noisy);
    let outer = jit(move |x: &Array| inner.call(x).map(|y| y + random::normal([4])));
    let x = mlx::zeros(4);
    random::seed(6);
    let wanted = values(&(noisy(&x) + random::normal([4])));
    random::seed(6);
    let got = values(&outer.call(&x).unwrap());
    for (got, want) in got.iter().zip(&wanted) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
}

#[test]
fn rounds_and_branches_want_a_key() {
    let refused = |error: mlx_compiler::Error| {
        let text = error.to_string();
        assert!(text.contains("wanted a random key"), "{text}");
    };
    let looped = jit(|x: &Array| {
        let low = |x: &Array| x.sum(()).less(10.0);
        while_loop(x, low, |x: &Array| x + random::uniform(0, 1, [4]))
    });
    refused(looped.call(&mlx::zeros(4)).unwrap_err());
    let chosen = jit(|x: &Array| {
        let positive = x.sum(()).greater(0);
        cond(&positive, x, noisy, Array::clone)
    });
    refused(chosen.call(&mlx::zeros(4)).unwrap_err());
    let scanned = jit(|x: &Array| {
        let body = |sum: &Array, x: &Array| (sum + x * random::normal(()), sum.clone());
        scan::<Array, Array, Array, _>(&mlx::zeros(()), x, ScanOptions::default(), body)
    });
    refused(scanned.call(&mlx::zeros(4)).unwrap_err());
}

#[test]
fn numbers_are_arguments_that_the_function_is_compiled_for() {
    let scaled = jit(|x: &Array, scale: &f32, times: &usize| x * *scale * *times);
    let x = array!([1.0, 2.0]);
    assert_eq!(values(&scaled.call((&x, &0.5, &2)).unwrap()), [1.0, 2.0]);
    assert_eq!(values(&scaled.call((&x, &2.0, &2)).unwrap()), [4.0, 8.0]);
    assert_eq!(values(&scaled.call((&x, &0.5, &2)).unwrap()), [1.0, 2.0]);
    assert_eq!((scaled.stats().misses, scaled.stats().hits), (2, 1));
}
