//! Layers and losses in functions that are compiled once for all sizes: they give what they give eagerly, at every size.

use mlx::fast::AttentionMask;
use mlx::{Array, Dtype};
use mlx_compiler::{CompileOptions, jit_with};
use mlx_nn::losses;
use mlx_nn::{
    ALiBi, AvgPool2d, Embedding, FastOps, GroupNorm, InstanceNorm, LayerNorm, Linear, MaxPool1d,
    Module, MultiHeadAttention, RmsNorm, RoPE, SinusoidalPositionalEncoding,
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
#[case::linear(|| { let l = Linear::new(8, 3); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["5x8", "1x8", "40x8"], 1)]
#[case::layer_norm(|| { let l = LayerNorm::new(8); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["5x8", "1x8", "40x8"], 1)]
#[case::rms_norm(|| { let l = RmsNorm::new(8); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["2x5x8", "1x1x8", "4x4x8"], 1)]
#[case::group_norm(|| { let l = GroupNorm::new(2, 8); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["2x5x8", "1x1x8", "4x4x8", "3x7x8"], 1)]
#[case::pytorch_groups(|| { let l = GroupNorm::new(2, 8).pytorch_compatible(true); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["2x5x3x8", "1x1x1x8", "4x4x2x8"], 1)]
#[case::instance_norm(|| { let l = InstanceNorm::new(8); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["2x5x8", "1x2x8", "4x4x8"], 1)]
#[case::embedding(|| { let l = Embedding::new(9, 4); Box::new(move |x: &Vec<Array>| l.forward(&(&x[0] * 3.0 + 4.0).astype(Dtype::Int32))) as Layer }, &["2x5", "1x1", "7x3"], 1)]
#[case::max_pool(|| { let l = MaxPool1d::new(2); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["2x6x3", "1x2x3", "4x7x3"], 1)]
#[case::mean_pool(|| { let l = AvgPool2d::new(2).stride(1); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["2x6x4x3", "1x2x2x3", "4x7x9x3"], 1)]
#[case::rope(|| { let l = RoPE::new(8); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["2x5x8", "1x1x8", "3x9x8"], 1)]
#[case::rope_of_heads(|| { let l = RoPE::new(4); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["2x3x5x8", "1x1x1x8", "3x2x9x8"], 1)]
#[case::sinusoids(|| { let l = SinusoidalPositionalEncoding::new(8); Box::new(move |x: &Vec<Array>| &x[0] + l.forward(&mlx::iota(x[0].axis_size(1).unwrap()))) as Layer }, &["2x5x8", "1x1x8", "3x9x8"], 1)]
#[case::alibi(|| { let l = ALiBi::new(); Box::new(move |x: &Vec<Array>| l.forward(&x[0])) as Layer }, &["2x4x5x5", "1x4x1x1", "1x4x2x9"], 1)]
#[case::encoder(|| { let l = encoder(); Box::new(move |x: &Vec<Array>| l.forward(&x[0], &AttentionMask::none())) as Layer }, &["2x5x16", "1x1x16", "3x9x16"], 1)]
#[case::causal_encoder(|| { let l = encoder(); Box::new(move |x: &Vec<Array>| l.forward(&x[0], &AttentionMask::causal())) as Layer }, &["2x5x16", "1x2x16", "3x9x16"], 1)]
#[case::decoder(|| { let l = decoder(); Box::new(move |x: &Vec<Array>| l.forward(&x[0], &x[1], &AttentionMask::none(), &AttentionMask::none())) as Layer }, &["2x5x16 2x3x16", "1x1x16 1x4x16", "3x9x16 3x9x16"], 1)]
fn a_layer_is_one_trace_for_all_sizes(
    #[case] layer: fn() -> Layer,
    #[case] calls: &[&str],
    #[case] wanted: u64,
) {
    let layer = std::rc::Rc::new(layer());
    assert_eq!(traces(move |x: &Vec<Array>| layer(x), calls), wanted);
}

type Layer = Box<dyn Fn(&Vec<Array>) -> Array>;

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
