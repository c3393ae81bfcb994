//! Networks of random numbers in the shapes of Llama, Qwen2 and Qwen3: fused, composed, step by step, and an
//! independent forward in `f64`.

#[path = "../../mlx/tests/support/gguf_file.rs"]
mod gguf_file;
#[path = "support/llama_gguf.rs"]
mod llama_gguf;
#[path = "support/llama_reference.rs"]
mod reference;

use std::sync::Arc;

use llama_gguf::writer;
use mlx::{Array, Dtype};
use mlx_models::llama::{
    Cache, Checkpoint, Config, LayerKvCache, Network, NetworkOptions, Session,
};
use mlx_models::weights::Source;
use mlx_models::weights::gguf::{GgmlType, Gguf};
use mlx_nn::{FastOps, Module};
use mlx_testdata::needs;
use reference::{Random, Shape, llama, qwen2, qwen3};
use rstest::rstest;

const TOKENS: [usize; 7] = [3, 1, 4, 1, 5, 9, 2];

fn open(shape: &Shape, weights: &Random) -> mlx_models::Result<Checkpoint> {
    let folder = tempfile::tempdir().unwrap();
    shape.save(weights, folder.path());
    // Everything is read before the folder goes: weights keep their file open.
    Checkpoint::open(folder.path())
}

fn network(shape: &Shape) -> (Network, Random) {
    let weights = shape.weights(11);
    let checkpoint = open(shape, &weights).unwrap();
    let network = Network::new(&checkpoint, &f32()).unwrap();
    (network, weights)
}

fn f32() -> NetworkOptions {
    NetworkOptions {
        dtype: Some(Dtype::Float32),
        ..NetworkOptions::default()
    }
}

fn ids(tokens: &[usize]) -> Array {
    let tokens: Vec<u32> = tokens.iter().map(|&token| token as u32).collect();
    Array::from_slice(&tokens, [1, tokens.len() as i32]).unwrap()
}

/// All scores at once.
fn scores(network: &Network, tokens: &[usize]) -> Vec<f32> {
    let (logits, _) = network
        .forward(&ids(tokens), network.new_kv_cache(1, 16), 0)
        .unwrap();
    logits.to_vec().unwrap()
}

#[track_caller]
fn close(got: &[f32], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len());
    let scale = wanted
        .iter()
        .fold(1.0, |most: f64, value| most.max(value.abs()));
    for (i, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let off = (f64::from(*got) - wanted).abs() / scale;
        assert!(off < 2e-5, "{i}: {got} {wanted}");
    }
}

#[rstest]
#[case::llama(llama())]
#[case::llama_tied(Shape { tied: true, ..llama() })]
#[case::qwen2(qwen2())]
#[case::qwen3(qwen3())]
fn both_kernels_give_the_reference(#[case] shape: Shape) {
    let (network, weights) = network(&shape);
    let wanted = shape.forward(&weights, &TOKENS, &shape.radians()).concat();
    close(&scores(&network, &TOKENS), &wanted);
    let composed = network.with_kernels(FastOps::Composed);
    close(&scores(&composed, &TOKENS), &wanted);
    assert_eq!(network.parameters().len(), weights.len());
}

const LINEAR: &str = r#", "rope_scaling": {"type": "linear", "factor": 4.0}"#;
const LLAMA3: &str = r#", "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64}"#;

#[rstest]
#[case("llama", llama())]
#[case("llama_linear", Shape { extra: LINEAR, ..llama() })]
#[case("llama3", Shape { extra: LLAMA3, ..llama() })]
#[case("qwen2", qwen2())]
#[case("qwen3", qwen3())]
fn scores_are_those_of_mlx_lm(#[case] name: &str, #[case] shape: Shape) {
    let lines = include_str!("golden/llama_logits.txt").lines();
    let line = lines
        .filter_map(|line| line.split_once(' '))
        .find(|line| line.0 == name);
    let numbers = line.unwrap().1.split(' ');
    let wanted: Vec<f64> = numbers.map(|number| number.parse().unwrap()).collect();
    let (network, _) = network(&shape);
    let (logits, _) = network
        .next_token_logits(&ids(&TOKENS), network.new_kv_cache(1, 16), 0)
        .unwrap();
    close(&logits.to_vec::<f32>().unwrap(), &wanted);
}

