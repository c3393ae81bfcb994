//! Schedules and the first twenty steps of each optimizer are Python MLX's.

use mlx::{Array, Dtype};
use mlx_nn::optimizers::{
    Adam, AdamW, Lion, Optimizer, SGD, Schedule, cosine_decay, cosine_decay_to, exponential_decay,
    join_schedules, linear_schedule, step_decay,
};
use mlx_nn::{WeightMap, clip_grad_norm};
use rstest::rstest;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/training.json")).expect("the golden file is JSON")
}

fn numbers(value: &Value) -> Vec<f32> {
    let list = value.as_array().expect("a list of numbers");
    let number = |value: &Value| value.as_f64().expect("a number") as f32;
    list.iter().map(number).collect()
}

/// Whole numbers over 64, the same as in the script that made the golden file.
struct Numbers(u64);

impl Numbers {
    fn array(&mut self, shape: &[i32]) -> Array {
        let mut next = || {
            self.0 = (self.0 * 1_103_515_245 + 12_345) % (1 << 31);
            ((self.0 >> 16) % 257) as f32 / 64.0 - 2.0
        };
        let size = shape.iter().product();
        let values: Vec<f32> = (0..size).map(|_| next()).collect();
        Array::from_slice(&values, shape).expect("as many numbers as the shape has")
    }
}

fn flat(array: &Array) -> Vec<f32> {
    array.astype(Dtype::Float32).to_vec().expect("numbers")
}

/// Equal up to the last places of `float32`.
#[track_caller]
fn assert_close(got: &[f32], wanted: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let tolerance = tolerance * mlx_testdata::slack!() as f32;
    for (got, wanted) in got.iter().zip(wanted) {
        let distance = (got - wanted).abs();
        assert!(
            distance <= tolerance * wanted.abs().max(1e-2),
            "{what}: {got} is not {wanted}"
        );
    }
}

fn warm() -> Schedule {
    let parts = [linear_schedule(0.0, 0.1, 5), cosine_decay(0.1, 12)];
    join_schedules(parts, [5])
}

fn optimizer(name: &str) -> Box<dyn Steps> {
    let sgd = SGD::new(0.1);
    let adam = |rate: f64| Adam {
        bias_correction: true,
        ..Adam::new(rate)
    };
    match name {
        "sgd" => Box::new(sgd),
        "sgd_momentum" => Box::new(SGD {
            momentum: 0.9,
            ..sgd
        }),
        "sgd_dampening" => Box::new(SGD {
            momentum: 0.9,
            dampening: 0.25,
            weight_decay: 0.01,
            ..sgd
        }),
        "sgd_nesterov" => Box::new(SGD {
            momentum: 0.9,
            nesterov: true,
            weight_decay: 0.05,
            ..sgd
        }),
        "sgd_cosine" => Box::new(SGD {
            momentum: 0.5,
            ..SGD::new(cosine_decay_to(0.1, 15, 0.01))
        }),
        "adam" => Box::new(Adam::new(0.01)),
        "adam_corrected" => Box::new(Adam {
            betas: (0.8, 0.95),
            eps: 1e-6,
            ..adam(0.01)
        }),
        "adam_warm" => Box::new(Adam {
            bias_correction: true,
            ..Adam::new(warm())
        }),
        "adamw" => Box::new(AdamW {
            weight_decay: 0.1,
            ..AdamW::new(0.01)
        }),
        "adamw_corrected" => Box::new(AdamW::new(0.02).bias_correction(true)),
        "lion" => Box::new(Lion::new(0.01)),
        "lion_decay" => Box::new(Lion {
            betas: (0.8, 0.9),
            weight_decay: 0.2,
            ..Lion::new(0.01)
        }),
        other => panic!("no optimizer {other}"),
    }
}

/// Optimizers as objects.
trait Steps {
    fn init(&self, parameters: &WeightMap) -> WeightMap;
    fn step(
        &self,
        gradients: &WeightMap,
        parameters: &WeightMap,
        state: &WeightMap,
    ) -> mlx::Result<(WeightMap, WeightMap)>;
}

