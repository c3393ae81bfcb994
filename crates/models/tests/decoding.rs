//! Is the right text chosen for one window?

use mlx_models::Result;
use mlx_models::whisper::Task;
use mlx_models::whisper::decoding::{DecodingOptions, DecodingResult, decode, detect_language};
use rstest::rstest;

mod support;
use support::fake::{Asked, Fake, generation};
use support::{BEGIN, EOT, NO_SPEECH, NO_TIMESTAMPS, PREV, SOT, at, text, tiny_tokenizer};

const A: u32 = 1;
const B: u32 = 2;
const C: u32 = 3;

fn plain() -> DecodingOptions {
    DecodingOptions {
        timestamps: false,
        ..DecodingOptions::default()
    }
}

fn run(model: &Fake, options: &DecodingOptions) -> Result<DecodingResult> {
    decode(
        model,
        &0,
        tiny_tokenizer().special(),
        &generation(),
        options,
    )
}

/// Logits from probabilities.
fn odds(odds: &[(u32, f32)]) -> Vec<(u32, f32)> {
    odds.iter().map(|&(token, p)| (token, p.ln())).collect()
}

#[test]
fn greedy_writes_the_likeliest_tokens_to_the_end() {
    let model = Fake::writing(vec![text("hi you")]);
    let decoded = run(&model, &plain()).unwrap();
    assert_eq!(decoded.tokens, text("hi you"));
    assert!(decoded.avg_logprob > -1e-3);
    assert_eq!(model.log().steps, [1; 6]);
    assert!(model.log().selections.is_empty());
}

#[test]
fn greedy_keeps_timestamps_in_their_order() {
    let written = [
        vec![at(0.0)],
        text("ab"),
        vec![at(1.5), at(1.5)],
        text("c"),
        vec![at(3.0)],
    ]
    .concat();
    let model = Fake::writing(vec![written.clone()]);
    assert_eq!(
        run(&model, &DecodingOptions::default()).unwrap().tokens,
        written
    );
}

#[test]
fn mean_log_probability_counts_the_end() {
    // a with 1/2, then the end with 1/4: (ln 1/2 + ln 1/4) / 2.
    let model = Fake::new(|asked| match asked.written {
        [] => odds(&[(A, 0.5), (B, 0.3), (C, 0.2)]),
        _ => odds(&[(EOT, 0.25), (A, 0.2), (B, 0.2), (C, 0.2), (5, 0.15)]),
    });
    let decoded = run(&model, &plain()).unwrap();
    assert_eq!(decoded.tokens, [A]);
    assert!(
        (decoded.avg_logprob - (0.125_f32).ln() / 2.0).abs() < 1e-5,
        "{}",
        decoded.avg_logprob
    );
}

/// a is likelier at first, but what follows it is spread thin; b is followed by the end.
fn garden_path(asked: &Asked<'_>) -> Vec<(u32, f32)> {
    match asked.written {
        [] => odds(&[(A, 0.6), (B, 0.4)]),
        [A] => odds(&[(4, 0.3), (5, 0.3), (6, 0.4)]),
        _ => vec![(EOT, 0.0)],
    }
}

#[rstest]
#[case::greedy(1, vec![A, 6])]
#[case::two_beams(2, vec![B])]
#[case::five_beams(5, vec![B])]
fn beams_see_past_the_likeliest_first_token(#[case] beam_size: usize, #[case] wanted: Vec<u32>) {
    let options = DecodingOptions {
        beam_size,
        length_penalty: Some(0.0),
        ..plain()
    };
    assert_eq!(
        run(&Fake::new(garden_path), &options).unwrap().tokens,
        wanted
    );
}

/// Either b at 0.4, or a and then c at 0.6 * 0.6.
fn long_or_short(asked: &Asked<'_>) -> Vec<(u32, f32)> {
    match asked.written {
        [] => odds(&[(A, 0.6), (B, 0.4)]),
        [A] => odds(&[(C, 0.6), (4, 0.4)]),
        _ => vec![(EOT, 0.0)],
    }
}

#[rstest]
// ln 0.4 = -0.92 against ln 0.36 = -1.02: the sum prefers the short text.
#[case::by_sum(Some(0.0), vec![B])]
// -0.92 / 1 against -1.02 / 2: the mean prefers the long one.
#[case::by_mean(None, vec![A, C])]
// -0.92 / 1 against -1.02 / (7/6): so does a penalty of one.
#[case::by_penalty(Some(1.0), vec![A, C])]
fn the_length_penalty_ranks_texts(#[case] length_penalty: Option<f32>, #[case] wanted: Vec<u32>) {
    let options = DecodingOptions {
        beam_size: 3,
        length_penalty,
        ..plain()
    };
    assert_eq!(
        run(&Fake::new(long_or_short), &options).unwrap().tokens,
        wanted
    );
}

