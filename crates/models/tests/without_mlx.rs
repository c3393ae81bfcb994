//! Whisper as saved functions: what it transcribes without MLX is what the network transcribes.
//!
//! What needs Whisper tiny.en says so and passes where it cannot be had, unless `MLX_REQUIRE_ASSETS` is set.

#[path = "../../mlx/tests/support/gguf_file.rs"]
mod gguf_file;
#[path = "support/llama_reference.rs"]
mod reference;

use std::path::Path;
use std::process::Command;

use mlx::{Array, Dtype};
use mlx_compiler::jit;
use mlx_interpreter::{InferenceSession, SavedFunction, Tensor};
use mlx_models::audio::Audio;
use mlx_models::bert::SentenceEncoder;
use mlx_models::llama::{self, LayerKvCache, NetworkOptions};
use mlx_models::whisper::{Checkpoint, SavedModel, TranscribeOptions, Transcriber, save_functions};
use mlx_testdata::{assets, if_available};

const FOLDER: &str = "MLX_TEST_WITHOUT_MLX";

/// The name of a test of this file in this program, which may hold other files too.
fn in_this_file(name: &str) -> String {
    let file = module_path!().split_once("::");
    file.map_or(name.to_owned(), |(_, file)| format!("{file}::{name}"))
}

fn transcribed(folder: &Path) -> String {
    let (model, tokenizer) = SavedModel::open(folder).unwrap();
    let audio = Audio::load(assets::jfk_wav().unwrap()).unwrap();
    let transcriber = Transcriber::new(&model.network, &tokenizer, &model.generation).unwrap();
    let options = TranscribeOptions::default();
    let transcript = transcriber.transcribe(&audio.samples, &options).unwrap();
    println!("{:?}", transcript.timings);
    transcript.text
}

#[test]
fn whisper_transcribes_without_mlx() {
    const NAME: &str = "whisper_transcribes_without_mlx";
    if let Some(folder) = std::env::var_os(FOLDER) {
        println!("text: {}", transcribed(folder.as_ref()));
        let loaded = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        assert!(!loaded.contains("libmlx"), "MLX was loaded");
        return;
    }
    let (Some(model), Some(audio)) = (
        if_available(assets::whisper_tiny_en()),
        if_available(assets::jfk_wav()),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    save_functions(&model, folder.path()).unwrap();
    for name in ["encoder", "decoder"] {
        let path = folder.path().join(format!("{name}.safetensors"));
        let session = InferenceSession::open(path).unwrap();
        println!("{name}: without kernels: {:?}", session.without_kernels());
    }
    let (checkpoint, network) =
        Checkpoint::open_with_network(&model, Some(Dtype::Float32)).unwrap();
    let transcriber =
        Transcriber::new(&network, &checkpoint.tokenizer, &checkpoint.generation).unwrap();
    let audio = Audio::load(audio).unwrap();
    let options = TranscribeOptions::default();
    let wanted = transcriber.transcribe(&audio.samples, &options).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&in_this_file(NAME), "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .env("MLX_DIR", "/nonexistent")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    println!("{text}");
    assert!(text.contains(&format!("text: {}", wanted.text)), "{text}");
    assert!(wanted.text.contains("ask not what your country"));
}

#[test]
fn a_folder_of_other_functions_is_refused() {
    let Some(model) = if_available(assets::whisper_tiny_en()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let refused = |wanted: &str| {
        let error = SavedModel::open(folder.path()).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(wanted), "{text}");
    };
    refused("config.json");
    save_functions(&model, folder.path()).unwrap();
    let [encoder, decoder] = ["encoder", "decoder"].map(|name| {
        let name = format!("{name}.safetensors");
        folder.path().join(name)
    });
    std::fs::copy(&decoder, &encoder).unwrap();
    refused("encoder.safetensors: wanted a function");
    std::fs::remove_file(&encoder).unwrap();
    refused("encoder.safetensors");
    assert!(save_functions(folder.path().join("none"), folder.path()).is_err());

    // A folder with a model of its own keeps its files, also where it is that model.
    let other = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&model).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, other.path().join(path.file_name().unwrap())).unwrap();
    }
    let tokenizer = other.path().join("tokenizer.json");
    let before = std::fs::metadata(&tokenizer).unwrap().len();
    for model in [model.as_path(), other.path()] {
        let error = save_functions(model, other.path()).unwrap_err().to_string();
        assert!(error.contains("would be overwritten"), "{error}");
    }
    assert_eq!(std::fs::metadata(&tokenizer).unwrap().len(), before);
}

/// What a session of a file gives, all of it by kernels.
fn by_kernels(path: &Path, inputs: &[Tensor]) -> Vec<Tensor> {
    let session = InferenceSession::open(path).unwrap();
    assert_eq!(session.without_kernels(), []);
    let inputs = inputs.iter().map(|input| input.to_host_array().unwrap());
    let outputs = session.run(inputs.collect()).unwrap();
    let tensor = |output| Tensor::of_host_array(output).unwrap();
    outputs.iter().map(tensor).collect()
}

