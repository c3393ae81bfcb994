//! Lint over the models, written with fused operations and with composed formulas: nothing is found.
//!
//! Needs the files of the models, fetched once into the build folder; says so and passes where they cannot be had,
//! unless `MLX_REQUIRE_ASSETS` is set.

use mlx::{Array, Dtype, ones_with, zeros_with};
use mlx_compiler::{CompileOptions, Fallback, Finding, Report, trace};
use mlx_models::bert::SentenceEncoder;
use mlx_models::{llama, whisper};
use mlx_nn::{FastOps, Module};
use mlx_testdata::{assets, if_available};
use rstest::rstest;

fn options() -> CompileOptions {
    CompileOptions {
        fallback: Fallback::Never,
        ..CompileOptions::default()
    }
}

#[track_caller]
fn assert_clean(report: &Report) {
    let findings = report.lint();
    let texts: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(texts.is_empty(), "{texts:#?}");
}

#[rstest]
fn whisper_has_no_findings(
    #[values(FastOps::Fused, FastOps::Composed)] kernels: FastOps,
    #[values(Dtype::Float32, Dtype::Bfloat16)] dtype: Dtype,
) {
    let Some(folder) = if_available(assets::whisper_tiny_en()) else {
        return;
    };
    let checkpoint = whisper::Checkpoint::open(&folder).unwrap();
    let network = whisper::Network::new(checkpoint.config, &checkpoint.weights, dtype).unwrap();
    let network = network.with_kernels(kernels);
    assert_clean(&network.trace_report(options()).unwrap());
}

#[rstest]
fn llama_has_no_findings(
    #[values(FastOps::Fused, FastOps::Composed)] kernels: FastOps,
    #[values(None, Some(8))] kv_bits: Option<i32>,
) {
    let Some(file) = if_available(assets::smollm2()) else {
        return;
    };
    let checkpoint = llama::Checkpoint::open(file).unwrap();
    let network_options = llama::NetworkOptions {
        kv_bits,
        ..llama::NetworkOptions::default()
    };
    let network = llama::Network::new(&checkpoint, &network_options).unwrap();
    let network = network.with_kernels(kernels);
    assert_clean(&network.trace_report(options()).unwrap());
}

#[rstest]
fn sentence_vectors_have_no_findings(
    #[values(FastOps::Fused, FastOps::Composed)] kernels: FastOps,
) {
    let Some(folder) = if_available(assets::minilm()) else {
        return;
    };
    let encoder = SentenceEncoder::open(folder).unwrap();
    let mut network = encoder.network().clone();
    network.set_kernels(kernels);
    let tokens = zeros_with([2, 16], Dtype::Int32);
    let visible = ones_with([2, 16], Dtype::Bool);
    let forward = |tokens: &Array, visible: &Array| network.forward(tokens, visible);
    let traced = trace(forward, (&tokens, &visible)).unwrap();
    assert_clean(traced.lower(&options()).unwrap().report());
}