#[test]
fn linear_scaling_slows_all_pairs() {
    let shape = Shape {
        extra: LINEAR,
        ..llama()
    };
    let (network, weights) = network(&shape);
    let radians: Vec<f64> = shape.radians().iter().map(|r| r / 4.0).collect();
    let wanted = shape.forward(&weights, &TOKENS, &radians).concat();
    close(&scores(&network, &TOKENS), &wanted);
}

#[test]
fn scaling_of_llama3_slows_slow_pairs() {
    let shape = Shape {
        extra: LLAMA3,
        ..llama()
    };
    let (network, weights) = network(&shape);
    let radians: Vec<f64> = shape
        .radians()
        .iter()
        .map(|&r| {
            let wavelength = std::f64::consts::TAU / r;
            if wavelength < 64.0 / 4.0 {
                r
            } else if wavelength > 64.0 / 1.0 {
                r / 8.0
            } else {
                let smooth = (64.0 / wavelength - 1.0) / (4.0 - 1.0);
                (1.0 - smooth) * r / 8.0 + smooth * r
            }
        })
        .collect();
    assert!(radians[0] == 1.0 && radians[3] < shape.radians()[3]);
    let wanted = shape.forward(&weights, &TOKENS, &radians).concat();
    close(&scores(&network, &TOKENS), &wanted);
}

#[rstest]
#[case::llama(llama(), FastOps::Fused)]
#[case::llama_composed(llama(), FastOps::Composed)]
#[case::qwen2(qwen2(), FastOps::Composed)]
#[case::qwen3(qwen3(), FastOps::Fused)]
fn steps_with_a_cache_give_what_one_pass_gives(#[case] shape: Shape, #[case] kernels: FastOps) {
    let network = network(&shape).0.with_kernels(kernels);
    let whole: Vec<f64> = scores(&network, &TOKENS)
        .iter()
        .map(|&s| s.into())
        .collect();
    let rows = whole.chunks(shape.vocab);
    // Three tokens, then one at a time: with a number, and with an array for the position.
    let (mut grown, mut fixed) = (network.new_kv_cache(1, 9), network.new_kv_cache(1, 9));
    let mut start = 0;
    for n in [3, 1, 1, 1, 1] {
        let tokens = ids(&TOKENS[start..start + n]);
        let position = Array::scalar(start as i32);
        let (by_number, cache) = network
            .next_token_logits(&tokens, grown, start as i32)
            .unwrap();
        grown = cache;
        let (by_array, cache) = network
            .next_token_logits(&tokens, fixed, &position)
            .unwrap();
        fixed = cache;
        start += n;
        let wanted = rows.clone().nth(start - 1).unwrap();
        close(&by_number.to_vec::<f32>().unwrap(), wanted);
        close(&by_array.to_vec::<f32>().unwrap(), wanted);
    }
    for ((keys, values), (other_keys, other_values)) in grown.iter().zip(&fixed) {
        for (a, b) in [(keys, other_keys), (values, other_values)] {
            assert_eq!(
                a.shape().unwrap(),
                [1, shape.kv_heads as i32, 9, shape.head_dim as i32]
            );
            assert!((a - b).abs().max(()).item::<f32>().unwrap() < 1e-5);
        }
    }
}

