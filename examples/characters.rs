//! A transformer learns to write, character by character, from the pages of this repository:
//! `cargo run --release -p mlx-examples --bin characters`.

use mlx::random;
use mlx::{Array, Dtype};
use mlx_examples::{is_short, progress, save_curve};
use mlx_nn::optimizers as optim;
use mlx_nn::{self as nn, Forward, Module};

/// Number of characters that the network reads at once.
const CONTEXT: i32 = 64;
const BATCH: i32 = 16;
const WARM_UP: i32 = 50;

#[derive(Clone, Module)]
struct Block {
    ln1: nn::LayerNorm,
    attention: nn::MultiHeadAttention,
    ln2: nn::LayerNorm,
    mlp: nn::Sequential,
}

impl Block {
    fn new(dims: i32, n_heads: i32) -> Self {
        let up = nn::Linear::new(dims, 4 * dims);
        let down = nn::Linear::new(4 * dims, dims);
        Self {
            ln1: nn::LayerNorm::new(dims),
            attention: nn::MultiHeadAttention::new(dims, n_heads),
            ln2: nn::LayerNorm::new(dims),
            mlp: nn::Sequential::new((up, nn::gelu, down)),
        }
    }
}

impl Forward for Block {
    fn forward(&self, x: &Array) -> Array {
        let y = self.ln1.forward(x);
        let x = x + self.attention.forward(&y, &y, &y, "causal");
        &x + self.mlp.forward(&self.ln2.forward(&x))
    }
}

#[derive(Clone, Module)]
struct Transformer {
    tokens: nn::Embedding,
    positions: nn::Embedding,
    blocks: Vec<Block>,
    norm: nn::LayerNorm,
    head: nn::Linear,
}

impl Transformer {
    fn new(vocabulary: usize, dims: i32, n_heads: i32, n_layers: usize) -> Self {
        Self {
            tokens: nn::Embedding::new(vocabulary, dims),
            positions: nn::Embedding::new(CONTEXT, dims),
            blocks: (0..n_layers).map(|_| Block::new(dims, n_heads)).collect(),
            norm: nn::LayerNorm::new(dims),
            head: nn::Linear::new(dims, vocabulary),
        }
    }

    /// From characters `[batch, length]` to scores of the next ones `[batch, length, vocabulary]`.
    fn forward(&self, tokens: &Array) -> mlx::Result<Array> {
        let positions = self.positions.forward(&mlx::arange(tokens.dim(1)?));
        let x = self.tokens.forward(tokens) + positions;
        let x = self.blocks.iter().fold(x, |x, block| block.forward(&x));
        Ok(self.head.forward(&self.norm.forward(&x)))
    }
}

/// Returns the prose of this repository's pages: no tables and no code.
fn text() -> std::io::Result<String> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/decisions"] {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../").to_owned() + folder;
        for entry in std::fs::read_dir(folder)? {
            pages.push(entry?.path());
        }
    }
    pages.retain(|page: &std::path::PathBuf| page.extension().is_some_and(|end| end == "md"));
    pages.sort();
    let is_prose = |line: &&str| !line.starts_with(['|', '`', '#', ' ']);
    let mut text = String::new();
    for page in pages {
        for line in std::fs::read_to_string(page)?.lines().filter(is_prose) {
            text.extend([line, "\n"]);
        }
    }
    Ok(text)
}

fn loss(model: &Transformer, x: &Array, y: &Array) -> mlx::Result<Array> {
    Ok(nn::losses::cross_entropy(&model.forward(x)?, y).mean(()))
}

/// Returns what the model writes after a prompt.
fn write(model: &Transformer, prompt: &[i32], length: usize) -> mlx::Result<Vec<i32>> {
    let mut tokens = prompt.to_vec();
    for _ in 0..length {
        let start = tokens.len().saturating_sub(CONTEXT as usize);
        let context = Array::from(&tokens[start..]).expand_dims(0);
        // Divided by a temperature of 0.4: mostly what is likely.
        let scores = model.forward(&context)?.i((0, -1)) / 0.4;
        let next = random::categorical(&scores);
        tokens.push(next.astype(Dtype::Int32).item()?);
    }
    Ok(tokens)
}

fn main() -> anyhow::Result<()> {
    random::seed(0);
    let text = text()?;
    let mut vocabulary: Vec<char> = text.chars().collect();
    vocabulary.sort_unstable();
    vocabulary.dedup();
    let token = |c: char| vocabulary.binary_search(&c).map_or(0, |place| place as i32);
    let data = Array::from(text.chars().map(token).collect::<Vec<i32>>());

    let mut model = Transformer::new(vocabulary.len(), 128, 4, 4);
    let steps = if is_short() { 20 } else { 2500 };
    let warm_up = optim::linear_schedule(0.0, 2e-3, WARM_UP);
    let rate = optim::join_schedules([warm_up, optim::cosine_decay(2e-3, steps)], [WARM_UP]);
    let mut optimizer = optim::AdamW::new(rate).weight_decay(0.1);
    let step = nn::value_and_grad(&model, loss);
    let bar = progress(steps)?;
    let mut losses = Vec::new();
    let last_start = data.dim(0)? - CONTEXT - 1;
    for _ in 0..steps {
        let starts = random::randint(0, last_start, [BATCH, 1]);
        let places = starts + mlx::arange(CONTEXT);
        let (x, y) = (data.take(&places, 0), data.take(&places + 1, 0));
        let (loss, gradients) = step(&model, &x, &y)?;
        let (gradients, _) = optim::clip_grad_norm(&gradients, 1.0);
        optimizer.update(&mut model, &gradients)?;
        mlx::eval(&model)?;
        losses.push(loss.item()?);
        bar.set_message(format!("loss {:.3}", losses[losses.len() - 1]));
        bar.inc(1);
    }
    bar.finish();
    save_curve("characters", &losses)?;
    let prompt: Vec<i32> = "The ".chars().map(token).collect();
    let written = write(&model, &prompt, if is_short() { 20 } else { 500 })?;
    let letters = written.iter().map(|&token| vocabulary[token as usize]);
    println!("{}", letters.collect::<String>());
    Ok(())
}
