//! Are recordings of any length transcribed window by window?

use mlx_models::Result;
use mlx_models::whisper::decoding::DecodingOptions;
use mlx_models::whisper::{Tokenizer, TranscribeOptions, Transcriber, Transcript};
use rstest::rstest;

mod support;
use support::fake::{Fake, generation};
use support::{EOT, NO_SPEECH, PREV, SOT, at, text, tiny_tokenizer};

const RATE: usize = 16_000;

/// Audio of this many seconds that is never silent.
fn sound(seconds: f64) -> Vec<f32> {
    (0..(seconds * RATE as f64) as usize)
        .map(|i| ((i % 31) as f32 - 15.0) / 40.0)
        .collect()
}

fn english() -> TranscribeOptions {
    let decode = DecodingOptions {
        language: Some("en".into()),
        ..DecodingOptions::default()
    };
    TranscribeOptions { decode, ..heard() }
}

/// The sound of these tests is a tone, which the check for voice would pass over.
fn heard() -> TranscribeOptions {
    TranscribeOptions {
        vad_filter: false,
        ..TranscribeOptions::default()
    }
}

fn run(model: &Fake, samples: &[f32], options: &TranscribeOptions) -> Result<Transcript> {
    run_with(model, &tiny_tokenizer(), samples, options)
}

fn run_with(
    model: &Fake,
    tokenizer: &Tokenizer,
    samples: &[f32],
    options: &TranscribeOptions,
) -> Result<Transcript> {
    Transcriber::new(model, tokenizer, &generation())?.transcribe(samples, options)
}

/// Start, end and text of each segment.
fn times(transcript: &Transcript) -> Vec<(f64, f64, &str)> {
    let round = |x: f64| (x * 100.0).round() / 100.0;
    transcript
        .segments
        .iter()
        .map(|s| (round(s.start), round(s.end), s.text.as_str()))
        .collect()
}

/// One stretch of text between two times.
fn said(start: f64, words: &str, end: f64) -> Vec<u32> {
    [vec![at(start)], text(words), vec![at(end)]].concat()
}

#[test]
fn a_short_recording_is_one_window() {
    let model = Fake::writing(vec![said(0.0, " ask not", 3.0)]);
    let transcript = run(&model, &sound(4.0), &english()).unwrap();
    assert_eq!(transcript.text, "ask not");
    assert_eq!(transcript.language, "en");
    assert_eq!(times(&transcript), [(0.0, 3.0, " ask not")]);
    let log = model.log();
    assert_eq!(log.windows.len(), 1);
    assert_eq!((log.windows[0].0, log.windows[0].1), (3000, 80));
    let timings = transcript.timings;
    assert_eq!(
        (timings.windows, timings.attempts, timings.tokens),
        (1, 1, 10)
    );
}

#[test]
fn the_next_window_begins_behind_the_last_pair_of_timestamps() {
    let cut_off = [
        said(0.0, " one", 12.0),
        said(12.0, " two", 20.0),
        vec![at(20.0)],
        text(" thr"),
    ]
    .concat();
    let model = Fake::writing(vec![cut_off, said(0.0, " three", 19.0)]);
    let transcript = run(&model, &sound(40.0), &english()).unwrap();
    assert_eq!(
        times(&transcript),
        [
            (0.0, 12.0, " one"),
            (12.0, 20.0, " two"),
            (20.0, 39.0, " three")
        ]
    );
    assert_eq!(transcript.text, "one two three");
}

#[test]
fn a_single_closing_timestamp_means_nothing_follows() {
    let model = Fake::writing(vec![
        [said(0.0, " one", 12.0), said(12.0, " two", 20.0)].concat(),
        said(0.0, " three", 5.0),
    ]);
    let transcript = run(&model, &sound(40.0), &english()).unwrap();
    assert_eq!(
        times(&transcript),
        [
            (0.0, 12.0, " one"),
            (12.0, 20.0, " two"),
            (30.0, 35.0, " three")
        ]
    );
}

