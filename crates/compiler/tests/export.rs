//! Functions in files: read back here and by Python MLX to the same values; damaged files are errors.

#[path = "random_graphs/random.rs"]
#[allow(dead_code)]
mod random;

use std::path::Path;
use std::process::Command;

use mlx::{Array, Dtype, array, fast, keepdims};
use mlx_compiler::{CompileOptions, Compiled, Fallback, Fusion, exporter, import_function, jit};
use random::Random;

/// A block of a transformer with its formulas written out, quantized weights, and a captured array that is transposed.
fn block(x: &Array, weight: &Array, bias: &Array) -> Array {
    let norm = x * (x.square().mean(keepdims(-1)) + 1e-6).rsqrt() * weight;
    let turned = (mlx::arange(64 * 64).reshape([64, 64]) / 4096.0)
        .astype(Dtype::Float32)
        .t();
    let heads = |x: &Array| x.reshape([1, 8, 4, 16]).transpose([0, 2, 1, 3]);
    let q = heads(&norm.matmul(&turned));
    let k = heads(&norm.matmul(weight.reshape([64, 1]) * 0.02 + &turned));
    let scores = (q.matmul(k.transpose([0, 1, 3, 2])) * 0.25).softmax(-1);
    let mixed = scores.matmul(&heads(&norm));
    let mixed = mixed.transpose([0, 2, 1, 3]).reshape([1, 8, 64]);
    let gated = &mixed * mixed.sigmoid();
    let normed = fast::layer_norm(&gated, Some(weight), Some(bias), 1e-5);
    mlx::concatenate(&[normed, x.cumsum(1)], -1)
}

fn inputs() -> [Array; 3] {
    let x = (mlx::arange(8 * 64)
        .reshape([1, 8, 64])
        .astype(Dtype::Float32)
        / 100.0)
        .sin();
    let weight = mlx::arange(64).astype(Dtype::Float32) / 64.0 + 0.5;
    [x, weight.clone(), &weight * 0.1]
}

#[track_caller]
fn assert_close(a: &Array, b: &Array) {
    assert_eq!(a.shape().unwrap(), b.shape().unwrap());
    let difference = (a - b).abs().max(()).item::<f32>().unwrap();
    assert!(difference < 2e-4, "{difference}");
}

#[test]
fn a_traced_and_fused_function_is_read_back_to_the_same_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block.mlxfn");
    let [x, weight, bias] = inputs();
    let f = jit(block);
    let wanted = f.call((&x, &weight, &bias)).unwrap();
    let lowered = f.lower((&x, &weight, &bias)).unwrap();
    lowered.report().expect([Fusion::RmsNorm]).unwrap();
    lowered.export(&path).unwrap();
    let imported = import_function(&path).unwrap();
    let got = imported.call(&[&x, &weight, &bias]).unwrap();
    assert_close(&wanted, &got[0]);
    let error = imported.call(&[&x, &weight]).unwrap_err().to_string();
    assert!(
        error.starts_with("import_function: wanted (float32[1, 8, 64]"),
        "{error}"
    );
    let text = imported.graphs().next().unwrap().to_string();
    assert!(text.contains(" = softmax "), "{text}");
}

#[test]
fn gradients_and_programs_are_written_as_operations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slope.mlxfn");
    let loss = |x: &Array, w: &Array| (fast::rms_norm(x, w, 1e-5).square() * x.tanh()).sum(());
    let slope = jit(move |x: &Array, w: &Array| mlx::grad(loss)(x, w));
    let (x, w) = (
        mlx::arange(64).astype(Dtype::Float32) / 64.0,
        mlx::ones([64]),
    );
    let wanted = slope.call((&x, &w)).unwrap();
    slope.lower((&x, &w)).unwrap().export(&path).unwrap();
    let got = import_function(&path).unwrap().call(&[&x, &w]).unwrap();
    assert_close(&wanted, &got[0]);
}

