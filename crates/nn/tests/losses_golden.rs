//! Losses against Python MLX: values and gradients by all floating arguments, of several shapes and options, `float32`
//! and `bfloat16`. The cases are made by `golden/make_losses.py`.

use mlx::{Array, Dtype, keepdims, where_};
use mlx_nn::losses::{
    self, BinaryCrossEntropyOptions, CosineSimilarityLossOptions, CrossEntropyOptions,
    GaussianNllLossOptions, HuberLossOptions, LogProbabilityOptions, MarginRankingLossOptions,
    Reduction, SmoothL1LossOptions, TripletLossOptions,
};
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/losses.json");

/// Whole numbers over 64, as the script makes them.
struct Numbers(i64);

impl Numbers {
    fn array(&mut self, shape: &[i32]) -> Array {
        let size = usize::try_from(shape.iter().product::<i32>()).expect("a size");
        let mut next = || {
            self.0 = (self.0 * 1_103_515_245 + 12345) % (1 << 31);
            #[allow(clippy::cast_precision_loss)]
            let value = ((self.0 >> 16) % 257 - 128) as f32 / 64.0;
            value
        };
        let values: Vec<f32> = (0..size).map(|_| next()).collect();
        Array::from_slice(&values, shape).expect("an array")
    }
}

/// The arrays of a case.
fn made(kind: &str, x: &Array) -> Array {
    let is_low = x.less(0.0);
    match kind {
        "plain" => x.clone(),
        "positive" => x.abs() + 0.25,
        "sign" => where_(&is_low, -1, 1),
        "binary" => where_(&is_low, 0, 1),
        "class" => (x.abs() * 2).astype(Dtype::Int32) % 4,
        "chance" => x.softmax(-1),
        "log" => x - x.logsumexp(keepdims(-1)),
        other => panic!("no kind {other}"),
    }
}

/// The options of a case: `None` where Python's default is meant.
struct Options<'a>(&'a Value);

impl Options<'_> {
    fn f64(&self, name: &str, default: f64) -> f64 {
        self.0[name].as_f64().unwrap_or(default)
    }
    fn i32(&self, name: &str, default: i32) -> i32 {
        let value = self.0[name].as_i64().map(i32::try_from);
        value.map_or(default, |value| value.expect("a small number"))
    }
    fn flag(&self, name: &str, default: bool) -> bool {
        self.0[name].as_bool().unwrap_or(default)
    }
    fn reduction(&self, default: Reduction) -> Reduction {
        match self.0["reduction"].as_str() {
            Some("mean") => Reduction::Mean,
            Some("sum") => Reduction::Sum,
            Some(_) => Reduction::None,
            None => default,
        }
    }
}

fn short(name: &str, a: &[Array]) -> Array {
    match name {
        "cross_entropy" => losses::cross_entropy(&a[0], &a[1]),
        "binary_cross_entropy" => losses::binary_cross_entropy(&a[0], &a[1]),
        "l1_loss" => losses::l1_loss(&a[0], &a[1]),
        "mse_loss" => losses::mse_loss(&a[0], &a[1]),
        "nll_loss" => losses::nll_loss(&a[0], &a[1]),
        "gaussian_nll_loss" => losses::gaussian_nll_loss(&a[0], &a[1], &a[2]),
        "kl_div_loss" => losses::kl_div_loss(&a[0], &a[1]),
        "smooth_l1_loss" => losses::smooth_l1_loss(&a[0], &a[1]),
        "triplet_loss" => losses::triplet_loss(&a[0], &a[1], &a[2]),
        "hinge_loss" => losses::hinge_loss(&a[0], &a[1]),
        "huber_loss" => losses::huber_loss(&a[0], &a[1]),
        "log_cosh_loss" => losses::log_cosh_loss(&a[0], &a[1]),
        "cosine_similarity_loss" => losses::cosine_similarity_loss(&a[0], &a[1]),
        "margin_ranking_loss" => losses::margin_ranking_loss(&a[0], &a[1], &a[2]),
        other => panic!("no loss {other}"),
    }
}