#[test]
fn text_without_a_closing_timestamp_lasts_to_the_end_of_the_window() {
    let model = Fake::writing(vec![[vec![at(0.5)], text(" one")].concat()]);
    let transcript = run(&model, &sound(10.0), &english()).unwrap();
    assert_eq!(times(&transcript), [(0.5, 10.0, " one")]);
}

#[test]
fn times_never_pass_the_end_of_the_recording() {
    let model = Fake::writing(vec![said(0.0, " one", 29.0)]);
    let transcript = run(&model, &sound(10.0), &english()).unwrap();
    assert_eq!(times(&transcript), [(0.0, 10.0, " one")]);
}

#[test]
fn without_timestamps_each_window_is_a_segment() {
    let options = TranscribeOptions {
        decode: DecodingOptions {
            timestamps: false,
            ..english().decode
        },
        ..heard()
    };
    let model = Fake::writing(vec![text("one "), text("two ")]);
    let transcript = run(&model, &sound(40.0), &options).unwrap();
    assert_eq!(
        times(&transcript),
        [(0.0, 30.0, "one "), (30.0, 40.0, "two ")]
    );
    assert_eq!(transcript.text, "one two");
}

#[rstest]
#[case::empty(vec![])]
#[case::shorter_than_a_frame(vec![0.5; 159])]
#[case::silent(vec![0.0; 50 * RATE])]
fn nothing_to_hear_is_an_empty_transcript(#[case] samples: Vec<f32>) {
    let model = Fake::writing(vec![said(0.0, " one", 1.0)]);
    let transcript = run(&model, &samples, &english()).unwrap();
    assert_eq!(
        (transcript.text.as_str(), transcript.segments.len()),
        ("", 0)
    );
    assert!(
        model.log().windows.is_empty(),
        "the model was asked about silence"
    );
}

#[test]
fn a_silent_beginning_is_passed_over() {
    let model = Fake::writing(vec![said(0.0, " one", 1.0)]);
    let samples = [vec![0.0; 30 * RATE], sound(5.0)].concat();
    let transcript = run(&model, &samples, &english()).unwrap();
    assert_eq!(times(&transcript), [(30.0, 31.0, " one")]);
}

/// Says "no speech" with this probability, and writes a text of this mean log probability.
fn unsure(no_speech: f32, each: f32) -> Fake {
    Fake::new(move |asked| match asked.prompt.last() {
        Some(&SOT) => vec![(NO_SPEECH, no_speech.ln()), (1, (1.0 - no_speech).ln())],
        _ => {
            let text = said(0.0, " one", 1.0);
            let token = text.get(asked.written.len()).copied().unwrap_or(EOT);
            // What is left of the probability goes to letters, none of which wins.
            let rest = (1.0 - each.exp()).max(1e-9) / 20.0;
            let mut odds: Vec<(u32, f32)> = (5..25).map(|letter| (letter, rest.ln())).collect();
            odds.retain(|&(letter, _)| letter != token);
            odds.push((token, each));
            odds
        }
    })
}

#[rstest]
#[case::surely_speech(0.1, -0.1, 1, " one")]
#[case::quiet_but_sure_of_the_words(0.9, -0.1, 1, " one")]
#[case::quiet_and_unsure(0.9, -2.5, 0, "")]
fn silence_needs_two_signs(
    #[case] no_speech: f32,
    #[case] each: f32,
    #[case] segments: usize,
    #[case] words: &str,
) {
    let options = TranscribeOptions {
        temperatures: vec![0.0],
        ..english()
    };
    let transcript = run(&unsure(no_speech, each), &sound(5.0), &options).unwrap();
    assert_eq!(transcript.segments.len(), segments);
    assert_eq!(transcript.text, words.trim());
}

