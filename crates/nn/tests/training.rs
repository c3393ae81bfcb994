//! A model learns: eagerly, as one compiled step, in half precision with a scaled loss, and after a pause.

use mlx::{Array, Dtype, array};
use mlx_compiler::{CompileOptions, jit, jit_with};
use mlx_nn::losses::{cross_entropy, mse_loss};
use mlx_nn::optimizers::{
    Adafactor, Adam, AdamW, Lion, MultiOptimizer, Muon, Optimizer, OptimizerState, RMSprop, SGD,
    cosine_decay_to, load_state, save_state,
};
use mlx_nn::{
    Conv2d, Dropout, Fan, Init, Linear, LossScale, LossScaler, Module, WeightMap, cast,
    clip_grad_norm, relu, select, value_and_grad,
};
use rstest::rstest;

/// Two layers.
#[derive(Clone, Module)]
struct Net {
    first: Linear,
    second: Linear,
}

impl Net {
    fn new(seed: u64) -> Self {
        let mut init = Init::seed(seed);
        Self {
            first: Linear::with_init(4, 16, true, &mut init),
            second: Linear::with_init(16, 3, true, &mut init),
        }
    }

    fn forward(&self, x: &Array) -> Array {
        self.second.forward(&relu(&self.first.forward(x)))
    }
}

type Batch = (Array, Array);

/// Points whose class is the index of their largest coordinate, without the last one.
fn batch(seed: u64) -> Batch {
    let x = mlx::random::normal_with([64, 4], &mlx::random::key(seed));
    let y = x.take_first(3).argmax(-1);
    (x, y)
}

trait First {
    fn take_first(&self, n: i32) -> Array;
}

impl First for Array {
    fn take_first(&self, n: i32) -> Array {
        self.split_at([n], 1)
            .map_or_else(Array::failed, |parts| parts[0].clone())
    }
}

fn loss(net: &Net, (x, y): &Batch) -> Array {
    cross_entropy(&net.forward(x), y).mean(())
}

#[test]
fn a_model_learns_and_its_gradients_have_its_names() -> mlx::Result<()> {
    let mut net = Net::new(0);
    let optimizer = Adam::new(0.02);
    let mut state = optimizer.init(&net.parameters());
    let gradients_of = value_and_grad(&net, loss);
    let mut losses = Vec::new();
    for seed in 0..40 {
        let (loss, gradients) = gradients_of(&net, &batch(seed))?;
        assert!(gradients.keys().eq(net.parameters().keys()));
        let (gradients, _) = clip_grad_norm(&gradients, 1.0);
        optimizer.update_with_state(&mut net, &gradients, &mut state)?;
        losses.push(loss.item::<f32>()?);
    }
    assert!(losses[39] < losses[0] * 0.5, "{losses:?}");
    Ok(())
}

/// One training step as a function of arrays.
fn step<O: Optimizer>(
    net: &Net,
    optimizer: &O,
    parameters: &WeightMap,
    state: &OptimizerState,
    batch: &Batch,
) -> mlx::Result<(WeightMap, OptimizerState, Array)> {
    let net = net.with_parameters(parameters)?;
    let (loss, gradients) = value_and_grad(&net, loss)(&net, batch)?;
    let (parameters, state) = optimizer.apply_gradients(&gradients, parameters, state)?;
    Ok((parameters, state, loss))
}

fn compiled_steps_equal_eager_ones<O: Optimizer + Clone + 'static>(optimizer: O) {
    let net = Net::new(1);
    let eager = optimizer.clone();
    let (template, inner) = (net.clone(), optimizer);
    let compiled = jit(
        move |parameters: &WeightMap, state: &OptimizerState, batch: &Batch| {
            step(&template, &inner, parameters, state, batch)
        },
    );
    let mut a = (net.parameters(), eager.init(&net.parameters()));
    let mut b = a.clone();
    for seed in 0..6 {
        let batch = batch(seed);
        let (parameters, state, loss_a) = step(&net, &eager, &a.0, &a.1, &batch).expect("a step");
        a = (parameters, state);
        let (parameters, state, loss_b) = compiled
            .call((&b.0, &b.1, &batch))
            .expect("a compiled step");
        b = (parameters, state);
        let difference = (loss_a - loss_b).abs().item::<f32>().expect("a number");
        assert!(difference < 1e-5, "step {seed}: {difference}");
    }
    assert_eq!(compiled.stats().misses, 1, "traced once");
    for (name, parameter) in &a.0 {
        let distance = (parameter - &b.0[name])
            .abs()
            .max(())
            .item::<f32>()
            .expect("a number");
        assert!(distance < 1e-5, "{name}: {distance}");
    }
    let step = b.1.get("step").unwrap_or_else(|| &b.1["states.0.step"]);
    assert_eq!(step.item::<u64>().expect("a number"), 6);
}

