//! Steps of optimizers against their formulas in `f64`.

use mlx_kernels::{
    AdamStep, LionStep, MomentumStep, OptimizerStep, RmsPropStep, SgdStep, optimizer_step,
};
use rstest::rstest;

const SGD: SgdStep = SgdStep {
    rate: 0.25,
    weight_decay: 0.5,
};
const MOMENTUM: MomentumStep = MomentumStep {
    rate: 0.1,
    weight_decay: 0.25,
    momentum: 0.9,
    weight: 0.75,
    nesterov: false,
};
const LION: LionStep = LionStep {
    rate: 0.1,
    shrink: 0.9,
    betas: [0.9, 0.99],
    weights: [0.1, 0.01],
};
const RMSPROP: RmsPropStep = RmsPropStep {
    rate: 0.1,
    alpha: 0.99,
    weight: 0.01,
    eps: 1e-3,
};
const ADAM: AdamStep = AdamStep {
    rate: 0.1,
    shrink: 0.99,
    betas: [0.9, 0.999],
    weights: [0.1, 0.001],
    root_scale: 3.0,
    eps: 1e-3,
};

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    };
    (0..count).map(|_| next() * 2.0 - 0.9).collect()
}

/// Whether the direction of Lion is that of rounding.
fn has_no_direction(step: OptimizerStep, g: f64, values: &[f64]) -> bool {
    let OptimizerStep::Lion(s) = step else {
        return false;
    };
    (f64::from(s.betas[0]) * values[1] + f64::from(s.weights[0]) * g).abs() < 1e-6
}

/// The arrays of a step after it: of a gradient and of values before.
fn reference(step: OptimizerStep, g: f64, values: &[f64]) -> Vec<f64> {
    let w = values[0];
    let f = f64::from;
    match step {
        OptimizerStep::Sgd(s) => vec![w - f(s.rate) * (g + f(s.weight_decay) * w)],
        OptimizerStep::Momentum(s) => {
            let g = g + f(s.weight_decay) * w;
            let v = f(s.momentum) * values[1] + f(s.weight) * g;
            let change = if s.nesterov { g + f(s.momentum) * v } else { v };
            vec![w - f(s.rate) * change, v]
        }
        OptimizerStep::Lion(s) => {
            let mean = |at: usize| f(s.betas[at]) * values[1] + f(s.weights[at]) * g;
            vec![f(s.shrink) * w - f(s.rate) * mean(0).signum(), mean(1)]
        }
        OptimizerStep::RmsProp(s) => {
            let v = f(s.alpha) * values[1] + f(s.weight) * g * g;
            vec![w - f(s.rate) * g / (v.sqrt() + f(s.eps)), v]
        }
        OptimizerStep::Adam(s) => {
            let m = f(s.betas[0]) * values[1] + f(s.weights[0]) * g;
            let v = f(s.betas[1]) * values[2] + f(s.weights[1]) * g * g;
            let change = f(s.rate) * m / (v.sqrt() * f(s.root_scale) + f(s.eps));
            vec![f(s.shrink) * w - change, m, v]
        }
        _ => unreachable!("no such step"),
    }
}

fn compare(step: OptimizerStep, n_arrays: usize, count: usize) {
    let draw = |seed: u64, is_square: bool| -> Vec<f32> {
        let all = numbers(count, seed).into_iter();
        all.map(|x| (if is_square { x * x } else { x }) as f32)
            .collect()
    };
    let gradient = draw(1, false);
    // The mean of squares is the last array.
    let before: Vec<Vec<f32>> = (0..n_arrays)
        .map(|at| draw(2 + at as u64, at > 0 && at + 1 == n_arrays))
        .collect();
    let mut after = before.clone();
    let mut arrays: Vec<&mut [f32]> = after.iter_mut().map(Vec::as_mut_slice).collect();
    optimizer_step(step, &gradient, &mut arrays).unwrap();
    for at in 0..count {
        let values: Vec<f64> = before.iter().map(|array| array[at].into()).collect();
        if has_no_direction(step, gradient[at].into(), &values) {
            continue;
        }
        let wanted = reference(step, gradient[at].into(), &values);
        for (wanted, array) in wanted.iter().zip(&after) {
            let got: f64 = array[at].into();
            assert!(
                (got - wanted).abs() <= 1e-6 * (1.0 + wanted.abs()),
                "{step:?} at {at} of {count}: {got} {wanted}"
            );
        }
    }
}

#[rstest]
#[case(OptimizerStep::Sgd(SGD), 1)]
#[case(OptimizerStep::Sgd(SgdStep { weight_decay: 0.0, ..SGD }), 1)]
#[case(OptimizerStep::Momentum(MOMENTUM), 2)]
#[case(OptimizerStep::Momentum(MomentumStep { nesterov: true, weight_decay: 0.0, weight: 1.0, ..MOMENTUM }), 2)]
#[case(OptimizerStep::Lion(LION), 2)]
#[case(OptimizerStep::RmsProp(RMSPROP), 2)]
#[case(OptimizerStep::Adam(ADAM), 3)]
fn steps_are_those_of_the_formulas(
    #[case] step: OptimizerStep,
    #[case] n_arrays: usize,
    #[values(0, 1, 15, 16, 67, 513, 40_000)] count: usize,
) {
    compare(step, n_arrays, count);
}

#[test]
fn what_is_not_a_number_stays_so() {
    let (mut w, mut m) = ([1.0_f32; 2], [0.0_f32; 2]);
    let step = OptimizerStep::Lion(LION);
    optimizer_step(step, &[f32::NAN, 0.0], &mut [&mut w, &mut m]).unwrap();
    assert!(w[0].is_nan() && m[0].is_nan());
    // The direction of 0 is 0.
    assert_eq!((w[1], m[1]), (0.9, 0.0));
}

#[test]
fn other_numbers_of_arrays_and_lengths_are_refused() {
    let (mut w, mut m) = ([1.0_f32; 3], [1.0_f32; 2]);
    let step = OptimizerStep::Momentum(MOMENTUM);
    let error = optimizer_step(step, &[1.0; 3], &mut [&mut w, &mut m]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "optimizer_step: an array must have 3 elements, got 2"
    );
    let error = optimizer_step(step, &[1.0; 3], &mut [&mut w]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "optimizer_step: the number of arrays must be that of the step, got 1"
    );
    assert_eq!((w, m), ([1.0; 3], [1.0; 2]));
}
