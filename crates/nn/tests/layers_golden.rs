//! Layers against Python MLX: values, gradients by the input and by parameters, running statistics, `float32` and
//! `bfloat16`. The cases are made by `golden/make_layers.py`.

#[path = "golden/cases.rs"]
mod cases;

use std::collections::BTreeMap;

use mlx::transforms::Arg;
use mlx::{Array, Dtype, value_and_grad_of};
use mlx_nn::{
    AnyLayer, AvgPool1d, AvgPool2d, AvgPool3d, BatchNorm, CELU, ELU, GELU, GLU, GeluApprox,
    GroupNorm, HardShrink, HardTanh, Hardswish, InstanceNorm, LayerNorm, LeakyReLU, LogSigmoid,
    LogSoftmax, MaxPool1d, MaxPool2d, MaxPool3d, Mish, Module, PReLU, RMSNorm, ReLU, ReLU2, ReLU6,
    SELU, Sequential, SiLU, Sigmoid, Softmax, Softmin, Softplus, Softshrink, Softsign, Step, Tanh,
};
use serde_json::Value;

use cases::close;

const GOLDEN: &str = include_str!("golden/layers.json");

/// Numbers as `make_training.py` makes them.
struct Numbers(i64);

impl Numbers {
    fn array(&mut self, shape: &[i32], shift: f32) -> Array {
        let size = usize::try_from(shape.iter().product::<i32>()).expect("a size");
        let values: Vec<f32> = (0..size)
            .map(|_| {
                self.0 = (self.0 * 1_103_515_245 + 12345) % (1 << 31);
                #[allow(clippy::cast_precision_loss)]
                let value = ((self.0 >> 16) % 257 - 128) as f32 / 64.0;
                value + shift
            })
            .collect();
        Array::from_slice(&values, shape).expect("an array")
    }
}

/// Returns the layer of a case.
fn layer(name: &str) -> AnyLayer {
    activation(name)
        .or_else(|| norm(name))
        .or_else(|| pool(name))
        .unwrap_or_else(|| panic!("{name} is not known"))
}

fn activation(name: &str) -> Option<AnyLayer> {
    Some(match name {
        "ReLU" => AnyLayer::new(ReLU::new()),
        "ReLU2" => AnyLayer::new(ReLU2),
        "ReLU6" => AnyLayer::new(ReLU6),
        "SELU" => AnyLayer::new(SELU),
        "SiLU" => AnyLayer::new(SiLU),
        "Mish" => AnyLayer::new(Mish),
        "Hardswish" => AnyLayer::new(Hardswish),
        "HardTanh" => AnyLayer::new(HardTanh),
        "Sigmoid" => AnyLayer::new(Sigmoid),
        "Tanh" => AnyLayer::new(Tanh),
        "Softplus" => AnyLayer::new(Softplus),
        "Softsign" => AnyLayer::new(Softsign),
        "LogSigmoid" => AnyLayer::new(LogSigmoid),
        "Softmax" => AnyLayer::new(Softmax),
        "Softmin" => AnyLayer::new(Softmin),
        "LogSoftmax" => AnyLayer::new(LogSoftmax),
        "GLU" => AnyLayer::new(GLU::default()),
        "GLU 0" => AnyLayer::new(GLU::new(0)),
        "LeakyReLU" => AnyLayer::new(LeakyReLU::default()),
        "LeakyReLU 0.25" => AnyLayer::new(LeakyReLU::new(0.25)),
        "ELU" => AnyLayer::new(ELU::default()),
        "ELU 0.5" => AnyLayer::new(ELU::new(0.5)),
        "CELU" => AnyLayer::new(CELU::default()),
        "CELU 0.5" => AnyLayer::new(CELU::new(0.5)),
        "Softshrink" => AnyLayer::new(Softshrink::default()),
        "Softshrink 0.25" => AnyLayer::new(Softshrink::new(0.25)),
        "HardShrink" => AnyLayer::new(HardShrink::default()),
        "HardShrink 0.25" => AnyLayer::new(HardShrink::new(0.25)),
        "Step" => AnyLayer::new(Step::default()),
        "Step 0.5" => AnyLayer::new(Step::new(0.5)),
        "PReLU" => AnyLayer::new(PReLU::default()),
        "PReLU 8" => AnyLayer::new(PReLU::new(8, 0.5)),
        "GELU" => AnyLayer::new(GELU::new()),
        "GELU tanh" => AnyLayer::new(GELU::new().approx(GeluApprox::Tanh)),
        "GELU fast" => AnyLayer::new(GELU::new().approx(GeluApprox::Fast)),
        _ => return None,
    })
}

