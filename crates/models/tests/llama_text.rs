//! Text on its way into and out of a model: tokenizers from GGUF metadata, chat templates, streaming, sampling.

use std::collections::HashSet;

use mlx_models::llama::{ChatTemplate, Message, Sampler, SamplingOptions, TextStream, Tokenizer};
use mlx_models::weights::gguf::{List, Metadata, Value};
use rstest::rstest;

/// The characters that stand for the 256 bytes.
fn bytes() -> Vec<String> {
    let plain = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    (0..256_u32)
        .map(|byte| {
            let code = if plain(&byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap().to_string()
        })
        .collect()
}

/// A vocabulary of all bytes, merged pairs and special tokens.
fn metadata(pre: &str, merges: &[&str]) -> Metadata {
    let mut tokens = bytes();
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    tokens.extend(["<|im_start|>", "<|im_end|>", "<tool>"].map(String::from));
    let n = tokens.len();
    let mut types = vec![1; n];
    (types[n - 3], types[n - 2], types[n - 1]) = (3, 3, 4);
    let texts = |texts: Vec<String>| Value::List(List::Texts(texts));
    let merges = merges.iter().map(|merge| String::from(*merge)).collect();
    [
        ("tokenizer.ggml.model", Value::Text("gpt2".into())),
        ("tokenizer.ggml.pre", Value::Text(pre.into())),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.merges", texts(merges)),
        (
            "tokenizer.ggml.token_type",
            Value::List(List::Signed(types)),
        ),
        ("tokenizer.ggml.bos_token_id", Value::Unsigned(n as u64 - 3)),
        ("tokenizer.ggml.eos_token_id", Value::Unsigned(n as u64 - 2)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

fn with(metadata: &Metadata, key: &str, value: Value) -> Metadata {
    let old = metadata.iter().filter(|(old, _)| *old != key);
    old.map(|(key, value)| (key.to_owned(), value.clone()))
        .chain([(key.to_owned(), value)])
        .collect()
}

fn tokenizer(pre: &str, merges: &[&str]) -> Tokenizer {
    Tokenizer::from_gguf(&metadata(pre, merges)).unwrap()
}

/// The tokens of a text, as they are in the vocabulary.
fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let tokens = tokenizer.encode_plain(text).unwrap();
    tokens
        .iter()
        .map(|&token| tokenizer.token(token).unwrap())
        .collect()
}

/// Where a way splits shows in what can no longer be merged.
#[rstest]
#[case("gpt-2", "12 34", &["12", "Ġ", "34"])]
#[case("smollm", "12 34", &["1", "2", "Ġ", "3", "4"])]
#[case("qwen2", "12 34", &["1", "2", "Ġ", "3", "4"])]
#[case("llama-bpe", "12 34", &["12", "Ġ", "34"])]
#[case("default", "12 34", &["12", "Ġ", "34"])]
#[case("gpt-2", "1234", &["1234"])]
#[case("llama-bpe", "1234", &["12", "3", "4"])]
#[case("default", "1234", &["12", "3", "4"])]
#[case("gpt-2", "(ab", &["(", "ab"])]
#[case("qwen2", "(ab", &["(ab"])]
#[case("llama-bpe", "(ab", &["(ab"])]
#[case("gpt-2", "ab'LL", &["ab", "'", "L", "L"])]
#[case("qwen2", "ab'LL", &["ab", "'", "L", "L"])]
fn each_way_splits_where_its_model_was_trained_to(
    #[case] pre: &str,
    #[case] text: &str,
    #[case] wanted: &[&str],
) {
    let merges = ["1 2", "3 4", "12 34", "a b", "( ab"];
    assert_eq!(pieces(&tokenizer(pre, &merges), text), wanted);
}

#[rstest]
#[case("gpt-2")]
#[case("smollm")]
#[case("qwen2")]
#[case("llama-bpe")]
#[case("default")]
fn every_text_survives(#[case] pre: &str) {
    let tokenizer = tokenizer(pre, &["a b", "Ġ a"]);
    for text in [
        "",
        " ab  ab\n",
        "naïve ½ 日本語 👩‍👩‍👧‍👦",
        "\u{0}\u{7f}\r\n\t",
        "a'b 12345",
    ] {
        let tokens = tokenizer.encode_plain(text).unwrap();
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text, "{pre}");
    }
}

#[test]
fn qwen2_composes_characters_first() {
    let text = "e\u{301}";
    let qwen = tokenizer("qwen2", &[]);
    assert_eq!(qwen.decode(&qwen.encode(text).unwrap()).unwrap(), "é");
    let other = tokenizer("llama-bpe", &[]);
    assert_eq!(other.decode(&other.encode(text).unwrap()).unwrap(), text);
}

#[test]
fn special_tokens_are_found_in_text_and_left_out_of_it() {
    let metadata = metadata("smollm", &["a b"]);
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    assert_eq!((tokenizer.bos, tokenizer.eos), (Some(257), Some(258)));
    let tokens = tokenizer.encode("<|im_start|>ab<tool><|im_end|>").unwrap();
    assert_eq!(tokens, [257, 256, 259, 258]);
    assert_eq!(tokenizer.decode(&tokens).unwrap(), "ab<tool>");
    let metadata = with(&metadata, "tokenizer.ggml.add_bos_token", Value::Bool(true));
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    assert_eq!(tokenizer.encode("ab").unwrap(), [257, 256]);
    assert_eq!(tokenizer.encode("<|im_start|>ab").unwrap(), [257, 256]);
    assert_eq!(tokenizer.encode_plain("ab").unwrap(), [256]);
}

#[rstest]
#[case("tokenizer.ggml.model", Value::Text("t5".into()), "tokenizer.ggml.model: wanted gpt2 or llama, got t5 (unigrams")]
#[case("tokenizer.ggml.model", Value::Text("bert".into()), "got bert (WordPiece)")]
#[case("tokenizer.ggml.model", Value::Text("rwkv".into()), "got rwkv")]
#[case("tokenizer.ggml.pre", Value::Text("tekke".into()), "tokenizer.ggml.pre: wanted the name of a pre-tokenizer of llama.cpp's")]
#[case(
    "tokenizer.ggml.tokens",
    Value::Bool(true),
    "tokenizer.ggml.tokens: wanted a list of texts"
)]
#[case("tokenizer.ggml.merges", Value::List(List::Texts(vec!["ab".into()])), "wanted two tokens")]
#[case("tokenizer.ggml.merges", Value::List(List::Texts(vec!["a zz".into()])), "zz")]
#[case(
    "tokenizer.ggml.eos_token_id",
    Value::Unsigned(9999),
    "tokenizer.ggml.eos_token_id: wanted a token below"
)]
#[case("tokenizer.ggml.bos_token_id", Value::Signed(-1), "tokenizer.ggml.bos_token_id: wanted a whole number")]
fn refuses_broken_vocabularies(#[case] key: &str, #[case] value: Value, #[case] says: &str) {
    let metadata = with(&metadata("smollm", &["a b"]), key, value);
    let text = Tokenizer::from_gguf(&metadata).err().unwrap().to_string();
    assert!(text.contains(says), "{text}");
}

