//! A data loader, a training loop with evaluation, early stopping and checkpoints that resume.
use std::path::{Path, PathBuf};

use mlx::{Array, Dtype, array, random, s};
use mlx_nn::{
    self as nn, BatchNorm, Conv2d, Linear, MaxPool2d, Module, losses, optimizers as optim,
};

struct DataLoader {
    images: Array,
    labels: Array,
    batch_size: usize,
    shuffle: bool,
}

impl DataLoader {
    fn len(&self) -> usize {
        self.images
            .shape()
            .map_or(0, |shape| usize::try_from(shape[0]).unwrap_or(0))
    }

    fn batches(&self) -> impl Iterator<Item = (Array, Array)> + '_ {
        let order = if self.shuffle {
            random::permutation(self.len())
        } else {
            mlx::arange(self.len())
        };
        (0..self.len()).step_by(self.batch_size).map(move |start| {
            let end = (start + self.batch_size).min(self.len());
            let ids = &order.index(start..end);
            (self.images.index(ids), self.labels.take(ids, 0))
        })
    }
}

#[derive(Debug, Module)]
struct Net {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc: Linear,
    dropout: nn::Dropout,
}

impl Net {
    fn new(classes: usize) -> Self {
        Net {
            conv1: Conv2d::new(1, 8, 3).padding(1).stride(1),
            bn1: BatchNorm::new(8).momentum(0.1),
            conv2: Conv2d::new(8, 16, (3, 3)).padding((1, 1)),
            pool: MaxPool2d::new(2),
            fc: Linear::new(16 * 3 * 3, classes),
            dropout: nn::Dropout::new(0.2),
        }
    }

    fn forward(&self, x: &Array) -> Array {
        let x = self
            .pool
            .forward(&nn::relu(&self.bn1.forward(&self.conv1.forward(x))));
        let x = self.pool.forward(&nn::relu(&self.conv2.forward(&x)));
        let x = x.flatten(1, -1);
        self.fc.forward(&self.dropout.forward(&x))
    }
}

fn dataset(count: usize) -> mlx::Result<DataLoader> {
    let labels = random::randint(0, 4, [count]).astype(Dtype::Uint32);
    let mut images = random::uniform(0.0, 0.3, [count, 12, 12, 1]);
    for (i, label) in labels.tolist::<u32>()?.iter().enumerate() {
        let (r, c) = ((label / 2) as usize * 6, (label % 2) as usize * 6);
        images = images.at((i, r..r + 6, c..c + 6)).add(0.7);
    }
    images = (&images - images.mean([0, 1, 2])) / images.std([0, 1, 2]);
    Ok(DataLoader {
        images,
        labels,
        batch_size: 16,
        shuffle: true,
    })
}

fn accuracy(model: &mut Net, data: &DataLoader) -> mlx::Result<f32> {
    model.eval();
    let mut right = 0.0;
    for (x, y) in data.batches() {
        let predicted = mlx::argmax(&model.forward(&x), 1);
        right += predicted.equal(&y).sum(()).item::<f32>()?;
    }
    model.train();
    Ok(right / data.len() as f32)
}

fn save_checkpoint(
    folder: &Path,
    epoch: usize,
    model: &Net,
    optimizer: &optim::SGD,
) -> Result<PathBuf, Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("epoch-{epoch}.safetensors"));
    model.save_weights(&path)?;
    mlx::save_safetensors(
        folder.join("optimizer.safetensors"),
        &optimizer.state().flatten(),
    )?;
    mlx::save_safetensors(
        folder.join("meta.safetensors"),
        [("epoch", &Array::from(epoch))],
    )?;
    Ok(path)
}

#[test]
fn a_training_goes_on_from_a_checkpoint() -> Result<(), Box<dyn std::error::Error>> {
    random::seed(5);
    let train = dataset(128)?;
    let valid = DataLoader {
        shuffle: false,
        ..dataset(48)?
    };
    let mut model = Net::new(4);
    println!("{model:?}");
    let warmup = optim::linear_schedule(0.0, 0.05, 10);
    let cosine = optim::cosine_decay(0.05, 100);
    let mut optimizer = optim::SGD::new(optim::join_schedules([warmup, cosine], [10]))
        .momentum(0.9)
        .nesterov(true);

    let loss_fn =
        |model: &Net, x: &Array, y: &Array| losses::cross_entropy(&model.forward(x), y).mean(());
    let step = nn::value_and_grad(&model, loss_fn);
    let (mut best, mut patience) = (0.0f32, 0);
    let temporary = tempfile::tempdir()?;
    let folder = temporary.path().join("checkpoints");
    for epoch in 0..5 {
        let mut total = 0.0;
        let mut count = 0;
        for (x, y) in train.batches() {
            let (value, grads) = step(&model, &x, &y)?;
            let (grads, _) = optim::clip_grad_norm(&grads, 2.0);
            optimizer.update(&mut model, &grads)?;
            mlx::eval((model.state(), optimizer.state()))?;
            total += value.item::<f32>()?;
            count += 1;
        }
        let valid_accuracy = accuracy(&mut model, &valid)?;
        println!(
            "epoch {epoch}: loss {:.3}, accuracy {valid_accuracy:.3}, lr {:.4}, step {}",
            total / count as f32,
            optimizer.learning_rate().item::<f32>()?,
            optimizer.step().item::<u64>()?
        );
        if valid_accuracy > best {
            best = valid_accuracy;
            save_checkpoint(&folder, epoch, &model, &optimizer)?;
            patience = 0;
        } else {
            patience += 1;
            if patience > 2 {
                break;
            }
        }
    }

    let mut again = Net::new(4);
    let newest = std::fs::read_dir(&folder)?
        .filter_map(|e| Some(e.ok()?.path()))
        .find(|p| p.to_string_lossy().contains("epoch"))
        .unwrap();
    again.load_weights(&newest)?;
    again.load_weights(newest.to_str().unwrap())?;
    let mut optimizer2 = optim::SGD::new(0.01).momentum(0.9);
    optimizer2.set_state(mlx::load(folder.join("optimizer.safetensors"))?)?;
    assert!((accuracy(&mut again, &valid)? - best).abs() < 1e-6);
    let confusion = mlx::zeros([4, 4]).astype(Dtype::Int32);
    let predicted = model.forward(&valid.images).argmax(-1);
    let confusion = confusion.at((&valid.labels, &predicted)).add(1);
    println!("{confusion}\n{}", confusion.index(s![0, ..]));
    let normal = confusion.astype(mlx::float32) / confusion.sum(mlx::keepdims(1));
    println!("{normal:?} {}", array!([1, 2]).max(()));
    Ok(())
}
