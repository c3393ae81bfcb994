//! A vocabulary small enough to read: one token per letter.
#![allow(dead_code)]

pub mod fake;

use mlx_models::whisper::Tokenizer;

/// The token of the space.
pub const SPACE: u32 = 0;
/// The end of text.
pub const EOT: u32 = 32;
/// The start of a transcript.
pub const SOT: u32 = 33;
/// The start of the previous text.
pub const PREV: u32 = 38;
/// The token for silence.
pub const NO_SPEECH: u32 = 39;
/// The token that says there are no timestamps.
pub const NO_TIMESTAMPS: u32 = 40;
/// The timestamp 0.00.
pub const BEGIN: u32 = 41;
/// All tokens: 32 of text, 9 special, 1501 timestamps.
pub const N_VOCAB: usize = 41 + 1501;

/// The tokens of letters and spaces.
pub fn text(text: &str) -> Vec<u32> {
    text.bytes()
        .map(|byte| {
            if byte == b' ' {
                SPACE
            } else {
                u32::from(byte - b'a') + 1
            }
        })
        .collect()
}

/// The timestamp nearest to this time.
pub fn at(seconds: f64) -> u32 {
    BEGIN + (seconds / 0.02).round() as u32
}

/// `a` to `z` are 1 to 26, the space is 0, 27 to 31 are marks.
pub fn tiny_tokenizer_json() -> String {
    let mut vocab = vec!["\"\u{120}\": 0".to_string()];
    vocab.extend((0..26_u8).map(|i| format!("\"{}\": {}", char::from(b'a' + i), i + 1)));
    vocab.extend(
        [".", ",", "(", "[", "?"]
            .iter()
            .enumerate()
            .map(|(i, mark)| format!("\"{mark}\": {}", i + 27)),
    );
    let special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|en|>",
        "<|de|>",
        "<|translate|>",
        "<|transcribe|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ];
    let added: Vec<String> = special
        .iter()
        .enumerate()
        .map(|(i, name)| {
            format!(
                "{{\"id\": {}, \"content\": \"{name}\", \"special\": true, \"single_word\": false, \
                 \"lstrip\": false, \"rstrip\": false, \"normalized\": false}}",
                i + 32
            )
        })
        .collect();
    let byte_level = r#"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}"#;
    format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{}], "pre_tokenizer": {byte_level}, "decoder": {byte_level}, "post_processor": null,
        "model": {{"type": "BPE", "vocab": {{{}}}, "merges": []}}}}"#,
        added.join(", "),
        vocab.join(", ")
    )
}

/// The tokenizer of the small vocabulary.
pub fn tiny_tokenizer() -> Tokenizer {
    Tokenizer::from_json(tiny_tokenizer_json().as_bytes()).expect("the small vocabulary is whole")
}
