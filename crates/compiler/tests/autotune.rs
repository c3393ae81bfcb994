//! Autotuning: each form of a site can be chosen by the cache, gives the same values and gradients, and is in the report. No
//! test depends on which form is the faster one.

use std::path::{Path, PathBuf};

use mlx::transforms::grad;
use mlx::{Array, Dtype, array, keepdims, memory, ones, random};
use mlx_compiler::{
    Autotune, Choice, CompileOptions, Fallback, RefusalKind, Report, TimingSource, autotune_cache,
    jit, jit_with, trace,
};
use mlx_testdata::needs;
use rstest::rstest;

type Function = fn(&Array, &Array) -> mlx::Result<Array>;

fn rms_norm(x: &Array, w: &Array) -> mlx::Result<Array> {
    Ok(x * (x.square().mean(keepdims(-1)) + 1e-6).rsqrt() * w)
}

fn layer_norm(x: &Array, w: &Array) -> mlx::Result<Array> {
    let centered = x - x.mean(keepdims(-1));
    Ok(&centered * (centered.square().mean(keepdims(-1)) + 1e-5).rsqrt() * w + w)
}

fn silu(x: &Array, _: &Array) -> mlx::Result<Array> {
    Ok(x * x.sigmoid())
}

fn softmax(x: &Array, _: &Array) -> mlx::Result<Array> {
    let e = (x - x.max(keepdims(-1))).exp();
    Ok(&e / e.sum(keepdims(-1)))
}

fn attention(x: &Array, w: &Array) -> mlx::Result<Array> {
    let (q, v) = (x * w, x + w);
    let scores = q.matmul(&x.swapaxes(-1, -2)) * 0.125;
    Ok(scores.softmax(-1).matmul(&v))
}

/// A kernel of elementwise operations.
fn elementwise(x: &Array, w: &Array) -> mlx::Result<Array> {
    Ok((((x * w).tanh() + x).square() + 1.0).sqrt())
}

/// A norm and what is around it, which become a program.
fn program(x: &Array, w: &Array) -> mlx::Result<Array> {
    Ok(rms_norm(&(x + 1.0), w)?.exp() * w)
}

fn arrays(dtype: Dtype) -> (Array, Array) {
    random::seed(7);
    let normal = |shape: &[i32]| random::normal(shape).astype(dtype);
    (normal(&[2, 64, 64]), normal(&[64]))
}

/// Measures a function into a file; what is chosen does not matter.
fn measured(function: Function, arguments: (&Array, &Array), path: &Path) -> Report {
    let f = jit(function)
        .autotune(Autotune::Measure)
        .autotune_cache(path);
    f.call(arguments).unwrap().eval().unwrap();
    f.report().unwrap()
}

/// Writes a file in which the form of this number is chosen at each site.
fn force(path: &Path, form: usize) -> PathBuf {
    let text = std::fs::read_to_string(path).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    for entry in file["entries"].as_array_mut().unwrap() {
        entry["chosen"] = entry["forms"][form]["form"].clone();
    }
    let forced = path.with_file_name(format!("form{form}.json"));
    std::fs::write(&forced, file.to_string()).unwrap();
    forced
}

/// Wants results within the rounding of a few operations.
#[track_caller]
fn assert_close(got: &Array, wanted: &Array, dtype: Dtype) {
    let tolerance = match dtype {
        Dtype::Float32 => 2e-5,
        Dtype::Float16 => 1e-2,
        _ => 8e-2,
    };
    let (got, wanted) = (got.astype(Dtype::Float32), wanted.astype(Dtype::Float32));
    let scale = wanted.abs().max(()).item::<f32>().unwrap().max(1.0);
    let error = (got - wanted).abs().max(()).item::<f32>().unwrap();
    assert!(error <= tolerance * scale, "{error} of {scale}");
}