#[test]
fn what_no_file_can_hold_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loop.mlxfn");
    let f = jit(|x: &Array| {
        mlx_compiler::while_loop(x, |x: &Array| x.sum(()).less(10.0), |x: &Array| x + 1.0)
    });
    let error = f.lower(&array!([1.0])).unwrap().export(&path).unwrap_err();
    assert!(error.to_string().contains("got while_loop"), "{error}");
    let f = jit(|x: &Array| mlx::linalg::svd(x).map(|(u, _, _)| u));
    let lowered = f.lower(&mlx::eye(3)).unwrap();
    let error = match lowered.export(&path) {
        Ok(()) => import_function(&path).unwrap_err(),
        Err(error) => error,
    };
    let error = error.to_string().to_lowercase();
    assert!(error.contains("svd"), "{error}");
}

#[test]
fn keys_of_a_saved_function_are_inputs_of_their_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sum.safetensors");
    let x = array!([1.0, 2.0]);
    let lowered = jit(|x: &Array, y: &Array| x + y).lower((&x, &x)).unwrap();
    lowered.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let at = bytes
        .windows(10)
        .position(|window| window == b"\"keys\":\"0\"")
        .unwrap();
    let mut damaged = bytes;
    damaged[at + 8] = b'1';
    std::fs::write(&path, damaged).unwrap();
    let error = Compiled::open(&path, &CompileOptions::default()).map(|_| ());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("wanted a number of keys, got 1"), "{error}");
}

#[test]
fn a_wrong_type_in_a_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sum.safetensors");
    let x = array!([1.0, 2.0]);
    let captured = array!([0.5, 0.25]);
    let lowered = jit(move |x: &Array| (x + &captured).exp()).lower(&x);
    lowered.unwrap().save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    for (right, wrong) in [
        ("%0: float32[2]", "%0: float16[2]"),
        ("c0: float32[2]", "c0: float32[3]"),
    ] {
        let at = text.find(right).unwrap();
        let mut damaged = bytes.clone();
        damaged[at..at + wrong.len()].copy_from_slice(wrong.as_bytes());
        std::fs::write(&path, damaged).unwrap();
        let error = Compiled::open(&path, &CompileOptions::default()).map(|_| ());
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("sum.safetensors") && error.contains("wanted"),
            "{error}"
        );
    }
}

#[test]
fn a_saved_loop_of_many_steps_is_opened_without_running_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("steps.safetensors");
    let xs = mlx::zeros([200_000]);
    let f = jit(|xs: &Array| -> Result<Array, mlx_compiler::Error> {
        let options = mlx_compiler::ScanOptions::default();
        let body = |sum: &Array, x: &Array| (sum + x, sum * 2.0);
        let (_, sums) = mlx_compiler::scan(&array!(0.0), xs, options, body)?;
        Ok(sums)
    });
    f.lower(&xs).unwrap().save(&path).unwrap();
    let opened = Compiled::open(&path, &CompileOptions::default()).unwrap();
    let types = opened.lowered().optimized().output_types();
    assert_eq!(*types[0].shape, [200_000]);
}

#[test]
fn a_saved_function_is_opened_without_tracing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block.safetensors");
    let [x, weight, bias] = inputs();
    let scale = &weight * 2.0;
    let f =
        jit(move |x: &Array, weight: &Array, bias: &Array| (block(x, weight, bias), x * &scale));
    let (first, second) = f.call((&x, &weight, &bias)).unwrap();
    f.lower((&x, &weight, &bias)).unwrap().save(&path).unwrap();
    let opened = Compiled::open(&path, &CompileOptions::default()).unwrap();
    let got = opened.call_flat(&[&x, &weight, &bias]).unwrap();
    assert_close(&first, &got[0]);
    assert_close(&second, &got[1]);
    assert!(opened.call_flat(&[&x, &weight]).is_err());
    // Formulas are recognized already, and a strict function is as strict as a traced one.
    let report = f.lower((&x, &weight, &bias)).unwrap().report().counts();
    assert!(!report.is_empty());
    assert_eq!(opened.lowered().report().counts(), report);
    let composed = CompileOptions {
        fallback: Fallback::Always,
        strict: true,
        ..CompileOptions::default()
    };
    let error = Compiled::open(&path, &composed).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("fused, got it composed"),
        "{error}"
    );
    assert_eq!(
        opened.lowered().optimized().to_string(),
        f.lower((&x, &weight, &bias))
            .unwrap()
            .optimized()
            .to_string()
    );
}

