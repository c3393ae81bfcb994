//! Transcription of recordings of any length.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::decoding::{DecodingOptions, DecodingResult, decode, detect_language};
use super::voice::Voice;
use super::{
    FRAMES_PER_SECOND, GenerationConfig, HOP, LogMel, Mel, Model, SECONDS_PER_TIMESTAMP, Segment,
    Span, Timings, Tokenizer, Transcript, WINDOW_FRAMES, compression_ratio,
    ends_in_single_timestamp,
};
use crate::{Error, Result};

/// The options of transcription, with the defaults of OpenAI's command, and a voice activity check.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscribeOptions {
    /// How each window is decoded. Its temperature and prompt are not used.
    pub decode: DecodingOptions,
    /// The temperatures that are tried in turn until the text passes the thresholds.
    ///
    /// When none passes, the most likely text that does not repeat itself is kept, or the most likely of all.
    pub temperatures: Vec<f32>,
    /// A text with a higher compression ratio repeats itself; the next temperature is tried.
    pub compression_ratio_threshold: Option<f32>,
    /// A text with a lower mean log probability is rejected; the next temperature is tried.
    pub logprob_threshold: Option<f32>,
    /// Above this, and below `logprob_threshold`, a window counts as silence.
    pub no_speech_threshold: Option<f32>,
    /// Whether the prompt of each window holds the text before it.
    pub condition_on_previous_text: bool,
    /// Whether parts without voice are skipped: steady noise of any level, dithered silence and tones.
    ///
    /// The model hallucinates words for them. The check needs no model and passes everything whose spectrum
    /// changes as that of speech does; see `whisper/voice.rs`.
    pub vad_filter: bool,
    /// Words that may occur, given as text before the recording.
    pub initial_prompt: Option<String>,
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            decode: DecodingOptions {
                best_of: 5,
                ..DecodingOptions::default()
            },
            temperatures: vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
            compression_ratio_threshold: Some(2.4),
            logprob_threshold: Some(-1.0),
            no_speech_threshold: Some(0.6),
            condition_on_previous_text: true,
            vad_filter: true,
            initial_prompt: None,
        }
    }
}

/// A transcriber of recordings with one model.
pub struct Transcriber<'a, M> {
    model: &'a M,
    tokenizer: &'a Tokenizer,
    generation: &'a GenerationConfig,
    mel: LogMel,
}

impl<'a, M: Model> Transcriber<'a, M> {
    /// Returns a transcriber with `model`.
    ///
    /// # Errors
    /// [`Error::Config`] when the model requires a spectrogram that cannot be computed.
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
    /// No samples, or only zeros, give an empty transcript; so do noise and tones unless
    /// [`vad_filter`](TranscribeOptions::vad_filter) is off. No segment lasts beyond the samples.
    /// # Errors
    /// An error of [`decode`] or of the model.
    pub fn transcribe(&self, samples: &[f32], options: &TranscribeOptions) -> Result<Transcript> {
        self.transcribe_with(samples, options, |_| {})
    }

    /// Transcribes like [`Transcriber::transcribe`], and calls `show` with each segment once it is final.
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
        let mut run = Transcription::new(self, samples, options)?;
        while let Some(window) = run.next_window() {
            for segment in run.transcribe_window(&window)? {
                show(&segment);
                run.transcript.segments.push(segment);
            }
        }
        Ok(run.finish())
    }
}

/// The state of transcribing one recording. Positions are in frames of 10 ms.
struct Transcription<'a, M> {
    transcriber: &'a Transcriber<'a, M>,
    options: &'a TranscribeOptions,
    samples: &'a [f32],
    mel: Mel,
    n_frames: usize,
    /// The parts that may contain voice; `None` for everywhere.
    voice: Option<Voice>,
    seek: usize,
    language: Option<String>,
    /// All tokens so far, and the index of the first that conditions the next window.
    text_tokens: Vec<u32>,
    prompt_start: usize,
    transcript: Transcript,
}

/// The chosen text of a window.
struct Attempt {
    decoded: DecodingResult,
    /// The highest temperature that was tried.
    temperature: f32,
}

