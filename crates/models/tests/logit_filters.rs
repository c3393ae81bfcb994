//! May the right tokens come next?

use mlx_models::whisper::GenerationConfig;
use mlx_models::whisper::decoding::{DecodingOptions, LogitFilters};
use rstest::rstest;

mod support;
use support::{
    BEGIN, EOT, N_VOCAB, NO_TIMESTAMPS, SPACE, at, fake::generation, text, tiny_tokenizer,
};

fn rules(options: &DecodingOptions, generation: &GenerationConfig) -> LogitFilters {
    LogitFilters::new(tiny_tokenizer().special(), generation, options)
}

/// Logits where text is likely and each timestamp is not.
fn logits() -> Vec<f32> {
    (0..N_VOCAB)
        .map(|token| if token < BEGIN as usize { 0.0 } else { -20.0 })
        .collect()
}

/// What is left: whether text, whether the end, and the first and last timestamp.
fn left(logits: &[f32]) -> (bool, bool, Option<u32>, Option<u32>) {
    let open: Vec<u32> = (BEGIN..N_VOCAB as u32)
        .filter(|&t| logits[t as usize].is_finite())
        .collect();
    let (text, end) = (logits[1].is_finite(), logits[EOT as usize].is_finite());
    (text, end, open.first().copied(), open.last().copied())
}

const LAST: u32 = BEGIN + 1500;

#[rstest]
#[case::first_a_timestamp_up_to_a_second(vec![], (false, false, Some(BEGIN), Some(BEGIN + 50)))]
#[case::then_text(vec![at(0.5)], (true, true, None, None))]
#[case::text_goes_on_or_is_closed_later_than_it_began([vec![at(0.5)], text("ab")].concat(), (true, true, Some(BEGIN + 26), Some(LAST)))]
#[case::a_closed_text_ends_or_another_begins([vec![at(0.5)], text("a"), vec![at(2.0)]].concat(), (false, true, Some(BEGIN + 100), Some(LAST)))]
#[case::a_pair_is_followed_by_text([vec![at(0.5)], text("a"), vec![at(2.0), at(2.0)]].concat(), (true, true, None, None))]
#[case::time_never_goes_back([vec![at(0.5)], text("a"), vec![at(2.0), at(3.0)], text("b")].concat(), (true, true, Some(BEGIN + 151), Some(LAST)))]
#[case::nothing_after_the_last_instant([vec![at(0.5)], text("a"), vec![at(30.0), at(30.0)], text("b")].concat(), (true, true, None, None))]
fn timestamps_come_in_pairs_around_text(
    #[case] written: Vec<u32>,
    #[case] wanted: (bool, bool, Option<u32>, Option<u32>),
) {
    let mut logits = logits();
    rules(&DecodingOptions::default(), &generation())
        .apply(&written, &mut logits)
        .unwrap();
    assert_eq!(left(&logits), wanted);
    assert!(logits[NO_TIMESTAMPS as usize].is_infinite());
}

#[rstest]
#[case::no_limit(None, LAST)]
#[case::half_a_second(Some(0.5), BEGIN + 25)]
#[case::at_once(Some(0.0), BEGIN)]
fn the_first_timestamp_has_a_limit(#[case] limit: Option<f64>, #[case] last: u32) {
    let mut logits = logits();
    let options = DecodingOptions {
        max_initial_timestamp: limit,
        ..DecodingOptions::default()
    };
    rules(&options, &generation())
        .apply(&[], &mut logits)
        .unwrap();
    assert_eq!(left(&logits), (false, false, Some(BEGIN), Some(last)));
}

#[rstest]
// 1475 timestamps are possible, each at exp(-7.2): together 1.1.
#[case::together_likelier_than_any_text(-7.2, false)]
// At exp(-7.4) they are 0.9 together.
#[case::together_less_likely_than_some_text(-7.4, true)]
fn timestamps_win_when_they_are_likelier_together(#[case] each: f32, #[case] text_is_left: bool) {
    let mut logits: Vec<f32> = (0..N_VOCAB)
        .map(|t| if t < BEGIN as usize { 0.0 } else { each })
        .collect();
    rules(&DecodingOptions::default(), &generation())
        .apply(&[vec![at(0.5)], text("a")].concat(), &mut logits)
        .unwrap();
    assert_eq!(left(&logits).0, text_is_left);
}

#[test]
fn without_timestamps_none_is_written() {
    let options = DecodingOptions {
        timestamps: false,
        ..DecodingOptions::default()
    };
    let mut logits = vec![0.0; N_VOCAB];
    rules(&options, &generation())
        .apply(&text("a"), &mut logits)
        .unwrap();
    assert_eq!(left(&logits), (true, true, None, None));
}

#[test]
fn lists_are_obeyed_and_the_beginning_is_not_blank() {
    let mut generation = generation();
    // A list may name tokens that this vocabulary does not have.
    generation.suppress = vec![5, 1_000_000];
    let options = DecodingOptions {
        timestamps: false,
        ..DecodingOptions::default()
    };
    let struck = |written: &[u32], options: &DecodingOptions| {
        let mut logits = vec![0.0; N_VOCAB];
        rules(options, &generation)
            .apply(written, &mut logits)
            .unwrap();
        [5, SPACE, EOT].map(|token: u32| logits[token as usize].is_infinite())
    };
    assert_eq!(struck(&[], &options), [true, true, true]);
    assert_eq!(struck(&text("a"), &options), [true, false, false]);
    let unruly = DecodingOptions {
        suppress: false,
        ..options
    };
    assert_eq!(struck(&[], &unruly), [false, false, false]);
}

#[test]
fn a_vocabulary_without_timestamps_is_no_reason_to_panic() {
    let mut logits = vec![0.0; 20];
    rules(&DecodingOptions::default(), &generation())
        .apply(&[at(1.0), 1], &mut logits)
        .unwrap();
    assert!(
        rules(&DecodingOptions::default(), &generation())
            .apply(&[u32::MAX], &mut [])
            .is_ok()
    );
}