#[test]
fn a_full_cache_is_an_error_and_stays_whole() {
    let (network, _) = network(&llama());
    let mut session = Session::new(&network, 4).unwrap();
    session.append(&[1, 2, 3]).unwrap();
    let text = session.append(&[1, 2]).unwrap_err().to_string();
    assert!(
        text.contains("session: wanted 1 to 1 more tokens, got 2"),
        "{text}"
    );
    assert_eq!(session.tokens(), [1, 2, 3]);
    let last = session.append(&[4]).unwrap();
    assert!(session.append(&[4]).is_err());
    // Truncation frees capacity.
    session.truncate(3);
    assert_eq!(session.append(&[4]).unwrap(), last);
    let mut cache = Cache::new(&network, 2).unwrap();
    let text = cache
        .append(&network, &[1, 2, 3])
        .err()
        .unwrap()
        .to_string();
    assert!(
        text.contains("cache: wanted 1 to 2 more tokens, got 3"),
        "{text}"
    );
    assert!(cache.append(&network, &[]).is_err());
    assert!(Cache::new(&network, 0).is_err());
    assert!(Cache::new(&network, 65).is_err());
}

#[rstest]
#[case::by_number(false)]
#[case::by_array(true)]
fn steps_write_into_the_memory_that_is_there(#[case] by_array: bool) {
    needs!(CpuMemory);
    let (network, _) = network(&llama());
    let mut cache = network.new_kv_cache(1, 16);
    let mut places = Vec::new();
    for position in 0..4 {
        let (logits, grown) = if by_array {
            network.next_token_logits(&ids(&[1]), cache, &Array::scalar(position))
        } else {
            network.next_token_logits(&ids(&[1]), cache, position)
        }
        .unwrap();
        cache = grown;
        let arrays = cache.iter().flat_map(|(keys, values)| [keys, values]);
        mlx::eval(arrays.clone().chain([&logits])).unwrap();
        let now: Vec<usize> = arrays
            .map(|array| array.as_slice::<f32>().unwrap().as_ptr() as usize)
            .collect();
        places.push(now);
    }
    // The first step allocates the buffers.
    assert_eq!(places[1], places[2]);
    assert_eq!(places[2], places[3]);
}

#[test]
fn positions_beyond_the_room_are_errors() {
    needs!(ErrorsOfValues);
    let (network, _) = network(&llama());
    let beyond = |n: usize, start: i32| {
        network.next_token_logits(&ids(&TOKENS[..n]), network.new_kv_cache(1, 4), start)
    };
    assert!(beyond(1, 4).is_err());
    assert!(beyond(2, 3).is_err());
    assert!(beyond(1, -1).is_err());
    assert!(beyond(1, i32::MAX).is_err());
    assert!(beyond(1, 3).is_ok());
    // An array's value is known when the graph runs.
    let position = Array::scalar(4_i32);
    let (logits, cache) = network
        .next_token_logits(&ids(&[1]), network.new_kv_cache(1, 4), &position)
        .unwrap();
    let cache = cache.iter().flat_map(|(keys, values)| [keys, values]);
    assert!(mlx::eval(cache.chain([&logits])).is_err());
    let short: Vec<LayerKvCache> = network.new_kv_cache(1, 4).into_iter().take(1).collect();
    assert!(network.next_token_logits(&ids(&[1]), short, 0).is_err());
}

#[test]
fn tokens_outside_the_vocabulary_are_errors() {
    let (network, _) = network(&llama());
    let mut session = Session::new(&network, 4).unwrap();
    let text = session.append(&[24]).unwrap_err().to_string();
    assert!(text.contains("wanted tokens below 24, got 24"), "{text}");
}

#[test]
fn a_common_prefix_is_reused() {
    let (network, _) = network(&qwen3());
    let fresh = |tokens: &[u32]| Session::new(&network, 16).unwrap().append(tokens).unwrap();
    let mut session = Session::new(&network, 16).unwrap();
    session.append(&[1, 2, 3, 4, 5]).unwrap();
    for text in [&[1, 2, 3, 9, 9][..], &[1, 2], &[7], &[7, 1, 2, 3]] {
        let got = session.prefill_with_prefix_reuse(text).unwrap();
        let wanted: Vec<f64> = fresh(text).iter().map(|&s| s.into()).collect();
        close(&got, &wanted);
        assert_eq!(session.tokens(), text);
    }
    assert!(session.prefill_with_prefix_reuse(&[]).is_err());
}

