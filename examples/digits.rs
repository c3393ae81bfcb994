//! A convolutional network learns to read handwritten digits: `cargo run --release -p mlx-examples --bin digits`.

use mlx::{Array, Dtype, random};
use mlx_examples::{is_short, progress, save_curve};
use mlx_nn as nn;
use mlx_nn::optimizers as optim;
use mlx_nn::{Forward, Module};
use mlx_testdata::assets;
use mlx_testdata::digits::Digits;

const BATCH: usize = 50;
/// In an epoch, of 1437 digits.
const BATCHES: usize = 28;

#[derive(Clone, Module)]
struct Net {
    conv1: nn::Conv2d,
    bn1: nn::BatchNorm,
    conv2: nn::Conv2d,
    bn2: nn::BatchNorm,
    pool: nn::MaxPool2d,
    fc1: nn::Linear,
    fc2: nn::Linear,
}

impl Net {
    fn new() -> Self {
        Self {
            conv1: nn::Conv2d::new(1, 32, 3).padding(1),
            bn1: nn::BatchNorm::new(32),
            conv2: nn::Conv2d::new(32, 64, 3).padding(1),
            bn2: nn::BatchNorm::new(64),
            pool: nn::MaxPool2d::new(2),
            fc1: nn::Linear::new(2 * 2 * 64, 128),
            fc2: nn::Linear::new(128, 10),
        }
    }
}

impl Forward for Net {
    /// From images `[batch, 8, 8, 1]` to scores `[batch, 10]`.
    fn forward(&self, x: &Array) -> Array {
        let x = nn::relu(&self.bn1.forward(&self.conv1.forward(x)));
        let x = self.pool.forward(&x);
        let x = nn::relu(&self.bn2.forward(&self.conv2.forward(&x)));
        let x = self.pool.forward(&x).flatten(1, -1);
        self.fc2.forward(&nn::relu(&self.fc1.forward(&x)))
    }
}

fn loss(net: &Net, x: &Array, y: &Array) -> Array {
    nn::losses::cross_entropy(&net.forward(x), y).mean(())
}

fn accuracy(net: &Net, x: &Array, y: &Array) -> mlx::Result<f32> {
    let is_right = net.forward(x).argmax(-1).equal(y);
    is_right.astype(Dtype::Float32).mean(()).item()
}

fn main() -> anyhow::Result<()> {
    random::seed(0);
    let digits = Digits::open(assets::digits()?)?;
    let n = digits.len();
    let x = Array::from_slice(&digits.pixels, [n, 8, 8, 1])?;
    let y = Array::from_slice(&digits.labels, [n])?;
    // Every fifth digit tests the network, and the others train it.
    let places = 0..i32::try_from(n)?;
    let (test, training): (Vec<i32>, Vec<i32>) = places.partition(|place| place % 5 == 0);
    let n_training = training.len();
    let [training, test] = [training, test].map(Array::from);
    let (train_x, test_x) = (x.take(&training, 0), x.take(&test, 0));
    let (train_y, test_y) = (y.take(&training, 0), y.take(&test, 0));

    let mut net = Net::new();
    println!("{}", net.summary());
    let epochs = if is_short() { 2 } else { 20 };
    let steps = epochs * BATCHES;
    let mut optimizer = optim::AdamW::new(optim::cosine_decay(3e-3, steps));
    let step = nn::value_and_grad(&net, loss);
    let bar = progress(steps)?;
    let mut losses = Vec::new();
    for _ in 0..epochs {
        net.train();
        let order = random::permutation(n_training);
        let batches = order.i(..BATCHES * BATCH).reshape([BATCHES, BATCH]);
        for batch in batches.unstack(0)? {
            let (x, y) = (train_x.take(&batch, 0), train_y.take(&batch, 0));
            let (loss, gradients) = step(&net, &x, &y)?;
            optimizer.update(&mut net, &gradients)?;
            mlx::eval(&net)?;
            losses.push(loss.item()?);
            bar.inc(1);
        }
        net.eval();
        bar.set_message(format!("accuracy {:.4}", accuracy(&net, &test_x, &test_y)?));
    }
    bar.finish();
    save_curve("digits", &losses)?;
    println!("accuracy {:.4}", accuracy(&net, &test_x, &test_y)?);
    Ok(())
}
