//! Vocabularies with scores, as Llama 2's: GGUF files of them give the tokens that SentencePiece gives.
//!
//! `golden/make_sentence_piece.py` has trained a small one and written down what SentencePiece makes of texts.

use std::sync::Arc;

use mlx_models::llama::{TextStream, Tokenizer};
use mlx_models::weights::Source;
use mlx_models::weights::gguf::{Gguf, List, Metadata, Value};
use rstest::rstest;

fn trained() -> Metadata {
    let file = include_bytes!("golden/sentence_piece.gguf");
    let source = Arc::new(Source::from_bytes(file.as_slice()));
    Gguf::read(&source).unwrap().metadata
}

#[test]
fn texts_become_the_tokens_of_sentence_piece() {
    let tokenizer = Tokenizer::from_gguf(&trained()).unwrap();
    let golden: Vec<(String, Vec<u32>, String)> =
        serde_json::from_str(include_str!("golden/sentence_piece.json")).unwrap();
    assert!(golden.len() > 90);
    for (text, tokens, decoded) in golden {
        assert_eq!(tokenizer.encode_plain(&text).unwrap(), tokens, "{text:?}");
        assert_eq!(tokenizer.decode(&tokens).unwrap(), decoded, "{text:?}");
        // Llama.cpp begins texts of this kind with token 1 unless the file says otherwise.
        let whole = tokenizer.encode(&text).unwrap();
        assert_eq!((whole[0], &whole[1..]), (1, tokens.as_slice()));
    }
    assert_eq!((tokenizer.bos, tokenizer.eos), (Some(1), Some(2)));
    assert_eq!(tokenizer.vocab_size(), 500);
    assert_eq!(
        tokenizer.id("▁the"),
        tokenizer.encode_plain("the").unwrap().first().copied()
    );
    assert_eq!(tokenizer.token(1).as_deref(), Some("<s>"));
    assert_eq!(tokenizer.token(500), None);
}

#[test]
fn a_file_may_say_that_texts_are_changed_first() {
    let file = include_bytes!("golden/sentence_piece_normalized.gguf");
    let source = Arc::new(Source::from_bytes(file.as_slice()));
    let metadata = Gguf::read(&source).unwrap().metadata;
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    let golden = include_str!("golden/sentence_piece_normalized.json");
    let golden: Vec<(String, Vec<u32>, String)> = serde_json::from_str(golden).unwrap();
    for (text, tokens, decoded) in golden {
        assert_eq!(tokenizer.encode_plain(&text).unwrap(), tokens, "{text:?}");
        assert_eq!(tokenizer.decode(&tokens).unwrap(), decoded, "{text:?}");
    }
    // What replaces characters, with wrong bytes: an error, or other tokens.
    let Some(Value::List(list)) = metadata.get("tokenizer.ggml.precompiled_charsmap") else {
        panic!("a list");
    };
    let bytes: Vec<i64> = match list {
        List::Signed(bytes) => bytes.clone(),
        List::Unsigned(bytes) => bytes.iter().map(|&byte| byte as i64).collect(),
        _ => panic!("bytes"),
    };
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0xff;
        let list = Value::List(List::Signed(bytes[..at.max(bytes.len() / 2)].to_vec()));
        let changed = ("tokenizer.ggml.precompiled_charsmap", list);
        if let Ok(tokenizer) = Tokenizer::from_gguf(&self::metadata(&letters(&[]), &[changed])) {
            let _ = tokenizer.encode("aé fiß\t");
        }
    }
}

#[test]
fn a_stream_gives_what_decoding_gives() {
    let tokenizer = Tokenizer::from_gguf(&trained()).unwrap();
    let text = "the cat 日本 👩‍👩‍👧 sat\n";
    let tokens = tokenizer.encode(text).unwrap();
    let mut stream = TextStream::new(&tokenizer, &[]);
    let mut told = String::new();
    for token in tokens {
        let piece = stream.push(token).unwrap();
        assert!(!piece.contains('\u{fffd}'));
        told += &piece;
    }
    told += &stream.finish().unwrap();
    assert_eq!(told, text);
}

