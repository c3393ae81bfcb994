//! Linear layers, embeddings, convolutions, packed layers and rows of layers against Python MLX: values, gradients by
//! the input and by parameters, `float32` and `bfloat16`. The cases are made by `golden/make_plain_layers.py`.

#[path = "golden/cases.rs"]
mod cases;

use mlx::transforms::Arg;
use mlx::{Array, Dtype, Quantization, Result, value_and_grad_of};
use mlx_nn::{
    Conv1d, Conv2d, Embedding, Identity, Linear, Module, QuantizedEmbedding, QuantizedLinear,
    Sequential, relu,
};
use serde_json::Value;

use cases::close;

const CASES: &str = include_str!("golden/plain_layers.json");

/// Numbers as `make_training.py` makes them.
fn numbers(seed: i64, shape: &[i32]) -> Array {
    let (size, mut state) = (shape.iter().product::<i32>(), seed);
    let next = |_| {
        state = (state * 1_103_515_245 + 12345) % (1 << 31);
        #[allow(clippy::cast_precision_loss)]
        let value = ((state >> 16) % 257 - 128) as f32 / 64.0;
        value
    };
    Array::from((0..size).map(next).collect::<Vec<f32>>()).reshape(shape)
}

/// The layer of a case; its parameters have the names of the layer.
#[derive(Clone, Module)]
enum Layer {
    Conv1d(Conv1d),
    Conv2d(Conv2d),
    Linear(Linear),
    Identity(Identity),
    Sequential(Sequential),
    Embedding(Embedding),
    /// The table as the matrix of a linear layer.
    AsLinear(Embedding),
    /// Packed weights, which no gradient is taken of.
    Packed(QuantizedLinear),
}

fn int(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|value| value.try_into().ok())
}

fn quantization(args: &Value) -> Quantization {
    Quantization {
        group_size: int(&args["group_size"]).expect("group_size"),
        bits: int(&args["bits"]).expect("bits"),
        ..Quantization::default()
    }
}

/// Some of the numbers are halfway between two codes, of which a GPU may take the other one.
fn packed_on_the_cpu<T>(pack: impl FnOnce() -> Result<T>) -> Result<T> {
    mlx::with_device(mlx::Device::Cpu, pack)?
}

/// Returns a convolution with the settings of a case.
macro_rules! convolution {
    ($layer:ident $args:ident) => {
        $layer::new(4, 4, int(&$args["kernel_size"]).expect("kernel_size"))
            .stride(int(&$args["stride"]).unwrap_or(1))
            .padding(int(&$args["padding"]).unwrap_or(0))
            .dilation(int(&$args["dilation"]).unwrap_or(1))
            .groups(int(&$args["groups"]).unwrap_or(1))
            .bias($args["bias"].as_bool().unwrap_or(true))
    };
}

fn layer(name: &str, args: &Value) -> Result<Layer> {
    Ok(match name {
        "Conv1d" => Layer::Conv1d(convolution!(Conv1d args)),
        "Conv2d" => Layer::Conv2d(convolution!(Conv2d args)),
        "Linear" => Layer::Linear(Linear::new(3, 4).bias(args["bias"] == true)),
        "Identity" => Layer::Identity(Identity::new()),
        "Sequential" => {
            let row = (Linear::new(3, 8), relu, Identity::new(), Linear::new(8, 2));
            Layer::Sequential(Sequential::new(row))
        }
        "Embedding" if args["as_linear"] == true => Layer::AsLinear(Embedding::new(5, 4)),
        "Embedding" => Layer::Embedding(Embedding::new(5, 4)),
        "QuantizedLinear" => {
            let mut linear = Linear::new(64, 3);
            with_numbers(&mut linear, Dtype::Float32)?;
            let packed = || QuantizedLinear::from_linear_with(&linear, quantization(args));
            Layer::Packed(packed_on_the_cpu(packed)?)
        }
        _ => panic!("{name} is not known"),
    })
}

