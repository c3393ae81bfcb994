//! Reports: strict functions, what tests expect, and the forms that a report has besides text.

use mlx::{Array, array, keepdims, ones};
use mlx_compiler::{CompileOptions, Error, Fallback, Fusion, KernelFusion, cond, jit, jit_with};

type Outcome = Result<(), Error>;

fn norm(x: &Array, w: &Array) -> Array {
    x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * w
}

fn norm_and_scale(x: &Array, w: &Array) -> (Array, Array) {
    let scale = (x.square().mean(keepdims(-1)) + 1e-5).rsqrt();
    (x * &scale * w, scale)
}

fn fused() -> CompileOptions {
    CompileOptions {
        fallback: Fallback::Never,
        ..CompileOptions::default()
    }
}

#[test]
fn a_strict_function_that_fuses_and_replays_is_called_as_any_other() -> Outcome {
    let strict = jit_with(norm, fused()).strict();
    let y = strict(&ones([2, 8]), &ones([8]))?;
    assert!((y.to_vec::<f32>()?[0] - 1.0).abs() < 1e-4);
    strict
        .report()
        .unwrap_or_default()
        .expect([("rms_norm", 1)])
}

#[test]
fn a_formula_that_is_refused_is_an_error_of_a_strict_function_with_its_report() {
    let (x, w) = (ones([2, 8]), ones([8]));
    let strict = jit_with(norm_and_scale, fused()).strict();
    let error = strict(&x, &w).unwrap_err();
    let Error::Strict { reasons, report } = &error else {
        panic!("{error}");
    };
    assert!(
        reasons[0].starts_with("wanted rms_norm fused, got it refused"),
        "{error}"
    );
    assert!(report.contains("refused rms_norm at "), "{error}");
    assert!(report.contains("operations "), "{error}");
    // Another call fails too, and nothing is kept of it.
    assert!(strict(&x, &w).is_err());
    assert_eq!(strict.stats().entries, 0);
    // A formula that the options do not name is nobody's.
    let options = CompileOptions {
        fusions: vec![Fusion::Gelu],
        ..fused()
    };
    assert!(
        jit_with(norm_and_scale, options)
            .strict()
            .call((&x, &w))
            .is_ok()
    );
}

#[test]
fn a_formula_that_runs_composed_is_an_error_of_a_strict_function() {
    let options = CompileOptions {
        fallback: Fallback::Always,
        ..CompileOptions::default()
    };
    let strict = jit_with(norm, options).strict();
    let error = strict(&ones([2, 8]), &ones([8])).unwrap_err().to_string();
    assert!(
        error.contains("wanted rms_norm fused, got it composed at "),
        "{error}"
    );
    assert!(error.contains("Fallback::Always"), "{error}");
}

#[test]
fn what_is_not_replayed_is_an_error_of_a_strict_function_and_in_the_report() -> Outcome {
    let branch = |x: &Array| {
        cond(
            &x.sum(()).less(0.0),
            x,
            |x: &Array| x * 2.0,
            |x: &Array| x * 3.0,
        )
    };
    let plain = jit(branch);
    let _ = plain(&ones([4]))?;
    let report = plain.report().unwrap_or_default();
    assert_eq!(report.interpreted.len(), 1);
    assert!(
        report
            .to_string()
            .contains("runs node by node because of cond at "),
        "{report}"
    );
    let error = jit(branch)
        .strict()
        .call(&ones([4]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("runs node by node because of cond at "),
        "{error}"
    );
    let open = CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    };
    // Strictly, there is a form for these sizes at their first call.
    let double = jit_with(|x: &Array| x * 2.0, open).strict();
    let _ = double.call(&ones([4]))?;
    assert_eq!(
        double.report().unwrap_or_default().specialized,
        ["float32[4]"]
    );
    Ok(())
}

