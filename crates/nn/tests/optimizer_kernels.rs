//! Steps of optimizers by a kernel: in eager and in compiled functions, in the memory of what they replace.

use mlx::{Array, Dtype, Result, grad};
use mlx_compiler::jit;
use mlx_nn::WeightMap;
use mlx_nn::optimizers::{Adam, AdamW, Lion, Optimizer, OptimizerState, RMSprop, SGD};
use mlx_testdata::needs;
use rstest::rstest;

fn optimizer(name: &str) -> Box<dyn Optimizer> {
    match name {
        "adam" => Box::new(Adam::new(0.01).bias_correction(true)),
        "adamw" => Box::new(AdamW::new(0.01).weight_decay(0.1)),
        "lion" => Box::new(Lion::new(0.01).weight_decay(0.1)),
        "rmsprop" => Box::new(RMSprop::new(0.01)),
        "sgd" => Box::new(SGD::new(0.01).weight_decay(0.1)),
        _ => {
            let sgd = SGD::new(0.01).momentum(0.9).dampening(0.1);
            Box::new(sgd.weight_decay(0.1))
        }
    }
}

fn one(array: Array) -> WeightMap {
    WeightMap::from([("w".to_owned(), array)])
}

/// Three steps in `f64`, of a parameter whose gradient is always the same.
fn reference(name: &str, w: f64, g: f64) -> f64 {
    let (mut w, mut m, mut v) = (w, 0.0, 0.0);
    for step in 1..=3 {
        match name {
            "adam" => {
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                let (c1, c2) = (1.0 - 0.9_f64.powi(step), 1.0 - 0.999_f64.powi(step));
                w -= 0.01 * m / c1 / ((v / c2).sqrt() + 1e-8);
            }
            "adamw" => {
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                w = w * (1.0 - 0.001) - 0.01 * m / (v.sqrt() + 1e-8);
            }
            "lion" => {
                let direction = (0.9 * m + 0.1 * g).signum();
                m = 0.99 * m + 0.01 * g;
                w = w * (1.0 - 0.001) - 0.01 * direction;
            }
            "rmsprop" => {
                v = 0.99 * v + 0.01 * g * g;
                w -= 0.01 * g / (v.sqrt() + 1e-8);
            }
            "sgd" => w -= 0.01 * (g + 0.1 * w),
            _ => {
                v = 0.9 * v + 0.9 * (g + 0.1 * w);
                w -= 0.01 * v;
            }
        }
    }
    w
}

#[rstest]
fn three_steps_are_those_of_the_formula(
    #[values("adam", "adamw", "lion", "rmsprop", "sgd", "momentum")] name: &str,
    #[values(false, true)] is_compiled: bool,
) -> Result<()> {
    mlx::random::seed(2);
    let (w, g) = (mlx::random::normal([37, 19]), mlx::random::normal([37, 19]));
    let wanted: Vec<f64> = w
        .to_vec::<f32>()?
        .into_iter()
        .zip(g.to_vec::<f32>()?)
        .map(|(w, g)| reference(name, f64::from(w), f64::from(g)))
        .collect();
    let (mut parameters, gradients, optimizer) = (one(w), one(g), optimizer(name));
    let mut state = optimizer.init(&parameters);
    let step = move |gradients: &WeightMap, parameters: &WeightMap, state: &OptimizerState| {
        optimizer.apply_gradients(gradients, parameters, state)
    };
    let runs = mlx::fast::host_kernel_runs_of("optimizer step");
    if is_compiled {
        let step = jit(step);
        for _ in 0..3 {
            (parameters, state) = step.call((&gradients, &parameters, &state))?;
        }
    } else {
        for _ in 0..3 {
            (parameters, state) = step(&gradients, &parameters, &state)?;
        }
    }
    for (got, wanted) in parameters["w"].to_vec::<f32>()?.into_iter().zip(wanted) {
        assert!((f64::from(got) - wanted).abs() < 2e-5, "{got} {wanted}");
    }
    assert_eq!(state["step"].item::<u64>()?, 3);
    if mlx::cpu::are_kernels_enabled() {
        needs!(CpuKernels, Ok(()));
        assert!(mlx::fast::host_kernel_runs_of("optimizer step") >= runs + 3);
    }
    Ok(())
}

