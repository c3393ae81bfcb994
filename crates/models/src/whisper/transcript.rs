//! The result of a transcription.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// The text of a recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Transcript {
    /// The whole text, trimmed; empty when there is no speech.
    pub text: String,
    /// The code of the given or detected language.
    pub language: String,
    /// The text in segments with their times.
    pub segments: Vec<Segment>,
    /// The time that the parts took.
    pub timings: Timings,
}

/// A segment of a transcript.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Segment {
    /// Seconds from the start of the recording.
    pub start: f64,
    /// Seconds from the start of the recording.
    pub end: f64,
    /// The text, with the space before its first word.
    pub text: String,
    /// The tokens, timestamps among them.
    pub tokens: Vec<u32>,
    /// The temperature of decoding the window.
    pub temperature: f32,
    /// The mean log probability of the window's tokens.
    pub avg_logprob: f32,
    /// The probability of no speech in the window.
    pub no_speech_prob: f32,
    /// The compression ratio of the window's text.
    pub compression_ratio: f32,
}

/// The times in minutes and seconds, and the trimmed text.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |seconds: f64| {
            let hundredths = (seconds * 100.0).round().max(0.0) as u64;
            let (seconds, hundredths) = (hundredths / 100, hundredths % 100);
            format!("{:02}:{:02}.{hundredths:02}", seconds / 60, seconds % 60)
        };
        let (start, end) = (clock(self.start), clock(self.end));
        write!(f, "[{start} - {end}] {}", self.text.trim())
    }
}

/// The time that the parts of a transcription took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Computing the spectrogram.
    pub mel: Duration,
    /// The encoder, all windows.
    pub encoder: Duration,
    /// The decoder, all windows and every attempt; language detection too.
    pub decoder: Duration,
    /// Number of encoded windows.
    pub windows: usize,
    /// Decoding attempts; more than windows when the temperature was raised.
    pub attempts: usize,
    /// Number of tokens in all attempts, without ends of text.
    pub tokens: usize,
}

impl Timings {
    /// Returns the tokens decoded per second of the decoder.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.decoder.as_secs_f64();
        if seconds > 0.0 {
            self.tokens as f64 / seconds
        } else {
            0.0
        }
    }
}