#[test]
fn a_function_is_traced_as_often_as_it_may() -> Outcome {
    let twice = jit(|x: &Array| x * 2.0).max_traces(2);
    for n in [1, 2, 1, 2] {
        let _ = twice(&ones([n]))?;
    }
    let error = twice(&ones([3])).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "strict: wanted at most 2 traces, got one more: input 0 is float32[3], was float32[2]"
        ),
        "{error}"
    );
    // The forms that there are stay.
    assert_eq!(twice(&ones([1]))?.to_vec::<f32>()?, [2.0]);
    assert_eq!(twice.stats().misses, 2);
    Ok(())
}

#[test]
fn a_strict_function_that_captures_what_a_transform_works_on_is_an_error() {
    let outer = |x: &Array| -> mlx::Result<Array> {
        let captured = x.clone();
        let inner = jit(move |y: &Array| y * &captured).strict();
        Ok(inner.call(&array!([1.0, 2.0]))?.sum(()))
    };
    let error = mlx::grad(outer)
        .call(&array!([1.0, 2.0]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("strict: wanted a function that is replayed"),
        "{error}"
    );
}

#[test]
fn traces_that_are_not_kept_count_too() {
    let outer = |x: &Array| -> mlx::Result<Array> {
        let captured = x.clone();
        let inner = jit(move |y: &Array| y * &captured).max_traces(1);
        let once = inner.call(&array!([1.0, 2.0]))?;
        let error = inner.call(&array!([1.0, 2.0])).unwrap_err().to_string();
        assert!(
            error.contains("wanted at most 1 trace, got one more"),
            "{error}"
        );
        Ok(once.sum(()))
    };
    let _ = mlx::grad(outer).call(&array!([1.0, 2.0])).unwrap();
}

#[test]
fn what_was_traced_before_an_option_was_set_does_not_count() -> Outcome {
    let f = jit(|x: &Array| x * 2.0);
    let _ = f(&ones([2]))?;
    let f = f.max_traces(1);
    assert_eq!(f(&ones([2]))?.to_vec::<f32>()?, [2.0, 2.0]);
    assert!(f(&ones([3])).is_err());
    Ok(())
}

#[test]
fn a_function_for_all_sizes_is_traced_again_for_another_dtype_only() -> Outcome {
    let open = CompileOptions {
        shapeless: true,
        max_traces: Some(1),
        ..CompileOptions::default()
    };
    let sum = jit_with(|x: &Array, y: &Array| x + y, open);
    let _ = sum(&ones([2]), &ones([2]))?;
    let _ = sum(&ones([3]), &ones([3]))?;
    let error = sum(&ones([4]), &ones([4]).astype(mlx::Dtype::Float16))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("input 1 is float16[4], was float32[2]"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_rematerialized_function_is_an_error_of_a_strict_function_and_in_the_report() {
    let hourglass = |x: &Array, w: &Array| {
        let layers: Vec<Array> = (0..6).map(|k| (x * (k as f32 + 1.0)).tanh()).collect();
        let mut y = x.clone();
        for layer in &layers {
            y = (y + layer).matmul(w);
        }
        for layer in layers.iter().rev() {
            y = (y * layer).matmul(w);
        }
        y
    };
    let options = CompileOptions {
        rematerialize: true,
        kernel_fusion: KernelFusion::Off,
        ..CompileOptions::default()
    };
    let (x, w) = (ones([256, 256]), ones([256, 256]));
    let lowered = jit_with(hourglass, options.clone())
        .lower((&x, &w))
        .unwrap();
    let mut report = lowered.report().clone();
    let done = report.rematerialization.clone().unwrap();
    assert!(done.operations > 0, "{report}");
    assert!(
        report.to_json().contains("\"rematerialization\":{"),
        "{}",
        report.to_json()
    );
    let error = jit_with(hourglass, options).strict().call((&x, &w));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("CompileOptions::rematerialize"), "{error}");
    report.extend(lowered.report());
    let both = report.rematerialization.unwrap();
    assert_eq!(both.operations, 2 * done.operations);
    assert_eq!(both.peak_after, done.peak_after);
}

#[test]
fn options_that_are_set_later_drop_what_was_compiled() -> Outcome {
    let plain = jit_with(norm_and_scale, fused());
    let _ = plain(&ones([2, 8]), &ones([8]))?;
    let strict = plain.strict();
    assert!(strict(&ones([2, 8]), &ones([8])).is_err());
    assert!(strict.options().strict);
    Ok(())
}

#[test]
fn formulas_are_expected_by_name_and_number() -> Outcome {
    let f = jit_with(|x: &Array, w: &Array| norm(&norm(x, w), w), fused());
    let _ = f(&ones([2, 8]), &ones([8]))?;
    let report = f.report().unwrap_or_default();
    report.expect([Fusion::RmsNorm, Fusion::RmsNorm])?;
    report.expect(["rms_norm"])?;
    report.expect([("rms_norm", 2), ("layer_norm", 0)])?;
    report.expect([(Fusion::RmsNorm, 2)])?;
    report.expect(Vec::<Fusion>::new())?;
    for n in [1, 3] {
        let error = report.expect([("rms_norm", n)]).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("expect: wanted rms_norm x {n}, got rms_norm x 2")
        );
    }
    let error = report.expect([("rms_nrom", 2)]).unwrap_err().to_string();
    assert!(
        error.starts_with("expect: wanted one of quantized_linear, "),
        "{error}"
    );
    assert!(error.ends_with("got no formula rms_nrom"), "{error}");
    Ok(())
}

#[test]
fn passes_are_kept_when_they_are_asked_for_and_only_then() -> Outcome {
    let (x, w) = (ones([2, 8]), ones([8]));
    let plain = jit_with(norm, fused());
    let _ = plain(&x, &w)?;
    assert_eq!(plain.report().unwrap_or_default().passes().count(), 0);
    let kept = jit_with(norm, fused()).keep_passes();
    let _ = kept(&x, &w)?;
    let report = kept.report().unwrap_or_default();
    let names: Vec<&str> = report.passes().map(|pass| pass.name).collect();
    assert_eq!(&names[..5], ["trace", "canonicalize", "cse", "dce", "fuse"]);
    assert_eq!(names.last(), Some(&"cpu_programs"));
    let first = report.passes().next().map(|pass| pass.graph.to_string());
    assert_eq!(first, Some(kept.trace((&x, &w))?.to_string()));
    Ok(())
}

#[test]
fn html_folds_and_is_escaped() -> Outcome {
    let f = jit_with(norm_and_scale, fused()).keep_passes();
    let _ = f(&ones([2, 8]), &ones([8]))?;
    let html = f.report().unwrap_or_default().to_html();
    assert_eq!(
        html.matches("<details").count(),
        html.matches("</details>").count()
    );
    assert!(html.contains("after fuse: "), "{html}");
    assert!(html.contains("1 formulas refused"), "{html}");
    assert!(!html.contains("->") && html.contains("-&gt;"), "{html}");
    assert!(!html.contains("<script"), "{html}");
    Ok(())
}

#[test]
fn json_has_what_the_text_has() -> Outcome {
    let f = jit_with(norm_and_scale, fused()).keep_passes();
    let _ = f(&ones([2, 8]), &ones([8]))?;
    let report = f.report().unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(value["version"], 1);
    assert_eq!(value["refused"][0]["fusion"], "rms_norm");
    assert_eq!(value["refused"][0]["kind"], "Output");
    assert!(
        value["refused"][0]["site"]["file"]
            .as_str()
            .unwrap()
            .ends_with("report.rs")
    );
    assert_eq!(value["findings"][0]["kind"], "near_miss");
    assert_eq!(value["findings"][0]["what"], report.lint()[0].what);
    assert_eq!(value["ops_before"]["rsqrt"], 1);
    let last = value["passes"].as_array().unwrap().last().unwrap()["name"].clone();
    assert_eq!(last, "cpu_programs");
    Ok(())
}
