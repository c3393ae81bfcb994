//! Voice activity detection: the parts of a recording that may contain speech.
//!
//! Whisper hallucinates words for noise and tones. Speech differs from both in one way that needs no model: the shape
//! of its spectrum changes all the time, from vowel to consonant, and it is not made of one or two pure tones. Two
//! measures are therefore taken of each second of the recording, from its mel spectrogram:
//!
//! - The change of the shape: the spectrum is merged to 16 bands, averaged over 90 ms, and each frame's mean
//!   level subtracted; the measure is the standard deviation over time, averaged over the bands. Steady noise of any
//!   colour and level has at most 1 dB; speech has 4 to 6 dB, and still 2 dB in noise as loud as itself.
//! - The share of frames that are more than pure tones: at most 45 dB below the loudest frame, and with more
//!   than 1.5 % of their energy away from their two highest peaks.
//!
//! Voice is possible above [`CHANGE`] and at or above [`SHARE`]. Music, babble and slamming doors pass too: the
//! model decides on those. Loudness has no influence, so quiet speech is detected as well.

use std::ops::Range;

use super::{FRAMES_PER_SECOND, Mel};

/// Min change of the spectrum's shape for speech, in decibels.
const CHANGE: f32 = 1.5;

/// Min share of a block's frames that are more than pure tones for speech.
const SHARE: f32 = 0.25;

/// The frames of one block, and the step from one block to the next.
const BLOCK: usize = FRAMES_PER_SECOND;
const STEP: usize = BLOCK / 2;

/// Frames at both ends of a recording that are not used: the transform reflects the signal there.
const EDGE: usize = 5;

/// Number of bands that the spectrum is merged to.
const N_BANDS: usize = 16;

/// Number of frames that are averaged.
const SMOOTH: usize = 9;

/// Share of a frame's energy in pure tones.
const TONAL: f32 = 0.985;

/// Energies below this share of the loudest frame count as silence: -45 dB.
const QUIET: f32 = 3.2e-5;

/// Range of levels below the loudest band, in decibels; lower levels are clipped.
const DEPTH: f32 = 40.0;

/// The parts of a recording that may contain speech, in frames of 10 ms.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Voice {
    blocks: Vec<Range<usize>>,
}

impl Voice {
    /// Detects them in the first `n_frames` of a spectrogram.
    pub(super) fn find(mel: &Mel, n_frames: usize) -> Self {
        let frames = EDGE.min(n_frames)..n_frames.min(mel.frames()).saturating_sub(EDGE);
        let features = Features::new(mel, frames.clone());
        let mut blocks = Vec::new();
        let mut start = 0;
        while start < features.energy.len() {
            // The last block has the length of the others.
            let end = (start + BLOCK).min(features.energy.len());
            let block = end.saturating_sub(BLOCK)..end;
            if features.is_voice(block.clone()) {
                blocks.push(frames.start + block.start..frames.start + block.end);
            }
            if end == features.energy.len() {
                break;
            }
            start += STEP;
        }
        Self { blocks }
    }

    /// Returns whether a part of these frames may contain speech.
    pub(super) fn any(&self, frames: Range<usize>) -> bool {
        let overlap = |block: &Range<usize>| block.start < frames.end && frames.start < block.end;
        self.blocks.iter().any(overlap)
    }
}

/// The features of each frame.
struct Features {
    energy: Vec<f32>,
    tonal: Vec<bool>,
    /// The spectrum's shape: levels of bands in decibels, whose mean is 0.
    shape: Vec<[f32; N_BANDS]>,
}

impl Features {
    fn new(mel: &Mel, frames: Range<usize>) -> Self {
        let n_mels = mel.n_mels();
        let mut features = Self {
            energy: Vec::with_capacity(frames.len()),
            tonal: Vec::with_capacity(frames.len()),
            shape: Vec::new(),
        };
        let mut bands = Vec::with_capacity(frames.len());
        for row in mel
            .data()
            .chunks_exact(n_mels)
            .take(frames.end)
            .skip(frames.start)
        {
            // The inverse of the spectrogram's log scale.
            let powers: Vec<f32> = row.iter().map(|x| 10_f32.powf(4.0 * x - 4.0)).collect();
            let energy: f32 = powers.iter().sum();
            features.energy.push(energy);
            features.tonal.push(peaks(&powers) > TONAL * energy);
            let mut merged = [0.0; N_BANDS];
            for (at, power) in powers.iter().enumerate() {
                merged[at * N_BANDS / n_mels] += power;
            }
            bands.push(merged);
        }
        let half = SMOOTH / 2;
        features.shape = (0..bands.len())
            .map(|at| shape(&bands[at.saturating_sub(half)..(at + half + 1).min(bands.len())]))
            .collect();
        features
    }

    fn is_voice(&self, block: Range<usize>) -> bool {
        let loudest = self.energy[block.clone()]
            .iter()
            .fold(0.0_f32, |a, &b| a.max(b));
        let wanted = SHARE * block.len() as f32;
        let active: Vec<usize> = block
            .filter(|&at| self.energy[at] > QUIET * loudest)
            .collect();
        let more = active.iter().filter(|&&at| !self.tonal[at]).count();
        more as f32 >= wanted && self.change(&active) > CHANGE
    }

    /// The standard deviation of the levels over these frames, averaged over the bands.
    fn change(&self, frames: &[usize]) -> f32 {
        let n = frames.len() as f32;
        let deviation = |band: usize| {
            let levels = || frames.iter().map(|&at| self.shape[at][band]);
            let mean = levels().sum::<f32>() / n;
            (levels().map(|level| (level - mean).powi(2)).sum::<f32>() / n).sqrt()
        };
        (0..N_BANDS).map(deviation).sum::<f32>() / N_BANDS as f32
    }
}

/// The energy around the two highest peaks of a spectrum.
fn peaks(powers: &[f32]) -> f32 {
    // A pure tone reaches three bands of 80 to either side.
    let reach = powers.len() * 3 / 80;
    let around = |at: usize| at.saturating_sub(reach)..(at + reach + 1).min(powers.len());
    let highest = |rest: &[f32]| {
        let top = rest.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        top.map_or(0, |(at, _)| at)
    };
    let mut rest = powers.to_vec();
    let mut energy = 0.0;
    for _ in 0..2 {
        let peak = around(highest(&rest));
        energy += rest[peak.clone()].iter().sum::<f32>();
        rest[peak].fill(0.0);
    }
    energy
}

/// The mean of these frames in decibels, without their level.
fn shape(frames: &[[f32; N_BANDS]]) -> [f32; N_BANDS] {
    let mut levels = [0.0; N_BANDS];
    for frame in frames {
        for (level, power) in levels.iter_mut().zip(frame) {
            *level += power;
        }
    }
    let mut top = f32::NEG_INFINITY;
    for level in &mut levels {
        *level = 10.0 * level.max(1e-30).log10();
        top = top.max(*level);
    }
    let mut mean = 0.0;
    for level in &mut levels {
        *level = level.max(top - DEPTH);
        mean += *level / N_BANDS as f32;
    }
    levels.map(|level| level - mean)
}
