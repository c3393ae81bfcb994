//! A `tokenizer.json` whose parts do not fit together is an error when it is opened or used, and never a panic.

use mlx_models::llama::Tokenizer;
use rstest::rstest;

const WHOLE: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}"#;

fn run(json: &str) -> mlx_models::Result<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), json).unwrap();
    let tokenizer = Tokenizer::open(folder.path())?;
    tokenizer.decode(&[])?;
    tokenizer.decode(&tokenizer.encode("ab")?)
}

#[test]
fn the_whole_file_works() {
    assert_eq!(run(WHOLE).unwrap(), "ab");
}

#[rstest]
#[case::template_names_an_unknown_token(r#""post_processor": null"#,
    r#""post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
    {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {}}"#)]
#[case::prefix_longer_than_a_token(
    r#""merges""#,
    r#####""continuing_subword_prefix": "####", "merges""#####
)]
#[case::prefix_ends_inside_a_character(
    r#""a": 0, "b": 1, "ab": 2}, "merges": ["a b"]"#,
    r##""a": 0, "é": 1, "ab": 2}, "continuing_subword_prefix": "#", "merges": ["a é"]"##
)]
#[case::strip_more_than_a_token_has(
    r#""decoder": null"#,
    r#""decoder": {"type": "Strip", "content": "b", "start": 0, "stop": 9}"#
)]
#[case::bpe_decoder_of_nothing(
    r#""decoder": null"#,
    r#""decoder": {"type": "BPEDecoder", "suffix": "</w>"}"#
)]
fn parts_that_do_not_fit_are_errors(#[case] part: &str, #[case] other: &str) {
    let json = WHOLE.replacen(part, other, 1);
    assert_ne!(json, WHOLE);
    // Some of these are harmless for this text; none may panic.
    if let Err(error) = run(&json) {
        assert!(error.to_string().starts_with("tokenizer: "), "{error}");
    }
}

/// The crate cuts the prefix off the second token of each pair without looking, and takes what is left for text: such
/// pairs are refused before it reads them, by all who read this file.
#[rstest]
#[case::inside_a_character(
    r##""é": 1, "aé": 2}, "continuing_subword_prefix": "#", "merges": [["a", "é"]]"##
)]
#[case::as_text(r##""é": 1, "aé": 2}, "continuing_subword_prefix": "#", "merges": ["a é"]"##)]
#[case::longer(
    r####""é": 1, "aé": 2}, "continuing_subword_prefix": "###", "merges": [["a", "é"]]"####
)]
#[case::behind_the_merges(
    r##""é": 1, "aé": 2}, "merges": [["a", "é"]], "continuing_subword_prefix": "#""##
)]
#[case::escaped(
    r##""é": 1, "aé": 2}, "continuing_subword_prefi\u0078": "#", "merges": [["a", "é"]]"##
)]
fn prefixes_that_cut_characters_are_refused(#[case] model: &str) {
    let part = r#""b": 1, "ab": 2}, "merges": ["a b"]"#;
    let json = WHOLE.replacen(part, model, 1);
    assert_ne!(json, WHOLE);
    let says = "merges: wanted tokens that begin with";
    let text = run(&json).unwrap_err().to_string();
    assert!(text.contains(says), "{text}");
    let whisper = mlx_models::whisper::Tokenizer::from_json(json.as_bytes());
    let text = whisper.err().unwrap().to_string();
    assert!(text.contains(says), "{text}");
}

#[rstest]
#[case::right(
    r###""##b": 1, "ab": 2}, "continuing_subword_prefix": "##", "merges": [["a", "##b"]]"###
)]
#[case::none(r#""b": 1, "ab": 2}, "continuing_subword_prefix": null, "merges": [["a", "b"]]"#)]
#[case::empty(r#""b": 1, "ab": 2}, "continuing_subword_prefix": "", "merges": ["a b"]"#)]
fn other_prefixes_are_read(#[case] model: &str) {
    let part = r#""b": 1, "ab": 2}, "merges": ["a b"]"#;
    assert_eq!(run(&WHOLE.replacen(part, model, 1)).unwrap(), "ab");
}
