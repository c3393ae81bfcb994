//! Layers in a row, functions as layers, fresh weights, groups of convolutions, packed layers.

use std::collections::BTreeMap;

use mlx::{Array, Dtype, array, grad};
use mlx_compiler::jit;
use mlx_nn::{
    Conv1d, Conv2d, Dropout, Embedding, Forward, Identity, Init, LayerNorm, Linear, Module,
    MultiHeadAttention, Sequential, quantize, relu, value_and_grad,
};

fn linear(seed: u64) -> Linear {
    Linear::with_init(4, 4, true, &mut Init::seed(seed))
}

fn names<T>(map: BTreeMap<String, T>) -> Vec<String> {
    map.into_keys().collect()
}

#[test]
fn dropout_in_a_compiled_function_drops_other_values_in_each_call() {
    let dropout = Dropout::new(0.5);
    let x = mlx::ones([64]);
    let inner = dropout.clone();
    let compiled = jit(move |x: &Array| inner.forward(x));
    let values = || {
        let y = compiled.call(&x).expect("a value");
        y.to_vec::<f32>().expect("values")
    };
    mlx_nn::seed(3);
    let (first, second) = (values(), values());
    assert_ne!(first, second);
    mlx_nn::seed(3);
    let eager = dropout.forward(&x).to_vec::<f32>().expect("values");
    assert_eq!(first, eager);
    let keyed = jit(move |x: &Array, key: &Array| dropout.forward_with_key(x, key));
    let draw = |seed| {
        let y = keyed.call((&x, &mlx::random::key(seed))).expect("a value");
        y.to_vec::<f32>().expect("values")
    };
    assert_ne!(draw(1), draw(2));
}

#[test]
fn sequential_takes_layers_functions_and_models() -> mlx::Result<()> {
    let double = 2.0;
    let model = Sequential::new((linear(1), relu, Identity::new(), move |x: &Array| {
        x * double
    }))
    .push(Sequential::new([linear(2)]));
    let x = Init::seed(3).normal(&[2, 4], 1.0);
    let wanted = linear(2).forward(&(relu(&linear(1).forward(&x)) * 2.0));
    let close = |got: Array| {
        got.allclose_with(&wanted, mlx::CloseOptions::new(1e-5, 1e-6))
            .item::<bool>()
    };
    assert!(close(model.forward(&x))?);
    assert!(close(
        jit(|model: &Sequential, x: &Array| model.forward(x)).call((&model, &x))?
    )?);
    assert_eq!(
        names(model.parameters()),
        [
            "layers.0.bias",
            "layers.0.weight",
            "layers.4.layers.0.bias",
            "layers.4.layers.0.weight"
        ]
    );
    let gradient =
        grad(|model: &Sequential, x: &Array| model.forward(x).sum(())).call((&model, &x))?;
    assert_eq!(gradient.parameters()["layers.0.weight"].shape()?, [4, 4]);
    let text = format!("{:?}", model.layers);
    assert_eq!(text, "[Linear, function, Identity, function, Sequential]");
    // Closures of one type that hold other values are other layers to a compiled function.
    let by = |factor: f32| Sequential::new((move |x: &Array| x * factor,));
    let call = jit(|model: &Sequential, x: &Array| model.forward(x));
    let one = array!(1.0);
    assert_eq!(call.call((&by(2.0), &one))?.item::<f32>()?, 2.0);
    assert_eq!(call.call((&by(3.0), &one))?.item::<f32>()?, 3.0);
    Ok(())
}

#[test]
fn generic_code_calls_layers_of_several_inputs() -> mlx::Result<()> {
    fn apply<Input, Output>(layer: &impl Forward<Input, Output>, input: &Input) -> Output {
        layer.forward(input)
    }
    #[derive(Clone, Module)]
    struct Halves;
    impl Forward<Array, mlx::Result<(Array, Array)>> for Halves {
        fn forward(&self, x: &Array) -> mlx::Result<(Array, Array)> {
            let parts = x.split(2, -1)?;
            Ok((parts[0].clone(), parts[1].clone()))
        }
    }
    let (first, _) = apply(&Halves, &array!([1.0, 2.0]))?;
    assert_eq!(first.item::<f32>()?, 1.0);
    let attention = MultiHeadAttention::new(4, 2).bias(true);
    let x = mlx::ones([1, 3, 4]);
    assert_eq!(
        apply(&attention, &(x.clone(), x.clone(), x)).shape()?,
        [1, 3, 4]
    );
    Ok(())
}

