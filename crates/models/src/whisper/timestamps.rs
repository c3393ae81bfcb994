//! Segmentation of a window's tokens at timestamps.

use super::tokenizer::SpecialTokens;

/// The step of the timestamps.
pub const SECONDS_PER_TIMESTAMP: f64 = 0.02;

/// A span of a window's tokens between two timestamps.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Seconds from the start of the window.
    pub start: f64,
    /// Seconds from the start of the window; `None` when no timestamp ends the span.
    pub end: Option<f64>,
    /// The tokens, with the timestamps around them.
    pub tokens: Vec<u32>,
}

/// Splits a window's tokens between one span's end timestamp and the next one's start timestamp.
///
/// Tokens after the last pair of timestamps are left out when there is such a pair, unless a
/// single timestamp ends them: the next window decodes them again.
pub fn spans(tokens: &[u32], special: &SpecialTokens) -> Vec<Span> {
    let span = |tokens: &[u32]| {
        let time = |token: Option<&u32>| {
            token
                .filter(|&&t| special.is_timestamp(t))
                .map(|&t| special.seconds(t))
        };
        let end = if tokens.len() > 1 {
            time(tokens.last())
        } else {
            None
        };
        Span {
            start: time(tokens.first()).unwrap_or(0.0),
            end,
            tokens: tokens.to_vec(),
        }
    };
    let mut cuts: Vec<usize> = (1..tokens.len())
        .filter(|&i| special.is_timestamp(tokens[i - 1]) && special.is_timestamp(tokens[i]))
        .collect();
    if cuts.is_empty() {
        return if tokens.is_empty() {
            Vec::new()
        } else {
            vec![span(tokens)]
        };
    }
    if ends_in_single_timestamp(tokens, special) {
        cuts.push(tokens.len());
    }
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    starts
        .zip(&cuts)
        .map(|(start, &end)| span(&tokens[start..end]))
        .collect()
}

/// Returns whether the last token is a timestamp and the one before it is not.
pub fn ends_in_single_timestamp(tokens: &[u32], special: &SpecialTokens) -> bool {
    matches!(tokens, [.., text, last] if special.is_timestamp(*last) && !special.is_timestamp(*text))
}