/// Tokens with their scores and types: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 a byte.
type Tokens<'a> = &'a [(&'a str, f64, i64)];

const BASE: Tokens<'static> = &[("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)];

fn metadata(tokens: &[(&str, f64, i64)], more: &[(&str, Value)]) -> Metadata {
    let texts = tokens.iter().map(|token| token.0.to_owned()).collect();
    let scores = tokens.iter().map(|token| token.1).collect();
    let types = tokens.iter().map(|token| token.2).collect();
    let mut metadata = vec![
        ("tokenizer.ggml.model", Value::Text("llama".into())),
        ("tokenizer.ggml.tokens", Value::List(List::Texts(texts))),
        ("tokenizer.ggml.scores", Value::List(List::Floats(scores))),
        (
            "tokenizer.ggml.token_type",
            Value::List(List::Signed(types)),
        ),
    ];
    for (key, value) in more {
        metadata.retain(|(old, _)| old != key);
        metadata.push((key, value.clone()));
    }
    metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let tokens = tokenizer.encode_plain(text).unwrap();
    tokens
        .iter()
        .map(|&token| tokenizer.token(token).unwrap())
        .collect()
}

fn letters(more: Tokens<'_>) -> Vec<(&'static str, f64, i64)> {
    let mut tokens = BASE.to_vec();
    tokens.extend([
        ("▁", -10.0, 1),
        ("a", -11.0, 1),
        ("b", -12.0, 1),
        ("c", -13.0, 1),
    ]);
    tokens.extend(more.iter().map(|(text, score, kind)| {
        let text: &'static str = String::from(*text).leak();
        (text, *score, *kind)
    }));
    tokens
}

/// The pair with the highest score first, the leftmost among equals.
#[rstest]
#[case(&[("ab", -1.0, 1), ("bc", -2.0, 1)], "abc", &["▁", "ab", "c"])]
#[case(&[("ab", -2.0, 1), ("bc", -1.0, 1)], "abc", &["▁", "a", "bc"])]
#[case(&[("ab", -1.0, 1), ("bc", -1.0, 1)], "abc", &["▁", "ab", "c"])]
#[case(&[("aa", -1.0, 1)], "aaaaa", &["▁", "aa", "aa", "a"])]
#[case(&[("aa", -1.0, 1), ("aaa", -1.0, 1)], "aaaa", &["▁", "aaa", "a"])]
#[case(&[("▁a", -1.0, 1), ("ab", -2.0, 1)], "ab ab", &["▁a", "b", "▁a", "b"])]
// What cannot be spelled, however long, is one token; a control token is never made of letters.
#[case(&[], "axyzb", &["▁", "a", "<unk>", "b"])]
#[case(&[("ab", -1.0, 3)], "a b", &["▁", "a", "▁", "b"])]
// An unused token is replaced by its parts.
#[case(&[("ab", -1.0, 5)], "abc", &["▁", "a", "b", "c"])]
#[case(&[("ab", -1.0, 5), ("abc", -2.0, 1)], "abca", &["▁", "abc", "a"])]
#[case(&[("ab", -1.0, 5), ("abc", -2.0, 5)], "abc", &["▁", "a", "b", "c"])]
// Bytes, where there are some for all of a character.
#[case(&[("<0xC3>", 0.0, 6), ("<0xA9>", 0.0, 6)], "aé", &["▁", "a", "<0xC3>", "<0xA9>"])]
#[case(&[("<0xC3>", 0.0, 6)], "aé", &["▁", "a", "<unk>"])]
// Special tokens in a text; behind them a space is put in front as at the beginning.
#[case(&[], "a</s>b", &["▁", "a", "</s>", "▁", "b"])]
#[case(&[], "<s><s>", &["<s>", "<s>"])]
#[case(&[], "<unk>a", &["<unk>", "▁", "a"])]
#[case(&[("<t>", 0.0, 4), ("<t>a", 0.0, 4)], "<t><t>ab", &["<t>", "<t>a", "▁", "b"])]
fn pieces_are_merged_by_score(
    #[case] more: Tokens<'_>,
    #[case] text: &str,
    #[case] wanted: &[&str],
) {
    let tokenizer = Tokenizer::from_gguf(&metadata(&letters(more), &[])).unwrap();
    assert_eq!(pieces(&tokenizer, text), wanted);
}

#[test]
fn the_file_says_what_is_put_in_front() {
    let no = |key: &'static str| (key, Value::Bool(false));
    let more = [
        no("tokenizer.ggml.add_space_prefix"),
        no("tokenizer.ggml.add_bos_token"),
    ];
    let tokenizer = Tokenizer::from_gguf(&metadata(&letters(&[]), &more)).unwrap();
    let tokens = tokenizer.encode(" ab").unwrap();
    assert_eq!(tokens, [3, 4, 5]);
    assert_eq!(tokenizer.decode(&tokens).unwrap(), " ab");
    let tokenizer = Tokenizer::from_gguf(&metadata(&letters(&[]), &[])).unwrap();
    assert_eq!(tokenizer.encode("ab").unwrap(), [1, 3, 4, 5]);
    // A text that begins with that token already has it.
    assert_eq!(tokenizer.encode("<s>ab").unwrap(), [1, 3, 4, 5]);
    assert_eq!(tokenizer.decode(&[1, 3, 4, 3, 5, 2]).unwrap(), "a b");
    let bos = ("tokenizer.ggml.bos_token_id", Value::Unsigned(6));
    let tokenizer = Tokenizer::from_gguf(&metadata(&letters(&[]), &[bos])).unwrap();
    assert_eq!(tokenizer.encode("a").unwrap(), [6, 3, 4]);
}

#[test]
fn bytes_that_are_no_characters_are_replaced() {
    let bytes = [("<0xE3>", 0.0, 6), ("<0x81>", 0.0, 6), ("<0x82>", 0.0, 6)];
    let tokenizer = Tokenizer::from_gguf(&metadata(&letters(&bytes), &[])).unwrap();
    // As SentencePiece: one for each byte.
    assert_eq!(tokenizer.decode(&[7, 8, 9]).unwrap(), "あ");
    assert_eq!(tokenizer.decode(&[7, 8]).unwrap(), "\u{fffd}\u{fffd}");
    assert_eq!(tokenizer.decode(&[8, 7, 8, 9, 4]).unwrap(), "\u{fffd}あa");
    assert_eq!(tokenizer.decode(&[99, 4]).unwrap(), "a");
}

#[test]
fn a_file_without_types_or_scores_is_read() {
    let mut without: Vec<(String, Value)> = Vec::new();
    let bytes = [("<0x0A>", 0.0, 6)];
    for (key, value) in metadata(&letters(&bytes), &[]).iter() {
        if key != "tokenizer.ggml.token_type" && key != "tokenizer.ggml.scores" {
            without.push((key.to_owned(), value.clone()));
        }
    }
    let tokenizer = Tokenizer::from_gguf(&without.into_iter().collect()).unwrap();
    assert_eq!(tokenizer.encode("a\n</s>").unwrap(), [1, 3, 4, 7, 2]);
    assert_eq!(tokenizer.decode(&[1, 3, 4, 7, 2]).unwrap(), "a\n");
}

#[rstest]
#[case("tokenizer.ggml.scores", Value::List(List::Floats(vec![0.0])), "scores: wanted one for each of 7 tokens, got 1")]
#[case("tokenizer.ggml.scores", Value::List(List::Floats(vec![f64::NAN; 7])), "scores: wanted numbers, got NaN")]
#[case("tokenizer.ggml.scores", Value::Text("x".into()), "tokenizer.ggml.scores: wanted")]
#[case("tokenizer.ggml.token_type", Value::List(List::Signed(vec![1; 6])), "token_type: wanted one for each of 7 tokens, got 6")]
#[case("tokenizer.ggml.token_type", Value::List(List::Signed(vec![6; 7])), "wanted a byte as <0x00> to <0xFF>, got \"<unk>\"")]
#[case(
    "tokenizer.ggml.bos_token_id",
    Value::Unsigned(7),
    "bos_token_id: wanted a token below 7, got 7"
)]
#[case(
    "tokenizer.ggml.tokens",
    Value::Bool(true),
    "tokens: wanted a list of texts"
)]
fn refuses_broken_vocabularies(#[case] key: &str, #[case] value: Value, #[case] says: &str) {
    let metadata = metadata(&letters(&[]), &[(key, value)]);
    let text = Tokenizer::from_gguf(&metadata).err().unwrap().to_string();
    assert!(text.contains(says), "{text}");
}

#[test]
fn what_nothing_spells_is_an_error_and_long_texts_are_quick() {
    let tokens = [
        ("<s>", 0.0, 3),
        ("a", 0.0, 1),
        ("▁", 0.0, 1),
        ("aa", 0.0, 1),
    ];
    let more = [
        ("tokenizer.ggml.bos_token_id", Value::Unsigned(0)),
        ("tokenizer.ggml.eos_token_id", Value::Unsigned(0)),
    ];
    let tokenizer = Tokenizer::from_gguf(&metadata(&tokens, &more)).unwrap();
    let text = tokenizer.encode("ab").unwrap_err().to_string();
    assert!(
        text.contains("wanted text that the vocabulary can spell, got \"b\""),
        "{text}"
    );
    let long = "a".repeat(200_000);
    assert_eq!(tokenizer.encode(&long).unwrap().len(), 100_002);
}
