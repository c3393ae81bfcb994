//! Sentences become the vectors that an independent program in float64 computes.
//!
//! Needs all-MiniLM-L6-v2, fetched once into the build folder; says so and passes where it cannot be had, unless
//! `MLX_REQUIRE_ASSETS` is set.

use mlx_models::bert::SentenceEncoder;
use mlx_nn::{FastOps, Module};
use mlx_testdata::{assets, if_available};

struct Sentence {
    text: &'static str,
    tokens: Vec<u32>,
    vector: Vec<f32>,
}

fn golden() -> Vec<Sentence> {
    let lines: Vec<&str> = include_str!("golden/minilm.txt").lines().collect();
    let sentence = |lines: &[&'static str]| Sentence {
        text: lines[0],
        tokens: lines[1]
            .split(' ')
            .map(|token| token.parse().unwrap())
            .collect(),
        vector: lines[2]
            .split(' ')
            .map(|value| value.parse().unwrap())
            .collect(),
    };
    lines.chunks_exact(3).map(sentence).collect()
}

#[test]
fn sentences_become_the_vectors_of_the_reference() {
    let Some(folder) = if_available(assets::minilm()) else {
        return;
    };
    let encoder = SentenceEncoder::open(folder).unwrap();
    let golden = golden();
    assert_eq!(golden.len(), 5);
    for sentence in &golden {
        assert_eq!(
            encoder.tokens(sentence.text).unwrap(),
            sentence.tokens,
            "{}",
            sentence.text
        );
    }
    // All at once: short ones are filled up, which must change nothing.
    let texts: Vec<&str> = golden.iter().map(|sentence| sentence.text).collect();
    let together = encoder.embed(&texts).unwrap();
    assert_eq!(together.shape().unwrap(), [5, 384]);
    let together = together.to_vec::<f32>().unwrap();
    for (sentence, got) in golden.iter().zip(together.chunks_exact(384)) {
        let alone = encoder
            .embed(&[sentence.text])
            .unwrap()
            .to_vec::<f32>()
            .unwrap();
        for ((got, alone), wanted) in got.iter().zip(&alone).zip(&sentence.vector) {
            assert!(
                (got - wanted).abs() < 2e-5,
                "{}: {got}, wanted {wanted}",
                sentence.text
            );
            assert!(
                (alone - wanted).abs() < 2e-5,
                "{}: {alone}, wanted {wanted}",
                sentence.text
            );
        }
    }
}

#[test]
fn composed_and_fused_kernels_agree_and_nothing_is_an_error() {
    let Some(folder) = if_available(assets::minilm()) else {
        return;
    };
    let encoder = SentenceEncoder::open(folder).unwrap();
    let tokens = mlx::array!([[101, 7592, 102]]);
    let visible = mlx::array!([[true, true, true]]);
    let mut composed = encoder.network().clone();
    composed.set_kernels(FastOps::Composed);
    let difference =
        composed.forward(&tokens, &visible) - encoder.network().forward(&tokens, &visible);
    assert!(difference.abs().max(()).item::<f32>().unwrap() < 1e-4);
    let none: [&str; 0] = [];
    let text = encoder.embed(&none).unwrap_err().to_string();
    assert!(text.contains("embed: wanted sentences, got none"), "{text}");
}

/// The whole encoder, at batches and lengths of any number, by one trace.
#[test]
fn one_trace_serves_batches_of_any_size_and_length() {
    let Some(folder) = if_available(assets::minilm()) else {
        return;
    };
    let encoder = SentenceEncoder::open(folder).unwrap();
    let network = encoder.network();
    let options = mlx_compiler::CompileOptions {
        shapeless: true,
        ..mlx_compiler::CompileOptions::default()
    };
    let forward = |tokens: &mlx::Array, visible: &mlx::Array| network.forward(tokens, visible);
    let compiled = mlx_compiler::jit_with(forward, options).max_traces(1);
    for [n, length] in [[2, 7], [1, 12], [2, 7], [1, 3], [1, 12], [1, 1]] {
        let places = mlx::iota(n * length).reshape([n, length]);
        let (tokens, visible) = (&places * 37 + 1000, places.less(n * length - n + 1));
        let got = compiled.call((&tokens, &visible)).unwrap();
        let difference = got - network.forward(&tokens, &visible);
        let most = difference.abs().max(()).item::<f32>().unwrap();
        assert!(most < 1e-3, "{n} x {length}: {most}");
    }
    assert_eq!(compiled.stats().misses, 1);
}
