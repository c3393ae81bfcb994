//! How is a recording of any length transcribed?

use std::time::{Duration, Instant};

use super::decoding::{DecodeOptions, Decoded, decode, detect_language};
use super::{
    GenerationConfig, HOP, LogMel, Mel, Model, SECONDS_PER_TIMESTAMP, Segment, Span, Timings,
    Tokenizer, Transcript, WINDOW_FRAMES, compression_ratio, ends_in_single_timestamp,
};
use crate::{Error, Result};

/// Says how a recording is transcribed; the defaults are OpenAI's.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscribeOptions {
    /// How each window is decoded. Its temperature and prompt are not used.
    pub decode: DecodeOptions,
    /// The temperatures to try in turn until the text is good enough.
    pub temperatures: Vec<f32>,
    /// A text that compresses more than this repeats itself; the next temperature is tried.
    pub compression_ratio_threshold: Option<f32>,
    /// A text less likely than this on average is not good enough; the next temperature is tried.
    pub logprob_threshold: Option<f32>,
    /// Above this, and below `logprob_threshold`, a window is taken for silence.
    pub no_speech_threshold: Option<f32>,
    /// Whether each window is told what was said before it.
    pub condition_on_previous_text: bool,
    /// Words that may come up, given as if they had been said before the recording.
    pub initial_prompt: Option<String>,
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            decode: DecodeOptions::default(),
            temperatures: vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
            compression_ratio_threshold: Some(2.4),
            logprob_threshold: Some(-1.0),
            no_speech_threshold: Some(0.6),
            condition_on_previous_text: true,
            initial_prompt: None,
        }
    }
}

/// Transcribes recordings with one model.
pub struct Transcriber<'a, M> {
    model: &'a M,
    tokenizer: &'a Tokenizer,
    generation: &'a GenerationConfig,
    mel: LogMel,
}

impl<'a, M: Model> Transcriber<'a, M> {
    /// Prepares to transcribe with `model`.
    ///
    /// # Errors
    /// [`Error::Config`] when the model wants a spectrogram that cannot be made.
    pub fn new(
        model: &'a M,
        tokenizer: &'a Tokenizer,
        generation: &'a GenerationConfig,
    ) -> Result<Self> {
        let n_audio_ctx = model.config().n_audio_ctx;
        if 2 * n_audio_ctx != WINDOW_FRAMES {
            return Err(Error::Config(format!(
                "n_audio_ctx: wanted {}, got {n_audio_ctx}",
                WINDOW_FRAMES / 2
            )));
        }
        Ok(Self {
            model,
            tokenizer,
            generation,
            mel: LogMel::new(model.config().n_mels)?,
        })
    }

    /// Transcribes mono samples at 16 kHz.
    ///
    /// No samples, or only zeros, give an empty transcript.
    /// # Errors
    /// What [`decode`] and the model say.
    pub fn transcribe(&self, samples: &[f32], options: &TranscribeOptions) -> Result<Transcript> {
        self.transcribe_with(samples, options, |_| {})
    }

    /// Transcribes like [`Transcriber::transcribe`], and shows each segment as soon as it is known.
    ///
    /// # Errors
    /// As for [`Transcriber::transcribe`].
    pub fn transcribe_with(
        &self,
        samples: &[f32],
        options: &TranscribeOptions,
        mut show: impl FnMut(&Segment),
    ) -> Result<Transcript> {
        if options.temperatures.is_empty() {
            return Err(Error::Decoding(
                "temperatures: wanted at least one, got none".into(),
            ));
        }
        let mut run = Run::new(self, samples, options)?;
        while let Some(window) = run.next_window() {
            for segment in run.transcribe_window(&window)? {
                show(&segment);
                run.transcript.segments.push(segment);
            }
        }
        Ok(run.finish())
    }
}

