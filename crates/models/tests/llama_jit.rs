//! A compiled step: one graph for all positions, the same scores, and every textbook formula recognized.

#[path = "../../mlx/tests/support/gguf_file.rs"]
mod gguf_file;
#[path = "support/llama_gguf.rs"]
mod llama_gguf;
#[path = "support/llama_reference.rs"]
mod reference;

use std::sync::Arc;

use mlx::{Array, Dtype};
use mlx_compiler::{CompileOptions, Fusion, Report, jit, jit_with};
use mlx_models::llama::{Checkpoint, Config, LayerKvCache, Network, NetworkOptions, WeightStore};
use mlx_models::weights::Source;
use mlx_models::weights::gguf::{GgmlType, Gguf};
use mlx_nn::FastOps;
use reference::{Shape, llama, qwen2, qwen3};
use rstest::rstest;

fn options() -> NetworkOptions {
    NetworkOptions {
        dtype: Some(Dtype::Float32),
        ..NetworkOptions::default()
    }
}

fn network(shape: &Shape) -> Network {
    let folder = tempfile::tempdir().unwrap();
    shape.save(&shape.weights(3), folder.path());
    Network::new(&Checkpoint::open(folder.path()).unwrap(), &options()).unwrap()
}

/// A network with matrices of 4 bits.
fn packed(shape: &Shape) -> Network {
    let q4_0 = |values: &[f32]| {
        let block = |values: &[f32]| {
            let code = |value: f32| (value * 7.0 + 8.0).round().clamp(0.0, 15.0) as u8;
            let mut bytes = half::f16::from_f32(1.0 / 7.0).to_le_bytes().to_vec();
            bytes.extend((0..16).map(|i| code(values[i]) | code(values[i + 16]) << 4));
            bytes
        };
        (GgmlType::Q4_0, values.chunks(32).flat_map(block).collect())
    };
    let file = llama_gguf::writer(shape, &shape.weights(3), q4_0).finish();
    let gguf = Gguf::read(&Arc::new(Source::from_bytes(file))).unwrap();
    let weights = WeightStore::from_gguf(&gguf).unwrap();
    Network::from_store(Config::from_gguf(&gguf).unwrap(), &weights, &options()).unwrap()
}

/// Compares a compiled step with an eager one over some positions.
fn compiled(network: &Network) -> Report {
    let step = jit(
        |token: &Array, cache: &Vec<LayerKvCache>, position: &Array| {
            network.next_token_logits(token, cache.clone(), position)
        },
    );
    let (mut eager, mut compiled) = (network.new_kv_cache(1, 8), network.new_kv_cache(1, 8));
    for (at, next) in [3_u32, 1, 4, 1, 5].into_iter().enumerate() {
        let token = Array::from_slice(&[next], [1, 1]).unwrap();
        let (wanted, grown) = network.next_token_logits(&token, eager, at as i32).unwrap();
        eager = grown;
        let position = Array::scalar(at as i32);
        let (logits, grown) = step.call((&token, &compiled, &position)).unwrap();
        compiled = grown;
        let most = (logits - wanted).abs().max(()).item::<f32>().unwrap();
        assert!(most < 1e-4, "position {at}: {most}");
    }
    assert_eq!(step.stats().entries, 1);
    step.report().unwrap()
}

#[rstest]
#[case::llama(llama())]
#[case::qwen2(qwen2())]
#[case::qwen3(qwen3())]
fn a_compiled_step_serves_every_position_and_knows_every_formula(#[case] shape: Shape) {
    let report = compiled(&network(&shape).with_kernels(FastOps::Composed));
    let counts = report.counts();
    let norms = 2 * shape.layers + 1 + if shape.qk_norm { 2 * shape.layers } else { 0 };
    assert_eq!(counts.get(&Fusion::RmsNorm), Some(&norms), "{report}");
    assert_eq!(
        counts.get(&Fusion::Rope),
        Some(&(2 * shape.layers)),
        "{report}"
    );
    assert_eq!(
        counts.get(&Fusion::Attention),
        Some(&shape.layers),
        "{report}"
    );
    assert_eq!(counts.get(&Fusion::SwiGlu), Some(&shape.layers), "{report}");
    assert!(report.refused.is_empty(), "{report}");
}

