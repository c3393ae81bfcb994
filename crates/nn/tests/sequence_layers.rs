//! What golden cases do not show of convolutions, recurrent layers, transformers, positions and upsampling: errors,
//! dropout, checkpoints, compiled functions, and settings of new layers.

use mlx::fast::AttentionMask;
use mlx::{Array, Dtype, QuantizationMode, array};
use mlx_compiler::jit;
use mlx_nn::{
    ALiBi, Bilinear, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Dropout, Dropout2d,
    Dropout3d, Forward, GRU, Init, LSTM, Linear, Module, MultiHeadAttention, QuantizedEmbedding,
    QuantizedLinear, RNN, RoPE, Sequential, SinusoidalPositionalEncoding, Transformer,
    TransformerDecoder, TransformerEncoder, TransformerEncoderLayer, Upsample, UpsampleMode,
    value_and_grad,
};
use rstest::rstest;

fn ones(shape: &[i32]) -> Array {
    mlx::ones(shape)
}

fn close(a: &Array, b: &Array, tolerance: f32) -> bool {
    let off = (a.astype(Dtype::Float32) - b.astype(Dtype::Float32)).abs();
    off.max(()).item::<f32>().unwrap() <= tolerance
}

/// Applies the layer that `name` begins with to `x`.
fn apply(name: &str, x: &Array) -> Array {
    let none = AttentionMask::none();
    let good = ones(&[2, 5, 8]);
    match name {
        "Conv3d" => Conv3d::new(2, 3, 2).forward(x),
        "Conv3d of a kernel" => Conv3d::new(2, 3, [2, 2]).forward(x),
        "Conv3d with stride" => Conv3d::new(2, 3, 2).stride([1, 1]).forward(x),
        "ConvTranspose1d" => ConvTranspose1d::new(2, 3, 2).forward(x),
        "ConvTranspose1d with stride" => ConvTranspose1d::new(2, 3, 2).stride([1, 2]).forward(x),
        "ConvTranspose2d" => ConvTranspose2d::new(2, 3, 2).forward(x),
        "ConvTranspose3d" => ConvTranspose3d::new(2, 3, 2).forward(x),
        "RNN" => RNN::new(3, 4).forward(x),
        "RNN from" => RNN::new(3, 4).forward_from(&ones(&[2, 5, 3]), x),
        "GRU" => GRU::new(3, 4).forward(x),
        "GRU from" => GRU::new(3, 4).forward_from(&ones(&[2, 5, 3]), x),
        "LSTM" => LSTM::new(3, 4).forward(x).0,
        "LSTM, its cell" => LSTM::new(3, 4).forward(x).1,
        "LSTM from" => LSTM::new(3, 4).forward_from(&ones(&[5, 3]), x, None).1,
        "LSTM from a cell" => LSTM::new(3, 4).forward_from(&ones(&[5, 3]), None, x).0,
        "Bilinear" => Bilinear::new(3, 4, 2).forward(x, &ones(&[2, 4])),
        "Bilinear, second" => Bilinear::new(3, 4, 2).forward(&ones(&[2, 3]), x),
        "Dropout2d" => Dropout2d::new(0.5).forward(x),
        "Dropout2d of 1" => Dropout2d::new(1.0).forward(x),
        "Dropout3d" => Dropout3d::new(0.5).forward(x),
        "Dropout3d of -1" => Dropout3d::new(-1.0).forward(x),
        "RoPE" => RoPE::new(8).forward(x),
        "RoPE of 3" => RoPE::new(3).forward(x),
        "SinusoidalPositionalEncoding of 3" => SinusoidalPositionalEncoding::new(3).forward(x),
        "SinusoidalPositionalEncoding of 0" => SinusoidalPositionalEncoding::new(0).forward(x),
        "SinusoidalPositionalEncoding of low" => SinusoidalPositionalEncoding::new(4)
            .min_freq(0.0)
            .forward(x),
        "ALiBi" => ALiBi::new().forward(x),
        "ALiBi with a mask" => ALiBi::new().forward_from(&ones(&[1, 2, 3, 3]), 0, x),
        "Upsample" => Upsample::new(2).forward(x),
        "Upsample by 3 factors" => Upsample::new([2, 2, 2]).forward(x),
        "Upsample by 0" => Upsample::new(0).forward(x),
        "Upsample by NaN" => Upsample::new(f64::NAN).forward(x),
        "Upsample by 0.1" => Upsample::new(0.1).forward(x),
        "Upsample by much" => Upsample::new(1e9).mode(UpsampleMode::Linear).forward(x),
        "Upsample by too much" => Upsample::new(1e12).forward(x),
        "Upsample nearest with antialias" => Upsample::new(2).antialias(true).forward(x),
        "Upsample aligned with antialias" => Upsample::new(2)
            .mode(UpsampleMode::Cubic)
            .align_corners(true)
            .antialias(true)
            .forward(x),
        "MultiHeadAttention" => MultiHeadAttention::new(8, 2)
            .key_input_dims(3)
            .forward(&good, x, x, &none),
        "MultiHeadAttention of other values" => MultiHeadAttention::new(8, 2)
            .key_input_dims(3)
            .value_input_dims(4)
            .forward(&good, &ones(&[2, 5, 3]), x, &none),
        "TransformerEncoder" => TransformerEncoder::new(1, 8, 2).forward(x, &none),
        "TransformerEncoder again" => TransformerEncoder::new(1, 8, 2)
            .checkpoint(true)
            .forward(x, &none),
        "TransformerDecoder" => TransformerDecoder::new(1, 8, 2).forward(x, &good, &none, &none),
        "QuantizedLinear of 63" => QuantizedLinear::new(63, 4).forward(x),
        "QuantizedEmbedding of 63" => QuantizedEmbedding::new(4, 63).forward(&array!([0])),
        other => panic!("no layer {other}"),
    }
}