fn call(layer: &Layer, x: &Array) -> Array {
    match layer {
        Layer::Conv1d(layer) => layer.forward(x),
        Layer::Conv2d(layer) => layer.forward(x),
        Layer::Linear(layer) => layer.forward(x),
        Layer::Identity(layer) => layer.forward(x),
        Layer::Sequential(layer) => layer.forward(x),
        Layer::AsLinear(layer) => layer.as_linear(x),
        Layer::Packed(layer) => layer.forward(x),
        Layer::Embedding(layer) => {
            // Positions are no floating numbers: they are made of the input.
            let places = (x.abs() * 8).astype(Dtype::Int32).remainder(5);
            layer.forward(&places.stop_gradient()) * x.expand_dims(-1)
        }
    }
}

/// Sets all parameters, in the order of their names, to the numbers of the script.
fn with_numbers(layer: &mut impl Module, dtype: Dtype) -> Result<()> {
    let mut weights = layer.parameters();
    for (seed, array) in (100..).zip(weights.values_mut()) {
        *array = (numbers(seed, &array.shape()?) / 4.0).astype(dtype);
    }
    layer.load(weights).require_exact().expect("all weights");
    Ok(())
}

fn check(case: &Value) -> Result<()> {
    let (name, args) = (case["layer"].as_str().expect("a name"), &case["args"]);
    let (dtype, tolerance) = match case["dtype"] == "float32" {
        true => (Dtype::Float32, 1e-5),
        false => (Dtype::Bfloat16, 2e-2),
    };
    let shape = case["inputs"][0].as_array().expect("a shape").iter();
    let shape: Vec<i32> = shape.map(|size| int(size).expect("a size")).collect();
    let what = format!("{name} {args} {shape:?} {dtype}");
    let x = (numbers(11, &shape) + 0.007_812_5).astype(dtype);
    let mut layer = layer(name, args)?;
    if name != "QuantizedLinear" {
        with_numbers(&mut layer, dtype)?;
    }
    let loss = |layer: &Layer, x: &Array| {
        let y = call(layer, x);
        let cotangent = y.shape().map(|shape| numbers(5, &shape));
        let product = y.astype(Dtype::Float32) * Array::from_result(cotangent);
        (product.sum(()), y)
    };
    let both = value_and_grad_of(loss, (Arg::<0>, Arg::<1>));
    let wanted = case["gradients"].as_object().expect("gradients");
    let (y, by_x) = if wanted.is_empty() {
        let ((_, y), by_x) = value_and_grad_of(loss, Arg::<1>).call((&layer, &x))?;
        (y, by_x)
    } else {
        let ((_, y), (by_layer, by_x)) = both.call((&layer, &x))?;
        let gradients = by_layer.parameters();
        assert_eq!(gradients.len(), wanted.len(), "{what}");
        for (name, wanted) in wanted {
            let what = format!("{what}: {name}");
            close(&gradients[name], wanted, tolerance, &what);
        }
        (y, by_x)
    };
    assert_eq!(y.dtype()?, dtype, "{what}");
    close(&y, &case["outputs"][0]["values"], tolerance, &what);
    close(&by_x, &case["dx"][0], tolerance, &format!("{what}: x"));
    Ok(())
}

#[test]
fn plain_layers_equal_python() -> Result<()> {
    let cases: Vec<Value> = serde_json::from_str(CASES).expect("cases");
    let plain = cases.iter().filter(|case| case["dtype"].is_string());
    assert!(plain.clone().count() >= 34);
    plain.into_iter().try_for_each(check)
}

#[test]
fn packed_tables_equal_python() -> Result<()> {
    let cases: Vec<Value> = serde_json::from_str(CASES).expect("cases");
    let packed = cases
        .iter()
        .filter(|case| case["layer"] == "QuantizedEmbedding");
    let mut count = 0;
    for case in packed {
        let mut table = Embedding::new(5, 64);
        with_numbers(&mut table, Dtype::Float32)?;
        let packed =
            || QuantizedEmbedding::from_embedding_with(&table, quantization(&case["args"]));
        let table = packed_on_the_cpu(packed)?;
        let rows = table.forward(&mlx::array!([3, 0, 4]));
        close(&rows, &case["values"], 1e-6, &case["args"].to_string());
        count += 1;
    }
    assert_eq!(count, 2);
    Ok(())
}
