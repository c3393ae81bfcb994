//! A GAN on a ring of Gaussians: two networks, two optimizers, one step each.
use mlx::{Array, array, random};
use mlx_nn::{
    self as nn, Dropout, LayerNorm, Linear, Module, Sequential, losses, optimizers as optim,
};

const LATENT: usize = 8;

#[derive(Module)]
struct Generator {
    layers: Vec<Linear>,
    norm: LayerNorm,
    out: Linear,
}

impl Generator {
    fn new(hidden: usize, depth: usize) -> Self {
        let mut layers = vec![Linear::new(LATENT, hidden)];
        layers.extend((1..depth).map(|_| Linear::new(hidden, hidden)));
        Generator {
            layers,
            norm: LayerNorm::new(hidden),
            out: Linear::new(hidden, 2).bias(false),
        }
    }

    fn forward(&self, z: &Array) -> Array {
        let mut h = z.clone();
        for layer in &self.layers {
            h = nn::elu(&layer.forward(&h));
        }
        3.0 * mlx::tanh(&self.out.forward(&self.norm.forward(&h)))
    }
}

fn discriminator() -> Sequential {
    Sequential::new((
        Linear::new(2, 32),
        nn::LeakyReLU::new(0.2),
        Dropout::new(0.1),
        Linear::new(32, 32),
        nn::leaky_relu,
        Linear::new(32, 1),
    ))
}

fn real(count: usize) -> Array {
    let angle = random::randint(0, 8, (count,)).astype(mlx::float32) * (std::f32::consts::PI / 4.0);
    let centre = mlx::stack([angle.cos(), angle.sin()], -1) * 2.0;
    centre + 0.05 * random::normal((count, 2))
}

fn discriminator_loss(d: &Sequential, x: &Array, fake: &Array) -> mlx::Result<Array> {
    let n = x.shape()?[0];
    let (a, b) = (d.forward(x), d.forward(fake));
    let loss = losses::binary_cross_entropy(&a, &(mlx::ones([n, 1]) * 0.9)).mean(());
    Ok(loss + losses::binary_cross_entropy(&b, &mlx::zeros_like(&b)).mean(()))
}

#[test]
fn rings_are_learned_by_two_networks() -> Result<(), Box<dyn std::error::Error>> {
    random::seed(1);
    let mut g = Generator::new(32, 3);
    let mut d = discriminator();
    println!("{} {}", g.summary(), d.num_parameters());
    d.train();

    let mut g_opt = optim::Adam::new(1e-3).betas((0.5, 0.999));
    let mut d_opt = optim::RMSprop::new(5e-4).alpha(0.9);
    g_opt.init(&g);
    d_opt.init(&g.trainable_parameters());
    d_opt.init(&d);

    let d_step = nn::value_and_grad(&d, discriminator_loss);
    let mut histories: (Vec<f32>, Vec<f32>) = (vec![], vec![]);
    for step in 0..200 {
        let z = random::normal([64, LATENT]);
        let fake = mlx::stop_gradient(&g.forward(&z));
        let (d_value, d_grads) = d_step(&d, &real(64), &fake)?;
        let (d_grads, norm) = optim::clip_grad_norm(&d_grads, 1.0);
        d_opt.update(&mut d, &d_grads)?;
        mlx::eval((&d, d_opt.state()))?;

        let g_step = nn::value_and_grad(&g, |g: &Generator, z: &Array| {
            let logits = d.forward(&g.forward(z));
            losses::binary_cross_entropy(&logits, &mlx::ones_like(&logits)).mean(())
        });
        let (g_value, g_grads) = g_step(&g, &z)?;
        g_opt.update(&mut g, &g_grads)?;
        mlx::eval((&g, g_opt.state()))?;
        histories.0.push(d_value.item()?);
        histories.1.push(g_value.item()?);
        if step % 50 == 0 {
            println!(
                "{step:4} d {:.3} g {:.3} norm {:.3}",
                histories.0[step],
                histories.1[step],
                norm.item::<f32>()?
            );
        }
        if step == 100 {
            g_opt.learning_rate = g_opt.learning_rate * 0.5;
            d_opt.set_learning_rate(1e-4);
        }
    }

    d.eval();
    let samples = g.forward(&random::normal([1000, LATENT]));
    let radius = samples.square().sum(-1).sqrt();
    println!(
        "radius {} +- {}",
        radius.mean(()).item::<f32>()?,
        radius.std(()).item::<f32>()?
    );
    let scores = mlx::sigmoid(d.forward(&samples)).squeeze(-1);
    let best = scores.argsort(-1).index(-5..);
    println!("{}", samples.take(&best, 0));
    println!("{}", samples.index(&best));
    let (top, at) = (mlx::topk(&scores, 5), mlx::argmax(&scores, -1));
    assert!(top.max(()).item::<f32>()? == scores.index(at.item::<u32>()?).item::<f32>()?);
    let target = array!([0.0, 0.0]);
    let distance = mlx::linalg::norm_with(samples - target, 2, -1);
    println!("{:?}", distance.min(()).item::<f32>()?);
    assert!(histories.1.iter().all(|loss| loss.is_finite()));
    let folder = tempfile::tempdir()?;
    mlx::savez(
        folder.path().join("gan.npz"),
        [("samples", &top), ("scores", &scores)],
    )?;
    Ok(())
}
