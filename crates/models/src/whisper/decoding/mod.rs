//! How is the text of one window chosen?
//!
//! [`decode`] runs any [`Model`](super::Model): greedily, by beam search, or by sampling.

mod beam;
mod language;
mod options;
mod rules;
mod run;
mod sampling;
mod scores;

pub use language::{Languages, detect_language};
pub use options::DecodeOptions;
pub use rules::Rules;
pub use run::{Decoded, decode};
