//! Does the tokenizer speak Whisper's vocabulary?

use mlx_models::whisper::{Checkpoint, GenerationConfig, Task, Tokenizer};
use mlx_testdata::{assets, if_available};
use rstest::rstest;

mod support;
use support::tiny_tokenizer;

fn tiny_en() -> Option<Tokenizer> {
    let folder = if_available(assets::whisper_tiny_en())?;
    Some(Tokenizer::open(&folder.join("tokenizer.json")).unwrap())
}

#[test]
fn tiny_en_has_the_special_tokens_of_the_english_vocabulary() {
    let Some(tokenizer) = tiny_en() else { return };
    let special = tokenizer.special();
    assert_eq!(
        (
            special.eot,
            special.sot,
            special.translate,
            special.transcribe
        ),
        (50256, 50257, 50357, 50358)
    );
    assert_eq!(
        (special.lm, special.prev, special.no_speech),
        (Some(50359), 50360, Some(50361))
    );
    assert_eq!(
        (special.no_timestamps, special.timestamp_begin),
        (50362, 50363)
    );
    assert_eq!(
        (
            special.languages.len(),
            special.language("en"),
            special.multilingual
        ),
        (99, Some(50258), false)
    );
}

#[rstest]
#[case(" And so my fellow Americans")]
#[case(" it's 3.14 – naïve, 日本語 and 🙂")]
#[case("")]
fn text_survives_encoding(#[case] text: &str) {
    let Some(tokenizer) = tiny_en() else { return };
    let tokens = tokenizer.encode(text).unwrap();
    assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
}

#[test]
fn decoding_skips_special_tokens_and_timestamps() {
    let Some(tokenizer) = tiny_en() else { return };
    let mut tokens = vec![50257, 50362, 50363];
    tokens.extend(tokenizer.encode(" Hello there").unwrap());
    tokens.extend([50363 + 75, 50256]);
    assert_eq!(tokenizer.decode(&tokens).unwrap(), " Hello there");
    assert_eq!(
        tokenizer.decode_with_timestamps(&tokens[2..]).unwrap(),
        "<|0.00|> Hello there<|1.50|>"
    );
}

#[test]
fn marks_that_are_not_spoken_are_those_of_the_published_list() {
    let Some(folder) = if_available(assets::whisper_tiny_en()) else {
        return;
    };
    let checkpoint = Checkpoint::open(folder).unwrap();
    let computed = GenerationConfig::from_tokenizer(&checkpoint.tokenizer);
    assert_eq!(computed.suppress, checkpoint.generation.suppress);
    assert_eq!(
        computed.suppress_at_begin,
        checkpoint.generation.suppress_at_begin
    );
    assert!(!checkpoint.tokenizer.special().multilingual);
}

#[rstest]
#[case::english(None, Task::Transcribe, &[33, 34, 37])]
#[case::german(Some("de"), Task::Transcribe, &[33, 35, 37])]
#[case::into_english(Some("de"), Task::Translate, &[33, 35, 36])]
fn a_multilingual_transcript_starts_with_language_and_task(
    #[case] language: Option<&str>,
    #[case] task: Task,
    #[case] wanted: &[u32],
) {
    assert_eq!(tiny_tokenizer().start(language, task).unwrap(), wanted);
}

#[test]
fn an_english_only_transcript_starts_alone() {
    let tokenizer = tiny_tokenizer().with_multilingual(false);
    assert_eq!(tokenizer.start(Some("en"), Task::Transcribe).unwrap(), [33]);
    let text = tokenizer
        .start(Some("de"), Task::Transcribe)
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "tokenizer: language: wanted en for an English-only model, got de"
    );
    let text = tokenizer
        .start(None, Task::Translate)
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "tokenizer: task: wanted transcribe for an English-only model, got translate"
    );
}

#[test]
fn an_unknown_language_lists_the_known_ones() {
    let text = tiny_tokenizer()
        .start(Some("xx"), Task::Transcribe)
        .unwrap_err()
        .to_string();
    assert_eq!(text, "tokenizer: language: wanted one of en de, got xx");
}

#[rstest]
#[case::not_json(b"{".as_slice(), "tokenizer: ")]
#[case::no_model(b"{}".as_slice(), "tokenizer: ")]
fn refuses_files_that_are_no_tokenizer(#[case] json: &[u8], #[case] message: &str) {
    let text = Tokenizer::from_json(json).err().unwrap().to_string();
    assert!(text.starts_with(message), "{text}");
}

#[test]
fn a_vocabulary_without_whispers_tokens_is_refused() {
    let json = support::tiny_tokenizer_json().replace("<|startofprev|>", "<|other|>");
    let text = Tokenizer::from_json(json.as_bytes())
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        text,
        "tokenizer: wanted the token <|startofprev|>, got none"
    );
}

#[rstest]
#[case::null_means_the_defaults(r#"{"suppress_tokens": null}"#, None)]
#[case::minus_one_means_the_defaults(r#"{"suppress_tokens": [-1]}"#, None)]
#[case::a_list(r#"{"suppress_tokens": [3, 4]}"#, Some(vec![3, 4]))]
#[case::ctranslate2(r#"{"suppress_ids": [5], "lang_ids": [1]}"#, Some(vec![5]))]
#[case::an_empty_list(r#"{"suppress_tokens": []}"#, Some(vec![]))]
fn suppress_lists_come_from_the_file_or_the_vocabulary(
    #[case] json: &str,
    #[case] wanted: Option<Vec<u32>>,
) {
    let tokenizer = tiny_tokenizer();
    let got = GenerationConfig::from_json(json, &tokenizer).unwrap();
    let defaults = GenerationConfig::from_tokenizer(&tokenizer);
    assert_eq!(got.suppress, wanted.unwrap_or(defaults.suppress));
    assert_eq!(got.suppress_at_begin, [0, 32]);
}
