//! A compiled step: one graph for all positions, the same scores, and every textbook formula recognized.

#[path = "../../mlx/tests/support/gguf_file.rs"]
mod gguf_file;
#[path = "support/llama_gguf.rs"]
mod llama_gguf;
#[path = "support/llama_reference.rs"]
mod reference;

use std::sync::Arc;

use mlx::{Array, Dtype};
use mlx_compiler::{Fusion, Report, jit};
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
