//! The log-mel spectrogram.

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

use super::fast_math::log10;
use super::filterbank::Filterbank;
use crate::audio::SAMPLE_RATE;
use crate::{Error, Result};

/// Samples per transform: 25 ms.
pub const N_FFT: usize = 400;
/// Samples from one frame to the next: 10 ms.
pub const HOP: usize = 160;
/// Frames per second of audio.
pub const FRAMES_PER_SECOND: usize = SAMPLE_RATE as usize / HOP;
/// Samples of one window of Whisper: 30 s.
pub const WINDOW_SAMPLES: usize = 30 * SAMPLE_RATE as usize;
/// Frames of one window of Whisper.
pub const WINDOW_FRAMES: usize = WINDOW_SAMPLES / HOP;

/// Frequencies of a real transform.
pub(super) const N_BINS: usize = N_FFT / 2 + 1;

/// The floor of energies.
const FLOOR: f32 = 1e-10;

/// A log-mel spectrogram, `[frames, n_mels]`, frame by frame.
///
/// That is the layout that MLX's convolutions read; see [`Mel::to_channels_first`] for the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Mel {
    data: Vec<f32>,
    n_mels: usize,
}

impl Mel {
    /// Returns the number of frames.
    pub fn frames(&self) -> usize {
        self.data.len() / self.n_mels
    }

    /// Returns the number of mel bands.
    pub fn n_mels(&self) -> usize {
        self.n_mels
    }

    /// Returns the values, `[frames, n_mels]`.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Returns the values as `[n_mels, frames]`, the layout of PyTorch and of published examples.
    pub fn to_channels_first(&self) -> Vec<f32> {
        let frames = self.frames();
        (0..self.data.len())
            .map(|i| self.data[i % frames * self.n_mels + i / frames])
            .collect()
    }

    /// Returns a copy of `count` frames from `start` on; frames past the end repeat the last one, for an hour at most.
    ///
    /// A spectrogram from [`LogMel::long`] ends in silence, so what repeats is silence.
    pub fn window(&self, start: usize, count: usize) -> Self {
        let frames = self.frames();
        let count = count.min(frames.saturating_add(FRAMES_PER_HOUR));
        let from = start.min(frames);
        let to = start.saturating_add(count).min(frames);
        let mut data = Vec::with_capacity(count * self.n_mels);
        data.extend_from_slice(&self.data[from * self.n_mels..to * self.n_mels]);
        let last = frames.saturating_sub(1) * self.n_mels;
        while data.len() < count * self.n_mels {
            match self.data.get(last..last + self.n_mels) {
                Some(frame) => data.extend_from_slice(frame),
                None => data.push(0.0),
            }
        }
        Self {
            data,
            n_mels: self.n_mels,
        }
    }
}

/// Frames of 10 ms.
const FRAMES_PER_HOUR: usize = 360_000;

/// The transform of samples to log-mel spectrograms.
///
/// Frames of 400 samples every 160, centred (the ends are reflected), times a periodic Hann
/// window; the power spectrum goes through a [`Filterbank`]; then
/// `x = log10(max(x, 1e-10))`, `x = max(x, max(x) - 8)`, `x = (x + 4) / 4`.
/// The FFT is planned once: keep and reuse the instance.
#[derive(Clone)]
pub struct LogMel {
    filters: Filterbank,
    window: [f32; N_FFT],
    transform: Arc<dyn RealToComplex<f32>>,
}

impl LogMel {
    /// Returns the transform for `n_mels` bands: 80, or 128 from large-v3 on.
    ///
    /// # Errors
    /// [`Error::Config`] unless `n_mels` is 80 or 128.
    pub fn new(n_mels: usize) -> Result<Self> {
        if !matches!(n_mels, 80 | 128) {
            return Err(Error::Config(format!(
                "n_mels: wanted 80 or 128, got {n_mels}"
            )));
        }
        let turn = std::f64::consts::TAU / N_FFT as f64;
        let window = std::array::from_fn(|i| (0.5 - 0.5 * (turn * i as f64).cos()) as f32);
        let transform = RealFftPlanner::new().plan_fft_forward(N_FFT);
        Ok(Self {
            filters: Filterbank::new(n_mels),
            window,
            transform,
        })
    }

    /// Returns the number of mel bands.
    pub fn n_mels(&self) -> usize {
        self.filters.n_mels()
    }

    /// Computes the spectrogram of exactly these samples: `samples.len() / 160` frames.
    pub fn exact(&self, samples: &[f32]) -> Mel {
        self.compute(samples, samples.len())
    }

    /// Computes one window: the samples are cut or padded with silence to 30 s.
    pub fn padded(&self, samples: &[f32]) -> Mel {
        self.compute(
            &samples[..samples.len().min(WINDOW_SAMPLES)],
            WINDOW_SAMPLES,
        )
    }

