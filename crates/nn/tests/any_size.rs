//! Layers and losses in functions that are compiled once for all sizes: they give what they give eagerly, at every size.

use mlx::fast::AttentionMask;
use mlx::{Array, Dtype};
use mlx_compiler::{CompileOptions, jit_with};
use mlx_nn::losses;
use mlx_nn::{
    ALiBi, AvgPool1d, AvgPool2d, Embedding, FastOps, Forward, GroupNorm, InstanceNorm, LayerNorm,
    Linear, MaxPool1d, Module, MultiHeadAttention, RmsNorm, RoPE, SinusoidalPositionalEncoding,
    TransformerDecoderLayer, TransformerEncoderLayer,
};
use rstest::rstest;

fn options() -> CompileOptions {
    CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    }
}

fn numbers(shape: &[i32]) -> Array {
    let n = shape.iter().product::<i32>();
    let numbers: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
    Array::from_slice(&numbers, shape).unwrap()
}

/// Returns the shapes that a text such as `2x3 4` says.
fn shapes(text: &str) -> Vec<Vec<i32>> {
    let shape = |text: &str| text.split('x').map(|size| size.parse().unwrap()).collect();
    text.split(' ').map(shape).collect()
}

fn read(output: &Array) -> mlx::Result<(Vec<i32>, Vec<f32>)> {
    let output = output.astype(Dtype::Float32);
    Ok((output.shape()?, output.to_vec::<f32>()?))
}

/// Calls a function for all sizes with inputs of each of these shapes, twice node by node and then by a form for them, and
/// compares with the function itself. Returns how often it was traced.
fn traces(function: impl Fn(&Vec<Array>) -> Array + Clone, calls: &[&str]) -> u64 {
    let compiled = jit_with(function.clone(), options());
    for call in calls.iter().flat_map(|call| [call; 3]) {
        let inputs: Vec<Array> = shapes(call).iter().map(|shape| numbers(shape)).collect();
        let got = compiled.call(&inputs);
        match (got, read(&function(&inputs))) {
            (Ok(got), Ok((shape, want))) => {
                let (got_shape, got) = read(&got).unwrap();
                assert_eq!(got_shape, shape, "{call}");
                let is_near = |(got, want): (&f32, &f32)| {
                    (got - want).abs() < 1e-4 || got.is_nan() && want.is_nan()
                };
                let are_near = got.iter().zip(&want).all(is_near);
                assert!(are_near, "{call}: {got:?} is not {want:?}");
            }
            (Err(_), Err(_)) => {}
            (got, want) => panic!("{call}: wanted {want:?}, got {:?}", got.map(|y| y.shape())),
        }
    }
    compiled.stats().misses
}

fn attention() -> MultiHeadAttention {
    MultiHeadAttention::new(16, 4)
}

const LENGTHS: [&str; 5] = ["2x5x16", "1x5x16", "3x2x16", "2x9x16", "4x33x16"];
const EDGES: [&str; 4] = ["2x5x16", "2x1x16", "0x5x16", "2x0x16"];

/// Lengths and batches of any number are one trace; where a mask limits nothing, or there is nothing to compute, another.
#[rstest]
#[case::plain(AttentionMask::none(), 1, 2)]
#[case::causal(AttentionMask::causal(), 1, 3)]
#[case::window(AttentionMask::window(3, 0), 3, 4)]
fn attention_of_any_length_is_one_trace(
    #[case] mask: AttentionMask,
    #[case] wanted: u64,
    #[case] at_the_edges: u64,
) {
    let layer = attention();
    let forward = move |x: &Vec<Array>| layer.forward(&x[0], &x[0], &x[0], &mask);
    let got = traces(forward.clone(), &LENGTHS);
    assert!(got <= wanted, "{got} traces, wanted {wanted}");
    let got = traces(forward, &EDGES);
    assert!(got <= at_the_edges, "{got} traces, wanted {at_the_edges}");
}