#[rstest]
fn each_form_gives_the_same_values_and_gradients(
    #[values(rms_norm, layer_norm, silu, softmax, attention, elementwise, program)]
    function: Function,
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
) {
    let (x, w) = arrays(dtype);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    let report = measured(function, (&x, &w), &file);
    let wanted = function(&x, &w).unwrap();
    let loss = |x: &Array, w: &Array| function(x, w).map(|y| y.astype(Dtype::Float32).sum(()));
    let wanted_gradient = grad(loss)(&x, &w).unwrap();
    for form in [0, 1] {
        let forced = force(&file, form);
        let options = CompileOptions {
            autotune: Autotune::Cached,
            autotune_cache: Some(forced),
            verify: true,
            ..CompileOptions::default()
        };
        let f = jit_with(function, options);
        assert_close(&f(&x, &w).unwrap(), &wanted, dtype);
        let tuned = f.report().unwrap().autotuned;
        for site in &tuned {
            match &site.source {
                TimingSource::Cache => {
                    assert_eq!(site.chosen, site.forms[form].form);
                    assert!(report.autotuned.iter().any(|known| known.key == site.key));
                }
                // Another choice before it can make a site that was not measured.
                source => assert_eq!(
                    *source,
                    TimingSource::Untimed("not in the cache".to_owned())
                ),
            }
        }
        assert_eq!(tuned.is_empty(), report.autotuned.is_empty());
        let loss = |x: &Array, w: &Array| f(x, w).map(|y| y.astype(Dtype::Float32).sum(()));
        assert_close(&grad(loss)(&x, &w).unwrap(), &wanted_gradient, dtype);
    }
}

#[test]
fn the_form_in_the_cache_runs_and_the_report_says_so() {
    let (x, w) = arrays(Dtype::Float32);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    let report = measured(rms_norm, (&x, &w), &file);
    let site = &report.autotuned[0];
    assert_eq!(
        (site.what.as_str(), site.default.as_str()),
        ("rms_norm", "kernel")
    );
    assert_eq!(site.source, TimingSource::Measured);
    assert!(
        site.site.to_string().contains("autotune.rs"),
        "{}",
        site.site
    );
    let with = |form| {
        let options = CompileOptions {
            autotune: Autotune::Cached,
            autotune_cache: Some(force(&file, form)),
            strict: true,
            ..CompileOptions::default()
        };
        trace(rms_norm, (&x, &w)).unwrap().lower(&options).unwrap()
    };
    let (kernel, composed) = (with(0), with(1));
    assert!(kernel.graph().to_string().contains("fast.rms_norm"));
    assert!(!composed.graph().to_string().contains("fast.rms_norm"));
    let Choice::Body(refusal) = &composed.report().fired[0].choice else {
        panic!("{}", composed.report());
    };
    assert_eq!(refusal.kind, RefusalKind::Autotuned);
    // Strict functions take it: nothing was missed.
    composed.compile().unwrap();

    let text = kernel.report().to_string();
    assert!(
        text.contains("tuned   rms_norm at ") && text.contains("; cache)"),
        "{text}"
    );
    assert!(kernel.report().to_html().contains("parts timed"));
    let json: serde_json::Value = serde_json::from_str(&kernel.report().to_json()).unwrap();
    assert_eq!(json["autotuned"][0]["chosen"], "kernel");
    assert_eq!(json["autotuned"][0]["source"], "cache");
    assert!(
        json["autotuned"][0]["forms"][1]["median_us"]
            .as_f64()
            .unwrap()
            > 0.0
    );
}

#[test]
fn nothing_is_timed_unless_it_is_asked_for() {
    let (x, w) = arrays(Dtype::Float32);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    for choice in [Autotune::Off, Autotune::Cached] {
        let f = jit(rms_norm).autotune(choice).autotune_cache(&file);
        f(&x, &w).unwrap().eval().unwrap();
        let tuned = f.report().unwrap().autotuned;
        assert!(tuned.iter().all(|site| site.forms.is_empty()));
        assert_eq!(tuned.is_empty(), choice == Autotune::Off);
        assert!(!file.exists());
    }
    let f = jit(rms_norm);
    f(&x, &w).unwrap().eval().unwrap();
    assert_eq!(f.report().unwrap().autotuned, []);
}

#[test]
fn sizes_of_a_bucket_are_measured_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    let f = jit(silu).autotune(Autotune::Measure).autotune_cache(&file);
    let source = |n: i32| {
        let x = ones([n, 8]);
        f(&x, &x).unwrap().eval().unwrap();
        f.report().unwrap().autotuned[0].source.clone()
    };
    assert_eq!(source(300), TimingSource::Measured);
    assert_eq!(source(500), TimingSource::Cache);
    assert_eq!(source(600), TimingSource::Measured);
    assert_eq!(source(7), TimingSource::Measured);
    assert_eq!(source(8), TimingSource::Measured);
    let cache = autotune_cache(Some(&file)).unwrap();
    assert_eq!(cache.usable, cache.entries);
    assert!(cache.entries >= 4, "{cache:?}");
}