/// Is a recording in the middle of being transcribed. Positions are in frames of 10 ms.
struct Run<'a, M> {
    whole: &'a Transcriber<'a, M>,
    options: &'a TranscribeOptions,
    samples: &'a [f32],
    mel: Mel,
    n_frames: usize,
    seek: usize,
    language: Option<String>,
    /// Everything that was said, as tokens, and from where on the next window is told of it.
    said: Vec<u32>,
    told_from: usize,
    transcript: Transcript,
}

/// Is the stretch of the recording that the model hears at once.
struct Window {
    start: usize,
    n_frames: usize,
}

impl Window {
    fn seconds(&self) -> f64 {
        seconds(self.n_frames)
    }
}

impl<'a, M: Model> Run<'a, M> {
    fn new(
        whole: &'a Transcriber<'a, M>,
        samples: &'a [f32],
        options: &'a TranscribeOptions,
    ) -> Result<Self> {
        let special = whole.tokenizer.special();
        let language = match &options.decode.language {
            Some(code) => Some(code.clone()),
            None if special.multilingual => None,
            None => Some("en".to_string()),
        };
        let said = match &options.initial_prompt {
            Some(prompt) => whole.tokenizer.encode(&format!(" {}", prompt.trim()))?,
            None => Vec::new(),
        };
        let clock = Instant::now();
        let n_frames = samples.len() / HOP;
        // Silence has no spectrogram worth computing.
        let mel = whole.mel.long(if n_frames == 0 { &[] } else { samples });
        let timings = Timings {
            mel: clock.elapsed(),
            ..Timings::default()
        };
        let transcript = Transcript {
            timings,
            ..Transcript::default()
        };
        Ok(Self {
            whole,
            options,
            samples,
            mel,
            n_frames,
            seek: 0,
            language,
            said,
            told_from: 0,
            transcript,
        })
    }

    /// The next stretch with any sound in it; digital silence is passed over unheard.
    fn next_window(&mut self) -> Option<Window> {
        while self.seek < self.n_frames {
            let n_frames = WINDOW_FRAMES.min(self.n_frames - self.seek);
            let window = Window {
                start: self.seek,
                n_frames,
            };
            let heard = &self.samples[window.start * HOP..(window.start + n_frames) * HOP];
            if heard.iter().any(|&sample| sample != 0.0) {
                return Some(window);
            }
            self.seek += n_frames;
        }
        None
    }

    /// Transcribes a window and moves on behind what was understood.
    fn transcribe_window(&mut self, window: &Window) -> Result<Vec<Segment>> {
        let clock = Instant::now();
        let features = self
            .whole
            .model
            .encode(&self.mel.window(window.start, WINDOW_FRAMES))?;
        self.transcript.timings.encoder += clock.elapsed();
        self.transcript.timings.windows += 1;

        let clock = Instant::now();
        let decoded = self.detect(&features).and_then(|()| self.decode(&features));
        self.transcript.timings.decoder += clock.elapsed();
        let decoded = decoded?;

        if self.is_silence(&decoded) {
            self.seek += window.n_frames;
            return Ok(Vec::new());
        }
        let spans = self.whole.tokenizer.spans(&decoded.tokens);
        self.seek += self.advance(&decoded.tokens, &spans, window);
        let segments = self.segments(&decoded, &spans, window)?;
        self.remember(&segments, decoded.temperature);
        Ok(segments)
    }

    fn detect(&mut self, features: &M::Features) -> Result<()> {
        if self.language.is_none() {
            let languages =
                detect_language(self.whole.model, features, self.whole.tokenizer.special())?;
            self.language = languages.into_iter().next().map(|(code, _)| code);
        }
        Ok(())
    }

