//! What a user of Python MLX writes of layers and optimizers: it compiles, and does what Python does.

use std::collections::HashMap;

use mlx::fast::composed;
use mlx::linalg::norm_with;
use mlx::{Array, Dtype, Result, array, grad, random, value_and_grad};
use mlx_nn::optimizers::{self as optim, Adam, SGD};
use mlx_nn::{
    GRU, LSTM, Linear, Module, QuantizedLinear, RNN, RoPE, Sequential, Transformer,
    TransformerDecoder, TransformerEncoder, relu,
};

#[track_caller]
fn same(a: &Array, b: &Array) {
    assert!(mlx::array_equal(a, b).item::<bool>().unwrap(), "{a} {b}");
}

#[test]
fn layers_take_what_python_has_as_further_arguments() -> Result<()> {
    let x = random::normal((2, 5, 4));
    let (hidden, cell) = (random::normal((2, 8)), random::normal((2, 8)));
    let (rnn, gru, lstm) = (RNN::new(4, 8), GRU::new(4, 8), LSTM::new(4, 8));
    same(&rnn.forward((&x, &hidden)), &rnn.forward_from(&x, &hidden));
    same(&gru.forward((&x, &hidden)), &gru.forward_from(&x, &hidden));
    same(
        &gru.forward((&x, Some(&hidden))),
        &gru.forward((&x, &hidden)),
    );
    same(&gru.forward((&x, None)), &gru.forward(&x));
    let wanted = lstm.forward_from(&x, &hidden, &cell);
    for got in [
        lstm.forward((&x, &hidden, &cell)),
        lstm.forward((&x, Some(&hidden), Some(&cell))),
        lstm.forward((&x, Some((&hidden, &cell)))),
        lstm.forward((&x, (&hidden, &cell))),
    ] {
        same(&got.0, &wanted.0);
        same(&got.1, &wanted.1);
    }
    same(&lstm.forward((&x, None)).0, &lstm.forward(&x).0);
    let (rope, q) = (RoPE::new(4), random::normal((1, 2, 3, 4)));
    let offset: usize = 7;
    same(&rope.forward((&q, offset)), &rope.forward_from(&q, 7));
    same(&rope.forward((&q, array!(7))), &rope.forward((&q, 7)));
    let each: Vec<Array> = [&x, &x].iter().map(|x| gru.forward(*x)).collect();
    assert_eq!(each.len(), 2);
    Ok(())
}

#[test]
fn masks_are_named_given_or_none() -> Result<()> {
    let x = random::normal((1, 3, 8));
    let additive = mlx_nn::MultiHeadAttention::create_additive_causal_mask(3);
    let encoder = TransformerEncoder::new(1, 8, 2);
    let causal = encoder.forward(&x, "causal");
    let off = (causal.clone() - encoder.forward(&x, &additive))
        .abs()
        .max(());
    assert!(off.item::<f32>()? < 1e-5);
    assert!(
        (&causal - encoder.forward(&x, None))
            .abs()
            .max(())
            .item::<f32>()?
            > 1e-4
    );
    let decoder = TransformerDecoder::new(1, 8, 2);
    assert_eq!(decoder.forward(&x, &x, "causal", None).shape()?, [1, 3, 8]);
    let both = Transformer::new(8, 2)
        .num_encoder_layers(1)
        .num_decoder_layers(1);
    assert_eq!(
        both.forward(&x, &x, None, "causal", None).shape()?,
        [1, 3, 8]
    );
    Ok(())
}

#[test]
fn gradients_by_argnums_are_those_of_grad_of() -> Result<()> {
    let f = |a: &Array, b: &Array, n: &Array| (a * b + n.astype(Dtype::Float32)).sum(());
    let (a, b, n) = (array!([1.0, 2.0]), array!([3.0, 5.0]), array!([1, 1]));
    let (by_b, by_a) = grad(f).argnums([1, 0])(&a, &b, &n)?;
    same(&by_a, &b);
    same(&by_b, &a);
    let (value, by_b) = value_and_grad(f).argnums(1)(&a, &b, &n)?;
    assert_eq!(value.item::<f32>()?, 15.0);
    same(&by_b, &a);
    // No gradient is taken of the first argument then, which may be of any type.
    let first = |n: &Array, a: &Array| (n.astype(Dtype::Float32) * a).sum(());
    same(&grad(first).argnums(1)(&n, &a)?, &array!([1.0, 1.0]));
    let error = grad(f).argnums(3)(&a, &b, &n).unwrap_err().to_string();
    assert!(
        error.contains("wanted one of 3 arguments, got number 3"),
        "{error}"
    );
    let vjp = mlx::custom_vjp(
        |x: &Array| x * 2,
        |_: &Array, dy: &Array, _: &Array| dy.clone(),
    );
    let error = vjp.argnums(0)(&a).unwrap_err().to_string();
    assert!(
        error.contains("wanted what `grad` or `value_and_grad` gives"),
        "{error}"
    );
    Ok(())
}

