//! The mel filterbank.

use super::mel::{N_BINS, N_FFT};
use crate::audio::SAMPLE_RATE;

/// Max number of bands; models have up to 128.
const MOST_BANDS: usize = 4096;

/// Triangular filters on the Slaney mel scale, each with unit area in Hz.
///
/// Filter `b` rises from `f[b]` to `f[b + 1]` and falls to `f[b + 2]`, where the `f` are evenly
/// spaced in mel from 0 Hz to half the sample rate, and is scaled by `2 / (f[b + 2] - f[b])`.
#[derive(Clone, Debug)]
pub struct Filterbank {
    bands: Vec<Band>,
}

/// The weights of one band that are not zero.
#[derive(Clone, Debug)]
struct Band {
    first_bin: usize,
    weights: Vec<f32>,
}

impl Filterbank {
    /// Returns `n_mels` filters, at most 4096, for a 400-point transform at 16 kHz.
    pub fn new(n_mels: usize) -> Self {
        let n_mels = n_mels.min(MOST_BANDS);
        let top = hz_to_mel(f64::from(SAMPLE_RATE) / 2.0);
        let edges: Vec<f64> = (0..n_mels + 2)
            .map(|i| mel_to_hz(top * i as f64 / (n_mels + 1) as f64))
            .collect();
        Self {
            bands: edges
                .windows(3)
                .map(|f| Band::new(f[0], f[1], f[2]))
                .collect(),
        }
    }

    /// Returns the number of bands.
    pub fn n_mels(&self) -> usize {
        self.bands.len()
    }

    /// Returns the full `[n_mels, 201]` matrix, row by row.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut dense = vec![0.0; self.n_mels() * N_BINS];
        for (row, band) in dense.chunks_exact_mut(N_BINS).zip(&self.bands) {
            row[band.first_bin..band.first_bin + band.weights.len()].copy_from_slice(&band.weights);
        }
        dense
    }

    /// Writes the energy of each band of a power spectrum.
    pub(super) fn apply(&self, power: &[f32; N_BINS], energies: &mut [f32]) {
        for (energy, band) in energies.iter_mut().zip(&self.bands) {
            let bins = &power[band.first_bin..band.first_bin + band.weights.len()];
            *energy = bins
                .iter()
                .zip(&band.weights)
                .map(|(bin, weight)| bin * weight)
                .sum();
        }
    }
}

impl Band {
    fn new(low: f64, centre: f64, high: f64) -> Self {
        let weight = |bin: usize| {
            let hz = bin as f64 * f64::from(SAMPLE_RATE) / N_FFT as f64;
            let slope = ((hz - low) / (centre - low)).min((high - hz) / (high - centre));
            (slope.max(0.0) * 2.0 / (high - low)) as f32
        };
        let first_bin = (0..N_BINS).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
        let weights = (first_bin..N_BINS)
            .map(weight)
            .take_while(|&weight| weight > 0.0)
            .collect();
        Self { first_bin, weights }
    }
}

/// Hz per mel below the break at 1000 Hz, where the scale is linear.
const HZ_PER_MEL: f64 = 200.0 / 3.0;
const BREAK_HZ: f64 = 1000.0;
const BREAK_MEL: f64 = BREAK_HZ / HZ_PER_MEL;

/// Above the break, 27 mels multiply the frequency by 6.4.
fn log_step() -> f64 {
    6.4_f64.ln() / 27.0
}

fn hz_to_mel(hz: f64) -> f64 {
    if hz < BREAK_HZ {
        hz / HZ_PER_MEL
    } else {
        BREAK_MEL + (hz / BREAK_HZ).ln() / log_step()
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < BREAK_MEL {
        mel * HZ_PER_MEL
    } else {
        BREAK_HZ * ((mel - BREAK_MEL) * log_step()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mel_scale_is_linear_below_a_kilohertz_and_inverts() {
        for (hz, mel) in [(500.0, 7.5), (1000.0, 15.0), (6400.0, 42.0)] {
            assert!((hz_to_mel(hz) - mel).abs() < 1e-9);
        }
        for hz in [10.0, 999.0, 1001.0, 7999.0] {
            assert!((mel_to_hz(hz_to_mel(hz)) - hz).abs() < 1e-9);
        }
    }

    #[rstest::rstest]
    #[case(80)]
    #[case(128)]
    fn every_band_has_weight(#[case] n_mels: usize) {
        let dense = Filterbank::new(n_mels).to_dense();
        assert!(
            dense
                .chunks_exact(N_BINS)
                .all(|row| row.iter().any(|&weight| weight > 0.0))
        );
    }
}