    /// Decodes at one temperature after the other until the text is good enough.
    fn decode(&mut self, features: &M::Features) -> Result<Decoded> {
        let mut options = self.options.decode.clone();
        options.language.clone_from(&self.language);
        options.prompt = self.said[self.told_from..].to_vec();
        let mut last = None;
        for &temperature in &self.options.temperatures {
            options.temperature = temperature;
            let special = self.whole.tokenizer.special();
            let decoded = decode(
                self.whole.model,
                features,
                special,
                self.whole.generation,
                &options,
            )?;
            self.transcript.timings.attempts += 1;
            self.transcript.timings.tokens += decoded.tokens.len();
            let good = self.is_good(&decoded)?;
            last = Some(decoded);
            if good {
                break;
            }
            // Another attempt must not draw the same numbers.
            options.seed = options.seed.wrapping_add(1);
        }
        last.ok_or_else(|| Error::Decoding("temperatures: wanted at least one, got none".into()))
    }

    fn is_good(&self, decoded: &Decoded) -> Result<bool> {
        let ratio = compression_ratio(self.whole.tokenizer.decode(&decoded.tokens)?.trim());
        let repeats = self
            .options
            .compression_ratio_threshold
            .is_some_and(|threshold| ratio > threshold);
        let unlikely = self
            .options
            .logprob_threshold
            .is_some_and(|threshold| decoded.avg_logprob < threshold);
        Ok(self.is_silence(decoded) || !(repeats || unlikely))
    }

    /// Nobody speaks when the model says so, unless it is sure of its words all the same.
    fn is_silence(&self, decoded: &Decoded) -> bool {
        let quiet = self
            .options
            .no_speech_threshold
            .is_some_and(|threshold| decoded.no_speech_prob > threshold);
        let sure = self
            .options
            .logprob_threshold
            .is_some_and(|threshold| decoded.avg_logprob > threshold);
        quiet && !sure
    }

    /// How many frames the window was understood for: to the last pair of timestamps, or all of it.
    fn advance(&self, tokens: &[u32], spans: &[Span], window: &Window) -> usize {
        let special = self.whole.tokenizer.special();
        let pairs = tokens
            .windows(2)
            .any(|pair| special.is_timestamp(pair[0]) && special.is_timestamp(pair[1]));
        if !pairs || ends_in_single_timestamp(tokens, special) {
            return window.n_frames;
        }
        let end = spans.last().and_then(|span| span.end).unwrap_or(0.0);
        let frames = (end / SECONDS_PER_TIMESTAMP).round() as usize * 2;
        // Staying in place would never end; going past the end would skip sound.
        if frames == 0 {
            window.n_frames
        } else {
            frames.min(window.n_frames)
        }
    }

    fn segments(&self, decoded: &Decoded, spans: &[Span], window: &Window) -> Result<Vec<Segment>> {
        let ratio = compression_ratio(self.whole.tokenizer.decode(&decoded.tokens)?.trim());
        let offset = seconds(window.start);
        let mut segments = Vec::with_capacity(spans.len());
        for span in spans {
            let text = self.whole.tokenizer.decode(&span.tokens)?;
            let start = span.start.min(window.seconds());
            let end = span.end.unwrap_or(window.seconds()).min(window.seconds());
            if text.trim().is_empty() || start >= end {
                continue;
            }
            segments.push(Segment {
                start: offset + start,
                end: offset + end,
                text,
                tokens: span.tokens.clone(),
                temperature: decoded.temperature,
                avg_logprob: decoded.avg_logprob,
                no_speech_prob: decoded.no_speech_prob,
                compression_ratio: ratio,
            });
        }
        Ok(segments)
    }

    /// Keeps what was said for the next window, unless it was guessed at a high temperature.
    fn remember(&mut self, segments: &[Segment], temperature: f32) {
        self.said
            .extend(segments.iter().flat_map(|segment| &segment.tokens));
        if !self.options.condition_on_previous_text || temperature > 0.5 {
            self.told_from = self.said.len();
        }
    }

    fn finish(mut self) -> Transcript {
        let text: String = self
            .transcript
            .segments
            .iter()
            .map(|segment| segment.text.as_str())
            .collect();
        self.transcript.text = text.trim().to_string();
        self.transcript.language = self.language.unwrap_or_default();
        self.transcript
    }
}

fn seconds(frames: usize) -> f64 {
    Duration::from_millis(10 * frames as u64).as_secs_f64()
}