#[rstest]
#[case::impatient(0.5, 1)]
#[case::usual(1.0, 2)]
#[case::patient(2.0, 3)]
fn patience_waits_for_more_texts_to_end(#[case] patience: f32, #[case] steps: usize) {
    // One text ends after the first step, one after the second, two after the third.
    let model = Fake::new(|asked| match asked.written {
        [] => odds(&[(A, 0.9), (B, 0.1)]),
        [A] => odds(&[(EOT, 0.6), (A, 0.4)]),
        [A, A] => odds(&[(EOT, 0.9), (A, 0.1)]),
        [B] | [B, B] => odds(&[(B, 1.0)]),
        _ => odds(&[(EOT, 1.0)]),
    });
    let options = DecodingOptions {
        beam_size: 2,
        patience,
        ..plain()
    };
    run(&model, &options).unwrap();
    assert_eq!(model.log().steps.len(), steps, "{:?}", model.log());
}

#[test]
fn beams_take_their_past_with_them() {
    // c after b is the best text; the model only ends "bc".
    let model = Fake::new(|asked| match asked.written {
        [] => odds(&[(A, 0.55), (B, 0.45)]),
        [A] => odds(&[(A, 0.5), (B, 0.5)]),
        [B] => odds(&[(C, 1.0)]),
        [B, C] => odds(&[(EOT, 1.0)]),
        _ => odds(&[(A, 0.5), (B, 0.5)]),
    });
    let options = DecodingOptions {
        beam_size: 2,
        max_tokens: Some(6),
        ..plain()
    };
    assert_eq!(run(&model, &options).unwrap().tokens, [B, C]);
    let log = model.log();
    assert_eq!(log.selections[0], [0, 0]);
    assert_eq!(log.selections[1], [1, 0]);
}

#[test]
fn sampling_is_the_same_for_the_same_seed() {
    let spread = |asked: &Asked<'_>| {
        if asked.written.len() < 12 {
            (1..=26).map(|token| (token, 0.0)).collect()
        } else {
            vec![(EOT, 0.0)]
        }
    };
    let write = |seed| {
        let options = DecodingOptions {
            temperature: 1.0,
            seed,
            ..plain()
        };
        run(&Fake::new(spread), &options).unwrap().tokens
    };
    assert_eq!(write(1), write(1));
    assert_ne!(write(1), write(2));
    assert_eq!(write(3).len(), 12);
}

#[test]
fn the_best_of_several_samples_is_kept() {
    let model = Fake::new(|asked| match asked.written {
        [] => odds(&[(A, 0.5), (B, 0.5)]),
        [A] => odds(&[(EOT, 0.9), (A, 0.1)]),
        _ => odds(&[(EOT, 0.3), (B, 0.7)]),
    });
    let options = DecodingOptions {
        temperature: 1.0,
        best_of: 16,
        length_penalty: Some(0.0),
        ..plain()
    };
    assert_eq!(run(&model, &options).unwrap().tokens, [A]);
    let log = model.log();
    assert_eq!(log.selections[0], vec![0; 16]);
    assert!(
        log.steps.is_sorted_by(|a, b| a >= b),
        "rows that ended are dropped: {:?}",
        log.steps
    );
}

#[rstest]
#[case::as_asked(Some(5), 448, 5)]
#[case::half_of_the_positions(None, 20, 10)]
#[case::what_is_left_of_the_positions(Some(100), 20, 16)]
#[case::at_least_one(Some(0), 448, 1)]
fn texts_without_an_end_are_cut(
    #[case] max_tokens: Option<usize>,
    #[case] n_text_ctx: usize,
    #[case] wanted: usize,
) {
    for beam_size in [1, 3] {
        let model = Fake::new(|_| odds(&[(A, 0.7), (B, 0.3)])).with_text_ctx(n_text_ctx);
        let options = DecodingOptions {
            max_tokens,
            beam_size,
            ..plain()
        };
        assert_eq!(run(&model, &options).unwrap().tokens, vec![A; wanted]);
    }
}

#[rstest]
#[case::english(plain(), vec![SOT, 34, 37, NO_TIMESTAMPS])]
#[case::with_timestamps(DecodingOptions::default(), vec![SOT, 34, 37])]
#[case::german_to_english(DecodingOptions { language: Some("de".into()), task: Task::Translate, ..plain() }, vec![SOT, 35, 36, NO_TIMESTAMPS])]
#[case::after_other_text(DecodingOptions { prompt: vec![7, 8], ..plain() }, vec![PREV, 7, 8, SOT, 34, 37, NO_TIMESTAMPS])]
#[case::with_a_prefix(DecodingOptions { prefix: vec![9], ..plain() }, vec![SOT, 34, 37, NO_TIMESTAMPS, 9])]
fn the_prompt_tells_the_model_what_to_do(
    #[case] options: DecodingOptions,
    #[case] wanted: Vec<u32>,
) {
    let model = Fake::writing(vec![[vec![BEGIN], text("a")].concat()]);
    let _ = run(&model, &options);
    let log = model.log();
    let start = wanted.iter().position(|&token| token == SOT).unwrap();
    assert_eq!(log.positions, [[start, wanted.len() - 1]]);
    assert_eq!(log.prompts, [wanted]);
}

