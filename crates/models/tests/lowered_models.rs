//! Of models before they run: the peak of memory as it is told, and their functions in files.
//!
//! What needs Whisper tiny.en says so and passes where it cannot be had, unless `MLX_REQUIRE_ASSETS` is set.

#[path = "../../mlx/tests/support/gguf_file.rs"]
mod gguf_file;
#[path = "support/llama_reference.rs"]
mod reference;

use std::process::Command;

use mlx::{Array, Device, Dtype};
use mlx_compiler::{CompileOptions, Compiled, Lowered, import_function, jit};
use mlx_models::llama::{self, LayerKvCache, NetworkOptions};
use mlx_models::whisper;
use mlx_nn::Module;
use mlx_testdata::{assets, if_available};

/// The name of a test of this file in this program, which may hold other files too.
fn in_this_file(name: &str) -> String {
    let file = module_path!().split_once("::");
    file.map_or(name.to_owned(), |(_, file)| format!("{file}::{name}"))
}

/// Runs this test alone in a process of its own: other tests allocate too.
fn alone(name: &str, work: impl FnOnce()) {
    const INNER: &str = "MLX_TEST_ALONE";
    if std::env::var_os(INNER).is_some_and(|inner| inner == name) {
        return work();
    }
    if !matches!(Device::current(), Ok(Device::Cpu)) {
        eprintln!("skipped: the peak is told for the CPU");
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            &in_this_file(name),
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(INNER, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    println!("{text}");
}

/// Compares the peak that was told with the one that is measured.
fn assert_peak<T: mlx::Tree>(what: &str, lowered: Lowered<T>, inputs: &[&Array]) {
    mlx::eval(inputs.iter().copied()).unwrap();
    let memory = lowered.report().memory().unwrap();
    let compiled = lowered.compile().unwrap();
    let call = || {
        let outputs = compiled.call_flat(inputs).unwrap();
        mlx::eval(&outputs).unwrap();
        outputs
    };
    drop(call());
    mlx::memory::clear_cache().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2));
    let before = mlx::memory::get_active_memory();
    mlx::memory::reset_peak().unwrap();
    let _outputs = call();
    let added = mlx::memory::get_peak_memory() - before;
    let (told, held) = (memory.peak_bytes, memory.held_bytes);
    println!(
        "{what}: told {told}, measured {}, of which {held} are held\n{memory}",
        held + added
    );
    let error = (told as f64 - (held + added) as f64).abs();
    assert!(error <= 0.05 * (held + added) as f64);
    // And of what is not there before.
    let own = (told - held) as f64;
    assert!(
        (own - added as f64).abs() <= 0.05 * added as f64,
        "{own} {added}"
    );
}

fn llama_network() -> llama::Network {
    let (folder, shape) = (tempfile::tempdir().unwrap(), reference::llama());
    shape.save(&shape.weights(3), folder.path());
    let options = NetworkOptions {
        dtype: Some(Dtype::Float32),
        ..NetworkOptions::default()
    };
    let checkpoint = llama::Checkpoint::open(folder.path()).unwrap();
    llama::Network::new(&checkpoint, &options).unwrap()
}

#[test]
fn peak_of_a_llama_step() {
    alone("peak_of_a_llama_step", || {
        let network = llama_network();
        let cache = network.new_kv_cache(1, 256);
        let token = Array::from_slice(&[3_u32], [1, 1]).unwrap();
        let position = Array::scalar(5);
        let step = jit(
            |token: &Array, cache: &Vec<LayerKvCache>, position: &Array| {
                network.next_token_logits(token, cache.clone(), position)
            },
        );
        let lowered = step.lower((&token, &cache, &position)).unwrap();
        let mut inputs = vec![&token];
        inputs.extend(mlx::tree::arrays(&cache));
        inputs.push(&position);
        assert_peak("llama", lowered, &inputs);
    });
}

fn whisper_network() -> Option<whisper::Network> {
    let folder = if_available(assets::whisper_tiny_en())?;
    let checkpoint = whisper::Checkpoint::open(folder).unwrap();
    Some(whisper::Network::new(checkpoint.config, &checkpoint.weights, Dtype::Float32).unwrap())
}

fn mel() -> Array {
    (mlx::arange(3000 * 80)
        .reshape([1, 3000, 80])
        .astype(Dtype::Float32)
        / 97.0)
        .sin()
}