fn norm(name: &str) -> Option<AnyLayer> {
    let batch = || BatchNorm::new(4);
    Some(match name {
        "BatchNorm" => AnyLayer::new(batch()),
        "BatchNorm options" => AnyLayer::new(batch().eps(1e-3).momentum(0.5)),
        "BatchNorm plain" => AnyLayer::new(batch().affine(false).track_running_stats(false)),
        "GroupNorm" => AnyLayer::new(GroupNorm::new(2, 4)),
        "GroupNorm torch" => AnyLayer::new(GroupNorm::new(2, 4).pytorch_compatible(true)),
        "GroupNorm plain" => AnyLayer::new(GroupNorm::new(4, 4).eps(1e-3).affine(false)),
        "InstanceNorm" => AnyLayer::new(InstanceNorm::new(4)),
        "InstanceNorm affine" => AnyLayer::new(InstanceNorm::new(4).eps(1e-3).affine(true)),
        "LayerNorm" => AnyLayer::new(LayerNorm::new(4)),
        "LayerNorm plain" => AnyLayer::new(LayerNorm::new(4).eps(1e-3).affine(false)),
        "RMSNorm" => AnyLayer::new(RMSNorm::new(4)),
        _ => return None,
    })
}

fn pool(name: &str) -> Option<AnyLayer> {
    Some(match name {
        "MaxPool1d 2" => AnyLayer::new(MaxPool1d::new(2)),
        "MaxPool1d 3 1 1" => AnyLayer::new(MaxPool1d::new(3).stride(1).padding(1)),
        "MaxPool2d 2" => AnyLayer::new(MaxPool2d::new(2)),
        "MaxPool2d 3 2 1" => AnyLayer::new(MaxPool2d::new([3, 3]).stride(2).padding(1)),
        "MaxPool2d 9 1" => AnyLayer::new(MaxPool2d::new(9).stride(1)),
        "MaxPool3d 2" => AnyLayer::new(MaxPool3d::new(2)),
        "MaxPool3d 2 1" => AnyLayer::new(MaxPool3d::new(2).stride(1)),
        "AvgPool1d 2" => AnyLayer::new(AvgPool1d::new(2)),
        "AvgPool1d 3 1 1" => AnyLayer::new(AvgPool1d::new(3).stride(1).padding(1)),
        "AvgPool2d 2" => AnyLayer::new(AvgPool2d::new(2)),
        "AvgPool2d 3 2 1" => AnyLayer::new(AvgPool2d::new(3).stride([2, 2]).padding([1, 1])),
        "AvgPool2d 9 1" => AnyLayer::new(AvgPool2d::new(9).stride(1)),
        "AvgPool3d 2" => AnyLayer::new(AvgPool3d::new(2)),
        "AvgPool3d 2 1" => AnyLayer::new(AvgPool3d::new(2).stride(1)),
        _ => return None,
    })
}

fn shape(case: &Value, key: &str) -> Vec<i32> {
    let sizes = case[key].as_array().expect("a shape").iter();
    let sizes = sizes.map(|size| size.as_i64().and_then(|size| size.try_into().ok()));
    sizes.map(|size| size.expect("a size")).collect()
}

