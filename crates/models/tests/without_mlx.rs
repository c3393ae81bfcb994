//! Whisper as saved functions: what it transcribes without MLX is what the network transcribes.
//!
//! What needs Whisper tiny.en says so and passes where it cannot be had, unless `MLX_REQUIRE_ASSETS` is set.

use std::process::Command;

use mlx::Dtype;
use mlx_interpreter::InferenceSession;
use mlx_models::audio::Audio;
use mlx_models::whisper::{Checkpoint, SavedModel, TranscribeOptions, Transcriber, save_functions};
use mlx_testdata::{assets, if_available};

const FOLDER: &str = "MLX_TEST_WITHOUT_MLX";

/// The name of a test of this file in this program, which may hold other files too.
fn in_this_file(name: &str) -> String {
    let file = module_path!().split_once("::");
    file.map_or(name.to_owned(), |(_, file)| format!("{file}::{name}"))
}

fn transcribed(folder: &std::path::Path) -> String {
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