#[rstest]
#[case("Conv3d", &[1, 4, 4, 2], "Conv3d: x must be [batch, depth, height, width, 2], got [1, 4, 4, 2]")]
#[case("Conv3d", &[1, 4, 4, 4, 3], "Conv3d: x must be [batch, depth, height, width, 2], got [1, 4, 4, 4, 3]")]
#[case("Conv3d of a kernel", &[1, 4, 4, 4, 2], "Conv3d: kernel_size must be one number or 3, got [2, 2]")]
#[case("Conv3d with stride", &[1, 4, 4, 4, 2], "Conv3d: stride must be one number or 3, got [1, 1]")]
#[case("ConvTranspose1d", &[4, 2], "ConvTranspose1d: x must be [batch, length, 2], got [4, 2]")]
#[case("ConvTranspose1d with stride", &[1, 4, 2], "ConvTranspose1d: stride must be one number or 1, got [1, 2]")]
#[case("ConvTranspose2d", &[1, 4, 4, 3], "ConvTranspose2d: x must be [batch, height, width, 2], got [1, 4, 4, 3]")]
#[case("ConvTranspose3d", &[1, 4, 4, 2], "ConvTranspose3d: x must be [batch, depth, height, width, 2], got [1, 4, 4, 2]")]
#[case("RNN", &[2, 5, 4], "RNN: x must be [.., length, 3], got [2, 5, 4]")]
#[case("RNN", &[3], "RNN: x must be [.., length, 3], got [3]")]
#[case("RNN", &[2, 0, 3], "RNN: x must have at least one step, got [2, 0, 3]")]
#[case("RNN from", &[3, 4], "RNN: hidden must be [2, 4], got [3, 4]")]
#[case("GRU", &[2, 5, 4], "GRU: x must be [.., length, 3], got [2, 5, 4]")]
#[case("GRU from", &[2, 5], "GRU: hidden must be [2, 4], got [2, 5]")]
#[case("LSTM", &[2, 5, 4], "LSTM: x must be [.., length, 3], got [2, 5, 4]")]
#[case("LSTM, its cell", &[2, 5, 4], "LSTM: x must be [.., length, 3], got [2, 5, 4]")]
#[case("LSTM", &[0, 3], "LSTM: x must have at least one step, got [0, 3]")]
#[case("LSTM from", &[3], "LSTM: hidden must be [4], got [3]")]
#[case("LSTM from a cell", &[3], "LSTM: cell must be [4], got [3]")]
#[case("Bilinear", &[2, 4], "Bilinear: x1 must be [.., 3], got [2, 4]")]
#[case("Bilinear, second", &[2, 3], "Bilinear: x2 must be [.., 4], got [2, 3]")]
#[case("Bilinear, second", &[3, 4], "Bilinear: x1 and x2 must have the same leading axes, got [2, 3] and [3, 4]")]
#[case("Dropout2d", &[4, 4], "Dropout2d: x must have 3 or 4 axes, got [4, 4]")]
#[case("Dropout2d of 1", &[1, 4, 4], "Dropout2d: p must be in [0, 1), got 1")]
#[case("Dropout3d", &[4, 4, 1], "Dropout3d: x must have 4 or 5 axes, got [4, 4, 1]")]
#[case("Dropout3d of -1", &[1, 4, 4, 1], "Dropout3d: p must be in [0, 1), got -1")]
#[case("RoPE", &[3, 8], "RoPE: ")]
#[case("RoPE of 3", &[1, 3, 8], "RoPE: dims must be even and from 2 to 8, got 3")]
#[case("SinusoidalPositionalEncoding of 3", &[4], "SinusoidalPositionalEncoding: dims must be positive and even, got 3")]
#[case("SinusoidalPositionalEncoding of 0", &[4], "SinusoidalPositionalEncoding: dims must be positive and even, got 0")]
#[case("SinusoidalPositionalEncoding of low", &[4], "SinusoidalPositionalEncoding: min_freq must be positive, got 0")]
#[case("ALiBi", &[2, 3, 3], "ALiBi: scores must be [batch, heads, queries, keys], got [2, 3, 3]")]
#[case("ALiBi with a mask", &[2, 3], "ALiBi: mask must broadcast to [1, 2, 3, 3], got [2, 3]")]
#[case("Upsample", &[4, 2], "Upsample: x must have at least 3 axes, got [4, 2]")]
#[case("Upsample by 3 factors", &[1, 4, 4, 2], "Upsample: scale_factor must be one number or 2, got [2.0, 2.0, 2.0]")]
#[case("Upsample by 0", &[1, 4, 2], "Upsample: scale_factor must be positive, got 0")]
#[case("Upsample by NaN", &[1, 4, 2], "Upsample: scale_factor must be positive, got NaN")]
#[case("Upsample by 0.1", &[1, 4, 2], "Upsample: scale_factor must leave 1 to 2^31 - 1 places of 4, got 0.1")]
#[case("Upsample by much", &[1, 2, 2], "Upsample: an axis must get at most 16777216 places, got 2000000000")]
#[case("Upsample by too much", &[1, 2, 2], "Upsample: scale_factor must leave 1 to 2^31 - 1 places of 2")]
#[case("Upsample nearest with antialias", &[1, 4, 2], "Upsample: antialias must be false for nearest neighbours")]
#[case("Upsample aligned with antialias", &[1, 4, 2], "Upsample: antialias must be false with align_corners")]
#[case("MultiHeadAttention", &[2, 5, 8], "MultiHeadAttention: keys must be [batch, length, 3], got [2, 5, 8]")]
#[case("MultiHeadAttention of other values", &[2, 5, 3], "MultiHeadAttention: values must be [batch, length, 4], got [2, 5, 3]")]
#[case("TransformerEncoder", &[2, 5, 7], "LayerNorm: x must be [.., 8], got [2, 5, 7]")]
#[case("TransformerEncoder again", &[2, 5, 7], "LayerNorm: x must be [.., 8], got [2, 5, 7]")]
#[case("TransformerDecoder", &[3, 5, 8], "MultiHeadAttention: keys must have batch 3 as the queries, got 2")]
#[case("QuantizedLinear of 63", &[2, 63], "quantize: ")]
#[case("QuantizedEmbedding of 63", &[2, 63], "quantize: ")]
fn errors_name_the_layer_what_it_wanted_and_what_came(
    #[case] layer: &str,
    #[case] shape: &[i32],
    #[case] wanted: &str,
) {
    let text = apply(layer, &ones(shape)).eval().unwrap_err().to_string();
    assert!(text.starts_with(wanted), "{text}");
    // A closure that is called again has no caller.
    assert!(
        layer.ends_with("again") || text.contains("sequence_layers.rs"),
        "the caller's line: {text}"
    );
}

