//! Continuing prompts with models of random numbers: why writing ends, and what is told.

#[path = "support/llama_reference.rs"]
mod reference;

use std::ops::ControlFlow;

use mlx::{Array, Dtype, Quantization};
use mlx_models::llama::{
    Checkpoint, Finish, GenerateOptions, Generator, Network, NetworkOptions, SamplingOptions,
};
use reference::{Random, Shape, llama, qwen2};

/// As many tokens as the tokenizer has: `a b c d ab </s>`.
fn shape() -> Shape {
    Shape {
        vocab: 6,
        ..llama()
    }
}

fn open(shape: &Shape, weights: &Random) -> (Checkpoint, Network) {
    let folder = tempfile::tempdir().unwrap();
    shape.save(weights, folder.path());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let network = Network::new(&checkpoint, &options32(false)).unwrap();
    (checkpoint, network)
}

fn options32(unpacked: bool) -> NetworkOptions {
    NetworkOptions {
        dtype: Some(Dtype::Float32),
        unpacked,
        ..NetworkOptions::default()
    }
}

/// A model that always writes this token: its row of the last matrix fits whatever comes.
fn always(token: usize) -> (Checkpoint, Network) {
    let shape = Shape {
        layers: 1,
        ..shape()
    };
    let mut weights = shape.weights(2);
    for (name, (_, values)) in &mut weights {
        let same = name.ends_with("embed_tokens.weight") || name.ends_with("norm.weight");
        values.iter_mut().for_each(|value| *value = f32::from(same));
    }
    let (_, head) = weights.get_mut("lm_head.weight").unwrap();
    head[token * 32..(token + 1) * 32].fill(1.0);
    open(&shape, &weights)
}

fn at_most(max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        max_tokens,
        ..GenerateOptions::default()
    }
}

#[test]
fn ends_with_a_token_that_ends_texts() {
    for end in [3, 5] {
        let (checkpoint, network) = always(end);
        let mut generator = Generator::new(&network, &checkpoint).unwrap();
        let written = generator.generate(&[0], &at_most(9), |_| ()).unwrap();
        assert_eq!((written.finish, written.tokens.len()), (Finish::End, 0));
        let ignoring = GenerateOptions {
            ignore_end: true,
            ..at_most(4)
        };
        let written = generator.generate(&[0], &ignoring, |_| ()).unwrap();
        assert_eq!(written.tokens, [end as u32; 4]);
        assert_eq!(written.text, if end == 3 { "dddd" } else { "" });
    }
}

#[test]
fn ends_with_the_number_of_tokens_a_stop_or_a_full_context() {
    let (checkpoint, network) = always(4);
    let mut generator = Generator::with_capacity(&network, &checkpoint, 6).unwrap();
    let mut told = String::new();
    let written = generator
        .generate(&[0, 1], &at_most(3), |piece| told += piece)
        .unwrap();
    assert_eq!(
        (written.finish, written.text.as_str()),
        (Finish::MaxTokens, "ababab")
    );
    assert_eq!(told, "ababab");
    assert_eq!(
        (written.timings.prompt_tokens, written.timings.steps),
        (2, 2)
    );
    let stop = GenerateOptions {
        stop: vec!["ba".into()],
        ..at_most(5)
    };
    let written = generator.generate(&[0, 1], &stop, |_| ()).unwrap();
    assert_eq!((written.finish, written.text.as_str()), (Finish::Stop, "a"));
    // Six positions: the last token written needs none.
    let written = generator.generate(&[0, 1], &at_most(99), |_| ()).unwrap();
    assert_eq!((written.finish, written.tokens.len()), (Finish::Full, 5));
    let written = generator.generate(&[0, 1], &at_most(0), |_| ()).unwrap();
    assert_eq!(
        (written.finish, written.tokens.len()),
        (Finish::MaxTokens, 0)
    );
}