/// The part of the recording that the model decodes at once.
struct Window {
    start: usize,
    n_frames: usize,
}

impl Window {
    fn seconds(&self) -> f64 {
        seconds(self.n_frames)
    }
}

impl<'a, M: Model> Transcription<'a, M> {
    fn new(
        transcriber: &'a Transcriber<'a, M>,
        samples: &'a [f32],
        options: &'a TranscribeOptions,
    ) -> Result<Self> {
        let special = transcriber.tokenizer.special();
        let language = match &options.decode.language {
            Some(code) => Some(code.clone()),
            None if special.multilingual => None,
            None => Some("en".to_string()),
        };
        let text_tokens = match &options.initial_prompt {
            Some(prompt) => transcriber
                .tokenizer
                .encode(&format!(" {}", prompt.trim()))?,
            None => Vec::new(),
        };
        let clock = Instant::now();
        let n_frames = samples.len() / HOP;
        // The spectrogram of digital silence is not computed.
        let mel = transcriber
            .mel
            .long(if n_frames == 0 { &[] } else { samples });
        let voice = options.vad_filter.then(|| Voice::find(&mel, n_frames));
        let timings = Timings {
            mel: clock.elapsed(),
            ..Timings::default()
        };
        let transcript = Transcript {
            timings,
            ..Transcript::default()
        };
        Ok(Self {
            transcriber,
            options,
            samples,
            mel,
            n_frames,
            voice,
            seek: 0,
            language,
            text_tokens,
            prompt_start: 0,
            transcript,
        })
    }

    /// Returns the next window that may contain voice; digital silence is skipped, noise and tones too.
    fn next_window(&mut self) -> Option<Window> {
        while self.seek < self.n_frames {
            let n_frames = WINDOW_FRAMES.min(self.n_frames - self.seek);
            let window = Window {
                start: self.seek,
                n_frames,
            };
            let samples = &self.samples[window.start * HOP..(window.start + n_frames) * HOP];
            let frames = window.start..window.start + n_frames;
            if samples.iter().any(|&sample| sample != 0.0) && self.may_contain_voice(frames) {
                return Some(window);
            }
            self.seek += n_frames;
        }
        None
    }

    fn may_contain_voice(&self, frames: Range<usize>) -> bool {
        self.voice.as_ref().is_none_or(|voice| voice.any(frames))
    }

    /// Transcribes a window and advances past the decoded text.
    fn transcribe_window(&mut self, window: &Window) -> Result<Vec<Segment>> {
        let clock = Instant::now();
        let features = self
            .transcriber
            .model
            .encode(&self.mel.window(window.start, WINDOW_FRAMES))?;
        self.transcript.timings.encoder += clock.elapsed();
        self.transcript.timings.windows += 1;

        let clock = Instant::now();
        let decoded = self.detect(&features).and_then(|()| self.decode(&features));
        self.transcript.timings.decoder += clock.elapsed();
        let Attempt {
            decoded,
            temperature,
        } = decoded?;

        if self.is_silence(&decoded) {
            self.seek += window.n_frames;
            return Ok(Vec::new());
        }
        let spans = self.transcriber.tokenizer.spans(&decoded.tokens);
        self.seek += self.advance(&decoded.tokens, &spans, window);
        let segments = self.segments(&decoded, &spans, window)?;
        self.keep_as_prompt(&segments, temperature);
        Ok(segments)
    }

    fn detect(&mut self, features: &M::Features) -> Result<()> {
        if self.language.is_none() {
            let languages = detect_language(
                self.transcriber.model,
                features,
                self.transcriber.tokenizer.special(),
            )?;
            self.language = languages.into_iter().next().map(|(code, _)| code);
        }
        Ok(())
    }