#[test]
fn a_stream_holds_characters_back_until_they_are_whole() {
    let tokenizer = tokenizer("smollm", &[]);
    let text = "aé日👍b";
    let mut stream = TextStream::new(&tokenizer, &[]);
    let mut told = Vec::new();
    for token in tokenizer.encode(text).unwrap() {
        told.push(stream.push(token).unwrap());
    }
    told.push(stream.finish().unwrap());
    let wanted = ["a", "", "é", "", "", "日", "", "", "", "👍", "b", ""];
    assert_eq!(told, wanted);
    // What never becomes whole comes out in the end.
    let mut stream = TextStream::new(&tokenizer, &[]);
    assert_eq!(stream.push(tokenizer.encode("日").unwrap()[0]).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
}

#[rstest]
#[case("hello END more", &["END"], "hello ", true)]
#[case("hello EN more", &["END"], "hello EN more", false)]
#[case("aab", &["ab"], "a", true)]
#[case("one\ntwo", &["\n", "two"], "one", true)]
#[case("ends in EN", &["END"], "ends in EN", false)]
#[case("日本", &["本"], "日", true)]
#[case("anything", &[""], "anything", false)]
fn a_stream_ends_in_front_of_a_stop_string(
    #[case] text: &str,
    #[case] stop: &[&str],
    #[case] wanted: &str,
    #[case] stops: bool,
) {
    let tokenizer = tokenizer("smollm", &[]);
    let stop: Vec<String> = stop.iter().map(|text| String::from(*text)).collect();
    let mut stream = TextStream::new(&tokenizer, &stop);
    let mut told = String::new();
    for token in tokenizer.encode(text).unwrap() {
        told += &stream.push(token).unwrap();
    }
    told += &stream.finish().unwrap();
    assert_eq!((told.as_str(), stream.stopped()), (wanted, stops));
}

#[test]
fn templates_know_what_python_knows() {
    let template = "{%- if messages[0]['role'] == 'system' -%}\n    {%- set system = messages[0].content.strip() -%}\n\
        {%- endif %}\n{{ bos_token }}{% for message in messages[1:] %}\n\
        {% if loop.last and message.role.startswith('us') %}{{ {'a<': [1, message.content | trim]} | tojson }}{% endif %}\n\
        {% endfor %}{{ system.upper() }}{% if strftime_now is defined %}!{% endif %}{{ eos_token }}\n";
    let template = ChatTemplate::new(template, "<s>", "</s>");
    let talk = [Message::system(" be <brief> "), Message::user(" \"Hi\" ")];
    assert_eq!(
        template.render(&talk, false).unwrap(),
        "<s>{\"a<\": [1, \"\\\"Hi\\\"\"]}BE <BRIEF>!</s>"
    );
}

#[rstest]
#[case(
    "{{ raise_exception('roles must alternate') }}",
    "roles must alternate"
)]
#[case("{% for x in", "chat template")]
#[case(
    "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
    "chat template"
)]
#[case("{{ nothing.at.all }}", "chat template")]
fn templates_that_fail_are_errors(#[case] template: &str, #[case] says: &str) {
    let template = ChatTemplate::new(template, "", "");
    let text = template
        .render(&[Message::user("x")], true)
        .unwrap_err()
        .to_string();
    assert!(text.contains(says), "{text}");
}