fn step(optimizer: &mut SGD, layer: &mut Linear) -> Result<Vec<f32>> {
    let before = layer.weight.clone();
    let mut gradients = layer.parameters();
    for gradient in gradients.values_mut() {
        *gradient = mlx::ones_like(&*gradient);
    }
    optimizer.update(layer, &gradients)?;
    (before - &layer.weight).to_vec()
}

#[test]
fn an_assigned_learning_rate_is_that_of_the_next_step() -> Result<()> {
    let mut layer = Linear::new(1, 1).bias(false);
    layer.weight = array!([[0.0]]);
    let mut optimizer = SGD::new(1.0);
    let mut rates = Vec::new();
    rates.extend(step(&mut optimizer, &mut layer)?);
    optimizer.learning_rate = optimizer.learning_rate * 0.5;
    rates.extend(step(&mut optimizer, &mut layer)?);
    optimizer.set_learning_rate(2.0);
    rates.extend(step(&mut optimizer, &mut layer)?);
    rates.extend(step(&mut optimizer, &mut layer)?);
    optimizer.learning_rate = 4.0.into();
    rates.extend(step(&mut optimizer, &mut layer)?);
    assert_eq!(rates, [1.0, 0.5, 2.0, 2.0, 4.0]);
    assert_eq!(optimizer.learning_rate().item::<f32>()?, 4.0);
    // Set before the first step, it is not replaced by the constructor's.
    let mut optimizer = SGD::new(1.0);
    optimizer.set_learning_rate(0.25);
    assert_eq!(step(&mut optimizer, &mut layer)?, [0.25]);
    Ok(())
}

#[test]
fn states_and_weights_come_from_files() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut layer = Linear::new(3, 2);
    let mut adam = Adam::new(0.1);
    assert!(adam.init(&layer).contains_key("weight.m"));
    let gradients = layer.parameters();
    adam.update(&mut layer, &gradients)?;
    mlx::save_safetensors(path("adam.safetensors"), &adam.state().flatten())?;
    mlx::save_safetensors(path("layer.safetensors"), layer.parameters())?;
    mlx::savez(path("layer.npz"), layer.parameters().flatten())?;

    let mut again = Linear::new(3, 2);
    again.update(&mlx::load(path("layer.safetensors"))?)?;
    same(&again.weight, &layer.weight);
    again.update(mlx::load(path("layer.npz"))?)?;
    let mut resumed = Adam::new(7.0);
    resumed.set_state(mlx::load(path("adam.safetensors"))?)?;
    adam.update(&mut layer, &gradients)?;
    resumed.update(&mut again, &gradients)?;
    same(&again.weight, &layer.weight);
    let error = resumed
        .set_state(layer.parameters())
        .unwrap_err()
        .to_string();
    assert!(error.contains("the state must have step"), "{error}");
    Ok(())
}

#[test]
fn parameters_are_listed_and_counted() -> Result<()> {
    let mut model = Sequential::new((Linear::new(64, 2),))
        .add(relu)
        .add(Linear::new(2, 1));
    let names: Vec<String> = model
        .parameters()
        .flatten()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        [
            "layers.0.bias",
            "layers.0.weight",
            "layers.2.bias",
            "layers.2.weight"
        ]
    );
    assert_eq!(
        (model.num_parameters(), model.num_trainable_parameters()),
        (133, 133)
    );
    mlx_nn::quantize(&mut model, (32, 8), |name| name == "layers.0")?;
    assert_eq!(model.num_trainable_parameters(), 3);
    assert!(QuantizedLinear::from_linear_with(&Linear::new(64, 2), (64, 4)).is_ok());
    let _ = optim::RMSprop::new(0.1).init(&model);
    Ok(())
}

/// Layers by name, in any kind of map.
#[derive(Module)]
struct Maps {
    heads: HashMap<String, Linear>,
    norms: HashMap<u8, mlx_nn::BatchNorm>,
}