#[test]
fn loops_and_branches_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loops.safetensors");
    let step = array!([0.5, 0.25]);
    let f = jit(move |x: &Array| -> Result<Array, mlx_compiler::Error> {
        let body = |x: &Array| x + &step;
        let grown = mlx_compiler::while_loop(x, |x: &Array| x.sum(()).less(10.0), body)?;
        let is_large = grown.max(()).greater(6.0);
        mlx_compiler::cond(&is_large, &grown, |x: &Array| x * 2.0, |x: &Array| x - 1.0)
    });
    let x = array!([1.0, 2.0]);
    let wanted = f.call(&x).unwrap();
    f.lower(&x).unwrap().save(&path).unwrap();
    let opened = Compiled::open(&path, &CompileOptions::default()).unwrap();
    assert_close(&wanted, &opened.call_flat(&[&x]).unwrap()[0]);
}

#[test]
fn random_keys_are_taken_from_the_thread_when_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise.safetensors");
    let f = jit(|x: &Array| x + mlx::random::normal([4]));
    let x = mlx::zeros([4]);
    f.lower(&x).unwrap().save(&path).unwrap();
    let opened = Compiled::open(&path, &CompileOptions::default()).unwrap();
    let draw = || opened.call_flat(&[&x]).unwrap()[0].to_vec::<f32>().unwrap();
    assert_ne!(draw(), draw());
}