impl<T: Optimizer> Steps for T {
    fn init(&self, parameters: &WeightMap) -> WeightMap {
        Optimizer::init(self, parameters)
    }
    fn step(
        &self,
        gradients: &WeightMap,
        parameters: &WeightMap,
        state: &WeightMap,
    ) -> mlx::Result<(WeightMap, WeightMap)> {
        self.apply_gradients(gradients, parameters, state)
    }
}

fn takes_the_steps_of(name: &str, dtype: Dtype, golden: &Value, tolerance: f32) -> mlx::Result<()> {
    let mut numbers_from_script = Numbers(7);
    let mut draw = || {
        let weight = numbers_from_script.array(&[3, 2]).astype(dtype);
        let bias = numbers_from_script.array(&[2]).astype(dtype);
        WeightMap::from([("weight".to_owned(), weight), ("bias".to_owned(), bias)])
    };
    let optimizer = optimizer(name);
    let mut parameters = draw();
    let mut state = optimizer.init(&parameters);
    let steps = golden["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 20);
    for (k, wanted) in steps.iter().enumerate() {
        (parameters, state) = optimizer.step(&draw(), &parameters, &state)?;
        assert_eq!(parameters["weight"].dtype()?, dtype, "{name}");
        let got = [flat(&parameters["weight"]), flat(&parameters["bias"])].concat();
        assert_close(
            &got,
            &numbers(wanted),
            tolerance,
            &format!("{name}, step {k}"),
        );
    }
    let wanted = golden["state"].as_object().expect("a state");
    assert_eq!(state.keys().collect::<Vec<_>>(), {
        let mut names: Vec<&String> = wanted.keys().collect();
        names.sort();
        names
    });
    for (slot, wanted) in wanted {
        assert_close(
            &flat(&state[slot]),
            &numbers(wanted),
            tolerance,
            &format!("{name}, {slot}"),
        );
    }
    Ok(())
}

#[rstest]
fn optimizer_takes_python_mlx_s_steps(
    #[values(
        "sgd",
        "sgd_momentum",
        "sgd_dampening",
        "sgd_nesterov",
        "sgd_cosine",
        "adam",
        "adam_corrected",
        "adam_warm",
        "adamw",
        "adamw_corrected",
        "lion",
        "lion_decay"
    )]
    name: &str,
) -> mlx::Result<()> {
    takes_the_steps_of(name, Dtype::Float32, &golden()["optimizers"][name], 2e-6)
}

#[rstest]
fn optimizer_takes_python_mlx_s_steps_in_bfloat16(
    #[values("sgd_nesterov", "adam_corrected", "adamw", "lion_decay")] name: &str,
) -> mlx::Result<()> {
    // One unit in the last place of bfloat16 is 2^-8 of the value.
    takes_the_steps_of(name, Dtype::Bfloat16, &golden()["bfloat16"][name], 1e-2)
}

#[rstest]
#[case("exponential", exponential_decay(0.1, 0.9))]
#[case("step", step_decay(0.1, 0.5, 7))]
#[case("cosine", cosine_decay_to(0.1, 30, 0.02))]
#[case("linear", linear_schedule(0.2, 0.05, 25))]
#[case("join", join_schedules(
    vec![linear_schedule(0.0, 0.1, 8), cosine_decay(0.1, 20), exponential_decay(0.03, 0.8)],
    vec![8, 28],
))]
fn schedule_is_python_mlx_s(#[case] name: &str, #[case] schedule: Schedule) -> mlx::Result<()> {
    let rates: mlx::Result<Vec<f32>> = (0..40_u64)
        .map(|step| schedule.at(&Array::scalar(step)).item::<f32>())
        .collect();
    assert_close(&rates?, &numbers(&golden()["schedules"][name]), 1e-6, name);
    Ok(())
}

#[rstest]
#[case("tight", 0.5)]
#[case("loose", 100.0)]
fn clipping_is_python_mlx_s(#[case] name: &str, #[case] max_norm: f32) {
    let mut from_script = Numbers(13);
    let gradients = WeightMap::from([
        ("a".to_owned(), from_script.array(&[3, 2])),
        ("b".to_owned(), from_script.array(&[4])),
    ]);
    let (clipped, norm) = clip_grad_norm(&gradients, max_norm);
    let got = [flat(&clipped["a"]), flat(&clipped["b"]), flat(&norm)].concat();
    assert_close(&got, &numbers(&golden()["clipped"][name]), 2e-6, name);
}
