//! Layers with packed weights against the same layers with plain ones.

use mlx::{Array, Dtype, Quantization, array};
use mlx_nn::{Embedding, FastOps, Init, Linear, Module, QuantizedEmbedding, QuantizedLinear};
use rstest::rstest;

fn quantization(bits: i32) -> Quantization {
    Quantization {
        group_size: 32,
        bits,
        ..Quantization::default()
    }
}

fn difference(a: &Array, b: &Array) -> f32 {
    (a - b).abs().max(()).item().unwrap()
}

#[rstest]
#[case(4, true)]
#[case(4, false)]
#[case(5, true)]
#[case(8, false)]
fn both_kernels_give_what_the_unpacked_layer_gives(#[case] bits: i32, #[case] bias: bool) {
    let layer = Linear::with_init(64, 6, bias, &mut Init::seed(1));
    let mut packed = QuantizedLinear::from_linear_with(&layer, quantization(bits)).unwrap();
    let x = Init::seed(2).normal(&[2, 3, 64], 1.0);
    let wanted = packed.dequantize().forward(&x);
    assert_eq!(wanted.shape().unwrap(), [2, 3, 6]);
    assert!(difference(&packed.forward(&x), &wanted) < 1e-5);
    packed.set_kernels(FastOps::Composed);
    assert_eq!(packed.kernels, FastOps::Composed);
    assert!(difference(&packed.forward(&x), &wanted) < 1e-5);
}

#[test]
fn a_table_gives_rows_and_scores() {
    let table = Embedding::with_init(10, 64, &mut Init::seed(3));
    let packed = QuantizedEmbedding::from_embedding_with(&table, quantization(8)).unwrap();
    let plain = packed.dequantize();
    let tokens = array!([[0, 9], [4, 4]]);
    assert_eq!(packed.forward(&tokens).shape().unwrap(), [2, 2, 64]);
    assert_eq!(
        difference(&packed.forward(&tokens), &plain.forward(&tokens)),
        0.0
    );
    let x = Init::seed(4).normal(&[3, 64], 1.0);
    assert!(difference(&packed.as_linear(&x), &plain.as_linear(&x)) < 1e-5);
    assert!(packed.forward(&array!([10])).eval().is_err());
}

#[test]
fn parameters_have_the_names_of_python() {
    let layer = Linear::with_init(32, 4, true, &mut Init::seed(1));
    let packed = QuantizedLinear::from_linear_with(&layer, quantization(4)).unwrap();
    let names: Vec<String> = packed.parameters().into_keys().collect();
    assert_eq!(names, ["bias", "biases", "scales", "weight"]);
    assert_eq!(packed.weight.dtype().unwrap(), Dtype::Uint32);
    let table = Embedding::with_init(4, 32, &mut Init::seed(1));
    let packed = QuantizedEmbedding::from_embedding_with(&table, quantization(4)).unwrap();
    let names: Vec<String> = packed.parameters().into_keys().collect();
    assert_eq!(names, ["biases", "scales", "weight"]);
}

#[test]
fn refuses_rows_that_groups_do_not_fill() {
    let layer = Linear::with_init(33, 4, true, &mut Init::seed(1));
    assert!(QuantizedLinear::from_linear_with(&layer, quantization(4)).is_err());
}
