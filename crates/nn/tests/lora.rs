//! LoRA and DoRA: the formulas, training on packed weights, and fusing.

use mlx::{Array, Dtype, Quantization};
use mlx_nn::lora::{self, LoraOptions};
use mlx_nn::losses::mse_loss;
use mlx_nn::optimizers::Adam;
use mlx_nn::{Init, Linear, Module, QuantizedLinear, Sequential, quantize, relu, value_and_grad};
use rstest::rstest;

fn options(dora: bool) -> LoraOptions {
    LoraOptions {
        rank: 4,
        scale: 2.0,
        dora,
    }
}

fn model(packed: bool) -> Sequential {
    let mut init = Init::seed(1);
    let mut model = Sequential::new((
        Linear::with_init(64, 64, true, &mut init),
        relu,
        Linear::with_init(64, 3, false, &mut init),
    ));
    if packed {
        let quantization = Quantization {
            bits: 8,
            ..Quantization::default()
        };
        quantize(&mut model, quantization, |_| true).expect("packed");
    }
    model
}

/// Sets the second matrices, which are zeros at first.
fn trained(model: &mut Sequential) {
    let mut init = Init::seed(8);
    model.apply_named(|name, array| match name.ends_with("lora_b") {
        true => init.normal(&array.shape().expect("a shape"), 0.1),
        false => array.clone(),
    });
}

fn close(a: &Array, b: &Array, tolerance: f64) -> bool {
    let close = a.allclose_with(b, mlx::CloseOptions::new(tolerance, tolerance));
    close.item::<bool>().expect("a value")
}

/// Loops over a layer's formula in `f64`, on its dequantized weight.
fn reference(layer: &Linear, x: &Array, scale: f64) -> Vec<f64> {
    let values = |array: &Array| -> Vec<f64> {
        let array = array.astype(Dtype::Float32).to_vec::<f32>();
        array.expect("values").into_iter().map(f64::from).collect()
    };
    let adapter = layer.adapter.active().expect("an adapter");
    let weight = values(&layer.dense_weight());
    let (a, b, x) = (values(&adapter.lora_a), values(&adapter.lora_b), values(x));
    let (inputs, rank) = (64, 4);
    let outputs = weight.len() / inputs;
    let bias = layer.bias.as_ref().map(values);
    let mut y = Vec::new();
    for row in x.chunks(inputs) {
        for o in 0..outputs {
            let whole: Vec<f64> = (0..inputs)
                .map(|i| {
                    let low: f64 = (0..rank)
                        .map(|r| a[i * rank + r] * b[r * outputs + o])
                        .sum();
                    weight[o * inputs + i] + scale * low
                })
                .collect();
            let size = whole.iter().map(|w| w * w).sum::<f64>().sqrt();
            let factor = adapter.m.as_ref().map_or(1.0, |m| values(m)[o] / size);
            let sum: f64 = whole.iter().zip(row).map(|(w, x)| w * x).sum();
            y.push(factor * sum + bias.as_ref().map_or(0.0, |bias| bias[o]));
        }
    }
    y
}

#[rstest]
fn adapters_compute_their_formulas(
    #[values(false, true)] dora: bool,
    #[values(false, true)] packed: bool,
) -> mlx::Result<()> {
    let mut model = model(packed);
    let x = Init::seed(2).normal(&[5, 64], 1.0);
    let before = model.forward(&x);
    assert_eq!(lora::apply(&mut model, &options(dora), |_| true)?, 2);
    assert!(
        close(&model.forward(&x), &before, 1e-4),
        "nothing changes at first"
    );
    trained(&mut model);
    let layer = model.modules::<Linear>()[0].1.clone();
    let got = layer.forward(&x).to_vec::<f32>()?;
    for (got, wanted) in got.into_iter().zip(reference(&layer, &x, 2.0)) {
        assert!((f64::from(got) - wanted).abs() < 1e-4, "{got} {wanted}");
    }
    Ok(())
}