/// A layer with this many sizes, among them such as are alike, and 1.
#[rstest]
#[case::linear(|| one(Linear::new(8, 3)), &["5x8", "1x8", "40x8"], 1)]
#[case::layer_norm(|| one(LayerNorm::new(8)), &["5x8", "1x8", "40x8"], 1)]
#[case::rms_norm(|| one(RmsNorm::new(8)), &["2x5x8", "1x1x8", "4x4x8"], 1)]
#[case::group_norm(|| one(GroupNorm::new(2, 8)), &["2x5x8", "1x1x8", "4x4x8", "3x7x8"], 1)]
#[case::pytorch_groups(|| one(GroupNorm::new(2, 8).pytorch_compatible(true)), &["2x5x3x8", "1x1x1x8", "4x4x2x8"], 1)]
#[case::instance_norm(|| one(InstanceNorm::new(8)), &["2x5x8", "1x2x8", "4x4x8"], 1)]
#[case::embedding(|| { let l = Embedding::new(9, 4); applied(move |x| l.forward(&(&x[0] * 3.0 + 4.0).astype(Dtype::Int32))) }, &["2x5", "1x1", "7x3"], 1)]
#[case::max_pool(|| one(MaxPool1d::new(2)), &["2x6x3", "1x2x3", "4x7x3"], 1)]
#[case::mean_pool(|| one(AvgPool2d::new(2).stride(1)), &["2x6x4x3", "1x2x2x3", "4x7x9x3"], 1)]
#[case::rope(|| one(RoPE::new(8)), &["2x5x8", "1x1x8", "3x9x8"], 1)]
#[case::rope_of_heads(|| one(RoPE::new(4)), &["2x3x5x8", "1x1x1x8", "3x2x9x8"], 1)]
#[case::sinusoids(|| { let l = SinusoidalPositionalEncoding::new(8); applied(move |x| &x[0] + l.forward(&mlx::iota(x[0].axis_size(1).unwrap()))) }, &["2x5x8", "1x1x8", "3x9x8"], 1)]
#[case::alibi(|| one(ALiBi::new()), &["2x4x5x5", "1x4x1x1", "1x4x2x9"], 1)]
#[case::encoder(|| { let l = encoder(); applied(move |x| l.forward(&x[0], &AttentionMask::none())) }, &["2x5x16", "1x1x16", "3x9x16"], 1)]
#[case::causal_encoder(|| { let l = encoder(); applied(move |x| l.forward(&x[0], &AttentionMask::causal())) }, &["2x5x16", "1x2x16", "3x9x16"], 1)]
#[case::decoder(|| { let l = decoder(); applied(move |x| l.forward(&x[0], &x[1], &AttentionMask::none(), &AttentionMask::none())) }, &["2x5x16 2x3x16", "1x1x16 1x4x16", "3x9x16 3x9x16"], 1)]
fn a_layer_is_one_trace_for_all_sizes(
    #[case] layer: fn() -> Layer,
    #[case] calls: &[&str],
    #[case] wanted: u64,
) {
    let layer = std::rc::Rc::new(layer());
    assert_eq!(traces(move |x: &Vec<Array>| layer(x), calls), wanted);
}

type Layer = Box<dyn Fn(&Vec<Array>) -> Array>;

fn applied(function: impl Fn(&Vec<Array>) -> Array + 'static) -> Layer {
    Box::new(function)
}

fn one(layer: impl Forward + 'static) -> Layer {
    Box::new(move |x: &Vec<Array>| layer.forward(&x[0]))
}

fn encoder() -> TransformerEncoderLayer {
    TransformerEncoderLayer::new(16, 4).mlp_dims(24)
}

fn decoder() -> TransformerDecoderLayer {
    TransformerDecoderLayer::new(16, 4).mlp_dims(24)
}

/// Composed attention and rotary embeddings, whose formulas are recognized in each form.
#[test]
fn composed_layers_are_fused_in_the_forms() {
    let mut layer = encoder();
    layer.set_kernels(FastOps::Composed);
    let forward = move |x: &Vec<Array>| layer.forward(&x[0], &AttentionMask::causal());
    assert_eq!(traces(forward, &["2x5x16", "1x3x16", "3x9x16"]), 1);
}

/// A mask of its own size, which broadcasts or not: one comparison, one trace.
#[test]
fn a_mask_of_padding_is_one_trace() {
    let layer = attention();
    let forward = move |x: &Vec<Array>| {
        let visible = x[1].greater(-0.5).expand_dims([1, 2]);
        layer.forward(&x[0], &x[0], &x[0], &AttentionMask::bool(&visible))
    };
    let calls = ["2x5x16 2x5", "1x1x16 1x1", "3x9x16 3x9", "1x9x16 1x9"];
    assert_eq!(traces(forward, &calls), 1);
}