/// Batches of any number of rows, of which the last of an epoch has fewer, are one trace of the step with its optimizer.
#[test]
fn a_step_is_one_trace_for_batches_of_any_size() -> mlx::Result<()> {
    let (net, optimizer) = (Net::new(1), Adam::new(0.02));
    let options = CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    };
    let (template, inner) = (net.clone(), optimizer.clone());
    let compiled = jit_with(
        move |parameters: &WeightMap, state: &OptimizerState, batch: &Batch| {
            step(&template, &inner, parameters, state, batch)
        },
        options,
    )
    .max_traces(1);
    let mut a = (net.parameters(), optimizer.init(&net.parameters()));
    let mut b = a.clone();
    for (seed, n) in (0..).zip([64, 64, 64, 17, 64, 1, 17, 1, 1]) {
        let rows = |x: &Array| x.split_at([n], 0).map(|parts| parts[0].clone());
        let (x, y) = batch(seed);
        let batch = (rows(&x)?, rows(&y)?);
        let (parameters, state, loss_a) = step(&net, &optimizer, &a.0, &a.1, &batch)?;
        a = (parameters, state);
        let (parameters, state, loss_b) = compiled.call((&b.0, &b.1, &batch))?;
        b = (parameters, state);
        let difference = (loss_a - loss_b).abs().item::<f32>()?;
        assert!(difference < 1e-5, "step {seed}: {difference}");
    }
    assert_eq!(compiled.stats().misses, 1);
    for (name, parameter) in &a.0 {
        let off = (parameter - &b.0[name]).abs().max(()).item::<f32>()?;
        assert!(off < 1e-4, "{name}: {off}");
    }
    Ok(())
}

#[test]
fn a_compiled_step_of_sgd_equals_the_eager_one() {
    compiled_steps_equal_eager_ones(SGD {
        momentum: 0.9,
        nesterov: true,
        ..SGD::new(0.05)
    });
}

#[test]
fn a_compiled_step_of_adam_with_a_schedule_equals_the_eager_one() {
    let adam = Adam {
        bias_correction: true,
        ..Adam::new(cosine_decay_to(0.05, 5, 0.001))
    };
    compiled_steps_equal_eager_ones(adam);
}

#[test]
fn a_compiled_step_of_adamw_equals_the_eager_one() {
    compiled_steps_equal_eager_ones(AdamW::new(0.01));
}

#[test]
fn a_compiled_step_of_lion_equals_the_eager_one() {
    compiled_steps_equal_eager_ones(Lion {
        weight_decay: 0.1,
        ..Lion::new(0.003)
    });
}

#[test]
fn compiled_steps_of_factored_and_orthogonalizing_optimizers_equal_eager_ones() {
    compiled_steps_equal_eager_ones(Adafactor::new().beta_1(0.9));
    let matrices = |name: &str, _: &Array| name.ends_with("weight");
    let optimizers = (Muon::new(0.02), RMSprop::new(0.01));
    compiled_steps_equal_eager_ones(MultiOptimizer::new(optimizers, [matrices]));
}

