//! The interface between decoding and a model.

use super::{Config, Mel};
use crate::{Error, Result};

/// A Whisper model: it encodes a window of audio and opens decoding sessions.
pub trait Model {
    /// The encoder's output for a window. It can stay on the device; decoding does not read it.
    ///
    /// It should include the cross-attention keys and values: several sessions decode one window when
    /// decoding falls back to another temperature.
    type Features;
    /// The decoding state of one window.
    type Session<'a>: Session
    where
        Self: 'a;

    /// Returns the dimensions.
    fn config(&self) -> &Config;

    /// Encodes one window, a spectrogram of `[frames, n_mels]` with `frames = 2 * n_audio_ctx`.
    ///
    /// Evaluate before returning, so that the timings of encoder and decoder are separate.
    /// # Errors
    /// An error of the model, as [`Error::model`].
    fn encode(&self, mel: &Mel) -> Result<Self::Features>;

    /// Opens a session with one empty row.
    ///
    /// # Errors
    /// An error of the model, as [`Error::model`].
    fn start<'a>(&'a self, features: &'a Self::Features) -> Result<Self::Session<'a>>;
}

/// The decoding state of one window: keys and values of some rows, all of one length.
///
/// The calls are: [`prompt`](Session::prompt) once, then repeated [`step`](Session::step)s, with
/// [`select`](Session::select) before a step when rows end, are duplicated or reordered.
pub trait Session {
    /// Runs the first tokens in the only row; returns the logits at `positions`, one row for each.
    ///
    /// Only those rows need to be multiplied by the vocabulary's matrix.
    /// # Errors
    /// An error of the model, as [`Error::model`].
    fn prompt(&mut self, tokens: &[u32], positions: &[usize]) -> Result<Logits>;

    /// Appends one token to each row, `tokens[row]`; returns the logits that follow, row by row.
    ///
    /// # Errors
    /// An error of the model, as [`Error::model`].
    fn step(&mut self, tokens: &[u32]) -> Result<Logits>;

    /// Replaces row `i` by the former row `rows[i]`; there are `rows.len()` rows afterwards.
    ///
    /// It is not called when nothing would change.
    /// # Errors
    /// An error of the model, as [`Error::model`].
    fn select(&mut self, rows: &[usize]) -> Result<()>;
}

/// Logits in `f32`, `[rows, n_vocab]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    data: Vec<f32>,
    n_vocab: usize,
}

impl Logits {
    /// Wraps row-major logits.
    ///
    /// # Errors
    /// [`Error::Decoding`] when `data` is not whole rows of `n_vocab`.
    pub fn new(data: Vec<f32>, n_vocab: usize) -> Result<Self> {
        if n_vocab == 0 || data.is_empty() || !data.len().is_multiple_of(n_vocab) {
            return Err(Error::Decoding(format!(
                "logits: wanted rows of {n_vocab}, got {} values",
                data.len()
            )));
        }
        Ok(Self { data, n_vocab })
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.data.len() / self.n_vocab
    }

    /// Returns a row: the logits that follow one token.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.n_vocab..(row + 1) * self.n_vocab]
    }

    /// Returns the size of the vocabulary.
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// Returns the rows mutably.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.data.chunks_exact_mut(self.n_vocab)
    }

    /// Checks the number of rows that a model returned.
    pub(super) fn expect_rows(self, wanted: usize) -> Result<Self> {
        if self.rows() == wanted {
            return Ok(self);
        }
        Err(Error::Decoding(format!(
            "logits: wanted {wanted} rows, got {}",
            self.rows()
        )))
    }
}