/// Logarithms of these probabilities: tokens 0 to 4.
fn logits() -> Vec<f32> {
    [0.1_f32, 0.4, 0.05, 0.3, 0.15].map(f32::ln).to_vec()
}

fn hot() -> SamplingOptions {
    SamplingOptions {
        temperature: 1.0,
        ..SamplingOptions::default()
    }
}

fn drawn(options: SamplingOptions, n: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(options).unwrap();
    (0..n)
        .map(|_| sampler.choose(&mut logits(), &[]).unwrap())
        .collect()
}

#[rstest]
#[case::all(hot(), &[0, 1, 2, 3, 4])]
#[case::top_k(SamplingOptions { top_k: 2, ..hot() }, &[1, 3])]
#[case::top_k_1(SamplingOptions { top_k: 1, ..hot() }, &[1])]
#[case::top_p(SamplingOptions { top_p: 0.65, ..hot() }, &[1, 3])]
#[case::top_p_tiny(SamplingOptions { top_p: 1e-6, ..hot() }, &[1])]
#[case::min_p(SamplingOptions { min_p: 0.3, ..hot() }, &[1, 3, 4])]
#[case::min_p_1(SamplingOptions { min_p: 1.0, ..hot() }, &[1])]
#[case::together(SamplingOptions { top_k: 4, top_p: 0.9, min_p: 0.3, ..hot() }, &[1, 3, 4])]
#[case::cold(SamplingOptions { temperature: 0.01, ..hot() }, &[1])]
#[case::greedy(SamplingOptions::default(), &[1])]
fn options_leave_tokens_out(#[case] options: SamplingOptions, #[case] wanted: &[u32]) {
    let drawn: HashSet<u32> = drawn(options, 2000).into_iter().collect();
    assert_eq!(drawn, wanted.iter().copied().collect());
}

