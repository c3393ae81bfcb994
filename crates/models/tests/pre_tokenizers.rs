//! Where the pre-tokenizers that GGUF files name split a text, and what else their names stand for.
//!
//! The values are worked out from the expressions of the models' own `tokenizer.json`; all were also compared with what
//! Python's tokenizers package (its expressions are Oniguruma's) makes of some five hundred texts.

use std::collections::BTreeSet;

use mlx_models::llama::Tokenizer;
use mlx_models::weights::gguf::{List, Metadata, Value};
use rstest::rstest;

/// The characters that stand for the 256 bytes.
fn bytes() -> Vec<char> {
    let plain = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 255;
    let mut character = |byte: u32| {
        let code = if plain(&byte) {
            byte
        } else {
            next += 1;
            next
        };
        char::from_u32(code).unwrap()
    };
    (0..256).map(&mut character).collect()
}

fn metadata(tokens: Vec<String>, merges: Vec<String>, more: &[(&str, Value)]) -> Metadata {
    let texts = |texts| Value::List(List::Texts(texts));
    let mut metadata = vec![
        ("tokenizer.ggml.model", Value::Text("gpt2".into())),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.merges", texts(merges)),
    ];
    metadata.extend(more.iter().cloned());
    metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// A tokenizer that makes one token of every piece of this text: whatever begins a piece is merged with what follows,
/// before what follows is merged itself. No pair of bytes may come twice.
fn whole_pieces(pre: &str, text: &str) -> Tokenizer {
    let bytes = bytes();
    let text: Vec<String> = text
        .bytes()
        .map(|byte| bytes[usize::from(byte)].to_string())
        .collect();
    let mut tokens: Vec<String> = bytes.iter().map(char::to_string).collect();
    let mut known: BTreeSet<String> = tokens.iter().cloned().collect();
    let mut merges = Vec::new();
    for start in 0..text.len() {
        let mut token = text[start].clone();
        for next in &text[start + 1..] {
            merges.push(format!("{token} {next}"));
            token += next;
            if known.insert(token.clone()) {
                tokens.push(token.clone());
            }
        }
    }
    let pre = ("tokenizer.ggml.pre", Value::Text(pre.into()));
    Tokenizer::from_gguf(&metadata(tokens, merges, &[pre])).unwrap()
}

fn pieces(pre: &str, text: &str) -> Vec<String> {
    let tokenizer = whole_pieces(pre, text);
    let tokens = tokenizer.encode_plain(text).unwrap();
    let pieces: Vec<String> = tokens
        .iter()
        .map(|&token| tokenizer.decode(&[token]).unwrap())
        .collect();
    assert_eq!(pieces.concat(), text, "{pre}");
    pieces
}

const DIGITS: &str = "ab 1234567 c";
const CASES: &str = "HelWorldX it'S";
const LINES: &str = "ab  \n\tc.\n d";
const EAST: &str = "a中文bか1。c";

#[rstest]
#[case("gpt-2", DIGITS, &["ab", " 1234567", " c"])]
#[case("jais", DIGITS, &["ab", " 1234567", " c"])]
#[case("starcoder", DIGITS, &["ab", " ", "1", "2", "3", "4", "5", "6", "7", " c"])]
#[case("command-r", DIGITS, &["ab", " ", "1", "2", "3", "4", "5", "6", "7", " c"])]
#[case("smaug-bpe", DIGITS, &["ab", " ", "123", "456", "7", " c"])]
#[case("dbrx", DIGITS, &["ab", " ", "123", "456", "7", " c"])]
#[case("chatglm-bpe", DIGITS, &["ab", " ", "123", "456", "7", " c"])]
#[case("llama3", DIGITS, &["ab", " ", "123", "456", "7", " c"])]
#[case("deepseek-r1-qwen", DIGITS, &["ab", " ", "1", "2", "3", "4", "5", "6", "7", " c"])]
#[case("stablelm2", DIGITS, &["ab", " ", "1", "2", "3", "4", "5", "6", "7", " c"])]
#[case("tekken", DIGITS, &["ab", " ", "1", "2", "3", "4", "5", "6", "7", " c"])]
#[case("gpt-4o", DIGITS, &["ab", " ", "123", "456", "7", " c"])]
#[case("deepseek-v3", DIGITS, &["ab", " ", "123", "456", "7", " c"])]
#[case("deepseek-llm", DIGITS, &["ab", " ", "1234567", " c"])]
#[case("deepseek-coder", DIGITS, &["ab", " ", "1", "2", "3", "4", "5", "6", "7", " c"])]
#[case("falcon", DIGITS, &["ab", " ", "123", "456", "7", " c"])]
#[case("default", DIGITS, &["ab", " ", "123", "456", "7", " c"])]
#[case("bloom", DIGITS, &["ab", " 1234567", " c"])]
#[case("viking", DIGITS, &["ab", " ", "1", "2", "3", "4", "5", "6", "7", " c"])]
#[case("superbpe", DIGITS, &["ab ", "1", "234", "567", " c"])]
#[case("afmoe", DIGITS, &["ab", " ", "1", "234", "567", " c"])]
#[case("tiny_aya", DIGITS, &["ab", " ", "1", "234", "567", " c"])]
#[case("kimi-k2", DIGITS, &["ab", " ", "123", "456", "7", " c"])]
#[case("qwen2", CASES, &["HelWorldX", " it", "'S"])]
#[case("ufakzeka", CASES, &["HelWorldX", " it", "'S"])]
#[case("tekken", CASES, &["Hel", "World", "X", " it", "'S"])]
#[case("gpt-4o", CASES, &["Hel", "World", "X", " it'S"])]
#[case("llama4", CASES, &["Hel", "World", "X", " it'S"])]
#[case("gpt-2", CASES, &["HelWorldX", " it", "'", "S"])]
#[case("bailingmoe", CASES, &["HelWorldX", " it", "'S"])]
#[case("deepseek-v3", CASES, &["HelWorldX", " it", "'S"])]
#[case("superbpe", CASES, &["HelWorldX it'S"])]
#[case("llama-bpe", LINES, &["ab", "  \n", "\tc", ".\n", " d"])]
#[case("seed-coder", LINES, &["ab", "  \n", "\tc", ".", "\n", " d"])]
#[case("gpt-2", LINES, &["ab", "  \n", "\t", "c", ".", "\n", " d"])]
#[case("deepseek-coder", LINES, &["ab", "  ", "\n", "\tc", ".", "\n", " d"])]
#[case("laguna", LINES, &["ab", "  ", "\n", "\tc", ".", "\n", " d"])]
#[case("chameleon", LINES, &["ab", "  ", "\n", "\t", "c", ".", "\n", " d"])]
#[case("qwen2", EAST, &["a中文bか", "1", "。c"])]
#[case("deepseek-v3", EAST, &["a", "中文", "b", "か", "1", "。", "c"])]
#[case("kimi-k2", EAST, &["a", "中文", "bか", "1", "。c"])]
#[case("youtu", EAST, &["a", "中文", "b", "か", "1", "。", "c"])]
#[case("deepseek-llm", EAST, &["a", "中文", "b", "か", "1", "。", "c"])]
#[case("bloom", EAST, &["a中文bか1", "。", "c"])]
#[case("poro-chat", "ab (c,d", &["ab", " (", "c", ",", "d"])]
#[case("exaone-moe", "ab cd", &["ab cd"])]
#[case("chameleon", "x<sentinel:12>y", &["x", "<", "sentinel", ":", "1", "2", ">", "y"])]
#[case("minicpm5", "ab 1234", &["ab", " ", "123", "4"])]
#[case("jais-2", "a     b", &["a", "    ", " b"])]
#[case("spark2_5", "a.\nb", &["a", ".", "\n", "b"])]
fn splits_as_the_model_was_trained(#[case] pre: &str, #[case] text: &str, #[case] wanted: &[&str]) {
    assert_eq!(pieces(pre, text), wanted, "{pre}");
}

/// Letters that Unicode composes into others stay in DeepSeek's list.
#[test]
fn deepseek_lists_letters_by_number() {
    let text = "1\u{1f7d}\u{2126}\u{212a}\u{1fd3}2";
    assert_eq!(
        pieces("deepseek-llm", text),
        ["1", "\u{1f7d}\u{2126}\u{212a}\u{1fd3}", "2"]
    );
    // A letter of a script without cases is not in it.
    assert_eq!(pieces("deepseek-llm", "1\u{5d0}a"), ["1", "\u{5d0}", "a"]);
}

/// All names of llama.cpp's list for pairs of tokens.
const NAMES: [&str; 90] = [
    "a.x-4.0",
    "afmoe",
    "bailingmoe",
    "bailingmoe2",
    "bloom",
    "chameleon",
    "chatglm-bpe",
    "codeshell",
    "cohere2moe",
    "command-r",
    "dbrx",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "default",
    "exaone",
    "exaone-moe",
    "exaone4",
    "f2llmv2",
    "falcon",
    "falcon-h1",
    "falcon3",
    "gemma4",
    "gigachat",
    "glm4",
    "gpt-2",
    "gpt-4o",
    "gpt2",
    "gpt3-finnish",
    "granite-docling",
    "granite-embed-multi-311m",
    "granite-embed-multi-97m",
    "grok-2",
    "hunyuan",
    "hunyuan-dense",
    "hy_v4",
    "jais",
    "jais-2",
    "jina-de",
    "jina-es",
    "jina-v1-en",
    "jina-v2-code",
    "jina-v2-de",
    "jina-v2-es",
    "jina-v5-nano",
    "joyai-llm",
    "kanana2",
    "kimi-k2",
    "kormo",
    "laguna",
    "lfm2",
    "llada-moe",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "llama4",
    "megrez",
    "mellum",
    "mellum2",
    "midm-2.0",
    "minerva-7b",
    "minicpm5",
    "minimax-m2",
    "modern-bert",
    "mpt",
    "olmo",
    "phi-2",
    "pixtral",
    "poro-chat",
    "qwen2",
    "qwen35",
    "refact",
    "roberta-bpe",
    "sarvam-moe",
    "seed-coder",
    "smaug-bpe",
    "smollm",
    "solar-open",
    "spark2_5",
    "stablelm2",
    "starcoder",
    "superbpe",
    "talkie",
    "tekken",
    "tiny_aya",
    "trillion",
    "ufakzeka",
    "viking",
    "youtu",
];

#[test]
fn every_name_gives_a_tokenizer_that_loses_nothing() {
    // Tokens for bytes both ways: as characters, and as llama.cpp writes them where tokens are text.
    let mut tokens: Vec<String> = bytes().iter().map(char::to_string).collect();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    for name in NAMES {
        let pre = ("tokenizer.ggml.pre", Value::Text(name.into()));
        let metadata = metadata(tokens.clone(), vec!["a b".into()], &[pre]);
        let text = Tokenizer::from_gguf(&metadata).err().unwrap().to_string();
        assert!(text.contains("ab"), "{text}");
        let mut tokens = tokens.clone();
        tokens.extend(["ab".into(), "▁".into()]);
        let pre = ("tokenizer.ggml.pre", Value::Text(name.into()));
        let metadata = self::metadata(tokens, vec!["a b".into()], &[pre]);
        let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
        for text in [
            "",
            " ab 12345\r\n\t  naïve 日本語 Ǆ'S ½ 👩‍👩‍👧",
            "\u{0}\u{7f}\u{a0} \u{2028}x  ",
        ] {
            let tokens = tokenizer.encode_plain(text).unwrap();
            assert_eq!(tokenizer.decode(&tokens).unwrap(), text, "{name}");
        }
    }
}

fn with_bos(pre: Option<&str>, more: &[(&str, Value)]) -> Vec<u32> {
    let mut tokens: Vec<String> = bytes().iter().map(char::to_string).collect();
    tokens.extend(["<|begin_of_text|>", "<|end_of_text|>"].map(String::from));
    let mut all = vec![("tokenizer.ggml.bos_token_id", Value::Unsigned(256))];
    all.extend(pre.map(|pre| ("tokenizer.ggml.pre", Value::Text(pre.into()))));
    all.extend(more.iter().cloned());
    let tokenizer = Tokenizer::from_gguf(&metadata(tokens, Vec::new(), &all)).unwrap();
    tokenizer.encode("a1").unwrap()
}

/// Llama.cpp begins texts with a token of their own for these names, unless the file says otherwise.
#[rstest]
#[case(Some("llama-bpe"), None, true)]
#[case(Some("llama3"), None, true)]
#[case(Some("falcon3"), None, true)]
#[case(Some("tekken"), None, true)]
#[case(Some("chameleon"), None, true)]
#[case(Some("smaug-bpe"), None, false)]
#[case(Some("qwen2"), None, false)]
#[case(Some("gpt-2"), None, false)]
#[case(Some("default"), None, false)]
#[case(None, None, false)]
#[case(Some("llama-bpe"), Some(false), false)]
#[case(Some("gpt-2"), Some(true), true)]
fn texts_begin_as_llama_cpp_begins_them(
    #[case] pre: Option<&str>,
    #[case] stated: Option<bool>,
    #[case] wanted: bool,
) {
    let stated = stated.map(|stated| ("tokenizer.ggml.add_bos_token", Value::Bool(stated)));
    let more: Vec<(&str, Value)> = stated.into_iter().collect();
    let begins = with_bos(pre, &more).first() == Some(&256);
    assert_eq!(begins, wanted, "{pre:?}");
}

/// A file without a name is split by llama.cpp's default, unless its model is known to have been trained otherwise.
#[rstest]
#[case(None, "12 345", &["12", " ", "345"])]
#[case(Some("llama"), "12 345", &["12", " ", "345"])]
#[case(Some("qwen2"), "12 345", &["1", "2", " ", "3", "4", "5"])]
#[case(Some("qwen3"), "12 345", &["1", "2", " ", "3", "4", "5"])]
fn a_file_without_a_name_is_split(
    #[case] architecture: Option<&str>,
    #[case] text: &str,
    #[case] wanted: &[&str],
) {
    let mut tokens: Vec<String> = bytes().iter().map(char::to_string).collect();
    tokens.extend(["12", "34", "345", "Ġ3"].map(String::from));
    let merges = ["1 2", "3 4", "34 5", "Ġ 3"].map(String::from).to_vec();
    for name in [None, Some(String::new())] {
        let mut more = Vec::new();
        more.extend(architecture.map(|name| ("general.architecture", Value::Text(name.into()))));
        more.extend(name.map(|name| ("tokenizer.ggml.pre", Value::Text(name))));
        let metadata = metadata(tokens.clone(), merges.clone(), &more);
        let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
        let tokens = tokenizer.encode_plain(text).unwrap();
        let pieces: Vec<String> = tokens
            .iter()
            .map(|&token| tokenizer.decode(&[token]).unwrap())
            .collect();
        assert_eq!(pieces, wanted, "{architecture:?}");
    }
}

#[test]
fn old_files_of_llama_3_begin_texts_too() {
    let architecture = ("general.architecture", Value::Text("llama".into()));
    assert_eq!(with_bos(None, &[architecture]).first(), Some(&256));
}