/// The largest difference, relative to the largest number.
fn difference(got: &[Tensor], wanted: &[Tensor]) -> f64 {
    assert_eq!(got.len(), wanted.len());
    let mut most = 0.0_f64;
    for (got, wanted) in got.iter().zip(wanted) {
        assert_eq!(got.array_type(), wanted.array_type());
        let (got, wanted) = (got.to_f64(), wanted.to_f64());
        let scale = wanted.iter().fold(1e-6_f64, |most, x| most.max(x.abs()));
        for (got, wanted) in got.iter().zip(&wanted) {
            assert!(got.is_finite(), "{got}");
            most = most.max((got - wanted).abs() / scale);
        }
    }
    most
}

fn tensors(arrays: &[&Array]) -> Vec<Tensor> {
    arrays
        .iter()
        .map(|array| Tensor::of(array).unwrap())
        .collect()
}

#[test]
fn a_llama_step_is_what_the_reference_computes() {
    let folder = tempfile::tempdir().unwrap();
    for shape in [reference::llama(), reference::qwen3()] {
        shape.save(&shape.weights(3), folder.path());
        let options = NetworkOptions {
            dtype: Some(Dtype::Float32),
            ..NetworkOptions::default()
        };
        let checkpoint = llama::Checkpoint::open(folder.path()).unwrap();
        let network = llama::Network::new(&checkpoint, &options).unwrap();
        let mut cache = network.new_kv_cache(1, 32);
        for (keys, values) in &mut cache {
            let filled = |x: &Array| mlx::random::normal(x.shape().unwrap());
            (*keys, *values) = (filled(keys), filled(values));
        }
        let (token, position) = (
            Array::from_slice(&[3_u32], [1, 1]).unwrap(),
            Array::scalar(5),
        );
        let step = jit(
            |token: &Array, cache: &Vec<LayerKvCache>, position: &Array| {
                network.next_token_logits(token, cache.clone(), position)
            },
        );
        let path = folder.path().join("step.safetensors");
        let lowered = step.lower((&token, &cache, &position)).unwrap();
        lowered.save(&path).unwrap();
        let mut inputs = vec![&token];
        inputs.extend(mlx::tree::arrays(&cache));
        inputs.push(&position);
        let inputs = tensors(&inputs);
        let wanted = SavedFunction::open(&path).unwrap().run(&inputs).unwrap();
        let most = difference(&by_kernels(&path, &inputs), &wanted);
        assert!(most < 1e-5, "{}: {most}", shape.family);
    }
}

#[test]
fn minilm_gives_the_vectors_of_its_network() {
    let Some(folder) = if_available(assets::minilm()) else {
        return;
    };
    let encoder = SentenceEncoder::open(folder).unwrap();
    let network = encoder.network().clone();
    let tokens = encoder
        .tokens("A session runs where there is no MLX.")
        .unwrap();
    let length = i32::try_from(tokens.len()).unwrap();
    let tokens = Array::from_slice(&tokens, [1, length]).unwrap();
    let visible = mlx::ones_with([1, length], Dtype::Bool);
    let f = jit(move |tokens: &Array, visible: &Array| network.forward(tokens, visible));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("minilm.safetensors");
    f.lower((&tokens, &visible)).unwrap().save(&path).unwrap();
    let wanted = f.call((&tokens, &visible)).unwrap();
    let got = by_kernels(&path, &tensors(&[&tokens, &visible]));
    let most = difference(&got, &tensors(&[&wanted]));
    assert!(most < 1e-5, "{most}");
}

/// A token of the decoder in `f64`. The encoder would take minutes there; a test above sees what it gives.
#[test]
#[ignore = "takes 2 GB of memory"]
fn whispers_decoder_is_what_the_reference_computes() {
    let Some(model) = if_available(assets::whisper_tiny_en()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    save_functions(&model, folder.path()).unwrap();
    let path = folder.path().join("decoder.safetensors");
    let session = InferenceSession::open(&path).unwrap();
    let mut inputs = Vec::new();
    for (number, input) in session.input_types().iter().enumerate() {
        let array = match input.dtype {
            Dtype::Int32 => mlx::full(input.shape.clone(), 7 + number as i32),
            _ => mlx::random::normal(input.shape.clone()) * 0.5,
        };
        inputs.push(Tensor::of(&array).unwrap());
    }
    let got = by_kernels(&path, &inputs);
    let wanted = SavedFunction::open(&path).unwrap().run(&inputs).unwrap();
    let most = difference(&got, &wanted);
    println!("{most}");
    assert!(most < 1e-5, "{most}");
}