#[test]
fn what_is_still_held_is_unchanged() -> Result<()> {
    let w = mlx::ones([100]);
    w.eval()?;
    let (mut parameters, gradients) = (one(w.clone()), one(mlx::ones([100])));
    let mut adam = Adam::new(0.5);
    adam.update(&mut parameters, &gradients)?;
    let before = adam.state().clone();
    mlx::eval((&parameters, &before))?;
    let m = before["w.m"].to_vec::<f32>()?;
    adam.update(&mut parameters, &gradients)?;
    mlx::eval((&parameters, adam.state()))?;
    assert_eq!(w.to_vec::<f32>()?, [1.0; 100]);
    assert_eq!(before["w.m"].to_vec::<f32>()?, m);
    assert!(parameters["w"].to_vec::<f32>()?[0] < 0.5);
    Ok(())
}

#[rstest]
fn a_step_takes_no_new_memory(#[values(false, true)] is_compiled: bool) -> Result<()> {
    needs!(CpuKernels, Ok(()));
    if !mlx::cpu::are_kernels_enabled() {
        return Ok(());
    }
    let at = |array: &Array| Result::Ok(array.as_slice::<f32>()?.as_ptr() as usize);
    let (mut parameters, gradients) = (one(mlx::ones([5000])), one(mlx::ones([5000])));
    let mut adam = Adam::new(0.5);
    adam.update(&mut parameters, &gradients)?;
    mlx::eval((&parameters, adam.state()))?;
    let places = [
        at(&parameters["w"])?,
        at(&adam.state()["w.m"])?,
        at(&adam.state()["w.v"])?,
    ];
    if is_compiled {
        let optimizer = Adam::new(0.5);
        let step = jit(
            move |gradients: &WeightMap, parameters: &WeightMap, state: &OptimizerState| {
                optimizer.apply_gradients(gradients, parameters, state)
            },
        );
        let mut state = std::mem::take(adam.state_mut());
        for _ in 0..2 {
            (parameters, state) = step.call((&gradients, &parameters, &state))?;
            mlx::eval((&parameters, &state))?;
        }
        *adam.state_mut() = state;
    } else {
        for _ in 0..2 {
            adam.update(&mut parameters, &gradients)?;
            mlx::eval((&parameters, adam.state()))?;
        }
    }
    let now = [
        at(&parameters["w"])?,
        at(&adam.state()["w.m"])?,
        at(&adam.state()["w.v"])?,
    ];
    assert_eq!(places, now);
    Ok(())
}

#[test]
fn a_step_has_a_gradient_by_the_gradient() -> Result<()> {
    let sgd = SGD::new(0.5).momentum(0.9);
    let parameters = one(mlx::array!([1.0, 2.0]));
    let state = sgd.init(&parameters);
    let moved = move |g: &Array| {
        let (after, _) = sgd.apply_gradients(&one(g.clone()), &parameters, &state)?;
        Result::Ok(after["w"].square().sum(()))
    };
    // w = (1 - 0.5 g)^2, of which the slope is -(1 - 0.5 g).
    let slope = grad(moved).call(&mlx::array!([1.0, 0.0]))?;
    assert_eq!(slope.to_vec::<f32>()?, [-0.5, -2.0]);
    Ok(())
}

#[test]
fn empty_parameters_and_other_precisions_are_taken() -> Result<()> {
    for array in [mlx::zeros([0, 3]), mlx::ones([3]).astype(Dtype::Float16)] {
        let (mut parameters, gradients) = (one(array.clone()), one(array.clone()));
        Adam::new(0.1).update(&mut parameters, &gradients)?;
        parameters["w"].eval()?;
        assert_eq!(parameters["w"].array_type()?, array.array_type()?);
    }
    Ok(())
}
