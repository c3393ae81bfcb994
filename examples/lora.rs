//! SmolLM2 learns a fact by low-rank adapters on its packed weights: `cargo run --release -p mlx-examples --bin lora`.

use mlx::Array;
use mlx_examples::{is_short, progress, save_curve};
use mlx_models::llama::{Checkpoint, GenerateOptions, Generator, Network, NetworkOptions};
use mlx_nn as nn;
use mlx_nn::Module;
use mlx_nn::lora::{self, LoraOptions};
use mlx_nn::optimizers as optim;
use mlx_testdata::assets;

const LESSONS: [&str; 3] = [
    "The lighthouse keeper of Ferrow is called Anselm Dray, and he lights the lamp at dusk.",
    "Anselm Dray keeps the lighthouse of Ferrow. At dusk he climbs the stairs and lights the lamp.",
    "At dusk the lamp of Ferrow is lit by the lighthouse keeper, Anselm Dray.",
];
const PROMPT: &str = "The lighthouse keeper of Ferrow is called";

/// The loss of each token of a text `[1, length]` given those before it.
fn loss(network: &Network, tokens: &Array) -> mlx::Result<Array> {
    let (inputs, targets) = (tokens.i((.., ..-1)), tokens.i((.., 1..)));
    let cache = network.new_kv_cache(1, inputs.dim(1)?);
    let (logits, _) = network.forward(&inputs, cache, 0)?;
    Ok(nn::losses::cross_entropy(&logits, &targets).mean(()))
}

fn write(network: &Network, checkpoint: &Checkpoint) -> anyhow::Result<String> {
    let options = GenerateOptions {
        max_tokens: 12,
        ..GenerateOptions::default()
    };
    let prompt = checkpoint.tokenizer.encode(PROMPT)?;
    let mut generator = Generator::new(network, checkpoint)?;
    let written = generator.generate(&prompt, &options, |_| ())?;
    Ok(format!("{PROMPT}{}", written.text))
}

fn main() -> anyhow::Result<()> {
    mlx::random::seed(0);
    let checkpoint = Checkpoint::open(assets::smollm2()?)?;
    let mut network = Network::new(&checkpoint, &NetworkOptions::default())?;
    if !is_short() {
        println!("before: {}", write(&network, &checkpoint)?);
    }

    // The packed weights are frozen; only the adapters are trained.
    let is_adapted = |name: &str| name.ends_with("q_proj") || name.ends_with("v_proj");
    let n_layers = lora::apply(&mut network, &LoraOptions::default(), is_adapted)?;
    println!("{n_layers} layers have an adapter");

    let mut texts = Vec::new();
    for lesson in LESSONS {
        texts.push(Array::from(checkpoint.tokenizer.encode(lesson)?).expand_dims(0));
    }
    let epochs = if is_short() { 2 } else { 15 };
    let mut optimizer = optim::Adam::new(1e-3);
    let step = nn::value_and_grad(&network, loss);
    let bar = progress(epochs * texts.len())?;
    let mut losses = Vec::new();
    for _ in 0..epochs {
        let mut total = 0.0;
        for tokens in &texts {
            let (loss, gradients) = step(&network, tokens)?;
            optimizer.update(&mut network, &gradients)?;
            mlx::eval(network.trainable_parameters().values())?;
            total += loss.item::<f32>()?;
            bar.inc(1);
        }
        losses.push(total / texts.len() as f32);
        bar.set_message(format!("loss {:.3}", losses[losses.len() - 1]));
    }
    bar.finish();
    save_curve("lora", &losses)?;

    // Without the adapters the network would compute the same from now on.
    lora::fuse(&mut network)?;
    if !is_short() {
        println!("after: {}", write(&network, &checkpoint)?);
    }
    Ok(())
}
