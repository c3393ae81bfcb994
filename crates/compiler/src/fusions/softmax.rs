//! Softmax written out: `exp(x - max(x)) / sum(exp(x - max(x)))` becomes one operation.
//!
//! Recognized: any axes, the same for both reductions; a division, or a product with the inverse sum. Refused: without
//! subtracting the maximum, which overflows where the operation does not; maximum and sum over different axes.

use super::matcher::Matcher;
use super::matcher::softmax::written_out;
use super::{Match, MatchResult};
use crate::graph::Value;

/// Matches the formula.
pub(crate) fn match_at(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let softmax = match written_out(matcher, value)? {
        Ok(softmax) => softmax,
        Err(refusal) => return Some(Err(refusal)),
    };
    let axes = softmax.axes;
    Some(Ok(Match::new(vec![softmax.x], value, move |inputs| {
        inputs[0].softmax(axes.clone())
    })))
}