    /// Decodes at increasing temperatures until the text passes the thresholds.
    fn decode(&mut self, features: &M::Features) -> Result<Attempt> {
        let mut options = self.options.decode.clone();
        options.language.clone_from(&self.language);
        options.prompt = self.text_tokens[self.prompt_start..].to_vec();
        let mut best: Option<(bool, DecodingResult)> = None;
        for &temperature in &self.options.temperatures {
            options.temperature = temperature;
            let special = self.transcriber.tokenizer.special();
            let decoded = decode(
                self.transcriber.model,
                features,
                special,
                self.transcriber.generation,
                &options,
            )?;
            self.transcript.timings.attempts += 1;
            self.transcript.timings.tokens += decoded.tokens.len();
            let repeats = self.repeats(&decoded)?;
            if self.is_silence(&decoded) || !(repeats || self.is_unlikely(&decoded)) {
                return Ok(Attempt {
                    decoded,
                    temperature,
                });
            }
            // A repetitive text is likely, and wrong.
            let is_better = best.as_ref().is_none_or(|(best_repeats, best)| {
                (!repeats, decoded.avg_logprob) > (!best_repeats, best.avg_logprob)
            });
            if is_better {
                best = Some((repeats, decoded));
            }
            // Another attempt must draw other random numbers.
            options.seed = options.seed.wrapping_add(1);
        }
        let (_, decoded) = best
            .ok_or_else(|| Error::Decoding("temperatures: wanted at least one, got none".into()))?;
        Ok(Attempt {
            decoded,
            temperature: options.temperature,
        })
    }

    fn repeats(&self, decoded: &DecodingResult) -> Result<bool> {
        let ratio = compression_ratio(self.transcriber.tokenizer.decode(&decoded.tokens)?.trim());
        let threshold = self.options.compression_ratio_threshold;
        Ok(threshold.is_some_and(|threshold| ratio > threshold))
    }

    fn is_unlikely(&self, decoded: &DecodingResult) -> bool {
        let threshold = self.options.logprob_threshold;
        threshold.is_some_and(|threshold| decoded.avg_logprob < threshold)
    }

    /// Returns whether there is no speech: the model says so, unless the text itself is likely.
    fn is_silence(&self, decoded: &DecodingResult) -> bool {
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

    /// Returns the frames that the window's text covers: to the last pair of timestamps, or all of it.
    fn advance(&self, tokens: &[u32], spans: &[Span], window: &Window) -> usize {
        let special = self.transcriber.tokenizer.special();
        let pairs = tokens
            .windows(2)
            .any(|pair| special.is_timestamp(pair[0]) && special.is_timestamp(pair[1]));
        if !pairs || ends_in_single_timestamp(tokens, special) {
            return window.n_frames;
        }
        let end = spans.last().and_then(|span| span.end).unwrap_or(0.0);
        let frames = (end / SECONDS_PER_TIMESTAMP).round() as usize * 2;
        // Standing still would never end; going past the end would skip audio.
        if frames == 0 {
            window.n_frames
        } else {
            frames.min(window.n_frames)
        }
    }

    fn segments(
        &self,
        decoded: &DecodingResult,
        spans: &[Span],
        window: &Window,
    ) -> Result<Vec<Segment>> {
        let ratio = compression_ratio(self.transcriber.tokenizer.decode(&decoded.tokens)?.trim());
        let offset = seconds(window.start);
        let mut segments = Vec::with_capacity(spans.len());
        for span in spans {
            let text = self.transcriber.tokenizer.decode(&span.tokens)?;
            let start = span.start.min(window.seconds());
            let end = span.end.unwrap_or(window.seconds()).min(window.seconds());
            if text.trim().is_empty()
                || start >= end
                || !self.may_contain_speech(window, start, end)
            {
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

    /// Returns whether there may be voice within a second of these times, because the model's own are not exact.
    fn may_contain_speech(&self, window: &Window, start: f64, end: f64) -> bool {
        let frame = |time: f64| window.start + (time * FRAMES_PER_SECOND as f64) as usize;
        let from = frame(start).saturating_sub(FRAMES_PER_SECOND);
        self.may_contain_voice(from..frame(end) + FRAMES_PER_SECOND)
    }

    /// Keeps the text as the next window's prompt, unless it is unreliable: at a high temperature, or after all had
    /// failed.
    fn keep_as_prompt(&mut self, segments: &[Segment], temperature: f32) {
        self.text_tokens
            .extend(segments.iter().flat_map(|segment| &segment.tokens));
        if !self.options.condition_on_previous_text || temperature > 0.5 {
            self.prompt_start = self.text_tokens.len();
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
