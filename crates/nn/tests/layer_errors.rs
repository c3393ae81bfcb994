//! Errors of layers name the layer, what it wanted and what came, and keep earlier errors.

use mlx::fast::AttentionMask;
use mlx::{Array, Dtype, Quantization, array};
use mlx_compiler::trace;
use mlx_nn::losses;
use mlx_nn::{
    Conv1d, Conv2d, Dropout, Embedding, Init, LayerNorm, Linear, MultiHeadAttention,
    QuantizedEmbedding, QuantizedLinear, RmsNorm,
};
use rstest::rstest;

fn init() -> Init {
    Init::seed(0)
}

fn quantization() -> Quantization {
    Quantization {
        group_size: 32,
        bits: 4,
        ..Quantization::default()
    }
}

fn linear(bias: bool, dtype: Dtype) -> Linear {
    let layer = Linear::with_init(64, 8, bias, &mut init());
    Linear {
        weight: layer.weight.astype(dtype),
        ..layer
    }
}

fn attend(n_heads: i32, [q, k, v]: [&Array; 3], mask: &AttentionMask) -> Array {
    MultiHeadAttention::with_init(64, n_heads, true, &mut init()).forward(q, k, v, mask)
}

/// Applies the layer that `name` begins with to `x`.
fn apply(name: &str, x: &Array) -> Array {
    let plain = |n: i32| Embedding::with_init(n, 64, &mut init());
    let packed = |table: &Embedding| QuantizedEmbedding::from_embedding_with(table, quantization());
    let good = mlx::zeros([2, 5, 64]);
    let none = AttentionMask::none();
    match name {
        "Linear" => linear(true, Dtype::Float32).forward(x),
        "Linear without bias" => linear(false, Dtype::Float32).forward(x),
        "Linear of half precision" => linear(false, Dtype::Float16).forward(x),
        "Linear of half precision with bias" => linear(true, Dtype::Float16).forward(x),
        "Embedding" => plain(10).forward(x),
        "Embedding as linear" => plain(10).as_linear(x),
        "QuantizedLinear" => {
            let layer =
                QuantizedLinear::from_linear_with(&linear(true, Dtype::Float32), quantization());
            layer.unwrap().forward(x)
        }
        "QuantizedEmbedding" => packed(&plain(10)).unwrap().forward(x),
        "QuantizedEmbedding as linear" => packed(&plain(10)).unwrap().as_linear(x),
        "Conv1d" => Conv1d::with_init(64, 8, 3, true, &mut init()).forward(x),
        "Conv2d" => Conv2d::with_init(64, 8, [3, 3], true, &mut init()).forward(x),
        "LayerNorm" => LayerNorm::new(64).eps(1e-5).forward(x),
        "LayerNorm without weight" => LayerNorm {
            weight: None,
            bias: None,
            ..LayerNorm::new(64).eps(1e-5)
        }
        .forward(x),
        "RmsNorm" => RmsNorm::new(64).eps(1e-5).forward(x),
        "MultiHeadAttention" => attend(4, [x, x, x], &none),
        "MultiHeadAttention of keys" => attend(4, [&good, x, &good], &none),
        "MultiHeadAttention of values" => attend(4, [&good, &good, x], &none),
        "MultiHeadAttention of keys and values" => attend(4, [&good, x, x], &none),
        "MultiHeadAttention of 5 heads" => attend(5, [x, x, x], &none),
        "MultiHeadAttention with a mask" => {
            attend(4, [&good, &good, &good], &AttentionMask::bool(x))
        }
        "Dropout" => Dropout::new(0.5).forward_with_key(x, &array!([1.0])),
        "Dropout of 1" => Dropout::new(1.0).forward(x),
        other => panic!("no layer {other}"),
    }
}

