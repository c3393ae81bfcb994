//! The first twenty steps of each optimizer are Python MLX's, on parameters of several shapes, `float32` and `bfloat16`,
//! with the names of its state. The cases are made by `golden/make_optimizers.py`.

use mlx::{Array, Dtype};
use mlx_nn::WeightMap;
use mlx_nn::optimizers::{
    AdaDelta, Adafactor, Adagrad, AdamW, Adamax, Lion, MultiOptimizer, Muon, Optimizer, RMSprop,
    SGD, Schedule, cosine_decay, exponential_decay, join_schedules, linear_schedule, load_state,
    save_state,
};
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/optimizers.json");

/// As in the script, in the order in which it draws them.
const SHAPES: [(&str, &[i32]); 5] = [
    ("conv.weight", &[2, 2, 2, 3]),
    ("layers.0.bias", &[3]),
    ("layers.0.weight", &[4, 3]),
    ("layers.1.weight", &[2, 5]),
    ("scale", &[]),
];

/// Whole numbers over 64, as the script makes them.
struct Numbers(i64);

impl Numbers {
    fn array(&mut self, shape: &[i32]) -> Array {
        let size = usize::try_from(shape.iter().product::<i32>()).expect("a size");
        let mut next = || {
            self.0 = (self.0 * 1_103_515_245 + 12345) % (1 << 31);
            #[allow(clippy::cast_precision_loss)]
            let value = ((self.0 >> 16) % 257 - 128) as f32 / 64.0;
            value
        };
        let values: Vec<f32> = (0..size).map(|_| next()).collect();
        Array::from_slice(&values, shape).expect("an array")
    }

    fn draw(&mut self, dtype: Dtype) -> WeightMap {
        let drawn = SHAPES.iter().map(|(name, shape)| {
            let array = self.array(shape).astype(dtype);
            ((*name).to_owned(), array)
        });
        drawn.collect()
    }
}

fn warm() -> Schedule {
    let parts = [linear_schedule(0.0, 0.1, 5), cosine_decay(0.1, 12)];
    join_schedules(parts, [5])
}

fn decay() -> Schedule {
    exponential_decay(0.1, 0.9)
}

fn is_matrix(_: &str, weight: &Array) -> bool {
    weight.ndim().is_ok_and(|ndim| ndim == 2)
}

fn is_bias(name: &str, _: &Array) -> bool {
    name.ends_with("bias")
}

fn optimizer(name: &str) -> Box<dyn Optimizer> {
    adaptive(name).unwrap_or_else(|| match name {
        "muon" => Box::new(Muon::new(0.02)),
        "muon options" => {
            let muon = Muon::new(decay()).momentum(0.8).weight_decay(0.0);
            Box::new(muon.nesterov(false).ns_steps(3))
        }
        "multi" => {
            let optimizers = (Muon::new(0.02), AdamW::new(warm()));
            Box::new(MultiOptimizer::new(optimizers, [is_matrix]))
        }
        "multi of three" => {
            let sgd = SGD::new(0.1).momentum(0.9);
            let optimizers = (sgd, Adafactor::new(), Lion::new(0.01));
            let filters: [fn(&str, &Array) -> bool; 2] = [is_bias, is_matrix];
            Box::new(MultiOptimizer::new(optimizers, filters))
        }
        "sgd" => Box::new(SGD::new(warm()).momentum(0.9).weight_decay(0.1)),
        "adamw" => {
            let adamw = AdamW::new(decay()).betas((0.8, 0.95)).eps(1e-6);
            Box::new(adamw.weight_decay(0.1).bias_correction(true))
        }
        "lion" => Box::new(Lion::new(warm()).betas((0.8, 0.9)).weight_decay(0.1)),
        other => panic!("no optimizer {other}"),
    })
}

fn adaptive(name: &str) -> Option<Box<dyn Optimizer>> {
    Some(match name {
        "rmsprop" => Box::new(RMSprop::new(0.01)),
        "rmsprop options" => Box::new(RMSprop::new(warm()).alpha(0.8).eps(1e-3)),
        "adagrad" => Box::new(Adagrad::new(0.1)),
        "adagrad options" => Box::new(Adagrad::new(decay()).eps(1e-2)),
        "adadelta" => Box::new(AdaDelta::new(1.0)),
        "adadelta options" => Box::new(AdaDelta::new(warm()).rho(0.7).eps(1e-3)),
        "adamax" => Box::new(Adamax::new(0.01)),
        "adamax options" => Box::new(Adamax::new(decay()).betas((0.8, 0.95)).eps(1e-3)),
        "adafactor" => Box::new(Adafactor::new()),
        "adafactor warm-up" => {
            let adafactor = Adafactor::new().warmup_init(true).beta_1(0.9);
            Box::new(adafactor.weight_decay(0.1))
        }
        "adafactor fixed" => {
            let adafactor = Adafactor::new().learning_rate(0.05).relative_step(false);
            Box::new(adafactor.scale_parameter(false))
        }
        "adafactor options" => {
            let adafactor = Adafactor::new().learning_rate(warm()).relative_step(false);
            let adafactor = adafactor.eps((1e-8, 1e-2)).clip_threshold(0.5);
            Box::new(adafactor.decay_rate(-0.6).beta_1(0.5))
        }
        _ => return None,
    })
}

