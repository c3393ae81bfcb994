//! A saved function runs where there is no MLX.

use mlx::{Array, Dtype, array, keepdims};
use mlx_compiler::jit;
use mlx_interpreter::{SavedFunction, Tensor};

const FILE: &str = "MLX_TEST_SAVED";

fn network(x: &Array, weight: &Array) -> Array {
    let norm = x * (x.square().mean(keepdims(-1)) + 1e-6).rsqrt();
    (norm.matmul(weight) + array!([0.5, -0.5])).softmax(-1)
}

#[test]
fn a_saved_function_runs_without_mlx() {
    let x = [1.0, -2.0, 0.25];
    if let Some(path) = std::env::var_os(FILE) {
        let saved = SavedFunction::open(path).unwrap();
        let input = Tensor::from_f64(&[1, 3], Dtype::Float32, &x).unwrap();
        println!("{:?}", saved.run(&[input]).unwrap()[0].to_f64());
        let loaded = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        assert!(!loaded.contains("libmlx"), "MLX was loaded");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    let weight = (mlx::arange(6).reshape([3, 2]) / 3.0).astype(Dtype::Float32);
    let f = jit(move |x: &Array| network(x, &weight));
    let input = array!([[1.0, -2.0, 0.25]]);
    f.lower(&input).unwrap().save(&path).unwrap();
    let wanted = f.call(&input).unwrap().to_vec::<f32>().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "a_saved_function_runs_without_mlx",
            "--exact",
            "--nocapture",
        ])
        .env(FILE, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let list = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.unwrap();
    let got: Vec<f64> = list
        .split(", ")
        .map(|number| number.parse().unwrap())
        .collect();
    for (wanted, got) in wanted.iter().zip(&got) {
        assert!((f64::from(*wanted) - got).abs() < 1e-5, "{wanted} {got}");
    }
    assert_eq!(wanted.len(), got.len());
}

#[test]
fn an_error_of_a_run_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("double.safetensors");
    let f = jit(|x: &Array| x + x);
    f.lower(&array!([1.0, 2.0])).unwrap().save(&path).unwrap();
    let saved = SavedFunction::open(&path).unwrap();
    let short = Tensor::from_f64(&[1], Dtype::Float32, &[1.0]).unwrap();
    for inputs in [&[][..], &[short]] {
        let error = saved.run(inputs).unwrap_err().to_string();
        assert!(error.contains("double.safetensors"), "{error}");
        assert!(error.contains("wanted"), "{error}");
    }
}
