//! An LSTM predicts the next hour of a series with two periods: `cargo run --release -p mlx-examples --bin time_series`.

use std::f32::consts::TAU;

use mlx::{Array, random};
use mlx_examples::{is_short, progress, save_curve};
use mlx_nn as nn;
use mlx_nn::optimizers as optim;
use mlx_nn::{Forward, Module};

/// Hours of the series; the last fifth tests the network.
const LENGTH: i32 = 3000;
const TRAINING: i32 = 2400;
/// Number of hours that the network reads at once.
const WINDOW: i32 = 72;
const BATCH: i32 = 32;

#[derive(Clone, Module)]
struct Forecaster {
    lstm: nn::LSTM,
    head: nn::Linear,
}

impl Forecaster {
    fn new(hidden: i32) -> Self {
        Self {
            lstm: nn::LSTM::new(1, hidden),
            head: nn::Linear::new(hidden, 1),
        }
    }
}

impl Forward for Forecaster {
    /// From values `[batch, hours, 1]` to the values an hour later.
    fn forward(&self, x: &Array) -> Array {
        let (hidden, _cell) = self.lstm.forward(x);
        x + self.head.forward(&hidden)
    }
}

/// Returns a daily wave whose height changes over ten days, with noise, `[LENGTH, 1]`.
fn series() -> Array {
    let hours = mlx::arange(f64::from(LENGTH));
    let day = (&hours * (TAU / 24.0)).sin();
    let height = (&hours * (TAU / 240.0)).sin() * 0.5 + 1.0;
    let noise = random::normal([LENGTH]);
    (day * height + noise * 0.05).expand_dims(-1)
}

fn loss(model: &Forecaster, x: &Array, y: &Array) -> Array {
    nn::losses::mse_loss(&model.forward(x), y)
}

fn main() -> anyhow::Result<()> {
    random::seed(0);
    let series = series();
    let mut model = Forecaster::new(32);
    let steps = if is_short() { 60 } else { 600 };
    let mut optimizer = optim::Adam::new(optim::cosine_decay(1e-2, steps));
    let step = nn::value_and_grad(&model, loss);
    let bar = progress(steps)?;
    let mut losses = Vec::new();
    for _ in 0..steps {
        let last_start = TRAINING - WINDOW - 1;
        let starts = random::randint(0, last_start, [BATCH, 1]);
        let places = starts + mlx::arange(WINDOW);
        let (x, y) = (series.take(&places, 0), series.take(&places + 1, 0));
        let (loss, gradients) = step(&model, &x, &y)?;
        let (gradients, _) = optim::clip_grad_norm(&gradients, 1.0);
        optimizer.update(&mut model, &gradients)?;
        mlx::eval(&model)?;
        losses.push(loss.item()?);
        bar.inc(1);
    }
    bar.finish();
    save_curve("time_series", &losses)?;

    let rest = series.i(TRAINING..).expand_dims(0);
    let (x, y) = (rest.i((.., ..-1)), rest.i((.., 1..)));
    let error = |forecast: &Array| nn::losses::mse_loss(forecast, &y).sqrt().item::<f32>();
    println!("error {:.4}", error(&model.forward(&x))?);
    println!("of the hour before {:.4}", error(&x)?);
    Ok(())
}