    /// Computes the spectrogram of a whole recording followed by 30 s of silence.
    ///
    /// Take windows of it with [`Mel::window`]; the recording itself is `samples.len() / 160` frames.
    pub fn long(&self, samples: &[f32]) -> Mel {
        self.compute(samples, samples.len() + WINDOW_SAMPLES)
    }

    /// The spectrogram of `samples` followed by zeros up to `length`.
    fn compute(&self, samples: &[f32], length: usize) -> Mel {
        let n_mels = self.n_mels();
        let mut data = vec![FLOOR; length / HOP * n_mels];
        let mut frame = [0.0; N_FFT];
        let mut scratch = self.transform.make_scratch_vec();
        let mut spectrum = [Complex32::ZERO; N_BINS];
        let mut power = [0.0; N_BINS];
        for (index, energies) in data.chunks_exact_mut(n_mels).enumerate() {
            let silent = self.gather(samples, length, index * HOP, &mut frame);
            // Silence has no energy in any band: it stays at the floor.
            if silent
                || self
                    .transform
                    .process_with_scratch(&mut frame, &mut spectrum, &mut scratch)
                    .is_err()
            {
                continue;
            }
            for (power, bin) in power.iter_mut().zip(&spectrum) {
                *power = bin.re * bin.re + bin.im * bin.im;
            }
            self.filters.apply(&power, energies);
        }
        scale(&mut data);
        Mel { data, n_mels }
    }

    /// Fills `frame` with the windowed samples around `centre`; returns whether all are zero.
    fn gather(
        &self,
        samples: &[f32],
        length: usize,
        centre: usize,
        frame: &mut [f32; N_FFT],
    ) -> bool {
        const HALF: usize = N_FFT / 2;
        if centre >= samples.len() + HALF && centre + HALF <= length {
            return true;
        }
        match centre
            .checked_sub(HALF)
            .and_then(|start| samples.get(start..start + N_FFT))
        {
            Some(inside) => frame.copy_from_slice(inside),
            None => {
                for (offset, value) in frame.iter_mut().enumerate() {
                    let at = reflect(centre as isize + offset as isize - HALF as isize, length);
                    *value = samples.get(at).copied().unwrap_or(0.0);
                }
            }
        }
        if frame.iter().all(|&value| value == 0.0) {
            return true;
        }
        for (value, weight) in frame.iter_mut().zip(&self.window) {
            *value *= weight;
        }
        false
    }
}

/// Reflects an index into `0..length` at both ends, without repeating the ends.
fn reflect(at: isize, length: usize) -> usize {
    let last = length as isize - 1;
    if last <= 0 {
        return 0;
    }
    let folded = at.rem_euclid(2 * last);
    folded.min(2 * last - folded) as usize
}

/// Converts energies to Whisper's scale, in place.
fn scale(energies: &mut [f32]) {
    // The logarithm grows, so the largest is found before it; four lanes let it vectorise.
    let mut lanes = [FLOOR; 8];
    for chunk in energies.chunks(8) {
        for (lane, &energy) in lanes.iter_mut().zip(chunk) {
            *lane = if energy > *lane { energy } else { *lane };
        }
    }
    let largest = lanes.iter().fold(FLOOR, |a, &b| a.max(b)).min(f32::MAX);
    let lowest = largest.log10() - 8.0;
    for energy in energies {
        let bounded = if *energy > FLOOR { *energy } else { FLOOR };
        let log = log10(bounded);
        let log = if log > lowest { log } else { lowest };
        *energy = (log + 4.0) * 0.25;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflects_without_repeating_the_ends() {
        let got: Vec<usize> = (-3..7).map(|at| reflect(at, 4)).collect();
        assert_eq!(got, [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(reflect(-5, 1), 0);
    }

    #[test]
    fn refuses_other_numbers_of_bands() {
        let text = LogMel::new(64).err().unwrap().to_string();
        assert_eq!(text, "config: n_mels: wanted 80 or 128, got 64");
    }

    #[test]
    fn silence_is_one_value_everywhere() {
        let mel = LogMel::new(80).unwrap().padded(&[]);
        assert_eq!(mel.frames(), WINDOW_FRAMES);
        assert!(mel.data().iter().all(|&value| (value + 1.5).abs() < 1e-6));
    }

    #[test]
    fn windows_past_the_end_repeat_the_last_frame() {
        let mel = Mel {
            data: vec![1.0, 2.0, 3.0, 4.0],
            n_mels: 2,
        };
        assert_eq!(mel.window(1, 3).data(), [3.0, 4.0, 3.0, 4.0, 3.0, 4.0]);
        assert_eq!(mel.window(9, 1).data(), [3.0, 4.0]);
        assert_eq!(mel.window(usize::MAX, 1).data(), [3.0, 4.0]);
        // As many frames as memory never has are cut.
        assert_eq!(mel.window(0, usize::MAX).frames(), 2 + FRAMES_PER_HOUR);
        assert_eq!(mel.to_channels_first(), [1.0, 3.0, 2.0, 4.0]);
    }
}