#[test]
fn training_goes_on_from_saved_parameters_and_state() -> mlx::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let net = Net::new(2);
    let adam = Adam::new(0.01);
    let (mut parameters, mut state) = (net.parameters(), adam.init(&net.parameters()));
    for seed in 0..3 {
        (parameters, state, _) = step(&net, &adam, &parameters, &state, &batch(seed))?;
    }
    save_state(folder.path().join("state.safetensors"), &state)?;
    save_state(folder.path().join("weights.safetensors"), &parameters)?;
    let loaded = load_state(folder.path().join("state.safetensors"))?;
    let weights = load_state(folder.path().join("weights.safetensors"))?;
    assert!(loaded.keys().eq(state.keys()));
    let (a, _, _) = step(&net, &adam, &parameters, &state, &batch(9))?;
    let (b, _, _) = step(&net, &adam, &weights, &loaded, &batch(9))?;
    for (name, parameter) in &a {
        assert_eq!(
            parameter.to_vec::<f32>()?,
            b[name].to_vec::<f32>()?,
            "{name}"
        );
    }
    Ok(())
}

/// A step in bfloat16 with float32 parameters, its loss scaled; left out when a gradient is not finite.
fn mixed_step(
    net: &Net,
    scaler: &LossScaler,
    parameters: &WeightMap,
    state: &OptimizerState,
    scale: &LossScale,
    (x, y): &Batch,
) -> mlx::Result<(WeightMap, OptimizerState, LossScale, Array)> {
    let adam = Adam::new(0.02);
    let scaled = |net: &Net, (x, y): &Batch| {
        let value = loss(net, &(x.astype(Dtype::Bfloat16), y.clone()));
        (scale.scale(&value), value)
    };
    let half = net.with_parameters(&cast(parameters, Dtype::Bfloat16))?;
    let ((_, loss), gradients) = value_and_grad(&half, scaled)(&half, &(x.clone(), y.clone()))?;
    let (gradients, finite) = scale.unscale(&gradients);
    let (next, next_state) = adam.apply_gradients(&gradients, parameters, state)?;
    Ok((
        select(&finite, &next, parameters)?,
        select(&finite, &next_state, state)?,
        scaler.update(scale, &finite),
        loss,
    ))
}

#[test]
fn mixed_precision_learns_under_jit_and_skips_what_is_not_finite() -> mlx::Result<()> {
    let net = Net::new(3);
    let scaler = LossScaler {
        growth_interval: 4,
        ..LossScaler::default()
    };
    let template = net.clone();
    let compiled = jit(
        move |parameters: &WeightMap, state: &OptimizerState, scale: &LossScale, batch: &Batch| {
            mixed_step(&template, &scaler, parameters, state, scale, batch)
        },
    );
    let mut parameters = net.parameters();
    let mut state = Adam::new(0.02).init(&parameters);
    let mut scale = scaler.init();
    let mut losses = Vec::new();
    for seed in 0..30 {
        let loss;
        (parameters, state, scale, loss) = compiled
            .call((&parameters, &state, &scale, &batch(seed)))
            .expect("a compiled step");
        losses.push(loss.astype(Dtype::Float32).item::<f32>()?);
    }
    assert!(losses[29] < losses[0] * 0.7, "{losses:?}");
    assert_eq!(parameters["first.weight"].dtype()?, Dtype::Float32);
    let grown = scale.scale.item::<f32>()?;
    assert!(grown > 65_536.0, "{grown}");

    let (x, y) = batch(99);
    let wild = (x * f32::INFINITY, y);
    let before = parameters["first.weight"].to_vec::<f32>()?;
    let (after, same_state, smaller, _) = compiled
        .call((&parameters, &state, &scale, &wild))
        .expect("a compiled step");
    assert_eq!(after["first.weight"].to_vec::<f32>()?, before);
    assert_eq!(same_state["step"].item::<u64>()?, 30);
    assert_eq!(smaller.scale.item::<f32>()?, grown / 2.0);
    assert_eq!(compiled.stats().misses, 1, "traced once");
    Ok(())
}

#[test]
fn dropout_drops_with_a_key_only_and_keeps_the_mean() -> mlx::Result<()> {
    let x = mlx::ones([20_000]);
    let dropout = Dropout::new(0.25);
    let mut evaluated = dropout.clone();
    evaluated.eval();
    assert_eq!(evaluated.forward(&x).to_vec::<f32>()?, x.to_vec::<f32>()?);
    let dropped = dropout.forward_with_key(&x, &mlx::random::key(5));
    assert!((dropped.mean(()).item::<f32>()? - 1.0).abs() < 0.02);
    let zeros = dropped
        .equal(0.0)
        .astype(Dtype::Float32)
        .mean(())
        .item::<f32>()?;
    assert!((zeros - 0.25).abs() < 0.02, "{zeros}");
    assert!(Dropout::new(1.0).forward(&x).eval().is_err());
    Ok(())
}