/// Repeats itself in the first attempts, then says something.
fn stuck(attempts: usize) -> Fake {
    Fake::new(move |asked| {
        let looped = said(0.0, &" no".repeat(40), 1.0);
        let text = if asked.attempt < attempts {
            looped
        } else {
            said(0.0, " yes", 1.0)
        };
        vec![(text.get(asked.written.len()).copied().unwrap_or(EOT), 0.0)]
    })
}

#[rstest]
#[case::at_once(0, 0.0)]
#[case::second(1, 0.2)]
#[case::fourth(3, 0.6)]
fn repetition_raises_the_temperature(#[case] stuck_for: usize, #[case] temperature: f32) {
    let model = stuck(stuck_for);
    let transcript = run(&model, &sound(5.0), &english()).unwrap();
    assert_eq!(transcript.text, "yes");
    assert_eq!(transcript.segments[0].temperature, temperature);
    assert_eq!(transcript.timings.attempts, stuck_for + 1);
}

#[test]
fn a_text_that_repeats_itself_is_kept_when_all_do() {
    let transcript = run(&stuck(100), &sound(5.0), &english()).unwrap();
    assert_eq!(transcript.timings.attempts, 6);
    assert!(transcript.segments[0].compression_ratio > 2.4);
}

#[test]
fn the_likeliest_attempt_is_kept_when_none_is_good() {
    // Each token of the greedy text has a log probability of -2.5; any other, which sampling draws, has -3.1.
    let transcript = run(&unsure(0.1, -2.5), &sound(5.0), &english()).unwrap();
    assert_eq!(transcript.timings.attempts, 6);
    assert_eq!(transcript.text, "one");
    assert_eq!(transcript.segments[0].temperature, 0.0);
    let greedy = TranscribeOptions {
        temperatures: vec![0.0],
        ..english()
    };
    let greedy = run(&unsure(0.1, -2.5), &sound(5.0), &greedy).unwrap();
    assert_eq!(transcript.segments, greedy.segments);
}

#[test]
fn an_unlikely_text_is_better_than_one_that_repeats_itself() {
    let looped = said(0.0, &" no".repeat(40), 1.0);
    let unsure = unsure(0.1, -2.5);
    let model = Fake::new(move |asked| {
        if asked.attempt > 0 {
            return unsure.asked(asked);
        }
        let token = looped.get(asked.written.len()).copied().unwrap_or(EOT);
        vec![(token, 0.0)]
    });
    let transcript = run(&model, &sound(5.0), &english()).unwrap();
    assert_eq!(transcript.timings.attempts, 6);
    assert!(!transcript.text.contains("no no"), "{}", transcript.text);
}

#[test]
fn the_best_of_five_is_kept_at_a_temperature() {
    assert_eq!(TranscribeOptions::default().decode.best_of, 5);
    let model = stuck(1);
    let mut options = english();
    options.decode.best_of = 5;
    run(&model, &sound(5.0), &options).unwrap();
    // The first attempt is greedy, the second writes five texts at once.
    assert_eq!(model.log().selections, [vec![0; 5]]);
}

#[rstest]
#[case::at_the_end(10.0)]
#[case::behind_it(12.0)]
fn no_segment_is_behind_the_end_of_the_recording(#[case] start: f64) {
    let text = [said(0.0, " one", 5.0), said(start, " two", start + 2.0)].concat();
    let transcript = run(&Fake::writing(vec![text]), &sound(10.0), &english()).unwrap();
    assert_eq!(times(&transcript), [(0.0, 5.0, " one")]);
}

#[test]
fn an_unlikely_text_raises_the_temperature() {
    let transcript = run(&unsure(0.1, -2.5), &sound(5.0), &english()).unwrap();
    assert!(transcript.timings.attempts > 1);
}