#[test]
fn equal_sites_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let layers = |x: &Array| -> mlx::Result<Array> {
        let mut x = x.clone();
        for _ in 0..3 {
            x = silu(&x, &x)?.matmul(&x);
        }
        Ok(x)
    };
    let f = jit(layers)
        .autotune(Autotune::Measure)
        .autotune_cache(folder.path().join("a.json"));
    f(&ones([32, 32])).unwrap().eval().unwrap();
    let report = f.report().unwrap();
    let silus: Vec<_> = report
        .autotuned
        .iter()
        .filter(|site| site.what == "silu")
        .collect();
    assert_eq!(silus.len(), 1, "{report}");
    assert_eq!(silus[0].count, 3);
    assert!(silus[0].to_string().ends_with("(x 3)"));
}

#[test]
fn a_damaged_cache_is_a_warning_and_stays() {
    let (x, w) = arrays(Dtype::Float32);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    std::fs::write(&file, "{\"format\": \"mlx-autotune\", \"vers").unwrap();
    let report = measured(rms_norm, (&x, &w), &file);
    let warnings = report.autotune_warnings.join("\n");
    assert!(warnings.contains("is not used: EOF"), "{warnings}");
    assert!(warnings.contains("is not written: EOF"), "{warnings}");
    assert_eq!(report.autotuned[0].source, TimingSource::Measured);
    assert!(autotune_cache(Some(&file)).is_err());
    // What was measured is known in this process.
    let again = measured(rms_norm, (&x, &w), &file);
    assert_eq!(again.autotuned[0].source, TimingSource::Cache);
}

#[test]
fn entries_of_other_machines_are_kept_and_not_used() {
    let (x, w) = arrays(Dtype::Float32);
    let folder = tempfile::tempdir().unwrap();
    let (first, file) = (folder.path().join("a.json"), folder.path().join("b.json"));
    measured(rms_norm, (&x, &w), &first);
    let text = std::fs::read_to_string(&first).unwrap();
    let mut foreign: serde_json::Value = serde_json::from_str(&text).unwrap();
    for entry in foreign["entries"].as_array_mut().unwrap() {
        entry["device"] = "cpu of another kind".into();
    }
    std::fs::write(&file, foreign.to_string()).unwrap();
    let report = measured(rms_norm, (&x, &w), &file);
    assert_eq!(report.autotuned[0].source, TimingSource::Measured);
    let cache = autotune_cache(Some(&file)).unwrap();
    assert_eq!(cache.entries, 2 * cache.usable);
}

#[test]
fn measuring_leaves_random_numbers_and_memory_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let noisy = |x: &Array| -> mlx::Result<Array> { silu(&(x + random::normal([64, 64])), x) };
    let x = ones([64, 64]);
    random::seed(3);
    let wanted = jit(noisy)(&x).unwrap();
    let wanted_next = random::normal([4]);
    mlx::eval([&wanted, &wanted_next]).unwrap();
    let before = memory::usage().unwrap().active;
    for number in 0..3 {
        let f = jit(noisy)
            .autotune(Autotune::Measure)
            .autotune_cache(folder.path().join(format!("{number}.json")));
        random::seed(3);
        assert_eq!(
            f(&x).unwrap().to_vec::<f32>().unwrap(),
            wanted.to_vec::<f32>().unwrap()
        );
        assert_eq!(
            random::normal([4]).to_vec::<f32>().unwrap(),
            wanted_next.to_vec::<f32>().unwrap()
        );
    }
    let after = memory::usage().unwrap().active;
    // Other tests of this process hold arrays of their own, of less than this.
    assert!(after < before + (64 << 20), "{before} -> {after}");
}