#[rstest]
#[case::cross_entropy(|x: &Vec<Array>| losses::cross_entropy(&x[0], &x[1].abs().astype(Dtype::Int32)), &["5x4 5", "1x4 1", "9x4 9"])]
#[case::cross_entropy_of_probabilities(|x: &Vec<Array>| losses::cross_entropy(&x[0], &x[1].softmax(-1)), &["5x4 5x4", "1x4 1x4", "9x3 9x3"])]
#[case::mean_squares(|x: &Vec<Array>| losses::mse_loss(&x[0], &x[1]), &["5x4 5x4", "1x4 1x4", "9x3 9x3"])]
#[case::binary(|x: &Vec<Array>| losses::binary_cross_entropy(&x[0], &x[1].greater(0)), &["5x4 5x4", "1x4 1x4", "9x3 9x3"])]
#[case::huber(|x: &Vec<Array>| losses::huber_loss(&x[0], &x[1]), &["5 5", "1 1", "9 9"])]
#[case::nll(|x: &Vec<Array>| losses::nll_loss(&x[0], &x[1].abs().astype(Dtype::Int32)), &["5x4 5", "1x4 1", "9x4 9"])]
#[case::cosine(|x: &Vec<Array>| losses::cosine_similarity_loss(&x[0], &x[1]), &["5x4 5x4", "1x4 1x4", "9x3 9x3"])]
fn a_loss_is_one_trace_for_all_sizes(
    #[case] loss: fn(&Vec<Array>) -> Array,
    #[case] calls: &[&str],
) {
    assert_eq!(traces(loss, calls), 1);
}

/// Shapes that no longer fit are the errors of the function itself, and those that fit in another way another trace.
#[test]
fn shapes_that_do_not_fit_are_traced_anew_and_refused() -> Result<(), mlx_compiler::Error> {
    let loss = |scores: &Array, targets: &Array| losses::mse_loss(scores, targets);
    let compiled = jit_with(loss, options());
    let _ = compiled.call((&numbers(&[3, 4]), &numbers(&[3, 4])))?;
    let error = compiled.call((&numbers(&[3, 4]), &numbers(&[1, 4])));
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("both must have one shape, got [3, 4] and [1, 4]"),
        "{text}"
    );
    let _ = compiled.call((&numbers(&[7, 2]), &numbers(&[7, 2])))?;
    let stats = compiled.stats();
    assert_eq!((stats.misses, stats.entries), (1, 1));
    let report = compiled.report().unwrap_or_default();
    assert_eq!(report.guards.len(), 2, "{report}");
    assert!(report.guards[0].starts_with("x0.dim(0) == x1.dim(0) at "));
    Ok(())
}

/// A training step of a small transformer: attention, norms and cross entropy, with their gradients.
#[test]
fn a_training_step_of_a_transformer_is_one_trace() -> Result<(), mlx_compiler::Error> {
    let (layer, head) = (encoder(), Linear::new(16, 5));
    let loss = move |layer: &TransformerEncoderLayer, x: &Array, y: &Array| {
        let hidden = layer.forward(x, &AttentionMask::causal());
        losses::cross_entropy(&head.forward(&hidden), y).mean(())
    };
    let step = move |layer: &TransformerEncoderLayer, x: &Array, y: &Array| {
        let gradient = mlx::value_and_grad(|layer: &TransformerEncoderLayer| loss(layer, x, y));
        let (value, gradients) = gradient.call(layer)?;
        Ok::<_, mlx::Error>((value, gradients))
    };
    let compiled = jit_with(step.clone(), options()).max_traces(1);
    for (n, length) in [(2, 5), (2, 5), (1, 7), (1, 7), (1, 7), (6, 2), (2, 5)] {
        let x = numbers(&[n, length, 16]);
        let y = (numbers(&[n, length]).abs() * 4.9).astype(Dtype::Int32);
        let (got, want) = (
            compiled.call((&layer, &x, &y))?,
            step(&layer, &x, &y).map_err(mlx_compiler::Error::from)?,
        );
        let pairs = mlx::tree_flatten(&got)
            .into_iter()
            .zip(mlx::tree_flatten(&want));
        for ((name, got), (_, want)) in pairs {
            let off = (got - want).abs().max(()).item::<f32>()?;
            assert!(off < 1e-4, "{n} x {length}, {name}: off by {off}");
        }
    }
    assert_eq!(compiled.stats().misses, 1);
    Ok(())
}

/// Random numbers, the same for a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

type Step = Box<dyn Fn(&Array) -> mlx::Result<Array>>;

