//! Convolutions, recurrent layers, transformers, positions and upsampling against Python MLX: values, gradients by all
//! inputs and parameters, `float32` and `bfloat16`, and weights that Python saved. The cases are made by
//! `golden/make_sequence_layers.py`.

#[path = "golden/cases.rs"]
mod cases;

use std::collections::BTreeSet;

use mlx::fast::AttentionMask;
use mlx::transforms::Arg;
use mlx::{Array, Dtype, Quantization, Shape, value_and_grad_of};
use mlx_nn::{
    ALiBi, Bilinear, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Dropout, Dropout2d,
    Dropout3d, GELU, GRU, LSTM, Module, MultiHeadAttention, QuantizedEmbedding, QuantizedLinear,
    RNN, ReLU, RoPE, ScaleFactor, SinusoidalPositionalEncoding, Transformer, TransformerDecoder,
    TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer, Upsample, UpsampleMode,
};
use serde_json::Value;

use cases::close;

const CASES: &str = include_str!("golden/sequence_layers.json");
const OUTPUTS: &str = include_str!("golden/python_weights.json");
const WEIGHTS: &str = "tests/golden/python_weights.safetensors";

/// Numbers as `make_training.py` makes them.
struct Numbers(i64);

impl Numbers {
    fn array(&mut self, shape: &[i32]) -> Array {
        let size = usize::try_from(shape.iter().product::<i32>()).expect("a size");
        let values: Vec<f32> = (0..size)
            .map(|_| {
                self.0 = (self.0 * 1_103_515_245 + 12345) % (1 << 31);
                #[allow(clippy::cast_precision_loss)]
                let value = ((self.0 >> 16) % 257 - 128) as f32 / 64.0;
                value
            })
            .collect();
        Array::from_slice(&values, shape).expect("an array")
    }
}

fn numbers(seed: usize, shape: &[i32]) -> Array {
    Numbers(i64::try_from(seed).expect("a seed")).array(shape)
}

/// The layer of a case; its parameters have the names of the layer.
#[derive(Clone, Module)]
enum Layer {
    Conv3d(Conv3d),
    ConvTranspose1d(ConvTranspose1d),
    ConvTranspose2d(ConvTranspose2d),
    ConvTranspose3d(ConvTranspose3d),
    Rnn(RNN),
    Gru(GRU),
    Lstm(LSTM),
    Attention(Box<MultiHeadAttention>),
    EncoderBlock(Box<TransformerEncoderLayer>),
    DecoderBlock(Box<TransformerDecoderLayer>),
    Encoder(TransformerEncoder),
    Decoder(TransformerDecoder),
    Transformer(Box<Transformer>),
    Rope(RoPE),
    Sinusoidal(SinusoidalPositionalEncoding),
    Alibi(ALiBi),
    Upsample(Upsample),
    Bilinear(Bilinear),
    Dropout(Dropout),
    Dropout2d(Dropout2d),
    Dropout3d(Dropout3d),
}

/// The arguments of Python's constructor.
struct Arguments<'a>(&'a Value);

impl Arguments<'_> {
    fn int(&self, name: &str) -> Option<i32> {
        self.0[name]
            .as_i64()
            .and_then(|value| value.try_into().ok())
    }
    fn size(&self, name: &str) -> i32 {
        self.int(name).unwrap_or_else(|| panic!("no {name}"))
    }
    fn is(&self, name: &str, default: bool) -> bool {
        self.0[name].as_bool().unwrap_or(default)
    }
    #[allow(clippy::cast_possible_truncation)]
    fn float(&self, name: &str) -> Option<f32> {
        self.0[name].as_f64().map(|value| value as f32)
    }
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or("")
    }
    fn shape(&self, name: &str, default: i32) -> Shape {
        match &self.0[name] {
            Value::Null => default.into(),
            Value::Array(_) => shape(&self.0[name]).into(),
            _ => self.size(name).into(),
        }
    }
    fn mask(&self) -> AttentionMask {
        match self.text("mask") {
            "causal" => AttentionMask::causal(),
            _ => AttentionMask::none(),
        }
    }
}

/// Returns a layer of convolutions with the settings of a case.
macro_rules! convolution {
    ($layer:ident $arguments:ident $($setting:ident)*) => {
        $layer::new(
            $arguments.size("in_channels"),
            $arguments.size("out_channels"),
            $arguments.shape("kernel_size", 1),
        )
        .stride($arguments.shape("stride", 1))
        .padding($arguments.shape("padding", 0))
        .dilation($arguments.shape("dilation", 1))
        $(.$setting($arguments.shape(stringify!($setting), 0)))*
        .bias($arguments.is("bias", true))
    };
}