#[test]
fn peak_of_whispers_encoder() {
    alone("peak_of_whispers_encoder", || {
        let Some(network) = whisper_network() else {
            return;
        };
        for network in [network.with_kernels(mlx_nn::FastOps::Composed), network] {
            let mel = mel();
            let encode = jit(move |mel: &Array| network.encode_array(mel));
            assert_peak("whisper", encode.lower(&mel).unwrap(), &[&mel]);
        }
    });
}

#[test]
fn whispers_encoder_runs_from_files() {
    let Some(network) = whisper_network() else {
        return;
    };
    let (folder, mel) = (tempfile::tempdir().unwrap(), mel());
    let encode = jit(move |mel: &Array| network.encode_array(mel));
    let wanted = encode.call(&mel).unwrap();
    let close = |got: &Array| {
        let most = (got - &wanted).abs().max(()).item::<f32>().unwrap();
        assert!(most < 2e-3, "{most}");
    };
    let lowered = encode.lower(&mel).unwrap();
    let path = folder.path().join("encoder.safetensors");
    lowered.save(&path).unwrap();
    let opened = Compiled::open(&path, &CompileOptions::default()).unwrap();
    close(&opened.call_flat(&[&mel]).unwrap()[0]);
    let path = folder.path().join("encoder.mlxfn");
    lowered.export(&path).unwrap();
    close(&import_function(&path).unwrap().call(&[&mel]).unwrap()[0]);
    let named = std::env::var("MLX_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let run = |program: &str| {
        let output = Command::new(&named)
            .current_dir(folder.path())
            .args(["-c", program])
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    if !run("import mlx.core") {
        eprintln!("skipped Python's part: neither MLX_TEST_PYTHON nor python3 has MLX");
        return;
    }
    mlx::io::save_safetensors(folder.path().join("in.safetensors"), [("mel", &mel)]).unwrap();
    assert!(run(r#"
import mlx.core as mx
mel = mx.load("in.safetensors")["mel"]
mx.save_safetensors("out.safetensors", {"out": mx.import_function("encoder.mlxfn")(mel)[0]})
"#));
    let out = mlx::io::load_safetensors(folder.path().join("out.safetensors")).unwrap();
    close(&out["out"]);
}

/// A step of training: loss and gradients of a network of our layers.
#[test]
fn peak_of_a_training_step() {
    alone("peak_of_a_training_step", || {
        let [x, w, v] = [[64, 128], [128, 256], [256, 128]].map(|shape| mlx::random::normal(shape));
        let parameters = (w, v);
        let loss = |(w, v): &(Array, Array), x: &Array| {
            let hidden = mlx_nn::gelu(&x.matmul(w));
            let norm = mlx::fast::rms_norm(&hidden, &mlx::ones([256]), 1e-5);
            (norm.matmul(v) - x).square().mean(())
        };
        let step = jit(move |parameters: &(Array, Array), x: &Array| {
            mlx::value_and_grad(loss)(parameters, x)
        });
        let lowered = step.lower((&parameters, &x)).unwrap();
        assert_peak("training", lowered, &[&parameters.0, &parameters.1, &x]);
    });
}

/// Layers that choose kernels of the CPU when they run.
#[test]
fn layers_with_kernels_of_their_own_run_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let convolution = mlx_nn::Conv2d::new(3, 8, 3);
    let pool = mlx_nn::MaxPool2d::new(2);
    let mut norm = mlx_nn::BatchNorm::new(8);
    norm.eval();
    let recurrent = mlx_nn::LSTM::new(8, 4);
    let f = jit(move |x: &Array| {
        let y = pool.forward(&norm.forward(&convolution.forward(x)));
        let (hidden, cell) = recurrent.forward(&y.reshape([2, 9, 8]));
        mlx::concatenate(&[hidden, cell], -1)
    });
    let x = (mlx::arange(2 * 8 * 8 * 3)
        .reshape([2, 8, 8, 3])
        .astype(Dtype::Float32)
        / 50.0)
        .sin();
    let wanted = f.call(&x).unwrap();
    let close = |got: &Array| {
        let most = (got - &wanted).abs().max(()).item::<f32>().unwrap();
        assert!(most < 1e-4, "{most}");
    };
    let lowered = f.lower(&x).unwrap();
    let path = folder.path().join("layers.safetensors");
    lowered.save(&path).unwrap();
    let opened = Compiled::open(&path, &CompileOptions::default()).unwrap();
    close(&opened.call_flat(&[&x]).unwrap()[0]);
    let path = folder.path().join("layers.mlxfn");
    lowered.export(&path).unwrap();
    close(&import_function(&path).unwrap().call(&[&x]).unwrap()[0]);
}