#[rstest]
fn earlier_errors_stay_as_they_are(
    #[values(
        "Conv3d",
        "ConvTranspose2d",
        "RNN",
        "GRU",
        "LSTM",
        "LSTM from",
        "Bilinear",
        "Dropout2d",
        "Dropout3d",
        "RoPE",
        "ALiBi",
        "Upsample",
        "MultiHeadAttention",
        "TransformerEncoder",
        "TransformerEncoder again",
        "TransformerDecoder"
    )]
    layer: &str,
) {
    let broken = array!([1.0, 2.0]) + array!([1.0, 2.0, 3.0]);
    let text = apply(layer, &broken).eval().unwrap_err().to_string();
    assert!(text.starts_with("add: "), "{text}");
}

#[test]
fn steps_in_two_halves_are_the_steps_of_the_whole() -> mlx::Result<()> {
    let x = mlx::random::normal_with([2, 6, 3], &mlx::random::key(1));
    let (first, second) = (x.i((.., ..4)), x.i((.., 4..)));
    let last = |states: &Array| states.i((.., -1));
    let lstm = LSTM::new(3, 4);
    let (all, _) = lstm.forward(&x);
    let (hidden, cell) = lstm.forward(&first);
    let (rest, _) = lstm.forward_from(&second, &last(&hidden), &last(&cell));
    assert!(close(&all.i((.., 4..)), &rest, 1e-6));
    let gru = GRU::new(3, 4);
    let rest = gru.forward_from(&second, &last(&gru.forward(&first)));
    assert!(close(&gru.forward(&x).i((.., 4..)), &rest, 1e-6));
    let rnn = RNN::new(3, 4).nonlinearity(mlx_nn::relu);
    let rest = rnn.forward_from(&second, &last(&rnn.forward(&first)));
    assert!(close(&rnn.forward(&x).i((.., 4..)), &rest, 1e-6));
    Ok(())
}

