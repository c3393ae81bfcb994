//! `QQLinear` against Python MLX: values, and gradients as its rule has them. The cases are made by
//! `golden/make_qq_linear.py`.

use mlx::{Array, Dtype, Quantization, QuantizationMode, array};
use mlx_nn::{Linear, Module, QQLinear, value_and_grad};
use serde_json::Value;

const CASES: &str = include_str!("golden/qq_linear.json");

/// Numbers as `make_training.py` makes them.
fn numbers(seed: i64, shape: &[i32]) -> Array {
    let mut state = seed;
    let size = usize::try_from(shape.iter().product::<i32>()).expect("a size");
    let values: Vec<f32> = (0..size)
        .map(|_| {
            state = (state * 1_103_515_245 + 12345) % (1 << 31);
            #[allow(clippy::cast_precision_loss)]
            let value = ((state >> 16) % 257 - 128) as f32 / 64.0;
            value
        })
        .collect();
    Array::from_slice(&values, shape).expect("an array")
}

#[track_caller]
fn close(got: &Array, wanted: &Value, what: &str) {
    // CUDA takes the other neighbour of what is all but halfway between two numbers of 4 bits.
    let is_other = what == "Nvfp4" && mlx::Device::current().expect(what) == mlx::Device::Gpu;
    let tolerance = if is_other { 0.05 } else { 1e-5 };
    let wanted: Vec<f32> = serde_json::from_value(wanted.clone()).expect(what);
    let wanted = Array::from(wanted).reshape(got.shape().expect(what));
    let most = wanted.abs().max(()).item::<f32>().expect(what);
    let off = (got - wanted).abs().max(()).item::<f32>().expect(what);
    assert!(off <= tolerance * most, "{what}: off by {off} of {most}");
}

#[test]
fn values_and_gradients_equal_python() -> mlx::Result<()> {
    let cases: Vec<Value> = serde_json::from_str(CASES).expect("cases");
    for case in cases {
        let mode = match case["mode"].as_str() {
            Some("nvfp4") => QuantizationMode::Nvfp4,
            _ => QuantizationMode::Mxfp8,
        };
        let what = format!("{mode:?}");
        let weight = numbers(100, &[32, 64]) / 4.0;
        let linear = Linear::from_weights(weight, None);
        let mut layer = QQLinear::from_linear(&linear, Quantization::of(mode))?;
        let (row, rows) = (
            numbers(11, &[1, 64]) * 0.9871,
            numbers(11, &[32, 64]) * 0.9871,
        );
        let cotangent = numbers(5, &[32, 32]);
        let product = |(layer, x): &(QQLinear, Array), cotangent: &Array| {
            (layer.forward(x) * cotangent).sum(())
        };
        let both = (layer.clone(), rows.clone());
        let (_, gradients) = value_and_grad(&both, product)(&both, &cotangent)?;
        close(&gradients["0.weight"], &case["dweight"], &what);
        close(&gradients["1"], &case["dx"], &what);
        for _ in 0..2 {
            close(&layer.forward(&row), &case["row"], &what);
            close(&layer.forward(&rows), &case["y"], &what);
            let deep = layer.forward(&rows.reshape([2, 16, 64]));
            assert_eq!(deep.shape()?, [2, 16, 32]);
            close(&deep, &case["y"], &what);
            assert_eq!(layer.forward(&rows.i(0)).shape()?, [32]);
            layer.quantize()?;
            assert!(layer.trainable_parameters().is_empty());
        }
        layer.dequantize();
        assert_eq!(layer.weight.dtype()?, Dtype::Float32);
        close(&layer.forward(&rows), &case["y"], &what);
    }
    Ok(())
}

#[test]
fn errors_name_the_layer() {
    let x = mlx::ones([2, 64]);
    let told = |y: Array| y.eval().unwrap_err().to_string();
    let layer = QQLinear::new(64, 32);
    let narrow = mlx::ones([2, 32]);
    assert!(told(layer.forward(&narrow)).starts_with("QQLinear: x must be [.., 64], got [2, 32]"));
    assert!(told(layer.forward(&array!(1.0))).starts_with("QQLinear: x must"));
    let affine = layer.clone().quantization(Quantization::default());
    assert!(told(affine.forward(&x)).starts_with("QQLinear: the mode must be nvfp4 or mxfp8"));
    let text = QQLinear::from_linear(&Linear::new(64, 2), Quantization::default());
    let text = text.map(|_| ()).unwrap_err().to_string();
    assert!(
        text.starts_with("QQLinear: wanted a layer without bias"),
        "{text}"
    );
    let odd = QQLinear::new(60, 32).forward(&mlx::ones([2, 60]));
    assert!(told(odd).starts_with("QQLinear: "));
}