#[test]
fn draws_follow_the_probabilities_and_the_temperature() {
    let share = |options: SamplingOptions, token: u32| {
        let drawn = drawn(options, 20_000);
        drawn.iter().filter(|&&one| one == token).count() as f32 / 20_000.0
    };
    assert!((share(hot(), 1) - 0.4).abs() < 0.015);
    assert!((share(hot(), 2) - 0.05).abs() < 0.01);
    // 0.4^2 among the squares of all.
    let cool = SamplingOptions {
        temperature: 0.5,
        ..hot()
    };
    let squares = 0.01 + 0.16 + 0.0025 + 0.09 + 0.0225;
    assert!((share(cool, 1) - 0.16 / squares).abs() < 0.015);
    let two = SamplingOptions { top_k: 2, ..hot() };
    assert!((share(two, 1) - 4.0 / 7.0).abs() < 0.015);
}

#[test]
fn the_same_seed_draws_the_same() {
    let with_seed = |seed| drawn(SamplingOptions { seed, ..hot() }, 100);
    assert_eq!(with_seed(7), with_seed(7));
    assert_ne!(with_seed(7), with_seed(8));
}

#[test]
fn a_repetition_penalty_looks_back_a_while() {
    let options = SamplingOptions {
        repetition_penalty: 2.0,
        repetition_context_size: 2,
        ..SamplingOptions::default()
    };
    let mut sampler = Sampler::new(options).unwrap();
    let mut choose =
        |logits: &[f32], before: &[u32]| sampler.choose(&mut logits.to_vec(), before).unwrap();
    assert_eq!(choose(&[3.0, 2.0, -1.0], &[0, 0]), 1);
    assert_eq!(choose(&[3.0, 2.0, -1.0], &[0, 2, 2]), 0);
    assert_eq!(choose(&[-1.0, -1.5], &[0]), 1);
    assert_eq!(choose(&[3.0, 2.0], &[99, 98]), 0);
}

#[rstest]
#[case(SamplingOptions { temperature: -1.0, ..hot() }, "temperature: wanted 0 or more, got -1")]
#[case(SamplingOptions { temperature: f32::NAN, ..hot() }, "temperature")]
#[case(SamplingOptions { top_p: 0.0, ..hot() }, "top_p: wanted above 0, up to 1, got 0")]
#[case(SamplingOptions { top_p: 1.5, ..hot() }, "top_p")]
#[case(SamplingOptions { min_p: 1.5, ..hot() }, "min_p: wanted from 0 to 1, got 1.5")]
#[case(SamplingOptions { repetition_penalty: 0.0, ..hot() }, "repetition_penalty: wanted above 0")]
fn options_out_of_range_are_errors(#[case] options: SamplingOptions, #[case] says: &str) {
    let text = Sampler::new(options).unwrap_err().to_string();
    assert!(text.contains(says), "{text}");
}

#[rstest]
#[case::greedy(SamplingOptions::default())]
#[case::drawn(hot())]
fn broken_scores_are_errors(#[case] options: SamplingOptions) {
    let mut sampler = Sampler::new(options).unwrap();
    assert!(sampler.choose(&mut [], &[]).is_err());
    assert!(sampler.choose(&mut [0.0, f32::NAN], &[]).is_err());
    let never = f32::NEG_INFINITY;
    assert_eq!(sampler.choose(&mut [never, 1.0, never], &[]).unwrap(), 1);
}