#[test]
fn long_sequences_compute_and_differentiate() -> mlx::Result<()> {
    let x = mlx::random::normal_with([1, 2000, 2], &mlx::random::key(1));
    let lstm = LSTM::new(2, 3);
    let loss = |lstm: &LSTM, x: &Array| lstm.forward(x).0.square().mean(());
    let step = value_and_grad(&lstm, loss);
    let (loss, gradients) = step(&lstm, &x)?;
    assert!(loss.item::<f32>()?.is_finite());
    assert!(gradients["Wh"].abs().sum(()).item::<f32>()? > 0.0);
    Ok(())
}

#[test]
fn bias_can_be_left_out_and_put_back() -> mlx::Result<()> {
    let gru = GRU::new(3, 4).bias(false);
    assert_eq!(
        gru.parameters().into_keys().collect::<Vec<_>>(),
        ["Wh", "Wx"]
    );
    let gru = gru.bias(true);
    assert_eq!(gru.parameters()["b"].shape()?, [12]);
    assert_eq!(gru.parameters()["bhn"].shape()?, [4]);
    let lstm = LSTM::with_init(3, 4, true, &mut Init::seed(0))
        .bias(false)
        .bias(true);
    assert_eq!(lstm.parameters()["bias"].to_vec::<f32>()?, [0.0; 16]);
    assert!(QuantizedLinear::new(64, 3).bias(false).bias.is_none());
    Ok(())
}