fn of_classes(name: &str, a: &[Array], options: &Options) -> Option<Array> {
    let log = LogProbabilityOptions {
        axis: options.i32("axis", -1),
        reduction: options.reduction(Reduction::None),
    };
    #[allow(clippy::cast_possible_truncation)]
    let cross = CrossEntropyOptions {
        weights: None,
        axis: log.axis,
        label_smoothing: options.f64("label_smoothing", 0.0) as f32,
        reduction: log.reduction,
    };
    let binary = BinaryCrossEntropyOptions {
        weights: None,
        with_logits: options.flag("with_logits", true),
        reduction: options.reduction(Reduction::Mean),
    };
    Some(match name {
        "cross_entropy" => losses::cross_entropy_with(&a[0], &a[1], cross),
        "binary_cross_entropy" => losses::binary_cross_entropy_with(&a[0], &a[1], binary),
        "nll_loss" => losses::nll_loss_with(&a[0], &a[1], log),
        "kl_div_loss" => losses::kl_div_loss_with(&a[0], &a[1], log),
        _ => return None,
    })
}

fn of_numbers(name: &str, a: &[Array], options: &Options) -> Option<Array> {
    let (mean, none) = (
        options.reduction(Reduction::Mean),
        options.reduction(Reduction::None),
    );
    let smooth = SmoothL1LossOptions {
        beta: options.f64("beta", 1.0),
        reduction: mean,
    };
    let huber = HuberLossOptions {
        delta: options.f64("delta", 1.0),
        reduction: none,
    };
    let gaussian = GaussianNllLossOptions {
        full: options.flag("full", false),
        eps: options.f64("eps", 1e-6),
        reduction: mean,
    };
    Some(match name {
        "l1_loss" => losses::l1_loss_with(&a[0], &a[1], mean),
        "mse_loss" => losses::mse_loss_with(&a[0], &a[1], mean),
        "smooth_l1_loss" => losses::smooth_l1_loss_with(&a[0], &a[1], smooth),
        "huber_loss" => losses::huber_loss_with(&a[0], &a[1], huber),
        "log_cosh_loss" => losses::log_cosh_loss_with(&a[0], &a[1], none),
        "gaussian_nll_loss" => losses::gaussian_nll_loss_with(&a[0], &a[1], &a[2], gaussian),
        _ => return None,
    })
}

fn of_comparisons(name: &str, a: &[Array], options: &Options) -> Array {
    let reduction = options.reduction(Reduction::None);
    let margin = MarginRankingLossOptions {
        margin: options.f64("margin", 0.0),
        reduction,
    };
    let cosine = CosineSimilarityLossOptions {
        axis: options.i32("axis", 1),
        eps: options.f64("eps", 1e-8),
        reduction,
    };
    let triplet = TripletLossOptions {
        axis: options.i32("axis", -1),
        p: options.i32("p", 2),
        margin: options.f64("margin", 1.0),
        eps: options.f64("eps", 1e-6),
        reduction,
    };
    match name {
        "hinge_loss" => losses::hinge_loss_with(&a[0], &a[1], reduction),
        "margin_ranking_loss" => losses::margin_ranking_loss_with(&a[0], &a[1], &a[2], margin),
        "cosine_similarity_loss" => losses::cosine_similarity_loss_with(&a[0], &a[1], cosine),
        "triplet_loss" => losses::triplet_loss_with(&a[0], &a[1], &a[2], triplet),
        other => panic!("no loss {other}"),
    }
}

fn loss(name: &str, arrays: &[Array], options: &Value) -> Array {
    let is_short = options.as_object().is_none_or(serde_json::Map::is_empty);
    if is_short {
        return short(name, arrays);
    }
    let options = Options(options);
    of_classes(name, arrays, &options)
        .or_else(|| of_numbers(name, arrays, &options))
        .unwrap_or_else(|| of_comparisons(name, arrays, &options))
}

fn sizes(value: &Value) -> Vec<i32> {
    let sizes = value.as_array().expect("a shape").iter();
    let sizes = sizes.map(|size| size.as_i64().and_then(|size| size.try_into().ok()));
    sizes.map(|size| size.expect("a size")).collect()
}

#[track_caller]
fn close(got: &Array, wanted: &Value, tolerance: f64, what: &str) -> mlx::Result<()> {
    let got = got.astype(Dtype::Float32).to_vec::<f32>()?;
    let wanted: Vec<f64> = wanted
        .as_array()
        .expect(what)
        .iter()
        .map(|value| value.as_f64().expect(what))
        .collect();
    assert_eq!(got.len(), wanted.len(), "{what}");
    let most = wanted
        .iter()
        .fold(0.1, |most: f64, one| most.max(one.abs()));
    for (index, (got, wanted)) in got.into_iter().zip(wanted).enumerate() {
        let off = (f64::from(got) - wanted).abs();
        assert!(
            off <= tolerance * most,
            "{what} [{index}]: {got} is not {wanted}"
        );
    }
    Ok(())
}

