//! What is the result of transcribing a recording?

use std::time::Duration;

use serde::Serialize;

/// Is the text of a recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Transcript {
    /// The whole text, without space at its ends; empty when nobody speaks.
    pub text: String,
    /// The code of the language that was given or detected.
    pub language: String,
    /// The text in stretches with their times.
    pub segments: Vec<Segment>,
    /// Where the time went.
    pub timings: Timings,
}

/// Is a stretch of a transcript.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Segment {
    /// Seconds from the start of the recording.
    pub start: f64,
    /// Seconds from the start of the recording.
    pub end: f64,
    /// The text, with the space that begins its first word.
    pub text: String,
    /// The tokens, timestamps among them.
    pub tokens: Vec<u32>,
    /// The temperature that the window was decoded at.
    pub temperature: f32,
    /// The mean log probability of the window's tokens.
    pub avg_logprob: f32,
    /// How likely it is that nobody speaks in the window.
    pub no_speech_prob: f32,
    /// How many times shorter the window's text compresses.
    pub compression_ratio: f32,
}

/// Says where the time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Computing the spectrogram.
    pub mel: Duration,
    /// The encoder, all windows.
    pub encoder: Duration,
    /// The decoder, all windows and every attempt; detecting the language too.
    pub decoder: Duration,
    /// Windows that were encoded.
    pub windows: usize,
    /// Decoding attempts; more than windows when the temperature was raised.
    pub attempts: usize,
    /// Tokens written in all attempts, without ends of text.
    pub tokens: usize,
}

impl Timings {
    /// Returns the tokens written per second of the decoder.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.decoder.as_secs_f64();
        if seconds > 0.0 {
            self.tokens as f64 / seconds
        } else {
            0.0
        }
    }
}
