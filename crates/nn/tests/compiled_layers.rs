//! Layers in compiled functions: they run by the kernels of eager calls, with their gradients, and compute the same.

use mlx::{Array, CloseOptions, Dtype, Result, grad, vmap};
use mlx_compiler::{CompileOptions, jit, jit_with};
use mlx_nn::{AvgPool2d, BatchNorm, Conv2d, GRU, LSTM, MaxPool2d, Module, RNN};
use mlx_testdata::needs;
use rstest::rstest;

fn assert_near(got: &Array, want: &Array) -> Result<()> {
    assert_eq!(got.shape()?, want.shape()?);
    let options = CloseOptions {
        rtol: 1e-4,
        atol: 1e-4,
        equal_nan: false,
    };
    assert!(
        got.allclose_with(want, options).item::<bool>()?,
        "{got} {want}"
    );
    Ok(())
}

/// A layer by its name.
#[derive(Clone, Module)]
struct Layer {
    name: &'static str,
    conv: Conv2d,
    depthwise: Conv2d,
    norm: BatchNorm,
    rnn: RNN,
    gru: GRU,
    lstm: LSTM,
}

impl Layer {
    fn new(name: &'static str) -> Self {
        mlx_nn::seed(3);
        Self {
            name,
            conv: Conv2d::new(8, 6, 3).padding(1),
            depthwise: Conv2d::new(8, 8, 3).groups(8).bias(false),
            norm: BatchNorm::new(8),
            rnn: RNN::new(8, 4),
            gru: GRU::new(8, 4),
            lstm: LSTM::new(8, 4),
        }
    }

    fn forward(&self, x: &Array) -> Array {
        let sequence = || x.reshape([2, 30, 8]);
        match self.name {
            "conv" => self.conv.forward(x),
            "depthwise" => self.depthwise.forward(x),
            "batch_norm" => self.norm.forward(x),
            "max_pool" => MaxPool2d::new(2).forward(x),
            "mean_pool" => AvgPool2d::new(2).forward(x),
            "rnn" => self.rnn.forward(&sequence()),
            "gru" => self.gru.forward(&sequence()),
            _ => self.lstm.forward(&sequence()).0,
        }
    }
}

fn input() -> Array {
    mlx::random::seed(5);
    mlx::random::normal([2, 6, 5, 8])
}

/// The weighted sum of what a layer gives.
fn loss((layer, x): &(Layer, Array)) -> Array {
    let y = layer.forward(x);
    let weights = mlx::arange(7).astype(Dtype::Float32) - 2.5;
    let size = i32::try_from(y.size().unwrap_or(0)).unwrap_or(0);
    let weights = mlx::concatenate(vec![weights; size as usize / 7 + 1], 0);
    (y.reshape([-1]) * weights.i(0..size)).sum(())
}

#[rstest]
#[case("conv", "conv", Some("conv weight gradient"))]
#[case("depthwise", "conv", Some("conv weight gradient"))]
#[case("max_pool", "max_pool", Some("max_pool gradient"))]
#[case("mean_pool", "mean_pool", Some("mean_pool gradient"))]
#[case("batch_norm", "batch_norm", Some("batch_norm gradient"))]
#[case("rnn", "recurrent", Some("recurrent gradient"))]
#[case("gru", "recurrent", Some("recurrent gradient"))]
#[case("lstm", "recurrent", Some("recurrent gradient"))]
fn gradients_in_compiled_functions_are_by_kernels(
    #[case] name: &'static str,
    #[case] kernel: &str,
    #[case] of_gradient: Option<&str>,
) -> Result<()> {
    needs!(CpuKernels, Ok(()));
    let (layer, x) = (Layer::new(name), input());
    let compiled = jit(|layer: &Layer, x: &Array| layer.forward(x));
    let runs = |name: Option<&str>| name.map_or(1, mlx::fast::host_kernel_runs_of);
    let (before, before_gradient) = (runs(Some(kernel)), runs(of_gradient));
    for _ in 0..2 {
        assert_near(&compiled.call((&layer, &x))?, &layer.forward(&x))?;
    }
    let gradient =
        jit(move |layer: &Layer, x: &Array| grad(loss).call(&(layer.clone(), x.clone())));
    let want = grad(loss).call(&(layer.clone(), x.clone()))?;
    mlx::eval((&want.0, &want.1))?;
    let after_eager = runs(of_gradient);
    for _ in 0..2 {
        let got = gradient.call((&layer, &x))?;
        assert_near(&got.1, &want.1)?;
        for (name, want) in want.0.trainable_parameters() {
            assert_near(&got.0.parameters()[&name], &want)?;
        }
    }
    if mlx::cpu::are_kernels_enabled() {
        assert!(runs(Some(kernel)) > before || name == "depthwise");
        assert!(after_eager > before_gradient);
        assert!(runs(of_gradient) > after_eager);
    }
    Ok(())
}

#[rstest]
#[case("conv")]
#[case("depthwise")]
#[case("batch_norm")]
#[case("max_pool")]
#[case("gru")]
fn shapeless_and_vectorized_compiled_functions_compute_the_same(
    #[case] name: &'static str,
) -> Result<()> {
    let (layer, x) = (Layer::new(name), input());
    let own = layer.clone();
    let options = CompileOptions {
        // The other layers ask for sizes.
        shapeless: matches!(name, "conv" | "depthwise"),
        ..Default::default()
    };
    let compiled = jit_with(move |x: &Array| own.forward(x), options);
    assert_near(&compiled.call(&x)?, &layer.forward(&x))?;
    if compiled.options().shapeless {
        let longer = mlx::concatenate([&x, &x, &x], 0);
        assert_near(&compiled.call(&longer)?, &layer.forward(&longer))?;
    }
    let many = mlx::stack(&[x.clone(), &x * 2.0], 0);
    let (own, of) = (layer.clone(), layer.clone());
    let over = jit(move |many: &Array| {
        let own = own.clone();
        vmap(move |x: &Array| own.forward(x)).call(many)
    });
    let want = vmap(move |x: &Array| of.forward(x)).call(&many)?;
    assert_near(&over.call(&many)?, &want)
}

#[test]
fn running_statistics_are_those_of_eager_calls() -> Result<()> {
    let (eager, x) = (BatchNorm::new(8), input());
    let mut compiled = eager.clone();
    let step = jit(|norm: &BatchNorm, x: &Array| {
        let norm = norm.clone();
        let y = norm.forward(x);
        (norm, y)
    });
    for _ in 0..3 {
        let want = eager.forward(&x);
        let (next, got) = step.call((&compiled, &x))?;
        compiled = next;
        assert_near(&got, &want)?;
    }
    let variance = x.reshape([60, 8]).var(mlx::Reduction::from(0).ddof(1));
    let moved = 1.0 + (variance - 1.0) * (1.0 - 0.9_f32.powi(3));
    assert_near(&eager.buffers()["running_var"], &moved)?;
    for (name, want) in eager.buffers() {
        assert_near(&compiled.buffers()[&name], &want)?;
    }
    Ok(())
}
