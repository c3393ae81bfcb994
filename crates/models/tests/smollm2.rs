//! SmolLM2-135M-Instruct from its GGUF file, against what Python MLX writes.
//!
//! Needs the file, fetched once into the build folder; says so and passes where it cannot be had, unless
//! `MLX_REQUIRE_ASSETS` is set.

use mlx::Array;
use mlx_models::llama::{
    Checkpoint, Finish, GenerateOptions, Generator, Message, Network, NetworkOptions, RopeScaling,
    Session,
};
use mlx_models::weights::gguf::Gguf;
use mlx_nn::lora::{self, LoraOptions};
use mlx_nn::losses::{Reduction, cross_entropy_with};
use mlx_nn::optimizers::Adam;
use mlx_nn::{FastOps, Module, QuantizedLinear, value_and_grad};
use mlx_testdata::{assets, if_available};

const GOLDEN: &str = include_str!("golden/smollm2.txt");
const PROMPT: &str = "The quick brown fox jumps over the lazy dog.";
const TEXT: &str = "\n\nIn this example, the sentence is a clever use of language to create a humorous and relatable scene. The use of the fox as a character adds a layer of complexity to the story, and the use of the lazy dog as a character adds a layer of humor to the scene. The use of the fox as";

fn golden(name: &str) -> Vec<u32> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name));
    let numbers = line.unwrap().split_whitespace();
    numbers.map(|number| number.parse().unwrap()).collect()
}

fn checkpoint() -> Option<Checkpoint> {
    let path = if_available(assets::smollm2())?;
    Some(Checkpoint::open(path).unwrap())
}

fn options(n: usize) -> GenerateOptions {
    GenerateOptions {
        max_tokens: n,
        ..GenerateOptions::default()
    }
}

#[test]
fn writes_the_tokens_that_python_writes() {
    let Some(checkpoint) = checkpoint() else {
        return;
    };
    // Unpacked weights are the same numbers, and faster on a CPU.
    let unpacked = NetworkOptions {
        unpacked: true,
        ..NetworkOptions::default()
    };
    let network = Network::new(&checkpoint, &unpacked).unwrap();
    let prompt = checkpoint.tokenizer.encode(PROMPT).unwrap();
    assert_eq!(prompt, golden("prompt:"));
    let mut generator = Generator::new(&network, &checkpoint).unwrap();
    let mut pieces = Vec::new();
    let written = generator
        .generate(&prompt, &options(64), |piece| pieces.push(piece.to_owned()))
        .unwrap();
    assert_eq!(written.tokens, golden("tokens:"));
    assert_eq!(written.text, TEXT);
    assert_eq!(written.finish, Finish::MaxTokens);
    assert_eq!(pieces.concat(), TEXT);
    assert!(pieces.len() > 50, "text comes token by token");
    eprintln!(
        "prefill {:?}, {:.1} tokens/s",
        written.timings.prefill,
        written.timings.tokens_per_second()
    );
    // The same prompt again needs one token read, and gives the same.
    let again = generator.generate(&prompt, &options(3), |_| ()).unwrap();
    assert_eq!(again.tokens, written.tokens[..3]);
}

#[test]
fn packed_weights_give_the_same_with_both_kernels() {
    let Some(checkpoint) = checkpoint() else {
        return;
    };
    let network = Network::new(&checkpoint, &NetworkOptions::default()).unwrap();
    let prompt = golden("prompt:");
    let mut generator = Generator::with_capacity(&network, &checkpoint, 32).unwrap();
    let written = generator.generate(&prompt, &options(6), |_| ()).unwrap();
    assert_eq!(written.tokens, golden("tokens:")[..6]);
    let fused = Session::new(&network, 16).unwrap().append(&prompt).unwrap();
    let composed = network.with_kernels(FastOps::Composed);
    let composed = Session::new(&composed, 16)
        .unwrap()
        .append(&prompt)
        .unwrap();
    let most = fused.iter().zip(&composed).map(|(a, b)| (a - b).abs());
    let most = most.fold(0.0, f32::max);
    assert!(most < 1e-3, "{most}");
}