#[rstest]
#[case("Linear", &[2, 32], "x must be [.., 64], got [2, 32]")]
#[case("Linear", &[], "x must be [.., 64], got []")]
#[case("Linear without bias", &[2, 3, 63], "x must be [.., 64], got [2, 3, 63]")]
#[case("Linear of half precision", &[2, 32], "x must be [.., 64], got [2, 32]")]
#[case("Linear of half precision with bias", &[32], "x must be [.., 64], got [32]")]
#[case("Embedding", &[3], "tokens must be integers, got float32")]
#[case("Embedding as linear", &[2, 32], "x must be [.., 64], got [2, 32]")]
#[case("QuantizedLinear", &[2, 32], "x must be [.., 64], got [2, 32]")]
#[case("QuantizedEmbedding", &[3], "tokens must be integers, got float32")]
#[case("QuantizedEmbedding as linear", &[2, 32], "x must be [.., 64], got [2, 32]")]
#[case("Conv1d", &[1, 9, 32], "x must be [batch, length, 64], got [1, 9, 32]")]
#[case("Conv1d", &[9, 64], "x must be [batch, length, 64], got [9, 64]")]
#[case("Conv2d", &[1, 9, 9, 32], "x must be [batch, height, width, 64], got [1, 9, 9, 32]")]
#[case("Conv2d", &[9, 9, 64], "x must be [batch, height, width, 64], got [9, 9, 64]")]
#[case("LayerNorm", &[2, 32], "x must be [.., 64], got [2, 32]")]
#[case("LayerNorm without weight", &[], "x must be [.., dims], got []")]
#[case("RmsNorm", &[2, 32], "x must be [.., 64], got [2, 32]")]
#[case("RmsNorm", &[], "x must be [.., 64], got []")]
#[case("MultiHeadAttention", &[2, 5, 32], "queries must be [batch, length, 64], got [2, 5, 32]")]
#[case("MultiHeadAttention", &[5, 64], "queries must be [batch, length, 64], got [5, 64]")]
#[case("MultiHeadAttention of keys", &[2, 5, 32], "keys must be [batch, length, 64], got [2, 5, 32]")]
#[case("MultiHeadAttention of values", &[2, 5], "values must be [batch, length, 64], got [2, 5]")]
#[case("MultiHeadAttention of values", &[2, 4, 64], "keys and values must have one batch and length")]
#[case("MultiHeadAttention of keys and values", &[3, 5, 64], "keys must have batch 2 as the queries, got 3")]
#[case("MultiHeadAttention of 5 heads", &[2, 5, 64], "n_heads must divide the 64 dims, got 5")]
#[case("MultiHeadAttention with a mask", &[5, 5], "a keep mask must be bool, got float32")]
#[case("Dropout of 1", &[2], "p must be in [0, 1), got 1")]
fn name_the_layer_what_it_wanted_and_what_came(
    #[case] layer: &str,
    #[case] shape: &[i32],
    #[case] message: &str,
) {
    let wanted = format!("{}: {message}", layer.split(' ').next().unwrap());
    let eager = apply(layer, &mlx::zeros(shape));
    let text = eager.eval().unwrap_err().to_string();
    assert!(text.starts_with(&wanted), "{text}");
    assert!(
        text.contains("layer_errors.rs"),
        "the caller's line: {text}"
    );

    let traced = trace(|x: &Array| apply(layer, x), &mlx::zeros(shape));
    let text = traced.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains(&wanted), "traced: {text}");
}

#[rstest]
#[case("Linear")]
#[case("Linear without bias")]
#[case("Embedding")]
#[case("Embedding as linear")]
#[case("QuantizedLinear")]
#[case("QuantizedEmbedding")]
#[case("QuantizedEmbedding as linear")]
#[case("Conv1d")]
#[case("Conv2d")]
#[case("LayerNorm")]
#[case("RmsNorm")]
#[case("MultiHeadAttention")]
#[case("MultiHeadAttention of keys")]
#[case("MultiHeadAttention of values")]
#[case("Dropout")]
fn earlier_errors_stay_as_they_are(#[case] layer: &str) {
    let broken = array!([1.0, 2.0]) + array!([1.0, 2.0, 3.0]);
    let text = apply(layer, &broken).eval().unwrap_err().to_string();
    assert!(text.starts_with("add: "), "{text}");
}

#[test]
fn earlier_errors_of_parameters_stay_as_they_are() {
    let layer = Linear::from_weights(array!([1.0, 2.0]) + array!([1.0, 2.0, 3.0]), None);
    let text = layer.forward(&array!([1.0])).eval().unwrap_err();
    assert!(text.to_string().starts_with("add: "), "{text}");
}

#[test]
fn parameters_that_do_not_fit_each_other_are_told() {
    let weight = mlx::zeros([8, 64]);
    let layer = Linear::from_weights(weight, mlx::zeros([7]));
    let text = layer.forward(&mlx::zeros([2, 64])).eval();
    let text = text.unwrap_err().to_string();
    assert!(
        text.starts_with("Linear: bias must be [8], got [7]"),
        "{text}"
    );
}

#[test]
fn tokens_outside_of_a_table_are_told_by_the_layer() {
    let table = Embedding::with_init(10, 64, &mut init());
    let text = table.forward(&array!([3, 10])).eval().unwrap_err();
    assert!(text.to_string().starts_with("Embedding: "), "{text}");
}

#[rstest]
#[case("nll_loss")]
#[case("kl_div_loss")]
#[case("huber_loss")]
#[case("hinge_loss")]
fn losses_name_themselves(#[case] name: &str) {
    let loss = |x: &Array, y: &Array| match name {
        "nll_loss" => losses::nll_loss(x, y),
        "kl_div_loss" => losses::kl_div_loss(x, y),
        "huber_loss" => losses::huber_loss(x, y),
        _ => losses::hinge_loss(x, y),
    };
    let x = mlx::zeros([2, 3]);
    let y = mlx::zeros([5, 4]);
    let text = loss(&x, &y).eval().unwrap_err().to_string();
    assert!(text.starts_with(&format!("{name}: ")), "{text}");
    let broken = array!([1.0, 2.0]) + array!([1.0, 2.0, 3.0]);
    let text = loss(&broken, &y).eval().unwrap_err().to_string();
    assert!(text.starts_with("add: "), "{text}");
}
