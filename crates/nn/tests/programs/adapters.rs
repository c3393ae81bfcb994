//! Quantize a model of our own, put LoRA on it, train the adapters, fuse them.
use std::collections::HashMap;

use mlx::{Array, random};
use mlx_nn::{
    self as nn, Embedding, LayerNorm, Linear, Module, MultiHeadAttention, losses,
    optimizers as optim,
};

#[derive(Module)]
struct Layer {
    attention: MultiHeadAttention,
    ln1: LayerNorm,
    ln2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Layer {
    fn new(dim: usize) -> Self {
        Layer {
            attention: MultiHeadAttention::new(dim, 4),
            ln1: LayerNorm::new(dim),
            ln2: LayerNorm::new(dim),
            fc1: Linear::new(dim, 4 * dim),
            fc2: Linear::new(4 * dim, dim),
        }
    }

    fn forward(&self, x: &Array, mask: &Array) -> Array {
        let h = self.ln1.forward(x);
        let x = x + self.attention.forward(&h, &h, &h, mask);
        let h = self
            .fc2
            .forward(&nn::gelu(&self.fc1.forward(&self.ln2.forward(&x))));
        x + h
    }
}

#[derive(Module)]
struct Lm {
    embedding: Embedding,
    layers: Vec<Layer>,
    head: Linear,
}

impl Lm {
    fn forward(&self, tokens: &Array) -> mlx::Result<Array> {
        let l = tokens.shape()?[1];
        let mask = MultiHeadAttention::create_additive_causal_mask(l);
        let mut x = self.embedding.forward(tokens);
        for layer in &self.layers {
            x = layer.forward(&x, &mask);
        }
        Ok(self.head.forward(&x))
    }
}

fn loss(model: &Lm, tokens: &Array, targets: &Array) -> mlx::Result<Array> {
    let logits = model.forward(tokens)?;
    Ok(losses::cross_entropy(&logits, targets).mean(()))
}

#[test]
fn adapters_of_packed_weights_learn() -> Result<(), Box<dyn std::error::Error>> {
    random::seed(7);
    let dim = 64;
    let mut model = Lm {
        embedding: Embedding::new(100, dim),
        layers: (0..2).map(|_| Layer::new(dim)).collect(),
        head: Linear::new(dim, 100).bias(false),
    };
    println!("{}", model.summary());
    let sizes: HashMap<String, usize> = model
        .named_modules()
        .iter()
        .map(|(name, m)| (name.to_string(), m.num_parameters()))
        .collect();
    println!("{sizes:?}");

    // All but the head in 4 bits.
    nn::quantize(&mut model, (64, 4), |path| path != "head")?;
    let bytes: usize = model
        .parameters()
        .values()
        .map(|w| w.nbytes().unwrap())
        .sum();
    println!(
        "{bytes} bytes; trainable {:?}",
        model.trainable_parameters().keys().collect::<Vec<_>>()
    );

    model.freeze()?;
    assert!(model.trainable_parameters().is_empty());
    nn::lora::apply(&mut model, &Default::default(), |name| name.contains("fc"))?;
    model.unfreeze_matching(["*.lora_a", "*.lora_b"])?;
    model.layers[1].ln2.unfreeze()?;
    for (name, weight) in model.trainable_parameters().flatten() {
        println!("{name}: {:?}", weight.shape()?);
    }
    println!(
        "{} of {}",
        model.num_trainable_parameters(),
        model.num_parameters()
    );

    let tokens = random::randint(0, 100, [8, 17]);
    let (x, y) = (tokens.index((.., ..-1)), tokens.index((.., 1..)));
    let schedule = optim::cosine_decay(2e-4, 50);
    let mut optimizer = optim::AdamW::new(schedule).weight_decay(0.01);
    let step = nn::value_and_grad(&model, loss);
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name);
    let first = loss(&model, &x, &y)?.item::<f32>()?;
    let mut last = first;
    for i in 0..30 {
        let (value, mut grads) = step(&model, &x, &y)?;
        if i % 10 == 9 {
            grads = mlx::tree_map(|g| g * 0.5, &grads);
        }
        optimizer.update(&mut model, &grads)?;
        mlx::eval((model.parameters(), &optimizer.state))?;
        last = value.item::<f32>()?;
        println!("{i} {last:.3} lr {}", optimizer.learning_rate());
    }
    assert!(last < first);

    model.save_weights(file("lora.safetensors"))?;
    let adapters: Vec<_> = model.trainable_parameters().into_iter().collect();
    mlx::save_safetensors(file("adapters.safetensors"), &adapters)?;
    model.load_weights_partial(file("adapters.safetensors"))?;
    model.update(&mlx::load(file("lora.safetensors"))?)?;
    let before = model.forward(&x)?;
    nn::lora::fuse(&mut model)?;
    let after = model.forward(&x)?;
    let off = (&before - &after).abs().max(()).item::<f32>()?;
    // Packed again, the weights are rounded again.
    println!("fused: {off:.4}");
    model.apply(|w| w.astype(mlx::bfloat16));
    model.eval();
    Ok(())
}