/// Sets what all parts of a transformer have.
macro_rules! with_settings {
    ($layer:expr, $arguments:ident) => {{
        let layer = $layer
            .mlp_dims($arguments.size("mlp_dims"))
            .norm_first($arguments.is("norm_first", true));
        match $arguments.text("activation") {
            "gelu" => layer.activation(GELU::new()),
            _ => layer.activation(ReLU::new()),
        }
    }};
}

fn layer(name: &str, a: &Arguments<'_>) -> Layer {
    match name {
        "Conv3d" => Layer::Conv3d(convolution!(Conv3d a)),
        "ConvTranspose1d" => Layer::ConvTranspose1d(convolution!(ConvTranspose1d a output_padding)),
        "ConvTranspose2d" => Layer::ConvTranspose2d(convolution!(ConvTranspose2d a output_padding)),
        "ConvTranspose3d" => Layer::ConvTranspose3d(convolution!(ConvTranspose3d a output_padding)),
        "RoPE" => {
            let layer = RoPE::new(a.size("dims")).traditional(a.is("traditional", false));
            let layer = layer.base(a.float("base").unwrap_or(10000.0));
            Layer::Rope(layer.scale(a.float("scale").unwrap_or(1.0)))
        }
        "SinusoidalPositionalEncoding" => {
            let layer = SinusoidalPositionalEncoding::new(a.size("dims")).scale(a.float("scale"));
            let layer = layer.cos_first(a.is("cos_first", false));
            let layer = layer.full_turns(a.is("full_turns", false));
            let layer = layer.min_freq(a.float("min_freq").unwrap_or(1e-4));
            Layer::Sinusoidal(layer.max_freq(a.float("max_freq").unwrap_or(1.0)))
        }
        "ALiBi" => Layer::Alibi(ALiBi::new()),
        "Upsample" => Layer::Upsample(upsample(a)),
        "Bilinear" => {
            let [first, second, outputs] =
                ["input1_dims", "input2_dims", "output_dims"].map(|name| a.size(name));
            Layer::Bilinear(Bilinear::new(first, second, outputs).bias(a.is("bias", true)))
        }
        "Dropout" => Layer::Dropout(Dropout::new(a.float("p").expect("p"))),
        "Dropout2d" => Layer::Dropout2d(Dropout2d::new(a.float("p").expect("p"))),
        "Dropout3d" => Layer::Dropout3d(Dropout3d::new(a.float("p").expect("p"))),
        "RNN" | "GRU" | "LSTM" => recurrent(name, a),
        _ => transformer(name, a),
    }
}

fn recurrent(name: &str, a: &Arguments<'_>) -> Layer {
    let (inputs, size, bias) = (
        a.size("input_size"),
        a.size("hidden_size"),
        a.is("bias", true),
    );
    match name {
        "GRU" => Layer::Gru(GRU::new(inputs, size).bias(bias)),
        "LSTM" => Layer::Lstm(LSTM::new(inputs, size).bias(bias)),
        _ if a.text("nonlinearity") == "relu" => {
            Layer::Rnn(RNN::new(inputs, size).bias(bias).nonlinearity(mlx_nn::relu))
        }
        _ => Layer::Rnn(RNN::new(inputs, size).bias(bias)),
    }
}

fn upsample(a: &Arguments<'_>) -> Upsample {
    let factor: ScaleFactor = match &a.0["scale_factor"] {
        Value::Array(factors) => {
            let factors = factors
                .iter()
                .map(|factor| factor.as_f64().expect("a factor"));
            factors.collect::<Vec<f64>>().into()
        }
        factor => factor.as_f64().expect("a factor").into(),
    };
    let mode = match a.text("mode") {
        "linear" => UpsampleMode::Linear,
        "cubic" => UpsampleMode::Cubic,
        _ => UpsampleMode::Nearest,
    };
    Upsample::new(factor)
        .mode(mode)
        .align_corners(a.is("align_corners", false))
        .antialias(a.is("antialias", false))
}

