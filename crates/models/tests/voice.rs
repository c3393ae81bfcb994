//! Is the model spared what has no voice, and given everything else?

use mlx_models::audio::Audio;
use mlx_models::whisper::decoding::DecodingOptions;
use mlx_models::whisper::{TranscribeOptions, Transcriber};
use mlx_testdata::{assets, if_available};
use rstest::rstest;

mod support;
use support::fake::{Fake, generation};
use support::{at, text, tiny_tokenizer};

const RATE: f64 = 16_000.0;

fn options(vad_filter: bool) -> TranscribeOptions {
    TranscribeOptions {
        decode: DecodingOptions {
            language: Some("en".into()),
            ..DecodingOptions::default()
        },
        vad_filter,
        ..TranscribeOptions::default()
    }
}

/// Start and text of each segment that a model makes of a recording, which writes these texts at these times.
fn written(samples: &[f32], vad_filter: bool, texts: &[(f64, &str)]) -> Vec<(f64, String)> {
    let said = |&(start, words): &(f64, &str)| {
        [vec![at(start)], text(words), vec![at(start + 2.0)]].concat()
    };
    let model = Fake::writing(vec![texts.iter().flat_map(said).collect()]);
    let (tokenizer, generation) = (tiny_tokenizer(), generation());
    let transcriber = Transcriber::new(&model, &tokenizer, &generation).unwrap();
    let transcript = transcriber
        .transcribe(samples, &options(vad_filter))
        .unwrap();
    let segments = transcript.segments.into_iter();
    segments
        .map(|segment| (segment.start, segment.text))
        .collect()
}

fn is_heard(samples: &[f32]) -> bool {
    !written(samples, true, &[(0.0, " one")]).is_empty()
}

/// Numbers in -1 to 1, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// Samples of this many seconds, each a function of its time.
fn sound(seconds: f64, mut sample: impl FnMut(f64) -> f64) -> Vec<f32> {
    let n = (seconds * RATE) as usize;
    (0..n).map(|i| sample(i as f64 / RATE) as f32).collect()
}

fn decibels(level: f64) -> f64 {
    10_f64.powf(level / 20.0)
}

fn white(level: f64) -> Vec<f32> {
    let mut random = Random(3);
    // Uniform numbers have a root mean square of 1 / sqrt(3).
    sound(8.0, |_| decibels(level) * 3_f64.sqrt() * random.next())
}

/// White noise through a pole: lower frequencies are louder.
fn brown(level: f64) -> Vec<f32> {
    let (mut random, mut state) = (Random(5), 0.0);
    sound(8.0, |_| {
        state = 0.98 * state + random.next();
        decibels(level) * 0.35 * state
    })
}

fn sine(hz: f64, time: f64) -> f64 {
    (std::f64::consts::TAU * hz * time).sin()
}

fn tone(hz: f64, level: f64) -> Vec<f32> {
    sound(8.0, |time| decibels(level) * sine(hz, time))
}

/// To 16 bits, with the noise that hides their steps.
fn dithered(samples: Vec<f32>) -> Vec<f32> {
    let mut random = Random(11);
    let step = |x: f32| (f64::from(x) * 32768.0 + (random.next() + random.next()) / 2.0).round();
    samples
        .into_iter()
        .map(step)
        .map(|x| (x / 32768.0) as f32)
        .collect()
}

fn is_on(time: f64, period: f64) -> bool {
    time % period < period / 2.0
}

