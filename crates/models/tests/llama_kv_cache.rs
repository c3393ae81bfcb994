//! Keys and values in 8 bits: near the network that keeps them as they are, step by step, compiled, after a truncation.

#[path = "support/llama_reference.rs"]
mod reference;

use mlx::{Array, Dtype};
use mlx_compiler::CompileOptions;
use mlx_models::llama::{
    Cache, Checkpoint, GenerateOptions, Generator, LayerKvCache, Network, NetworkOptions, Session,
};
use mlx_nn::FastOps;
use mlx_testdata::{assets, if_available, needs};
use reference::{Shape, llama, qwen3};
use rstest::rstest;

const TOKENS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

/// A head of 64 numbers, of which 4 query heads share 2.
fn wide() -> Shape {
    Shape {
        head_dim: 64,
        ..llama()
    }
}

fn checkpoint(shape: &Shape) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    shape.save(&shape.weights(11), folder.path());
    Checkpoint::open(folder.path()).unwrap()
}

fn options() -> NetworkOptions {
    NetworkOptions {
        dtype: Some(Dtype::Float32),
        ..NetworkOptions::default()
    }
}

fn network(shape: &Shape) -> Network {
    Network::new(&checkpoint(shape), &options()).unwrap()
}

fn ids(tokens: &[u32]) -> Array {
    Array::from_slice(tokens, [1, tokens.len() as i32]).unwrap()
}

fn most(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    off.fold(0.0, f32::max)
}

/// The scores behind each token, of all tokens at once.
fn scores(network: &Network) -> Vec<f32> {
    let cache = network.new_kv_cache(1, 16);
    let (logits, _) = network.forward(&ids(&TOKENS), cache, 0).unwrap();
    logits.to_vec().unwrap()
}

#[rstest]
#[case::llama(wide(), 64)]
#[case::groups_of_32(wide(), 32)]
#[case::one_head(Shape { head_dim: 128, ..qwen3() }, 64)]
#[case::head_of_96(Shape { head_dim: 96, ..qwen3() }, 32)]
fn scores_are_near_those_of_the_numbers(
    #[case] shape: Shape,
    #[case] group_size: i32,
    #[values(FastOps::Fused, FastOps::Composed)] kernels: FastOps,
) {
    let network = network(&shape).with_kernels(kernels);
    let plain = scores(&network);
    let quantized = network.with_kv_bits(Some(8), group_size).unwrap();
    let whole = scores(&quantized);
    let size = most(&plain, &vec![0.0; plain.len()]);
    let off = most(&plain, &whole);
    assert!(off > 0.0 && off < 0.05 * size, "{off} of {size}");
    // Three tokens, then one at a time: with a number, with an array for the position, and compiled.
    let compiled = quantized.compiled(CompileOptions::default());
    let new = || quantized.new_kv_cache(1, 16);
    let (mut grown, mut fixed, mut replayed) = (new(), new(), new());
    let mut start = 0;
    for n in [3, 1, 1, 1, 1, 1, 1] {
        let tokens = ids(&TOKENS[start..start + n]);
        let at = start as i32;
        let step = |network: &Network, cache, by_array: bool| {
            match by_array {
                true => network.next_token_logits(&tokens, cache, &Array::scalar(at)),
                false => network.next_token_logits(&tokens, cache, at),
            }
            .unwrap()
        };
        let (by_number, cache) = step(&quantized, grown, false);
        grown = cache;
        let (by_array, cache) = step(&quantized, fixed, true);
        fixed = cache;
        let (by_graph, cache) = step(&compiled, replayed, false);
        replayed = cache;
        start += n;
        let wanted = &whole[(start - 1) * shape.vocab..start * shape.vocab];
        for got in [by_number, by_array, by_graph] {
            // A key that rounds to the other side is off by a scale.
            let off = most(&got.to_vec::<f32>().unwrap(), wanted);
            assert!(off < 0.005 * size, "{off} of {size}");
        }
    }
}

#[test]
fn caches_have_the_promised_size() {
    let network = network(&wide());
    let bytes = |network: &Network| Cache::new(network, 16).unwrap().nbytes().unwrap();
    // Two layers, keys and values, two heads of 64 numbers.
    let rows = 2 * 2 * 2 * 16;
    assert_eq!(bytes(&network), rows * 64 * 4);
    let int8 = |group_size| network.with_kv_bits(Some(8), group_size).unwrap();
    assert_eq!(bytes(&int8(64)), rows * (64 + 8));
    assert_eq!(bytes(&int8(32)), rows * (64 + 16));
    let back = int8(32).with_kv_bits(None, 64).unwrap();
    assert_eq!(bytes(&back), bytes(&network));
}

#[rstest]
fn steps_write_into_the_memory_that_is_there(#[values(false, true)] by_graph: bool) {
    needs!(CpuMemory);
    let mut network = network(&wide()).with_kv_bits(Some(8), 64).unwrap();
    if by_graph {
        network = network.compiled(CompileOptions::default());
    }
    let mut cache: Vec<LayerKvCache> = network.new_kv_cache(1, 16);
    let mut places = Vec::new();
    for position in 0..4 {
        let (logits, grown) = network
            .next_token_logits(&ids(&[1]), cache, position)
            .unwrap();
        cache = grown;
        let arrays = cache.iter().flat_map(|(keys, values)| [keys, values]);
        mlx::eval(arrays.clone().chain([&logits])).unwrap();
        let now: Vec<usize> = arrays
            .map(|array| array.as_slice::<u8>().unwrap().as_ptr() as usize)
            .collect();
        places.push(now);
    }
    assert_eq!(places[1], places[2]);
    assert_eq!(places[2], places[3]);
}