fn transformer(name: &str, a: &Arguments<'_>) -> Layer {
    let (dims, heads, checkpoint) = (
        a.size("dims"),
        a.size("num_heads"),
        a.is("checkpoint", false),
    );
    match name {
        "MultiHeadAttention" => {
            let mut layer = MultiHeadAttention::new(dims, heads).bias(a.is("bias", false));
            for (name, set) in [
                (
                    "query_input_dims",
                    MultiHeadAttention::query_input_dims as fn(_, _) -> _,
                ),
                ("key_input_dims", MultiHeadAttention::key_input_dims),
                ("value_input_dims", MultiHeadAttention::value_input_dims),
                ("value_dims", MultiHeadAttention::value_dims),
                ("value_output_dims", MultiHeadAttention::value_output_dims),
            ] {
                if let Some(size) = a.int(name) {
                    layer = set(layer, size);
                }
            }
            Layer::Attention(Box::new(layer))
        }
        "TransformerEncoderLayer" => {
            let layer = with_settings!(TransformerEncoderLayer::new(dims, heads), a);
            Layer::EncoderBlock(Box::new(layer))
        }
        "TransformerDecoderLayer" => {
            let layer = with_settings!(TransformerDecoderLayer::new(dims, heads), a);
            Layer::DecoderBlock(Box::new(layer))
        }
        "TransformerEncoder" => {
            let layer = TransformerEncoder::new(2, dims, heads).checkpoint(checkpoint);
            Layer::Encoder(with_settings!(layer, a))
        }
        "TransformerDecoder" => {
            let layer = TransformerDecoder::new(1, dims, heads).checkpoint(checkpoint);
            Layer::Decoder(with_settings!(layer, a))
        }
        "Transformer" => {
            let layer = Transformer::new(dims, heads).num_encoder_layers(1);
            let layer = layer.num_decoder_layers(1).checkpoint(checkpoint);
            Layer::Transformer(Box::new(with_settings!(layer, a)))
        }
        _ => panic!("{name} is not known"),
    }
}

/// Calls the layer of a case.
fn call(layer: &Layer, inputs: &[Array], a: &Arguments<'_>) -> Vec<Array> {
    let (x, key, mask) = (&inputs[0], mlx::random::key(7), a.mask());
    let none = AttentionMask::none();
    vec![match layer {
        Layer::Conv3d(layer) => layer.forward(x),
        Layer::ConvTranspose1d(layer) => layer.forward(x),
        Layer::ConvTranspose2d(layer) => layer.forward(x),
        Layer::ConvTranspose3d(layer) => layer.forward(x),
        Layer::Rnn(layer) => layer.forward_from(x, inputs.get(1)),
        Layer::Gru(layer) => layer.forward_from(x, inputs.get(1)),
        Layer::Lstm(layer) => {
            let (hidden, cell) = layer.forward_from(x, inputs.get(1), inputs.get(2));
            return vec![hidden, cell];
        }
        Layer::Attention(layer) => match inputs {
            [x] => layer.forward(x, x, x, &mask),
            [queries, keys, values] => layer.forward(queries, keys, values, &mask),
            _ => panic!("wanted one input or three"),
        },
        Layer::EncoderBlock(layer) => layer.forward(x, &mask),
        Layer::DecoderBlock(layer) => layer.forward(x, &inputs[1], &mask, &none),
        Layer::Encoder(layer) => layer.forward(x, &mask),
        Layer::Decoder(layer) => layer.forward(x, &inputs[1], &mask, &none),
        Layer::Transformer(layer) => layer.forward(x, &inputs[1], &none, &mask, &none),
        Layer::Rope(layer) => layer.forward_from(x, a.size("offset")),
        Layer::Sinusoidal(layer) => layer.forward(x),
        Layer::Alibi(layer) => layer.forward_from(x, a.size("offset"), inputs.get(1)),
        Layer::Upsample(layer) => layer.forward(x),
        Layer::Bilinear(layer) => layer.forward(x, &inputs[1]),
        Layer::Dropout(layer) => layer.forward_with_key(x, &key),
        Layer::Dropout2d(layer) => layer.forward_with_key(x, &key),
        Layer::Dropout3d(layer) => layer.forward_with_key(x, &key),
    }]
}

fn shape(sizes: &Value) -> Vec<i32> {
    let sizes = sizes.as_array().expect("a shape").iter();
    let sizes = sizes.map(|size| size.as_i64().and_then(|size| size.try_into().ok()));
    sizes.map(|size| size.expect("a size")).collect()
}