/// Checks values against those of a case, relative to the largest of them.
#[track_caller]
fn close(got: &Array, wanted: &Value, tolerance: f64, what: &str) -> mlx::Result<()> {
    let got = got.astype(Dtype::Float32).to_vec::<f32>()?;
    let wanted = wanted.as_array().expect(what).iter();
    let wanted: Vec<f64> = wanted.map(|value| value.as_f64().expect(what)).collect();
    assert_eq!(got.len(), wanted.len(), "{what}");
    let most = wanted
        .iter()
        .fold(1e-2, |most: f64, one| most.max(one.abs()));
    let tolerance = tolerance * mlx_testdata::slack!();
    for (index, (got, wanted)) in got.into_iter().zip(wanted).enumerate() {
        let off = (f64::from(got) - wanted).abs();
        assert!(
            off <= tolerance * most,
            "{what} [{index}]: {got} is not {wanted}"
        );
    }
    Ok(())
}

fn tolerance(name: &str, dtype: Dtype) -> f64 {
    match (dtype, name) {
        (Dtype::Float32, _) => 5e-6,
        // The Newton-Schulz iteration multiplies small singular values, and what was rounded of them, by 3.4 in each of
        // its steps.
        (_, "muon" | "muon options" | "multi") => 5e-2,
        // Twenty steps, each rounded to 2^-9.
        _ => 1e-2,
    }
}

fn takes_the_steps(case: &Value) -> mlx::Result<()> {
    let name = case["name"].as_str().expect("a name");
    let dtype = match case["dtype"].as_str() {
        Some("float32") => Dtype::Float32,
        _ => Dtype::Bfloat16,
    };
    let tolerance = tolerance(name, dtype);
    let mut numbers = Numbers(7);
    let optimizer = optimizer(name);
    let mut parameters = numbers.draw(dtype);
    let mut state = optimizer.init(&parameters);
    for step in 0..20 {
        let gradients = numbers.draw(dtype);
        (parameters, state) = optimizer.apply_gradients(&gradients, &parameters, &state)?;
        let Some(wanted) = case["steps"].get(step.to_string()) else {
            continue;
        };
        for (parameter, array) in &parameters {
            let what = format!("{name} {dtype}, step {step}: {parameter}");
            assert_eq!(array.dtype()?, dtype, "{what}");
            close(array, &wanted[parameter], tolerance, &what)?;
        }
    }
    let wanted = case["state"].as_object().expect("a state");
    let mut names: Vec<&String> = wanted.keys().collect();
    names.sort();
    assert_eq!(state.keys().collect::<Vec<_>>(), names, "{name}");
    for (slot, array) in &state {
        let what = format!("{name} {dtype}: {slot}");
        close(array, &wanted[slot], tolerance, &what)?;
    }
    Ok(())
}

#[test]
fn optimizers_take_the_steps_of_python() -> mlx::Result<()> {
    let cases: Vec<Value> = serde_json::from_str(GOLDEN).expect("cases");
    assert_eq!(cases.len(), 2 * 19);
    cases.iter().try_for_each(takes_the_steps)
}

#[test]
fn a_loaded_state_goes_on_where_it_was_saved() -> mlx::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    for name in [
        "rmsprop",
        "adadelta",
        "adafactor warm-up",
        "muon",
        "multi of three",
    ] {
        let path = folder.path().join("state.safetensors");
        let (first, mut second) = (optimizer(name), optimizer(name));
        let mut numbers = Numbers(3);
        let parameters = numbers.draw(Dtype::Float32);
        let gradients = numbers.draw(Dtype::Float32);
        let state = first.init(&parameters);
        let (mut parameters, state) = first.apply_gradients(&gradients, &parameters, &state)?;
        save_state(&path, &state)?;
        let (wanted, _) = first.apply_gradients(&gradients, &parameters, &state)?;
        *second.state_mut() = load_state(&path)?;
        second.update(&mut parameters, &gradients)?;
        for (parameter, array) in &wanted {
            let got = parameters[parameter].to_vec::<f32>()?;
            assert_eq!(got, array.to_vec::<f32>()?, "{name}: {parameter}");
        }
    }
    Ok(())
}
