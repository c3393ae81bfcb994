//! Optimizers beside their formulas: learning rates, several in one, chosen at run time, wrong settings.

use mlx::{Array, Result, array};
use mlx_nn::losses::mse_loss;
use mlx_nn::optimizers::{
    AdaDelta, Adafactor, Adagrad, Adam, Adamax, MultiOptimizer, Muon, Optimizer, RMSprop, SGD,
    Schedule, linear_schedule,
};
use mlx_nn::{Linear, Module, WeightMap, value_and_grad};
use rstest::rstest;

fn one(value: f32) -> WeightMap {
    WeightMap::from([("w".to_owned(), array!([value]))])
}

fn names(map: &WeightMap) -> Vec<&str> {
    map.keys().map(String::as_str).collect()
}

fn value(map: &WeightMap) -> f32 {
    map["w"].item().expect("a number")
}

#[test]
fn a_learning_rate_is_set_before_and_between_steps() -> Result<()> {
    let (mut w, gradient) = (one(1.0), one(1.0));
    let mut sgd = SGD::new(0.5);
    sgd.set_learning_rate(0.25);
    sgd.update(&mut w, &gradient)?;
    assert_eq!(value(&w), 0.75);
    sgd.set_learning_rate(0.125);
    sgd.update(&mut w, &gradient)?;
    assert_eq!(value(&w), 0.625);
    let mut both = MultiOptimizer::new([SGD::new(0.5), SGD::new(0.5)], [|_: &str, _: &Array| true]);
    both.set_learning_rate(0.25);
    both.update(&mut w, &gradient)?;
    assert_eq!(value(&w), 0.375);
    Ok(())
}

#[test]
fn functions_and_numbers_are_learning_rates() -> Result<()> {
    let halves = |step: &Array| 0.5 / (step + 1);
    for (rate, wanted) in [
        (Schedule::from(halves), 0.25),
        (Schedule::from(0.5_f32), 0.0),
        (linear_schedule(1.0, 0.0, 2), -0.5),
    ] {
        let mut w = one(1.0);
        let mut sgd = SGD::new(rate);
        for _ in 0..2 {
            sgd.update(&mut w, &one(1.0))?;
        }
        assert_eq!(value(&w), wanted);
    }
    Ok(())
}

#[test]
fn an_optimizer_is_chosen_at_run_time() -> Result<()> {
    let loss = |layer: &Linear, x: &Array| layer.forward(x).square().mean(());
    let x = array!([[1.0, 2.0, 3.0]]);
    let choices: Vec<Box<dyn Optimizer>> = vec![
        Box::new(RMSprop::new(0.01)),
        Box::new(Adagrad::new(0.1)),
        Box::new(AdaDelta::new(10.0)),
        Box::new(Adamax::new(0.05)),
        Box::new(Adafactor::new()),
        Box::new(Muon::new(0.05)),
    ];
    for mut optimizer in choices {
        mlx_nn::seed(1);
        let mut layer = Linear::new(3, 4);
        let step = value_and_grad(&layer, loss);
        let (first, _) = step(&layer, &x)?;
        for _ in 0..10 {
            let (_, gradients) = step(&layer, &x)?;
            optimizer.update(&mut layer, &gradients)?;
        }
        let (last, _) = step(&layer, &x)?;
        assert!(last.item::<f32>()? < first.item::<f32>()?);
        assert_eq!(optimizer.state()["step"].item::<u64>()?, 10);
    }
    Ok(())
}