#[test]
fn ends_when_whoever_listens_has_enough() {
    let (checkpoint, network) = always(4);
    let mut generator = Generator::new(&network, &checkpoint).unwrap();
    let mut n = 0;
    let written = generator.generate_while(&[0], &at_most(50), |_| {
        n += 1;
        if n < 3 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    let written = written.unwrap();
    assert_eq!(
        (written.finish, written.text.as_str()),
        (Finish::Cancelled, "ababab")
    );
}

#[test]
fn prompts_that_are_empty_or_too_long_are_errors() {
    let (checkpoint, network) = always(4);
    let mut generator = Generator::with_capacity(&network, &checkpoint, 3).unwrap();
    for prompt in [&[][..], &[0, 1, 2, 0]] {
        let text = generator
            .generate(prompt, &at_most(1), |_| ())
            .unwrap_err()
            .to_string();
        assert!(text.contains("prompt: wanted 1 to 3 tokens"), "{text}");
    }
    assert!(generator.generate(&[6], &at_most(1), |_| ()).is_err());
    // It goes on after an error.
    assert!(generator.generate(&[0], &at_most(1), |_| ()).is_ok());
}

#[test]
fn the_same_seed_writes_the_same() {
    let (checkpoint, network) = open(&shape(), &shape().weights(8));
    let mut generator = Generator::new(&network, &checkpoint).unwrap();
    let mut write = |seed| {
        let sampling = SamplingOptions {
            temperature: 2.0,
            seed,
            ..SamplingOptions::default()
        };
        let options = GenerateOptions {
            sampling,
            ignore_end: true,
            ..at_most(30)
        };
        generator
            .generate(&[0, 1], &options, |_| ())
            .unwrap()
            .tokens
    };
    assert_eq!(write(1), write(1));
    assert_ne!(write(1), write(2));
}

#[test]
fn weights_that_are_no_numbers_are_an_error() {
    let mut weights = shape().weights(8);
    weights.get_mut("model.norm.weight").unwrap().1[3] = f32::NAN;
    let (checkpoint, network) = open(&shape(), &weights);
    let mut generator = Generator::new(&network, &checkpoint).unwrap();
    let text = generator
        .generate(&[0], &at_most(1), |_| ())
        .unwrap_err()
        .to_string();
    assert!(text.contains("scores: wanted numbers, got NaN"), "{text}");
}

/// Folders that MLX's own tools packed have `scales` and `biases` beside `uint32` weights.
#[test]
fn folders_packed_by_mlx_stay_packed() {
    let shape = Shape {
        extra: r#", "quantization": {"group_size": 32, "bits": 4}"#,
        ..qwen2()
    };
    let quantization = Quantization {
        group_size: 32,
        ..Quantization::default()
    };
    let mut tensors = Vec::new();
    let mut add = |name: String, array: Array| {
        let shape: Vec<usize> = array.shape().unwrap().iter().map(|&n| n as usize).collect();
        let (dtype, bytes) = match array.dtype().unwrap() {
            Dtype::Uint32 => (
                safetensors::Dtype::U32,
                array
                    .to_vec::<u32>()
                    .unwrap()
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect(),
            ),
            _ => (
                safetensors::Dtype::F32,
                array
                    .to_vec::<f32>()
                    .unwrap()
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect::<Vec<u8>>(),
            ),
        };
        tensors.push((name, shape, dtype, bytes));
    };
    for (name, (sizes, values)) in shape.weights(4) {
        let sizes: Vec<i32> = sizes.iter().map(|&size| size as i32).collect();
        let array = Array::from_slice(&values, sizes.clone()).unwrap();
        if sizes.len() == 2 {
            let packed = array.quantize(quantization).unwrap();
            let stem = name.strip_suffix(".weight").unwrap();
            add(format!("{stem}.scales"), packed.scales);
            add(format!("{stem}.biases"), packed.biases.unwrap());
            add(name, packed.weight);
        } else {
            add(name, array);
        }
    }
    let views = tensors.iter().map(|(name, shape, dtype, bytes)| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes);
        (name.clone(), view.unwrap())
    });
    let folder = tempfile::tempdir().unwrap();
    shape.save(&Random::new(), folder.path());
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let scores = |unpacked| {
        let network = Network::new(&checkpoint, &options32(unpacked)).unwrap();
        let tokens = Array::from_slice(&[1_u32, 7, 3], [1, 3]).unwrap();
        network
            .next_token_logits(&tokens, network.new_kv_cache(1, 4), 0)
            .unwrap()
            .0
    };
    let most = (scores(false) - scores(true))
        .abs()
        .max(())
        .item::<f32>()
        .unwrap();
    assert!(most < 1e-4, "{most}");
}