#[test]
fn maps_of_layers_are_modules() -> Result<()> {
    let mut maps = Maps {
        heads: ["b", "a", "c"]
            .map(|name| (name.to_owned(), Linear::new(2, 1)))
            .into(),
        norms: HashMap::from([
            (2, mlx_nn::BatchNorm::new(2)),
            (1, mlx_nn::BatchNorm::new(2)),
        ]),
    };
    let names: Vec<String> = maps.state().into_keys().collect();
    assert_eq!(names.len(), 14);
    assert_eq!(
        (names[0].as_str(), names[13].as_str()),
        ("heads.a.bias", "norms.2.weight")
    );
    let x = random::normal((8, 2));
    let loss = |maps: &Maps, x: &Array| {
        let x = maps.norms[&1].forward(x) + maps.norms[&2].forward(x);
        maps.heads
            .values()
            .map(|head| head.forward(&x).square().sum(()))
            .reduce(|a, b| a + b)
            .expect("heads")
    };
    let (_, gradients) = mlx_nn::value_and_grad(&maps, loss)(&maps, &x)?;
    assert!(gradients["heads.c.weight"].abs().sum(()).item::<f32>()? > 0.0);
    // The statistics went to the norms that computed them.
    let means = maps.buffers();
    same(
        &means["norms.1.running_mean"],
        &means["norms.2.running_mean"],
    );
    assert!(means["norms.1.running_mean"].abs().sum(()).item::<f32>()? > 0.0);
    let paths: Vec<String> = mlx::tree_flatten(&maps)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(paths[..2], ["heads.a.weight", "heads.a.bias"]);
    maps.freeze_matching("heads.b")?;
    assert_eq!(maps.trainable_parameters().len(), 8);
    Ok(())
}

#[derive(Debug, Module)]
struct Net {
    layers: Vec<Linear>,
    gru: GRU,
    row: Sequential,
}

#[test]
fn models_of_layers_derive_debug() {
    let net = Net {
        layers: vec![Linear::new(4, 2)],
        gru: GRU::new(2, 3).bias(false),
        row: Sequential::new((Linear::new(2, 2), relu)),
    };
    assert_eq!(
        format!("{net:?}"),
        "Net { layers: [Linear(weight float32[2, 4], bias float32[2])], \
         gru: GRU(Wx float32[9, 2], Wh float32[9, 3]), row: Sequential[Linear, function] }"
    );
}

#[test]
fn activations_with_kernels_are_their_formulas() -> Result<()> {
    let x = mlx::linspace(-6, 6, 97).reshape((97, 1));
    type Activation = fn(&Array) -> Array;
    let pairs: [(Activation, Activation); 3] = [
        (mlx_nn::gelu, composed::gelu),
        (mlx_nn::gelu_approx, composed::gelu_approx),
        (mlx_nn::silu, composed::silu),
    ];
    for (kernel, formula) in pairs {
        for dtype in [Dtype::Float32, Dtype::Bfloat16, Dtype::Float16] {
            let (x, tolerance) = match dtype {
                Dtype::Float32 => (x.clone(), 2e-6),
                _ => (x.astype(dtype), 4e-2),
            };
            let near = |a: Array, b: Array| -> Result<()> {
                assert_eq!(a.dtype()?, dtype);
                let off = (a - b).astype(Dtype::Float32).abs().max(());
                assert!(off.item::<f32>()? < tolerance, "{dtype} {off}");
                Ok(())
            };
            near(kernel(&x), formula(&x))?;
            let slope = |f: Activation| grad(move |x: &Array| f(x).sum(()));
            near(slope(kernel)(&x)?, slope(formula)(&x)?)?;
        }
        // Integers give float32, as in Python.
        let whole = array!([-1, 0, 2]);
        same(&kernel(&whole), &formula(&whole));
        assert_eq!(kernel(&whole).dtype()?, Dtype::Float32);
    }
    Ok(())
}

#[test]
fn options_are_given_as_in_python() -> Result<()> {
    let x = array!([[3.0, 4.0], [6.0, 8.0]]);
    assert_eq!(norm_with(&x, 2, -1).to_vec::<f32>()?, [5.0, 10.0]);
    assert_eq!(
        norm_with(&x * 1, f32::INFINITY, 1).to_vec::<f32>()?,
        [4.0, 8.0]
    );
    let nuclear = norm_with(&x, "nuc", ()).item::<f32>()?;
    assert!((nuclear - 125_f32.sqrt()).abs() < 1e-4);
    let error = norm_with(&x, "euclid", ()).eval().unwrap_err().to_string();
    assert!(error.contains("order must be a number"), "{error}");
    assert!(mlx::allclose_with(&x, &x + 0.1, (0.0, 0.2)).item::<bool>()?);
    assert!(!mlx::allclose_with(&x, &x + 0.1, (0.0, 0.05)).item::<bool>()?);
    assert_eq!(mlx::fft::fft_with(&x, (4, 0)).shape()?, [4, 2]);
    assert_eq!(mlx::fft::rfft_with(&x, 8_usize).shape()?, [2, 5]);
    assert_eq!(mlx::fft::rfftn_with(&x, ([4, 6], [0, 1])).shape()?, [4, 4]);
    let mut y = x.clone();
    y.set((.., 1), 0.0);
    y.set(0, array!([1.0, 2.0]));
    assert_eq!(y.tolist::<f32>()?, [1.0, 2.0, 6.0, 0.0]);
    assert_eq!(x.to_vec::<f32>()?[1], 4.0);
    let chosen = mlx::select(x.gt(5), &x, 0);
    assert_eq!(chosen.to_vec::<f32>()?, [0.0, 0.0, 6.0, 8.0]);
    Ok(())
}