#[test]
fn an_optimizer_takes_gradients_by_name_or_as_a_module_and_keeps_what_is_frozen() -> Result<()> {
    let batch = (
        array!([[1.0, 2.0, 3.0, 4.0]]),
        array!([[1.0, 0.0, 0.0, 0.0]]),
    );
    let loss = |pair: &(Linear, Linear), (x, y): &(Array, Array)| {
        mse_loss(&pair.1.forward(&pair.0.forward(x)), y)
    };
    let mut by_name = (Linear::new(4, 4), Linear::new(4, 4));
    by_name.freeze_matching(["0.weight", "1.bias"])?;
    let (before, mut as_module) = (by_name.clone(), by_name.clone());
    let mut optimizers = (Adam::new(0.1), Adam::new(0.1));
    for _ in 0..2 {
        let (_, gradients) = value_and_grad(&by_name, loss)(&by_name, &batch)?;
        assert_eq!(names(&gradients), ["0.bias", "1.weight"]);
        optimizers.0.update(&mut by_name, &gradients)?;
        let gradients = mlx::grad(loss).call((&as_module, &batch))?;
        optimizers.1.update(&mut as_module, &gradients)?;
    }
    assert_eq!(names(&optimizers.0.state), names(&optimizers.1.state));
    for (name, array) in before.parameters() {
        let (a, b) = (&by_name.parameters()[&name], &as_module.parameters()[&name]);
        assert_eq!(a.to_vec::<f32>()?, b.to_vec::<f32>()?, "{name}");
        let is_kept = a.to_vec::<f32>()? == array.to_vec::<f32>()?;
        assert_eq!(is_kept, name == "0.weight" || name == "1.bias", "{name}");
    }
    Ok(())
}

#[test]
fn parameters_may_be_unfrozen_between_steps_of_several_optimizers() -> Result<()> {
    let loss = |layer: &Linear| (layer.weight.square()).sum(()) + layer.weight.sum(());
    let mut layer = Linear::new(2, 2);
    layer.freeze_matching("bias")?;
    let is_weight = |name: &str, _: &Array| name == "weight";
    let mut optimizer = MultiOptimizer::new((Muon::new(0.1), Adam::new(0.1)), [is_weight]);
    let step = value_and_grad(&layer, loss);
    let (_, gradients) = step(&layer)?;
    optimizer.update(&mut layer, &gradients)?;
    assert!(!optimizer.state.contains_key("states.1.bias.m"));
    layer.unfreeze()?;
    let (_, gradients) = step(&layer)?;
    optimizer.update(&mut layer, &gradients)?;
    assert!(optimizer.state.contains_key("states.1.bias.m"));
    assert_eq!(optimizer.state["states.0.step"].item::<u64>()?, 2);
    Ok(())
}

#[rstest]
#[case("rmsprop: alpha must be at least 0, got -1", Box::new(RMSprop::new(0.1).alpha(-1.0)))]
#[case("rmsprop: eps must be above 0, got 0", Box::new(RMSprop::new(0.1).eps(0.0)))]
#[case("adagrad: eps must be above 0, got NaN", Box::new(Adagrad::new(0.1).eps(f64::NAN)))]
#[case("adadelta: rho must be at least 0", Box::new(AdaDelta::new(0.1).rho(-0.5)))]
#[case("adamax: beta1 must be in [0, 1), got 1", Box::new(Adamax::new(0.1).betas((1.0, 0.9))))]
#[case("adafactor: a learning_rate is wanted", Box::new(Adafactor::new().relative_step(false)))]
#[case("adafactor: clip_threshold must be above 0", Box::new(Adafactor::new().clip_threshold(0.0)))]
#[case("muon: momentum must be at least 0", Box::new(Muon::new(0.1).momentum(-1.0)))]
#[case(
    "multi_optimizer: wanted one filter fewer than 2 optimizers, got 2 filters",
    Box::new(MultiOptimizer::new((SGD::new(0.1), Adam::new(0.1)), [|_: &str, _: &Array| true; 2]))
)]
fn wrong_settings_are_told(#[case] wanted: &str, #[case] mut optimizer: Box<dyn Optimizer>) {
    let mut w = one(1.0);
    let text = optimizer.update(&mut w, &one(1.0)).unwrap_err().to_string();
    assert!(text.contains(wanted), "{text}");
    assert_eq!(value(&w), 1.0);
}

#[test]
fn schedules_take_any_integer_and_tell_a_negative_one() -> Result<()> {
    let step = Array::scalar(2_u64);
    let rate = linear_schedule(1.0, 0.0, 4_usize).at(&step);
    assert_eq!(rate.item::<f32>()?, 0.5);
    let text = linear_schedule(1.0, 0.0, -4)
        .at(&step)
        .eval()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("linear_schedule: wanted a number of steps from 0"),
        "{text}"
    );
    Ok(())
}