#[test]
fn inside_of_another_trace_the_outer_function_is_tuned() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    let inner = jit(silu).autotune(Autotune::Measure).autotune_cache(&file);
    let outer = jit(|x: &Array| inner(x, x).map(|y| y + 1.0));
    outer(&ones([64, 64])).unwrap().eval().unwrap();
    assert!(inner.report().is_none());
    assert_eq!(outer.report().unwrap().autotuned, []);
    // A trace of another function's does not record what is measured.
    let square = ones([64, 64]);
    let traced = trace(
        |x: &Array| -> mlx::Result<Array> {
            let known = jit(silu).autotune(Autotune::Measure).autotune_cache(&file);
            let lowered = known.lower((&square, &square));
            assert!(lowered.is_ok());
            Ok(x + 1.0)
        },
        &ones([2]),
    );
    assert_eq!(traced.unwrap().graph().op_count(), 1);
}

#[test]
fn functions_that_a_transform_works_on_are_not_timed() {
    let folder = tempfile::tempdir().unwrap();
    let step = jit(grad(|x: &Array| silu(x, x).map(|y| y.sum(()))))
        .autotune(Autotune::Measure)
        .autotune_cache(folder.path().join("autotune.json"));
    step(&ones([64, 64])).unwrap().eval().unwrap();
    let report = step.report().unwrap();
    assert!(
        report.autotuned.iter().all(|site| site.what != "silu"),
        "{report}"
    );
    let warnings = report.autotune_warnings.join("\n");
    assert!(
        warnings.contains("nothing is timed in a function that "),
        "{warnings}"
    );
}

#[test]
fn threads_compile_at_once_into_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    std::thread::scope(|scope| {
        for n in 1..5 {
            let file = &file;
            scope.spawn(move || {
                let x = ones([n, 64]);
                let report = measured(silu, (&x, &x), file);
                assert_eq!(report.autotune_warnings, Vec::<String>::new());
            });
        }
    });
    assert!(autotune_cache(Some(&file)).unwrap().entries >= 4);
}

#[test]
fn options_that_choose_forms_are_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    for (fallback, shapeless) in [
        (Fallback::Never, false),
        (Fallback::Always, false),
        (Fallback::Auto, true),
    ] {
        let options = CompileOptions {
            autotune: Autotune::Measure,
            autotune_cache: Some(file.clone()),
            fallback,
            shapeless,
            ..CompileOptions::default()
        };
        let f = jit_with(silu, options);
        let x = array!([1.0, 2.0]);
        // A shapeless function is compiled for sizes that come again.
        for _ in 0..3 {
            f(&x, &x).unwrap().eval().unwrap();
        }
        let tuned = f.report().unwrap().autotuned;
        assert!(tuned.iter().all(|site| site.what != "silu"), "{tuned:?}");
    }
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(!text.contains("silu"), "{text}");
}

#[test]
fn what_must_save_memory_is_not_timed() {
    let options = CompileOptions {
        autotune: Autotune::Measure,
        memory_limit: Some(1 << 30),
        ..CompileOptions::default()
    };
    let f = jit_with(silu, options);
    let x = ones([2, 2]);
    f(&x, &x).unwrap().eval().unwrap();
    let report = f.report().unwrap();
    assert_eq!(report.autotuned, []);
    assert!(
        report
            .to_string()
            .contains("tuning  nothing is timed with a memory_limit")
    );
}

#[test]
fn a_program_that_writes_into_a_cache_is_timed_and_right() {
    needs!(CpuKernels);
    let step = |x: &Array, cache: &Array, at: &Array| -> mlx::Result<(Array, Array)> {
        let row = rms_norm(x, &ones([64]))?;
        let cache = cache.slice_update(&row, at, 0);
        Ok(((row + 1.0).exp(), cache))
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    let (x, cache, at) = (ones([1, 64]), mlx::zeros([16, 64]), array!([5]));
    let tuned = jit(step).autotune(Autotune::Measure).autotune_cache(&file);
    let (y, filled) = tuned(&x, &cache, &at).unwrap();
    let (wanted, wanted_cache) = step(&x, &cache, &at).unwrap();
    assert_close(&y, &wanted, Dtype::Float32);
    assert_close(&filled, &wanted_cache, Dtype::Float32);
    let report = tuned.report().unwrap();
    assert!(
        report.autotuned.iter().any(|site| site.what == "program"),
        "{report}"
    );
    for form in [0, 1] {
        let f = jit(step)
            .autotune(Autotune::Cached)
            .autotune_cache(force(&file, form));
        let (y, filled) = f(&x, &cache, &at).unwrap();
        assert_close(&y, &wanted, Dtype::Float32);
        assert_close(&filled, &wanted_cache, Dtype::Float32);
    }
}
