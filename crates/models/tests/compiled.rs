//! Whisper and SmolLM2 compiled: every formula of every layer is recognized, words and tokens are the same.
//!
//! Needs the files of both models, fetched once into the build folder; says so and passes where they cannot be had,
//! unless `MLX_REQUIRE_ASSETS` is set.

use mlx_compiler::{CompileOptions, Fallback, Fusion, Report};
use mlx_models::audio::Audio;
use mlx_models::llama::{self, GenerateOptions, Generator, NetworkOptions};
use mlx_models::whisper::Checkpoint;
use mlx_models::whisper::{self, TranscribeOptions, Transcriber};
use mlx_nn::FastOps;
use mlx_testdata::{assets, if_available};

const GOLDEN: &str = include_str!("golden/smollm2.txt");
const PROMPT: &str = "The quick brown fox jumps over the lazy dog.";

fn golden() -> Vec<u32> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix("tokens:"));
    let numbers = line.unwrap().split_whitespace();
    numbers.map(|number| number.parse().unwrap()).collect()
}

fn fused() -> CompileOptions {
    CompileOptions {
        fallback: Fallback::Never,
        ..CompileOptions::default()
    }
}

fn counts(report: &Report, fusions: &[Fusion]) -> Vec<usize> {
    fusions.iter().map(|fusion| report.count(*fusion)).collect()
}

#[test]
fn whisper_compiled_writes_the_same_words_with_every_site_recognized() {
    let (Some(folder), Some(speech)) = (
        if_available(assets::whisper_tiny_en()),
        if_available(assets::speech()),
    ) else {
        return;
    };
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let plain = whisper::Network::new(checkpoint.config, &checkpoint.weights, mlx::Dtype::Float32)
        .unwrap()
        .with_kernels(FastOps::Composed);
    let sound = Audio::load(&speech.path).unwrap();
    let mut options = TranscribeOptions::default();
    options.decode.timestamps = false;
    let transcribe = |network: &whisper::Network| {
        let transcriber =
            Transcriber::new(network, &checkpoint.tokenizer, &checkpoint.generation).unwrap();
        transcriber
            .transcribe(&sound.samples, &options)
            .unwrap()
            .text
    };
    let compiled = plain.compiled(fused());
    assert_eq!(transcribe(&compiled), transcribe(&plain));
    let report = compiled.report().unwrap();
    // Four layers in each half: two norms and one attention in the encoder's, three and two in the decoder's, and a
    // norm behind each half.
    let wanted = [Fusion::LayerNorm, Fusion::Attention, Fusion::Gelu];
    assert_eq!(counts(&report, &wanted), [22, 12, 10], "{report}");
    assert!(report.refused.is_empty(), "{report}");
}

#[test]
fn smollm2_compiled_writes_the_tokens_that_python_writes() {
    let Some(file) = if_available(assets::smollm2()) else {
        return;
    };
    let checkpoint = llama::Checkpoint::open(file).unwrap();
    let prompt = checkpoint.tokenizer.encode(PROMPT).unwrap();
    let generate = |network: &llama::Network, n: usize| {
        let options = GenerateOptions {
            max_tokens: n,
            ..GenerateOptions::default()
        };
        let mut generator = Generator::with_capacity(network, &checkpoint, 96).unwrap();
        generator
            .generate(&prompt, &options, |_| ())
            .unwrap()
            .tokens
    };
    // With packed weights, written with textbook formulas: unpack, then multiply.
    let packed = llama::Network::new(&checkpoint, &NetworkOptions::default())
        .unwrap()
        .with_kernels(FastOps::Composed)
        .compiled(fused());
    assert_eq!(generate(&packed, 64), golden());
    let report = packed.report().unwrap();
    let wanted = [
        Fusion::RmsNorm,
        Fusion::Rope,
        Fusion::Attention,
        Fusion::SwiGlu,
        Fusion::QuantizedLinear,
    ];
    assert_eq!(counts(&report, &wanted), [61, 60, 30, 30, 211], "{report}");
    assert!(report.refused.is_empty(), "{report}");
    // Without any formula recognized; unpacked, or each step would take seconds.
    let unpacked = NetworkOptions {
        unpacked: true,
        ..NetworkOptions::default()
    };
    let unfused = llama::Network::new(&checkpoint, &unpacked)
        .unwrap()
        .with_kernels(FastOps::Composed)
        .compiled(CompileOptions::without_fusions());
    assert_eq!(generate(&unfused, 64), golden());
    assert!(unfused.report().unwrap().fired.is_empty());
}