#[derive(mlx_nn::Module)]
struct Printed {
    norm: mlx_nn::BatchNorm,
    head: Linear,
}

#[derive(mlx_nn::Module)]
#[module(no_display)]
struct Own {
    head: Linear,
}

impl std::fmt::Display for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "own {}", self.head.weight.ndim().unwrap_or(0))
    }
}

#[test]
fn models_print_list_their_modules_and_show_statistics() -> Result<()> {
    let model = Printed {
        norm: mlx_nn::BatchNorm::new(3),
        head: Linear::new(3, 2),
    };
    assert!(
        model.to_string().contains("weight float32[2, 3]"),
        "{model}"
    );
    assert_eq!(
        Own {
            head: Linear::new(1, 1)
        }
        .to_string(),
        "own 2"
    );
    let counts: Vec<(String, usize)> = model
        .named_modules()
        .into_iter()
        .map(|(name, module)| (name, module.num_parameters()))
        .collect();
    assert!(counts.contains(&("head".to_owned(), 8)), "{counts:?}");
    assert!(
        model
            .named_modules()
            .iter()
            .all(|(_, module)| module.training())
    );
    let _ = model
        .norm
        .forward(&array!([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]));
    assert_eq!(model.norm.running_mean.size()?, 3);
    assert!((model.norm.running_mean.index(0).item::<f32>()? - 0.2).abs() < 1e-6);
    assert!(
        model.norm.running_var.to_string().contains("array"),
        "{}",
        model.norm.running_var
    );
    let without = mlx_nn::BatchNorm::new(3).track_running_stats(false);
    let text = without
        .running_mean
        .to_vec::<f32>()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("BatchNorm: wanted a running statistic"),
        "{text}"
    );
    Ok(())
}

#[test]
fn optimizers_are_made_evaluated_and_loaded_by_value_and_by_reference() -> Result<()> {
    use mlx_nn::{QuantizedEmbedding, QuantizedLinear, Upsample, optimizers as optim};
    let mut model = Linear::new(2, 1);
    let loss = |model: &Linear, x: &Array| model.forward(x).square().mean(());
    let mut adam = Adam::new(1e-2);
    let state = adam.init(model.trainable_parameters());
    assert_eq!(state.len(), adam.init(&model).len());
    let (_, gradients) = mlx_nn::value_and_grad(&model, loss)(&model, &array!([[1.0, 2.0]]))?;
    let (by_reference, norm) = optim::clip_grad_norm(&gradients, 0.1);
    let (by_value, _) = optim::clip_grad_norm(gradients, 0.1);
    assert!(
        by_value["weight"]
            .array_equal(&by_reference["weight"])
            .item::<bool>()?
    );
    adam.update(&mut model, &by_value)?;
    mlx::eval((&model, &adam, &norm))?;
    let mut again = Adam::new(1e-2);
    again.load_state(adam.state())?;
    assert_eq!(again.step().item::<u64>()?, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weight.safetensors");
    mlx::save_safetensors(&path, [("weight", &mlx::ones([1, 2]))])?;
    assert!(model.load_weights_with(&path, true).is_err());
    assert_eq!(model.load_weights_with(&path, false)?.missing, ["bias"]);
    let packed = QuantizedLinear::from_linear(&Linear::new(64, 2), 64, 4);
    assert_eq!(packed.forward(&mlx::ones([1, 64])).shape()?, [1, 2]);
    assert!(
        QuantizedLinear::from_linear(&Linear::new(60, 2), 64, 4)
            .weight
            .error()
            .is_some()
    );
    let table = QuantizedEmbedding::from_embedding(&mlx_nn::Embedding::new(4, 64), 64, 4);
    assert_eq!(table.forward(&array!([1, 2])).shape()?, [2, 64]);
    let x = array!([1.0, 2.0]).reshape([1, 2, 1]);
    let doubled = Upsample::new(2).mode("nearest").forward(&x);
    assert_eq!(doubled.to_vec::<f32>()?, [1.0, 1.0, 2.0, 2.0]);
    let text = Upsample::new(2)
        .mode("bilinear")
        .forward(&x)
        .eval()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("mode must be nearest, linear or cubic"),
        "{text}"
    );
    Ok(())
}