#[rstest]
#[case::noise_at_60_db(white(-60.0))]
#[case::noise_at_20_db(white(-20.0))]
#[case::brown_noise_at_60_db(brown(-60.0))]
#[case::brown_noise_at_20_db(brown(-20.0))]
#[case::dithered_silence(dithered(vec![0.0; 128_000]))]
#[case::a_low_tone(tone(100.0, -6.0))]
#[case::a_tone(tone(440.0, -6.0))]
#[case::a_high_tone(tone(3_000.0, -20.0))]
#[case::a_faint_tone(dithered(tone(1_000.0, -60.0)))]
#[case::hum(sound(8.0, |t| (1..20).map(|k| 0.1 / f64::from(k) * sine(50.0 * f64::from(k), t)).sum()))]
#[case::a_chord(sound(8.0, |t| [261.6, 329.6, 392.0].iter().map(|&hz| 0.2 * sine(hz, t)).sum()))]
#[case::beeps(sound(8.0, |t| if is_on(t, 1.0) { 0.5 * sine(1_000.0, t) } else { 0.0 }))]
#[case::two_beeps(sound(8.0, |t| 0.5 * sine(if is_on(t, 1.0) { 440.0 } else { 880.0 }, t)))]
#[case::a_telephone_key(sound(8.0, |t| if is_on(t, 0.2) { 0.3 * (sine(770.0, t) + sine(1_336.0, t)) } else { 0.0 }))]
#[case::a_sweep(sound(8.0, |t| 0.5 * sine(100.0 + 200.0 * t, t)))]
#[case::noise_that_comes_and_goes(white(-30.0).iter().enumerate().map(|(i, x)| if i / 8_000 % 2 == 0 { *x } else { 0.0 }).collect())]
#[case::clicks(sound(8.0, |t| if t % 0.5 < 1.0 / RATE { 0.9 } else { 0.0 }))]
fn what_has_no_voice_is_passed_over(#[case] samples: Vec<f32>) {
    assert!(!is_heard(&samples));
    // The check can be switched off.
    assert_eq!(written(&samples, false, &[(0.0, " one")]).len(), 1);
}

/// Vowels and consonants: harmonics of a voice whose formant moves, and hisses, eight in a second.
fn speech(seconds: f64) -> Vec<f32> {
    let mut random = Random(17);
    sound(seconds, |time| {
        let syllable = (time * 8.0) as usize;
        if syllable % 2 == 1 {
            return 0.05 * random.next();
        }
        let formant = [300.0, 700.0, 1_200.0, 500.0][syllable / 2 % 4];
        let harmonic = |k: i32| {
            let hz = 120.0 * f64::from(k);
            sine(hz, time) / (1.0 + ((hz - formant) / 150.0).powi(2))
        };
        0.2 * (1..25).map(harmonic).sum::<f64>()
    })
}

fn mixed(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(x, y)| x + y).collect()
}

#[rstest]
#[case::plain(speech(8.0))]
#[case::quiet(dithered(speech(8.0).iter().map(|x| x * 0.003).collect()))]
#[case::in_noise(mixed(&speech(8.0), &white(-26.0)))]
#[case::above_hum(mixed(&speech(8.0), &tone(50.0, -20.0)))]
#[case::one_second_in_noise([&white(-60.0)[..16_000], &speech(1.0), &white(-60.0)].concat())]
fn speech_is_heard(#[case] samples: Vec<f32>) {
    assert!(is_heard(&samples));
}

#[rstest]
#[case::as_it_is(0.0, 0.0)]
#[case::very_quiet(-50.0, 0.0)]
#[case::in_noise_as_loud(0.0, 1.0)]
fn recorded_speech_is_heard(#[case] gain: f64, #[case] noise: f32) {
    for path in [assets::jfk_wav(), assets::beckett_wav()] {
        let Some(path) = if_available(path) else {
            return;
        };
        let mut samples = Audio::load(path).unwrap().samples;
        let energy = samples.iter().map(|x| x * x).sum::<f32>();
        let level = (energy / samples.len() as f32).sqrt();
        for (sample, random) in samples.iter_mut().zip(white(0.0).iter().cycle()) {
            *sample = (*sample + noise * level * random) * decibels(gain) as f32;
        }
        assert!(is_heard(&samples));
    }
}

#[test]
fn words_where_nobody_speaks_are_dropped() {
    let samples = [speech(5.0), white(-60.0), white(-60.0)].concat();
    let texts = [(0.0, " one"), (3.5, " two"), (12.0, " three")];
    let starts = |vad| {
        written(&samples, vad, &texts)
            .into_iter()
            .map(|(start, _)| start)
    };
    assert_eq!(starts(true).collect::<Vec<_>>(), [0.0, 3.5]);
    assert_eq!(starts(false).collect::<Vec<_>>(), [0.0, 3.5, 12.0]);
}

#[test]
fn a_window_without_voice_is_not_even_encoded() {
    let noise = white(-60.0).repeat(4);
    let samples = [&noise[..30 * 16_000], &speech(5.0)].concat();
    let segments = written(&samples, true, &[(0.0, " one")]);
    assert_eq!(segments, [(30.0, String::from(" one"))]);
}

#[test]
fn a_short_word_is_heard() {
    assert!(is_heard(&speech(0.4)));
    assert!(!is_heard(&white(-60.0)[..6_400]));
}