#[test]
fn layers_made_alike_have_other_weights() -> mlx::Result<()> {
    let (a, b) = (Linear::new(4, 4), Linear::new(4, 4));
    assert_ne!(a.weight.to_vec::<f32>()?, b.weight.to_vec::<f32>()?);
    mlx_nn::seed(3);
    let first = (Linear::new(4, 4), Linear::new(4, 4));
    mlx_nn::seed(3);
    let again = (Linear::new(4, 4), Linear::new(4, 4));
    assert_eq!(
        first.0.weight.to_vec::<f32>()?,
        again.0.weight.to_vec::<f32>()?
    );
    assert_eq!(
        first.1.weight.to_vec::<f32>()?,
        again.1.weight.to_vec::<f32>()?
    );
    assert_ne!(
        first.0.weight.to_vec::<f32>()?,
        first.1.weight.to_vec::<f32>()?
    );
    let mut init = Init::seed(5);
    let (a, b) = (
        Linear::with_init(4, 4, true, &mut init),
        Linear::with_init(4, 4, true, &mut init),
    );
    assert_ne!(a.weight.to_vec::<f32>()?, b.weight.to_vec::<f32>()?);
    let values = Linear::new(400, 100).weight;
    assert!(values.abs().max(()).item::<f32>()? <= 0.05);
    assert!((values.std(()).item::<f32>()? - 0.05 / 3.0_f32.sqrt()).abs() < 1e-3);
    Ok(())
}

#[test]
fn groups_give_weights_of_the_right_shape() -> mlx::Result<()> {
    let x = Init::seed(1).normal(&[1, 6, 6, 4], 1.0);
    let conv = Conv2d::new(4, 8, 3).padding(1).groups(4);
    assert_eq!(conv.weight.shape()?, [8, 3, 3, 1]);
    assert_eq!(conv.forward(&x).shape()?, [1, 6, 6, 8]);
    let narrow = Conv1d::new(4, 2, 3)
        .stride(2)
        .dilation(2)
        .groups(2)
        .bias(false);
    assert_eq!(narrow.weight.shape()?, [2, 3, 2]);
    assert_eq!(narrow.forward(&mlx::ones([1, 9, 4])).shape()?, [1, 3, 2]);
    let text = Conv2d::new(4, 8, [3, 1])
        .groups(3)
        .forward(&x)
        .eval()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("groups must divide 4 input and 8 output channels, got 3"),
        "{text}"
    );
    let text = Conv2d::new(4, 8, 3)
        .groups(2)
        .groups(4)
        .forward(&x)
        .eval()
        .unwrap_err();
    assert!(
        text.to_string().contains("groups can be set once, is 2"),
        "{text}"
    );
    let text = Conv2d::new(4, 8, [3, 1, 2]).forward(&x).eval().unwrap_err();
    assert!(
        text.to_string()
            .contains("kernel_size must be one number or 2"),
        "{text}"
    );
    Ok(())
}

#[test]
fn packed_layers_are_frozen_and_have_no_gradient() -> mlx::Result<()> {
    let mut model = Sequential::new((
        Embedding::new(10, 64),
        Linear::new(64, 64),
        LayerNorm::new(64),
        Linear::new(64, 3),
    ));
    let plain = model.clone();
    let tokens = array!([1, 2, 3]);
    assert_eq!(
        quantize(&mut model, mlx::Quantization::default(), |_| true)?,
        3
    );
    assert_eq!(
        quantize(&mut model, mlx::Quantization::default(), |_| true)?,
        0,
        "once"
    );
    let error = (model.forward(&tokens) - plain.forward(&tokens))
        .abs()
        .max(());
    assert!(error.item::<f32>()? < 0.3, "{}", error.item::<f32>()?);
    assert!(model.parameters().contains_key("layers.1.scales"));
    assert_eq!(
        names(model.trainable_parameters()),
        ["layers.2.bias", "layers.2.weight"]
    );
    let (_, gradients) = value_and_grad(&model, |model: &Sequential, tokens: &Array| {
        model.forward(tokens).square().sum(())
    })(&model, &tokens)?;
    assert_eq!(names(gradients), ["layers.2.bias", "layers.2.weight"]);
    let tree = grad(|model: &Sequential, tokens: &Array| model.forward(tokens).square().sum(()))
        .call((&model, &tokens))?;
    assert_eq!(tree.parameters()["layers.1.weight"].dtype()?, Dtype::Uint32);
    model.unfreeze()?;
    assert!(!model.trainable_parameters().contains_key("layers.1.scales"));
    assert!(model.trainable_parameters().contains_key("layers.1.bias"));
    let mut odd = Sequential::new((Linear::new(64, 64), Linear::new(33, 3)));
    let text = quantize(&mut odd, mlx::Quantization::default(), |_| true).unwrap_err();
    assert!(text.to_string().contains("layers.1"), "{text}");
    assert_eq!(
        odd.parameters()["layers.0.weight"].dtype()?,
        Dtype::Float32,
        "unchanged"
    );
    Ok(())
}
