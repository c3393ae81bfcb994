//! How are texts written one token at a time, greedily or by chance?

use super::super::{Logits, Session};
use super::rules::Rules;
use super::run::{Candidate, Plan};
use super::scores::{argmax, largest, log_sum_exp};
use crate::Result;
use crate::chance::Chance;

/// Writes `n` texts from the same beginning; at temperature 0 one, with the likeliest tokens.
pub(super) fn write<S: Session>(
    session: &mut S,
    first: &[f32],
    plan: &Plan,
    n: usize,
) -> Result<Vec<Candidate>> {
    let n = if plan.temperature > 0.0 { n.max(1) } else { 1 };
    if n > 1 {
        session.select(&vec![0; n])?;
    }
    let mut chance = Chance::new(plan.seed);
    let mut done = Vec::with_capacity(n);
    let mut open = vec![Candidate::default(); n];
    let mut logits = Logits::new(first.repeat(n), first.len())?;
    loop {
        let mut kept = Vec::with_capacity(open.len());
        let mut next = Vec::with_capacity(open.len());
        for ((row, text), logits) in open.into_iter().enumerate().zip(logits.rows_mut()) {
            let text = extend(text, logits, &plan.rules, plan, &mut chance)?;
            if text.ended || text.tokens.len() >= plan.max_tokens {
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
    mut text: Candidate,
    logits: &mut [f32],
    rules: &Rules,
    plan: &Plan,
    chance: &mut Chance,
) -> Result<Candidate> {
    rules.apply(&text.tokens, logits)?;
    let total = log_sum_exp(logits)?;
    if total == f32::NEG_INFINITY {
        // Nothing is allowed: the lists and the rules leave no token, so the text ends.
        text.ended = true;
        return Ok(text);
    }
    let token = if plan.temperature > 0.0 {
        draw(chance, logits, plan.temperature)
    } else {
        argmax(logits)
    };
    text.sum_logprob += f64::from(logits[token] - total);
    text.push(token as u32, plan.eot);
    Ok(text)
}

/// Draws an index with probability `softmax(logits / temperature)`.
fn draw(chance: &mut Chance, logits: &[f32], temperature: f32) -> usize {
    let top = largest(logits);
    let weight = |logit: f32| f64::from((logit - top) / temperature).exp();
    let mut left = chance.unit() * logits.iter().map(|&logit| weight(logit)).sum::<f64>();
    for (index, &logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return index;
        }
    }
    // Rounding can leave a crumb: it belongs to a token that is possible.
    argmax(logits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [1_f32.ln(), f32::NEG_INFINITY, 3_f32.ln()];
        let mut chance = Chance::new(7);
        let mut counts = [0; 3];
        for _ in 0..4000 {
            counts[draw(&mut chance, &logits, 1.0)] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2850..3150).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn a_low_temperature_draws_the_likeliest() {
        let mut chance = Chance::new(7);
        assert!((0..100).all(|_| draw(&mut chance, &[1.0, 2.0, 1.5], 0.01) == 1));
    }
}
