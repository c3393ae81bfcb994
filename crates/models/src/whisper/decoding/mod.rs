//! Decoding of one window: greedy, by beam search, or by sampling.
//!
//! [`decode`] runs any [`Model`](super::Model). The parts have the names of OpenAI's implementation.

mod beam;
mod language;
mod logit_filters;
mod options;
mod sampling;
mod scores;
mod task;

pub use language::{Languages, detect_language};
pub use logit_filters::LogitFilters;
#[allow(deprecated)]
pub use logit_filters::Rules;
#[allow(deprecated)]
pub use options::DecodeOptions;
pub use options::DecodingOptions;
#[allow(deprecated)]
pub use task::Decoded;
pub use task::{DecodingResult, decode};