#[test]
fn each_window_is_told_what_was_said_before() {
    let model = Fake::writing(vec![said(0.0, " one", 29.0), said(0.0, " two", 5.0)]);
    run(&model, &sound(40.0), &english()).unwrap();
    let prompts = model.log().prompts;
    assert_eq!(prompts[0][0], SOT);
    assert_eq!(
        prompts[1],
        [vec![PREV], said(0.0, " one", 29.0), vec![SOT, 34, 37]].concat()
    );
}

#[rstest]
#[case::when_not_wanted(TranscribeOptions { condition_on_previous_text: false, ..english() }, 0)]
#[case::when_it_was_guessed(english(), 3)]
fn what_was_said_is_not_passed_on(#[case] options: TranscribeOptions, #[case] stuck_for: usize) {
    let model = stuck(stuck_for);
    run(&model, &sound(40.0), &options).unwrap();
    assert_eq!(model.log().prompts.last().unwrap()[0], SOT);
}

#[test]
fn an_initial_prompt_comes_first() {
    let model = Fake::writing(vec![said(0.0, " one", 1.0)]);
    let options = TranscribeOptions {
        initial_prompt: Some("names".into()),
        ..english()
    };
    run(&model, &sound(5.0), &options).unwrap();
    assert_eq!(
        model.log().prompts[0],
        [vec![PREV], text(" names"), vec![SOT, 34, 37]].concat()
    );
}

#[test]
fn the_language_is_detected_once() {
    let model = Fake::new(|asked| match asked.prompt.last() {
        Some(&SOT) => vec![(35, 0.0), (34, -1.0)],
        _ => vec![(
            said(0.0, " eins", 29.0)
                .get(asked.written.len())
                .copied()
                .unwrap_or(EOT),
            0.0,
        )],
    });
    let transcript = run(&model, &sound(40.0), &heard()).unwrap();
    assert_eq!(transcript.language, "de");
    let prompts = model.log().prompts;
    assert_eq!(prompts.len(), 3);
    assert_eq!(prompts[0], [SOT]);
    assert_eq!(prompts[1], [SOT, 35, 37]);
}

#[test]
fn an_english_only_model_is_not_asked_for_the_language() {
    let model = Fake::writing(vec![said(0.0, " one", 1.0)]);
    let tokenizer = tiny_tokenizer().with_multilingual(false);
    let transcript = run_with(&model, &tokenizer, &sound(5.0), &heard()).unwrap();
    assert_eq!(transcript.language, "en");
    assert_eq!(model.log().prompts, [[SOT]]);
}

#[rstest]
#[case::no_text(vec![at(0.0)])]
#[case::a_pair_at_the_start(vec![at(0.0), at(0.0)])]
#[case::nothing(vec![])]
#[case::only_timestamps(vec![at(1.0), at(1.0), at(1.0), at(1.0)])]
fn odd_texts_neither_hang_nor_make_segments(#[case] tokens: Vec<u32>) {
    let mut options = english();
    options.decode.max_tokens = Some(8);
    options.temperatures = vec![0.0];
    let transcript = run(&Fake::writing(vec![tokens]), &sound(70.0), &options).unwrap();
    assert!(transcript.timings.windows <= 70);
    assert_eq!(transcript.text, "");
}

#[test]
fn segments_are_shown_as_they_come() {
    let model = Fake::writing(vec![said(0.0, " one", 29.0), said(0.0, " two", 5.0)]);
    let mut shown = Vec::new();
    let (tokenizer, generation) = (tiny_tokenizer(), generation());
    let transcriber = Transcriber::new(&model, &tokenizer, &generation).unwrap();
    transcriber
        .transcribe_with(&sound(40.0), &english(), |segment| {
            shown.push(segment.text.clone())
        })
        .unwrap();
    assert_eq!(shown, [" one", " two"]);
}

#[test]
fn no_temperatures_are_an_error() {
    let options = TranscribeOptions {
        temperatures: vec![],
        ..english()
    };
    let text = run(&Fake::writing(vec![vec![]]), &sound(1.0), &options)
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "decoding: temperatures: wanted at least one, got none"
    );
}