#[test]
fn conv2d_adds_up_its_window() -> mlx::Result<()> {
    let mut layer = Conv2d::with_init(1, 1, [2, 2], true, &mut Init::zeros());
    layer.weight = mlx::ones([1, 2, 2, 1]);
    layer.bias = Some(array!([0.5]));
    let x = mlx::iota(9).astype(Dtype::Float32).reshape([1, 3, 3, 1]);
    assert_eq!(layer.forward(&x).to_vec::<f32>()?, [8.5, 12.5, 20.5, 24.5]);
    layer.padding = 1.into();
    assert_eq!(layer.forward(&x).shape()?, [1, 4, 4, 1]);
    Ok(())
}

#[test]
fn initializers_have_the_scales_of_their_formulas() -> mlx::Result<()> {
    let shape = [300, 3, 3, 20];
    let (fan_in, fan_out) = (180.0_f32, 2700.0_f32);
    let mut init = Init::seed(7);
    for (name, array, wanted) in [
        (
            "glorot_normal",
            init.glorot_normal(&shape, 1.0),
            (2.0 / (fan_in + fan_out)).sqrt(),
        ),
        (
            "glorot_uniform",
            init.glorot_uniform(&shape, 1.0),
            (2.0 / (fan_in + fan_out)).sqrt(),
        ),
        (
            "he_normal",
            init.he_normal(&shape, Fan::In, 2.0),
            2.0 / fan_in.sqrt(),
        ),
        (
            "he_uniform",
            init.he_uniform(&shape, Fan::Out, 1.0),
            1.0 / fan_out.sqrt(),
        ),
        ("constant", init.constant(&shape, 0.5), 0.0),
    ] {
        let deviation = array.std(()).item::<f32>()?;
        assert!(
            (deviation - wanted).abs() <= 0.02 * wanted,
            "{name}: {deviation}, wanted {wanted}"
        );
    }
    assert!(init.he_normal(&[5], Fan::In, 1.0).eval().is_err());
    Ok(())
}

#[rstest]
#[case("optimizer: the state must have first.bias.m", Adam::new(0.1).apply_gradients(&gradients(), &parameters(), &SGD::new(0.1).init(&parameters())))]
#[case("optimizer: there is a gradient of first.bias", SGD::new(0.1).apply_gradients(&gradients(), &WeightMap::new(), &SGD::new(0.1).init(&parameters())))]
#[case("adam: beta2 must be in [0, 1), got 1", Adam { betas: (0.9, 1.0), ..Adam::new(0.1) }.apply_gradients(&gradients(), &parameters(), &Adam::new(0.1).init(&parameters())))]
#[case("sgd: momentum must be above 0", SGD { nesterov: true, ..SGD::new(0.1) }.apply_gradients(&gradients(), &parameters(), &SGD::new(0.1).init(&parameters())))]
fn optimizers_say_what_does_not_fit(
    #[case] wanted: &str,
    #[case] outcome: mlx::Result<(WeightMap, OptimizerState)>,
) {
    let text = outcome.expect_err("an error").to_string();
    assert!(text.contains(wanted), "{text}");
}

fn parameters() -> WeightMap {
    Net::new(0).parameters()
}

fn gradients() -> WeightMap {
    parameters()
}

#[test]
fn losses_say_which_shapes_do_not_fit() {
    let (x, y) = (array!([[1.0, 2.0]]), array!([0, 1]));
    let text = |loss: Array| loss.eval().expect_err("an error").to_string();
    let wrong = text(cross_entropy(&x, &y));
    assert!(
        wrong.contains("cross_entropy: targets must be [1] or [1, 2] to match logits, got [2]"),
        "{wrong}"
    );
    let wrong = text(mse_loss(&x, &y.astype(Dtype::Float32)));
    assert!(
        wrong.contains("mse_loss: both must have one shape, got [1, 2] and [2]"),
        "{wrong}"
    );
}