/// Sets all parameters, in the order of their names, to the numbers of the script.
fn with_numbers(layer: &mut Layer, dtype: Dtype) -> mlx::Result<()> {
    let mut weights = layer.parameters();
    for (index, array) in weights.values_mut().enumerate() {
        *array = (numbers(100 + index, &array.shape()?) / 4.0).astype(dtype);
    }
    layer.load(weights).require_exact().expect("all weights");
    Ok(())
}

fn check(case: &Value) -> mlx::Result<()> {
    let name = case["layer"].as_str().expect("a name");
    let arguments = Arguments(&case["args"]);
    let (dtype, tolerance) = match case["dtype"].as_str() {
        Some("float32") => (Dtype::Float32, 1e-5),
        _ => (Dtype::Bfloat16, 2e-2),
    };
    let what = format!("{name} {} {} {dtype}", case["args"], case["inputs"]);
    let shapes: Vec<Vec<i32>> = case["inputs"]
        .as_array()
        .expect("inputs")
        .iter()
        .map(shape)
        .collect();
    let inputs: Vec<Array> = (shapes.iter().enumerate())
        .map(|(index, shape)| (numbers(11 + index, shape) + 0.007_812_5).astype(dtype))
        .collect();
    let mut layer = layer(name, &arguments);
    with_numbers(&mut layer, dtype)?;

    let outputs = call(&layer, &inputs, &arguments);
    let wanted = case["outputs"].as_array().expect("outputs");
    assert_eq!(outputs.len(), wanted.len(), "{what}");
    for (y, wanted) in outputs.iter().zip(wanted) {
        assert_eq!(y.shape()?, shape(&wanted["shape"]), "{what}");
        assert_eq!(
            y.dtype()?.to_string(),
            wanted["dtype"].as_str().expect("a dtype"),
            "{what}"
        );
        close(y, &wanted["values"], tolerance, &what);
    }

    let loss = |layer: &Layer, inputs: &Vec<Array>| -> Array {
        let outputs = call(layer, inputs, &arguments);
        let terms = outputs
            .iter()
            .zip(wanted)
            .enumerate()
            .map(|(index, (y, wanted))| {
                (y.astype(Dtype::Float32) * numbers(5 + index, &shape(&wanted["shape"]))).sum(())
            });
        terms.reduce(|sum, term| sum + term).expect("an output")
    };
    let wanted = case["gradients"].as_object().expect("gradients");
    let by_inputs = if wanted.is_empty() {
        mlx::grad_of(loss, Arg::<1>).call((&layer, &inputs))?
    } else {
        let both = value_and_grad_of(loss, (Arg::<0>, Arg::<1>));
        let (_, (by_layer, by_inputs)) = both.call((&layer, &inputs))?;
        let gradients = by_layer.parameters();
        let names: BTreeSet<&String> = gradients.keys().collect();
        assert_eq!(names, wanted.keys().collect::<BTreeSet<_>>(), "{what}");
        for (name, wanted) in wanted {
            close(
                &gradients[name],
                wanted,
                tolerance,
                &format!("{what}: {name}"),
            );
        }
        by_inputs
    };
    let dx = case["dx"].as_array().expect("dx");
    for (index, (gradient, wanted)) in by_inputs.iter().zip(dx).enumerate() {
        assert_eq!(gradient.shape()?, shapes[index], "{what}: input {index}");
        if !wanted.is_null() {
            let what = format!("{what}: input {index}");
            close(gradient, wanted, tolerance, &what);
        } else if dtype == Dtype::Float32 {
            // Where Python has none, the layer is linear in its one input: the slope along any direction is a difference.
            let direction = numbers(77, &shapes[0]);
            let moved = loss(&layer, &vec![&inputs[0] + &direction]);
            let rise = (moved - loss(&layer, &inputs)).item::<f32>()?;
            let slope = (gradient * direction).sum(()).item::<f32>()?;
            assert!(
                (rise - slope).abs() <= 1e-4 * rise.abs().max(1.0),
                "{what}: {slope} is not {rise}"
            );
        }
    }
    Ok(())
}

/// Checks the cases of layers whose names `is_one` accepts, at least `least`.
fn check_all(least: usize, is_one: impl Fn(&str) -> bool) -> mlx::Result<()> {
    let cases: Vec<Value> = serde_json::from_str(CASES).expect("cases");
    let cases: Vec<&Value> = (cases.iter())
        .filter(|case| is_one(case["layer"].as_str().expect("a name")))
        .collect();
    assert!(cases.len() >= least, "{} cases", cases.len());
    cases.into_iter().try_for_each(check)
}

#[test]
fn convolutions_equal_python() -> mlx::Result<()> {
    check_all(40, |name| name.starts_with("Conv"))
}

