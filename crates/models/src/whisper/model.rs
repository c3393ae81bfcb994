//! What does decoding need from a model?

use super::{Config, Mel};
use crate::{Error, Result};

/// Is a Whisper model: it encodes a window of sound and opens sessions that write its text.
pub trait Model {
    /// What the encoder makes of a window. It can stay on the device; decoding never looks inside.
    ///
    /// Put the cross-attention keys and values in here too: several sessions read one window when
    /// decoding falls back to another temperature.
    type Features;
    /// The state of writing one window's text.
    type Session<'a>: Session
    where
        Self: 'a;

    /// Returns the dimensions.
    fn config(&self) -> &Config;

    /// Encodes one window, a spectrogram of `[frames, n_mels]` with `frames = 2 * n_audio_ctx`.
    ///
    /// Evaluate before returning when the time of the two halves is to be told apart.
    /// # Errors
    /// What the model says, as [`Error::model`].
    fn encode(&self, mel: &Mel) -> Result<Self::Features>;

    /// Opens a session with one empty row.
    ///
    /// # Errors
    /// What the model says, as [`Error::model`].
    fn start<'a>(&'a self, features: &'a Self::Features) -> Result<Self::Session<'a>>;
}

/// Is the state of writing one window's text: keys and values of some rows, all equally long.
///
/// The calls are: [`prompt`](Session::prompt) once, then [`step`](Session::step) over and over, with
/// [`select`](Session::select) before a step when rows end, multiply or trade places.
pub trait Session {
    /// Reads the first tokens into the only row; returns the logits at `positions`, one row for each.
    ///
    /// Only those rows need to go through the vocabulary's matrix.
    /// # Errors
    /// What the model says, as [`Error::model`].
    fn prompt(&mut self, tokens: &[u32], positions: &[usize]) -> Result<Logits>;

    /// Reads one token more into each row, `tokens[row]`; returns the logits behind it, row by row.
    ///
    /// # Errors
    /// What the model says, as [`Error::model`].
    fn step(&mut self, tokens: &[u32]) -> Result<Logits>;

    /// Makes row `i` what row `rows[i]` was, so there are `rows.len()` rows afterwards.
    ///
    /// It is not called when nothing would change.
    /// # Errors
    /// What the model says, as [`Error::model`].
    fn select(&mut self, rows: &[usize]) -> Result<()>;
}

/// Holds logits in `f32`, `[rows, n_vocab]`.
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

    /// Returns a row: the logits behind one token.
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

    /// Returns the rows, to change them in place.
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
