//! Lint over the layers, losses and optimizers: nothing is found in values, gradients and steps, in `float32` and
//! `bfloat16`.

use mlx::fast::AttentionMask;
use mlx::tree::{Arguments, Function};
use mlx::{Array, Dtype, Tree, grad, ones, ones_with, zeros_with};
use mlx_compiler::{CompileOptions, Fallback, Finding, trace};
use mlx_nn::losses::{
    binary_cross_entropy, cosine_similarity_loss, cross_entropy, gaussian_nll_loss, hinge_loss,
    huber_loss, kl_div_loss, l1_loss, log_cosh_loss, margin_ranking_loss, mse_loss, nll_loss,
    smooth_l1_loss, triplet_loss,
};
use mlx_nn::optimizers::OptimizerState;
use mlx_nn::*;

fn lint<Args, F>(function: F, args: Args::Refs<'_>) -> Vec<String>
where
    Args: Arguments,
    F: Function<Args, Output: Tree>,
{
    let options = CompileOptions {
        fallback: Fallback::Never,
        ..CompileOptions::default()
    };
    let lowered = trace(function, args).unwrap().lower(&options).unwrap();
    let findings = lowered.report().lint();
    findings.iter().map(Finding::to_string).collect()
}

/// Lints a layer and its gradient.
fn check<L: Module + Clone>(
    found: &mut Vec<String>,
    layer: L,
    x: &Array,
    forward: fn(&L, &Array) -> Array,
) {
    let name = std::any::type_name::<L>();
    for dtype in [Dtype::Float32, Dtype::Bfloat16] {
        let mut layer = layer.clone();
        layer.set_dtype(dtype);
        let x = match x.dtype().unwrap().is_floating() {
            true => x.astype(dtype),
            false => x.clone(),
        };
        let mut add = |what: &str, texts: Vec<String>| {
            found.extend(
                texts
                    .iter()
                    .map(|text| format!("{name} {dtype} {what}: {text}")),
            );
        };
        add("values", lint(forward, (&layer, &x)));
        let loss = move |parameters: &WeightMap, layer: &L, x: &Array| -> mlx::Result<Array> {
            let layer = layer.with_parameters(parameters)?;
            let y = forward(&layer, x).astype(Dtype::Float32);
            Ok(y.square().mean(()))
        };
        let parameters = layer.trainable_parameters();
        if !parameters.is_empty() {
            let by_parameters = move |layer: &L, x: &Array| {
                grad(loss).call((&layer.trainable_parameters(), layer, x))
            };
            add("gradients", lint(by_parameters, (&layer, &x)));
        } else {
            let by_input = move |layer: &L, x: &Array| {
                grad(loss).argnums(2).call((&WeightMap::new(), layer, x))
            };
            add("gradients", lint(by_input, (&layer, &x)));
        }
    }
}

/// A layer with its kind of input.
macro_rules! layers {
    ($found:ident; $($layer:expr, $x:expr;)*) => {
        $(check(&mut $found, $layer, &$x, |layer, x| layer.forward(x));)*
    };
}

#[test]
fn layers_have_no_findings() {
    let mut found = Vec::new();
    let (rows, image) = (ones([4, 32, 64]), ones([2, 16, 16, 16]));
    let (line, volume) = (ones([2, 64, 16]), ones([2, 8, 8, 8, 16]));
    layers! { found;
        Linear::new(64, 64), rows;
        LayerNorm::new(64), rows;
        RMSNorm::new(64), rows;
        BatchNorm::new(64), rows;
        GroupNorm::new(4, 16), image;
        GroupNorm::new(4, 16).pytorch_compatible(true), image;
        InstanceNorm::new(16).affine(true), image;
        Conv1d::new(16, 16, 3), line;
        Conv2d::new(16, 16, 3).padding(1), image;
        Conv3d::new(16, 16, 3), volume;
        ConvTranspose1d::new(16, 16, 3), line;
        ConvTranspose2d::new(16, 16, 3), image;
        MaxPool1d::new(2), line;
        MaxPool2d::new(3).stride(2).padding(1), image;
        AvgPool2d::new(3).stride(2).padding(1), image;
        MaxPool3d::new(2), volume;
        AvgPool3d::new(2), volume;
        Embedding::new(64, 64), zeros_with([4, 32], Dtype::Int32);
        GELU::new(), rows;
        SiLU::new(), rows;
        ReLU::new(), rows;
        PReLU::default(), rows;
        Mish, rows;
        Softplus, rows;
        LogSigmoid, rows;
        LogSoftmax, rows;
        Softmin, rows;
        GLU::default(), rows;
        ELU::default(), rows;
        SELU, rows;
        Hardswish, rows;
        Dropout::new(0.5), rows;
        Dropout2d::new(0.5), image;
        Dropout3d::new(0.5), volume;
        RoPE::new(64), ones([2, 4, 32, 64]);
        SinusoidalPositionalEncoding::new(64), mlx::arange(64).astype(Dtype::Float32);
        Upsample::new(2), image;
        Upsample::new(2).mode(UpsampleMode::Linear), image;
        Upsample::new(2).mode(UpsampleMode::Cubic), image;
    }
    check(&mut found, RNN::new(64, 64), &rows, |layer, x| {
        layer.forward(x)
    });
    check(&mut found, GRU::new(64, 64), &rows, |layer, x| {
        layer.forward(x)
    });
    check(&mut found, LSTM::new(64, 64), &rows, |layer, x| {
        layer.forward(x).0
    });
    check(
        &mut found,
        ALiBi::new(),
        &ones([2, 4, 32, 32]),
        |layer, x| layer.forward(x),
    );
    check(&mut found, Bilinear::new(64, 64, 16), &rows, |layer, x| {
        layer.forward(x, x)
    });
    check(
        &mut found,
        MultiHeadAttention::new(64, 4),
        &rows,
        |layer, x| layer.forward(x, x, x, &AttentionMask::causal()),
    );
    check(
        &mut found,
        TransformerEncoder::new(2, 64, 4),
        &rows,
        |layer, x| layer.forward(x, &AttentionMask::causal()),
    );
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn losses_have_no_findings() {
    let mut found = Vec::new();
    type Loss = fn(&Array, &Array) -> Array;
    let losses: [(&str, Loss); 10] = [
        ("binary_cross_entropy", binary_cross_entropy),
        ("kl_div_loss", kl_div_loss),
        ("hinge_loss", hinge_loss),
        ("cosine_similarity_loss", cosine_similarity_loss),
        ("l1_loss", l1_loss),
        ("mse_loss", mse_loss),
        ("smooth_l1_loss", smooth_l1_loss),
        ("huber_loss", huber_loss),
        ("log_cosh_loss", log_cosh_loss),
        ("cross_entropy of probabilities", cross_entropy),
    ];
    for dtype in [Dtype::Float32, Dtype::Bfloat16] {
        let (x, y) = (ones_with([64, 64], dtype), ones_with([64, 64], dtype));
        let labels = zeros_with([64], Dtype::Int32);
        let mut add = |name: &str, texts: Vec<String>| {
            found.extend(texts.iter().map(|text| format!("{name} {dtype}: {text}")));
        };
        for (name, loss) in losses {
            add(name, lint(move |x: &Array, y: &Array| loss(x, y), (&x, &y)));
            let slope = move |x: &Array, y: &Array| {
                let total = |x: &Array, y: &Array| loss(x, y).sum(());
                grad(total).call((x, y))
            };
            add(name, lint(slope, (&x, &y)));
        }
        add("cross_entropy", lint(cross_entropy as Loss, (&x, &labels)));
        add("nll_loss", lint(nll_loss as Loss, (&x, &labels)));
        for (name, loss) in [
            (
                "gaussian",
                gaussian_nll_loss as fn(&Array, &Array, &Array) -> Array,
            ),
            ("margin", margin_ranking_loss),
            ("triplet", triplet_loss),
        ] {
            add(name, lint(loss, (&x, &y, &y)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn lint_optimizer<O: Optimizer + Clone + 'static>(found: &mut Vec<String>, name: &str, own: O) {
    for dtype in [Dtype::Float32, Dtype::Bfloat16] {
        let mut layer = Linear::new(64, 64);
        layer.set_dtype(dtype);
        let parameters = layer.trainable_parameters();
        let state = own.init(&parameters);
        let optimizer = own.clone();
        let step = move |layer: &Linear, state: &OptimizerState, x: &Array| {
            let loss = |layer: &Linear, x: &Array| {
                let y = layer.forward(x).astype(Dtype::Float32);
                y.square().mean(())
            };
            let (loss, gradients) = value_and_grad(layer, loss)(layer, x)?;
            let parameters = layer.trainable_parameters();
            let (parameters, state) = optimizer.apply_gradients(&gradients, &parameters, state)?;
            Ok::<_, mlx::Error>((parameters, state, loss))
        };
        let texts = lint(step, (&layer, &state, &ones_with([16, 64], dtype)));
        found.extend(texts.iter().map(|text| format!("{name} {dtype}: {text}")));
    }
}

#[test]
fn steps_of_optimizers_have_no_findings() {
    let mut found = Vec::new();
    macro_rules! optimizers {
        ($($name:ident),*) => {
            $(lint_optimizer(&mut found, stringify!($name), $name::new(0.1));)*
        };
    }
    optimizers!(
        SGD, RMSprop, Adagrad, AdaDelta, Adam, AdamW, Adamax, Lion, Muon
    );
    lint_optimizer(&mut found, "Adafactor", Adafactor::new());
    assert!(found.is_empty(), "{found:#?}");
}
