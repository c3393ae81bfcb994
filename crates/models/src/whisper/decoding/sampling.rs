//! Greedy decoding and sampling, one token at a time.

use super::super::{Logits, Session};
use super::logit_filters::LogitFilters;
use super::scores::log_sum_exp;
use super::task::{DecodingTask, Hypothesis};
use crate::Result;
use crate::argmax::{argmax, max};
use crate::random::SplitMix64;

/// Samples `n` texts from the same prompt; at temperature 0 one, of the most likely tokens.
pub(super) fn sample<S: Session>(
    session: &mut S,
    first: &[f32],
    task: &DecodingTask,
    n: usize,
) -> Result<Vec<Hypothesis>> {
    let n = if task.temperature > 0.0 { n.max(1) } else { 1 };
    if n > 1 {
        session.select(&vec![0; n])?;
    }
    let mut random = SplitMix64::new(task.seed);
    let mut done = Vec::with_capacity(n);
    let mut open = vec![Hypothesis::default(); n];
    let mut logits = Logits::new(first.repeat(n), first.len())?;
    loop {
        let mut kept = Vec::with_capacity(open.len());
        let mut next = Vec::with_capacity(open.len());
        for ((row, text), logits) in open.into_iter().enumerate().zip(logits.rows_mut()) {
            let text = extend(text, logits, &task.filters, task, &mut random)?;
            if text.ended || text.tokens.len() >= task.max_tokens {
                done.push(text);
            } else {
                kept.push(row);
                next.push(text);
            }
        }
        let Some(tokens) = next
            .iter()
            .map(|text| text.tokens.last().copied())
            .collect::<Option<Vec<u32>>>()
        else {
            return Ok(done);
        };
        if tokens.is_empty() {
            return Ok(done);
        }
        if kept.len() < logits.rows() {
            session.select(&kept)?;
        }
        logits = session.step(&tokens)?.expect_rows(tokens.len())?;
        open = next;
    }
}

/// Chooses the next token of a text.
fn extend(
    mut text: Hypothesis,
    logits: &mut [f32],
    filters: &LogitFilters,
    task: &DecodingTask,
    random: &mut SplitMix64,
) -> Result<Hypothesis> {
    filters.apply(&text.tokens, logits)?;
    let total = log_sum_exp(logits)?;
    if total == f32::NEG_INFINITY {
        // The filters leave no token, so the text ends.
        text.ended = true;
        return Ok(text);
    }
    let token = if task.temperature > 0.0 {
        draw(random, logits, task.temperature)
    } else {
        argmax(logits)
    };
    text.sum_logprob += f64::from(logits[token] - total);
    text.push(token as u32, task.eot);
    Ok(text)
}

/// Draws an index with probability `softmax(logits / temperature)`.
fn draw(random: &mut SplitMix64, logits: &[f32], temperature: f32) -> usize {
    let top = max(logits);
    let weight = |logit: f32| f64::from((logit - top) / temperature).exp();
    let drawn = random.draw(logits.iter().map(|&logit| weight(logit)));
    drawn.unwrap_or_else(|| argmax(logits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [1_f32.ln(), f32::NEG_INFINITY, 3_f32.ln()];
        let mut random = SplitMix64::new(7);
        let mut counts = [0; 3];
        for _ in 0..4000 {
            counts[draw(&mut random, &logits, 1.0)] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2850..3150).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn a_low_temperature_draws_the_likeliest() {
        let mut random = SplitMix64::new(7);
        assert!((0..100).all(|_| draw(&mut random, &[1.0, 2.0, 1.5], 0.01) == 1));
    }
}