/// A step over `[batch, length, 16]`, of those that look at sizes and of those that do not.
fn random_step(random: &mut Random) -> Step {
    let mask = match random.below(4) {
        0 => AttentionMask::none(),
        1 => AttentionMask::causal(),
        2 => AttentionMask::window(random.below(4) as i32, 0),
        _ => AttentionMask::window(None, random.below(3) as i32),
    };
    let few = random.below(5) as i64;
    match random.below(14) {
        0 => of(LayerNorm::new(16)),
        1 => of(RmsNorm::new(16)),
        2 => of(Linear::new(16, 16)),
        3 => of(GroupNorm::new(4, 16)),
        4 => of(RoPE::new(16)),
        5 => of(AvgPool1d::new(2).stride(1)),
        6 => {
            let layer = attention();
            Box::new(move |x| Ok(layer.forward(x, x, x, &mask)))
        }
        7 => {
            let layer = encoder();
            Box::new(move |x| Ok(layer.forward(x, &mask)))
        }
        8 => Box::new(|x| Ok(x.i((.., ..-1)))),
        9 => Box::new(move |x| Ok(x.i((.., few..)) + x.i((.., -1, ..)).expand_dims(1))),
        10 => Box::new(move |x| {
            let length = x.axis_size(1)?;
            let half = length.max(1).min(few + 1);
            let scale = half.to_array(Dtype::Float32);
            Ok(x.take(&mlx::iota(half), 1) / scale)
        }),
        11 => Box::new(|x| {
            let [batch, length] = [x.axis_size(0)?, x.axis_size(1)?];
            let rows = x.reshape((&batch * &length, 16)).softmax(0);
            Ok(rows.reshape((batch, length, 16)) * 3.0)
        }),
        12 => Box::new(move |x| {
            let is_long = x.axis_size(1)? > few;
            Ok(if is_long { x.roll(1, 1) } else { x * 2.0 })
        }),
        _ => Box::new(|x| {
            let encoding = SinusoidalPositionalEncoding::new(16);
            Ok(x + encoding.forward(&mlx::iota(x.axis_size(1)?)))
        }),
    }
}

fn of(layer: impl Forward + 'static) -> Step {
    Box::new(move |x| Ok(layer.forward(x)))
}

/// A loss over a few steps, or its gradient.
fn random_function(seed: u64) -> impl Fn(&Array) -> mlx::Result<Array> {
    let mut random = Random(seed);
    let n = 2 + random.below(4);
    let steps: Vec<Step> = (0..n).map(|_| random_step(&mut random)).collect();
    let kind = random.below(3);
    move |x: &Array| {
        let run = |x: &Array| {
            let mut x = x.clone();
            for step in &steps {
                x = step(&x)?;
            }
            Ok::<_, mlx::Error>(x)
        };
        let loss = |x: &Array| {
            let scores = run(x)?;
            let targets = (scores.sum(-1) * 0.0).astype(Dtype::Int32);
            Ok::<_, mlx::Error>(losses::cross_entropy(&scores, &targets).sum(()))
        };
        match kind {
            0 => run(x),
            1 => loss(x),
            _ => mlx::grad(loss).call(x),
        }
    }
}

/// Networks of random layers are, at sizes of 0, 1 and more, what they are eagerly, or the same error.
#[test]
fn random_networks_are_right_at_all_sizes() {
    let seeds = std::env::var("ANY_SIZE_SEEDS").ok();
    let n: u64 = seeds.and_then(|n| n.parse().ok()).unwrap_or(60);
    let (mut compared, mut failed, mut traces) = (0, 0, 0);
    for seed in 0..n {
        let function = random_function(seed);
        let compiled = jit_with(&function, options());
        let mut random = Random(seed + 1_000_000);
        for _ in 0..5 {
            let sizes = [0, 1, 2, 3, 4, 5, 6, 8];
            let mut size = || sizes[random.below(8) as usize];
            let x = numbers(&[size(), size(), 16]);
            let want = function(&x).and_then(|y| read(&y));
            for call in 0..3 {
                let what = || format!("seed {seed}, {:?}, call {call}", x.shape());
                let got = compiled.call(&x).map_err(|error| error.to_string());
                let got = got.and_then(|y| read(&y).map_err(|error| error.to_string()));
                match (&want, got) {
                    (Ok((wanted, want)), Ok((shape, got))) => {
                        assert_eq!(&shape, wanted, "{}", what());
                        let near = |(got, want): (&f32, &f32)| {
                            (got - want).abs() <= 2e-3 * want.abs().max(1.0)
                                || got.is_nan() && want.is_nan()
                                || got == want
                        };
                        let are_near = got.iter().zip(want).all(near);
                        assert!(are_near, "{}: {got:?} is not {want:?}", what());
                        compared += 1;
                    }
                    (Err(_), Err(_)) => failed += 1,
                    (want, got) => panic!("{}: wanted {want:?}, got {got:?}", what()),
                }
            }
        }
        traces += compiled.stats().misses;
    }
    println!("{n} networks: {compared} calls agree, {failed} fail as eagerly, {traces} traces");
    assert!(n < 60 || compared > 6 * n && traces < 4 * n);
}