#[test]
fn whole_channels_are_dropped_at_the_rate_and_scaled() -> mlx::Result<()> {
    mlx_nn::seed(3);
    let (batch, channels) = (40, 50);
    for (y, space) in [
        (
            Dropout2d::new(0.25).forward(&ones(&[batch, 3, 2, channels])),
            6,
        ),
        (
            Dropout3d::new(0.25).forward(&ones(&[batch, 1, 3, 2, channels])),
            6,
        ),
    ] {
        let y = y.reshape([batch, space, channels]);
        let (least, most) = (y.min([1]), y.max([1]));
        assert!(close(&least, &most, 0.0), "a channel is dropped as one");
        let is_scaled = most
            .equal(0.0)
            .logical_or((&most - 4.0 / 3.0).abs().less(1e-6));
        assert!(is_scaled.all(()).item::<bool>()?);
        let dropped = most
            .equal(0.0)
            .astype(Dtype::Float32)
            .mean(())
            .item::<f32>()?;
        // 2000 channels: the standard deviation of the rate is 0.01.
        assert!((dropped - 0.25).abs() < 0.05, "{dropped}");
    }
    let mut layer = Dropout3d::default();
    assert!(layer.is_active());
    layer.eval();
    assert!(!layer.is_active());
    let x = ones(&[1, 2, 2, 2, 3]);
    assert_eq!(layer.forward(&x).to_vec::<f32>()?, x.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn dropout_in_a_compiled_function_draws_anew_or_from_a_key() -> mlx::Result<()> {
    let x = ones(&[1, 4, 4, 64]);
    let by_thread = jit(|layer: &Dropout2d, x: &Array| layer.forward(x));
    let drop = || by_thread.call((&Dropout2d::new(0.5), &x));
    assert_ne!(drop()?.to_vec::<f32>()?, drop()?.to_vec::<f32>()?);
    let by_key = jit(|layer: &Dropout2d, x: &Array, key: &Array| layer.forward_with_key(x, key));
    let drop = |seed| by_key.call((&Dropout2d::new(0.5), &x, &mlx::random::key(seed)));
    assert_eq!(drop(1)?.to_vec::<f32>()?, drop(1)?.to_vec::<f32>()?);
    assert_ne!(drop(1)?.to_vec::<f32>()?, drop(2)?.to_vec::<f32>()?);
    let layer = TransformerEncoderLayer::new(8, 2).dropout(0.5);
    let by_key = jit(|layer: &TransformerEncoderLayer, x: &Array, key: &Array| {
        layer.forward_with_key(x, &AttentionMask::causal(), key)
    });
    let (x, key) = (ones(&[1, 3, 8]), mlx::random::key(1));
    let wanted = layer.forward_with_key(&x, &AttentionMask::causal(), &key);
    assert!(close(&by_key.call((&layer, &x, &key))?, &wanted, 1e-5));
    Ok(())
}

/// Returns the loss and the gradients of a transformer with dropout, from the same random numbers.
fn trained(model: &Transformer, mask: &Array) -> mlx::Result<(Array, mlx_nn::WeightMap)> {
    let step = value_and_grad(model, |model: &Transformer, (x, mask): &(Array, Array)| {
        let (none, mask) = (AttentionMask::none(), AttentionMask::additive(mask));
        model
            .forward(x, x, &mask, &AttentionMask::causal(), &none)
            .square()
            .mean(())
    });
    let x = mlx::random::normal_with([2, 3, 8], &mlx::random::key(4));
    mlx_nn::seed(9);
    step(model, &(x, mask.clone()))
}

#[test]
fn checkpoints_drop_the_same_values_when_they_compute_again() -> mlx::Result<()> {
    let model = Transformer::with_init(8, 2, [2, 1], 12, &mut Init::seed(1)).dropout(0.5);
    let again = model.clone().checkpoint(true);
    let mask = array!([[0.0, -1.0, -2.0], [0.5, 0.0, 0.0], [0.0, -3.0, 1.0]]);
    let (first, _) = trained(&again, &mask)?;
    let (second, gradients) = trained(&again, &mask)?;
    assert_eq!(first.item::<f32>()?, second.item::<f32>()?);
    // The numeric slope along the gradient of one weight, with the same values dropped.
    let name = "encoder.layers.0.linear1.weight";
    let gradient = &gradients[name];
    let norm = gradient.square().sum(()).sqrt();
    let at = |by: f32| -> mlx::Result<f32> {
        let mut moved = again.clone();
        let mut weights = moved.parameters();
        let weight = &weights[name] + gradient / &norm * by;
        weights.insert(name.to_owned(), weight);
        moved.load(weights).require_exact().unwrap();
        trained(&moved, &mask)?.0.item::<f32>()
    };
    let slope = (at(1e-2)? - at(-1e-2)?) / 2e-2;
    let norm = norm.item::<f32>()?;
    assert!(
        (slope - norm).abs() < 0.03 * norm.abs() + 1e-3,
        "{slope} is not {norm}"
    );
    // Without dropout a checkpoint changes nothing.
    let (plain, checked) = (model.dropout(0.0), again.dropout(0.0));
    let ((a, plain), (b, checked)) = (trained(&plain, &mask)?, trained(&checked, &mask)?);
    assert!(close(&a, &b, 1e-6));
    for (name, gradient) in plain {
        assert!(close(&gradient, &checked[&name], 1e-5), "{name}");
    }
    Ok(())
}

#[test]
fn checkpoints_take_packed_and_frozen_layers() -> mlx::Result<()> {
    let mut encoder = TransformerEncoder::with_init(2, 64, 2, 64, &mut Init::seed(2));
    let quantization = mlx::Quantization::default();
    assert_eq!(mlx_nn::quantize(&mut encoder, quantization, |_| true)?, 12);
    encoder.freeze_matching("layers.*.ln1")?;
    let x = mlx::random::normal_with([1, 3, 64], &mlx::random::key(4));
    let step = value_and_grad(&encoder, |encoder: &TransformerEncoder, x: &Array| {
        encoder
            .forward(x, &AttentionMask::causal())
            .square()
            .sum(())
    });
    let again = encoder.clone().checkpoint(true);
    let ((a, plain), (b, checked)) = (step(&encoder, &x)?, step(&again, &x)?);
    assert!(close(&a, &b, 1e-3));
    assert_eq!(plain.len(), 6, "{:?}", plain.keys());
    for (name, gradient) in plain {
        assert!(close(&gradient, &checked[&name], 1e-3), "{name}");
    }
    let compiled =
        jit(|encoder: &TransformerEncoder, x: &Array| encoder.forward(x, &AttentionMask::causal()));
    let eager = encoder.forward(&x, &AttentionMask::causal());
    assert!(close(&compiled.call((&again, &x))?, &eager, 1e-4));
    Ok(())
}

#[test]
fn a_mask_has_a_gradient_through_a_checkpoint() -> mlx::Result<()> {
    let encoder = TransformerEncoder::new(1, 8, 2);
    let x = mlx::random::normal_with([1, 3, 8], &mlx::random::key(4));
    let bias = mlx::zeros([3, 3]);
    let by_bias = |encoder: &TransformerEncoder| {
        let (encoder, x) = (encoder.clone(), x.clone());
        let loss = move |bias: &Array| {
            encoder
                .forward(&x, &AttentionMask::additive(bias))
                .i((.., .., 0))
                .sum(())
        };
        mlx::grad(loss).call(&bias)
    };
    let (plain, checked) = (
        by_bias(&encoder)?,
        by_bias(&encoder.clone().checkpoint(true))?,
    );
    assert!(plain.abs().max(()).item::<f32>()? > 0.0);
    assert!(close(&plain, &checked, 1e-5));
    Ok(())
}

#[test]
fn layers_compute_the_same_in_a_compiled_function() -> mlx::Result<()> {
    let x = mlx::random::normal_with([2, 4, 8], &mlx::random::key(4));
    let lstm = LSTM::new(8, 4);
    let compiled = jit(|lstm: &LSTM, x: &Array| lstm.forward(x));
    let ((a, _), (b, _)) = (lstm.forward(&x), compiled.call((&lstm, &x))?);
    assert!(close(&a, &b, 1e-6));
    let gru = GRU::new(8, 4);
    let compiled = jit(|gru: &GRU, x: &Array| gru.forward(x));
    assert!(close(&gru.forward(&x), &compiled.call((&gru, &x))?, 1e-6));
    let encoder = TransformerEncoder::new(1, 8, 2).checkpoint(true);
    let compiled = jit(
        |encoder: &TransformerEncoder, x: &Array, mask: &AttentionMask| encoder.forward(x, mask),
    );
    let mask = AttentionMask::causal();
    let (eager, compiled) = (
        encoder.forward(&x, &mask),
        compiled.call((&encoder, &x, &mask))?,
    );
    assert!(close(&eager, &compiled, 1e-5));
    let upsample = Upsample::new(1.5).mode(UpsampleMode::Cubic);
    let compiled = jit(|layer: &Upsample, x: &Array| layer.forward(x));
    assert!(close(
        &upsample.forward(&x),
        &compiled.call((&upsample, &x))?,
        1e-6
    ));
    Ok(())
}

/// An encoder of one linear layer.
#[derive(Clone, Module)]
struct Plain {
    linear: Linear,
}

impl Forward<(Array, AttentionMask)> for Plain {
    fn forward(&self, (x, _): &(Array, AttentionMask)) -> Array {
        self.linear.forward(x)
    }
}

#[test]
fn transformers_take_their_settings_and_other_encoders() -> mlx::Result<()> {
    let model = Transformer::new(8, 2)
        .num_encoder_layers(1)
        .mlp_dims(12)
        .dropout(0.25)
        .num_encoder_layers(2)
        .num_decoder_layers(1);
    assert_eq!(model.encoder.layers.len(), 2);
    assert_eq!(model.encoder.layers[1].linear1.weight.shape()?, [12, 8]);
    assert!((model.encoder.layers[1].dropout2.p - 0.25).abs() < 1e-7);
    let names: Vec<String> = model.parameters().into_keys().collect();
    assert!(
        names.contains(&"decoder.layers.0.cross_attention.value_proj.weight".to_owned()),
        "{names:?}"
    );
    let model = model.custom_encoder(Plain {
        linear: Linear::new(8, 8),
    });
    let x = ones(&[1, 3, 8]);
    assert_eq!(
        Forward::forward(&model, &(x.clone(), x)).shape()?,
        [1, 3, 8]
    );
    assert!(model.parameters().contains_key("encoder.linear.weight"));
    Ok(())
}

#[test]
fn layers_go_into_a_row() -> mlx::Result<()> {
    let model = Sequential::new((
        ConvTranspose1d::new(2, 4, 2).stride(2),
        Upsample::new(2),
        GRU::new(4, 8),
        TransformerEncoder::new(1, 8, 2),
        Dropout::new(0.1),
        RNN::new(8, 1),
    ));
    assert_eq!(model.forward(&ones(&[1, 3, 2])).shape()?, [1, 12, 1]);
    Ok(())
}

#[test]
fn the_additive_causal_mask_hides_what_the_causal_one_does() -> mlx::Result<()> {
    let attention = MultiHeadAttention::new(8, 2);
    let x = mlx::random::normal_with([1, 4, 8], &mlx::random::key(4));
    for dtype in [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16] {
        let mask = MultiHeadAttention::create_additive_causal_mask_with(4, dtype);
        assert_eq!(mask.dtype()?, dtype);
        assert!(
            mask.astype(Dtype::Float32)
                .isfinite()
                .all(())
                .item::<bool>()?
        );
        let a = attention.forward(
            &x,
            &x,
            &x,
            &AttentionMask::additive(&mask.astype(Dtype::Float32)),
        );
        let b = attention.forward(&x, &x, &x, &AttentionMask::causal());
        assert!(close(&a, &b, 1e-5));
    }
    Ok(())
}

#[rstest]
#[case(QuantizationMode::Affine)]
#[case(QuantizationMode::Mxfp4)]
#[case(QuantizationMode::Mxfp8)]
#[case(QuantizationMode::Nvfp4)]
fn quantized_layers_are_made_by_their_sizes(#[case] mode: QuantizationMode) -> mlx::Result<()> {
    let quantization = mlx::Quantization::of(mode);
    let layer = QuantizedLinear::with_quantization(64, 8, quantization);
    assert_eq!(layer.forward(&ones(&[2, 64])).shape()?, [2, 8]);
    assert!(layer.trainable_parameters().is_empty());
    let table = QuantizedEmbedding::with_quantization(5, 64, quantization);
    assert_eq!(table.forward(&array!([1, 4])).shape()?, [2, 64]);
    assert!(table.trainable_parameters().is_empty());
    Ok(())
}

#[test]
fn frequencies_equal_those_in_double_precision() -> mlx::Result<()> {
    let positions: Vec<f32> = vec![0.0, 1.0, 17.5, -3.0];
    let y = SinusoidalPositionalEncoding::new(6)
        .scale(1.0)
        .forward(&Array::from(positions.clone()));
    let y = y.to_vec::<f32>()?;
    for (row, position) in y.chunks(6).zip(positions) {
        for (index, frequency) in [1.0_f64, 0.01, 0.0001].into_iter().enumerate() {
            let angle = f64::from(position) * frequency;
            assert!((f64::from(row[index]) - angle.sin()).abs() < 2e-6);
            assert!((f64::from(row[3 + index]) - angle.cos()).abs() < 2e-6);
        }
    }
    Ok(())
}
