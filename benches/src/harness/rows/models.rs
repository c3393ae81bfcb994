//! Rows of whole models on real data: Whisper tiny.en on a recording, SmolLM2-135M on a prompt.

use serde_json::json;

use super::{Benchmark, Cost, Group, LLAMA, Target, WHISPER, id};
use crate::harness::check::Check;

/// "The quick brown fox jumps over the lazy dog." as SmolLM2's tokens.
pub const PROMPT: [u32; 10] = [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767, 30];

/// The encoder of tiny.en: two convolutions, four blocks of width 384 over 1500 frames.
const ENCODER_FLOPS: f64 = 2.0 * (3000.0 * 384.0 * 240.0 + 1500.0 * 384.0 * 1152.0)
    + 4.0 * (2.0 * 1500.0 * 384.0 * 384.0 * 12.0 + 4.0 * 1500.0 * 1500.0 * 384.0);
/// Weights of the decoder, half precision, with the table of tokens and the keys and values of the sound.
const TOKEN_BYTES: f64 =
    2.0 * 51864.0 * 384.0 + 2.0 * 4.0 * 16.0 * 384.0 * 384.0 + 4.0 * 4.0 * 2.0 * 1500.0 * 384.0;
/// Weights of SmolLM2-135M in 4 bits with scales and offsets, and its table in 8 bits.
const SMOLLM2_BYTES: f64 = 98e6;
/// Twice the weights that take part in products.
const SMOLLM2_FLOPS: f64 = 2.0 * 134.5e6;

/// Who is not asked for long prompts.
const TOO_LONG: &[(&str, &str)] = &[
    (
        "python-mlx",
        "takes about 50 s for a call: see the row of ten tokens",
    ),
    (
        "python-mlx-openblas",
        "takes about 50 s for a call: see the row of ten tokens",
    ),
];

pub(super) fn rows(quick: bool) -> Vec<Benchmark> {
    let decode = if quick { 16 } else { 32 };
    vec![
        Benchmark {
            target: Target {
                against: Some("faster-whisper"),
                ..Target::ratio(0.75)
            },
            note: "greedy, no timestamps, from samples to text",
            check: Check::Words { first: None },
            ..whisper(quick, "whisper_total")
        },
        Benchmark {
            target: Target {
                share: Some(0.65),
                ..Target::default()
            },
            cost: Cost {
                flops: ENCODER_FLOPS,
                ..Cost::default()
            },
            check: Check::close(0.05, 0.05),
            note: "one window of 30 s, the same spectrogram for all",
            ..whisper(quick, "whisper_encoder")
        },
        Benchmark {
            target: Target {
                ms: Some(4.5),
                ..Target::default()
            },
            cost: Cost {
                read: TOKEN_BYTES,
                ..Cost::default()
            },
            check: Check::Words { first: None },
            note: "milliseconds of one token: the whole decoding over its number of steps",
            ..whisper(quick, "whisper_token")
        },
        Benchmark {
            target: Target {
                against: Some("llama-cpp"),
                // 1.15 times as many tokens a second.
                ..Target::ratio(0.869)
            },
            cost: Cost {
                read: SMOLLM2_BYTES,
                ..Cost::default()
            },
            params: json!({"tokens": decode}),
            check: Check::Words { first: Some(5) },
            note: "milliseconds of one token, greedy; llama.cpp and candle round activations to 8 bits",
            ..smollm2(quick, "smollm2_decode", "135M")
        },
        prefill(quick, 10, "135M-prompt10"),
        prefill(quick, 512, "135M-prompt512"),
    ]
}

fn prefill(quick: bool, length: usize, shape: &str) -> Benchmark {
    let tokens: Vec<u32> = PROMPT.iter().copied().cycle().take(length).collect();
    let is_too_long = length > 100;
    Benchmark {
        target: Target {
            against: Some("llama-cpp"),
            ..Target::ratio(1.0)
        },
        cost: Cost {
            read: SMOLLM2_BYTES,
            flops: SMOLLM2_FLOPS * length as f64,
            ..Cost::default()
        },
        params: json!({"prompt": tokens}),
        check: Check::Unchecked,
        rivals: if is_too_long {
            &["llama-cpp", "candle"]
        } else {
            LLAMA
        },
        left_out: if is_too_long { TOO_LONG } else { &[] },
        note: "from an empty cache to the scores behind the prompt",
        ..smollm2(quick, "smollm2_prefill", shape)
    }
}

fn whisper(quick: bool, op: &'static str) -> Benchmark {
    model(quick, op, "float32", "tiny.en-jfk", WHISPER)
}

fn smollm2(quick: bool, op: &'static str, shape: &str) -> Benchmark {
    model(quick, op, "q4_1", shape, LLAMA)
}

fn model(
    quick: bool,
    op: &'static str,
    dtype: &'static str,
    shape: &str,
    rivals: &'static [&'static str],
) -> Benchmark {
    Benchmark {
        id: id(op, dtype, shape),
        op,
        shape: shape.to_owned(),
        dtype,
        group: Group::Models,
        params: json!({}),
        inputs: Vec::new(),
        check: Check::Unchecked,
        cost: Cost::default(),
        target: Target::default(),
        rivals,
        forms: if quick { &[] } else { &["eager"] },
        left_out: &[],
        quick: true,
        note: "",
    }
}