#[test]
fn recurrent_layers_equal_python() -> mlx::Result<()> {
    check_all(70, |name| ["RNN", "GRU", "LSTM"].contains(&name))
}

#[test]
fn attention_and_transformers_equal_python() -> mlx::Result<()> {
    check_all(30, |name| {
        name.starts_with("Transformer") || name == "MultiHeadAttention"
    })
}

#[test]
fn positions_equal_python() -> mlx::Result<()> {
    check_all(28, |name| {
        ["RoPE", "SinusoidalPositionalEncoding", "ALiBi"].contains(&name)
    })
}

#[test]
fn upsampling_equals_python() -> mlx::Result<()> {
    check_all(80, |name| name == "Upsample")
}

#[test]
fn bilinear_and_dropout_equal_python() -> mlx::Result<()> {
    check_all(36, |name| name == "Bilinear" || name.starts_with("Dropout"))
}

/// The model that the script saved.
#[derive(Clone, Module)]
struct Net {
    conv: Conv3d,
    transposed: (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d),
    rnn: RNN,
    gru: GRU,
    lstm: LSTM,
    bilinear: Bilinear,
    attention: MultiHeadAttention,
    transformer: Transformer,
    packed: QuantizedLinear,
    table: QuantizedEmbedding,
}

impl Net {
    fn new() -> Self {
        let bytes = Quantization {
            group_size: 32,
            bits: 8,
            ..Quantization::default()
        };
        Self {
            conv: Conv3d::new(2, 3, 2),
            transposed: (
                ConvTranspose1d::new(2, 3, 2),
                ConvTranspose2d::new(2, 3, 2),
                ConvTranspose3d::new(2, 3, 2),
            ),
            rnn: RNN::new(3, 4),
            gru: GRU::new(3, 4),
            lstm: LSTM::new(3, 4),
            bilinear: Bilinear::new(3, 4, 2),
            attention: MultiHeadAttention::new(8, 2)
                .key_input_dims(3)
                .value_dims(4)
                .bias(true),
            transformer: Transformer::new(8, 2)
                .num_encoder_layers(2)
                .num_decoder_layers(1)
                .mlp_dims(12),
            packed: QuantizedLinear::new(64, 4),
            table: QuantizedEmbedding::with_quantization(5, 32, bytes),
        }
    }

    fn output(&self, name: &str) -> Array {
        let numbers = |shape: &[i32]| numbers(11, shape);
        let none = AttentionMask::none();
        match name {
            "conv" => self.conv.forward(&numbers(&[1, 2, 3, 2, 2])),
            "transposed.0" => self.transposed.0.forward(&numbers(&[1, 3, 2])),
            "transposed.1" => self.transposed.1.forward(&numbers(&[1, 2, 3, 2])),
            "transposed.2" => self.transposed.2.forward(&numbers(&[1, 2, 1, 2, 2])),
            "rnn" => self.rnn.forward(&numbers(&[2, 4, 3])),
            "gru" => self.gru.forward(&numbers(&[2, 4, 3])),
            "hidden" => self.lstm.forward(&numbers(&[2, 4, 3])).0,
            "cell" => self.lstm.forward(&numbers(&[2, 4, 3])).1,
            "bilinear" => self.bilinear.forward(&numbers(&[2, 3]), &numbers(&[2, 4])),
            "attention" => {
                let keys = numbers(&[1, 3, 3]);
                self.attention
                    .forward(&numbers(&[1, 2, 8]), &keys, &keys, &none)
            }
            "transformer" => {
                let (source, target) = (numbers(&[1, 3, 8]), numbers(&[1, 2, 8]));
                self.transformer
                    .forward(&source, &target, &none, &none, &none)
            }
            "packed" => self.packed.forward(&numbers(&[2, 64])),
            "table" => self.table.forward(&mlx::array!([3, 0])),
            _ => panic!("{name} is not known"),
        }
    }
}

#[test]
fn weights_that_python_saved_load_and_compute_the_same() -> mlx::Result<()> {
    let mut net = Net::new();
    net.load_weights(
        std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join(WEIGHTS),
    )?;
    let outputs: Value = serde_json::from_str(OUTPUTS).expect("outputs");
    let outputs = outputs.as_object().expect("outputs");
    assert_eq!(outputs.len(), 13);
    for (name, wanted) in outputs {
        close(&net.output(name), wanted, 1e-5, name);
    }
    Ok(())
}