#[rstest]
fn only_adapters_are_trained_and_the_loss_falls(
    #[values(false, true)] dora: bool,
    #[values(false, true)] packed: bool,
) -> mlx::Result<()> {
    let mut model = model(packed);
    lora::apply(&mut model, &options(dora), |name| name == "layers.0")?;
    let trained: Vec<String> = model.trainable_parameters().into_keys().collect();
    let wanted = ["layers.0.lora_a", "layers.0.lora_b", "layers.0.m"];
    assert_eq!(trained, wanted[..if dora { 3 } else { 2 }]);
    let frozen = model.parameters()["layers.0.weight"].clone();
    let batch = (
        Init::seed(3).normal(&[16, 64], 1.0),
        Init::seed(4).normal(&[16, 3], 1.0),
    );
    let step = value_and_grad(&model, |model: &Sequential, (x, y): &(Array, Array)| {
        mse_loss(&model.forward(x), y)
    });
    let mut adam = Adam::new(0.03);
    let mut losses = Vec::new();
    for _ in 0..40 {
        let (loss, gradients) = step(&model, &batch)?;
        adam.update(&mut model, &gradients)?;
        losses.push(loss.item::<f32>()?);
    }
    assert!(losses[39] < losses[0] * 0.5, "{losses:?}");
    let same = model.parameters()["layers.0.weight"].array_equal(&frozen);
    assert!(same.item::<bool>()?);
    Ok(())
}

#[rstest]
fn fusing_keeps_what_is_computed_and_unfusing_restores_it(
    #[values(false, true)] dora: bool,
    #[values(false, true)] packed: bool,
) -> mlx::Result<()> {
    let mut model = model(packed);
    lora::apply(&mut model, &options(dora), |_| true)?;
    trained(&mut model);
    let x = Init::seed(2).normal(&[5, 64], 1.0);
    let (with, parameters) = (model.forward(&x), model.parameters());
    assert_eq!(lora::fuse(&mut model)?, 2);
    // Packing again rounds the weights to 8 bits.
    let tolerance = if packed { 5e-2 } else { 1e-4 };
    assert!(close(&model.forward(&x), &with, tolerance));
    assert!(model.parameters().keys().all(|name| !name.contains("lora")));
    assert_eq!(lora::fuse(&mut model)?, 0, "once");
    assert_eq!(lora::unfuse(&mut model), 2);
    for (name, array) in model.parameters() {
        assert!(
            array.array_equal(&parameters[&name]).item::<bool>()?,
            "{name}"
        );
    }
    assert_eq!(model.parameters().len(), parameters.len());
    assert_eq!(lora::remove(&mut model), 2);
    assert!(model.parameters().keys().all(|name| !name.contains("lora")));
    Ok(())
}

#[test]
fn a_quantized_layer_of_its_own_type_has_adapters_too() -> mlx::Result<()> {
    let plain = Linear::with_init(64, 8, true, &mut Init::seed(1));
    let mut layer = QuantizedLinear::from_linear_with(&plain, Quantization::default())?;
    assert!(layer.trainable_parameters().is_empty());
    lora::apply(&mut layer, &options(false), |_| true)?;
    let trained: Vec<String> = layer.trainable_parameters().into_keys().collect();
    assert_eq!(trained, ["lora_a", "lora_b"]);
    let x = Init::seed(2).normal(&[2, 64], 1.0);
    let with = layer.forward(&x);
    lora::fuse(&mut layer)?;
    assert!(close(&layer.forward(&x), &with, 1e-2));
    lora::unfuse(&mut layer);
    assert!(close(&layer.forward(&x), &with, 1e-6));
    Ok(())
}

#[test]
fn wrong_options_are_errors() {
    let mut model = model(false);
    let text = lora::apply(&mut model, &options(false), |_| false).unwrap_err();
    assert!(
        text.to_string()
            .contains("takes none of the model's linear layers"),
        "{text}"
    );
    let none = LoraOptions {
        rank: 0,
        ..LoraOptions::default()
    };
    let text = lora::apply(&mut model, &none, |_| true).unwrap_err();
    assert!(
        text.to_string().contains("rank must be at least 1, got 0"),
        "{text}"
    );
    assert_eq!(
        model.trainable_parameters().len(),
        3,
        "the model is unchanged"
    );
}