#[test]
fn a_long_prompt_keeps_its_end() {
    let model = Fake::writing(vec![text("a")]);
    let options = DecodingOptions {
        prompt: (0..1000).map(|i| i % 26).collect(),
        ..plain()
    };
    run(&model, &options).unwrap();
    let prompt = &model.log().prompts[0];
    assert_eq!(
        (prompt.len(), prompt[0], prompt[223]),
        (1 + 223 + 4, PREV, 999 % 26)
    );
}

#[test]
fn a_prefix_is_part_of_the_text() {
    let model = Fake::writing(vec![text("b")]);
    let options = DecodingOptions {
        prefix: text("a"),
        ..plain()
    };
    assert_eq!(run(&model, &options).unwrap().tokens, text("ab"));
}

#[test]
fn the_probability_of_silence_is_read_where_the_transcript_starts() {
    let model = Fake::new(|asked| match asked.prompt.last() {
        Some(&SOT) => odds(&[(NO_SPEECH, 0.75), (A, 0.25)]),
        _ => vec![(if asked.written.is_empty() { A } else { EOT }, 0.0)],
    });
    let decoded = run(
        &model,
        &DecodingOptions {
            prompt: text("xyz"),
            ..plain()
        },
    )
    .unwrap();
    assert!(
        (decoded.no_speech_prob - 0.75).abs() < 1e-5,
        "{}",
        decoded.no_speech_prob
    );
}

#[test]
fn languages_are_ranked() {
    let model = Fake::new(|_| odds(&[(34, 0.1), (35, 0.3), (A, 0.6)]));
    let languages = detect_language(&model, &0, tiny_tokenizer().special()).unwrap();
    assert_eq!(
        languages
            .iter()
            .map(|(code, _)| code.as_str())
            .collect::<Vec<_>>(),
        ["de", "en"]
    );
    assert!((languages[0].1 - 0.75).abs() < 1e-5);
    let english = tiny_tokenizer().with_multilingual(false);
    let text = detect_language(&model, &0, english.special())
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "decoding: language detection: wanted a multilingual model, got an English-only one"
    );
}

#[rstest]
#[case::greedy(plain())]
#[case::beams(DecodingOptions { beam_size: 3, ..plain() })]
#[case::samples(DecodingOptions { temperature: 0.5, ..plain() })]
fn broken_logits_are_an_error(#[case] options: DecodingOptions) {
    let model = Fake::new(|_| vec![(A, f32::NAN)]);
    let text = run(&model, &options).unwrap_err().to_string();
    assert_eq!(
        text,
        "decoding: wanted finite logits from the model, got NaN or infinity"
    );
}

#[rstest]
#[case::greedy(plain())]
#[case::beams(DecodingOptions { beam_size: 3, ..plain() })]
#[case::samples(DecodingOptions { temperature: 0.5, best_of: 3, ..plain() })]
fn a_text_that_may_not_go_on_ends(#[case] options: DecodingOptions) {
    let mut generation = generation();
    generation.suppress = (0..1542).collect();
    let model = Fake::writing(vec![text("a")]);
    let decoded = decode(
        &model,
        &0,
        tiny_tokenizer().special(),
        &generation,
        &options,
    )
    .unwrap();
    assert!(decoded.tokens.is_empty());
}

#[rstest]
#[case::negative_temperature(DecodingOptions { temperature: -1.0, ..plain() }, "temperature: wanted 0 or more, got -1")]
#[case::no_temperature(DecodingOptions { temperature: f32::NAN, ..plain() }, "temperature: wanted 0 or more, got NaN")]
#[case::no_beams(DecodingOptions { beam_size: 0, ..plain() }, "beam_size: wanted 1 to 64, got 0")]
#[case::no_samples(DecodingOptions { best_of: 0, ..plain() }, "best_of: wanted 1 to 64, got 0")]
#[case::no_patience(DecodingOptions { patience: 0.0, ..plain() }, "patience: wanted more than 0 and at most 64, got 0")]
#[case::no_room(DecodingOptions { prefix: vec![1; 448], ..plain() }, "prompt: wanted fewer than 448 tokens, got 452")]
fn refuses_options_that_make_no_sense(#[case] options: DecodingOptions, #[case] message: &str) {
    let text = run(&Fake::writing(vec![text("a")]), &options)
        .unwrap_err()
        .to_string();
    assert_eq!(text, format!("decoding: {message}"));
}
