//! Is the log-mel front end the published formula?

use mlx_models::whisper::{Filterbank, LogMel, Mel};
use rstest::rstest;

/// Two tones and noise, with quiet stretches; integers make the noise the same everywhere.
fn signal(n: usize) -> Vec<f32> {
    let mut state = 12345_u64;
    let tone = |hz: f64, i: usize| (std::f64::consts::TAU * hz * i as f64 / 16_000.0).sin();
    let sample = |i: usize| {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        let noise = (state >> 16) as f64 / 32_768.0 - 0.5;
        let loudness = if (i / 1600).is_multiple_of(3) {
            0.05
        } else {
            1.0
        };
        (loudness * (0.4 * tone(440.0, i) + 0.2 * tone(3100.0, i) + 0.05 * noise)) as f32
    };
    (0..n).map(sample).collect()
}

/// The formula written out: a quadratic transform in double precision and a dense filterbank.
fn reference(samples: &[f32], n_mels: usize) -> Vec<f64> {
    let n = samples.len() as isize;
    let at = |mut i: isize| {
        while !(0..n).contains(&i) {
            i = if i < 0 { -i } else { 2 * (n - 1) - i };
        }
        f64::from(samples[i as usize])
    };
    let filters = Filterbank::new(n_mels).to_dense();
    let tau = std::f64::consts::TAU;
    let mut out = Vec::new();
    for frame in 0..samples.len() / 160 {
        let windowed: Vec<f64> = (0..400_isize)
            .map(|i| {
                at(frame as isize * 160 + i - 200) * (0.5 - 0.5 * (tau * i as f64 / 400.0).cos())
            })
            .collect();
        let power: Vec<f64> = (0..201)
            .map(|k| {
                let part = |f: fn(f64) -> f64| -> f64 {
                    windowed
                        .iter()
                        .enumerate()
                        .map(|(i, x)| x * f(tau * (k * i % 400) as f64 / 400.0))
                        .sum()
                };
                part(f64::cos).powi(2) + part(f64::sin).powi(2)
            })
            .collect();
        for row in filters.chunks_exact(201) {
            let energy: f64 = row.iter().zip(&power).map(|(w, p)| f64::from(*w) * p).sum();
            out.push(energy.max(1e-10).log10());
        }
    }
    let lowest = out.iter().fold(f64::MIN, |a, &b| a.max(b)) - 8.0;
    out.iter().map(|x| (x.max(lowest) + 4.0) / 4.0).collect()
}

fn largest_difference(mel: &Mel, wanted: &[f64]) -> f64 {
    assert_eq!(mel.data().len(), wanted.len());
    mel.data()
        .iter()
        .zip(wanted)
        .map(|(got, want)| (f64::from(*got) - want).abs())
        .fold(0.0, f64::max)
}

#[rstest]
#[case::eighty_bands(80, signal(8000))]
#[case::large_v3(128, signal(8000))]
#[case::shorter_than_a_frame(80, signal(170))]
#[case::pure_tone(80, (0..4800).map(|i| (i as f32 * 0.3).sin()).collect())]
#[case::impulse(80, (0..3200).map(|i| f32::from(u8::from(i == 1600))).collect())]
#[case::tiny_amplitude(80, signal(4800).iter().map(|x| x * 1e-6).collect())]
fn equals_the_formula_in_double_precision(#[case] n_mels: usize, #[case] samples: Vec<f32>) {
    let mel = LogMel::new(n_mels).unwrap().exact(&samples);
    let difference = largest_difference(&mel, &reference(&samples, n_mels));
    println!("largest difference {difference:.2e}");
    // The contract is 1e-4; a pure tone is the worst case for single precision, at 2.4e-5.
    assert!(difference < 5e-5, "largest difference {difference}");
}

#[test]
fn padding_is_the_formula_on_appended_zeros() {
    let samples = signal(3000);
    let long = LogMel::new(80).unwrap().long(&samples);
    let mut zeros = samples.clone();
    zeros.resize(6400, 0.0);
    let wanted = reference(&zeros, 80);
    // The last frames of `wanted` see the reflection at its end, so they are left out.
    let frames = 38;
    let got = long.window(0, frames);
    assert!(largest_difference(&got, &wanted[..frames * 80]) < 2e-5);
}

#[rstest]
#[case(80)]
#[case(128)]
fn equals_the_golden_values_of_faster_whisper(#[case] n_mels: usize) {
    let mel = LogMel::new(n_mels).unwrap().exact(&signal(16_000));
    let golden = include_str!("golden/mel.txt");
    let mut checked = 0;
    for line in golden
        .lines()
        .filter(|line| line.starts_with(&format!("{n_mels} ")))
    {
        let mut fields = line.split(' ').skip(1);
        let frame: usize = fields.next().unwrap().parse().unwrap();
        let got = &mel.data()[frame * n_mels..(frame + 1) * n_mels];
        for (got, want) in got.iter().zip(fields) {
            let difference = (got - want.parse::<f32>().unwrap()).abs();
            assert!(difference < 1e-4, "frame {frame}: wanted {want}, got {got}");
            checked += 1;
        }
    }
    assert_eq!(checked, 8 * n_mels);
}

#[test]
fn a_window_of_thirty_seconds_has_three_thousand_frames() {
    let mel = LogMel::new(80).unwrap();
    assert_eq!(mel.padded(&signal(100)).frames(), 3000);
    assert_eq!(mel.padded(&vec![0.1; 600_000]).frames(), 3000);
    assert_eq!(mel.long(&vec![0.1; 600_000]).frames(), 3750 + 3000);
    assert_eq!(mel.exact(&[]).frames(), 0);
}

#[test]
fn infinite_and_missing_samples_do_not_spread() {
    let mel = LogMel::new(80)
        .unwrap()
        .padded(&[f32::NAN, f32::INFINITY, 1e38, 0.5]);
    assert!(mel.data().iter().all(|value| value.is_finite()));
}