#[test]
fn fused_kernels_compile_too() {
    let report = compiled(&network(&llama()));
    assert!(!report.counts().contains_key(&Fusion::RmsNorm), "{report}");
}

#[test]
fn unpacked_products_are_recognized_as_products_of_packed_weights() {
    let shape = llama();
    let report = compiled(&packed(&shape).with_kernels(FastOps::Composed));
    let counts = report.counts();
    // Seven matrices of a layer, and the scores.
    let matrices = 7 * shape.layers + 1;
    assert_eq!(
        counts.get(&Fusion::QuantizedLinear),
        Some(&matrices),
        "{report}"
    );
    assert_eq!(
        counts.get(&Fusion::Rope),
        Some(&(2 * shape.layers)),
        "{report}"
    );
}

/// Prompts of any length and the steps after them, by one trace: the position is an array, and the cache has its capacity.
#[rstest]
#[case::llama(llama(), FastOps::Fused)]
#[case::qwen2(qwen2(), FastOps::Fused)]
#[case::qwen3_composed(qwen3(), FastOps::Composed)]
fn prompts_of_any_length_are_one_trace(#[case] shape: Shape, #[case] kernels: FastOps) {
    let network = network(&shape).with_kernels(kernels);
    let options = CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    };
    let step = jit_with(
        |tokens: &Array, cache: &Vec<LayerKvCache>, position: &Array| {
            network.next_token_logits(tokens, cache.clone(), position)
        },
        options,
    )
    .max_traces(1);
    let best = |logits: &Array| logits.argmax(-1).item::<u32>().unwrap();
    for length in [5, 1, 3, 5, 5, 9, 3, 1] {
        let prompt: Vec<u32> = (0..length).map(|i| (i * 5 + length) % 7 + 1).collect();
        let prompt = Array::from_slice(&prompt, [1, length as i32]).unwrap();
        let (mut tokens, mut eager_tokens) = (prompt.clone(), prompt);
        let (mut eager, mut compiled) = (network.new_kv_cache(1, 16), network.new_kv_cache(1, 16));
        let mut at = 0;
        for _ in 0..4 {
            let (wanted, grown) = network.next_token_logits(&eager_tokens, eager, at).unwrap();
            eager = grown;
            let position = Array::scalar(at);
            let (logits, grown) = step.call((&tokens, &compiled, &position)).unwrap();
            compiled = grown;
            let most = (&logits - &wanted).abs().max(()).item::<f32>().unwrap();
            assert!(most < 1e-4, "{length} tokens, position {at}: {most}");
            assert_eq!(best(&logits), best(&wanted), "{length} tokens");
            at += tokens.shape().unwrap()[1];
            let next = |logits: &Array| Array::from_slice(&[best(logits)], [1, 1]).unwrap();
            (tokens, eager_tokens) = (next(&logits), next(&wanted));
        }
    }
    assert_eq!(step.stats().misses, 1);
    let report = step.report().unwrap();
    let forms = report.specialized.len();
    assert_eq!(forms, 3, "a form for each length that came twice: {report}");
    if kernels == FastOps::Composed {
        let counts = report.counts();
        assert_eq!(
            counts.get(&Fusion::Attention),
            Some(&shape.layers),
            "{report}"
        );
        assert_eq!(
            counts.get(&Fusion::Rope),
            Some(&(2 * shape.layers)),
            "{report}"
        );
    }
}

/// More tokens than the cache has room for are the network's own error.
#[test]
fn too_long_a_prompt_is_refused_by_the_network() {
    let network = network(&llama());
    let options = CompileOptions {
        shapeless: true,
        ..CompileOptions::default()
    };
    let network = network.compiled(options);
    for (length, fits) in [(3, true), (9, false), (4, true)] {
        let tokens = mlx::ones_with([1, length], Dtype::Uint32);
        let cache = network.new_kv_cache(1, 8);
        match network.next_token_logits(&tokens, cache, 0) {
            Ok(_) => assert!(fits),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    !fits && text.contains("wanted at most 8 positions"),
                    "{text}"
                );
            }
        }
    }
}