fn check(case: &Value) -> mlx::Result<()> {
    let (name, dtype) = (
        case["name"].as_str().expect("a name"),
        case["dtype"].as_str(),
    );
    // What is rounded to bfloat16 after each step of two formulas differs by a few of its steps.
    let (dtype, tolerance) = match dtype {
        Some("float32") => (Dtype::Float32, 1e-5),
        _ => (Dtype::Bfloat16, 2e-2),
    };
    let what = format!("{name} {:?} {dtype}", shape(case, "shape"));
    #[allow(clippy::cast_possible_truncation)]
    let shift = case["shift"].as_f64().expect("a shift") as f32;
    let x = Numbers(11)
        .array(&shape(case, "shape"), shift)
        .astype(dtype);
    let cotangent = Numbers(5).array(&shape(case, "out_shape"), 0.0);
    let mut model = Sequential::new((layer(name),));
    model.set_dtype(dtype);

    let y = model.forward(&x);
    close(&y, &case["y"], tolerance, &what);
    assert_eq!(y.shape()?, shape(case, "out_shape"), "{what}");
    assert!(name.starts_with("Step") || y.dtype()? == dtype, "{what}");
    if let Some(mean) = case.get("running_mean") {
        let buffers = model.buffers();
        close(&buffers["layers.0.running_mean"], mean, tolerance, &what);
        close(
            &buffers["layers.0.running_var"],
            &case["running_var"],
            tolerance,
            &what,
        );
        model.eval();
        close(&model.forward(&x), &case["evaluated"], tolerance, &what);
        model.train();
    }

    let loss = |model: &Sequential, x: &Array| {
        (model.forward(x).astype(Dtype::Float32) * &cotangent).sum(())
    };
    let by_x = mlx::grad_of(loss, Arg::<1>).call((&model, &x))?;
    close(&by_x, &case["dx"], tolerance, &format!("{what}: dx"));
    let wanted = case["gradients"].as_object().expect("gradients");
    let names: Vec<String> = model.trainable_parameters().into_keys().collect();
    assert_eq!(names.len(), wanted.len(), "{what}: {names:?}");
    if !names.is_empty() {
        let both = value_and_grad_of(loss, (Arg::<0>, Arg::<1>));
        let (_, (by_model, _)) = both.call((&model, &x))?;
        let gradients: BTreeMap<String, Array> = by_model.parameters();
        for (name, wanted) in wanted {
            let gradient = &gradients[&format!("layers.0.{name}")];
            close(gradient, wanted, tolerance, &format!("{what}: {name}"));
        }
    }
    Ok(())
}

#[test]
fn layers_equal_python_in_values_and_gradients() -> mlx::Result<()> {
    let cases: Vec<Value> = serde_json::from_str(GOLDEN).expect("cases");
    assert!(cases.len() > 100);
    cases.iter().try_for_each(check)
}

#[test]
fn wrong_settings_and_inputs_are_told() {
    let text = |y: Array| y.eval().unwrap_err().to_string();
    let x = mlx::ones([1, 4, 6]);
    for (got, wanted) in [
        (
            MaxPool2d::new(2).forward(&x),
            "MaxPool2d: x must have 4 axes, got [1, 4, 6]",
        ),
        (
            MaxPool1d::new(5).forward(&x),
            "MaxPool1d: a window of 5 must fit into axis 1 of size 4",
        ),
        (
            MaxPool1d::new(0).forward(&x),
            "MaxPool1d: kernel_size must be one number or 1, each at least 1, got [0]",
        ),
        (
            AvgPool1d::new([2, 2]).forward(&x),
            "AvgPool1d: kernel_size must be one number or 1",
        ),
        (
            AvgPool1d::new(2).padding(-1).forward(&x),
            "AvgPool1d: padding must be one number or 1, each at least 0",
        ),
        (
            BatchNorm::new(5).forward(&x),
            "BatchNorm: x must be [.., 5], got [1, 4, 6]",
        ),
        (
            BatchNorm::new(6).forward(&mlx::ones([1, 6])),
            "BatchNorm: training needs more than one value",
        ),
        (
            BatchNorm::new(6).forward(&mlx::ones([6])),
            "BatchNorm: x must have 2, 3 or 4 axes, got [6]",
        ),
        (
            GroupNorm::new(4, 6).forward(&x),
            "GroupNorm: num_groups must divide 6 features, got 4",
        ),
        (
            GroupNorm::new(2, 4).forward(&x),
            "GroupNorm: x must be [batch, .., 4], got [1, 4, 6]",
        ),
        (
            InstanceNorm::new(6).forward(&mlx::ones([4, 6])),
            "InstanceNorm: x must be [batch, .., 6] with 3 axes or more",
        ),
    ] {
        let text = text(got);
        assert!(text.contains(wanted), "{text}: {wanted}");
    }
}

#[test]
fn functions_have_the_defaults_of_their_layers() -> mlx::Result<()> {
    let x = Numbers(3).array(&[4, 8], 0.0);
    type Named = (&'static str, fn(&Array) -> Array);
    let functions: [Named; 8] = [
        ("LeakyReLU", mlx_nn::leaky_relu),
        ("ELU", mlx_nn::elu),
        ("CELU", mlx_nn::celu),
        ("GLU", mlx_nn::glu),
        ("Softshrink", mlx_nn::softshrink),
        ("HardShrink", mlx_nn::hard_shrink),
        ("HardTanh", mlx_nn::hard_tanh),
        ("Step", mlx_nn::step),
    ];
    for (name, function) in functions {
        let wanted = layer(name).forward(&x);
        assert!(function(&x).array_equal(&wanted).item::<bool>()?, "{name}");
    }
    Ok(())
}
