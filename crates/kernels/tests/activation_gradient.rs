//! Gradients of activations against their formulas in `f64`.

use mlx_kernels::{UnaryOp, activation_gradient, swiglu_gradient};
use rstest::rstest;

/// The slope, from differences of the function in `f64`.
fn slope(op: UnaryOp, x: f64) -> f64 {
    let of = |x: f64| match op {
        UnaryOp::Silu => x / (1.0 + (-x).exp()),
        UnaryOp::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            x * (1.0 + inner.tanh()) / 2.0
        }
        _ => x * (1.0 + erf(x / 2.0_f64.sqrt())) / 2.0,
    };
    // Of fourth order: the error is that of the function over the step.
    let h = 1e-3;
    let near = |n: f64| of(x + n * h);
    (8.0 * (near(1.0) - near(-1.0)) - (near(2.0) - near(-2.0))) / (12.0 * h)
}

/// The series of the error function.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        let n = f64::from(n);
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[rstest]
fn slopes_are_those_of_the_functions(
    #[values(UnaryOp::Gelu, UnaryOp::GeluTanh, UnaryOp::Silu)] op: UnaryOp,
    #[values(0, 1, 15, 17, 40_001)] count: usize,
) {
    let x: Vec<f32> = (0..count)
        .map(|at| (at % 997) as f32 / 125.0 - 4.0)
        .collect();
    let g: Vec<f32> = (0..count).map(|at| (at % 7) as f32 - 2.5).collect();
    let mut out = vec![f32::NAN; count];
    activation_gradient(op, &x, &g, &mut out).unwrap();
    for ((x, g), out) in x.iter().zip(&g).zip(&out) {
        let wanted = slope(op, f64::from(*x)) * f64::from(*g);
        assert!(
            (f64::from(*out) - wanted).abs() < 2e-6 * (1.0 + wanted.abs()),
            "{op:?} at {x}: {out} {wanted}"
        );
    }
}

#[test]
fn the_gate_and_what_it_lets_through_have_gradients() {
    let count = 1003;
    let at = |step: f32, shift: f32| -> Vec<f32> {
        (0..count)
            .map(|at| (at as f32 * step) % 9.0 - shift)
            .collect()
    };
    let (gate, x, g) = (at(0.37, 4.0), at(0.61, 5.0), at(0.83, 4.5));
    let (mut by_gate, mut by_x) = (vec![0.0; count], vec![0.0; count]);
    swiglu_gradient(&gate, &x, &g, [&mut by_gate, &mut by_x]).unwrap();
    for at in 0..count {
        let [gate, x, g] = [gate[at], x[at], g[at]].map(f64::from);
        let silu = gate / (1.0 + (-gate).exp());
        let near = |got: f32, wanted: f64| {
            let is_near = (f64::from(got) - wanted).abs() < 2e-5;
            assert!(is_near, "at {at}: {got} {wanted}");
        };
        near(by_gate[at], slope(UnaryOp::Silu, gate) * x * g);
        near(by_x[at], silu * g);
    }
}

#[rstest]
#[case(UnaryOp::Gelu)]
#[case(UnaryOp::GeluTanh)]
#[case(UnaryOp::Silu)]
fn far_from_zero_slopes_are_zero_or_one(#[case] op: UnaryOp) {
    let x = [f32::NEG_INFINITY, -3e38, 3e38, f32::INFINITY, f32::NAN];
    let mut out = [0.0; 5];
    activation_gradient(op, &x, &[1.0; 5], &mut out).unwrap();
    assert!(out[0].abs() < 1e-38 && out[1].abs() < 1e-38);
    assert_eq!(out[2..4], [1.0, 1.0]);
    assert!(out[4].is_nan());
}

#[test]
fn other_functions_and_lengths_are_refused() {
    let error = activation_gradient(UnaryOp::Gelu, &[1.0], &[], &mut [0.0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "activation_gradient: g must have 1 elements, got 0"
    );
    assert!(activation_gradient(UnaryOp::Exp, &[1.0], &[1.0], &mut [0.0]).is_err());
    let error = swiglu_gradient(&[1.0], &[1.0], &[1.0], [&mut [], &mut [0.0]]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "swiglu_gradient: gradient of gate must have 1 elements, got 0"
    );
}
