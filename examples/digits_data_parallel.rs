//! Handwritten digits, data parallel: `mlx launch -n 4 -- target/release/digits_data_parallel`.
//!
//! Each rank computes the gradient of its part of every batch, and all take the step of the mean. By itself the program is
//! one rank with whole batches, and gets the same losses to rounding.

use mlx::distributed::{self, Group};
use mlx::{Array, Dtype, random};
use mlx_examples::is_short;
use mlx_nn as nn;
use mlx_nn::distributed::average_gradients;
use mlx_nn::optimizers as optim;
use mlx_nn::{Forward, Module};
use mlx_testdata::assets;
use mlx_testdata::digits::Digits;

/// Of all ranks together.
const BATCH: usize = 240;

#[derive(Clone, Module)]
struct Net {
    fc1: nn::Linear,
    fc2: nn::Linear,
}

impl Forward for Net {
    /// From images `[batch, 64]` to scores `[batch, 10]`.
    fn forward(&self, x: &Array) -> Array {
        self.fc2.forward(&nn::relu(&self.fc1.forward(x)))
    }
}

fn loss(net: &Net, x: &Array, y: &Array) -> Array {
    nn::losses::cross_entropy(&net.forward(x), y).mean(())
}

/// The mean of a number over the ranks.
fn mean(number: &Array, group: &Group) -> mlx::Result<f32> {
    #[allow(clippy::cast_precision_loss)]
    let ranks = group.size() as f32;
    (distributed::all_sum(number, group) / ranks).item()
}

fn main() -> anyhow::Result<()> {
    let group = distributed::init("any", false)?;
    anyhow::ensure!(
        BATCH.is_multiple_of(group.size()),
        "wanted ranks that divide {BATCH}"
    );
    let per_rank = BATCH / group.size();
    // The same network and the same order on all ranks.
    random::seed(0);
    let digits = Digits::open(assets::digits()?)?;
    let n = digits.len();
    let x = Array::from_slice(&digits.pixels, [n, 64])?;
    let y = Array::from_slice(&digits.labels, [n])?;
    let mut net = Net {
        fc1: nn::Linear::new(64, 64),
        fc2: nn::Linear::new(64, 10),
    };
    let mut optimizer = optim::Adam::new(3e-3);
    let step = nn::value_and_grad(&net, loss);
    let epochs = if is_short() { 2 } else { 20 };
    let batches = n / BATCH;
    for epoch in 0..epochs {
        let order = random::permutation(n);
        for batch in 0..batches {
            let first = batch * BATCH + group.rank() * per_rank;
            let own = order.i(first..first + per_rank);
            let (loss, gradients) = step(&net, &x.take(&own, 0), &y.take(&own, 0))?;
            let gradients = average_gradients(&gradients, &group)?;
            optimizer.update(&mut net, &gradients)?;
            mlx::eval(&net)?;
            let loss = mean(&loss, &group)?;
            if group.rank() == 0 && (is_short() || batch + 1 == batches) {
                println!("epoch {epoch} batch {batch} loss {loss:.6}");
            }
        }
    }
    let is_right = net.forward(&x).argmax(-1).equal(&y).astype(Dtype::Float32);
    let accuracy = mean(&is_right.mean(()), &group)?;
    if group.rank() == 0 {
        println!("ranks {} accuracy {accuracy:.4}", group.size());
    }
    Ok(())
}
