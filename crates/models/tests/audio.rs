//! Do recordings of every kind become the right 16 kHz samples, or a clear error?

use mlx_models::Error;
use mlx_models::audio::{Audio, Truncated, resample};
use mlx_testdata::{assets, if_available};
use rstest::rstest;

mod support;

const FLAC: &[u8] = include_bytes!("data/sine_44100_stereo.flac");
const MP3: &[u8] = include_bytes!("data/sine_22050_mono.mp3");

/// How the samples of a wav file are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Int(u16),
    Float(u16),
}

impl Format {
    fn bytes(self, value: f64) -> Vec<u8> {
        let scaled = |bits: u32| {
            (value * (1_i64 << (bits - 1)) as f64)
                .round()
                .min(((1_i64 << (bits - 1)) - 1) as f64)
        };
        match self {
            Self::Int(8) => vec![(scaled(8) + 128.0) as u8],
            Self::Int(bits) => {
                (scaled(u32::from(bits)) as i64).to_le_bytes()[..usize::from(bits / 8)].to_vec()
            }
            Self::Float(32) => (value as f32).to_le_bytes().to_vec(),
            Self::Float(_) => value.to_le_bytes().to_vec(),
        }
    }
}

/// A wav file of `seconds` with `channels` copies of a sine; the sum of the channels' gains is their number.
fn wav(format: Format, rate: u32, channels: u16, samples: &[f64]) -> Vec<u8> {
    let (tag, bits) = match format {
        Format::Int(bits) => (1_u16, bits),
        Format::Float(bits) => (3_u16, bits),
    };
    let block = channels * bits / 8;
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|&x| (0..channels).flat_map(move |_| format.bytes(x)))
        .collect();
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend(tag.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(block)).to_le_bytes());
    file.extend(block.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn sine(hz: f64, rate: u32, n: usize) -> Vec<f64> {
    (0..n)
        .map(|i| 0.5 * (std::f64::consts::TAU * hz * i as f64 / f64::from(rate)).sin())
        .collect()
}

/// The largest difference from a sine at 16 kHz, away from the ends.
fn error_against_sine(samples: &[f32], hz: f64) -> f64 {
    let wanted = sine(hz, 16_000, samples.len());
    let inside = 1000..samples.len() - 1000;
    inside
        .map(|i| (f64::from(samples[i]) - wanted[i]).abs())
        .fold(0.0, f64::max)
}

#[rstest]
#[case::telephone(Format::Int(16), 8_000, 1, 1e-4)]
#[case::eight_bit(Format::Int(8), 8_000, 1, 6e-3)]
#[case::eight_bit_stereo(Format::Int(8), 22_050, 2, 6e-3)]
#[case::whisper_rate(Format::Int(16), 16_000, 1, 2e-5)]
#[case::cd(Format::Int(16), 44_100, 2, 1e-4)]
#[case::studio(Format::Int(24), 48_000, 2, 1e-5)]
#[case::wide(Format::Int(32), 96_000, 1, 1e-5)]
#[case::float(Format::Float(32), 11_025, 1, 1e-5)]
#[case::double(Format::Float(64), 32_000, 2, 1e-5)]
#[case::odd_rate(Format::Int(24), 37_799, 1, 1e-5)]
#[case::six_channels(Format::Int(16), 48_000, 6, 1e-4)]
fn loads_wav_as_the_analytic_sine(
    #[case] format: Format,
    #[case] rate: u32,
    #[case] channels: u16,
    #[case] tolerance: f64,
) {
    let file = wav(format, rate, channels, &sine(440.0, rate, rate as usize));
    let audio = Audio::from_bytes(file).unwrap();
    assert_eq!(
        (audio.source_rate, audio.source_channels),
        (rate, usize::from(channels))
    );
    assert_eq!(audio.samples.len(), 16_000);
    assert_eq!(audio.truncated, None);
    let error = error_against_sine(&audio.samples, 440.0);
    println!("{error:.1e}");
    assert!(error < tolerance, "off by {error}");
}

#[test]
fn tones_above_half_the_target_rate_vanish() {
    let samples: Vec<f32> = sine(10_000.0, 48_000, 48_000)
        .iter()
        .map(|&x| x as f32)
        .collect();
    let got = resample(&samples, 48_000).unwrap();
    let loudest = got[1000..15_000]
        .iter()
        .fold(0.0_f32, |a, x| a.max(x.abs()));
    assert!(loudest < 1e-4, "left {loudest}");
}

#[rstest]
#[case::no_samples(0, 0)]
#[case::one_sample(1, 1)]
#[case::a_block_and_a_bit(1025, 2050)]
fn resampled_length_follows_the_rates(#[case] n: usize, #[case] wanted: usize) {
    let got = resample(&vec![0.1; n], 8_000).unwrap().len();
    assert_eq!(got, if n == 1 { 2 } else { wanted });
}

#[test]
fn stereo_is_the_mean_of_the_channels() {
    // The file has a sine of 0.5 on the left and silence on the right.
    let audio = Audio::from_bytes(FLAC).unwrap();
    assert_eq!(
        (
            audio.source_rate,
            audio.source_channels,
            audio.samples.len()
        ),
        (44_100, 2, 8_000)
    );
    let doubled: Vec<f32> = audio.samples.iter().map(|x| x * 2.0).collect();
    assert!(error_against_sine(&doubled, 440.0) < 2e-4);
}

#[test]
fn mp3_starts_where_the_sound_starts() {
    let audio = Audio::from_bytes(MP3).unwrap();
    assert_eq!(audio.source_rate, 22_050);
    assert!(
        audio.samples.len().abs_diff(8_000) < 900,
        "got {} samples",
        audio.samples.len()
    );
    let error = error_against_sine(&audio.samples[..7_500], 440.0);
    assert!(error < 0.03, "off by {error}");
}

#[rstest]
#[case::empty(b"".to_vec(), "audio: wanted wav, flac, mp3, ogg, opus, m4a, webm, aiff or caf, got an empty file")]
#[case::text(b"this is a text file, not a recording of anything".repeat(40), "audio: wanted wav, flac, mp3, ogg, opus, m4a, webm, aiff or caf, got something else")]
#[case::zeros_with(vec![0; 5000], "audio: wanted wav, flac, mp3, ogg, opus, m4a, webm, aiff or caf, got something else")]
#[case::only_a_header(wav(Format::Int(16), 16_000, 1, &[]), "audio: wanted samples, got a file without any")]
#[case::cut_in_the_header(wav(Format::Int(16), 16_000, 1, &[0.1; 100])[..30].to_vec(), "audio: wav: wanted a format chunk, got none that is whole")]
#[case::no_data_left(wav(Format::Int(16), 16_000, 1, &[0.1; 100])[..44].to_vec(), "audio: wanted samples, got a file without any (truncated: wanted 200 bytes, got 0)")]
#[case::rate_of_zero(wav(Format::Int(16), 0, 1, &[0.1; 100]), "audio: ")]
#[case::absurd_rate(wav(Format::Int(8), 2_000_000_000, 1, &[0.1; 100]), "audio: sample rate: wanted 1000 to 768000 Hz, got 2000000000")]
fn refuses_what_is_not_audio(#[case] file: Vec<u8>, #[case] message: &str) {
    let text = Audio::from_bytes(file).unwrap_err().to_string();
    assert!(text.starts_with(message), "{text}");
}

#[test]
fn a_missing_file_is_named() {
    let error = Audio::load("no/such.wav").unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
    assert!(error.to_string().starts_with("no/such.wav: "), "{error}");
}

#[rstest]
#[case::in_the_middle_of_a_sample(44 + 20_001, 20_000)]
#[case::on_a_frame(44 + 20_000, 20_000)]
#[case::one_byte_short(44 + 31_999, 31_998)]
fn a_truncated_wav_gives_what_is_there(#[case] kept: usize, #[case] got: u64) {
    let file = wav(Format::Int(16), 16_000, 1, &sine(440.0, 16_000, 16_000));
    let audio = Audio::from_bytes(&file[..kept]).unwrap();
    assert_eq!(audio.samples.len() as u64, got / 2);
    assert_eq!(
        audio.truncated,
        Some(Truncated::Short {
            wanted: 32_000,
            got,
            unit: "bytes"
        })
        .filter(|_| true)
    );
}

#[rstest]
#[case::flac(FLAC)]
#[case::mp3(MP3)]
fn a_truncated_stream_gives_a_part_or_an_error(#[case] file: &[u8]) {
    let whole = Audio::from_bytes(file).unwrap().samples.len();
    for kept in (0..file.len()).step_by(97) {
        if let Ok(audio) = Audio::from_bytes(&file[..kept]) {
            assert!(audio.samples.len() <= whole);
        }
    }
    let most = Audio::from_bytes(&file[..file.len() * 3 / 4]).unwrap();
    assert!(
        most.samples.len() > whole / 3 && most.truncated.is_some(),
        "{:?} of {whole}",
        most.samples.len()
    );
}

#[test]
fn a_streamed_wav_without_lengths_is_not_truncated() {
    let mut file = wav(Format::Int(16), 16_000, 1, &sine(440.0, 16_000, 16_000));
    file[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    file[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    let audio = Audio::from_bytes(file).unwrap();
    assert_eq!((audio.samples.len(), audio.truncated), (16_000, None));
}

#[test]
fn reads_from_a_reader() {
    let file = wav(Format::Int(16), 16_000, 1, &sine(440.0, 16_000, 1600));
    assert_eq!(
        Audio::from_reader(file.as_slice()).unwrap().samples.len(),
        1600
    );
}

#[test]
fn damaged_files_never_panic() {
    let file = wav(Format::Int(24), 48_000, 2, &sine(440.0, 48_000, 500));
    let mut state = 1_u64;
    for original in [&file[..], FLAC, MP3] {
        for _ in 0..400 {
            let mut damaged = original.to_vec();
            for _ in 0..4 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = (state >> 33) as usize % damaged.len().min(600);
                damaged[at] = (state >> 20) as u8;
            }
            let _ = Audio::from_bytes(damaged);
        }
    }
}

#[test]
fn jfk_is_the_same_as_wav_and_mp3() {
    let (Some(wav), Some(mp3)) = (
        if_available(assets::jfk_wav()),
        if_available(assets::jfk_mp3()),
    ) else {
        return;
    };
    let (wav, mp3) = (Audio::load(wav).unwrap(), Audio::load(mp3).unwrap());
    assert_eq!(wav.samples.len(), 176_000);
    assert!(
        mp3.samples.len().abs_diff(176_000) < 3000,
        "got {}",
        mp3.samples.len()
    );
    let energy = |x: &[f32]| x.iter().map(|v| v * v).sum::<f32>();
    let ratio = energy(&mp3.samples) / energy(&wav.samples);
    assert!((0.95..1.05).contains(&ratio), "energy differs by {ratio}");
}
