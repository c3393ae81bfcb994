//! The options of decoding a window.

use super::super::Task;

/// The options of decoding a window, with the defaults of OpenAI's `DecodingOptions`.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodingOptions {
    /// Whether to transcribe or to translate into English.
    pub task: Task,
    /// The code of the spoken language; `None` is English here, and detection in transcription.
    pub language: Option<String>,
    /// Whether timestamps are written.
    pub timestamps: bool,
    /// 0 for the most likely token; above 0, samples from logits divided by this.
    pub temperature: f32,
    /// Number of texts that are sampled when `temperature` is above 0; the best is kept.
    pub best_of: usize,
    /// Number of beams when `temperature` is 0; 1 is greedy.
    pub beam_size: usize,
    /// Beam search ends when `beam_size * patience` texts have ended.
    pub patience: f32,
    /// `None` ranks texts by mean log probability, `Some(a)` divides its sum by `((5 + length) / 6)^a`.
    pub length_penalty: Option<f32>,
    /// Max number of tokens; `None` for half of the decoder's positions.
    pub max_tokens: Option<usize>,
    /// The latest time of the first timestamp, in seconds.
    pub max_initial_timestamp: Option<f64>,
    /// Whether the generation config's lists of suppressed tokens apply.
    pub suppress: bool,
    /// The text before this window, as tokens.
    pub prompt: Vec<u32>,
    /// Tokens that the text must begin with.
    pub prefix: Vec<u32>,
    /// The seed of sampling: the same seed gives the same text.
    pub seed: u64,
}

/// The former name of [`DecodingOptions`].
#[deprecated(note = "renamed to DecodingOptions")]
pub type DecodeOptions = DecodingOptions;

impl Default for DecodingOptions {
    fn default() -> Self {
        Self {
            task: Task::Transcribe,
            language: None,
            timestamps: true,
            temperature: 0.0,
            best_of: 1,
            beam_size: 1,
            patience: 1.0,
            length_penalty: None,
            max_tokens: None,
            max_initial_timestamp: Some(1.0),
            suppress: true,
            prompt: Vec::new(),
            prefix: Vec::new(),
            seed: 0,
        }
    }
}