#[test]
fn a_common_prefix_is_reused() {
    let network = network(&wide()).with_kv_bits(Some(8), 64).unwrap();
    let fresh = |tokens: &[u32]| Session::new(&network, 16).unwrap().append(tokens).unwrap();
    let mut session = Session::new(&network, 16).unwrap();
    session.append(&[1, 2, 3, 4, 5]).unwrap();
    for text in [&[1, 2, 3, 9, 9][..], &[1, 2], &[7], &[7, 1, 2, 3]] {
        let got = session.prefill_with_prefix_reuse(text).unwrap();
        assert!(most(&got, &fresh(text)) < 1e-2);
        assert_eq!(session.tokens(), text);
    }
}

#[test]
fn a_compiled_step_is_one_program() {
    needs!(CpuKernels);
    let network = network(&wide());
    let programs = |network: &Network| {
        let compiled = network.compiled(CompileOptions::default());
        let cache = compiled.new_kv_cache(1, 16);
        let _ = compiled.next_token_logits(&ids(&[1]), cache, 0).unwrap();
        let report = compiled.report().unwrap();
        (report.programs.len(), report.to_string())
    };
    let (plain, _) = programs(&network);
    let (quantized, text) = programs(&network.with_kv_bits(Some(8), 64).unwrap());
    assert_eq!(quantized, plain, "{text}");
}

#[test]
fn what_cannot_be_is_refused() {
    let text = |shape: &Shape, kv_bits, kv_group_size| {
        let options = NetworkOptions {
            kv_bits,
            kv_group_size,
            ..options()
        };
        let network = Network::new(&checkpoint(shape), &options);
        network
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert_eq!(text(&wide(), Some(8), 64), "");
    // Without bits, groups mean nothing.
    assert_eq!(text(&llama(), None, 64), "");
    assert!(text(&wide(), Some(4), 64).contains("kv_bits: wanted 8, got 4"));
    let groups = text(&llama(), Some(8), 64);
    let says = "kv_group_size: wanted 32, 64 or 128, and a divisor of head_dim 8, got 64";
    assert!(groups.contains(says), "{groups}");
    assert!(text(&wide(), Some(8), 16).contains("got 16"));
    assert!(text(&wide(), Some(8), 0).contains("got 0"));
    assert!(text(&wide(), Some(8), -64).contains("got -64"));
    // The cache of another network.
    let narrow = network(&Shape {
        head_dim: 32,
        ..llama()
    })
    .with_kv_bits(Some(8), 32)
    .unwrap();
    let cache = narrow.new_kv_cache(1, 16);
    let error = network(&wide())
        .forward(&ids(&[1]), cache, 0)
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("cache: wanted rows of 64 numbers in 8 bits, got 40 bytes"),
        "{error}"
    );
}

/// 64 tokens of SmolLM2, each from the text that the plain cache gives.
#[test]
fn smollm2_writes_nearly_the_same() {
    let Some(path) = if_available(assets::smollm2()) else {
        return;
    };
    let checkpoint = Checkpoint::open(path).unwrap();
    let plain = Network::new(&checkpoint, &NetworkOptions::default()).unwrap();
    let quantized = plain.with_kv_bits(Some(8), 64).unwrap();
    let prompt = checkpoint
        .tokenizer
        .encode("The quick brown fox jumps over the lazy dog.")
        .unwrap();
    let written = |network: &Network| {
        let options = GenerateOptions {
            max_tokens: 64,
            ..GenerateOptions::default()
        };
        let mut generator = Generator::with_capacity(network, &checkpoint, 128).unwrap();
        generator
            .generate(&prompt, &options, |_| ())
            .unwrap()
            .tokens
    };
    let (wanted, got) = (written(&plain), written(&quantized));
    let same = wanted.iter().zip(&got).take_while(|(a, b)| a == b).count();
    let text: Vec<u32> = prompt.iter().chain(&wanted).copied().collect();
    let mut sessions = [&plain, &quantized].map(|network| Session::new(network, 128).unwrap());
    let (mut off, mut likeliest) = (0.0_f32, 0);
    for (at, token) in text.iter().enumerate() {
        let logits = sessions
            .each_mut()
            .map(|session| session.append(&[*token]).unwrap());
        if at + 1 < prompt.len() || at + 1 == text.len() {
            continue;
        }
        off = off.max(most(&logits[0], &logits[1]));
        let best = logits.each_ref().map(|logits| {
            let places = logits.iter().enumerate();
            places
                .max_by(|a, b| a.1.total_cmp(b.1))
                .map(|(place, _)| place)
        });
        likeliest += usize::from(best[0] == best[1]);
    }
    eprintln!(
        "{same} of {} tokens are the same; on one text the likeliest token is the same {likeliest} times; logits differ by up to {off}",
        wanted.len()
    );
    assert!(same >= 8, "{same} tokens");
    assert!(likeliest >= 62, "{likeliest} of 64");
    assert!(off < 1.0, "logits differ by {off}");
}