#[test]
fn adapters_on_packed_weights_learn_a_sentence() -> mlx::Result<()> {
    let Some(checkpoint) = checkpoint() else {
        return Ok(());
    };
    mlx_nn::seed(0);
    let mut network = Network::new(&checkpoint, &NetworkOptions::default()).unwrap();
    assert_eq!(network.modules::<QuantizedLinear>().len(), 7 * 30);
    let takes = |name: &str| name.ends_with("q_proj") || name.ends_with("v_proj");
    assert_eq!(
        lora::apply(&mut network, &LoraOptions::default(), takes)?,
        60
    );
    let trainable = network.trainable_parameters();
    assert_eq!(trainable.len(), 120);
    assert!(trainable.contains_key("model.layers.29.self_attn.v_proj.lora_b"));

    let prompt = golden("prompt:");
    let length = i32::try_from(prompt.len()).unwrap() - 1;
    let [inputs, targets] = [&prompt[..prompt.len() - 1], &prompt[1..]]
        .map(|tokens| Array::from_slice(tokens, [1, length]));
    let batch = (inputs?, targets?);
    let step = value_and_grad(
        &network,
        |network: &Network, (inputs, targets): &(Array, Array)| {
            let cache = network.new_kv_cache(1, length);
            network
                .forward(inputs, cache, 0)
                .map_or_else(Array::failed, |(logits, _)| {
                    cross_entropy_with(&logits, targets, Reduction::Mean)
                })
        },
    );
    let name = "model.layers.0.self_attn.q_proj.weight";
    let packed = network.parameters()[name].clone();
    let mut adam = Adam::new(2e-4);
    let mut losses = Vec::new();
    for _ in 0..8 {
        let (loss, gradients) = step(&network, &batch)?;
        assert_eq!(gradients.len(), 120);
        adam.update(&mut network, &gradients)?;
        losses.push(loss.item::<f32>()?);
    }
    eprintln!("{losses:?}");
    assert!(losses.iter().all(|loss| loss.is_finite()));
    assert!(losses[7] < losses[0] * 0.7, "{losses:?}");
    assert!(
        network.parameters()[name]
            .array_equal(&packed)
            .item::<bool>()?
    );
    Ok(())
}

#[test]
fn the_file_says_what_the_model_is() {
    let Some(path) = if_available(assets::smollm2()) else {
        return;
    };
    let gguf = Gguf::open(&path).unwrap();
    let checkpoint = Checkpoint::from_gguf(&gguf).unwrap();
    let config = &checkpoint.config;
    assert_eq!((config.hidden_size, config.num_hidden_layers), (576, 30));
    assert_eq!(
        (config.num_attention_heads, config.num_key_value_heads),
        (9, 3)
    );
    assert_eq!((config.head_dim, config.vocab_size), (64, 49152));
    assert_eq!(config.max_position_embeddings, 8192);
    assert_eq!(
        (config.rope.theta, &config.rope.scaling),
        (100_000.0, &RopeScaling::None)
    );
    assert!(config.rope.traditional && config.tie_word_embeddings);
    assert!(!config.qkv_bias && !config.qk_norm);
    assert_eq!(checkpoint.end_tokens, [0, 2]);
    assert_eq!(checkpoint.weights.names().count(), 272);
}

#[test]
fn text_survives_the_tokenizer() {
    let Some(checkpoint) = checkpoint() else {
        return;
    };
    let tokenizer = &checkpoint.tokenizer;
    for text in [
        "Hello, world!",
        "  two  spaces\tand\ttabs\n\n\nlines ",
        "Straße, naïve café, ЖЖ, 日本語, 👩‍👩‍👧‍👦 🇩🇪",
        "x = 12345 + 0.678; // 10^9 and ½",
        "don't we'll I'M",
        "",
    ] {
        let tokens = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
    }
    // Digits are tokens of their own.
    assert_eq!(tokenizer.encode("2026").unwrap().len(), 4);
    assert_eq!(tokenizer.encode("<|im_start|>user").unwrap(), [1, 4093]);
    assert_eq!(tokenizer.decode(&[1, 4093, 2]).unwrap(), "user");
}

#[test]
fn chat_prompts_are_exact() {
    let Some(checkpoint) = checkpoint() else {
        return;
    };
    let template = checkpoint.chat_template.as_ref().unwrap();
    let user = [Message::user("What is 2 + 2?")];
    assert_eq!(
        template.render(&user, true).unwrap(),
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    );
    let talk = [
        Message::system("Be brief."),
        Message::user("Hi"),
        Message::assistant("Hello."),
    ];
    assert_eq!(
        template.render(&talk, false).unwrap(),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
         <|im_start|>assistant\nHello.<|im_end|>\n"
    );
}

#[test]
fn networks_on_other_threads_write_the_same_from_one_copy_of_the_weights() {
    let Some(mut checkpoint) = checkpoint() else {
        return;
    };
    let prompt = checkpoint.tokenizer.encode(PROMPT).unwrap();
    checkpoint.weights = checkpoint.weights.share(mlx::Dtype::Float32).unwrap();
    let wanted = golden("tokens:");
    let workers = mlx::WorkerPool::new("shared", 2).unwrap();
    let pending: Vec<_> = (0..2)
        .map(|_| {
            let (checkpoint, prompt) = (checkpoint.clone(), prompt.clone());
            let work = move || {
                let network = Network::new(&checkpoint, &NetworkOptions::default()).unwrap();
                let mut generator = Generator::with_capacity(&network, &checkpoint, 64).unwrap();
                let written = generator.generate(&prompt, &options(6), |_| {}).unwrap();
                written.tokens
            };
            workers.start(work).unwrap()
        })
        .collect();
    for tokens in pending {
        assert_eq!(tokens.wait().unwrap(), wanted[..6]);
    }
}
