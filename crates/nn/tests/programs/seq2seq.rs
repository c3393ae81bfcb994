//! A GRU sequence-to-sequence model that reverses digits, with teacher forcing and beam search.
use mlx::{Array, RangeExt, array, random};
use mlx_nn::{self as nn, Dropout, Embedding, GRU, Linear, Module, losses, optimizers as optim};

const BOS: i32 = 10;

#[derive(Module)]
struct Seq2Seq {
    embedding: Embedding,
    encoder: GRU,
    decoder: GRU,
    attention: Option<Linear>,
    dropout: Dropout,
    out: Linear,
}

impl Seq2Seq {
    fn new(vocab: usize, hidden: usize) -> Self {
        Self {
            embedding: Embedding::new(vocab, hidden),
            encoder: GRU::new(hidden, hidden),
            decoder: GRU::new(hidden, hidden),
            attention: Some(Linear::new(hidden, hidden)),
            dropout: Dropout::new(0.1),
            out: Linear::new(2 * hidden, vocab),
        }
    }

    fn encode(&self, source: &Array) -> (Array, Array) {
        let states = self.encoder.forward(&self.embedding.forward(source));
        let last = states.index((.., -1, ..));
        (states, last)
    }

    fn decode(&self, target: &Array, states: &Array, hidden: &Array) -> (Array, Array) {
        let x = self.dropout.forward(&self.embedding.forward(target));
        let h = self.decoder.forward((&x, hidden));
        let context = match &self.attention {
            Some(attention) => {
                let scores = mlx::matmul(&attention.forward(&h), &states.swapaxes(1, 2));
                mlx::softmax(&scores, -1).matmul(states)
            }
            None => mlx::zeros_like(&h),
        };
        let logits = self.out.forward(&mlx::concatenate([&h, &context], -1));
        (logits, h.index((.., -1)))
    }

    fn forward(&self, (source, target): (&Array, &Array)) -> Array {
        let (states, last) = self.encode(source);
        self.decode(target, &states, &last).0
    }
}

fn batch(size: usize, length: usize) -> (Array, Array, Array) {
    let source = random::randint(0, 10, [size, length]);
    let reversed = source.index((.., (..).step(-1)));
    let bos = mlx::full([size, 1], BOS);
    let target = mlx::concatenate([&bos, &reversed.index((.., ..-1))], 1);
    (source, target, reversed)
}

fn loss_fn(model: &Seq2Seq, source: &Array, target: &Array, expected: &Array) -> Array {
    let logits = model.forward((source, target));
    let mask = expected.ge(0).astype(mlx::float32);
    let ce = losses::cross_entropy(&logits, expected) * &mask;
    ce.sum(()) / mask.sum(())
}

fn beam_search(
    model: &Seq2Seq,
    source: &Array,
    width: usize,
    length: usize,
) -> mlx::Result<Vec<i32>> {
    let (states, hidden) = model.encode(source);
    let mut beams = vec![(0.0f32, vec![BOS], hidden)];
    for _ in 0..length {
        let mut candidates = Vec::new();
        for (score, tokens, hidden) in &beams {
            let last = Array::from(*tokens.last().unwrap()).reshape([1, 1]);
            let (logits, next) = model.decode(&last, &states, hidden);
            let log_probs = nn::log_softmax(&logits.index((0, -1)), -1);
            let best = mlx::argpartition(&(-&log_probs), width, -1).index(..width);
            for id in best.tolist::<i32>()? {
                candidates.push((
                    score + log_probs.index(id).item::<f32>()?,
                    [tokens.clone(), vec![id]].concat(),
                    next.clone(),
                ));
            }
        }
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
        beams = candidates.into_iter().take(width).collect();
    }
    Ok(beams.swap_remove(0).1.split_off(1))
}

#[test]
fn sequences_are_reversed() -> Result<(), Box<dyn std::error::Error>> {
    random::seed(42);
    let mut model = Seq2Seq::new(11, 32);
    let loss_and_grad = nn::value_and_grad(&model, loss_fn);
    let mut optimizer = optim::Adam::new(5e-3);
    let compiled = mlx_compiler::jit(|model: &Seq2Seq, s: &Array, t: &Array| model.forward((s, t)));

    for step in 0..100 {
        let (source, target, expected) = batch(32, 6);
        let (value, grads) = loss_and_grad(&model, &source, &target, &expected)?;
        optimizer.update(&mut model, &grads)?;
        mlx::eval((&model, optimizer.state()))?;
        if step % 20 == 0 {
            let norm = mlx::sum(&array!([1.0]), ());
            println!("step {step}: {:.3} {}", value.item::<f32>()?, norm);
        }
    }
    model.eval();
    let (source, target, expected) = batch(8, 6);
    let guess = compiled(&model, &source, &target)?.argmax(-1);
    let right = guess.equal(&expected).mean(()).item::<f32>()?;
    assert!(right > 0.7, "{right}");
    println!(
        "{:?} -> {:?}",
        source.index(0).to_vec::<i32>()?,
        beam_search(&model, &source.index(0..1), 3, 6)?
    );
    for (word, (a, b)) in ["in", "out"]
        .iter()
        .zip([(&source, &guess), (&target, &expected)])
    {
        println!("{word}: {} {}", a.index(0), b.index(0));
    }
    let grads = mlx::grad(|m: &Seq2Seq| loss_fn(m, &source, &target, &expected))(&model)?;
    let norms: Vec<(String, f32)> = grads
        .parameters()
        .iter()
        .map(|(k, g)| (k.clone(), mlx::linalg::norm(g).item().unwrap()))
        .collect();
    println!("{norms:?}");
    let h = mlx::vmap(|x: &Array| model.embedding.forward(x))(&source)?;
    println!("{:?}", h.shape()?);
    Ok(())
}