/// The file of these weights, opened.
fn gguf(shape: &Shape, weights: &Random, matrix: impl Fn(&[f32]) -> (GgmlType, Vec<u8>)) -> Gguf {
    let file = writer(shape, weights, matrix).finish();
    Gguf::read(&Arc::new(Source::from_bytes(file))).unwrap()
}

fn from_gguf(gguf: &Gguf, unpacked: bool) -> Network {
    let weights = mlx_models::llama::WeightStore::from_gguf(gguf).unwrap();
    let options = NetworkOptions { unpacked, ..f32() };
    Network::from_store(Config::from_gguf(gguf).unwrap(), &weights, &options).unwrap()
}

#[rstest]
#[case::llama(llama())]
#[case::llama_tied(Shape { tied: true, ..llama() })]
#[case::qwen2(qwen2())]
#[case::qwen3(qwen3())]
fn gguf_files_give_the_reference(#[case] shape: Shape) {
    let weights = shape.weights(5);
    let file = gguf(&shape, &weights, |values| {
        (
            GgmlType::F32,
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    });
    let network = from_gguf(&file, false);
    let wanted = shape.forward(&weights, &TOKENS, &shape.radians()).concat();
    close(&scores(&network, &TOKENS), &wanted);
    close(
        &scores(&network.with_kernels(FastOps::Composed), &TOKENS),
        &wanted,
    );
}

/// Each 32 values as 8-bit numbers and a scale.
fn q8_0(values: &[f32]) -> (GgmlType, Vec<u8>) {
    let mut bytes = Vec::new();
    for block in values.chunks(32) {
        let most = block
            .iter()
            .fold(0.0, |most: f32, value| most.max(value.abs()));
        let scale = half::f16::from_f32(most / 127.0);
        bytes.extend(scale.to_le_bytes());
        bytes.extend(
            block
                .iter()
                .map(|value| (value / scale.to_f32()).round() as i8 as u8),
        );
    }
    (GgmlType::Q8_0, bytes)
}

#[rstest]
#[case::llama(llama())]
#[case::qwen2(qwen2())]
#[case::qwen3(qwen3())]
fn packed_and_unpacked_weights_agree(#[case] shape: Shape) {
    let file = gguf(&shape, &shape.weights(6), q8_0);
    let (packed, unpacked) = (from_gguf(&file, false), from_gguf(&file, true));
    let uint32 = |network: &Network| {
        let parameters = network.parameters();
        let packed = parameters
            .values()
            .filter(|a| a.dtype().unwrap() == Dtype::Uint32);
        packed.count()
    };
    let matrices = 7 * shape.layers + if shape.tied { 1 } else { 2 };
    assert_eq!((uint32(&packed), uint32(&unpacked)), (matrices, 0));
    let wanted: Vec<f64> = scores(&unpacked, &TOKENS)
        .iter()
        .map(|&s| s.into())
        .collect();
    close(&scores(&packed, &TOKENS), &wanted);
    close(
        &scores(&packed.with_kernels(FastOps::Composed), &TOKENS),
        &wanted,
    );
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let shape = llama();
    let refuse = |change: &dyn Fn(&mut Random)| {
        let mut weights = shape.weights(1);
        change(&mut weights);
        let checkpoint = open(&shape, &weights).unwrap();
        Network::new(&checkpoint, &f32()).err().unwrap().to_string()
    };
    let text = refuse(&|weights| drop(weights.remove("model.layers.1.mlp.up_proj.weight")));
    assert!(
        text.contains("missing: model.layers.1.mlp.up_proj.weight"),
        "{text}"
    );
    let text = refuse(&|weights| drop(weights.insert("extra.weight".into(), (vec![1], vec![0.0]))));
    assert!(text.contains("unused: extra.weight"), "{text}");
    let text = refuse(&|weights| {
        weights.insert("lm_head.weight".into(), (vec![24, 16], vec![0.0; 24 * 16]));
    });
    assert!(
        text.contains("lm_head.weight must be [24, 32], got [24, 16]"),
        "{text}"
    );
}

#[test]
fn a_folder_says_which_tokens_end_a_text() {
    let shape = llama();
    let checkpoint = open(&shape, &shape.weights(1)).unwrap();
    assert_eq!(checkpoint.end_tokens, [3, 5]);
    assert!(checkpoint.chat_template.is_none());
    assert_eq!(checkpoint.tokenizer.encode("abc</s>").unwrap(), [4, 2, 5]);
}

#[rstest]
#[case(
    r#""model_type": "llama""#,
    r#""model_type": "gemma""#,
    "wanted llama, qwen2 or qwen3, got gemma"
)]
#[case(
    r#""num_key_value_heads": 2"#,
    r#""num_key_value_heads": 3"#,
    "wanted a multiple of 3"
)]
#[case(
    r#""num_key_value_heads": 2"#,
    r#""num_key_value_heads": 0"#,
    "num_key_value_heads: wanted a number from 1"
)]
#[case(
    r#""head_dim": 8"#,
    r#""head_dim": 7"#,
    "head_dim: wanted an even number"
)]
#[case(
    r#""hidden_size": 32"#,
    r#""hidden_size": 99999999999"#,
    "hidden_size: wanted a number from 1"
)]
#[case(
    r#""num_hidden_layers": 2"#,
    r#""num_hidden_layers": 1000000"#,
    "num_hidden_layers: wanted"
)]
#[case(
    r#""hidden_act": "silu""#,
    r#""hidden_act": "gelu""#,
    "hidden_act: wanted silu, got gelu"
)]
#[case(
    r#""rope_theta": 10000"#,
    r#""rope_theta": 0"#,
    "rope: wanted a positive theta"
)]
#[case(
    r#""hidden_act": "silu""#,
    r#""use_sliding_window": true"#,
    "use_sliding_window: wanted false"
)]
#[case(
    r#""hidden_act": "silu""#,
    r#""rope_scaling": {"type": "yarn"}"#,
    "wanted default, linear or llama3, got yarn"
)]
#[case(
    r#""hidden_act": "silu""#,
    r#""rope_scaling": {"type": "linear"}"#,
    "wanted a number factor"
)]
#[case(
    r#""hidden_act": "silu""#,
    r#""layer_types": ["full_attention", "sliding_attention"]"#,
    "layer_types: wanted full_attention, got sliding_attention"
)]
#[case(
    r#""hidden_act": "silu""#,
    r#""partial_rotary_factor": 0.5"#,
    "partial_rotary_factor: wanted 1, got 0.5"
)]
#[case("{", "[", "json")]
fn refuses_configurations(#[case] part: &str, #[case] other: &str, #[case] says: &str) {
    let json = llama().config_json();
    assert!(json.contains(part), "{json}");
    Config::from_json(&json).unwrap();
    let text = Config::from_json(&json.replacen(part, other, 1))
        .unwrap_err()
        .to_string();
    assert!(text.contains(says), "{text}");
}

/// Mistral is Llama, and reads as many tokens as its window has: within it nothing is hidden.
#[rstest]
#[case(r#""sliding_window": null"#, 64)]
#[case(r#""sliding_window": 16"#, 16)]
#[case(r#""sliding_window": 4096"#, 64)]
#[case(
    r#""sliding_window": 16, "layer_types": ["sliding_attention", "sliding_attention"]"#,
    16
)]
#[case(
    r#""rope_parameters": null, "rope_scaling": {"rope_type": "default"}"#,
    64
)]
fn mistral_is_llama_with_a_window(#[case] more: &str, #[case] positions: usize) {
    let llama = llama().config_json();
    let mistral = llama.replacen("\"llama\"", "\"mistral\"", 1);
    let mistral = mistral.replacen(r#""hidden_act": "silu""#, more, 1);
    let wanted = Config {
        max_position_embeddings: positions,
        ..Config::from_json(&llama).unwrap()
    };
    assert_eq!(Config::from_json(&mistral).unwrap(), wanted);
}