/// A Python that has MLX: that of `MLX_TEST_PYTHON`, or `python3`.
fn python() -> Option<String> {
    let named = std::env::var("MLX_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let status = Command::new(&named)
        .args(["-c", "import mlx.core"])
        .output();
    let has_mlx = status.is_ok_and(|output| output.status.success());
    has_mlx.then_some(named)
}

fn run_python(python: &str, folder: &Path, program: &str) {
    let output = Command::new(python)
        .current_dir(folder)
        .args(["-c", program])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn python_runs_what_rust_writes_and_rust_what_python_writes() {
    let Some(python) = python() else {
        eprintln!("skipped: neither MLX_TEST_PYTHON nor python3 has MLX");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let [x, weight, bias] = inputs();
    let f = jit(block);
    let wanted = f.call((&x, &weight, &bias)).unwrap();
    f.lower((&x, &weight, &bias))
        .unwrap()
        .export(folder.path().join("block.mlxfn"))
        .unwrap();
    let named = [("x", &x), ("weight", &weight), ("bias", &bias)];
    mlx::io::save_safetensors(folder.path().join("in.safetensors"), named).unwrap();
    run_python(
        &python,
        folder.path(),
        r#"
import mlx.core as mx
import mlx.nn as nn
given = mx.load("in.safetensors")
x, weight, bias = given["x"], given["weight"], given["bias"]
block = mx.import_function("block.mlxfn")
mx.save_safetensors("out.safetensors", {"out": block(x, weight, bias)[0]})

halves = lambda x: (x * 2 + x.sum()) // 3
mx.export_function("shapeless.mlxfn", halves, mx.zeros((3,)), shapeless=True)

mx.random.seed(1)
layer = nn.TransformerEncoderLayer(64, 4)
layer.eval()
packed = nn.QuantizedLinear.from_linear(nn.Linear(64, 32), group_size=32, bits=4)
table = mx.random.normal((10, 64))
mx.eval(layer.parameters(), packed.parameters(), table)
def f(x, weight, bias):
    y = layer(x, None) * weight + bias
    y = mx.fast.rms_norm(y, weight, 1e-5)
    z = packed(y) + mx.logsumexp(y, axis=-1, keepdims=True)
    picked = table[mx.argmax(z, axis=-1) % 10]
    conv = mx.conv1d(x, table.reshape(10, 1, 64), padding=0)
    where = mx.where(picked > 0, picked, mx.exp(picked) - 1)
    return [z, mx.sort(where, axis=-1), mx.pad(conv, [(0, 0), (1, 2), (0, 0)]), mx.cumsum(y, axis=1)[:, ::-1]]
mx.export_function("layer.mlxfn", f, x, weight, bias=bias)
mx.save_safetensors("layer.safetensors", {str(i): v for i, v in enumerate(f(x, weight, bias))})
"#,
    );
    let halves = import_function(folder.path().join("shapeless.mlxfn")).unwrap();
    for n in [1, 3, 5] {
        let got = halves.call(&[&mlx::ones([n])]).unwrap();
        let wanted = vec![((2 + n) as f32 / 3.0).floor(); n as usize];
        assert_eq!(got[0].to_vec::<f32>().unwrap(), wanted);
    }
    let out = mlx::io::load_safetensors(folder.path().join("out.safetensors")).unwrap();
    assert_close(&wanted, &out["out"]);
    let imported = import_function(folder.path().join("layer.mlxfn")).unwrap();
    let got = imported
        .call_with(&[&x, &weight], &[("bias", &bias)])
        .unwrap();
    let wanted = mlx::io::load_safetensors(folder.path().join("layer.safetensors")).unwrap();
    assert_eq!(got.len(), 4);
    for (number, got) in got.iter().enumerate() {
        assert_close(&wanted[&number.to_string()], got);
    }
}

#[test]
fn last_arguments_are_keywords_in_any_order_and_python_calls_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keywords.mlxfn");
    // What each argument does is different, so that no two may be exchanged.
    let f = jit(|x: &Array, scale: &Array, at: &Array| x * scale.square() - at * 10.0);
    let noisy = jit(|x: &Array, scale: &Array| x + mlx::random::normal([2]) * 0.0 + scale * 2.0);
    let [x, scale, at] = [1.0, 3.0, 5.0].map(|value| mlx::full([2], value));
    let lowered = f.lower((&x, &scale, &at)).unwrap();
    exporter(&path)
        .with_keywords(&lowered, &["scale", "at"])
        .with_keywords(&lowered, &["scale", "bias"])
        .with(&lowered)
        .with_keywords(&noisy.lower((&x, &scale)).unwrap(), &["scale"])
        .close()
        .unwrap();
    let imported = import_function(&path).unwrap();
    let keywords = [("scale", &scale), ("at", &at)];
    let reversed = [("at", &at), ("scale", &scale)];
    for named in [keywords, reversed, [("bias", &at), ("scale", &scale)]] {
        let got = imported.call_with(&[&x], &named).unwrap();
        assert_eq!(got[0].to_vec::<f32>().unwrap(), [-41.0; 2]);
    }
    let got = imported.call(&[&x, &scale, &at]).unwrap();
    assert_eq!(got[0].to_vec::<f32>().unwrap(), [-41.0; 2]);
    // The random key comes before the keyword arguments.
    let key = mlx::random::key(1);
    let got = imported
        .call_with(&[&x, &key], &[("scale", &scale)])
        .unwrap();
    assert_eq!(got[0].to_vec::<f32>().unwrap(), [7.0; 2]);
    let error = imported.call_with(&[&x], &[("scale", &scale)]).unwrap_err();
    assert!(
        error.to_string().contains("the last named at, scale"),
        "{error}"
    );
    if let Some(python) = python() {
        run_python(
            &python,
            folder.path(),
            "
import mlx.core as mx
f = mx.import_function('keywords.mlxfn')
x, scale, at = mx.full((2,), 1.0), mx.full((2,), 3.0), mx.full((2,), 5.0)
assert f(x, scale=scale, at=at)[0].tolist() == [-41, -41]
assert f(x, bias=at, scale=scale)[0].tolist() == [-41, -41]
assert f(x, scale, at)[0].tolist() == [-41, -41]
assert f(x, mx.random.key(1), scale=scale)[0].tolist() == [7, 7]
",
        );
    }
    let refused: [&[&str]; 5] = [
        &["at", "at"],
        &[""],
        &["two words"],
        &["zero\0byte"],
        &["a", "b", "c", "d"],
    ];
    for names in refused {
        let wrong = exporter(&path).with_keywords(&lowered, names).close();
        let error = wrong.unwrap_err().to_string();
        assert!(
            error.contains("wanted different names of keyword arguments"),
            "{error}"
        );
    }
    let twice = exporter(&path).with_keywords(&lowered, &["scale", "at"]);
    let twice = twice.with_keywords(&lowered, &["scale", "at"]).close();
    assert!(twice.unwrap_err().to_string().contains("different types"));
}

#[test]
fn one_file_has_a_function_of_several_types_and_python_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("several.mlxfn");
    let weight = mlx::arange(1 << 14).astype(Dtype::Float32).reshape([-1, 1]);
    weight.eval().unwrap();
    let f = jit(move |x: &Array| (x * &weight).sum(0));
    let inputs = [1, 3].map(|n| mlx::ones([1 << 14, n]));
    let [one, three] = inputs.each_ref().map(|x| f.lower(x).unwrap());
    exporter(&path).with(&one).with(&three).close().unwrap();
    assert!(exporter(&path).with(&one).with(&one).close().is_err());
    // The constant is there once.
    let size = std::fs::metadata(&path).unwrap().len();
    assert!((1 << 16..(1 << 16) + 4000).contains(&size), "{size}");
    let imported = import_function(&path).unwrap();
    for x in &inputs {
        assert_close(&f.call(x).unwrap(), &imported.call(&[x]).unwrap()[0]);
    }
    if let Some(python) = python() {
        run_python(
            &python,
            folder.path(),
            "
import mlx.core as mx
f = mx.import_function('several.mlxfn')
assert f(mx.ones((16384, 3)))[0].shape == (3,) and f(mx.ones((16384, 1)))[0].shape == (1,)
",
        );
    }
}

/// Damages a file in one of several ways.
fn damage(random: &mut Random, whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len().max(1));
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = 255,
            3 => {
                let from = random.below(bytes.len());
                let n = random.below(16).min(bytes.len() - at.max(from));
                bytes.copy_within(from..from + n, at);
            }
            _ => {
                bytes.insert(at, random.below(256) as u8);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// Every damaged file is an error, or a function whose calls end in values or errors: nothing crashes.
fn fuzz(path: &Path, n: u64, call: &dyn Fn(&Path) -> bool) {
    let whole = std::fs::read(path).unwrap();
    // Not where the elements of constants are, which is most of it.
    let head = whole.len().min(6000);
    let mut opened = 0;
    for seed in 0..n {
        let mut random = Random::new(seed);
        let mut bytes = damage(&mut random, &whole[..head]);
        bytes.extend(&whole[head..]);
        let damaged = path.with_extension("damaged");
        std::fs::write(&damaged, bytes).unwrap();
        opened += usize::from(call(&damaged));
    }
    println!("{opened} of {n} damaged files were opened");
    assert!(opened < n as usize);
}

#[test]
fn damaged_files_of_mlx_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block.mlxfn");
    let [x, weight, bias] = inputs();
    jit(block)
        .lower((&x, &weight, &bias))
        .unwrap()
        .export(&path)
        .unwrap();
    fuzz(&path, 1000, &|path| match import_function(path) {
        Ok(function) => {
            if let Ok(outputs) = function.call(&[&x, &weight, &bias]) {
                let _ = mlx::eval(&outputs);
            }
            true
        }
        Err(_) => false,
    });
}

#[test]
fn damaged_saved_functions_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block.safetensors");
    let [x, weight, bias] = inputs();
    jit(block)
        .lower((&x, &weight, &bias))
        .unwrap()
        .save(&path)
        .unwrap();
    fuzz(
        &path,
        1000,
        &|path| match Compiled::open(path, &CompileOptions::default()) {
            Ok(function) => {
                if let Ok(outputs) = function.call_flat(&[&x, &weight, &bias]) {
                    let _ = mlx::eval(&outputs);
                }
                true
            }
            Err(_) => false,
        },
    );
}