fn check(case: &Value) -> mlx::Result<()> {
    let name = case["name"].as_str().expect("a name");
    let (dtype, tolerance) = match case["dtype"].as_str() {
        Some("float32") => (Dtype::Float32, 2e-6),
        // Formulas round after each of their steps, by 2^-9.
        _ => (Dtype::Bfloat16, 1e-2),
    };
    let what = format!("{name} {} {dtype}", case["options"]);
    let mut numbers = Numbers(11);
    let kinds = case["kinds"].as_array().expect("kinds").iter();
    let shapes = case["shapes"].as_array().expect("shapes").iter();
    let mut arrays = Vec::new();
    for (kind, shape) in kinds.zip(shapes) {
        let array = made(
            kind.as_str().expect("a kind"),
            &numbers.array(&sizes(shape)),
        );
        let is_floating = array.dtype()?.is_floating();
        arrays.push(if is_floating {
            array.astype(dtype)
        } else {
            array
        });
    }
    let value = loss(name, &arrays, &case["options"]);
    assert_eq!(value.shape()?, sizes(&case["value_shape"]), "{what}");
    assert_eq!(value.dtype()?, dtype, "{what}");
    close(&value, &case["value"], tolerance, &what)?;

    let cotangent = Numbers(5).array(&value.shape()?);
    let is_floating = |array: &Array| array.dtype().is_ok_and(Dtype::is_floating);
    let floats: Vec<Array> = arrays.iter().filter(|a| is_floating(a)).cloned().collect();
    let of_floats = |floats: &Vec<Array>| {
        let mut floats = floats.iter();
        let pick = |array: &Array| match is_floating(array) {
            true => floats.next().expect("as many").clone(),
            false => array.clone(),
        };
        let arrays: Vec<Array> = arrays.iter().map(pick).collect();
        let value = loss(name, &arrays, &case["options"]);
        (value.astype(Dtype::Float32) * &cotangent).sum(())
    };
    let gradients = mlx::grad(of_floats).call(&floats)?;
    let wanted = case["gradients"].as_array().expect("gradients");
    assert_eq!(gradients.len(), wanted.len(), "{what}");
    for (index, (gradient, wanted)) in gradients.iter().zip(wanted).enumerate() {
        close(
            gradient,
            wanted,
            tolerance,
            &format!("{what}: gradient {index}"),
        )?;
    }
    Ok(())
}

#[test]
fn losses_equal_python_in_values_and_gradients() -> mlx::Result<()> {
    let cases: Vec<Value> = serde_json::from_str(GOLDEN).expect("cases");
    assert!(cases.len() > 60);
    cases.iter().try_for_each(check)
}

#[test]
fn losses_tell_what_does_not_fit() {
    let (x, y) = (mlx::array!([[1.0, 2.0]]), mlx::array!([1.0, 2.0]));
    let text = |loss: Array| loss.eval().expect_err("an error").to_string();
    let wrong_power = TripletLossOptions {
        p: 0,
        ..TripletLossOptions::default()
    };
    for (got, wanted) in [
        (
            losses::gaussian_nll_loss(&x, &x, &y),
            "gaussian_nll_loss: all must have one shape, got [1, 2] and [1, 2] and [2]",
        ),
        (
            losses::margin_ranking_loss(&x, &y, &x),
            "margin_ranking_loss: all must have one shape",
        ),
        (
            losses::cosine_similarity_loss(&y, &y),
            "cosine_similarity_loss",
        ),
        (
            losses::triplet_loss_with(&x, &x, &x, wrong_power),
            "triplet_loss: p must be at least 1, got 0",
        ),
    ] {
        let text = text(got);
        assert!(text.contains(wanted), "{text}: {wanted}");
    }
}

#[test]
fn weights_are_of_single_losses() -> mlx::Result<()> {
    let logits = mlx::array!([[2.0, -1.0], [-1.0, 2.0]]);
    let targets = mlx::array!([0, 0]);
    let weighted = CrossEntropyOptions {
        weights: Some(mlx::array!([0.5, 2.0])),
        ..CrossEntropyOptions::default()
    };
    let plain = losses::cross_entropy(&logits, &targets).to_vec::<f32>()?;
    let loss = losses::cross_entropy_with(&logits, &targets, weighted).to_vec::<f32>()?;
    assert_eq!(loss, [plain[0] * 0.5, plain[1] * 2.0]);
    Ok(())
}
